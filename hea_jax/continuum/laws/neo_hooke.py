"""Compressible neo-Hookean solid.

Source: Simo & Hughes 1998, eq. 9.2.3 (decoupled volumetric and isochoric energies).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.records.law import AbstractFiniteStrainLaw


class NeoHooke(AbstractFiniteStrainLaw):
    """ψ(F) = ½G (J^−2/3 tr FᵀF − 3) + ½K (½(J² − 1) − ln J), with K ``bulk`` and G ``shear`` () in GPa.

    NaN for det F ≤ 0 (a folded element).
    """

    bulk: Float[Array, ""]
    shear: Float[Array, ""]

    def helmholtz(self, strain, temperature_K, composition):
        """ψ in GPa of a deformation gradient F (3, 3); temperature and composition do not enter."""
        F = strain
        J = jnp.linalg.det(F)
        isochoric = 0.5 * self.shear * (jnp.sum(F * F) * jnp.exp(-2 / 3 * jnp.log(J)) - 3)
        return isochoric + 0.5 * self.bulk * (0.5 * (J**2 - 1) - jnp.log(J))
