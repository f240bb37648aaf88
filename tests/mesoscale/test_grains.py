"""Grain growth, descriptors and as-cast segregation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.mesoscale.descriptors import (
    boundary_area,
    boundary_points,
    compact_grains,
    grain_count,
    grain_volumes,
    interface_area,
    mean_grain_size_nm,
    mean_wavelength_nm,
    structure_factor,
    volume_fractions,
)
from hea_jax.mesoscale.driver import run_evolution
from hea_jax.mesoscale.evolve import check_resolution
from hea_jax.mesoscale.grain_growth import grain_growth, grains_of, order_parameters, relaxation_time_s
from hea_jax.mesoscale.grid import grid_of
from hea_jax.mesoscale.steppers import ETDRK4, IMEXRK2
from hea_jax.structures.polycrystal import voronoi_polycrystal
from hea_jax.structures.segregation import melting_partition, segregated_composition, wave_field

SIGMA, MU = 0.8, 5.0


def growth(grid, width):
    """Grain growth with σ = 0.8 J/m², µ = 5 nm/(s GPa)."""
    return grain_growth(grid, boundary_energy_J_per_m2=SIGMA, boundary_mobility_nm_per_s_GPa=MU, width_nm=width)


def test_flat_boundary():
    grid, width = grid_of((64,)), 6.0
    equation = growth(grid, width)
    fields = order_parameters(jnp.arange(64) // 32, 2, grid, width_nm=width)
    tau = float(relaxation_time_s(equation))
    end = run_evolution(equation, ETDRK4(), fields, dt_s=tau / 2, t_end_s=30 * tau, chunk=20).unwrap().fields
    np.testing.assert_allclose(equation.energy(end) / 2, SIGMA, rtol=2e-4)
    x, = grid.coordinates()
    # Boundaries halfway between voxels 31 and 32, 63 and 64 (= 0); ℓ = 2w.
    profile = 0.5 + 0.5 * jnp.tanh((16 - jnp.abs((x - 15.5 + 32) % 64 - 32)) / (width / 2))
    np.testing.assert_allclose(end[0], profile, atol=2e-3)
    np.testing.assert_allclose(end[0] + end[1], 1, atol=2e-3)
    np.testing.assert_allclose(check_resolution(equation, end).unwrap(), 2.94444 * width / 2, rtol=1e-4)


@pytest.mark.parametrize(("d", "n", "width", "tolerance"), [(2, 64, 6.0, 0.02), (3, 32, 4.0, 0.03)])
def test_shrinking_grain(d, n, width, tolerance):
    grid, R0, radii, times = grid_of((n,) * d), 0.34 * n, [], []
    equation = growth(grid, width)
    r = jnp.sqrt(sum((x - n / 2) ** 2 for x in grid.coordinates()))
    inside = 0.5 - 0.5 * jnp.tanh((r - R0) / (width / 2))

    def watch(state, _):
        volume = float(jnp.sum(state.fields[0]))
        radii.append((volume / np.pi) ** 0.5 if d == 2 else (volume * 3 / (4 * np.pi)) ** (1 / 3))
        times.append(state.t_s)
    dt, speed = 0.2 * float(relaxation_time_s(equation)), 2 * (d - 1) * MU * SIGMA
    sol = run_evolution(equation, IMEXRK2(stabilisation=0.5), jnp.stack([inside, 1 - inside]), dt_s=dt,
                        t_end_s=0.5 * R0**2 / speed, chunk=5, on_chunk=watch)
    assert int(sol.stats["rejected"]) == 0
    assert np.all(np.diff(sol.unwrap().history.energy) < 0)
    slope = np.polyfit(times[1:], np.array(radii[1:]) ** 2, 1)[0]
    np.testing.assert_allclose(slope, -speed, rtol=tolerance)


def test_voronoi_grains_grow():
    grid, width, count = grid_of((24, 24, 24)), 5.0, 10
    grains = voronoi_polycrystal(jax.random.key(2), grains=count, grid=(24, 24, 24)).phases
    fields = order_parameters(grains, count, grid, width_nm=width)
    np.testing.assert_allclose(jnp.sum(fields, axis=0), 1, atol=1e-12)
    assert np.mean(grains_of(fields) == grains) > 0.95
    equation = growth(grid, width)
    dt = 0.4 * float(relaxation_time_s(equation))
    sol = run_evolution(equation, IMEXRK2(stabilisation=0.5), fields, dt_s=dt, t_end_s=24 * dt, chunk=8)
    end = sol.unwrap().fields
    ids = grains_of(end)
    assert 1 < int(grain_count(ids, count)) < count
    assert mean_grain_size_nm(ids, count, grid) > mean_grain_size_nm(grains, count, grid)
    assert boundary_area(end, grid) < 0.9 * boundary_area(fields, grid)
    # Away from triple lines F = σ A.
    np.testing.assert_allclose(equation.energy(end), SIGMA * boundary_area(end, grid), rtol=0.1)
    np.testing.assert_allclose(boundary_points(end, grid), width, rtol=0.15)
    new, old = compact_grains(ids)
    np.testing.assert_array_equal(old[new], ids)
    assert old.size == int(grain_count(ids, count))


def test_descriptors_of_known_shapes():
    grid = grid_of((64, 64), 0.5)
    x, y = grid.coordinates()
    r = jnp.hypot(x - 16, y - 16)
    disc = 0.1 + 0.7 * (0.5 - 0.5 * jnp.tanh((r - 10) / 1.5))
    np.testing.assert_allclose(interface_area(disc, grid, low=0.1, high=0.8), 2 * np.pi * 10, rtol=2e-3)
    ids = (disc < 0.45).astype(int)
    np.testing.assert_allclose(grain_volumes(ids, 2, grid)[0], np.pi * 100, rtol=0.02)
    np.testing.assert_allclose(jnp.sum(volume_fractions(ids, 2)), 1, rtol=1e-12)
    np.testing.assert_allclose(mean_grain_size_nm(ids, 2, grid), 2 * np.sqrt(32 * 32 / 2 / np.pi), rtol=1e-12)
    wave = 0.5 + 0.2 * jnp.cos(2 * np.pi * (3 * x + 4 * y) / 32)
    np.testing.assert_allclose(mean_wavelength_nm(wave, grid), 32 / 5, rtol=1e-12)
    k, S = structure_factor(wave, grid)
    np.testing.assert_allclose(k[jnp.argmax(S)], 2 * np.pi * 5 / 32, rtol=1e-12)
    _, S = structure_factor(jax.random.normal(jax.random.key(0), grid.sizes), grid)
    np.testing.assert_allclose(jnp.mean(S[5:]), 1, rtol=0.1)


def test_as_cast_segregation():
    elements, mean = ("Nb", "Mo", "Ta", "W"), np.array([0.2, 0.3, 0.25, 0.25])
    partition = melting_partition(elements, 0.1)
    assert abs(partition.sum()) < 1e-15
    assert partition[0] < 0
    assert partition[1] < 0
    assert partition[2] > 0
    np.testing.assert_allclose(partition[3], 0.1)
    make = lambda key: segregated_composition(jax.random.key(key), mean, partition, (64, 48), 500.0, wavelength_nm=12e3)
    c = make(0)
    assert c.shape == (4, 64, 48)
    np.testing.assert_allclose(jnp.sum(c, axis=0), 1, atol=1e-14)
    np.testing.assert_allclose(jnp.mean(c, axis=(1, 2)), mean, atol=1e-14)
    assert c.min() > 0
    np.testing.assert_allclose(np.abs(c - mean[:, None, None]).max(axis=(1, 2)), np.abs(partition), rtol=1e-12)
    np.testing.assert_allclose(mean_wavelength_nm(c[3], grid_of((64, 48), 500.0)), 12e3, rtol=0.15)
    np.testing.assert_array_equal(c, make(0))
    assert not np.array_equal(c, make(1))
    with pytest.raises(ValueError, match="amplitude"):
        segregated_composition(jax.random.key(0), mean, 3 * partition, (64, 48), 500.0, wavelength_nm=12e3)
    with pytest.raises(ValueError, match="wavelength_nm"):
        wave_field(jax.random.key(0), (64, 48), 500.0, wavelength_nm=1e3)
    with pytest.raises(ValueError, match="melting"):
        melting_partition(("Nb", "X"), 0.1)
