"""Long runs, chunk by chunk, on the host: checks, rejected chunks, adaptive steps, history, restarts.

A chunk is one compiled loop of equal steps. After each, the free energy must not have risen and the conserved means
must stand; a chunk that breaks this is thrown away and repeated with half the step.

Sources: Hairer, Nørsett & Wanner 1993, II.4 (step size from the local error, step doubling).
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.results import RESULTS, NumericalFailure, Solution
from hea_jax.mesoscale.equations import AbstractEquation
from hea_jax.mesoscale.evolve import evolve
from hea_jax.mesoscale.steppers import AbstractStepper


class AbstractStepControl(eqx.Module):
    """Chooses the step of the next chunk. ``estimates``: whether it needs the local error."""

    estimates: eqx.AbstractVar[bool]
    max_halvings: eqx.AbstractVar[int]

    @abc.abstractmethod
    def next_step(self, dt: float, error: float, order: int) -> float:
        """dt (s) of the next chunk, from that of this one and the local error of one step (the unit of the fields)."""


class FixedStep(AbstractStepControl):
    """The same step throughout (in any unit of time); halved for good where a chunk is rejected, at most
    ``max_halvings`` times in a row."""

    max_halvings: int = eqx.field(static=True, default=10)
    estimates: bool = eqx.field(static=True, default=False, init=False)

    def next_step(self, dt, error, order):
        return dt


class AdaptiveStep(AbstractStepControl):
    """dt such that one step errs by ``tolerance`` (units of the fields, largest over the grid), never above
    ``largest_s`` (s); grows at most twofold from chunk to chunk."""

    tolerance: float = eqx.field(static=True, default=1e-4)
    largest_s: float = eqx.field(static=True, default=float("inf"))
    max_halvings: int = eqx.field(static=True, default=20)
    estimates: bool = eqx.field(static=True, default=True, init=False)

    def next_step(self, dt, error, order):
        factor = 0.9 * (self.tolerance / max(error, 1e-300)) ** (1 / (order + 1))
        return min(dt * min(max(factor, 0.2), 2.0), self.largest_s)


class State(eqx.Module):
    """What a run restarts from, bitwise: the fields at ``t_s`` (s) and the step ``dt_s`` (s) to go on with."""

    fields: Array
    t_s: float
    dt_s: float


class History(eqx.Module):
    """One row per accepted chunk, the start first (NumPy): ``t_s`` (s), ``energy`` (GPa nm^d), ``conserved`` (row, m),
    ``dt_s`` (s) the step that led there (0 at the start)."""

    t_s: np.ndarray
    energy: np.ndarray
    conserved: np.ndarray
    dt_s: np.ndarray


class Evolution(eqx.Module):
    """The end of a run and how it got there."""

    state: State
    history: History

    @property
    def fields(self) -> Array:
        """The fields at the end."""
        return self.state.fields


def run_evolution(equation: AbstractEquation, stepper: AbstractStepper, fields: Float[Array, "*fields"], *, dt_s: float,
                  t_end_s: float, chunk: int = 20, t_start_s: float = 0.0, control: AbstractStepControl | None = None,
                  on_chunk: Callable[[State, float], None] | None = None) -> Solution:
    """``Solution(Evolution)``: steps of ``dt_s`` (s) from ``t_start_s`` to ``t_end_s`` (s), ``chunk`` at a time.

    The last chunk takes shorter steps to end at ``t_end_s``. ``on_chunk(state, energy)`` is called after every accepted
    chunk (progress, files, pictures). To restart, pass a state's ``fields``, ``t_s`` and ``dt_s``: a run cut at a
    chunk and restarted equals the uncut one bit for bit. ``control`` defaults to ``FixedStep()``.

    Result: ``energy_rose`` or ``non_finite`` if a chunk fails after ``max_halvings`` halvings; the value is then the
    last good state. Stats: ``chunks``, ``rejected``. Raises ``ValueError`` for times or steps that are not positive and
    ``NumericalFailure`` if a conserved mean drifts (a wrong equation: no step size cures it). Host-side.
    """
    if not (dt_s > 0 and t_end_s > t_start_s and chunk >= 1):
        raise ValueError(f"dt_s and chunk must be positive and t_end_s after t_start_s, got {dt_s}, {chunk}, "
                         f"{t_start_s}, {t_end_s}")
    control = FixedStep() if control is None else control
    state, log, rejected = State(fields, float(t_start_s), float(dt_s)), _Log(equation, fields), 0
    log.append(state.t_s, float(jax.jit(lambda e, f: e.energy(f))(equation, fields)), equation.conserved(fields), 0.0)
    result = RESULTS.successful if np.isfinite(log.rows[0][1]) else RESULTS.non_finite
    halvings = 0
    while bool(result == RESULTS.successful) and state.t_s < t_end_s:
        remaining = t_end_s - state.t_s
        last = remaining <= chunk * state.dt_s * (1 + 1e-9)
        dt = remaining / chunk if last else state.dt_s
        sol = evolve(equation, stepper, state.fields, dt_s=dt, steps=chunk, estimate=control.estimates)
        if not bool(sol.result == RESULTS.successful):
            rejected, halvings = rejected + 1, halvings + 1
            state = State(state.fields, state.t_s, dt / 2)
            result = sol.result if halvings > control.max_halvings else result
            continue
        follow = control.next_step(dt, float(sol.stats["error"]), stepper.order) if control.estimates else state.dt_s
        # Right after a rejection the step must not grow back to the one that failed.
        follow, halvings = min(follow, dt) if halvings else follow, 0
        state = State(sol.value, t_end_s if last else state.t_s + chunk * dt, follow)
        log.append(state.t_s, float(sol.stats["energy"]), sol.stats["conserved"], dt)
        if on_chunk is not None:
            on_chunk(state, float(sol.stats["energy"]))
    stats = {"chunks": jnp.array(len(log.rows) - 1), "rejected": jnp.array(rejected)}
    return Solution(Evolution(state, log.history()), result, stats)


class _Log:
    """Rows of the history; watches the conserved means."""

    def __init__(self, equation, fields):
        self.rows = []
        self.tolerance = max(1e-12, 64 * float(jnp.finfo(fields.dtype).eps))

    def append(self, t, energy, conserved, dt):
        means = np.asarray(conserved)
        self.rows.append((t, energy, means, dt))
        drift = np.max(np.abs(means - self.rows[0][2]), initial=0.0)
        if drift > self.tolerance:
            raise NumericalFailure(f"a conserved mean drifted by {drift:.1e}: its rate has a mean of its own")

    def history(self):
        t, energy, conserved, dt = (np.array(column) for column in zip(*self.rows, strict=True))
        return History(t, energy, conserved, dt)
