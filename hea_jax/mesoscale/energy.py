"""The free-energy functional F[fields] = ∫ g(fields) + ½ Σ_ij κ_ij ∇c_i·∇c_j dV on a periodic grid.

The discrete F is the definition: chemical potentials are its derivative by autodiff, so that energy and dynamics
cannot disagree. Energies are per unit thickness in the directions that the grid lacks (GPa nm^d).

Source: Cahn & Hilliard 1958.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.mesoscale.bulk import AbstractBulk
from hea_jax.mesoscale.grid import PeriodicGrid


class FreeEnergy(eqx.Module):
    """F of a bulk density (GPa) and gradient coefficients κ (GPa nm²).

    ``kappa`` is () for one field or the same κ for all fields, or (n, n) symmetric for fields (n, *grid).
    """

    grid: PeriodicGrid
    bulk: AbstractBulk
    kappa: Float[Array, "*n"]

    def value(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """F (GPa nm^d)."""
        return self.bulk_value(fields) + self.gradient_value(fields)

    def bulk_value(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """∫ g dV (GPa nm^d)."""
        return self.grid.voxel_volume() * jnp.sum(self.bulk.density(fields))

    def gradient_value(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """½ ∫ κ |∇c|² dV (GPa nm^d), as ½ ∫ c (−κ ∇²c) dV."""
        return 0.5 * self.grid.voxel_volume() * jnp.sum(fields * self._stiff(fields))

    def potential(self, fields: Float[Array, "*fields"]) -> Float[Array, "*fields"]:
        """δF/δc (GPa), by autodiff of ``value``."""
        return jax.grad(self.value)(fields) / self.grid.voxel_volume()

    def bulk_potential(self, fields: Float[Array, "*fields"]) -> Float[Array, "*fields"]:
        """∂g/∂c (GPa), by autodiff of the density."""
        return jax.grad(lambda f: jnp.sum(self.bulk.density(f)))(fields)

    def spectral_potential(self, spectrum: Array, fields: Float[Array, "*fields"]) -> Array:
        """Spectrum of ``potential``; the gradient part, which is linear, acts on the spectrum itself."""
        return self.grid.transform(self.bulk_potential(fields)) + self.apply_kappa(self.grid.k_squared() * spectrum)

    def apply_kappa(self, fields: Array) -> Array:
        """κ times fields (or their spectrum)."""
        return self.kappa * fields if self.kappa.ndim == 0 else jnp.tensordot(self.kappa, fields, 1)

    def _stiff(self, fields):
        return self.grid.inverse(self.grid.k_squared() * self.grid.transform(self.apply_kappa(fields)))
