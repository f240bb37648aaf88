"""Training a learnable EAM as a host driver that can be stopped anywhere: schedule, early stopping, checkpoints.

The linear parameters are solved for at every step (``reduced``); Adam with a warm-up and a cosine decay, then L-BFGS,
move the densities; Newton's method in all parameters finishes. Everything that the next chunk depends on stands in
``TrainingState``, so a run that goes on from one ends bit for bit where an undisturbed one does.

Sources: Loshchilov & Hutter 2017 (warm-up and cosine decay); Prechelt 1998 (early stopping); Golub & Pereyra 1973.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.fitting.fit import _advance, _complete, _gradient, _lbfgs, _newton
from hea_jax.atomistic.fitting.objective import FitPrior
from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames, data_residuals
from hea_jax.atomistic.fitting.reduced import ScaledObjective, reduce_linear
from hea_jax.core.results import RESULTS, Solution, failure_if, require_x64

ADAM, LBFGS, NEWTON, DONE = range(4)
PHASES = ("Adam", "L-BFGS", "Newton", "done")
NEWTON_CHUNK = 5


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Steps of each phase; Adam's peak ``learning_rate`` (units of the prior's spread) is reached after
    ``warmup_steps`` and falls to ``final_fraction`` of it; ``chunk`` steps run between two visits of the host.

    After ``patience`` chunks without a lower validation loss a first-order phase ends (0: never); Newton stops at
    ``gradient_rtol``, the gradient norm relative to the one at the start.
    """

    adam_steps: int = 200
    learning_rate: float = 0.03
    warmup_steps: int = 20
    final_fraction: float = 0.05
    lbfgs_steps: int = 250
    newton_steps: int = 25
    gradient_rtol: float = 1e-9
    chunk: int = 25
    patience: int = 0

    @property
    def rows(self) -> int:
        """Rows of the history that a whole run can fill."""
        visits = lambda steps, chunk: -(-steps // chunk)
        return (visits(self.adam_steps, self.chunk) + visits(self.lbfgs_steps, self.chunk)
                + visits(self.newton_steps, NEWTON_CHUNK))

    def steps(self, phase: int) -> int:
        """Steps of a phase."""
        return (self.adam_steps, self.lbfgs_steps, self.newton_steps)[phase]


class TrainingState(eqx.Module):
    """A training between two chunks; save it as a pytree of arrays (all dimensionless, in scaled variables).

    ``best`` (point, reduced loss) of the phase; ``chosen`` (point, validation loss) of the phase, and ``stale`` chunks
    since; ``history`` rows are (phase, step, training, validation) with mean squared residuals, NaN where not filled.
    """

    phase: Int[Array, ""]
    step: Int[Array, ""]
    z: Float[Array, "parameter"]
    density: Float[Array, "density"]
    adam: Any
    lbfgs: Any
    best: tuple[Float[Array, "density"], Float[Array, ""]]
    chosen: tuple[Float[Array, "parameter"], Float[Array, ""]]
    stale: Int[Array, ""]
    start_norm: Float[Array, ""]
    history: Float[Array, "row 4"]


@functools.cache
def _adam(schedule: Schedule):
    steps = max(schedule.adam_steps, 1)
    warmup = min(schedule.warmup_steps, steps - 1)
    rate = optax.warmup_cosine_decay_schedule(
        0.02 * schedule.learning_rate if warmup else schedule.learning_rate, schedule.learning_rate, warmup, steps,
        schedule.final_fraction * schedule.learning_rate)
    return optax.with_extra_args_support(optax.adam(rate))


def _strong(tree):
    """Strong types from the start: a weakly typed initial state would compile a second time."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), tree)


def initial_training(start: FitParameters, packed: PackedFrames, prior: FitPrior, schedule: Schedule) -> TrainingState:
    """The state before the first step; also what a stored one is compared with (structure, shapes, dtypes)."""
    require_x64(start)
    objective = ScaledObjective(packed, prior)
    z = objective.scaled(start)
    density = z[reduce_linear(objective).positions()[2]]
    infinite, zero = jnp.full((), jnp.inf, z.dtype), jnp.zeros((), jnp.int32)
    return TrainingState(
        phase=zero, step=zero, z=z, density=density, adam=_strong(_adam(schedule).init(density)),
        lbfgs=_strong(_lbfgs().init(density)), best=(density, infinite), chosen=(z, infinite), stale=zero,
        start_norm=jnp.linalg.norm(_gradient(objective, z)), history=jnp.full((schedule.rows, 4), jnp.nan))


Keep = Callable[[TrainingState], None]
Report = Callable[[str, int, int, float, float], None]


def train(state: TrainingState, packed: PackedFrames, prior: FitPrior, schedule: Schedule, *,
          validation: PackedFrames | None = None, keep: Keep | None = None, report: Report | None = None) -> Solution:
    """Go on from ``state`` to the end of the schedule: ``Solution(FitParameters)``.

    ``keep(state)`` is called after every chunk, ``report(phase, step, steps, training, validation)`` with mean squared
    weighted residuals (dimensionless). With ``validation`` frames and ``patience``, each phase hands on its point of
    lowest validation loss, and Newton's minimum is taken only if its validation loss is no higher than before it.

    Stats: ``loss``, ``relative_gradient``, ``lowest_curvature`` (of the loss, scaled variables), ``history``,
    ``newton_taken``, ``state``. Result ``fit_not_converged`` where the gradient is above ``gradient_rtol`` (an early
    stop is such a case), ``non_finite``. A host driver, float64.
    """
    driver = _Driver(ScaledObjective(packed, prior), schedule, validation, keep or (lambda s: None),
                     report or (lambda *a: None))
    while int(state.phase) < DONE:
        state = driver.newton(state) if int(state.phase) == NEWTON else driver.first_order(state)
        driver.keep(state)
    objective = driver.objective
    norm = jnp.linalg.norm(_gradient(objective, state.z))
    relative = norm / state.start_norm
    loss = objective.loss(state.z)
    result = failure_if(~(relative <= schedule.gradient_rtol), RESULTS.fit_not_converged)
    result = failure_if(~jnp.isfinite(loss), RESULTS.non_finite, result)
    history = np.asarray(state.history)
    stats = {"loss": loss, "relative_gradient": relative, "history": history[np.isfinite(history[:, 0])],
             "state": state}
    return Solution(objective.parameters(state.z), result, stats)


@eqx.filter_jit
def _mean_square(objective: ScaledObjective, z):
    """Mean squared weighted residual of the data rows alone."""
    return jnp.mean(data_residuals(objective.parameters(z), objective.packed) ** 2)


class _Driver:
    """One visit of the host per chunk; holds what does not change."""

    def __init__(self, objective, schedule, validation, keep, report):
        self.objective, self.schedule, self.keep, self.report = objective, schedule, keep, report
        self.reduced = reduce_linear(objective)
        self.unseen = None if validation is None else ScaledObjective(validation, objective.prior)

    @property
    def stops_early(self):
        return self.unseen is not None and self.schedule.patience > 0

    def losses(self, z):
        """(training, validation) mean squared residuals; NaN without validation frames."""
        unseen = jnp.nan if self.unseen is None else _mean_square(self.unseen, z)
        return float(_mean_square(self.objective, z)), float(unseen)

    def recorded(self, state, step, z):
        """The state with a row of history, and the point of lowest validation loss brought up to date."""
        training, unseen = self.losses(z)
        row = int(np.isfinite(np.asarray(state.history[:, 0])).sum())
        history = state.history.at[row].set(jnp.array([float(state.phase), step, training, unseen]))
        better = unseen < float(state.chosen[1])
        chosen = (z, jnp.asarray(unseen)) if better else state.chosen
        stale = jnp.asarray(0 if better else int(state.stale) + 1, jnp.int32)
        phase = int(state.phase)
        self.report(PHASES[phase], step, self.schedule.steps(phase), training, unseen)
        return eqx.tree_at(lambda s: (s.history, s.chosen, s.stale, s.step, s.z), state,
                           (history, chosen, stale, jnp.asarray(step, jnp.int32), z))

    def first_order(self, state):
        """One chunk of Adam or L-BFGS, or the end of the phase."""
        phase, step = int(state.phase), int(state.step)
        steps = self.schedule.steps(phase)
        optimiser, inner = (_adam(self.schedule), state.adam) if phase == ADAM else (_lbfgs(), state.lbfgs)
        if step >= steps:
            return self.next_phase(state)
        count, before = min(self.schedule.chunk, steps - step), float(state.best[1])
        density, inner, best = _advance(optimiser, self.reduced, state.density, inner, state.best, jnp.asarray(count))
        where = (lambda s: (s.density, s.best, s.adam)) if phase == ADAM else (lambda s: (s.density, s.best, s.lbfgs))
        state = eqx.tree_at(where, state, (density, best, inner))
        state = self.recorded(state, step + count, _complete(self.reduced, best[0]))
        settled = before - float(best[1]) < 1e-9 * abs(float(best[1]))
        tired = self.stops_early and int(state.stale) >= self.schedule.patience
        return self.next_phase(state) if settled or tired or not np.isfinite(float(best[1])) else state

    def next_phase(self, state):
        """The next phase starts from the best point of this one."""
        if self.stops_early and np.isfinite(float(state.chosen[1])):
            z = state.chosen[0]
        else:
            z = _complete(self.reduced, state.best[0])
        density = z[self.reduced.positions()[2]]
        infinite = jnp.full((), jnp.inf, z.dtype)
        zero = jnp.zeros((), jnp.int32)
        return eqx.tree_at(
            lambda s: (s.phase, s.step, s.z, s.density, s.best, s.lbfgs, s.stale), state,
            (state.phase + 1, zero, z, density, (density, infinite), _strong(_lbfgs().init(density)), zero))

    def newton(self, state):
        """A few Newton steps; the minimum is not taken where validation says that it is worse."""
        step, steps = int(state.step), self.schedule.newton_steps
        target = self.schedule.gradient_rtol * float(state.start_norm)
        if step >= steps or float(jnp.linalg.norm(_gradient(self.objective, state.z))) <= target:
            return self.finished(state)
        count = min(NEWTON_CHUNK, steps - step)
        z, norm, _ = _newton(self.objective, state.z, count, target, lambda *a: None)
        moved = bool(jnp.any(z != state.z))
        state = self.recorded(state, step + count, z)
        return self.finished(state) if norm <= target or not moved else state

    def finished(self, state):
        """The last state: the point of lowest validation loss if the schedule stops early."""
        z = state.chosen[0] if self.stops_early and np.isfinite(float(state.chosen[1])) else state.z
        return eqx.tree_at(lambda s: (s.phase, s.z), state, (jnp.asarray(DONE, jnp.int32), z))
