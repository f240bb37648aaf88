"""Crystals, ordered compounds, slabs, stacking faults and random cells, against ASE and crystallography."""

import itertools

import numpy as np
import pytest
from ase import Atoms as AseAtoms
from ase.build import bcc100, bcc110, bcc111, bulk, fcc100, fcc110, fcc111
from ase.neighborlist import neighbor_list

from hea_jax.structures import crystals
from hea_jax.structures.crystals import Crystal
from hea_jax.structures.defect_cells import PLANES, fault_area, plane_of, slab, stacking_fault
from hea_jax.structures.ordered import PROTOTYPES, lattice_constant, ordered
from hea_jax.structures.random_cells import Composition, dealt, random_cell, random_fault, vegard

A = 3.2


def ase_of(crystal, pbc=True):
    return AseAtoms(crystal.symbols, positions=crystal.positions, cell=crystal.cell, pbc=pbc)


def spectrum(atoms, cutoff=1.8 * A):
    """All pair distances up to a cut-off, per atom and sorted: equal for equal structures, however they are turned."""
    i, d = neighbor_list("id", atoms, cutoff)
    return np.sort([np.sort(d[i == n]).round(6).sum() for n in range(len(atoms))]), np.sort(d)


def assert_same_structure(ours, theirs):
    for a, b in zip(spectrum(ours), spectrum(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def neighbours(crystal, distance):
    """Counts of neighbours at a distance by (own symbol, neighbour's symbol), per atom of the own symbol."""
    i, j, d = neighbor_list("ijd", ase_of(crystal), distance * 1.001)
    at = np.abs(d - distance) < 1e-6
    assert at.all(), "closer neighbours than expected"
    pairs = [(crystal.symbols[a], crystal.symbols[b]) for a, b in zip(i, j, strict=True)]
    return {p: pairs.count(p) / crystal.symbols.count(p[0]) for p in sorted(set(pairs))}


@pytest.mark.parametrize(("name", "ase_name", "options"), [
    ("bcc", "bcc", {"cubic": True}), ("fcc", "fcc", {"cubic": True}), ("fcc_primitive", "fcc", {}),
    ("bcc_primitive", "bcc", {}), ("sc", "sc", {}), ("hcp", "hcp", {"c": 1.7 * A}),
    ("diamond", "diamond", {"cubic": True}),
])  # fmt: skip
def test_lattices_are_those_of_ase(name, ase_name, options):
    ours = ordered(PROTOTYPES[name], ("W",), A, c_over_a=1.7 if name == "hcp" else None)
    theirs = bulk("W", ase_name, a=A, **options)
    if name != "diamond":
        np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-12)
        np.testing.assert_allclose(ours.cell, theirs.cell.array, atol=1e-12)
    assert_same_structure(ase_of(ours), theirs)


# Nearest neighbours of both sublattices, from the crystallography of each type.
COORDINATION = {
    "B1": (0.5, {("A", "B"): 6, ("B", "A"): 6}),
    "B2": (3**0.5 / 2, {("A", "B"): 8, ("B", "A"): 8}),
    "B3": (3**0.5 / 4, {("A", "B"): 4, ("B", "A"): 4}),
    "B32": (3**0.5 / 4, {("A", "A"): 4, ("A", "B"): 4, ("B", "A"): 4, ("B", "B"): 4}),
    "D0_3": (3**0.5 / 4, {("A", "A"): 16 / 3, ("A", "B"): 8 / 3, ("B", "A"): 8}),
    "L1_2": (2**0.5 / 2, {("A", "A"): 8, ("A", "B"): 4, ("B", "A"): 12}),
    "L1_0": (2**0.5 / 2, {("A", "A"): 4, ("A", "B"): 8, ("B", "A"): 8, ("B", "B"): 4}),
    "A15": (0.5, {("A", "A"): 2}),
    "C15": (2**0.5 / 4, {("B", "B"): 6}),
}


@pytest.mark.parametrize("name", COORDINATION)
def test_coordination_of_compounds(name):
    distance, expected = COORDINATION[name]
    crystal = ordered(PROTOTYPES[name], ("A", "B"), 1.0)
    crystal = crystals.relabelled(crystal, ["W" if s == "A" else "Mo" for s in crystal.symbols])
    names = {"A": "W", "B": "Mo"}
    found = neighbours(crystal, distance)
    assert found == pytest.approx({(names[a], names[b]): n for (a, b), n in expected.items()})


def test_unlike_neighbours_of_the_laves_and_a15_phases():
    for name, own, distance, number in (("C15", "W", 11**0.5 / 8, 12), ("A15", "Mo", 5**0.5 / 4, 12)):
        crystal = ordered(PROTOTYPES[name], ("W", "Mo"), 1.0)
        i, j, d = neighbor_list("ijd", ase_of(crystal), distance * 1.001)
        other = [b for a, b, r in zip(i, j, d, strict=True) if abs(r - distance) < 1e-6 and crystal.symbols[a] == own]
        assert len(other) == number * crystal.symbols.count(own)
        assert {crystal.symbols[b] for b in other} == {"W", "Mo"} - {own}


@pytest.mark.parametrize("name", PROTOTYPES)
def test_lattice_constant_keeps_the_volume(name):
    prototype = PROTOTYPES[name]
    a = lattice_constant(prototype, 16.0)
    crystal = ordered(prototype, ("W",) * prototype.number_of_sublattices, a)
    assert crystal.volume / len(crystal) == pytest.approx(16.0)
    # No two sites coincide: a slip in a basis would show as a distance of zero.
    assert crystals.closest_distance(crystal) > 1.9


SLABS = {("bcc", "100"): bcc100, ("bcc", "110"): bcc110, ("bcc", "111"): bcc111, ("fcc", "100"): fcc100,
         ("fcc", "110"): fcc110, ("fcc", "111"): fcc111}  # fmt: skip


@pytest.mark.parametrize(("lattice", "indices"), SLABS)
@pytest.mark.parametrize("layers", [6, 7])
def test_slabs_are_those_of_ase(lattice, indices, layers):
    plane = plane_of(lattice, indices)
    ours = slab(plane, ("W",) * layers, A, 10.0)
    theirs = SLABS[lattice, indices]("W", size=(1, 1, layers), a=A, vacuum=10.0)
    assert_same_structure(ase_of(ours), AseAtoms(theirs, pbc=(True, True, False)))
    area = np.linalg.norm(np.cross(ours.cell[0], ours.cell[1]))
    assert area == pytest.approx(fault_area(plane, A))
    assert ours.volume / area == pytest.approx(layers * plane.spacing * A + 10.0)
    np.testing.assert_allclose(ours.cell[2] / np.linalg.norm(ours.cell[2]), plane.normal, atol=1e-12)


FAULTS = [("bcc", "110"), ("bcc", "112"), ("fcc", "111")]


@pytest.mark.parametrize(("lattice", "indices"), FAULTS)
def test_a_fault_of_no_or_a_whole_displacement_is_the_perfect_crystal(lattice, indices):
    plane = plane_of(lattice, indices)
    perfect = ase_of(ordered(PROTOTYPES[f"{lattice}_primitive"], ("W",), A))
    number = 2 * plane.layers if plane.layers > 2 else 6
    # Three partials bring fcc back to itself, one slip vector bcc.
    for u in (0.0, 3.0 if lattice == "fcc" else 1.0, -3.0):
        cell = ase_of(stacking_fault(plane, ("W",) * number, A, u))
        assert cell.get_volume() / number == pytest.approx(perfect.get_volume())
        distances = np.tile(spectrum(perfect)[1], number)
        np.testing.assert_allclose(spectrum(cell)[1], np.sort(distances), atol=1e-6)
    faulted = stacking_fault(plane, ("W",) * number, A, 0.5)
    assert crystals.closest_distance(faulted) < crystals.closest_distance(Crystal(
        ("W",), np.zeros((1, 3)), perfect.cell.array)) - 0.05  # fmt: skip


def test_the_whole_partial_of_fcc_is_the_intrinsic_fault():
    fault = ase_of(stacking_fault(plane_of("fcc", "111"), ("Cu",) * 6, A, 1.0))
    first, second, hcp_like = A / 2**0.5, A, A / 2**0.5 * (8 / 3) ** 0.5
    i, d = neighbor_list("id", fault, 1.2 * A)
    counts = [[int(np.sum((i == n) & (np.abs(d - r) < 1e-6))) for r in (first, second, hcp_like)] for n in range(6)]
    # …ABCA|CABC…: C on both sides of one A, and A on both sides of one C, stand in line at the c axis of hcp.
    assert sorted(counts) == [[12, 6, 0]] * 2 + [[12, 6, 1]] * 4


def test_two_thirds_on_112_is_the_stacking_of_the_twin():
    plane = plane_of("bcc", "112")
    across = lambda v: np.array(v) - (np.array(v) @ plane.normal) * plane.normal
    twin = across(np.array(plane.step) + 2 / 3 * np.array(plane.slip))
    mirrored = across(plane.step) * 1.0
    slip = np.array(plane.slip) / np.linalg.norm(plane.slip)
    mirrored -= 2 * (mirrored @ slip) * slip
    coordinates = np.linalg.lstsq(np.array(plane.in_plane, float).T, twin - mirrored, rcond=None)[0]
    np.testing.assert_allclose(coordinates, np.round(coordinates), atol=1e-9)
    one_third = across(np.array(plane.step) + 1 / 3 * np.array(plane.slip)) - mirrored
    off = np.linalg.lstsq(np.array(plane.in_plane, float).T, one_third, rcond=None)[0]
    assert np.abs(off - np.round(off)).max() > 0.3


@pytest.mark.parametrize(("build", "message"), [
    (lambda: stacking_fault(plane_of("bcc", "110"), ("W",) * 7, A, 0.5), "multiple of 2"),
    (lambda: stacking_fault(plane_of("bcc", "100"), ("W",) * 6, A, 0.5), "no slip plane"),
    (lambda: plane_of("bcc", "123"), "known are bcc 100"), (lambda: plane_of("hcp", "001"), "known are"),
    (lambda: slab(PLANES["bcc"]["100"], ("W",), A, 10.0), "two layers"),
    (lambda: slab(PLANES["bcc"]["100"], ("W",) * 4, -A, 10.0), "positive"),
    (lambda: slab(PLANES["bcc"]["100"], ("W",) * 4, A, float("nan")), "vacuum"),
    (lambda: ordered(PROTOTYPES["B2"], ("W",), A), "2 sublattices"),
    (lambda: ordered(PROTOTYPES["bcc"], ("W",), 0.0), "positive"),
    (lambda: crystals.without(ordered(PROTOTYPES["bcc"], ("W",), A), 2), "no atom 2"),
    (lambda: crystals.strained(ordered(PROTOTYPES["bcc"], ("W",), A), -1.5 * np.eye(3)), "inside out"),
    (lambda: crystals.repeated(ordered(PROTOTYPES["bcc"], ("W",), A), (1, 0, 1)), "at least 1"),
    (lambda: Crystal(("W",), np.zeros((2, 3)), np.eye(3)), "positions"),
    (lambda: ordered(PROTOTYPES["bcc"], ("W",), A).to_atoms(("Nb",)), "not among"),
    (lambda: random_cell("x", Composition(("W",)), PROTOTYPES["B2"], (1, 1, 1), {"W": A}), "one sublattice"),
    (lambda: random_cell("x", Composition(("W",)), PROTOTYPES["bcc"], (1, 1, 1), {"W": A}, vacancies=2), "vacancies"),
])  # fmt: skip
def test_what_cannot_be_built_is_said(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_operations():
    cube = ordered(PROTOTYPES["B2"], ("Nb", "W"), A)
    assert len(crystals.repeated(cube, (2, 1, 3))) == 12
    np.testing.assert_allclose(crystals.repeated(cube, (2, 1, 3)).cell, np.diag([2 * A, A, 3 * A]))
    sheared = crystals.strained(cube, crystals.shear(0.06))
    np.testing.assert_allclose(sheared.cell, A * np.array([[1, 0.03, 0], [0.03, 1, 0], [0, 0, 1]]), atol=1e-12)
    np.testing.assert_allclose(np.diag(crystals.tetragonal(0.04)), [0.04, -0.02, -0.02])
    np.testing.assert_allclose(np.diag(crystals.uniaxial(0.04)), [0.04, 0, 0])
    outside = crystals.displaced(cube, np.array([[-0.1, 7.0, 0], [0, 0, 0]]))
    fractions = crystals.wrapped(outside).positions / A
    assert fractions.min() >= -1e-6
    assert fractions.max() < 1
    moved = (crystals.wrapped(outside).positions - outside.positions) / A
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-9)
    atoms = crystals.without(cube, 0).to_atoms(("Nb", "W"))
    assert atoms.symbols() == ["W"]


def test_closest_distance_is_that_of_ase():
    rng = np.random.default_rng(3)
    for cell in (np.eye(3) * 4 + rng.normal(0, 0.8, (3, 3)), [[2.5, 0, 0], [1.2, 2.2, 0], [0.3, 0.2, 20.0]]):
        crystal = Crystal(("W",) * 4, rng.uniform(-5, 5, (4, 3)), np.array(cell))
        theirs = neighbor_list("d", ase_of(crystal), 5.0).min()
        assert crystals.closest_distance(crystal) == pytest.approx(theirs, abs=1e-9)
    assert crystals.closest_distance(Crystal(("W",) * 2, np.zeros((2, 3)), 4 * np.eye(3))) == 0.0


def test_random_cells_follow_from_their_names():
    constants = {"Nb": 3.31, "Mo": 3.16, "Ta": 3.32, "W": 3.185}
    quarter = Composition(tuple(constants), (0.25,) * 4)
    make = lambda name, **more: random_cell(name, quarter, PROTOTYPES["bcc"], (2, 2, 2), constants, **more)
    first, again, other = make("a-1", strain=0.01), make("a-1", strain=0.01), make("a-2", strain=0.01)
    np.testing.assert_array_equal(first.positions, again.positions)
    assert first.symbols == again.symbols
    assert first.symbols != other.symbols
    assert all(first.symbols.count(s) == 4 for s in constants)
    np.testing.assert_allclose(first.cell, first.cell.T, atol=1e-12)
    plain = make("a-1")
    assert plain.cell[0, 0] == pytest.approx(2 * vegard(plain.symbols, constants))
    assert len(make("a-1", vacancies=3)) == 13
    rattled = make("a-1", amplitudes_A=[0.07])
    assert (rattled.positions - plain.positions).std() == pytest.approx(0.07, rel=0.3)


def test_compositions():
    generator = np.random.default_rng(0)
    assert Composition(("W",)).draw(generator, 3) == ["W"] * 3
    assert generator.random() == np.random.default_rng(0).random(), "one element draws nothing"
    assert dealt(("Nb", "W", "Ta"), (3, 1, 2)) == ["Nb", "W", "Ta", "Nb", "Ta", "Nb"]
    with pytest.raises(ValueError, match="cannot be met exactly"):
        Composition(("Nb", "W"), (0.3, 0.7)).draw(generator, 8)
    # A flat Dirichlet distribution: mean fraction a third, as often below 0.1 as it says (1 − 0.9²).
    fractions = [Composition(("Nb", "Mo", "W")).draw(generator, 50).count("W") / 50 for _ in range(400)]
    assert np.mean(fractions) == pytest.approx(1 / 3, abs=0.04)
    assert np.mean(np.array(fractions) < 0.1) == pytest.approx(0.19, abs=0.08)


def test_random_faults_stay_in_range():
    plane, constants = plane_of("bcc", "110"), {"Nb": 3.31, "W": 3.185}
    half = Composition(("Nb", "W"), (0.5, 0.5))
    for n, (low, high) in itertools.product(range(3), ((0.1, 0.2), (0.8, 0.9))):
        crystal = random_fault(f"f-{n}", half, plane, 8, constants, u=(low, high))
        a = vegard(crystal.symbols, constants)
        u = (crystal.cell[2] / a - 4 * np.array(plane.period)) @ np.array(plane.slip) / 0.75
        assert low <= u <= high
