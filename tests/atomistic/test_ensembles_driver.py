"""The host driver: nothing is lost by a bad table, runs resume bit for bit, batches are independent; averages."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atomistic import potential_conformance as kit
from atomistic.dynamics_fixtures import Einstein, crystal, gas

from hea_jax.atomistic.ensembles import (
    NVE,
    Langevin,
    begin,
    driver,
    expansion_coefficient,
    initial_state,
    integrated_autocorrelation_time,
    mean_and_corrected_error,
    run_dynamics,
    simulate,
    zero_pressure_lattice_constant,
)
from hea_jax.atomistic.ensembles.thermal_expansion import (
    lattice_constants_at_pressure,
    lattice_constants_of_temperature,
)
from hea_jax.atomistic.neighbours import neighbour_table, widened
from hea_jax.atomistic.potentials import shipped
from hea_jax.core.results import failure_message

POTENTIAL = shipped.shipped_potential()
ATOMS = kit.random_alloy((2, 2, 2), noise=0.0, strain=0.0)
HOT = Langevin(2000.0, 0.01)
OPTIONS = {"dt_fs": 2.0, "every": 10, "chunk": 20}


@pytest.fixture(scope="module")
def state():
    return crystal(POTENTIAL, ATOMS, temperature_K=4000.0)[0]


@pytest.fixture(scope="module")
def exact(state):
    """60 steps with one generous table."""
    pairs = neighbour_table(ATOMS, POTENTIAL.cutoff, skin=2.5)
    return eqx.filter_jit(simulate)(POTENTIAL, HOT, state, pairs, dt_fs=2.0, steps=60, every=10).unwrap()


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(a, eqx.is_array), eqx.filter(b, eqx.is_array))


def test_a_violated_skin_and_a_full_table_lose_nothing(state, exact, monkeypatch):
    monkeypatch.setattr(driver, "SKIN_GROWTH", 2.0)
    start = eqx.tree_at(lambda p: p.capacity, begin(state, 0.4), 30)
    sol = run_dynamics(POTENTIAL, HOT, start, steps=60, **OPTIONS)
    value = sol.unwrap()
    assert sol.stats["reruns"] > 0
    assert sol.stats["growths"] > 0
    assert sol.stats["skin_A"] > 0.4
    assert sol.stats["capacity"] > 30
    np.testing.assert_allclose(value.progress.state.atoms.positions, exact.state.atoms.positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(value.samples.potential_energy_eV, exact.samples.potential_energy_eV, atol=1e-10)
    np.testing.assert_array_equal(value.samples.step, exact.samples.step)


def test_a_stale_reference_is_replaced(state, exact):
    """A table about another configuration: the first chunk fails at once and is repeated about its own start."""
    other = ATOMS.displaced(jnp.zeros_like(ATOMS.positions).at[0, 0].set(1.5))
    start = eqx.tree_at(lambda p: p.reference, begin(state, 1.4), other)
    sol = run_dynamics(POTENTIAL, HOT, start, steps=60, **OPTIONS)
    assert sol.stats["reruns"] > 0
    np.testing.assert_allclose(sol.unwrap().progress.state.atoms.positions, exact.state.atoms.positions, atol=1e-12)


def test_resumption_is_bitwise(state, tmp_path):
    seen = []
    whole = run_dynamics(POTENTIAL, HOT, state, steps=80, skin_A=1.2, **OPTIONS,
                         on_chunk=lambda progress, samples: seen.append((progress, samples))).unwrap()
    assert len(seen) == 4
    first = run_dynamics(POTENTIAL, HOT, state, steps=40, skin_A=1.2, **OPTIONS).unwrap()
    eqx.tree_serialise_leaves(tmp_path / "saved", first.progress)
    saved = eqx.tree_deserialise_leaves(tmp_path / "saved", begin(state, 9.9))
    second = run_dynamics(POTENTIAL, HOT, saved, steps=40, **OPTIONS).unwrap()
    same(second.progress, whole.progress)
    assert (second.progress.skin_A, second.progress.capacity) == (whole.progress.skin_A, whole.progress.capacity)
    same(jax.tree.map(lambda *x: np.concatenate(x), first.samples, second.samples), whole.samples)
    same(seen[1][0].state, first.progress.state)
    assert np.all(whole.samples.msd_A2 > 0)


def test_a_batch_is_its_lanes():
    """Two strains and two temperatures in one batch equal single runs."""
    factors, T = jnp.asarray([1.0, 1.02]), jnp.asarray([500.0, 1500.0])
    lanes = [ATOMS.deformed(f * jnp.eye(3)) for f in factors]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
    pairs = neighbour_table(batch, POTENTIAL.cutoff)
    start = lambda a, p, k: initial_state(POTENTIAL, a, p, k, temperature_K=1000.0)
    states = eqx.filter_jit(jax.vmap(start))(batch, pairs, jax.random.split(jax.random.key(1), 2))
    together = run_dynamics(POTENTIAL, Langevin(T, 0.01), states, steps=20, skin_A=1.2, **OPTIONS).unwrap()
    assert together.samples.pressure_GPa.shape == (2, 2)
    alone = run_dynamics(POTENTIAL, Langevin(T[1], 0.01), jax.tree.map(lambda x: x[1], states), steps=20, skin_A=1.2,
                         **OPTIONS).unwrap()
    np.testing.assert_allclose(together.samples.pressure_GPa[1], alone.samples.pressure_GPa, rtol=1e-10)
    assert abs(together.samples.pressure_GPa[0, -1] - alone.samples.pressure_GPa[-1]) > 0.1


def test_failure_ends_before_the_bad_chunk(state):
    sol = run_dynamics(POTENTIAL, NVE(), state, dt_fs=400.0, steps=40, every=10, chunk=20, max_retries=1)
    assert failure_message(sol.result) != ""
    same(sol.value.progress.state, state)
    assert sol.value.samples is None
    with pytest.raises(ValueError, match="every must divide chunk"):
        run_dynamics(POTENTIAL, NVE(), state, steps=45, **OPTIONS)


def test_reference_follows_vibration_and_diffusion():
    """About mean positions for a vibration, about the last ones for a drift, none where little skin is used."""
    springs = Einstein(stiffness=1.0)
    state, pairs = gas(springs, 4, temperature_K=0.0)
    start, mean = state.atoms, 0.1 * jnp.eye(4, 3)
    done = eqx.filter_jit(simulate)(springs, NVE(), state, pairs, dt_fs=1.0, steps=1, every=1)
    chunk = lambda end, used: eqx.tree_at(
        lambda s: (s.value.state.atoms.positions, s.value.mean_positions, s.stats["skin_used_A"]),
        done, (end, mean, jnp.asarray(used)))
    now = eqx.tree_at(lambda p: p.reference, begin(state, 1.0), start.displaced(-2 * mean))
    choose = lambda end, used: driver._next_reference(now, chunk(end, used), pairs, 0.5)
    np.testing.assert_array_equal(choose(2 * mean, 0.9).positions, 2 * mean)
    np.testing.assert_array_equal(choose(0.2 * mean, 0.9).positions, mean)
    assert choose(2 * mean, 0.4) is None


def test_widened_pads_with_nothing():
    pairs = neighbour_table(ATOMS, POTENTIAL.cutoff)
    wide = widened(pairs, pairs.index.shape[1] + 3)
    assert not bool(jnp.any(wide.mask[:, -3:]))
    same(jax.tree.map(lambda x: x[:, :-3], wide), pairs)
    with pytest.raises(ValueError, match="capacity=2"):
        widened(pairs, 2)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_autocorrelation_time_of_ar1(rho):
    """τ = (1 + ρ)/2(1 − ρ); the corrected error covers the scatter of the means."""
    lanes, n = 64, 4000
    noise = jax.random.normal(jax.random.key(5), (lanes, n))
    step = lambda x, e: (rho * x + (1 - rho**2) ** 0.5 * e,) * 2
    series = jax.vmap(lambda e: jax.lax.scan(step, e[0], e)[1])(noise)
    tau = jax.jit(jax.vmap(integrated_autocorrelation_time))(series)
    exact = (1 + rho) / (2 * (1 - rho))
    error = float(jnp.std(tau, ddof=1)) / lanes**0.5
    assert abs(float(jnp.mean(tau)) - exact) < 4 * error + 0.01 * exact
    means, errors = jax.vmap(mean_and_corrected_error)(series)
    assert float(jnp.mean((means / errors) ** 2)) == pytest.approx(1.0, abs=4 * (2 / lanes) ** 0.5)


def test_zero_pressure_and_expansion_of_exact_lines():
    V = jnp.asarray([33.0, 34.0, 35.0])
    a, error = zero_pressure_lattice_constant(V, 5.0 * (34.2 - V), jnp.asarray([0.1, 0.1, 0.1]))
    assert float(a) == pytest.approx(34.2 ** (1 / 3), rel=1e-12)
    # Lagrange weights of the parabola at 34.2 are −.08, .96, .12; a = V^⅓.
    weights = (0.08**2 + 0.96**2 + 0.12**2) ** 0.5
    assert float(error) == pytest.approx(0.02 * weights / (3 * 34.2 ** (2 / 3)), rel=1e-9)
    a, error = zero_pressure_lattice_constant(V[:2], 5.0 * (33.4 - V[:2]), jnp.asarray([0.1, 0.1]))
    assert float(a) == pytest.approx(33.4 ** (1 / 3), rel=1e-12)
    assert float(error) == pytest.approx(0.02 * (0.6**2 + 0.4**2) ** 0.5 / (3 * 33.4 ** (2 / 3)), rel=1e-9)
    # Murnaghan's equation of state over 3.6% in volume: the curvature is followed.
    strained = 34.0 * jnp.asarray([1.0, 1.006, 1.012]) ** 3
    pressure = 256.0 / 4.5 * ((34.5 / strained) ** 4.5 - 1)
    assert float(zero_pressure_lattice_constant(strained, pressure, jnp.full(3, 0.01))[0]) == pytest.approx(
        34.5 ** (1 / 3), rel=1e-5)
    T = jnp.asarray([300.0, 600.0, 900.0])
    alpha, error = expansion_coefficient(T, 3.2 * (1 + 7e-6 * (T - 600.0)), jnp.full(3, 1e-4))
    assert float(alpha) == pytest.approx(7e-6, rel=1e-12)
    assert float(error) == pytest.approx(1e-4 / (300 * 2**0.5) / 3.2, rel=1e-3)


@pytest.mark.slow
def test_constant_volume_and_constant_pressure_agree():
    """Lattice constants at two temperatures by both routes, and expansion above zero."""
    atoms = kit.random_alloy((3, 3, 3), a=3.25, noise=0.0, strain=0.0)
    T, common = (400.0, 1200.0), {"cubic_cells": 27, "dt_fs": 4.0, "steps": 6000, "discard": 1000, "chunk": 500}
    fixed = lattice_constants_of_temperature(POTENTIAL, atoms, jax.random.key(0), temperatures_K=T,
                                             strains=(-0.005, 0.01), **common).unwrap()
    free = lattice_constants_at_pressure(POTENTIAL, atoms, jax.random.key(1), temperatures_K=T, **common).unwrap()
    gap = np.asarray(fixed.lattice_constants_A - free.lattice_constants_A)
    error = np.hypot(fixed.errors_A, free.errors_A)
    assert np.all(np.abs(gap) < 4 * error + 3e-4 * 3.25)
    assert np.all(error < 5e-3)
    alpha, scatter = expansion_coefficient(fixed.temperatures_K, fixed.lattice_constants_A, fixed.errors_A)
    assert float(alpha) > 3 * float(scatter)
