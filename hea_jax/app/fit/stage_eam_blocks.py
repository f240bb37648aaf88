"""Stage ``fit`` of a learnable EAM to thousands of frames: Gauss–Newton over blocks of frames of like size."""

import jax.numpy as jnp
import numpy as np

from hea_jax.app.fit.eam_problem import prior_about, start_of
from hea_jax.app.fit.figures import learning_curves
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.offsets import offset_start
from hea_jax.app.fit.outcome import Outcome
from hea_jax.app.report import ReportFigure, ReportSection
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.fitting import BlockSettings, fit_blocks, pack_blocks
from hea_jax.atomistic.fitting.gauss_newton import BlockState, initial_blocks, mean_square
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.core.results import failure_message
from hea_jax.electronic import DatasetError

LOSS_RTOL = 1e-5
"""A step that promises to lower the loss by less is the last."""
PHASE = 3.0
"""The number of this phase in a history, after those of ``training.PHASES``."""


def check_blocks(config) -> None:
    """Raise ``DatasetError`` for what a fit over blocks does not do."""
    asked = [name for name, value in (("optimiser.huber", config.optimiser.huber is not None),
                                      ("targets", bool(config.targets)), ("uncertainty.run", config.uncertainty.run),
                                      ("more than one source in `data`", len(config.data) > 1)) if value]  # fmt: skip
    if asked:
        raise DatasetError(f"optimiser.gauss_newton_steps does not go with {', '.join(asked)}: switch it off, or set "
                           "gauss_newton_steps to 0 (for sets of up to some hundred frames)")


def run_blocks(config, inputs, context):
    """The fit; after a kill it goes on from the last step and ends at the same parameters."""
    context.progress("packing frames")
    given = inputs_of(config, context.resolve)
    section, elements = config.learnable_eam, given.data.elements
    template = start_of(section, elements).potential
    parts = [given.part(name)[0] for name in ("train", "validation")]
    training, unseen = (pack_blocks(part.frames, part.groups, template, given.weights) if len(part) else None
                        for part in parts)
    assert training is not None
    counts = np.concatenate([np.asarray(packed.counts) for packed in training.packed])
    energies = np.concatenate([np.asarray(packed.energy_target) for packed in training.packed])
    start = start_of(section, elements, jnp.asarray(offset_start(config, counts, energies)))
    prior = prior_about(config, start)
    settings = BlockSettings(steps=config.optimiser.gauss_newton_steps, loss_rtol=LOSS_RTOL)
    first = initial_blocks(start, prior, settings)
    patience = config.optimiser.patience if unseen is not None else 0
    like = {**first.arrays(), "history": np.full((settings.steps, 4), np.nan), "chosen": first.z}
    kept = context.restore("blocks", like) or like
    history, chosen = np.array(kept["history"]), {"z": np.array(kept["chosen"])}

    def keep(state):
        losses = [mean_square(blocks, prior, state.z) if blocks else np.nan for blocks in (training, unseen)]
        history[state.step - 1] = (PHASE, state.step, *losses)
        done = history[: state.step, 3 if patience else 2]
        if np.nanargmin(done) == state.step - 1 or not patience:
            chosen["z"] = state.z
        context.checkpoint("blocks", {**state.arrays(), "history": history, "chosen": chosen["z"]})
        context.progress(f"Gauss-Newton: loss {losses[0]:.4g}, validation {losses[1]:.4g}", state.step, settings.steps)
        return bool(patience) and state.step - 1 - np.nanargmin(done) >= patience

    solution = fit_blocks(BlockState.of(kept), training, prior, settings=settings, keep=keep)
    rows, z = history[np.isfinite(history[:, 0])], chosen["z"]
    best = rows[np.nanargmin(rows[:, 3])] if patience else rows[-1]
    parameters = ScaledObjective(training.packed[0], prior).parameters(jnp.asarray(z))
    message = "" if patience and best[1] < rows[-1, 1] else failure_message(solution.result)
    numbers = {"training_loss": Number(float(best[2]), "1", method="mean squared weighted residual")}
    if unseen is not None:
        numbers["validation_loss"] = Number(float(best[3]), "1", method="the same, validation frames")
    outcome = Outcome(parameters.potential, np.asarray(parameters.offsets_eV)[None], rows, {"z": z})
    figure = ReportFigure("learning_curves", "Loss on training and validation frames.", learning_curves(rows))
    text = (f"A learnable EAM fitted to energies, forces and stresses: {len(rows)} Gauss-Newton steps over blocks of "
            f"frames; the parameters are those after step {best[1]:.0f}.")
    ended = (f"validation lowest after step {best[1]:.0f} of {len(rows)}" if patience and best[1] < rows[-1, 1] else
             f"{len(rows)} steps, the last promised less than {LOSS_RTOL:g} of the loss")
    verdict = Verdict("fit converged", not message, message or ended)
    return StageResult(outcome, numbers, (verdict,), (ReportSection("Fit", text, [], [figure]),), ("training_loss",))
