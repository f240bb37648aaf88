"""Elements in a pattern of sites (campaign kind ``pattern``): every structure against one made by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hea_jax.app.dft.groups import Alphabet, Pattern
from hea_jax.app.dft.load import load_campaign
from hea_jax.electronic.neighbours import neighbour_pairs
from hea_jax.structures.ordered import PROTOTYPES

NBMOTAW = Path(__file__).parents[2] / "configs" / "dft_nbmotaw.yaml"
A0 = {"Nb": 3.31, "Mo": 3.16, "Ta": 3.32, "W": 3.185}
MESH = (6, 6, 6)


@pytest.fixture(scope="module")
def tasks():
    return {task.name: task for task in load_campaign(NBMOTAW).tasks}


def mean_constant(symbols):
    """Lattice constant (Å) of a composition: the mean of the elements'."""
    return sum(A0[s] for s in symbols) / len(symbols)


def shells(crystal, a):
    """First and second neighbours of every site of bcc: (atom, shell) counts of symbols, and their vectors."""
    i, j, vectors = neighbour_pairs(crystal.to_atoms(), 1.2 * a)
    second = np.linalg.norm(vectors, axis=1) > 0.93 * a
    symbols = np.array(crystal.symbols)
    counted = [[Counter(symbols[j[(i == n) & (second == k)]].tolist()) for k in (False, True)]
               for n in range(len(symbols))]
    return counted, (i, j, vectors)


def test_a_solute(tasks):
    task = tasks["solute8-NbMo"]
    a = (3.31 + 7 * 3.16) / 8
    assert (task.group, task.kpts) == ("solute8", MESH)
    assert task.crystal.symbols == ("Nb",) + ("Mo",) * 7
    assert task.crystal.volume == pytest.approx(8 * a**3 / 2, rel=1e-12)
    # Twice the primitive vectors of bcc.
    cell = a * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    np.testing.assert_allclose(task.crystal.cell, cell, atol=1e-12)
    counted, (i, _, vectors) = shells(task.crystal, a)
    assert counted[0] == [{"Mo": 8}, {"Mo": 6}]
    lengths = np.sort(np.linalg.norm(vectors[i == 0], axis=1))
    np.testing.assert_allclose(lengths, [3**0.5 / 2 * a] * 8 + [a] * 6, rtol=1e-12)
    # Solutes are √3 a apart, eight of them.
    i, j, vectors = neighbour_pairs(task.crystal.to_atoms(), 1.75 * a)
    apart = np.linalg.norm(vectors[(i == 0) & (j == 0)], axis=1)
    np.testing.assert_allclose(apart, [3**0.5 * a] * 8, rtol=1e-12)


def test_a_ternary(tasks):
    task = tasks["ternary8-NbMoTa"]
    a = (3.31 + 3 * 3.16 + 4 * 3.32) / 8
    assert (task.group, task.kpts) == ("ternary8", MESH)
    assert task.crystal.symbols == ("Nb", "Ta", "Ta", "Mo", "Ta", "Mo", "Mo", "Ta")
    assert task.crystal.volume == pytest.approx(8 * a**3 / 2, rel=1e-12)
    counted, _ = shells(task.crystal, a)
    expected = {"Nb": [{"Ta": 8}, {"Mo": 6}], "Mo": [{"Ta": 8}, {"Nb": 2, "Mo": 4}],
                "Ta": [{"Nb": 2, "Mo": 6}, {"Ta": 6}]}  # fmt: skip
    assert all(shell == expected[symbol] for symbol, shell in zip(task.crystal.symbols, counted, strict=True))


@pytest.mark.parametrize(("name", "symbols", "move"), [
    ("displaced8-W", ("W",) * 8, 0.2), ("displaced8-TaW", ("Ta",) + ("W",) * 7, 0.15)])
def test_a_displaced_atom(tasks, name, symbols, move):
    task = tasks[name]
    assert (task.group, task.kpts, task.crystal.symbols) == ("displaced8", MESH, symbols)
    a = mean_constant(symbols)
    assert task.crystal.volume == pytest.approx(8 * a**3 / 2, rel=1e-12)
    i, j, vectors = neighbour_pairs(task.crystal.to_atoms(), 0.92 * a)
    assert (j[i == 0] != 0).all()
    # Four of the eight neighbours of the first atom come nearer, four go away.
    ideal = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * a / 2
    expected = np.linalg.norm(ideal - [0, 0, move], axis=1)
    np.testing.assert_allclose(np.sort(np.linalg.norm(vectors[i == 0], axis=1)), np.sort(expected), rtol=1e-12)
    # All others are on their sites.
    others = np.linalg.norm(vectors[(i != 0) & (j != 0)], axis=1)
    np.testing.assert_allclose(others, 3**0.5 / 2 * a, rtol=1e-12)


def test_every_order_of_the_elements_is_a_structure(tasks):
    words = lambda group: {name.partition("-")[2] for name, task in tasks.items() if task.group == group}
    pairs = {x + y for x in A0 for y in A0 if x != y}
    triples = {x + y + z for x in A0 for y in A0 for z in A0 if len({x, y, z}) == 3}
    assert words("solute8") == {pair + factor for pair in pairs for factor in ("", "-1.03", "-0.97")}
    assert words("displaced8") == pairs | set(A0)
    assert words("ternary8") == {triple + factor for triple in triples for factor in ("", "-1.03")}
    for name, factor in (("solute8-NbMo", 1.03), ("solute8-WTa", 0.97), ("ternary8-WNbMo", 1.03)):
        rest, scaled = tasks[name].crystal, tasks[f"{name}-{factor}"].crystal
        assert scaled.symbols == rest.symbols
        np.testing.assert_allclose(scaled.positions, factor * rest.positions, atol=1e-12)
        np.testing.assert_allclose(scaled.cell, factor * rest.cell, atol=1e-12)


def test_factors_and_displacements_are_combined():
    alphabet = Alphabet(("Nb", "W"), A0, PROTOTYPES["bcc"])
    group = Pattern(kind="pattern", group="p", name="{symbols}-{factor}-{displacement}", repeats=(1, 1, 2),
                    pattern="AABB", factors=(0.98, 1.0), displacements_A=(0.0, 0.1), elements=("Nb", "W"))
    built = {b.name: b for b in group.built(alphabet)}
    assert set(built) == {f"{s}-{f}-{u}" for s in ("NbW", "WNb") for f in (0.98, 1.0) for u in (0.0, 0.1)}
    rest, moved = built["NbW-0.98-0.0"].crystal, built["NbW-0.98-0.1"].crystal
    assert rest.symbols == ("Nb", "Nb", "W", "W")
    assert rest.volume == pytest.approx(2 * (0.98 * (3.31 + 3.185) / 2) ** 3, rel=1e-12)
    np.testing.assert_allclose(moved.positions - rest.positions, [[0, 0, 0.1]] + [[0, 0, 0]] * 3, atol=1e-12)
    assert built["NbW-0.98-0.0"].repeats == (1, 1, 2)
