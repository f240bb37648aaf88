"""Homogenisation of linear RVEs: local fields of one load, and the effective stiffness.

Sources: Hill 1963 (energy condition); Michel, Moulinec & Suquet 1999 (effective moduli of periodic media).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.continuum.boundary import AbstractBoundary, Periodic
from hea_jax.continuum.grid import weight
from hea_jax.continuum.laws.hooke import AbstractLinearLaw
from hea_jax.continuum.rve import RVE, LinearRVE, linear_problem
from hea_jax.core.condense import condense
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import Quadratic, Stationary
from hea_jax.core.results import Solution, first_failure, require_x64, succeeded
from hea_jax.core.types import Displacements, Mandel6, MandelField, Scalar, Stiffness66

DEFAULT_LINEAR = CG(rtol=1e-8, probe=0)
"""Of a convex problem: no probe for negative curvature (CG itself watches every direction it takes)."""


_FOUND = Stationary(atol=np.inf)
"""Takes y0 for the solution; the solve that found it has judged it."""


class Homogenised(eqx.Module):
    """Answer of one load: ``energy`` () and mean ``stress`` (6,) in GPa, fluctuation ``displacement`` (3, *unknown),
    voxel means ``strain_field`` and ``stress_field`` (6, *grid), all tensors Mandel."""

    energy: Scalar
    stress: Mandel6
    displacement: Displacements
    strain_field: MandelField
    stress_field: MandelField


def homogenize(rve: RVE, law: AbstractLinearLaw, strain: Mandel6, *, boundary: AbstractBoundary | None = None,
               linear: CG = DEFAULT_LINEAR, temperature_K: Scalar | float | None = None) -> Solution:
    """``Solution(Homogenised)`` of an RVE under a mean ``strain`` (6,) Mandel; ``law`` has a leading phase axis.

    ``boundary`` defaults to ``Periodic()``. Differentiable in law, strain and voxel lengths to any order; usable
    under ``jit`` and ``vmap``. Result: ``linear_max_steps``, ``negative_curvature``, ``non_finite``; a failed lane
    is NaN. Raises ``TypeError`` unless in float64, ``ValueError`` for grids without unknowns.
    """
    strain = jnp.asarray(strain)
    require_x64(rve, law, strain)
    # As an array: a Python number would be a new compilation for every temperature.
    temperature_K = None if temperature_K is None else jnp.asarray(temperature_K, strain.dtype)
    return _homogenize(rve, law, strain, Periodic() if boundary is None else boundary, linear, temperature_K)


@eqx.filter_jit
def _homogenize(rve, law, strain, boundary, linear, temperature_K):
    problem = linear_problem(rve, law, boundary, temperature_K=temperature_K)
    sol = condense(problem, strain, problem.start(), solver=Quadratic(), linear=linear)
    energy, y = sol.value
    answer = Homogenised(energy, problem.stress(strain, y), y, problem.strain_field(strain, y),
                         problem.stress_field(strain, y))
    return Solution(_nan_unless(sol.result, answer), sol.result, sol.stats)


def effective_stiffness(rve: RVE, law: AbstractLinearLaw, *, boundary: AbstractBoundary | None = None,
                        linear: CG = DEFAULT_LINEAR, together: int = 6) -> Solution:
    """``Solution(C̄)``: effective stiffness (6, 6) Mandel in GPa from six solves; stats ``linear_iterations`` and
    ``residual`` (6,), one per load.

    C̄_ij = ⟨(e_i + ∇u_i) : C : (e_j + ∇u_j)⟩ is stationary in the fluctuations, so that its error is the square of
    theirs and its first derivative costs no further solve. Higher derivatives are right too (the fluctuations
    carry their implicit derivative). ``core.tangent`` gives the same by the general route (tested).

    ``together`` loads are solved in one batch: 6 for throughput on a GPU, 1 to save memory. Eigenstrains do not
    matter. Differentiable in law and voxel lengths; usable under ``jit`` and ``vmap``. Where second derivatives are
    wanted, batch it by ``vmap``, not inside ``lax.scan`` (see the comment in the code). Result and raises as
    ``homogenize``.
    """
    require_x64(rve, law)
    return _effective_stiffness(rve, law, Periodic() if boundary is None else boundary, linear, together)


@eqx.filter_jit
def _effective_stiffness(rve, law, boundary, linear, together):
    problem = linear_problem(rve, law, boundary, eigenstrain=False)
    loads = jnp.eye(6, dtype=rve.voxel.dtype)

    frozen = jax.tree.map(jax.lax.stop_gradient, problem)

    def solve(x):
        sol = condense(frozen, x, frozen.start(), solver=Quadratic(), linear=linear)
        return sol.value[1], sol.result, sol.stats
    found, result, stats = jax.lax.map(solve, loads, batch_size=together)
    # The implicit derivative is attached outside of the loop: JAX drops custom derivative rules in the known part of a
    # scan, which makes second derivatives (forward over reverse) silently wrong.
    y = jax.vmap(lambda x, y0: condense(problem, x, y0, solver=_FOUND, linear=linear).value[1])(loads, found)
    C = _stationary_moduli(problem, y)
    result = first_failure(*(jax.tree.map(lambda leaf, i=i: leaf[i], result) for i in range(6)))
    return Solution(_nan_unless(result, C), result, {k: stats[k] for k in ("linear_iterations", "residual")})


def moduli_of(problem: LinearRVE, y: Displacements) -> Stiffness66:
    """The form C̄_ij = ⟨(e_i + ∇y_i) : C : (e_j + ∇y_j)⟩ (GPa) at fluctuations ``y`` (6, 3, *unknown) of six unit
    strains, mode by mode."""
    def paired(x, y_):
        return [[(jnp.broadcast_to(e, s.shape).ravel(), s.ravel()) for e, s in zip(strain, stress, strict=True)
                 if e is not None and s is not None] for _, strain, stress in problem.modes(x, y_)]
    modes = jax.vmap(paired)(jnp.eye(6, dtype=y.dtype), y)
    C = jnp.zeros((6, 6), y.dtype)
    for mode, pairs in zip(problem.quadrature.modes, modes, strict=True):
        for e, s in pairs:
            C = C + weight(mode) * (e @ s.T)
    return 0.5 * (C + C.T) / problem.voxels


@eqx.filter_custom_jvp
def _stationary_moduli(problem, y):
    return moduli_of(problem, y)


@_stationary_moduli.def_jvp
def _stationary_moduli_jvp(primals, tangents):
    """The envelope rule for C̄: its derivative in y vanishes at the solution. y is attached, so the rule
    differentiates again."""
    problem, y = primals
    t_problem, _ = tangents
    value = _stationary_moduli(problem, y)
    _, slope = eqx.filter_jvp(lambda p: moduli_of(p, y), (problem,), (t_problem,))
    return value, slope


def _nan_unless(result, tree):
    # A product, not a `where`: the derivative of a failed lane must be NaN as well.
    factor = jnp.where(succeeded(result), 1.0, jnp.nan)
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), tree)


__all__ = ["DEFAULT_LINEAR", "Homogenised", "effective_stiffness", "homogenize", "moduli_of"]
