"""ASE both ways: our potentials in ASE's own tools, ASE's calculators as potentials here."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms as ASEAtoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones as ASELennardJones
from ase.eos import EquationOfState
from ase.filters import UnitCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from ase.units import fs

from hea_jax.atomistic.adapters.ase_calculator import CalculatorError, as_ase_calculator, atoms_from_ase
from hea_jax.atomistic.adapters.ase_potential import ASEPotential
from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import LennardJones, Morse
from hea_jax.atomistic.properties import energy, energy_forces_stress
from hea_jax.atomistic.relaxation import relax
from hea_jax.core.results import RESULTS
from hea_jax.core.units import EV_PER_A3_TO_GPA
from tests.atomistic import potential_conformance as kit

PAIR = ("Cu", "Au")


def morse(elements=PAIR):
    symmetric = lambda a, b, c: jnp.array([[a, b], [b, c]])
    return Morse(symmetric(0.40, 0.43, 0.45), symmetric(1.4, 1.45, 1.5), symmetric(2.7, 2.75, 2.8), elements, 5.0)


def distorted(seed=0, a=3.8):
    """An fcc Cu₃Au cell of four atoms, sheared and displaced, with atoms outside the cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.08, seed=seed)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions[1] += 2 * atoms.cell[0] - atoms.cell[2]
    return atoms


@pytest.fixture(scope="module")
def calculator():
    return as_ase_calculator(morse(), offsets_eV={"Au": -3.0})


def test_numbers_are_ours(calculator):
    atoms, potential = distorted(), morse()
    atoms.calc = calculator
    ours = atoms_from_ase(atoms, PAIR)
    E, F, S = kit.evaluate(potential, ours, neighbour_table(ours, 5.0))
    assert atoms.get_potential_energy() == pytest.approx(float(E) - 3.0, abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), F, atol=1e-12)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), S, atol=1e-14)
    per_atom = atoms.get_potential_energies()
    assert per_atom.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert per_atom[0] < -3.0 < per_atom[1]


def test_forces_and_stress_by_ases_differences(calculator):
    atoms = distorted(1)
    atoms.calc = calculator
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-5), atol=1e-8)


def test_relaxed_by_ase_as_by_us(calculator):
    atoms, potential = distorted(2), morse()
    ours = atoms_from_ase(atoms, PAIR)
    sol = relax(potential, ours, neighbour_table(ours, 5.0, skin=1.5))
    assert sol.result == RESULTS.successful
    atoms.calc = calculator
    assert FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=500)
    E, relaxed = sol.value
    assert atoms.get_potential_energy() + 3.0 == pytest.approx(float(E), abs=1e-7)
    assert atoms.get_volume() == pytest.approx(float(relaxed.volume), rel=1e-4)
    assert np.abs(atoms.get_stress()).max() < 1e-5


@pytest.mark.slow
def test_equation_of_state_gives_our_bulk_modulus():
    potential = morse()
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.calc = as_ase_calculator(potential)
    reference = atoms_from_ase(atoms, PAIR)
    sol = relax(potential, reference, neighbour_table(reference, 5.0, skin=0.8))
    relaxed = sol.value[1]
    cell, volumes, energies = atoms.cell.copy(), [], []
    for scale in np.linspace(0.995, 1.005, 7) * (float(relaxed.volume) / atoms.get_volume()) ** (1 / 3):
        atoms.set_cell(scale * cell, scale_atoms=True)
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    V, _, B = EquationOfState(volumes, energies, "birchmurnaghan").fit()
    C = np.asarray(elastic_constants(potential, relaxed, neighbour_table(relaxed, 5.0)).value)
    bulk_modulus = B * EV_PER_A3_TO_GPA
    assert pytest.approx(float(relaxed.volume), rel=1e-5) == V
    assert bulk_modulus == pytest.approx((C[0, 0] + 2 * C[0, 1]) / 3, rel=2e-3)


def test_molecular_dynamics_conserves_energy_and_reuses_tables():
    atoms = bulk("Cu", cubic=True, a=3.9)
    atoms.calc = as_ase_calculator(morse(), skin_A=1.0)
    atoms.set_momenta(np.random.default_rng(0).normal(0, 1.0, (4, 3)))
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, 2 * fs).run(60)
    assert atoms.get_total_energy() == pytest.approx(start, abs=2e-4)
    assert atoms.calc.tables.builds == 1


def test_tables_follow_every_change(calculator):
    """Compression, large motion, another size, another periodicity: always the number of a fresh calculator."""
    big = distorted(3)
    small = big.copy()
    small.set_cell(0.85 * small.cell, scale_atoms=True)
    moved = big.copy()
    moved.positions[2] += 0.9
    layer = big.copy()
    layer.pbc = (True, True, False)
    for atoms in (big, small, moved, big * (2, 1, 1), layer, molecule("H2O")[:1], big):
        if "O" in atoms.symbols:
            atoms = ASEAtoms("CuAu", [[0, 0, 0], [2.6, 0, 0]])
        atoms.calc = calculator
        ours = atoms_from_ase(atoms, PAIR)
        expected = float(energy(morse(), ours, neighbour_table(ours, 5.0))) - 3.0 * atoms.symbols.count("Au")
        assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-11)
    free = ASEAtoms("CuAu", [[0, 0, 0], [2.6, 0, 0]], calculator=calculator)
    with pytest.raises(PropertyNotImplementedError):
        free.get_stress()


def test_what_the_calculator_refuses(calculator):
    atoms = distorted()
    atoms.symbols[2] = "Ag"
    atoms.calc = calculator
    with pytest.raises(CalculatorError, match="atom 2 is Ag: the potential knows Cu, Au"):
        atoms.get_potential_energy()
    with pytest.raises(CalculatorError, match="offsets_eV names Ag"):
        as_ase_calculator(morse(), offsets_eV={"Ag": 1.0})
    with pytest.raises(CalculatorError, match="skin_A"):
        as_ase_calculator(morse(), skin_A=-1.0)
    with pytest.raises(TypeError, match="float64"):
        as_ase_calculator(jax.tree.map(lambda x: x.astype(jnp.float32), morse()))


def test_ases_emt_here():
    atoms = distorted(4)
    potential = ASEPotential(EMT(), PAIR)
    ours = atoms_from_ase(atoms, PAIR)
    pairs = neighbour_table(ours, potential.cutoff)
    E, F, S = jax.jit(lambda a: energy_forces_stress(potential, a, pairs))(ours)
    atoms.calc = EMT()
    assert float(E) == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(F, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(S, atoms.get_stress(voigt=False), atol=1e-12)
    np.testing.assert_allclose(potential.atomic_energies(ours, pairs), atoms.get_potential_energies(), atol=1e-12)
    batch = jax.tree.map(lambda x: jnp.stack([x, 1.01 * x]) if eqx.is_inexact_array(x) else jnp.stack([x, x]), ours)
    values = jax.jit(jax.vmap(lambda a: energy(potential, a, pairs)))(batch)
    assert float(values[0]) == pytest.approx(float(E), abs=1e-12)
    assert float(values[1]) != float(E)


def test_conformance_of_an_ase_calculator():
    """Invariance, and forces and stress against differences: the derivative in the cell is assembled here."""
    potential = ASEPotential(EMT(), ("Cu", "Ag", "Pd", "Au"))
    kit.check_derivatives(potential)
    kit.check_invariances(potential)


def test_our_lennard_jones_equals_ases():
    """A cluster within the onset of our cut-off, where no function is switched off yet."""
    rng = np.random.default_rng(0)
    x = np.array([[0, 0, 0], [2.7, 0, 0], [0, 2.7, 0], [0, 0, 2.7], [2, 2, 2]]) + rng.normal(0, 0.1, (5, 3))
    ours = LennardJones(jnp.full((1, 1), 0.3), jnp.full((1, 1), 2.4), ("Ar",), 9.0)
    truth = ASEAtoms("Ar5", x, calculator=ASELennardJones(sigma=2.4, epsilon=0.3, rc=1e4))
    atoms = ASEAtoms("Ar5", x, calculator=as_ase_calculator(ours))
    assert atoms.get_potential_energy() == pytest.approx(truth.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), truth.get_forces(), atol=1e-12)
    record = atoms_from_ase(atoms, ("Ar",))
    theirs = ASEPotential(truth.calc, ("Ar",))
    E, F, _ = energy_forces_stress(theirs, record, neighbour_table(record, theirs.cutoff))
    assert float(E) == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(F, atoms.get_forces(), atol=1e-12)


@pytest.mark.slow
def test_emt_relaxed_by_newton_as_by_fire():
    atoms = distorted(5)
    ours = atoms_from_ase(atoms, PAIR)
    potential = ASEPotential(EMT(), PAIR, difference_A=1e-3)
    sol = relax(potential, ours, neighbour_table(ours, potential.cutoff, skin=1.5))
    assert sol.result == RESULTS.successful
    atoms.calc = EMT()
    assert FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=500)
    assert float(sol.value[0]) == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    assert float(sol.value[1].volume) == pytest.approx(atoms.get_volume(), rel=1e-4)


def test_there_and_back():
    potential, atoms = morse(), atoms_from_ase(distorted(6), PAIR)
    back = ASEPotential(as_ase_calculator(potential), PAIR)
    pairs = neighbour_table(atoms, 5.0)
    for one, other in zip(kit.evaluate(back, atoms, pairs), kit.evaluate(potential, atoms, pairs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_what_a_calculator_here_refuses():
    atoms = atoms_from_ase(distorted(), PAIR)
    potential = ASEPotential(EMT(), PAIR)
    pairs = neighbour_table(atoms, potential.cutoff)
    with pytest.raises(ValueError, match="no second derivatives: set `difference_A`"):
        jax.hessian(lambda u: energy(potential, atoms.displaced(u), pairs))(jnp.zeros_like(atoms.positions))
    noisy = ASEPotential(EMT(), PAIR, difference_A=1e-3)
    u = jnp.zeros_like(atoms.positions)
    slope = lambda w: jax.grad(lambda v: energy(noisy, atoms.displaced(v), pairs))(w)
    curvature = lambda w: jax.jvp(slope, (w,), (u + 1.0,))[1]
    np.testing.assert_allclose(curvature(u), 0, atol=1e-6)
    with pytest.raises(ValueError, match="beyond Hessian"):
        jax.jvp(curvature, (u,), (u + 1.0,))
    with pytest.raises(ValueError, match="energy and forces is needed"):
        ASEPotential(object(), PAIR)
    with pytest.raises(ValueError, match="difference_A must be positive"):
        ASEPotential(EMT(), PAIR, difference_A=-1.0)
