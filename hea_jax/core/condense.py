"""The one idea: going up a scale is minimising over the finer degrees of freedom.

With coarse variables x, fine variables y and an energy W(x, y) of a problem θ,

    W̄(x) = min_y W(x, y),   ∂W̄/∂x = ∂W/∂x at y*(x),   ∂²W̄/∂x² = W_xx − W_xy W_yy⁻¹ W_yx.

``condense`` implements this once, with its own implicit rules, so that first and second derivatives
in x, derivatives in θ (every array leaf of the problem) and mixed ones follow from ``jax.grad``,
``jax.jvp`` and their compositions, under ``jit`` and ``vmap``, and nest.

How it is put together: the solver runs on values that carry no derivative and returns y together
with its result and statistics; ``_attach`` then gives that y its implicit derivative, and
``_envelope`` gives W̄ the envelope rule. Both rules are written in terms of the *attached* y, so they
differentiate again.

Sources: envelope theorem and implicit function theorem as in Blondel et al. 2022 (implicit
differentiation); Ortiz & Stainier 1999 (condensation of incremental potentials).
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from hea_jax.core.krylov import CG, AbstractLinearSolver, Dense, projected, tree_norm, tree_scale, tree_where
from hea_jax.core.minimise import AbstractMinimiser, Newton
from hea_jax.core.results import RESULTS, Solution, failure_if, first_failure, succeeded
from hea_jax.core.types import LinearMap, Tree


class AbstractProblem(eqx.Module):
    """A scale: an energy W(x, y) of coarse x and fine y. A pytree; every parameter is a leaf.

    ``project`` is the orthogonal projection onto admissible increments of y (null spaces removed,
    constraints kept); it must not depend on x or on differentiated parameters. The other methods are hooks
    with correct defaults; an override is a measured speed-up, tested against the default.
    """

    @abc.abstractmethod
    def energy(self, x: Tree, y: Tree) -> jax.Array:
        """W(x, y), a scalar."""

    def residual(self, x: Tree, y: Tree) -> Tree:
        """W_y(x, y), same structure as y."""
        return jax.grad(lambda y_: self.energy(x, y_))(y)

    def project(self, y: Tree) -> Tree:
        """Orthogonal projection of an increment of y onto the admissible ones (default: identity)."""
        return y

    def operator(self, x: Tree, y: Tree) -> LinearMap:
        """The linear map v → W_yy v at (x, y)."""
        return jax.linearize(lambda y_: self.residual(x, y_), y)[1]

    def preconditioner(self, x: Tree, y: Tree) -> LinearMap:
        """An approximation of W_yy⁻¹, symmetric positive definite (default: identity)."""
        return lambda r: r


class AbstractResidualProblem(eqx.Module):
    """A scale without a potential: only R(x, y) = 0 defines y (force mixing, latent hardening).

    Hooks as in ``AbstractProblem``; ``condense`` returns ``None`` in place of W̄.
    """

    @abc.abstractmethod
    def residual(self, x: Tree, y: Tree) -> Tree:
        """R(x, y), same structure as y."""

    def project(self, y: Tree) -> Tree:
        """Orthogonal projection of an increment of y onto the admissible ones (default: identity)."""
        return y

    def operator(self, x: Tree, y: Tree) -> LinearMap:
        """The linear map v → R_y v at (x, y)."""
        return jax.linearize(lambda y_: self.residual(x, y_), y)[1]

    def preconditioner(self, x: Tree, y: Tree) -> LinearMap:
        """An approximation of R_y⁻¹ (default: identity)."""
        return lambda r: r


@eqx.filter_jit
def condense(problem, x: Tree, y0: Tree, *, solver: AbstractMinimiser | None = None,
             linear: AbstractLinearSolver | None = None) -> Solution:
    """Minimise W(x, ·) from ``y0`` (or solve R(x, ·) = 0) and return ``Solution((W̄, y*), result, stats)``.

    ``solver`` finds y* (default ``Newton()``); ``linear`` says what W_yy is and serves its tangent and
    adjoint solves: ``CG()`` positive definite (default), ``MINRES()`` symmetric, ``GMRES()`` general,
    ``Dense()`` small. W̄ carries the envelope derivative, y* the implicit one; ``y0`` carries none.

    Result: ``newton_max_steps``, ``linear_max_steps``, ``negative_curvature``, ``non_finite``,
    ``line_search_failed``. A tangent solve that does not converge makes that lane NaN.

    Batch with ``vmap``. Inside ``lax.scan``/``lax.map`` values and first derivatives are right, but JAX (0.10) drops
    custom rules from the known part of a partially evaluated loop, so that second derivatives with a reverse pass
    are wrong there: run the solves in the loop, then attach under ``vmap`` with ``Stationary`` (as
    ``continuum.effective_stiffness`` does).
    """
    solver = Newton() if solver is None else solver
    linear = CG() if linear is None else linear
    frozen, fixed_x, start = _without_derivative((problem, x, y0))
    found = solver.minimise(frozen, fixed_x, start, linear)
    y_raw = _without_derivative(found.value)
    result = first_failure(found.result, _probe(frozen, fixed_x, y_raw, linear, found.result))
    y = _attach(problem, x, y_raw, linear)
    value = _envelope(problem, x, y) if isinstance(problem, AbstractProblem) else None
    return Solution((value, y), result, found.stats)


@eqx.filter_jit
def tangent(problem, x: Tree, y0: Tree, *, solver: AbstractMinimiser | None = None,
            linear: AbstractLinearSolver | None = None) -> Solution:
    """``Solution((W̄, ∂W̄/∂x, ∂²W̄/∂x², y*))`` for an array x of shape (n,): energy, stress, consistent tangent.

    The tangent costs n linear solves, batched. A lane whose solves did not converge is NaN and its
    result is ``tangent_not_converged``.
    """
    linear = CG() if linear is None else linear
    sol = condense(problem, x, y0, solver=solver, linear=linear)
    energy, y = sol.value
    gradient = jax.grad(lambda x_: _envelope(problem, x_, y))(x)
    hessian = condensed_hessian(problem, x, y, linear=linear)
    return Solution((energy, gradient, hessian.value, y), first_failure(sol.result, hessian.result), sol.stats)


def condensed_hessian(problem: AbstractProblem, x: jax.Array, y: Tree, *,
                      linear: AbstractLinearSolver | None = None) -> Solution:
    """``Solution(∂²W̄/∂x²)`` (n, n) at a stationary y that carries its own derivative; n linear solves, batched.

    H_ij = D²W[(e_i, y_i), (e_j, y_j)] with the responses y_i = dy*/dx_i is stationary in the y_i (for a symmetric
    W_yy): its error is the square of theirs, and its first derivative in x, y and θ needs no solve beyond them.
    Higher derivatives are right too, since the y_i carry theirs. Result: ``tangent_not_converged`` (then NaN).
    """
    hessian = _hessian(problem, x, y, CG() if linear is None else linear)
    bad = ~jnp.all(jnp.isfinite(hessian))
    return Solution(hessian, failure_if(bad, RESULTS.tangent_not_converged), {})


def _without_derivative(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)


def _probe(problem, x, y, linear, result):
    """Look for negative curvature at y* by a few CG iterations on a fixed pseudo-random right-hand side."""
    if isinstance(linear, Dense) and linear.definite:
        steps = 1
    elif isinstance(linear, CG) and linear.probe > 0:
        steps = linear.probe
    else:
        return RESULTS.successful
    leaves, treedef = jax.tree.flatten(y)
    keys = jax.random.split(jax.random.key(0), max(len(leaves), 1))
    noise = treedef.unflatten([jax.random.normal(k, l.shape, l.dtype) for k, l in zip(keys, leaves, strict=False)])
    # Lanes that failed already pass a zero right-hand side: they must not hold up the batch.
    rhs = tree_where(succeeded(result), problem.project(noise), tree_scale(0.0, noise))
    probe = CG(rtol=0.0, max_steps=steps) if isinstance(linear, CG) else linear
    found = _solve(problem, x, y, rhs, probe)
    return failure_if(found.negative_curvature, RESULTS.negative_curvature)


def _solve(problem, x, y, rhs, linear, *, operator=None, transposed=False, rtol=None):
    """Projected, preconditioned solve with W_yy at (x, y)."""
    base = problem.operator(x, y) if operator is None else operator
    precondition = problem.preconditioner(x, y)
    if transposed and not linear.symmetric:
        transpose = jax.linear_transpose(precondition, rhs)
        precondition = lambda r: transpose(r)[0]
    wrapped = projected(base, problem.project, dense=isinstance(linear, Dense))
    return linear.solve(wrapped, problem.project(rhs), lambda r: problem.project(precondition(r)), rtol=rtol)


@eqx.filter_custom_jvp
def _attach(problem, x, y, linear):
    return y


@_attach.def_jvp
def _attach_jvp(primals, tangents):
    """dy* = −W_yy⁻¹ (W_yx dx + W_yθ dθ); y0's tangent (``tangents[2]``) is ignored on purpose."""
    problem, x, y_raw, linear = primals
    t_problem, t_x, _, _ = tangents
    # The attached y, so that this rule itself has the right derivative.
    y = _attach(problem, x, y_raw, linear)
    if not jax.tree.leaves((t_problem, t_x)):
        return y, jax.tree.map(jnp.zeros_like, y)
    _, forcing = eqx.filter_jvp(lambda p, x_: p.residual(x_, y), (problem, x), (t_problem, t_x))
    # A part of R that the perturbation does not reach comes back as None.
    leaves, treedef = jax.tree.flatten(y)
    parts = zip(leaves, treedef.flatten_up_to(forcing), strict=True)
    forcing = [jnp.zeros_like(a) if f is None else f for a, f in parts]
    return y, _implicit_solve(problem, x, y, tree_scale(-1.0, treedef.unflatten(forcing)), linear)


def _implicit_solve(problem, x, y, rhs, linear):
    """W_yy⁻¹ rhs on admissible increments, differentiable in everything; NaN if the solve did not converge."""
    rhs = problem.project(rhs)
    frozen, fixed_x, fixed_y = _without_derivative((problem, x, y))
    # One flat vector: the transpose rule of custom_linear_solve refuses a right-hand side of which a leaf is constant.
    flat, unflatten = (rhs, lambda v: v) if eqx.is_array(rhs) else ravel_pytree(rhs)

    def flattened(tree):
        return tree if eqx.is_array(rhs) else ravel_pytree(tree)[0]

    def solve(matvec, b, *, transposed=False):
        found = _solve(frozen, fixed_x, fixed_y, unflatten(b), linear,
                       operator=lambda v: unflatten(matvec(flattened(v))), transposed=transposed)
        value = tree_where(found.converged, found.value, tree_scale(jnp.nan, found.value))
        return flattened(problem.project(value))

    operator = problem.operator(x, y)
    return unflatten(jax.lax.custom_linear_solve(
        lambda v: flattened(operator(unflatten(v))), flat, solve,
        transpose_solve=lambda vecmat, b: solve(vecmat, b, transposed=True), symmetric=linear.symmetric))


def _responses(problem, x, y, linear):
    """dy*/dx_i for every i, stacked: one batch of linear solves."""
    def response(direction):
        forcing = jax.jvp(lambda x_: problem.residual(x_, y), (x,), (direction,))[1]
        return _implicit_solve(problem, x, y, tree_scale(-1.0, forcing), linear)
    return jax.vmap(response)(jnp.eye(x.shape[0], dtype=x.dtype))


def _form(problem, x, y, responses):
    """D²W[(e_i, y_i), (e_j, y_j)], symmetrised."""
    def column(direction, response):
        slope = jax.jvp(lambda x_, y_: (jax.grad(problem.energy)(x_, y_), problem.residual(x_, y_)),
                        (x, y), (direction, response))[1]
        work = [jnp.tensordot(a, b, axes=b.ndim)
                for a, b in zip(jax.tree.leaves(responses), jax.tree.leaves(slope[1]), strict=True)]
        return slope[0] + sum(work)
    hessian = jax.vmap(column)(jnp.eye(x.shape[0], dtype=x.dtype), responses)
    return 0.5 * (hessian + hessian.T)


@eqx.filter_custom_jvp
def _hessian(problem, x, y, linear):
    return _form(problem, x, y, _responses(problem, x, y, linear))


@_hessian.def_jvp
def _hessian_jvp(primals, tangents):
    """The responses' tangents are left out: the form is stationary in them. They are computed from the primals, so that
    a first derivative neither traces nor solves for them, and a second derivative does."""
    problem, x, y, linear = primals
    t_problem, t_x, t_y, _ = tangents
    responses = _responses(problem, x, y, linear)
    value = _form(problem, x, y, responses)
    if not jax.tree.leaves((t_problem, t_x, t_y)):
        return value, jnp.zeros_like(value)
    _, slope = eqx.filter_jvp(lambda p, x_, y_: _form(p, x_, y_, responses), (problem, x, y), (t_problem, t_x, t_y))
    return value, slope


@eqx.filter_custom_jvp
def _envelope(problem, x, y):
    return problem.energy(x, y)


@_envelope.def_jvp
def _envelope_jvp(primals, tangents):
    """dW̄ = W_x dx + W_θ dθ at y*: W_y vanishes there on admissible increments, so y*'s tangent is left out."""
    problem, x, y = primals
    t_problem, t_x, _ = tangents
    value = _envelope(problem, x, y)
    if not jax.tree.leaves((t_problem, t_x)):
        return value, jnp.zeros_like(value)
    _, slope = eqx.filter_jvp(lambda p, x_: p.energy(x_, y), (problem, x), (t_problem, t_x))
    return value, jnp.zeros_like(value) if slope is None else slope


__all__ = ["AbstractProblem", "AbstractResidualProblem", "condense", "tangent", "tree_norm"]
