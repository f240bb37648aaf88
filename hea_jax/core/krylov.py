"""Linear solvers on pytrees with a verdict: CG, MINRES, GMRES and a dense solve.

A solver is a small object handed to ``condense``; it says what the operator W_yy is (positive
definite, symmetric, general). Each returns a ``LinearSolution`` that never claims more than it
reached. All are usable under ``jit`` and ``vmap``; a lane whose right-hand side is zero ends at once.

Sources: Hestenes & Stiefel 1952 (CG); Paige & Saunders 1975 (MINRES); Saad & Schultz 1986 (GMRES).
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from hea_jax.core.types import LinearMap, Tree


def tree_dot(a: Tree, b: Tree) -> Float[Array, ""]:
    """Euclidean inner product of two pytrees of the same structure."""
    return sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))  # pyright: ignore


def tree_norm(a: Tree) -> Float[Array, ""]:
    """Euclidean norm of a pytree."""
    return jnp.sqrt(tree_dot(a, a))


def tree_axpy(alpha, x: Tree, y: Tree) -> Tree:
    """``alpha x + y`` leaf by leaf."""
    return jax.tree.map(lambda xi, yi: alpha * xi + yi, x, y)


def tree_scale(alpha, x: Tree) -> Tree:
    """``alpha x`` leaf by leaf."""
    return jax.tree.map(lambda xi: alpha * xi, x)


def tree_where(predicate, a: Tree, b: Tree) -> Tree:
    """``a`` where the scalar predicate holds, else ``b``, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.where(predicate, x, y), a, b)


class LinearSolution(eqx.Module):
    """Answer of a linear solve: the vector and what is known of it (arrays of shape ())."""

    value: Tree
    converged: Bool[Array, ""]
    negative_curvature: Bool[Array, ""]
    iterations: Int[Array, ""]
    residual: Float[Array, ""]
    """‖b − A x‖ relative to ‖b‖ (recursive estimate; 0 for b = 0)."""


class AbstractLinearSolver(eqx.Module):
    """Says what an operator is and solves with it.

    ``symmetric`` tells whether the transposed system is the same system; ``definite`` whether
    negative curvature is a failure.
    """

    symmetric: eqx.AbstractVar[bool]
    definite: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def solve(self, operator: LinearMap, rhs: Tree, precondition: LinearMap, *, rtol=None) -> LinearSolution:
        """Solve ``operator(x) = rhs`` from x = 0; ``rtol`` (array or float) overrides the solver's own."""


def _tolerance(rtol, atol, own_rtol, norm_b):
    return jnp.maximum((own_rtol if rtol is None else rtol) * norm_b, atol)


def _relative(residual, norm_b):
    return residual / jnp.where(norm_b > 0, norm_b, 1.0)


class CG(AbstractLinearSolver):
    """Preconditioned conjugate gradients, for a positive definite operator.

    Departs from the textbook in that a direction of non-positive curvature ends the solve at the last
    iterate and is reported (the caller then knows that the state is no minimum); ``probe`` is the number
    of iterations that ``condense`` spends on looking for such a direction at the converged state.
    """

    rtol: float = eqx.field(static=True, default=1e-10)
    atol: float = eqx.field(static=True, default=0.0)
    max_steps: int = eqx.field(static=True, default=2000)
    probe: int = eqx.field(static=True, default=16)
    symmetric: bool = eqx.field(static=True, default=True, init=False)
    definite: bool = eqx.field(static=True, default=True, init=False)

    def solve(self, operator, rhs, precondition, *, rtol=None):
        norm_b = tree_norm(rhs)
        target = _tolerance(rtol, self.atol, self.rtol, norm_b)

        def running(state):
            _, _, _, _, residual, step, negative = state
            # `~(residual <= target)` rather than `>`: a NaN must not read as converged.
            return ~(residual <= target) & jnp.isfinite(residual) & (step < self.max_steps) & ~negative

        def body(state):
            x, r, p, rz, residual, step, _ = state
            q = operator(p)
            pq = tree_dot(p, q)
            negative = pq <= 0
            alpha = jnp.where(negative, 0.0, rz / jnp.where(negative, 1.0, pq))
            x, r = tree_axpy(alpha, p, x), tree_axpy(-alpha, q, r)
            z = precondition(r)
            rz_new = tree_dot(r, z)
            p = tree_axpy(rz_new / jnp.where(rz == 0, 1.0, rz), p, z)
            return x, r, p, rz_new, jnp.where(negative, residual, tree_norm(r)), step + 1, negative

        z = precondition(rhs)
        start = (tree_scale(0.0, rhs), rhs, z, tree_dot(rhs, z), norm_b, jnp.array(0), jnp.array(False))
        x, _, _, _, residual, steps, negative = jax.lax.while_loop(running, body, start)
        return LinearSolution(x, (residual <= target) & ~negative, negative, steps, _relative(residual, norm_b))


class MINRES(AbstractLinearSolver):
    """Preconditioned minimal residuals, for a symmetric, possibly indefinite operator (saddle points).

    The preconditioner must be positive definite; convergence is measured in its norm.
    """

    rtol: float = eqx.field(static=True, default=1e-10)
    atol: float = eqx.field(static=True, default=0.0)
    max_steps: int = eqx.field(static=True, default=2000)
    symmetric: bool = eqx.field(static=True, default=True, init=False)
    definite: bool = eqx.field(static=True, default=False, init=False)

    def solve(self, operator, rhs, precondition, *, rtol=None):
        z0 = precondition(rhs)
        norm_b = jnp.sqrt(tree_dot(rhs, z0))
        target = _tolerance(rtol, self.atol, self.rtol, norm_b)
        zero = tree_scale(0.0, rhs)
        one, nil = jnp.ones_like(norm_b), jnp.zeros_like(norm_b)

        def running(state):
            return ~(state["phi"] <= target) & jnp.isfinite(state["phi"]) & (state["step"] < self.max_steps)

        def body(s):
            safe = jnp.where(s["beta"] == 0, 1.0, s["beta"])
            v, z = tree_scale(1 / safe, s["r"]), tree_scale(1 / safe, s["z"])
            q = operator(z)
            alpha = tree_dot(q, z)
            r_new = tree_axpy(-s["beta"], s["v_old"], tree_axpy(-alpha, v, q))
            z_new = precondition(r_new)
            beta_new = jnp.sqrt(jnp.maximum(tree_dot(r_new, z_new), 0.0))
            # Givens rotations of the Lanczos tridiagonal matrix.
            epsilon = s["sn_old"] * s["beta"]
            delta = s["cs"] * s["cs_old"] * s["beta"] + s["sn"] * alpha
            gamma_bar = s["cs"] * alpha - s["sn"] * s["cs_old"] * s["beta"]
            gamma = jnp.sqrt(gamma_bar**2 + beta_new**2)
            gamma = jnp.where(gamma == 0, 1.0, gamma)
            cs, sn = gamma_bar / gamma, beta_new / gamma
            w = tree_scale(1 / gamma, tree_axpy(-epsilon, s["w_old"], tree_axpy(-delta, s["w"], z)))
            return {"x": tree_axpy(cs * s["eta"], w, s["x"]), "r": r_new, "z": z_new, "v_old": v, "beta": beta_new,
                    "w": w, "w_old": s["w"], "cs": cs, "cs_old": s["cs"], "sn": sn, "sn_old": s["sn"],
                    "eta": -sn * s["eta"], "phi": jnp.abs(sn) * s["phi"], "step": s["step"] + 1}

        start = {"x": zero, "r": rhs, "z": z0, "v_old": zero, "beta": norm_b, "w": zero, "w_old": zero, "cs": one,
                 "cs_old": one, "sn": nil, "sn_old": nil, "eta": norm_b, "phi": norm_b, "step": jnp.array(0)}
        end = jax.lax.while_loop(running, body, start)
        return LinearSolution(end["x"], end["phi"] <= target, jnp.array(False), end["step"],
                              _relative(end["phi"], norm_b))


class GMRES(AbstractLinearSolver):
    """Restarted generalised minimal residuals (``jax.scipy``), for a general operator (no potential)."""

    rtol: float = eqx.field(static=True, default=1e-10)
    atol: float = eqx.field(static=True, default=0.0)
    restart: int = eqx.field(static=True, default=30)
    max_steps: int = eqx.field(static=True, default=100)
    symmetric: bool = eqx.field(static=True, default=False, init=False)
    definite: bool = eqx.field(static=True, default=False, init=False)

    def solve(self, operator, rhs, precondition, *, rtol=None):
        norm_b = tree_norm(rhs)
        target = _tolerance(rtol, self.atol, self.rtol, norm_b)
        x, _ = jax.scipy.sparse.linalg.gmres(
            operator, rhs, tol=0.0, atol=0.5 * target,  # pyright: ignore[reportArgumentType]
            restart=self.restart, maxiter=self.max_steps, M=precondition)
        # Its info flag does not report convergence; the true residual does.
        residual = tree_norm(tree_axpy(-1.0, operator(x), rhs))
        return LinearSolution(x, residual <= target, jnp.array(False), jnp.array(-1), _relative(residual, norm_b))


class Dense(AbstractLinearSolver):
    """LU of the assembled matrix, for small local systems (n up to some hundred unknowns).

    ``definite=True`` declares a minimum: an eigenvalue ≤ 0 of the symmetric part (on the range of the
    right-hand side's projection) is then reported as negative curvature. The null space, if any, must
    be removed by ``project``: the system solved is P A P + (I − P).
    """

    symmetric: bool = eqx.field(static=True, default=False)
    definite: bool = eqx.field(static=True, default=False)
    rtol: float = eqx.field(static=True, default=1e-8)

    def solve(self, operator, rhs, precondition, *, rtol=None):
        flat, unravel = ravel_pytree(rhs)
        matrix = jax.vmap(lambda e: ravel_pytree(operator(unravel(e)))[0])(jnp.eye(flat.size, dtype=flat.dtype)).T
        x = jnp.linalg.solve(matrix, flat)
        negative = jnp.array(False)
        if self.definite:
            negative = jnp.linalg.eigvalsh(0.5 * (matrix + matrix.T))[0] <= 0
        norm_b = jnp.linalg.norm(flat)
        residual = jnp.linalg.norm(flat - matrix @ x)
        ok = residual <= jnp.maximum(self.rtol * norm_b, jnp.finfo(flat.dtype).tiny)
        return LinearSolution(unravel(x), ok & ~negative, negative, jnp.array(1), _relative(residual, norm_b))


def projected(operator: LinearMap, project: Callable[[Tree], Tree], *, dense: bool) -> LinearMap:
    """P A on range(P); for a dense assembly P A P + (I − P), which is invertible on the whole space."""
    if not dense:
        return lambda v: project(operator(v))

    def shifted(v):
        pv = project(v)
        return jax.tree.map(lambda a, b, c: a + b - c, project(operator(pv)), v, pv)
    return shifted
