"""A small, realistic state of the chain: records that the tests of the hand-overs share."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.records import AtomisticProperties, Microstructure
from hea_jax.structures.polycrystal import voronoi_polycrystal
from hea_jax.structures.segregation import segregated_composition

ELEMENTS = ("Nb", "Mo", "Ta", "W")
SEGREGATION = {"sizes": (16, 16), "voxel_nm": 3125.0}
WAVELENGTH_NM = 25_000.0


def properties() -> AtomisticProperties:
    """NbMoTaW-like numbers over three temperatures."""
    omega = np.array([[0.0, -0.3, 0.05, -0.2], [-0.3, 0.0, -0.45, -0.05], [0.05, -0.45, 0.0, -0.3],
                      [-0.2, -0.05, -0.3, 0.0]])
    return AtomisticProperties(
        composition=jnp.full(4, 0.25),
        temperatures_K=jnp.array([300.0, 900.0, 1500.0]),
        lattice_constants_A=jnp.array([3.240, 3.256, 3.275]),
        lattice_constants_stderr_A=jnp.array([2e-4, 3e-4, 4e-4]),
        elastic_constants_GPa=jnp.array([[370.0, 194.0, 106.0], [350.0, 186.0, 95.0], [325.0, 177.0, 80.0]]),
        elastic_constants_stderr_GPa=jnp.array([[0.7, 0.4, 0.3]] * 3),
        elastic_slopes_GPa=jnp.array([[-250.0, 150.0, -150.0, 250.0], [-60.0, 20.0, -10.0, 50.0],
                                      [-80.0, 40.0, -40.0, 80.0]]),
        elastic_slopes_stderr_GPa=jnp.full((3, 4), 10.0),
        interactions_eV=jnp.asarray(omega),
        interactions_stderr_eV=jnp.asarray(0.05 * (np.ones((4, 4)) - np.eye(4))),
        diffusion_prefactors_nm2_per_s=jnp.array([1.1e14, 5e13, 1.2e13, 5.6e14]),
        diffusion_energies_eV=jnp.array([4.16, 4.20, 4.28, 6.06]),
        gradient_coefficient_GPa_nm2=jnp.array(0.1),
        boundary_energy_J_per_m2=jnp.array(0.98),
        boundary_diffusion_nm3_per_s=jnp.array(8.5e13),
        boundary_diffusion_energy_eV=jnp.array(3.09),
        elements=ELEMENTS,
    )


def cast(amplitude=0.1):
    """An as-cast composition field, (4, 16, 16)."""
    partition = amplitude * np.array([-1.0, -0.5, 0.6, 0.9])
    return segregated_composition(jax.random.key(3), [0.25] * 4, partition, SEGREGATION["sizes"],
                                  SEGREGATION["voxel_nm"], wavelength_nm=WAVELENGTH_NM)


def microstructure(seed=0, grid=(8, 8, 8), grains=5) -> Microstructure:
    """A Voronoi polycrystal with the as-cast composition field and errors."""
    record = voronoi_polycrystal(jax.random.key(seed), grains=grains, grid=grid, voxel_nm=2.5)
    return Microstructure(record.phases, record.rotations, record.voxel_nm, cast(), 0.01 * jnp.abs(cast() - 0.25),
                          jnp.full(2, SEGREGATION["voxel_nm"]))
