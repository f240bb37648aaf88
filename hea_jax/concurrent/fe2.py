"""FE²: every quadrature point of a macroscopic mesh owns an RVE.

``fe2_response`` solves all RVEs in one batched call and returns what a constitutive law would: energy, stress,
consistent tangent, and the fluctuations for the next call. ``FE2Energy`` states the same as an energy of the nodal
displacements, to be condensed (and differentiated) as any other scale. The load-stepping driver is ``fe2_driver``.

Sources: Feyel & Chaboche 2000 (FE²); Kouznetsova, Brekelmans & Baaijens 2001 (condensed tangents).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.continuum.finite_rve import (
    MICRO_LINEAR,
    MICRO_NEWTON,
    FiniteRVE,
    MeanStrain,
    finite_problem,
    full_strain,
    plane_strain,
    point_response,
)
from hea_jax.continuum.mesh.discretisation import Discretisation, deformation_gradients
from hea_jax.continuum.rve import RVE
from hea_jax.core.condense import AbstractProblem, condense
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser
from hea_jax.core.results import Solution
from hea_jax.core.types import Scalar
from hea_jax.records.law import AbstractFiniteStrainLaw

Fluctuations = Float[Array, "point 3 n1 n2 n3"]


class PointResponses(eqx.Module):
    """Of every macroscopic point: ``energy`` (point,), ``stress`` (point, 3, 3), ``tangent`` (point, 3, 3, 3, 3), GPa;
    ``fluctuation`` (point, 3, n₁, n₂, n₃) in the unit of the voxel lengths."""

    energy: Float[Array, "point"]
    stress: Float[Array, "point 3 3"]
    tangent: Float[Array, "point 3 3 3 3"]
    fluctuation: Fluctuations


def mean_of(disc: Discretisation) -> MeanStrain:
    """The parametrisation of F̄ that a mesh needs: plane strain in two dimensions."""
    return plane_strain() if disc.dim == 2 else full_strain()


@eqx.filter_jit
def fe2_response(rve: RVE, law: AbstractFiniteStrainLaw, F: Float[Array, "point 3 3"], y: Fluctuations, *,
                 mean: MeanStrain | None = None, phases: Int[Array, "point n1 n2 n3"] | None = None,
                 batch_size: int | None = None, solver: AbstractMinimiser = MICRO_NEWTON,
                 linear: CG = MICRO_LINEAR) -> Solution:
    """``Solution(PointResponses)`` of one RVE per mean deformation gradient, starting from fluctuations ``y``.

    ``law`` has a leading phase axis; ``phases`` gives every point its own voxels in place of those of ``rve``; ``mean``
    (default: all nine components) is the subspace in which F varies, and the tangent is wanted. ``batch_size`` RVEs are
    solved together (default: all): less saves memory and, on a CPU, stays in its cache. Lengths in any one unit,
    moduli in GPa. Results and stats carry the point axis; a failed point is NaN: those of ``finite_tangent``.

    Differentiate ``FE2Energy`` rather than this: with ``batch_size``, second derivatives are wrong (see ``condense``).
    """
    def solve(F_point, start, own):
        placed = rve if own is None else eqx.tree_at(lambda r: r.phases, rve, own)
        return point_response(finite_problem(placed, law, mean), F_point, start, solver=solver, linear=linear)

    batched = jax.vmap(solve, in_axes=(0, 0, None if phases is None else 0))
    if batch_size is None or batch_size >= F.shape[0]:
        sol = batched(F, y, phases)
    elif phases is None:
        sol = jax.lax.map(lambda a: solve(a[0], a[1], None), (F, y), batch_size=batch_size)
    else:
        sol = jax.lax.map(lambda a: solve(a[0], a[1], a[2]), (F, y, phases), batch_size=batch_size)
    energy, stress, tangent, fluctuation = sol.value
    return Solution(PointResponses(energy, stress, tangent, fluctuation), sol.result, sol.stats)


def no_fluctuation(disc: Discretisation, rve: RVE) -> Fluctuations:
    """Zero fluctuations of every Gauss point of the mesh, (point, 3, n₁, n₂, n₃)."""
    elements, gauss = disc.points
    return jnp.zeros((elements * gauss, 3, *rve.grid), rve.voxel.dtype)


class FE2Energy(AbstractProblem):
    """Π(x, y) = Σ_q w_q W̄(F_q) − x f·u (GPa·length³) with u = x ū + y: x () load factor, y (node, dim) the free
    displacements in the length unit of the mesh.

    ``micro`` is the RVE of every point (its law and voxels are leaves: differentiate with respect to them), ``fixed``,
    ``displacement`` ū and ``force`` f (node, dim) the load at x = 1. W̄ is condensed inside, so that first and second
    derivatives of Π, and implicit ones of y*, reach micro parameters. Nested solves: for small cases.
    """

    disc: Discretisation
    micro: FiniteRVE
    fixed: Bool[Array, "node dim"]
    displacement: Float[Array, "node dim"]
    force: Float[Array, "node dim"]
    solver: AbstractMinimiser = MICRO_NEWTON
    linear: CG = MICRO_LINEAR

    def displacements(self, x: Scalar, y: Float[Array, "node dim"]) -> Float[Array, "node dim"]:
        """Nodal displacements u, in the length unit of the mesh."""
        return x * jnp.where(self.fixed, self.displacement, 0.0) + self.project(y)

    def energy(self, x, y):
        u = self.displacements(x, y)
        F = deformation_gradients(self.disc, u).reshape(-1, 3, 3)

        def density(F_point):
            parameters = self.micro.mean.parameters(F_point)
            return condense(self.micro, parameters, self.micro.start(), solver=self.solver, linear=self.linear).value[0]
        return jnp.sum(self.disc.weights.ravel() * jax.vmap(density)(F)) - x * jnp.sum(self.force * u)

    def project(self, y):
        return jnp.where(self.fixed, 0.0, y)
