"""Grain growth with one order parameter per grain.

F = ∫ m [Σ (η_i⁴/4 − η_i²/2) + γ Σ_{i<j} η_i² η_j² + ¼] + ½ κ Σ |∇η_i|² dV,  ∂η_i/∂t = −L δF/δη_i. With γ = 3/2 a flat
boundary is η_1 = 1 − η_2 = ½ + ½ tanh(x/w), w = √(2κ/m), and

    σ_gb = (√2/3) √(mκ),   ℓ_gb = √(8κ/m) (the step over the steepest slope, 2w),   L = 4 µ_gb/(3 ℓ_gb).

Proof: on η_2 = 1 − η_1 the density is 2m η_1²η_2² and equals the gradient energy κ η_1′² along the profile, so
σ = 2 ∫ √(2mκ) η(1 − η) dη. A moving boundary dissipates (v²/L) ∫ Σ η_i′² dx = v² σ/(κL) = v²/µ_gb: µ_gb = κL/σ = 3Lℓ/4.

Source: Moelans, Blanpain & Wollants 2008.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hea_jax.mesoscale.bulk import MultiWell
from hea_jax.mesoscale.energy import FreeEnergy
from hea_jax.mesoscale.equations import TANH_WIDTH, AbstractEquation, energy_noise, spectral_radius
from hea_jax.mesoscale.grid import PeriodicGrid
from hea_jax.mesoscale.symbols import Diagonal


class GrainGrowth(AbstractEquation):
    """Allen–Cahn flow of order parameters (op, *grid); ``kinetic`` L in 1/(s GPa). Make it with ``grain_growth``."""

    free_energy: FreeEnergy
    kinetic: Float[Array, ""]

    @property
    def grid(self):
        return self.free_energy.grid

    def energy(self, fields):
        return self.free_energy.value(fields)

    def rate(self, spectrum):
        return -self.kinetic * self.free_energy.spectral_potential(spectrum, self.grid.inverse(spectrum))

    def symbol(self, fields, stabilisation):
        s = stabilisation * spectral_radius(self.free_energy.bulk, fields)
        return Diagonal(-self.kinetic * (s + self.free_energy.kappa * self.grid.k_squared()))

    def energy_noise(self, fields):
        return energy_noise(self.free_energy, fields)

    def conserved(self, fields):
        return jnp.zeros((0,), fields.dtype)

    def interface_width_nm(self, fields):
        bulk: MultiWell = self.free_energy.bulk  # pyright: ignore[reportAssignmentType]
        return TANH_WIDTH * jnp.sqrt(2 * self.free_energy.kappa / bulk.height_GPa)


def grain_growth(grid: PeriodicGrid, *, boundary_energy_J_per_m2, boundary_mobility_nm_per_s_GPa,
                 width_nm) -> GrainGrowth:
    """Grain growth with isotropic boundary energy σ_gb (J/m² = GPa nm) and mobility µ_gb (nm/(s GPa)).

    ``width_nm`` is the diffuse width ℓ_gb, a numerical choice of six to eight grid spacings; the physical boundary is
    about 1 nm wide. 1 m⁴/(J s) = 1e18 nm/(s GPa).
    """
    dtype = grid.voxel_nm.dtype
    sigma, width = jnp.asarray(boundary_energy_J_per_m2, dtype), jnp.asarray(width_nm, dtype)
    bulk = MultiWell(6 * sigma / width, jnp.asarray(1.5, dtype))
    kinetic = 4 * jnp.asarray(boundary_mobility_nm_per_s_GPa, dtype) / (3 * width)
    return GrainGrowth(FreeEnergy(grid, bulk, 0.75 * sigma * width), kinetic)


def relaxation_time_s(equation: GrainGrowth) -> Float[Array, ""]:
    """1/(L m) in s: the time in which an order parameter settles.

    Steps of half of it (``IMEXRK2``) move boundaries 3% too slowly, of a fifth 0.5% (circle of ten widths across).
    """
    bulk: MultiWell = equation.free_energy.bulk  # pyright: ignore[reportAssignmentType]
    return 1 / (equation.kinetic * bulk.height_GPa)


def order_parameters(grains: Int[Array, "*grid"], count: int, grid: PeriodicGrid, *, width_nm
                     ) -> Float[Array, "op *grid"]:
    """One smooth order parameter per grain 0 … ``count`` − 1, their sum 1 everywhere.

    Indicators smoothed by a Gaussian whose step is as steep as a boundary of diffuse width ``width_nm`` (nm). A grain
    map with axes of one voxel (a 2D map of a 3D generator) is squeezed onto the grid.
    """
    phases = jnp.reshape(grains, grid.sizes)
    labels = jnp.arange(count).reshape(-1, *(1,) * len(grid.sizes))
    indicators = (phases == labels).astype(grid.voxel_nm.dtype)
    variance = jnp.asarray(width_nm, grid.voxel_nm.dtype) ** 2 / (2 * jnp.pi)
    return grid.inverse(jnp.exp(-0.5 * variance * grid.k_squared()) * grid.transform(indicators))


def grains_of(fields: Float[Array, "op *grid"]) -> Int[Array, "*grid"]:
    """Index of the largest order parameter at every point: the sharp grain map."""
    return jnp.argmax(fields, axis=0)
