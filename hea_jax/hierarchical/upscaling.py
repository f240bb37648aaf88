"""Upscaling by composition of the scales: potential → random alloy cells → polycrystal RVE.

Every function here is pure and differentiable in the potential, so that d(homogenised moduli)/d(potential
parameters) is ``jax.grad`` of one of them.

Sources: Hill 1952 (polycrystal moduli); Lemaître & Maloney 2006 (relaxed moduli of random solids).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.alloys import AlloyCells, cubic_constants
from hea_jax.atomistic.relaxation import LINEAR, RELAX
from hea_jax.continuum.boundary import AbstractBoundary
from hea_jax.continuum.homogenise import effective_stiffness
from hea_jax.continuum.laws.hooke import Hooke
from hea_jax.continuum.rve import RVE
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser
from hea_jax.core.results import Solution
from hea_jax.core.tensors import cubic_stiffness, isotropic_projection, isotropic_stiffness, rotate_stiffness
from hea_jax.core.types import Scalar, Stiffness66
from hea_jax.records import AbstractPotential

RVE_LINEAR = CG(rtol=1e-8, probe=0)


def grain_law(cubic_GPa: Float[Array, "3"], rotations: Float[Array, "grain 3 3"]) -> Hooke:
    """The law of a polycrystal: one cubic crystal (C11, C12, C44 in GPa) in the orientation of every grain."""
    return Hooke(rotate_stiffness(cubic_stiffness(*cubic_GPa), rotations))


def upscale_elasticity(potential: AbstractPotential, cells: AlloyCells, rotations: Float[Array, "grain 3 3"], *,
                       solver: AbstractMinimiser = RELAX, linear: CG = LINEAR) -> Hooke:
    """Atoms → continuum: the law (GPa) of grains of the random alloy that the cells sample."""
    return grain_law(cubic_constants(potential, cells, solver=solver, linear=linear), rotations)


class Polycrystal(eqx.Module):
    """An RVE of grains: voxels and the rotation of every grain (active, crystal to sample)."""

    rve: RVE
    rotations: Float[Array, "grain 3 3"]


@eqx.filter_jit
def polycrystal_stiffness(cubic_GPa: Float[Array, "3"], polycrystal: Polycrystal, *,
                          boundary: AbstractBoundary | None = None, linear: CG = RVE_LINEAR) -> Solution:
    """``Solution(C̄)`` (6, 6) Mandel in GPa of a polycrystal of cubic grains."""
    law = grain_law(cubic_GPa, polycrystal.rotations)
    return effective_stiffness(polycrystal.rve, law, boundary=boundary, linear=linear)


@eqx.filter_jit
def homogenised_moduli(potential: AbstractPotential, cells: AlloyCells, polycrystal: Polycrystal, *,
                       atomic: CG = LINEAR, linear: CG = RVE_LINEAR) -> Float[Array, "2"]:
    """The whole path: (K, G) in GPa of the polycrystal as a function of the potential.

    Relaxed cells, relaxed elastic constants, RVE: NaN if any of them fails.
    """
    cubic = cubic_constants(potential, cells, linear=atomic)
    return isotropic_projection(polycrystal_stiffness(cubic, polycrystal, linear=linear).value)


@eqx.filter_jit
def moduli_and_jacobian(potential: AbstractPotential, cells: AlloyCells, polycrystal: Polycrystal, *,
                        atomic: CG = LINEAR, linear: CG = RVE_LINEAR):
    """(K, G) in GPa and their gradients: a pytree like the potential's parameters with a leading axis of 2.

    The chain rule is cut at the three cubic constants: their Jacobian costs three adjoint passes through the atoms,
    and the RVE's is 2×3.
    """
    dynamic, static = eqx.partition(potential, eqx.is_inexact_array)

    def atoms_to_cubic(leaves):
        return cubic_constants(eqx.combine(leaves, static), cells, linear=atomic)

    def cubic_to_moduli(cubic):
        return isotropic_projection(polycrystal_stiffness(cubic, polycrystal, linear=linear).value)

    cubic, pull_atoms = jax.vjp(atoms_to_cubic, dynamic)
    moduli, pull_rve = jax.vjp(cubic_to_moduli, cubic)
    rows = jax.vmap(lambda e: pull_rve(e)[0])(jnp.eye(2))
    return moduli, jax.lax.map(lambda row: pull_atoms(row)[0], rows)


def anisotropy(stiffness_GPa: Stiffness66) -> Scalar:
    """‖C − C_iso‖/‖C‖ with the closest isotropic tensor (Frobenius norm), dimensionless."""
    return jnp.linalg.norm(stiffness_GPa - isotropic_stiffness_of(stiffness_GPa)) / jnp.linalg.norm(stiffness_GPa)


def isotropic_stiffness_of(stiffness_GPa: Stiffness66) -> Stiffness66:
    """The isotropic stiffness closest to a given one (Frobenius norm), Mandel, GPa."""
    return isotropic_stiffness(*isotropic_projection(stiffness_GPa))
