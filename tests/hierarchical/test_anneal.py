"""Models of the anneal: known rates, elements that are absent, boundaries that move by Turnbull's rule."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hierarchical.chain_fixtures import ELEMENTS, SEGREGATION, WAVELENGTH_NM, cast, properties

from hea_jax.core.units import BOLTZMANN_EV_PER_K
from hea_jax.hierarchical.anneal import (
    composition_stderr,
    diffusion_model,
    of_elements_present,
    relaxation_rates,
)
from hea_jax.hierarchical.atoms_to_grains import (
    atomic_volume,
    boundary_mobility,
    diffusivities,
    lattice_constant,
)
from hea_jax.mesoscale.equations import complete, reduce
from hea_jax.mesoscale.evolve import evolve
from hea_jax.mesoscale.grid import grid_of
from hea_jax.mesoscale.steppers import IMEXRK2

T = 2073.0


def binary(omega=0.0, c=0.3):
    """A record of which only two of the four elements are present, with equal mobilities."""
    interactions = np.zeros((4, 4))
    interactions[1, 3] = interactions[3, 1] = omega
    return dataclasses.replace(properties(), composition=jnp.array([0.0, c, 0.0, 1 - c]),
                               interactions_eV=jnp.asarray(interactions),
                               diffusion_prefactors_nm2_per_s=jnp.full(4, 5e13),
                               diffusion_energies_eV=jnp.full(4, 4.2))


def test_absent_elements_are_left_out():
    record, present = of_elements_present(binary())
    assert record.elements == (ELEMENTS[1], ELEMENTS[3])
    np.testing.assert_array_equal(present, [1, 3])
    assert record.interactions_eV.shape == (2, 2)
    assert record.elastic_slopes_GPa.shape == (3, 2)
    whole, everything = of_elements_present(properties())
    assert whole.elements == ELEMENTS
    assert len(everything) == 4


def test_binary_rates_are_those_of_darken():
    """D = (c₂D₁ + c₁D₂)(1 − 2Ω c₁c₂/kT): the thermodynamic factor of a regular solution (Darken 1948)."""
    k2 = (2 * np.pi / WAVELENGTH_NM) ** 2
    D = 5e13 * np.exp(-4.2 / (BOLTZMANN_EV_PER_K * T))
    for omega in (0.0, -0.3, 0.2):
        record, _ = of_elements_present(binary(omega))
        factor = 1 - 2 * omega * 0.3 * 0.7 / (BOLTZMANN_EV_PER_K * T)
        np.testing.assert_allclose(relaxation_rates(record, T, WAVELENGTH_NM), [k2 * D * factor], rtol=1e-9)


def test_waves_of_the_alloy_decay_at_the_predicted_rates():
    """Small waves of the four-component alloy follow exp(−rate t) for the eigenvector of each rate."""
    record, n = properties(), 16
    edge = WAVELENGTH_NM
    grid = grid_of((n,), edge / n)
    model = diffusion_model(record, grid, T)
    rates = np.asarray(relaxation_rates(record, T, WAVELENGTH_NM))
    wave = np.cos(2 * np.pi * np.arange(n) / n)
    # The slowest wave: start anything, wait until the others are gone, then measure.
    start = 0.25 + 1e-4 * np.array([1.0, -0.5, 0.3, -0.8])[:, None] * wave
    settle, span = 3.0 / rates[0], 0.5 / rates[0]
    fields = evolve(model, IMEXRK2(), reduce(jnp.asarray(start)), dt_s=settle / 400, steps=400).unwrap()
    later = evolve(model, IMEXRK2(), fields, dt_s=span / 200, steps=200).unwrap()
    amplitude = lambda f: np.linalg.norm(np.asarray(complete(f)) @ wave)
    np.testing.assert_allclose(np.log(amplitude(fields) / amplitude(later)) / span, rates[0], rtol=2e-3)


def test_errors_of_the_composition_come_from_the_interactions():
    record, _ = of_elements_present(properties())
    arguments = cast(), jnp.asarray(SEGREGATION["voxel_nm"]), T, 2e4
    error = composition_stderr(record, *arguments, coarsen=2, steps=16)
    assert error.shape == cast().shape
    assert float(jnp.max(error)) > 1e-5
    doubled = dataclasses.replace(record, interactions_stderr_eV=2 * record.interactions_stderr_eV)
    np.testing.assert_allclose(composition_stderr(doubled, *arguments, coarsen=2, steps=16), 2 * error, rtol=1e-9)


def test_lattice_and_boundaries_at_temperature():
    record = properties()
    np.testing.assert_allclose(lattice_constant(record, 600.0), 3.248, rtol=1e-12)
    slope = (3.275 - 3.240) / 1200
    np.testing.assert_allclose(lattice_constant(record, 1800.0), 3.275 + 300 * slope, rtol=1e-12)
    np.testing.assert_allclose(lattice_constant(record, 100.0), 3.240 - 200 * slope, rtol=1e-12)
    # In SI units: M = δD Ω/(b² kT), m⁴/(J s).
    k, temperature = 1.380649e-23, 1200.0
    a = float(lattice_constant(record, temperature)) * 1e-10
    delta_D = 8.5e13 * 1e-27 * np.exp(-3.09 / (BOLTZMANN_EV_PER_K * temperature))
    M = delta_D * (a**3 / 2) / ((np.sqrt(3) / 2 * a) ** 2 * k * temperature)
    np.testing.assert_allclose(boundary_mobility(record, temperature), M * 1e18, rtol=1e-9)
    np.testing.assert_allclose(atomic_volume(record, temperature), a**3 / 2 * 1e30, rtol=1e-9)
    D = 1.1e14 * np.exp(-4.16 / (BOLTZMANN_EV_PER_K * temperature))
    np.testing.assert_allclose(diffusivities(record, temperature)[0], D, rtol=1e-9)


def test_lattices_differ_in_volume_and_neighbour_distance():
    record, T_ = properties(), 900.0
    fcc = dataclasses.replace(record, atoms_per_cell=4)
    np.testing.assert_allclose(atomic_volume(fcc, T_), atomic_volume(record, T_) / 2, rtol=1e-12)
    # M = δD Ω/(b² kT): Ω halves, b² goes from 3a²/4 to a²/2.
    np.testing.assert_allclose(boundary_mobility(fcc, T_), 0.75 * boundary_mobility(record, T_), rtol=1e-12)


def test_errors_need_a_grid_that_can_be_made_coarser():
    record, _ = of_elements_present(properties())
    with pytest.raises(ValueError, match="cannot be made 3 times coarser"):
        composition_stderr(record, cast(), jnp.asarray(1.0), T, 1.0, coarsen=3)
