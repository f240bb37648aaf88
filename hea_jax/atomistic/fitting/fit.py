"""Fit a learnable EAM to reference data: linear solve inside, Adam then L-BFGS outside, Newton to finish.

Adam and L-BFGS move the density coefficients, everything else is solved for (``reduced``). Newton's method in all
parameters then makes the result *the* minimum nearby rather than wherever a first-order method tired, so that
Gauss–Newton calibration, Laplace uncertainty and derivatives of the fit mean something.

Sources: Golub & Pereyra 1973 (variable projection); Kingma & Ba 2015 (Adam); Liu & Nocedal 1989 (L-BFGS).
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from hea_jax.atomistic.fitting.objective import FitPrior
from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames
from hea_jax.atomistic.fitting.reduced import ReducedObjective, ScaledObjective, reduce_linear
from hea_jax.core.results import RESULTS, Solution, failure_if, require_x64


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How a fit is run: steps per stage, Adam's rate (in units of the prior's spread), and when it has converged.

    ``gradient_rtol`` is the final gradient norm relative to the one at the start, in scaled variables;
    ``chunk`` steps run between two calls of the progress callable.
    """

    adam_steps: int = 100
    adam_rate: float = 0.03
    lbfgs_steps: int = 250
    newton_steps: int = 200
    gradient_rtol: float = 1e-11
    chunk: int = 25


Report = Callable[[int, float], None]


def fit(start: FitParameters, packed: PackedFrames, prior: FitPrior, *, settings: FitSettings | None = None,
        report: Report | None = None) -> Solution:
    """Minimise ``loss`` from the densities of ``start``; ``report(step, loss)`` is called between jitted chunks.

    ``Solution(FitParameters, result, stats)`` with stats ``loss``, ``gradient_norm``, ``start_gradient_norm``,
    ``relative_gradient``, ``lowest_curvature`` (of the loss, scaled variables; 1 is the prior's own) and ``steps``.
    Result ``fit_not_converged`` above ``gradient_rtol``, ``non_finite`` on NaN. A fit that was interrupted goes on from
    any parameters passed as ``start``. A host driver: not for use under ``jit``.
    """
    settings = settings or FitSettings()
    require_x64(start)
    objective = ScaledObjective(packed, prior)
    reduced = reduce_linear(objective)
    progress = _Progress(report)
    z = objective.scaled(start)
    start_norm = float(jnp.linalg.norm(_gradient(objective, z)))
    density = z[reduced.positions()[2]]
    for optimiser, steps in ((_adam(settings.adam_rate, settings.adam_steps), settings.adam_steps),
                             (_lbfgs(), settings.lbfgs_steps)):
        density = _first_order(reduced, density, optimiser, steps, settings.chunk, progress)
    z = _complete(reduced, density)
    z, norm, curvature = _newton(objective, z, settings.newton_steps, settings.gradient_rtol * start_norm, progress)
    final = objective.loss(z)
    result = failure_if(not norm <= settings.gradient_rtol * start_norm, RESULTS.fit_not_converged)
    result = failure_if(~jnp.isfinite(final), RESULTS.non_finite, result)
    stats = {"loss": final, "gradient_norm": jnp.asarray(norm), "start_gradient_norm": jnp.asarray(start_norm),
             "relative_gradient": jnp.asarray(norm / start_norm), "lowest_curvature": jnp.asarray(curvature),
             "steps": jnp.asarray(progress.step)}
    return Solution(objective.parameters(z), result, stats)


class _Progress:
    """Counts steps over all stages and tells the caller."""

    def __init__(self, report: Report | None):
        self.report, self.step = report, 0

    def __call__(self, steps: int, value) -> None:
        self.step += steps
        if self.report is not None:
            self.report(self.step, float(value))


@functools.cache
def _adam(rate: float, steps: int):
    return optax.with_extra_args_support(optax.adam(optax.cosine_decay_schedule(rate, max(steps, 1), 0.05)))


@functools.cache
def _lbfgs():
    return optax.with_extra_args_support(optax.lbfgs(memory_size=24))


@eqx.filter_jit
def _advance(optimiser, reduced: ReducedObjective, density, state, best, count):
    """``count`` steps; ``best`` is (point, value) of the lowest loss met."""
    def one(_, carry):
        density, state, (best_density, best_value) = carry
        value, gradient = jax.value_and_grad(reduced.__call__)(density)
        best_density = jnp.where(value < best_value, density, best_density)
        updates, state = optimiser.update(gradient, state, density, value=value, grad=gradient,
                                          value_fn=reduced.__call__)
        return optax.apply_updates(density, updates), state, (best_density, jnp.minimum(value, best_value))

    return jax.lax.fori_loop(0, count, one, (density, state, best))


def _first_order(reduced: ReducedObjective, density, optimiser, steps, chunk, progress):
    """``steps`` of an optax optimiser on the reduced loss, in jitted chunks; returns the best point met."""
    # Strong types from the start: a weakly typed initial state would compile a second time.
    state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), optimiser.init(density))
    best = (density, jnp.full((), jnp.inf, density.dtype))
    for done in range(0, steps, chunk):
        count, before = min(chunk, steps - done), best[1]
        density, state, best = _advance(optimiser, reduced, density, state, best, jnp.asarray(count))
        progress(count, best[1])
        if before - best[1] < 1e-9 * best[1]:
            break
    return best[0]


@eqx.filter_jit
def _complete(reduced: ReducedObjective, density):
    return reduced.complete(density)


@eqx.filter_jit
def _loss(objective: ScaledObjective, z):
    return objective.loss(z)


@eqx.filter_jit
def _gradient(objective: ScaledObjective, z):
    return jax.grad(objective.loss)(z)


@eqx.filter_jit
def _expand(objective: ScaledObjective, z):
    """Loss, gradient, and eigen-decomposition of the exact Hessian."""
    value, gradient = jax.value_and_grad(objective.loss)(z)
    hessian = jax.lax.map(jax.linearize(jax.grad(objective.loss), z)[1], jnp.eye(z.size, dtype=z.dtype), batch_size=32)
    return value, gradient, jnp.linalg.eigh(0.5 * (hessian + hessian.T))


def _newton(objective, z, steps, target, progress):
    """Newton on |H| (so that negative curvature leads downhill), backtracking; (z, ‖g‖, lowest eigenvalue)."""
    value, gradient, (w, V) = _expand(objective, z)
    for _ in range(steps):
        norm = float(jnp.linalg.norm(gradient))
        if norm <= target or not np.isfinite(norm):
            break
        step = -V @ ((V.T @ gradient) / jnp.abs(w))
        lengths = (4.0**-halving for halving in range(12))
        # Near the minimum the loss is flat to round-off: a step that raises it by no more is taken.
        length = next((a for a in lengths if _loss(objective, z + a * step) <= value * (1 + 1e-13)), None)
        if length is None:
            break
        z = z + length * step
        value, gradient, (w, V) = _expand(objective, z)
        progress(1, value)
    return z, float(jnp.linalg.norm(gradient)), float(w[0])
