"""Stage ``fit`` of a learnable EAM: schedule, early stopping, Huber's loss, physical targets; always resumable."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.fit.data import counts_by_source
from hea_jax.app.fit.figures import learning_curves
from hea_jax.app.fit.inputs import Inputs, inputs_of
from hea_jax.app.fit.outcome import Outcome
from hea_jax.app.fit.stage_eam_blocks import run_blocks
from hea_jax.app.fit.targets import built
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.fitting import FitParameters, FitPrior, PackedFrames, Ridge, initial_parameters, make_prior, pack
from hea_jax.atomistic.fitting.fit import _newton
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.robust import huber_loss, reweighted
from hea_jax.atomistic.fitting.targeted import fit_targets, initial_targeted
from hea_jax.atomistic.fitting.training import Schedule, initial_training, train
from hea_jax.core.results import failure_message

ROUNDS, SETTLED = 30, 1e-7
"""Most reweightings of Huber's loss, and its relative change at which they end."""
HELD_EV = 1e-6
"""Prior spread of offsets that are given."""


@dataclasses.dataclass(frozen=True)
class EamProblem:
    """Everything that is minimised: ``start``, ``prior``, packed frames for training and (or None) validation."""

    start: FitParameters
    prior: FitPrior
    packed: PackedFrames
    validation: PackedFrames | None


def eam_problem(config, given: Inputs) -> EamProblem:
    """The problem of a configuration (float64)."""
    section, elements, sources = config.learnable_eam, given.data.elements, given.sources

    def start_with(offsets):
        return initial_parameters(elements, pair_functions=section.n_pair_functions,
                                  density_functions=section.n_density_functions, cutoff=section.cutoff_A,
                                  inner_A=section.inner_A, offsets_eV=offsets)

    template = start_with(None).potential

    def packed(part):
        frames, source = given.part(part)
        if not len(frames):
            return None
        return counts_by_source(pack(frames.frames, frames.groups, template, given.weights), source, sources)

    training = packed("train")
    assert training is not None
    isolated = config.offsets.table_eV is not None
    counts = np.asarray(training.counts)
    fitted = np.linalg.lstsq(counts, np.asarray(training.energy_target), rcond=1e-10)[0]
    start = start_with(jnp.asarray(np.zeros_like(fitted) if isolated else fitted))
    prior = section.prior
    ridge = Ridge(prior.pair_eV, prior.cross_eV, prior.density, prior.root_eV, prior.series_eV,
                  HELD_EV if isolated else Ridge().offsets_eV)
    return EamProblem(start, make_prior(start, ridge), training, packed("validation"))


def schedule_of(optimiser) -> Schedule:
    """The schedule of a configuration."""
    return Schedule(optimiser.adam_steps, optimiser.learning_rate, optimiser.warmup_steps, optimiser.final_fraction,
                    optimiser.lbfgs_steps, optimiser.newton_steps, optimiser.gradient_rtol, optimiser.checkpoint_every,
                    optimiser.patience)


def run_eam(config, inputs, context):
    """Fit a learnable EAM; after a kill it goes on from the last checkpoint and ends at the same parameters."""
    if config.optimiser.gauss_newton_steps:
        return run_blocks(config, inputs, context)
    context.progress("packing frames")
    given = inputs_of(config, context.resolve)
    problem = eam_problem(config, given)
    schedule = schedule_of(config.optimiser)
    state = _restored(context, "training", initial_training(problem.start, problem.packed, problem.prior, schedule))
    solution = train(
        state, problem.packed, problem.prior, schedule, validation=problem.validation,
        keep=lambda s: context.checkpoint("training", s),
        report=lambda phase, step, steps, loss, unseen: context.progress(
            f"{phase}: loss {loss:.4g}" + (f", validation {unseen:.4g}" if np.isfinite(unseen) else ""), step, steps),
    )  # fmt: skip
    objective = ScaledObjective(problem.packed, problem.prior)
    z, more = solution.stats["state"].z, {}
    if config.optimiser.huber is not None:
        objective, z, more = _robust(config, context, problem, objective, solution.stats["state"])
    rows, reached = [], {}
    if config.targets:
        z, rows, reached = _targeted(config, context, given, objective, z)
    parameters = objective.parameters(z)
    history = solution.stats["history"]
    early = config.optimiser.patience > 0 and problem.validation is not None
    numbers, verdicts = _numbers(solution, history, more | reached, early)
    outcome = Outcome(parameters.potential, np.asarray(parameters.offsets_eV).reshape(given.sources, -1), history,
                      {"z": np.asarray(z)})  # fmt: skip
    figure = ReportFigure("learning_curves", "Loss on training and validation frames; phases follow each other.",
                          learning_curves(history))  # fmt: skip
    tables = [Table(["target", "before", "after", "unit", "target value", "tolerance", "source"], rows,
                    "Physical targets that were fitted with the data")] if rows else []  # fmt: skip
    section = ReportSection("Fit", _text(config, solution, more), tables, [figure])
    return StageResult(outcome, numbers, verdicts, (section,), ("training_loss",))


def _restored(context, name, like):
    """The checkpoint of a name as JAX arrays, or ``like``."""
    kept = context.restore(name, like)
    if kept is None:
        return like
    context.progress("going on from a checkpoint")
    return jax.tree.map(jnp.asarray, kept)


def _robust(config, context, problem, objective, state):
    """Reweight and minimise until Huber's loss settles: (objective with the last weights, z, numbers)."""
    delta, target = config.optimiser.huber, config.optimiser.gradient_rtol * float(state.start_norm)
    zero = jnp.zeros((), jnp.int32)
    now = _restored(context, "robust", {"z": state.z, "round": zero, "over": zero, "loss": jnp.asarray(jnp.inf)})
    while not int(now["over"]) and int(now["round"]) < ROUNDS:
        weighted = reweighted(objective.parameters(now["z"]), problem.packed, delta)
        z, _, _ = _newton(ScaledObjective(weighted, problem.prior), now["z"], 5, target, lambda *a: None)
        value, before = float(huber_loss(objective.parameters(z), problem.packed, delta)), float(now["loss"])
        over = jnp.asarray(int(abs(before - value) <= SETTLED * abs(value)), jnp.int32)
        now = {"z": z, "round": now["round"] + 1, "over": over, "loss": jnp.asarray(value)}
        context.checkpoint("robust", now)
        context.progress(f"Huber loss {value:.6g}", int(now["round"]), ROUNDS)
    z, value = now["z"], float(now["loss"])
    weighted = reweighted(objective.parameters(z), problem.packed, delta)
    weights = [(np.asarray(new) / np.asarray(old))[np.asarray(old) > 0] ** 2 for new, old in (
        (weighted.energy_weight, problem.packed.energy_weight), (weighted.force_weight, problem.packed.force_weight),
        (weighted.stress_weight, problem.packed.stress_weight))]  # fmt: skip
    share = float(np.mean(np.concatenate(weights) < 1.0))
    numbers = {"huber_loss": Number(value, "1", method=f"Huber's loss, delta {delta:g}"),
               "downweighted_share": Number(share, "1", method="share of residuals beyond delta")}
    return ScaledObjective(weighted, problem.prior), z, numbers


def final_objective(config, problem: EamProblem, z) -> ScaledObjective:
    """The least-squares problem that z is the minimum of (Huber weights applied)."""
    objective = ScaledObjective(problem.packed, problem.prior)
    if config.optimiser.huber is None:
        return objective
    weighted = reweighted(objective.parameters(z), problem.packed, config.optimiser.huber)
    return eqx.tree_at(lambda o: o.packed, objective, weighted)


def _targeted(config, context, given, objective, z):
    """Gauss–Newton with the targets: (z, table rows, numbers)."""
    cutoff = config.learnable_eam.cutoff_A
    targets = tuple(built(t, given.data.elements, cutoff, given.data.dataset, config.sanity.lattice_constants_A)
                    for t in config.targets)
    values = np.array([t.value for t in config.targets])
    tolerances = np.array([t.tolerance for t in config.targets])
    like = {"state": initial_targeted(z), "before": np.full(len(targets), np.nan)}
    kept = _restored(context, "targets", like)
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
    after = solution.stats["values"]
    rows = [[t.label, f"{b:.4g}", f"{a:.4g}", t.unit, f"{t.value:.4g}", f"{t.tolerance:.2g}", t.source]
            for t, b, a in zip(config.targets, before, after, strict=True)]
    numbers = {f"target_{n}_before": Number(float(b), t.unit, method=f"{t.label}, fit to data alone", source=t.source)
               for n, (t, b) in enumerate(zip(config.targets, before, strict=True))}
    return solution.value, rows, numbers


def _numbers(solution, history, more, early):
    """Numbers and verdicts of the fit."""
    relative = float(solution.stats["relative_gradient"])
    training, unseen = (float(history[-1, k]) for k in (2, 3)) if len(history) else (float("nan"),) * 2
    numbers = {"training_loss": Number(training, "1", method="mean squared weighted residual"),
               "relative_gradient": Number(relative, "1", method="gradient norm over its value at the start")} | more
    if np.isfinite(unseen):
        numbers["validation_loss"] = Number(float(np.nanmin(history[:, 3])), "1", method="lowest mean squared weighted "
                                            "residual on validation frames")  # fmt: skip
    message = failure_message(solution.result)
    if message and early and np.isfinite(float(solution.stats["loss"])):
        text = f"stopped at the lowest validation loss, relative gradient norm {relative:.2g}"
        return numbers, (Verdict("fit converged", True, text),)
    return numbers, (Verdict("fit converged", not message, message or f"relative gradient norm {relative:.2g}"),)


def _text(config, solution, more):
    """What was done."""
    phases = solution.stats["history"][:, 0].astype(int)
    names = [("Adam", "L-BFGS", "Newton")[p] for p in dict.fromkeys(phases.tolist())]
    robust = f" Huber's loss beyond {config.optimiser.huber:g} expected errors." if more else ""
    stopped = f" Early stopping after {config.optimiser.patience} visits." if config.optimiser.patience else ""
    return (f"A learnable EAM fitted to energies, forces and stresses: {', then '.join(names)}.{robust}{stopped} "
            f"Gradient norm {float(solution.stats['relative_gradient']):.2g} of that at the start.")
