"""Atoms → grains: what the mesoscale and the crystals of an RVE need, as functions of the potential or of the record.

Grain-boundary mobility from boundary diffusion: M = δD_gb Ω/(b² kT) (Turnbull 1951), with b the nearest-neighbour
distance and Ω the atomic volume at the temperature of the anneal.

Sources: Wang et al. 2010 (quasi-static elastic constants); Turnbull 1951 (boundary mobility); Darken 1948 (mobilities
in alloys); Hildebrand 1929 (regular solution).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.alloys import (
    AlloyCells,
    quasi_static_stiffness,
    relax_cells,
    standard_error,
)
from hea_jax.atomistic.composition import AffineDesign, AffineFit, affine_fit
from hea_jax.atomistic.relaxation import LINEAR, RELAX
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser
from hea_jax.core.results import Solution, first_failure, succeeded
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.types import Scalar
from hea_jax.core.units import A_TO_NM, BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.records import AbstractPotential, AtomisticProperties

EV_TO_GPA_NM3 = EV_PER_A3_TO_GPA * A_TO_NM**3
"""Energy: eV to GPa·nm³ (0.1602)."""


class AlloyElasticity(eqx.Module):
    """Elastic constants of an alloy: ``constants_GPa`` (t, 3) over temperatures with standard errors, ``composition``
    their affine fit over composition at zero temperature (GPa)."""

    constants_GPa: Float[Array, "t 3"]
    constants_stderr_GPa: Float[Array, "t 3"]
    composition: AffineFit


@eqx.filter_jit
def alloy_elasticity(potential: AbstractPotential, cells: AlloyCells, design: AffineDesign,
                     stretches: Float[Array, "t"], *, base: int, solver: AbstractMinimiser = RELAX,
                     linear: CG = LINEAR) -> Solution:
    """``Solution(AlloyElasticity)``: the first ``base`` cells sample the alloy, the others compositions around it.

    ``design`` is that of all cells' compositions; ``stretches`` (t,) are a(T)/a(0), given. A pure function of the
    potential: all is relaxed within, and a failure makes the answer NaN. Results as for ``relax``.
    """
    relaxed = relax_cells(potential, cells, solver=solver, linear=linear)
    # One batch for all: base cells at every stretch, then all cells as they are.
    lanes = [*([k for k in range(base)] * stretches.shape[0]), *range(cells.number)]
    atoms = jax.tree.map(lambda leaf: leaf[np.array(lanes)], relaxed.value.atoms)
    factors = jnp.concatenate([jnp.repeat(stretches, base), jnp.ones(cells.number)])
    solved = quasi_static_stiffness(potential, atoms, cells, factors, solver=solver, linear=linear)
    cubic = cubic_projection(solved.value)
    result = first_failure(*_lanes(relaxed.result), *_lanes(solved.result))
    factor = jnp.where(succeeded(result), 1.0, jnp.nan)
    warm = (factor * cubic[: base * stretches.shape[0]]).reshape(-1, base, 3)
    fit = affine_fit(design, factor * cubic[base * stretches.shape[0] :])
    errors = jax.vmap(standard_error)(warm)
    return Solution(AlloyElasticity(jnp.mean(warm, axis=1), errors, fit), result, relaxed.stats)


def _lanes(result):
    """The results of a batch, one by one."""
    flat = jax.tree.map(jnp.ravel, result)
    number = jax.tree.leaves(flat)[0].shape[0]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], flat) for i in range(number)]


def diffusivities(properties: AtomisticProperties, temperature_K) -> Float[Array, "element"]:
    """Self-diffusivities D_i (nm²/s) at a temperature."""
    kT = BOLTZMANN_EV_PER_K * temperature_K
    return properties.diffusion_prefactors_nm2_per_s * jnp.exp(-properties.diffusion_energies_eV / kT)


def lattice_constant(properties: AtomisticProperties, temperature_K) -> Scalar:
    """Cubic lattice constant (Å) at a temperature: linear between those of the record, and beyond along the slope of
    the first and last (anneals are hotter than the dynamics); constant if the record has one temperature."""
    T, a = properties.temperatures_K, properties.lattice_constants_A
    if T.shape[0] == 1:
        return a[0]
    slope = (a[-1] - a[0]) / (T[-1] - T[0])
    outside = jnp.where(temperature_K < T[0], a[0] + slope * (temperature_K - T[0]),
                        a[-1] + slope * (temperature_K - T[-1]))
    within = (temperature_K >= T[0]) & (temperature_K <= T[-1])
    return jnp.where(within, jnp.interp(temperature_K, T, a), outside)


def atomic_volume(properties: AtomisticProperties, temperature_K) -> Scalar:
    """Volume per atom (Å³) at a temperature."""
    return lattice_constant(properties, temperature_K) ** 3 / properties.atoms_per_cell


def boundary_mobility(properties: AtomisticProperties, temperature_K) -> Scalar:
    """Grain-boundary mobility M (nm/(s·GPa)): velocity per driving pressure (Turnbull 1951)."""
    kT = BOLTZMANN_EV_PER_K * temperature_K
    diffusion = properties.boundary_diffusion_nm3_per_s * jnp.exp(-properties.boundary_diffusion_energy_eV / kT)
    neighbour = {2: np.sqrt(3) / 2, 4: np.sqrt(0.5)}[properties.atoms_per_cell]
    b = lattice_constant(properties, temperature_K) * neighbour * A_TO_NM
    omega = atomic_volume(properties, temperature_K) * A_TO_NM**3
    return diffusion * omega / (b**2 * kT * EV_TO_GPA_NM3)
