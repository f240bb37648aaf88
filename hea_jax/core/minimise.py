"""Minimisers for ``condense``: how y* is found. None of them is ever differentiated through.

A minimiser takes a problem with ``residual``, ``operator``, ``preconditioner``, ``project`` (and
``energy`` where a potential exists) and returns ``Solution(y, result, stats)``.

Sources: Nocedal & Wright 2006, ch. 3 and 7 (line search, Newton–CG); Eisenstat & Walker 1996 (forcing).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from hea_jax.core.krylov import (
    AbstractLinearSolver,
    Dense,
    projected,
    tree_axpy,
    tree_dot,
    tree_norm,
    tree_scale,
    tree_where,
)
from hea_jax.core.results import RESULTS, Solution, failure_if
from hea_jax.core.types import Tree


class AbstractMinimiser(eqx.Module):
    """Finds y with W_y(x, y) = 0 (projected) from y0."""

    @abc.abstractmethod
    def minimise(self, problem, x: Tree, y0: Tree, linear: AbstractLinearSolver) -> Solution:
        """``Solution(y, result, stats)`` with stats ``steps``, ``linear_iterations``, ``residual`` (‖g‖)."""


def linear_system(problem, x, y, linear):
    """Projected operator and preconditioner of W_yy at (x, y)."""
    operator = projected(problem.operator(x, y), problem.project, dense=isinstance(linear, Dense))
    precondition = problem.preconditioner(x, y)
    return operator, lambda r: problem.project(precondition(r))


class Quadratic(AbstractMinimiser):
    """One linear solve: for W quadratic in y (linear elasticity). Exact there, wrong elsewhere.

    The linear solver's own tolerance decides; ``linear_max_steps`` if it is not reached.
    """

    def minimise(self, problem, x, y0, linear):
        gradient = problem.project(problem.residual(x, y0))
        operator, precondition = linear_system(problem, x, y0, linear)
        found = linear.solve(operator, tree_scale(-1.0, gradient), precondition)
        result = failure_if(~found.converged, RESULTS.linear_max_steps)
        result = failure_if(found.negative_curvature, RESULTS.negative_curvature, result)
        result = failure_if(~jnp.isfinite(found.residual), RESULTS.non_finite, result)
        y = tree_axpy(1.0, problem.project(found.value), y0)
        stats = {"steps": jnp.array(1), "linear_iterations": found.iterations, "residual": found.residual}
        return Solution(y, result, stats)


class Newton(AbstractMinimiser):
    """Newton with a backtracking line search; inner solves by the ``linear`` handed to ``condense``.

    Stops when ‖P W_y‖ ≤ atol + rtol ‖P W_y(y0)‖ (units of W_y). With an energy and a definite ``linear`` the
    line search lowers W (Armijo); otherwise it lowers ‖P R‖. Inner tolerances follow the residual so that the
    last steps converge quadratically. A direction of negative curvature is reported, not followed to a saddle.
    """

    rtol: float = eqx.field(static=True, default=1e-10)
    atol: float = eqx.field(static=True, default=1e-12)
    max_steps: int = eqx.field(static=True, default=50)
    max_halvings: int = eqx.field(static=True, default=25)
    forcing: float = eqx.field(static=True, default=0.1)

    def minimise(self, problem, x, y0, linear):
        descends = linear.definite and hasattr(problem, "energy")
        y0 = jax.tree.map(jnp.asarray, y0)

        def gradient(y):
            return problem.project(problem.residual(x, y))

        def merit(y, g):
            return problem.energy(x, y) if descends else tree_norm(g)

        g0 = gradient(y0)
        norm0 = tree_norm(g0)
        target = self.atol + self.rtol * norm0

        def running(s):
            return (~(s["norm"] <= target) & jnp.isfinite(s["norm"]) & (s["step"] < self.max_steps)
                    & ~s["stuck"] & ~s["linear_failed"])

        def body(s):
            done = s["norm"] <= target
            # A finished lane of a batch passes a zero right-hand side, or it would hold up the others.
            rhs = tree_where(done, tree_scale(0.0, s["g"]), tree_scale(-1.0, s["g"]))
            eta = jnp.minimum(self.forcing, s["norm"] / norm0)
            # No further than the outer target asks for: over-solving the last step is wasted.
            eta = jnp.maximum(eta, 0.5 * target / s["norm"]) if linear.definite else eta
            operator, precondition = linear_system(problem, x, s["y"], linear)
            found = linear.solve(operator, rhs, precondition, rtol=jnp.minimum(eta, 0.5))
            # Negative curvature on the very first direction leaves CG at 0: go downhill instead.
            fallback = found.negative_curvature & (tree_norm(found.value) == 0)
            p = tree_where(fallback, precondition(rhs), found.value)
            y, g, m, ok = self._search(problem, s, p, gradient, merit, descends)
            failed = ~found.converged & ~found.negative_curvature & (not linear.definite)
            return {"y": y, "g": g, "merit": m, "norm": tree_norm(g), "step": s["step"] + 1, "stuck": ~ok & ~done,
                    "linear_failed": failed & ~done, "iterations": s["iterations"] + jnp.maximum(found.iterations, 0),
                    "negative": found.negative_curvature}

        false = jnp.array(False)
        s = {"y": y0, "g": g0, "merit": merit(y0, g0), "norm": norm0, "step": jnp.array(0), "stuck": false,
             "linear_failed": false, "iterations": jnp.array(0), "negative": false}
        s = jax.lax.while_loop(running, body, s)
        converged = s["norm"] <= target
        result = failure_if(~converged, RESULTS.newton_max_steps)
        result = failure_if(~converged & s["stuck"], RESULTS.line_search_failed, result)
        result = failure_if(~converged & s["linear_failed"], RESULTS.linear_max_steps, result)
        result = failure_if(~converged & s["negative"], RESULTS.negative_curvature, result)
        result = failure_if(~jnp.isfinite(s["norm"]), RESULTS.non_finite, result)
        stats = {"steps": s["step"], "linear_iterations": s["iterations"], "residual": s["norm"]}
        return Solution(s["y"], result, stats)

    def _search(self, problem, s, p, gradient, merit, descends):
        """Backtrack from the full step; near round-off a step that lowers ‖g‖ is good enough."""
        slope = tree_dot(s["g"], p)

        def trial(alpha):
            y = tree_axpy(alpha, problem.project(p), s["y"])
            g = gradient(y)
            m = merit(y, g)
            if descends:
                noise = 10 * jnp.finfo(m.dtype).eps * jnp.abs(s["merit"])
                good = m <= s["merit"] + 1e-4 * alpha * slope
                good = good | ((m <= s["merit"] + noise) & (tree_norm(g) < s["norm"]))
            else:
                good = m <= (1 - 1e-4 * alpha) * s["merit"]
            return y, g, m, good & jnp.isfinite(m) & jnp.isfinite(tree_norm(g))

        def shorter(state):
            alpha = state[0] / 2
            return (alpha, *trial(alpha), state[5] + 1)

        def rejected(state):
            return ~state[4] & (state[5] <= self.max_halvings) & ((tree_norm(p) > 0) | (state[5] == 0))

        start = (2 * jnp.ones_like(slope), s["y"], s["g"], s["merit"], jnp.array(False), jnp.array(0))
        _, y, g, m, good, _ = jax.lax.while_loop(rejected, shorter, start)
        return tree_where(good, y, s["y"]), tree_where(good, g, s["g"]), jnp.where(good, m, s["merit"]), good


class Stationary(AbstractMinimiser):
    """No step at all: y0 is stationary already (it comes from a relaxation). Checked: ‖P W_y(y0)‖ ≤ atol (units of
    W_y), else ``newton_max_steps``."""

    atol: float = eqx.field(static=True, default=1e-6)

    def minimise(self, problem, x, y0, linear):
        norm = tree_norm(problem.project(problem.residual(x, y0)))
        result = failure_if(~(norm <= self.atol), RESULTS.newton_max_steps)
        result = failure_if(~jnp.isfinite(norm), RESULTS.non_finite, result)
        return Solution(y0, result, {"steps": jnp.array(0), "linear_iterations": jnp.array(0), "residual": norm})
