"""Sanity checks: each against an analytic result or an independent code, and each shown to see the fault it is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.fitting.elastic_data import cubic_elasticity, strained_cells
from hea_jax.atomistic.fitting.evaluation import evaluate, residuals_of
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.phonons import phonons
from hea_jax.atomistic.potentials import LennardJones, Morse
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.atomistic.sanity import (
    Dimer,
    bain_path,
    dimers,
    energies_per_atom,
    ground_state,
    shortest_distance,
    survival,
)
from hea_jax.core.masses import ATOMIC_MASS_AMU
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.electronic import shipped_dataset
from hea_jax.records import ReferenceData
from hea_jax.structures.crystals import displaced, generator_of, repeated, strained
from hea_jax.structures.ordered import PROTOTYPES, ordered

SHIPPED = shipped_dataset()


@pytest.fixture(scope="module")
def eam():
    """Morse's potential of Mo and W (Girifalco & Weizer 1959), long enough in range for bcc to be stable."""
    mean = lambda a, b: jnp.array([[a, 0.5 * (a + b)], [0.5 * (a + b), b]])
    return Morse(depth_eV=mean(0.8032, 0.9906), alpha_per_A=mean(1.5079, 1.4116), r0_A=mean(2.976, 3.032),
                 elements=("Mo", "W"), cutoff=6.5)


@pytest.fixture(scope="module")
def ground(eam):
    """W at rest."""
    return ground_state(eam, PROTOTYPES["bcc"], "W", 3.3)


def reference(atoms, potential):
    E, F, S = energy_forces_stress(potential, atoms, neighbour_table(atoms, potential.cutoff, capacity=240))
    return ReferenceData(atoms, E, F, S)


def exact_constants(potential, ground):
    """(C11, C12, C44) in GPa by second derivatives."""
    pairs = neighbour_table(ground.atoms, potential.cutoff)
    return np.asarray(cubic_projection(elastic_constants(potential, ground.atoms, pairs).value))


def test_evaluation_of_frames_of_all_sizes_is_that_of_each_alone(eam):
    """Padding atoms and batches change nothing."""
    cube = ordered(PROTOTYPES["bcc"], ("W",), 3.2)
    crystals = [cube, repeated(cube, (3, 1, 1)), repeated(ordered(PROTOTYPES["B2"], ("Mo", "W"), 3.1), (5, 1, 1))]
    shaken = [displaced(c, generator_of("s").normal(0, 0.1, c.positions.shape)) for c in crystals]
    frames = [reference(c.to_atoms(eam.elements), eam) for c in shaken]
    frames[1] = dataclasses.replace(frames[1], free_energy_eV=frames[1].free_energy_eV - 0.3)
    found = evaluate(eam, frames)
    for n, frame in enumerate(frames):
        alone = reference(frame.atoms, eam)
        np.testing.assert_allclose(found.energy_eV[n], alone.free_energy_eV, atol=1e-10)
        assert found.forces_eV_per_A[n].shape == (frame.atoms.number, 3)
        np.testing.assert_allclose(found.forces_eV_per_A[n], alone.forces_eV_per_A, atol=1e-10)
        np.testing.assert_allclose(found.stress_eV_per_A3[n], alone.stress_eV_per_A3, atol=1e-10)
    offsets = np.array([[0.1, 0.2], [0.0, 0.05]])
    r = residuals_of(found, frames, offsets, np.array([0, 1, 0]))
    np.testing.assert_allclose(r.energy_meV, [200.0, 1e3 * (0.3 / 6 + 0.05), 150.0], atol=1e-6)
    np.testing.assert_allclose(r.stress_GPa, 0.0, atol=1e-8)


def test_ground_state_from_a_distant_guess(eam, ground):
    assert not ground.failure
    stress = np.asarray(reference(ground.atoms, eam).stress_eV_per_A3)
    assert np.abs(stress).max() < 1e-8
    assert ground_state(eam, PROTOTYPES["bcc"], "W", 5.0).failure.startswith("no minimum")


def test_bain_path_ends_in_fcc(eam, ground):
    """At c/a = √2 the path has the energy of an fcc cell of the same volume, computed as such."""
    path = bain_path(eam, "W", ground.lattice_constant_A)
    fcc = ordered(PROTOTYPES["fcc"], ("W",), ground.lattice_constant_A * 2 ** (1 / 3)).to_atoms(eam.elements)
    E = energies_per_atom(eam, [fcc, ground.atoms])
    assert path.fcc_eV == pytest.approx(E[0] - E[1], abs=1e-6)
    assert path.energy_eV[np.searchsorted(path.ratio, 1.0)] == 0.0
    assert path.lowest_ratio in path.ratio


def test_dimer_of_a_pair_potential_is_that_potential():
    potential = LennardJones(epsilon_eV=jnp.array([[0.4]]), sigma_A=jnp.array([[2.0]]), elements=("Ar",), cutoff=6.0)
    (dimer,) = dimers(potential)
    bare = 1.6 * ((2.0 / dimer.distance_A) ** 12 - (2.0 / dimer.distance_A) ** 6)
    inside = dimer.distance_A < 3.0
    np.testing.assert_allclose(dimer.energy_eV[inside], bare[inside], atol=2e-3, rtol=2e-3)
    assert dimer.minimum_A == pytest.approx(2 ** (1 / 6) * 2.0, abs=0.02)
    assert dimer.hole_eV == 0.0
    assert dimer.sound()


def test_dimer_with_a_hole_or_without_a_wall_is_seen():
    r = np.arange(0.8, 5, 0.02)
    well = -np.exp(-((r - 2.6) ** 2)) + 20 * np.exp(-((r / 0.9) ** 2))
    sound = Dimer(("A", "A"), r, well)
    assert not sound.sound(wall_eV=10.0)
    assert sound.sound(wall_eV=5.0)
    holed = Dimer(("A", "A"), r, well - 3.0 * np.exp(-(((r - 1.2) / 0.1) ** 2)) )
    assert holed.hole_eV > 0.5
    assert not holed.sound(wall_eV=5.0)
    collapsed = Dimer(("A", "A"), r, well - 20.0 * np.exp(-(((r - 1.2) / 0.1) ** 2)))
    assert collapsed.minimum_A < 1.5
    assert not collapsed.sound(wall_eV=5.0)


def test_phonons_against_finite_differences_in_a_supercell_and_the_sound_velocity(eam, ground):
    """All modes of a 2×2×2 primitive supercell, and the slope at small q from C44."""
    cell = ordered(PROTOTYPES["bcc_primitive"], ("W",), ground.lattice_constant_A)
    found = phonons(eam, cell.to_atoms(eam.elements), (2, 2, 2))
    large = repeated(cell, (2, 2, 2)).to_atoms(eam.elements)
    pairs, h = neighbour_table(large, eam.cutoff, skin=0.1), 1e-3
    force = jax.jit(lambda u: energy_forces_stress(eam, large.displaced(u), pairs)[1])
    H = np.zeros((24, 24))
    for k in range(24):
        u = jnp.zeros((8, 3)).at[k // 3, k % 3].set(h)
        H[k] = np.asarray((force(-u) - force(u)) / (2 * h)).ravel()
    square = np.linalg.eigvalsh(0.5 * (H + H.T)) / ATOMIC_MASS_AMU["W"]
    # √(eV/Å²/amu) to THz: √(1.602e-19/1e-20/1.6605e-27)/2π.
    other = np.sign(square) * np.sqrt(np.abs(square)) * 15.633302
    np.testing.assert_allclose(np.sort(found.frequencies_THz.ravel())[3:], np.sort(other)[3:], rtol=1e-5)
    assert found.lowest_THz > 1.0
    C44 = float(exact_constants(eam, ground)[2])
    density = 2 * ATOMIC_MASS_AMU["W"] / ground.lattice_constant_A**3 * 1660.539
    cubic = phonons(eam, ground.atoms, (1, 1, 24))
    first = cubic.frequencies_THz[1, 0]
    wave = 1 / (24 * ground.lattice_constant_A * 1e-10)
    assert first * 1e12 == pytest.approx(np.sqrt(C44 * 1e9 / density) * wave, rel=0.01)


def test_unstable_lattice_has_imaginary_modes():
    """Bcc with compressed nearest neighbours alone is unstable against shear: C′ is negative (Born)."""
    potential = Morse(depth_eV=jnp.array([[0.4]]), alpha_per_A=jnp.array([[1.4]]), r0_A=jnp.array([[2.7]]),
                      elements=("W",), cutoff=2.95, onset_fraction=0.97)
    cell = ordered(PROTOTYPES["bcc_primitive"], ("W",), 3.0).to_atoms(("W",))
    assert phonons(potential, cell, (4, 4, 4)).lowest_THz < -0.1


def test_survival_and_its_failures(eam):
    cell = repeated(ordered(PROTOTYPES["bcc"], ("W",), 3.2), (3, 3, 3)).to_atoms(eam.elements)
    run = survival(eam, cell, jax.random.key(0), temperature_K=2000.0, duration_ps=0.1, chunk=25)
    assert not run.failure
    assert run.closest_A > 2.0
    assert len(run.time_ps) == 2
    ended = survival(eam, cell, jax.random.key(0), temperature_K=2000.0, duration_ps=0.1, chunk=25, closest_A=2.6)
    assert "as close as" in ended.failure
    assert shortest_distance(ordered(PROTOTYPES["bcc"], ("W",), 2.0).to_atoms(("W",))) == pytest.approx(3**0.5)


def test_elastic_constants_read_off_strained_cells_are_those_of_the_potential(eam, ground):
    """A set made with a known potential: its lattice constant and constants come back, supercells and rattled frames
    and finite strains notwithstanding."""
    cube = ordered(PROTOTYPES["bcc"], ("W",), ground.lattice_constant_A)
    strains = [s * np.eye(3) for s in (-0.03, -0.015, 0.0, 0.015, 0.03)]
    strains += [np.diag([g, -g / 2, -g / 2]) for g in (-0.03, 0.03)]
    strains += [np.array([[0, g / 2, 0], [g / 2, 0, 0], [0, 0, 0]]) for g in (0.03, 0.06)]
    crystals = [strained(cube, s) for s in strains] + [strained(repeated(cube, (1, 2, 1)), strains[5])]
    rattled = displaced(cube, generator_of("x").normal(0, 0.05, (2, 3)))
    frames = [reference(c.to_atoms(eam.elements), eam) for c in [*crystals, rattled]]
    cells = strained_cells(frames, "W")
    assert cells is not None
    assert len(cells.indices) == len(crystals)
    found = cubic_elasticity(cells, np.array([np.asarray(f.stress_eV_per_A3) for f in frames])[cells.indices])
    assert found.lattice_constant_A == pytest.approx(ground.lattice_constant_A, abs=1e-4)
    exact = exact_constants(eam, ground)
    np.testing.assert_allclose(found.constants_GPa, exact, rtol=0.03)
    assert strained_cells(frames, "Nb") is None


def test_elastic_constants_of_the_shipped_set_are_those_of_its_secants():
    """C′ and C44 of the elements from the set by the regression and by differences at 3%."""
    stress = lambda name: np.asarray(SHIPPED.frames[SHIPPED.names.index(name)].stress_eV_per_A3) * EV_PER_A3_TO_GPA
    for element in SHIPPED.elements:
        cells = strained_cells(SHIPPED.frames, element)
        assert cells is not None
        stresses = np.array([np.asarray(SHIPPED.frames[n].stress_eV_per_A3) for n in cells.indices])
        found = cubic_elasticity(cells, stresses)
        C11, C12, C44 = found.constants_GPa
        up, down = (stress(f"elastic12-{element}-tet-{g}") for g in ("0.03", "-0.03"))
        C_prime = ((up - down)[0, 0] - (up - down)[1, 1]) / 0.06 / 3.0
        secant = stress(f"elastic12-{element}-shear-0.03")[0, 1] / 0.03
        np.testing.assert_allclose((C11 - C12) / 2, C_prime, atol=8.0)
        np.testing.assert_allclose(C44, secant, atol=12.0)
        assert 3.1 < found.lattice_constant_A < 3.4
