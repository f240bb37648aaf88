"""The end of an EAM fit: Huber's loss and physical targets after the data alone, and what holds of the result.

Sources: Huber 1964; Nocedal & Wright 2006, chapter 10 (through ``atomistic.fitting``).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.fit.eam_problem import EamProblem, final_objective
from hea_jax.app.fit.targets import all_built
from hea_jax.app.runs import Number
from hea_jax.atomistic.fitting.fit import _gradient, _newton
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.robust import huber_loss, reweighted
from hea_jax.atomistic.fitting.targeted import _at, fit_targets, initial_targeted
from hea_jax.atomistic.fitting.training import _mean_square
from hea_jax.core.results import failure_message
from hea_jax.electronic import DatasetError

ROUNDS, SETTLED = 30, 1e-7
"""Most reweightings of Huber's loss, and its relative change at which they end."""


def check_ending(config) -> None:
    """Raise ``DatasetError`` for early stopping that the steps after it would undo."""
    after = [name for name, value in (("optimiser.huber", config.optimiser.huber is not None),
                                      ("targets", bool(config.targets))) if value]  # fmt: skip
    if config.optimiser.patience > 0 and after:
        raise DatasetError(f"optimiser.patience does not go with {' and '.join(after)}: what follows the fit to the "
                           "data goes on to the lowest training loss and undoes early stopping; set "
                           f"optimiser.patience to 0, or leave out {' and '.join(after)}")


def restored(context, name, like):
    """The checkpoint of a name as JAX arrays, or ``like``."""
    kept = context.restore(name, like)
    if kept is None:
        return like
    context.progress("going on from a checkpoint")
    return jax.tree.map(jnp.asarray, kept)


def robust(config, context, problem: EamProblem, state):
    """Reweight and minimise until Huber's loss settles: (z, what went wrong, empty if it settled)."""
    objective = ScaledObjective(problem.packed, problem.prior)
    delta, target = config.optimiser.huber, config.optimiser.gradient_rtol * float(state.start_norm)
    zero = jnp.zeros((), jnp.int32)
    now = restored(context, "robust", {"z": state.z, "round": zero, "over": zero, "loss": jnp.asarray(jnp.inf)})
    while not int(now["over"]) and int(now["round"]) < ROUNDS:
        weighted = reweighted(objective.parameters(now["z"]), problem.packed, delta)
        z, _, _ = _newton(ScaledObjective(weighted, problem.prior), now["z"], 5, target, lambda *a: None)
        value, before = float(huber_loss(objective.parameters(z), problem.packed, delta)), float(now["loss"])
        over = jnp.asarray(int(abs(before - value) <= SETTLED * abs(value)), jnp.int32)
        now = {"z": z, "round": now["round"] + 1, "over": over, "loss": jnp.asarray(value)}
        context.checkpoint("robust", now)
        context.progress(f"Huber loss {value:.6g}", int(now["round"]), ROUNDS)
    failure = "" if int(now["over"]) else (
        f"Huber's loss still changes after {ROUNDS} reweightings: raise `optimiser.newton_steps` or `optimiser.huber`")
    return now["z"], failure


@dataclasses.dataclass(frozen=True)
class Reached:
    """Targets at the end of a fit: ``values`` (before, after) each, in its unit; ``rows`` (target,), their weighted
    residuals; ``gradients`` (target, parameter) of those in scaled variables; ``failure``, empty if they settled."""

    values: list[tuple[float, float]]
    rows: np.ndarray
    gradients: np.ndarray
    failure: str


def targeted(config, context, given, objective: ScaledObjective, z) -> tuple:
    """Gauss–Newton with the targets: (z, ``Reached``).

    Raises ``ValueError`` naming targets without a value at the fit to the data alone.
    """
    targets = all_built(config, given.data, config.learnable_eam.cutoff_A)
    values = np.array([t.value for t in config.targets])
    tolerances = np.array([t.scale for t in config.targets])
    like = {"state": initial_targeted(z), "before": np.full(len(targets), np.nan)}
    kept = restored(context, "targets", like)
    before = np.asarray(kept["before"])
    if np.isnan(before).all():
        context.progress("physical targets: first values")
        zero = fit_targets(kept["state"], objective, targets, values, tolerances, steps=0)
        before = zero.stats["values"]
        bad = [t.label for t, v in zip(config.targets, before, strict=True) if not np.isfinite(v)]
        if bad:
            raise ValueError(f"targets {', '.join(bad)} fail at the fit to the data alone (no stable structure): "
                             "correct `lattice_guess_A`, add data of that structure, or leave them out")
    steps = config.optimiser.target_steps
    solution = fit_targets(
        kept["state"], objective, targets, values, tolerances, steps=steps,
        keep=lambda s: context.checkpoint("targets", {"state": s, "before": before}),
        report=lambda step, loss, _: context.progress(f"physical targets: loss {loss:.6g}", step, steps),
    )  # fmt: skip
    _, rows, after, gradients = _at(objective, targets, values, tolerances, solution.value)
    failure = "" if not failure_message(solution.result) else (
        f"the loss with physical targets still falls after {steps} steps: raise `optimiser.target_steps`")
    return solution.value, Reached(list(zip(before.tolist(), after.tolist(), strict=True)), rows, gradients, failure)


def final_numbers(config, problem: EamProblem, z, start_norm, reached: Reached | None) -> dict[str, Number]:
    """Losses and gradient of the whole loss (Huber's weights and targets included) at the parameters handed out."""
    objective = final_objective(config, problem, z)
    gradient = np.asarray(_gradient(objective, z))
    if reached is not None:
        gradient = gradient + reached.gradients.T @ reached.rows
    relative = float(np.linalg.norm(gradient) / float(start_norm))
    training = float(_mean_square(ScaledObjective(problem.packed, problem.prior), z))
    numbers = {"training_loss": Number(training, "1", method="mean squared weighted residual"),
               "relative_gradient": Number(relative, "1", method="gradient norm over its value at the start")}
    if problem.validation is not None:
        unseen = float(_mean_square(ScaledObjective(problem.validation, problem.prior), z))
        numbers["validation_loss"] = Number(unseen, "1", method="mean squared weighted residual on validation frames")
    if config.optimiser.huber is not None:
        numbers |= _huber_numbers(objective, problem, z, config.optimiser.huber)
    return numbers


def _huber_numbers(objective, problem, z, delta):
    """Huber's loss, and the share of residuals that it weighs down."""
    names = ("energy_weight", "force_weight", "stress_weight")
    new, old = (np.concatenate([np.asarray(getattr(packed, name)) for name in names]) for packed in (objective.packed,
                                                                                                     problem.packed))
    value = float(huber_loss(objective.parameters(z), problem.packed, delta))
    share = float(np.mean(new[old > 0] < old[old > 0]))
    return {"huber_loss": Number(value, "1", method=f"Huber's loss, delta {delta:g}"),
            "downweighted_share": Number(share, "1", method="share of residuals beyond delta")}
