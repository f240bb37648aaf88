"""What FE² changes against the homogenised law: the same macroscopic problem with one isotropic neo-Hookean solid.

Source: Feyel & Chaboche 2000 (FE² against a homogenised law).
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from hea_jax.concurrent.fe2_driver import FE2Answer, MacroLoad, solve_fe2
from hea_jax.continuum.finite_rve import finite_tangent
from hea_jax.continuum.laws.neo_hooke import NeoHooke
from hea_jax.continuum.mesh.discretisation import Discretisation
from hea_jax.continuum.rve import RVE
from hea_jax.core.results import Solution
from hea_jax.core.tensors import BASIS, isotropic_projection
from hea_jax.core.types import Scalar
from hea_jax.records.law import AbstractFiniteStrainLaw


class HomogenisedDifference(eqx.Module):
    """``displacement`` of the node that moves farthest, |u_FE² − u_law| / |u_law|, ``energy`` (W_FE² − W_law) / W_law,
    both dimensionless; ``bulk`` and ``shear`` of the homogenised law in GPa, and its ``answer``."""

    displacement: Scalar
    energy: Scalar
    bulk: Scalar
    shear: Scalar
    answer: FE2Answer


def homogenised_difference(disc: Discretisation, rve: RVE, law: AbstractFiniteStrainLaw, load: MacroLoad,
                           answer: FE2Answer, *, steps: int = 3) -> Solution:
    """``Solution(HomogenisedDifference)`` of an FE² ``answer`` against a neo-Hookean solid whose (K, G) are the
    isotropic part of the RVE's stiffness at rest (GPa). Results and stats are those of ``solve_fe2`` (a host driver).

    Raises ``NumericalFailure`` if the RVE at rest cannot be solved."""
    A = finite_tangent(rve, law, jnp.eye(3)).unwrap()[2]
    bulk, shear = isotropic_projection(jnp.einsum("mij,ijkl,nkl->mn", BASIS, A, BASIS))
    # A body of one voxel has no fluctuation: its RVE is the law itself.
    voxel = RVE(jnp.zeros((1, 1, 1), int), rve.voxel, rve.quadrature)
    sol = solve_fe2(disc, voxel, jax.tree.map(lambda a: a[None], NeoHooke(bulk, shear)), load, steps=steps)
    u, reference = answer.state.u, sol.value.state.u
    node = jnp.argmax(jnp.linalg.norm(reference, axis=1))
    displacement = jnp.linalg.norm(u[node] - reference[node]) / jnp.linalg.norm(reference[node])
    energy = answer.energy / sol.value.energy - 1
    return Solution(HomogenisedDifference(displacement, energy, bulk, shear, sol.value), sol.result, sol.stats)
