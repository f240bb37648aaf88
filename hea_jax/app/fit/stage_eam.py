"""Stage ``fit`` of a learnable EAM: schedule, early stopping, Huber's loss, physical targets; always resumable."""

import numpy as np

from hea_jax.app.fit.eam_ending import final_numbers, restored, robust, targeted
from hea_jax.app.fit.eam_problem import eam_problem, final_objective, schedule_of
from hea_jax.app.fit.figures import learning_curves
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.outcome import Outcome
from hea_jax.app.fit.stage_eam_blocks import run_blocks
from hea_jax.app.fit.targets import target_numbers, target_table
from hea_jax.app.report import ReportFigure, ReportSection
from hea_jax.app.runs import StageResult, Verdict
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.training import initial_training, train
from hea_jax.core.results import failure_message


def run_eam(config, inputs, context):
    """Fit a learnable EAM; after a kill it goes on from the last checkpoint and ends at the same parameters."""
    if config.optimiser.gauss_newton_steps:
        return run_blocks(config, inputs, context)
    context.progress("packing frames")
    given = inputs_of(config, context.resolve)
    problem = eam_problem(config, given)
    schedule = schedule_of(config.optimiser)
    state = restored(context, "training", initial_training(problem.start, problem.packed, problem.prior, schedule))
    solution = train(
        state, problem.packed, problem.prior, schedule, validation=problem.validation,
        keep=lambda s: context.checkpoint("training", s),
        report=lambda phase, step, steps, loss, unseen: context.progress(
            f"{phase}: loss {loss:.4g}" + (f", validation {unseen:.4g}" if np.isfinite(unseen) else ""), step, steps),
    )  # fmt: skip
    state = solution.stats["state"]
    z, reached = state.z, None
    early = config.optimiser.patience > 0 and problem.validation is not None
    failures = [] if early and np.isfinite(float(solution.stats["loss"])) else [failure_message(solution.result)]
    if config.optimiser.huber is not None:
        z, failure = robust(config, context, problem, state)
        failures.append(failure)
    if config.targets:
        z, reached = targeted(config, context, given, final_objective(config, problem, z), z)
        failures.append(reached.failure)
    numbers = final_numbers(config, problem, z, state.start_norm, reached)
    values = [] if reached is None else reached.values
    parameters, history = ScaledObjective(problem.packed, problem.prior).parameters(z), solution.stats["history"]
    outcome = Outcome(parameters.potential, np.asarray(parameters.offsets_eV).reshape(given.sources, -1), history,
                      {"z": np.asarray(z)} | ({} if reached is None else {"target_rows": reached.gradients}))
    figure = ReportFigure("learning_curves", "Loss of the fit to the data on training and validation frames; phases "
                          "follow each other.", learning_curves(history))  # fmt: skip
    section = ReportSection("Fit", _text(config, history, numbers, early), target_table(config.targets, values),
                            [figure])  # fmt: skip
    return StageResult(outcome, numbers | target_numbers(config.targets, values),
                       (_verdict(failures, numbers, early),), (section,), ("training_loss",))  # fmt: skip


def _verdict(failures, numbers, early):
    """Whether every step of the fit ended as it should."""
    relative = f"relative gradient norm {numbers['relative_gradient'].value:.2g}"
    failed = "; ".join(message for message in failures if message)
    return Verdict("fit converged", not failed, failed or (
        f"stopped at the lowest validation loss, {relative}" if early else relative))


def _text(config, history, numbers, early):
    """What was done."""
    phases = history[:, 0].astype(int)
    names = [("Adam", "L-BFGS", "Newton")[p] for p in dict.fromkeys(phases.tolist())]
    robust = f" Huber's loss beyond {config.optimiser.huber:g} expected errors." if config.optimiser.huber else ""
    stopped = f" Early stopping after {config.optimiser.patience} visits." if early else ""
    targets = " Then Gauss-Newton steps with the physical targets" + (
        ", at the weights of Huber's loss before them." if config.optimiser.huber else ".") if config.targets else ""
    return (f"A learnable EAM fitted to energies, forces and stresses: {', then '.join(names)}.{robust}{stopped}"
            f"{targets} Losses and gradient are those of the parameters handed out; the gradient's norm is "
            f"{numbers['relative_gradient'].value:.2g} of that at the start.")
