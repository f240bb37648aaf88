"""Atoms → microstructure: the phase-field models of an alloy, and the anneal that makes an RVE out of them.

Two fields on two grids, each with the length and time scale of its own: composition (micrometres, the dendrites of the
casting) diffuses towards its mean, down the gradient of the free energy of the atoms' mixing enthalpies and the ideal
entropy; grains (nanometres) coarsen by the energy and mobility of their boundaries.

Sources: Andersson & Ågren 1992 (multicomponent diffusion); Moelans, Blanpain & Wollants 2008 (grain growth);
JCGM 100:2008 (propagation of uncertainty).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.results import succeeded
from hea_jax.hierarchical.atoms_to_grains import atomic_volume, boundary_mobility, diffusivities
from hea_jax.mesoscale.bulk import RegularSolution
from hea_jax.mesoscale.equations import MultiComponentDiffusion, complete, multicomponent, reduce
from hea_jax.mesoscale.evolve import evolve
from hea_jax.mesoscale.grain_growth import GrainGrowth, grain_growth
from hea_jax.mesoscale.grid import PeriodicGrid, grid_of
from hea_jax.mesoscale.mobility import Darken
from hea_jax.mesoscale.steppers import IMEXRK2
from hea_jax.records import AtomisticProperties


def free_energy(properties: AtomisticProperties, temperature_K) -> RegularSolution:
    """g({c}, T) in GPa: mixing enthalpies by pairs and ideal entropy."""
    return RegularSolution(properties.interactions_eV, jnp.asarray(temperature_K, float),
                           atomic_volume(properties, temperature_K))


def of_elements_present(properties: AtomisticProperties) -> tuple[AtomisticProperties, np.ndarray]:
    """The record without the elements whose mean fraction is zero, and the indices of those that stay (host-side): a
    phase field of an absent element has no chemical potential."""
    present = np.flatnonzero(np.asarray(properties.composition) > 0)
    pairs = np.ix_(present, present)
    kept = {"composition": properties.composition[present],
            "elastic_slopes_GPa": properties.elastic_slopes_GPa[:, present],
            "elastic_slopes_stderr_GPa": properties.elastic_slopes_stderr_GPa[:, present],
            "interactions_eV": properties.interactions_eV[pairs],
            "interactions_stderr_eV": properties.interactions_stderr_eV[pairs],
            "diffusion_prefactors_nm2_per_s": properties.diffusion_prefactors_nm2_per_s[present],
            "diffusion_energies_eV": properties.diffusion_energies_eV[present],
            "elements": tuple(properties.elements[i] for i in present)}
    return dataclasses.replace(properties, **kept), present


def diffusion_model(properties: AtomisticProperties, grid: PeriodicGrid, temperature_K) -> MultiComponentDiffusion:
    """Diffusion with vacancies in equilibrium (Darken's mobilities); every element of the record must be present."""
    g = free_energy(properties, temperature_K)
    mobility = Darken(diffusivities(properties, temperature_K), g.temperature_K, g.volume_A3)
    kappa = jnp.broadcast_to(properties.gradient_coefficient_GPa_nm2, properties.composition.shape)
    return multicomponent(grid, g, kappa, mobility)


def grain_model(properties: AtomisticProperties, grid: PeriodicGrid, temperature_K, *, width_nm) -> GrainGrowth:
    """Grain growth with the alloy's boundary energy and mobility; ``width_nm``, the diffuse width, is a choice."""
    return grain_growth(grid, boundary_energy_J_per_m2=properties.boundary_energy_J_per_m2,
                        boundary_mobility_nm_per_s_GPa=boundary_mobility(properties, temperature_K), width_nm=width_nm)


def relaxation_rates(properties: AtomisticProperties, temperature_K, wavelength_nm) -> Float[Array, "n"]:
    """Rates (1/s) at which composition waves of a wavelength decay, slowest first: eigenvalues of k² L g″ at the mean
    composition. A negative one is a wave that grows: the alloy demixes at this temperature."""
    grid = grid_of((2,), wavelength_nm)
    model = diffusion_model(properties, grid, temperature_K)
    mean = reduce(properties.composition)
    L = model.reduced_onsager(mean[:, None])[..., 0]
    H = jax.hessian(lambda c: model.free_energy.bulk.density(c[:, None])[0])(mean)
    k2 = (2 * jnp.pi / wavelength_nm) ** 2
    # L H is similar to the symmetric L^½ H L^½, whose eigenvalues have derivatives.
    values, vectors = jnp.linalg.eigh(L)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))) @ vectors.T
    return jnp.sort(jnp.linalg.eigvalsh(k2 * root @ H @ root))


@eqx.filter_jit
def composition_stderr(properties: AtomisticProperties, composition: Float[Array, "element *grid"], voxel_nm,
                       temperature_K, time_s, *, coarsen: int, steps: int = 64) -> Float[Array, "element *grid"]:
    """Standard error of the annealed composition from that of the interactions, by the delta method.

    ``composition`` as cast; its anneal is repeated on voxels ``coarsen`` times larger in ``steps`` equal steps, with a
    tangent for every pair of elements, and the answer is repeated over the fine voxels. NaN if that anneal fails.
    Raises ``ValueError`` unless ``coarsen`` divides the grid.
    """
    if any(n % coarsen for n in composition.shape[1:]):
        raise ValueError(f"a grid of {composition.shape[1:]} voxels cannot be made {coarsen} times coarser")
    coarse = _block_means(composition, coarsen)
    grid = PeriodicGrid(coarse.shape[1:], jnp.broadcast_to(voxel_nm * coarsen, (composition.ndim - 1,)))
    pairs = [(i, j) for i in range(len(composition)) for j in range(i)]

    def annealed(values):
        omega = properties.interactions_eV
        for (i, j), value in zip(pairs, values, strict=True):
            omega = omega.at[i, j].set(value).at[j, i].set(value)
        changed = eqx.tree_at(lambda p: p.interactions_eV, properties, omega)
        model = diffusion_model(changed, grid, temperature_K)
        sol = evolve(model, IMEXRK2(), reduce(coarse), dt_s=time_s / steps, steps=steps)
        return complete(sol.value) * jnp.where(succeeded(sol.result), 1.0, jnp.nan)

    index = tuple(np.array(pairs).T)
    slopes = jax.jacfwd(annealed)(properties.interactions_eV[index])
    error = jnp.sqrt(jnp.einsum("...p,p->...", slopes**2, properties.interactions_stderr_eV[index] ** 2))
    return _repeated(error, coarsen)


def _block_means(field: Array, size: int) -> Array:
    """Means over blocks of ``size`` voxels along every grid axis."""
    for axis in range(1, field.ndim):
        shape = (*field.shape[:axis], field.shape[axis] // size, size, *field.shape[axis + 1 :])
        field = jnp.mean(field.reshape(shape), axis=axis + 1)
    return field


def _repeated(field: Array, size: int) -> Array:
    for axis in range(1, field.ndim):
        field = jnp.repeat(field, size, axis=axis)
    return field
