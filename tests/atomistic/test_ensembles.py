"""Integrators and ensembles against exact statistics, conservation laws and LAMMPS."""

import functools
import os

import ase.data
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atomistic import potential_conformance as kit
from atomistic.dynamics_fixtures import MASS, Einstein, Free, crystal, gas
from helpers import check_gradient

from hea_jax.atomistic.ensembles import (
    NVE,
    Langevin,
    StochasticCellRescaling,
    mean_and_corrected_error,
    mean_square_displacement,
    radial_distribution,
    simulate,
)
from hea_jax.atomistic.force_field import AutodiffForceField, force_field
from hea_jax.atomistic.lammps import _data, _run, lammps_available
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import load_eam, shipped, to_setfl
from hea_jax.core.masses import ATOMIC_MASS_AMU, masses_of
from hea_jax.core.results import failure_message
from hea_jax.core.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA

run = eqx.filter_jit(simulate)


def settled(potential, ensemble, state, pairs, **options):
    """State and samples of a run that follows one of the same length (and the same program)."""
    state = run(potential, ensemble, state, pairs, **options).unwrap().state
    chunk = run(potential, ensemble, state, pairs, **options).unwrap()
    return chunk.state, chunk.samples


@functools.cache
def alloy(shape=(3, 3, 3)):
    """The shipped potential and a bcc alloy at its lattice constant, at rest."""
    return shipped.shipped_potential(), kit.random_alloy(shape, noise=0.0, strain=0.0)


def test_masses():
    for symbol, mass in ATOMIC_MASS_AMU.items():
        assert mass == pytest.approx(ase.data.atomic_masses[ase.data.atomic_numbers[symbol]], rel=4e-4)
    with pytest.raises(ValueError, match="Xx"):
        masses_of(("W", "Xx"))


@pytest.mark.parametrize("a", [3.2, 1.5])
def test_fast_kernel_equals_autodiff(a):
    """Also where atoms stand on the repulsive core (a = 1.5 Å)."""
    potential = shipped.shipped_potential()
    atoms = kit.random_alloy((2, 2, 2), a=a, strain=0.02, seed=3)
    pairs = neighbour_table(atoms, potential.cutoff, skin=0.4)
    both = [eqx.filter_jit(lambda f, x: f(potential, x, pairs).evaluate(x.positions, x.cell))(f, atoms)
            for f in (force_field, AutodiffForceField)]
    size = float(jnp.max(jnp.abs(both[1].forces)))
    assert size > 0.1
    np.testing.assert_allclose(both[0].forces, both[1].forces, rtol=0, atol=1e-12 * max(1, size))
    np.testing.assert_allclose(both[0].energy, both[1].energy, rtol=1e-12)
    np.testing.assert_allclose(both[0].virial, both[1].virial, rtol=1e-11)


def test_baoab_is_exact_for_harmonic_configurations():
    """⟨x²⟩ = kT/k at any step, ⟨p²⟩ = m kT (1 − (ω dt)²/4) (Leimkuhler & Matthews 2013), at ω dt = 1."""
    T, dt, number = 300.0, 2.0, 400
    k = MASS * AMU_A2_PER_FS2_TO_EV / dt**2
    potential = Einstein(stiffness=k)
    state, pairs = gas(potential, number, temperature_K=T)
    ensemble = Langevin(T, 0.2)
    _, samples = settled(potential, ensemble, state, pairs, dt_fs=dt, steps=3000, every=4)
    kT = T * BOLTZMANN_EV_PER_K
    for series, exact in ((samples.potential_energy_eV, 1.5 * kT), (samples.kinetic_energy_eV, 1.5 * kT * 0.75)):
        mean, error = mean_and_corrected_error(series / number)
        assert abs(float(mean) - exact) < 4 * float(error)
        assert float(error) < 0.01 * exact


def test_langevin_reaches_its_temperature_in_an_alloy():
    potential, atoms = alloy()
    state, pairs = crystal(potential, atoms, temperature_K=1200.0, skin=1.5)
    ensemble = Langevin(600.0, 0.02)
    _, samples = settled(potential, ensemble, state, pairs, dt_fs=2.0, steps=1500, every=10, reference=atoms)
    mean, error = mean_and_corrected_error(samples.temperature_K)
    assert abs(float(mean) - 600.0) < 3 * float(error)
    assert float(error) < 18.0


def test_nve_conserves_and_is_of_second_order():
    """Fluctuation of the energy ∝ dt², drift zero within its error, total momentum zero; skin not exceeded."""
    potential, atoms = alloy()
    state, pairs = crystal(potential, atoms, temperature_K=1000.0, skin=1.5)
    sizes = []
    for dt in (2.0, 4.0):
        sol = run(potential, NVE(), state, pairs, dt_fs=dt, steps=2000, every=2)
        samples = sol.unwrap().samples
        E = np.asarray(samples.potential_energy_eV + samples.kinetic_energy_eV)
        blocks = E[200:].reshape(16, -1).mean(axis=1)
        slope, covariance = np.polyfit(np.arange(16), blocks, 1, cov=True)
        assert abs(slope[0]) < 4 * covariance[0, 0] ** 0.5
        # The same 4 ps of both: later the trajectories part, and with them their fluctuations.
        sizes.append(E[:int(2000 / dt)].std())
        assert float(jnp.max(jnp.abs(jnp.sum(sol.value.state.momenta, axis=0)))) < 1e-10
    assert 3.5 < sizes[1] / sizes[0] < 4.5
    assert sizes[0] / len(atoms.species) < 1e-5


def test_barostat_gives_the_volume_distribution_of_an_ideal_gas():
    """V of N non-interacting atoms at P, T is Gamma(N + 1) in units of kT/P."""
    N, T, P, lanes = 15, 300.0, 0.01, 48
    unit = T * BOLTZMANN_EV_PER_K / (P / EV_PER_A3_TO_GPA)
    state, pairs = gas(Free(), N, temperature_K=T, lanes=lanes, edge=((N + 1) * unit) ** (1 / 3))
    # Relaxation time of ln V: τ/(β P) = 40 fs.
    ensemble = StochasticCellRescaling(T, P, friction_per_fs=0.05, barostat_fs=40.0, compressibility_per_GPa=1 / P)
    chunk = jax.jit(jax.vmap(lambda s: simulate(Free(), ensemble, s, pairs, dt_fs=1.0, steps=8000, every=20)))
    V = np.asarray(chunk(state).unwrap().samples.volume_A3)[:, 20:] / unit
    for moment, exact in ((V.mean(axis=1), N + 1), (((V - N - 1) ** 2).mean(axis=1), N + 1)):
        error = moment.std(ddof=1) / lanes**0.5
        assert abs(moment.mean() - exact) < 4 * error
        assert error < 0.06 * exact


def test_barostat_agrees_with_the_pressure_of_the_virial():
    """At imposed pressure the mean instantaneous pressure is that pressure; the cell keeps its shape."""
    potential, atoms = alloy()
    state, pairs = crystal(potential, atoms, temperature_K=1000.0, skin=1.5)
    ensemble = StochasticCellRescaling(500.0, 2.0, friction_per_fs=0.02, barostat_fs=200.0)
    last, samples = settled(potential, ensemble, state, pairs, dt_fs=2.0, steps=2500, every=5, reference=atoms)
    P, error = mean_and_corrected_error(samples.pressure_GPa)
    assert abs(float(P) - 2.0) < 4 * float(error)
    assert float(error) < 0.5
    cell = np.asarray(last.atoms.cell)
    np.testing.assert_allclose(cell / cell[0, 0], np.asarray(atoms.cell / atoms.cell[0, 0]), atol=1e-12)


def test_skin_violation_and_bad_numbers_are_reported():
    potential, atoms = alloy((2, 2, 2))
    state, pairs = crystal(potential, atoms, temperature_K=2000.0, skin=0.05)
    assert "skin" in failure_message(run(potential, NVE(), state, pairs, dt_fs=2.0, steps=40, every=40).result)
    sol = run(potential, NVE(), state, pairs, dt_fs=jnp.nan, steps=40, every=40)
    assert "NaN" in failure_message(sol.result)
    with pytest.raises(ValueError, match="every must divide steps"):
        simulate(potential, NVE(), state, pairs, dt_fs=2.0, steps=40, every=30)


def test_gradient_of_a_trajectory():
    """d(energy and position after 6 steps)/d(parameters, temperature), both modes, against differences."""
    potential = kit.learnable_eam(pair_functions=4, density_functions=2)
    state, pairs = crystal(potential, kit.random_alloy((1, 1, 1), strain=0.0), temperature_K=500.0, skin=1.5)

    def after(tree):
        potential, T = tree
        sol = simulate(potential, Langevin(T, 0.01), state, pairs, dt_fs=5.0, steps=6, every=6)
        return sol.value.samples.potential_energy_eV[-1] + jnp.sum(sol.value.state.atoms.positions[0])

    check_gradient(after, (potential, jnp.array(500.0)), rtol=1e-6, seeds=(0,))


def test_float32_follows_float64():
    potential, atoms = alloy()
    state, pairs = crystal(potential, atoms, temperature_K=1000.0, skin=1.5)
    single = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, tree)
    exact = run(potential, NVE(), state, pairs, dt_fs=2.0, steps=100, every=100).unwrap().state
    rough = run(single(potential), NVE(), single(state), pairs, dt_fs=2.0, steps=100, every=100).unwrap().state
    assert rough.momenta.dtype == jnp.float32
    np.testing.assert_allclose(rough.atoms.positions, exact.atoms.positions, atol=2e-4)


def test_radial_distribution_counts_the_shells():
    """Integrated over a shell, ρ g(r) 4πr² is its coordination: 8, 6, 12 for bcc."""
    _, atoms = alloy()
    pairs = neighbour_table(atoms, 5.0)
    edges = jnp.asarray([2.5, 3.0, 4.0, 5.0])
    shells = 4 / 3 * np.pi * np.diff(np.asarray(edges) ** 3) * atoms.number / float(atoms.volume)
    np.testing.assert_allclose(radial_distribution(atoms, pairs, edges) * shells, [8, 6, 12], rtol=1e-12)


def test_nve_trajectory_against_lammps(tmp_path):
    """200 fs of the same table from the same start: positions to 1e-6 Å."""
    available, reason = lammps_available()
    if not available and os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
        pytest.fail(f"HEA_JAX_REQUIRE_PEERS=1 but {reason}")
    if not available:
        pytest.skip(reason)
    fit, atoms = alloy()
    path = tmp_path / "own.eam.alloy"
    to_setfl(fit, n_r=2001, n_rho=2001, path=path)
    potential = load_eam(path)
    state, pairs = crystal(potential, atoms, temperature_K=1000.0, skin=1.5)
    theirs = lammps_nve(tmp_path, state, path, dt_ps=0.002, steps=100)
    ours = run(potential, NVE(), state, pairs, dt_fs=2.0, steps=100, every=100).unwrap().state.atoms.positions
    assert float(jnp.max(jnp.abs(ours - atoms.positions))) > 0.2
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def lammps_nve(folder, state, path, *, dt_ps, steps):
    """Unwrapped positions (Å) after ``steps`` steps of LAMMPS' velocity Verlet from ``state``, cubic cell."""
    atoms = state.atoms
    velocities = np.asarray(state.momenta / state.masses[:, None]) * 1e3
    text = _data(np.asarray(atoms.positions), np.asarray(atoms.cell), np.asarray(atoms.species), len(atoms.elements))
    rows = [f"{n + 1} {v[0]:.17g} {v[1]:.17g} {v[2]:.17g}" for n, v in enumerate(velocities)]
    (folder / "data").write_text(text + "\nVelocities\n\n" + "\n".join(rows) + "\n")
    masses = "\n".join(f"mass {n + 1} {m:.17g}" for n, m in enumerate(np.asarray(masses_of(atoms.elements))))
    (folder / "in").write_text(f"""units metal
atom_style atomic
atom_modify map array sort 0 0.0
boundary p p p
box tilt large
read_data data
pair_style eam/alloy
pair_coeff * * "{path}" {' '.join(atoms.elements)}
{masses}
timestep {dt_ps}
fix 1 all nve
dump end all custom {steps} end id xu yu zu
dump_modify end sort id format float %.17g
run {steps}
""")
    done = _run(["-in", "in", "-log", "none", "-nocite"], folder, 120.0)
    assert done.returncode == 0, done.stdout[-500:]
    rows = np.loadtxt(folder / "end", skiprows=9 + atoms.number + 9)
    return rows[:, 1:]


def test_a_drift_of_all_atoms_is_no_displacement():
    positions = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)))
    kicks = jnp.asarray(np.random.default_rng(1).normal(size=(20, 3)))
    shifted = positions + jnp.array([3.0, -1.0, 2.0])
    assert float(mean_square_displacement(shifted, positions)) == pytest.approx(0.0, abs=1e-24)
    expected = np.mean(np.sum((np.asarray(kicks) - np.mean(np.asarray(kicks), axis=0)) ** 2, axis=1))
    assert float(mean_square_displacement(shifted + kicks, positions)) == pytest.approx(expected, rel=1e-12)
