"""Energies, mobilities, equilibrium: against closed forms and autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.core.results import RESULTS
from hea_jax.core.units import BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.mesoscale.benchmarks import bm1
from hea_jax.mesoscale.bulk import Binary, MultiWell, Polynomial, RegularSolution
from hea_jax.mesoscale.energy import FreeEnergy
from hea_jax.mesoscale.equations import complete, multicomponent
from hea_jax.mesoscale.equilibrium import binodal, spinodal, spinodal_temperature_K, stability
from hea_jax.mesoscale.grain_growth import grain_growth
from hea_jax.mesoscale.grid import grid_of
from hea_jax.mesoscale.mobility import Darken, Frozen, LatticeConstrained

T, VOLUME = 1000.0, 16.0
KT_EV = BOLTZMANN_EV_PER_K * T


def regular(chi):
    """A regular solution with Ω_ij = χ_ij k_B T."""
    return RegularSolution(KT_EV * jnp.asarray(chi), jnp.asarray(T), jnp.asarray(VOLUME))


def binary(chi):
    """The binary with one χ."""
    return Binary(regular([[0.0, chi], [chi, 0.0]]))


TERNARY = [[0, 1.0, 2.5], [1.0, 0, -0.5], [2.5, -0.5, 0]]


def composition(grid, elements, seed=0, spread=0.1):
    """A random composition field with Σ c = 1."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (elements, *grid.sizes))
    return jnp.asarray(1 / elements + spread / elements * (noise - noise.mean(axis=0)))


EQUATIONS = {
    "Cahn-Hilliard": lambda: (bm1(grid_of((9, 8), 0.7)), (9, 8)),
    "grains": lambda: (grain_growth(grid_of((4, 5, 6), 1.2), boundary_energy_J_per_m2=0.8,
                                    boundary_mobility_nm_per_s_GPa=2.0, width_nm=6.0), (3, 4, 5, 6)),
    "ternary": lambda: (multicomponent(grid_of((12,), 0.5), regular(TERNARY), jnp.array([0.5, 0.2, 0.1]),
                                       Frozen(Darken(jnp.array([3.0, 1.0, 0.2]), jnp.asarray(T), jnp.asarray(VOLUME)),
                                              jnp.full(3, 1 / 3))), (2, 12)),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_rate_follows_from_the_energy(name):
    equation, shape = EQUATIONS[name]()
    fields = 0.3 + 0.1 * jax.random.uniform(jax.random.key(0), shape)
    grid, F = equation.grid, equation.free_energy
    spectrum = grid.transform(fields)
    potential = F.potential(fields)
    np.testing.assert_allclose(grid.inverse(F.spectral_potential(spectrum, fields)), potential, atol=1e-13)
    # dF/dt = ∫ (δF/δc) ∂c/∂t dV, and it is negative.
    rate = grid.inverse(equation.rate(spectrum))
    along = jax.jvp(equation.energy, (fields,), (rate,))[1]
    np.testing.assert_allclose(along, grid.voxel_volume() * jnp.vdot(potential, rate), rtol=1e-10)
    assert along < 0
    drift = equation.conserved(rate)
    assert np.all(np.abs(drift) < 1e-15 * np.abs(rate).max())


def test_gradient_energy_of_a_wave():
    grid = grid_of((16, 10), (0.5, 1.0))
    x, _ = grid.coordinates()
    k = 2 * np.pi * 3 / 8.0
    F = FreeEnergy(grid, Polynomial(jnp.zeros(3)), jnp.asarray(2.0))
    wave = 0.1 * jnp.cos(k * x) * jnp.ones(grid.sizes)
    np.testing.assert_allclose(F.value(wave), 0.5 * 2.0 * k**2 * 0.01 / 2 * 80, rtol=1e-12)


def test_regular_solution_is_in_GPa():
    c = jnp.array([0.2, 0.3, 0.5])
    chi = np.array(TERNARY)
    pairs = chi[0, 1] * 0.06 + chi[0, 2] * 0.1 + chi[1, 2] * 0.15
    expected = KT_EV * (pairs + sum(x * np.log(x) for x in (0.2, 0.3, 0.5))) * EV_PER_A3_TO_GPA / VOLUME
    np.testing.assert_allclose(regular(TERNARY).density(c), expected, rtol=1e-13)
    assert np.isnan(regular(TERNARY).density(jnp.array([-0.1, 0.6, 0.5])))


def test_curvature_bounds_hold():
    fields = jax.random.uniform(jax.random.key(1), (3, 50))
    well = MultiWell(jnp.asarray(2.0), jnp.asarray(1.5))
    eigenvalues = jnp.linalg.eigvalsh(jax.vmap(jax.hessian(well.density))(fields.T))
    low, high = well.curvature(fields)
    assert low <= eigenvalues.min()
    assert eigenvalues.max() <= high <= 2 * eigenvalues.max()
    # A regular solution's on Σ δc = 0, by the generalised problem in the first N − 1 fractions.
    c = composition(grid_of((20,)), 3, spread=0.5)
    H = jax.vmap(jax.hessian(lambda r: regular(TERNARY).density(complete(r))), in_axes=1)(c[:-1])
    root = jnp.linalg.inv(jnp.linalg.cholesky(jnp.eye(2) + 1))
    eigenvalues = jnp.linalg.eigvalsh(root @ H @ root.T)
    np.testing.assert_allclose(regular(TERNARY).curvature(c), (eigenvalues.min(), eigenvalues.max()), rtol=1e-10)


@pytest.mark.parametrize("kind", [Darken, LatticeConstrained])
def test_onsager_matrix(kind):
    grid = grid_of((6, 5))
    c = composition(grid, 4, spread=0.6)
    mobility = kind(jnp.array([3.0, 1.0, 0.2, 0.05]), jnp.asarray(T), jnp.asarray(VOLUME))
    L = np.moveaxis(np.asarray(mobility.onsager(c)), (0, 1), (-2, -1))
    np.testing.assert_allclose(L, np.swapaxes(L, -1, -2), atol=1e-15)
    np.testing.assert_allclose(L.sum(axis=-1), 0, atol=1e-14)
    eigenvalues = np.linalg.eigvalsh(L)
    assert eigenvalues.min() > -1e-14
    assert np.all(eigenvalues[..., 1] > 1e-4)
    frozen = Frozen(mobility, c[:, 2, 3]).onsager(c)
    np.testing.assert_allclose(frozen[:, :, 0, 0], L[2, 3], atol=1e-14)


def test_ideal_binary_interdiffusion():
    D1, D2, c1, c2 = 3.0, 0.2, 0.3, 0.7
    c = jnp.array([c1, c2])
    curvature = KT_EV * EV_PER_A3_TO_GPA / VOLUME / (c1 * c2)
    for kind, expected in ((Darken, c2 * D1 + c1 * D2), (LatticeConstrained, D1 * D2 / (c1 * D1 + c2 * D2))):
        L = kind(jnp.array([D1, D2]), jnp.asarray(T), jnp.asarray(VOLUME)).onsager(c)
        np.testing.assert_allclose(L[0, 0] * curvature, expected, rtol=1e-12)


@pytest.mark.parametrize(("chi", "phases", "limits"), [(3.0, 0.0707202, 0.2113249), (2.5, 0.1447941, 0.2763932)])
def test_binodal_and_spinodal(chi, phases, limits):
    tie = binodal(binary(chi)).unwrap()
    np.testing.assert_allclose(tie, [phases, 1 - phases], atol=5e-8)
    np.testing.assert_allclose(spinodal(binary(chi)).unwrap(), [limits, 1 - limits], atol=5e-8)
    slope = jax.grad(lambda x: binodal(binary(x)).value[0])(chi)
    # ln(c/(1−c)) + χ(1−2c) = 0 differentiated.
    np.testing.assert_allclose(slope, -(1 - 2 * phases) / (1 / (phases * (1 - phases)) - 2 * chi), rtol=1e-5)


def test_a_stable_solution_has_no_binodal():
    assert bool(binodal(binary(1.9)).result == RESULTS.negative_curvature)
    assert bool(spinodal(binary(1.9)).result == RESULTS.negative_curvature)
    assert np.all(np.isnan(binodal(binary(1.9)).value))


def test_stability_of_many_components():
    solution, c = regular(TERNARY), jnp.array([0.4, 0.2, 0.4])
    at = spinodal_temperature_K(solution.interactions_eV, c)
    critical = RegularSolution(solution.interactions_eV, at, jnp.asarray(VOLUME))
    np.testing.assert_allclose(stability(critical, c), 0, atol=1e-12)
    assert stability(solution, c) * (T - at) > 0
    omega, x = 0.2, 0.3
    pair = spinodal_temperature_K(jnp.array([[0, omega], [omega, 0]]), jnp.array([x, 1 - x]))
    np.testing.assert_allclose(pair, 2 * omega * x * (1 - x) / BOLTZMANN_EV_PER_K, rtol=1e-12)
