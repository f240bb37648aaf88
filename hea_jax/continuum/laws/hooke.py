"""Linear elasticity with eigenstrain: ψ = ½ (ε − ε*) : C : (ε − ε*).

A law is written for one material point; the law of a composite is the same Module with a leading phase axis
on its leaves (stack single laws with ``jax.vmap`` or build it so), which ``RVE`` gathers into voxels.

Sources: Hooke's law in Mandel notation (Mehrabadi & Cowin 1990); Duhamel–Neumann (thermal expansion).
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.continuum.stiffness import AbstractStiffnessField, AnisotropicField, IsotropicField, packed_voigt
from hea_jax.core.tensors import DEVIATORIC, VOLUMETRIC, isotropic_stiffness, mandel_rotation, rotate_stiffness
from hea_jax.records.law import AbstractSmallStrainLaw

_FIVE = np.linalg.eigh(DEVIATORIC)[1][:, 1:]
"""Orthonormal basis of the deviators, (6, 5)."""


class AbstractLinearLaw(AbstractSmallStrainLaw):
    """A law quadratic in strain; the grid RVE uses its moduli field instead of ``helmholtz`` at Gauss points."""

    @abc.abstractmethod
    def stiffness_matrix(self) -> Float[Array, "*phase 6 6"]:
        """Mandel stiffness (GPa), with the leading phase axis if the law has one."""

    @abc.abstractmethod
    def free_strain(self, temperature_K) -> Float[Array, "*phase 6"] | None:
        """Stress-free Mandel strain at a temperature in K (``None``: no thermal part), ``None`` if zero."""

    @abc.abstractmethod
    def stiffness_field(self, phases) -> AbstractStiffnessField:
        """Moduli of every voxel of ``phases`` (*grid), for a law with a phase axis."""


class Hooke(AbstractLinearLaw):
    """Anisotropic linear elasticity.

    ``stiffness`` (6, 6) Mandel in GPa, or (phase, 6, 6); optional ``eigenstrain`` (6,) or (phase, 6) Mandel;
    optional ``expansion`` of the same shape (1/K), from ``reference_temperature_K`` on.
    """

    stiffness: Float[Array, "*phase 6 6"]
    eigenstrain: Float[Array, "*phase 6"] | None = None
    expansion: Float[Array, "*phase 6"] | None = None
    reference_temperature_K: float = eqx.field(static=True, default=300.0)

    def stiffness_matrix(self):
        return self.stiffness

    def free_strain(self, temperature_K):
        thermal = None
        if self.expansion is not None and temperature_K is not None:
            thermal = self.expansion * (temperature_K - self.reference_temperature_K)
        if self.eigenstrain is None or thermal is None:
            return self.eigenstrain if thermal is None else thermal
        return self.eigenstrain + thermal

    def stiffness_field(self, phases):
        return AnisotropicField(packed_voigt(self.stiffness)[:, phases])

    def helmholtz(self, strain, temperature_K, composition):
        """ψ in GPa of a Mandel strain (6,), at one material point; the composition does not enter."""
        free = self.free_strain(temperature_K)
        elastic = strain if free is None else strain - free
        return 0.5 * elastic @ self.stiffness @ elastic


class IsotropicHooke(AbstractLinearLaw):
    """Isotropic linear elasticity, with a cheaper kernel: ``bulk`` K and ``shear`` G, () or (phase,), in GPa;
    optional isotropic ``eigenstrain`` (linear, same shape)."""

    bulk: Float[Array, "*phase"]
    shear: Float[Array, "*phase"]
    eigenstrain: Float[Array, "*phase"] | None = None

    def stiffness_matrix(self):
        return 3 * self.bulk[..., None, None] * VOLUMETRIC + 2 * self.shear[..., None, None] * DEVIATORIC

    def free_strain(self, temperature_K):
        if self.eigenstrain is None:
            return None
        return self.eigenstrain[..., None] * jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])

    def stiffness_field(self, phases):
        lame = self.bulk - 2 * self.shear / 3
        return IsotropicField(lame[phases][None], self.shear[phases][None])

    def helmholtz(self, strain, temperature_K, composition):
        """ψ in GPa of a Mandel strain (6,), at one material point."""
        free = self.free_strain(temperature_K)
        elastic = strain if free is None else strain - free
        return 0.5 * elastic @ isotropic_stiffness(self.bulk, self.shear) @ elastic


def rotated(law: Hooke, rotations: Float[Array, "grain 3 3"]) -> Hooke:
    """The law of a polycrystal: one crystal's ``law`` in every grain, for active crystal-to-sample rotations."""
    Q = mandel_rotation(rotations)
    free = [None if e is None else jnp.einsum("gmn,n->gm", Q, e) for e in (law.eigenstrain, law.expansion)]
    return Hooke(rotate_stiffness(law.stiffness, rotations), free[0], free[1], law.reference_temperature_K)


def reference_moduli(stiffness: Float[Array, "phase 6 6"]) -> tuple[Array, Array]:
    """(K, G) of the reference medium in GPa: (min + max)/2 over phases of the bulk modulus and of the eigenvalues
    of C on deviators (= 2G for an isotropic phase). The choice that minimises the spread of Green-preconditioned
    eigenvalues for two isotropic phases (Moulinec & Suquet 1998)."""
    bulk = jnp.einsum("pmn,mn->p", stiffness, VOLUMETRIC) / 3
    deviators = jnp.einsum("mi,pmn,nj->pij", _FIVE, stiffness, _FIVE)
    shear = 0.5 * jnp.linalg.eigvalsh(deviators)
    return 0.5 * (jnp.min(bulk) + jnp.max(bulk)), 0.5 * (jnp.min(shear) + jnp.max(shear))
