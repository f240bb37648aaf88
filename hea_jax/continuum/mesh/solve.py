"""Solving a component: one load, or a path of loads with cut-back.

Sources: Crisfield 1991 (load stepping); Deuflhard 2011 (tangent predictor, residual monitoring).
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.continuum.force_newton import Forces
from hea_jax.continuum.mesh.component import Component, Loads
from hea_jax.continuum.mesh.discretisation import deformation_gradients
from hea_jax.core.condense import condense
from hea_jax.core.krylov import CG, AbstractLinearSolver, tree_norm
from hea_jax.core.minimise import AbstractMinimiser, Newton, Quadratic
from hea_jax.core.results import RESULTS, Solution, failure_if, first_failure, require_x64, succeeded
from hea_jax.records.law import AbstractFiniteStrainLaw

DEFAULT_LINEAR = CG(rtol=1e-12, probe=0)
"""No probe for negative curvature: the factorisation of the final tangent tells."""


class ComponentState(eqx.Module):
    """``energy`` () W̄ (GPa·length³), nodal ``displacement`` (node, dim), ``stress`` (element, gauss, 3, 3) in GPa (σ,
    or P at finite strain), ``reactions`` (node, dim) of the supports (GPa·length²)."""

    energy: Float[Array, ""]
    displacement: Float[Array, "node dim"]
    stress: Float[Array, "element gauss 3 3"]
    reactions: Float[Array, "node dim"]


class RecordedNewton(AbstractMinimiser):
    """``Newton`` step by step, with the residual norms in stats ``history`` (max_steps + 1,), NaN where not reached.

    Stops at ‖P W_y‖ ≤ atol + rtol ‖P W_y(y0)‖; ``atol`` is an array, so that it may change without a new compilation.
    Linear systems are solved tightly (relative 1e-10): it shows the quadratic convergence and suits a direct inverse.
    """

    atol: Float[Array, ""] = eqx.field(default=0.0, converter=jnp.asarray)
    rtol: float = eqx.field(static=True, default=1e-10)
    max_steps: int = eqx.field(static=True, default=25)

    def minimise(self, problem, x, y0, linear):
        one = Newton(rtol=0.0, atol=0.0, max_steps=1, forcing=1e-10)
        # The energy of a component is a sum over 10⁴ points, whose round-off hides the last decades of its decrease.
        problem = Forces(problem)
        norm0 = tree_norm(problem.project(problem.residual(x, y0)))
        target = self.atol + self.rtol * norm0
        history = jnp.full(self.max_steps + 1, jnp.nan, norm0.dtype).at[0].set(norm0)

        def running(s):
            _, norm, _, step, _, _, stuck = s
            return ~(norm <= target) & jnp.isfinite(norm) & (step < self.max_steps) & ~stuck

        def body(s):
            y, _, history, step, iterations, _, _ = s
            found = one.minimise(problem, x, y, linear)
            norm = found.stats["residual"]
            moved = tree_norm(jax.tree.map(jnp.subtract, found.value, y)) > 0
            return (found.value, norm, history.at[step + 1].set(norm), step + 1,
                    iterations + found.stats["linear_iterations"], found.result, ~moved)
        false, zero = jnp.array(False), jnp.array(0)
        start = (y0, norm0, history, zero, zero, failure_if(false, RESULTS.newton_max_steps), false)
        y, norm, history, steps, iterations, last, _ = jax.lax.while_loop(running, body, start)
        result = RESULTS.where(norm <= target, RESULTS.successful, last)
        result = failure_if(~jnp.isfinite(norm), RESULTS.non_finite, result)
        return Solution(y, result, {"steps": steps, "linear_iterations": iterations, "residual": norm,
                                    "history": history})


def solve_component(component: Component, loads: Loads, *, start: Float[Array, "node dim"] | None = None,
                    solver: AbstractMinimiser | None = None,
                    linear: AbstractLinearSolver = DEFAULT_LINEAR) -> Solution:
    """``Solution(ComponentState)`` of a component under ``loads`` (length, GPa·length²), from nodal displacements
    ``start`` (default zero).

    ``solver`` defaults to ``Quadratic()`` for linear laws, ``RecordedNewton()`` else. Differentiable in the component
    (law, temperature, nodes) and the loads, forward and reverse; usable under ``jit`` and ``vmap``. A failed lane is
    NaN. Results: those of ``condense``; ``negative_curvature`` where the tangent is not positive definite (a support is
    missing, or an instability); ``folded_element``. Raises ``TypeError`` unless in float64.
    """
    require_x64(component.disc, component.law, loads)
    return _solve(component, loads, start, solver, linear)


@eqx.filter_jit
def _solve(component, loads, start, solver, linear):
    y0 = component.start() if start is None else component.project(start)
    if solver is None:
        solver = Quadratic() if component.linear else RecordedNewton(atol=1e-12 * _force_scale(component, loads, y0))
    sol = condense(component, loads, y0, solver=solver, linear=linear)
    energy, y = sol.value
    result = first_failure(sol.result, _verdict(component, loads, y))
    u = component.displacement(loads, y)
    state = ComponentState(energy, u, component.stress(loads, y), component.reactions(loads, y))
    # A product, not a `where`: the derivative of a failed lane must be NaN as well.
    factor = jnp.where(succeeded(result), 1.0, jnp.nan)
    return Solution(jax.tree.map(lambda a: a * factor, state), result, sol.stats)


def _force_scale(component, loads, y):
    """Norm of the nodal sums of the elements' absolute forces: round-off of the residual is in proportion to it."""
    disc, d = component.disc, component.disc.dim
    P = component.stress(loads, y)[..., :d, :d]
    forces = jnp.abs(jnp.einsum("eg,egiJ,egaJ->eai", disc.weights, P, disc.shape_gradients))
    scale = tree_norm(jnp.zeros((disc.n_nodes, d), P.dtype).at[disc.cells].add(forces))
    return jax.lax.stop_gradient(scale)


def _verdict(component, loads, y):
    """Folded elements and negative curvature at a state."""
    component, loads, y = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a,
                                       (component, loads, y))
    definite = component.inverse.definite(component.prepared(loads, y))
    result = failure_if(~definite, RESULTS.negative_curvature)
    if isinstance(component.law, AbstractFiniteStrainLaw):
        F = deformation_gradients(component.disc, component.displacement(loads, y))
        result = failure_if(~(jnp.min(jnp.linalg.det(F)) > 0), RESULTS.folded_element, result)
    return result


@dataclasses.dataclass(frozen=True)
class LoadStep:
    """One converged step: the load ``factor``, the ``state``, and the Newton residual norms (GPa·length²)."""

    factor: float
    state: ComponentState
    residuals: tuple[float, ...]


def load_steps(component: Component, loads: Loads, *, steps: int = 10, rtol: float = 1e-9, max_iterations: int = 12,
               smallest: float = 1e-3, linear: AbstractLinearSolver = DEFAULT_LINEAR,
               watch: Callable[[LoadStep], None] | None = None) -> Solution:
    """``Solution`` of the ``LoadStep`` tuple on the way from zero to ``loads`` (length, GPa·length²), proportionally.

    A host driver. Every step starts from a tangent predictor; Newton stops at ``rtol`` times the linearised unbalanced
    force of the step. A step that fails is halved, down to ``smallest`` of the whole, and grows again by half after
    success, up to 1/``steps``. ``watch`` sees every converged step. Result: that of the first step that could not be
    made smaller (the converged steps are the value). For derivatives of a state, hand its displacement to
    ``solve_component`` as ``start``: it takes no step from there, or one.
    Stats: ``steps``, ``cutbacks``, ``newton_iterations``. Raises ``TypeError`` unless in float64, ``ValueError`` for
    ``steps`` < 1.
    """
    require_x64(component.disc, component.law, loads)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    done: list[LoadStep] = []
    factor, increment, cutbacks, iterations = 0.0, 1 / steps, 0, 0
    y, result = component.start(), failure_if(jnp.array(False), RESULTS.newton_max_steps)
    while factor < 1 - 1e-12:
        target = min(1.0, factor + increment)
        target = 1.0 if 1.0 - target < 1e-9 else target
        sol = _increment(component, loads, jnp.asarray(factor), jnp.asarray(target), y, (rtol, max_iterations, linear))
        iterations += int(sol.stats["steps"])
        result = sol.result
        if bool(succeeded(result)):
            history = np.asarray(sol.stats["history"])
            step = LoadStep(target, sol.value, tuple(history[np.isfinite(history)].tolist()))
            done.append(step)
            if watch is not None:
                watch(step)
            factor, y = target, sol.value.displacement
            increment = min(1 / steps, 1.5 * increment)
            continue
        increment, cutbacks = 0.5 * (target - factor), cutbacks + 1
        if increment < smallest:
            break
    counts = {"steps": len(done), "cutbacks": cutbacks, "newton_iterations": iterations}
    return Solution(tuple(done), result, {name: np.asarray(count) for name, count in counts.items()})


@eqx.filter_jit
def _increment(component, loads, old, new, y_old, options):
    rtol, max_iterations, linear = options
    before, change = loads.scaled(old), loads.scaled(new - old)
    y = component.project(y_old)
    forcing = component.project(jax.jvp(lambda x: component.residual(x, y), (before,), (change,))[1])
    operator, precondition = component.operator(before, y), component.preconditioner(before, y)
    predictor = linear.solve(operator, -forcing, precondition)
    guess = jnp.where(predictor.converged, y + predictor.value, y)
    solver = RecordedNewton(atol=rtol * tree_norm(forcing), rtol=0.0, max_steps=max_iterations)
    return _solve(component, loads.scaled(new), guess, solver, linear)


__all__ = ["DEFAULT_LINEAR", "ComponentState", "LoadStep", "RecordedNewton", "load_steps", "solve_component"]
