"""Parents, units, splits, leakage, weights and offsets: copies stay together, and what is left is measured."""

import dataclasses
import itertools
from pathlib import Path

import ase
import ase.neighborlist
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.electronic import (
    LI_2020,
    DatasetError,
    Split,
    aligned,
    find_units,
    fitted_offsets,
    given_offsets,
    group_weights,
    leakage,
    leave_group_out,
    leave_pair_out,
    load_dataset,
    random_split,
    shipped_dataset,
    split_by_parent,
)
from hea_jax.electronic.families import decoration, parents
from hea_jax.electronic.fingerprints import RATTLE_A, fingerprints, nearest_distances
from hea_jax.electronic.neighbours import nearest_distance, neighbour_pairs
from hea_jax.records import Atoms
from tests.electronic import synthetic

LI = Path(__file__).parents[3] / "shared" / "data" / "dft" / "NbMoTaW_train.extxyz.gz"


@pytest.fixture(scope="module")
def mixed():
    return synthetic.mixed()


@pytest.fixture(scope="module")
def units(mixed):
    return find_units(mixed)


def in_group(data, group):
    return np.flatnonzero(np.array(data.groups) == group)


def tungsten(positions, cell, pbc):
    """Atoms of one element."""
    return Atoms(jnp.asarray(positions), jnp.asarray(cell), jnp.zeros(len(positions), jnp.int32), ("W",), pbc)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_neighbours_against_ase(pbc):
    rng = np.random.default_rng(3)
    cell, positions = 3 * np.eye(3) + rng.normal(0, 0.6, (3, 3)), rng.uniform(-4, 6, (5, 3))
    i, j, vectors = neighbour_pairs(tungsten(positions, cell, pbc), 5.0)
    a, b, D = ase.neighborlist.neighbor_list("ijD", ase.Atoms("W5", positions, cell=cell, pbc=pbc), 5.0)
    key = lambda i, j, v: sorted(zip(i.tolist(), j.tolist(), np.round(v, 6).tolist(), strict=True))
    assert key(i, j, vectors) == key(a, b, D)
    assert nearest_distance(tungsten(positions[[0, 0]], cell, pbc)) == 0.0


def transformed(atoms, rng):
    """The same crystal with its atoms in another order, rotated, shifted, in a supercell of a skewed cell."""
    r, A = np.asarray(atoms.positions), np.asarray(atoms.cell)
    r, species = np.concatenate([r, r + A[0]]), np.tile(np.asarray(atoms.species), 2)
    A = np.stack([2 * A[0], A[1] + A[0], A[2]])
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(r))
    return Atoms(jnp.asarray((r @ Q.T + 0.7)[order]), jnp.asarray(A @ Q.T), jnp.asarray(species[order]), atoms.elements)


def test_fingerprints_and_decorations_know_no_order_orientation_or_cell(mixed):
    rng, frame = np.random.default_rng(5), mixed.frames[30]
    other = dataclasses.replace(frame, atoms=transformed(frame.atoms, rng), forces_eV_per_A=jnp.zeros((32, 3)))
    data = synthetic.dataset([("a", frame), ("b", other), *(("c", mixed.frames[n]) for n in (24, 26, 28))])
    prints = fingerprints(data)
    distance, index = nearest_distances(prints.values[1:2], prints.values[[0, 2, 3, 4]])
    assert index[0] == 0
    assert distance[0] < 1e-6
    assert np.linalg.norm(prints.values[0] - prints.values[2:], axis=1).min() > 10
    shuffled = jnp.asarray(rng.permutation(16))
    Q = jnp.asarray(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    atoms = Atoms(frame.atoms.positions[shuffled], frame.atoms.cell, frame.atoms.species[shuffled], synthetic.ELEMENTS)
    assert decoration(dataclasses.replace(frame, atoms=atoms.deformed(Q))) == decoration(frame)
    # Two W atoms as first against as second neighbours: same composition, another decoration.
    positions, cell = synthetic.supercell((2, 2, 2))
    labels = []
    for second in (1, 2):
        species = np.zeros(16, int)
        species[[0, second]] = 1
        labels.append(decoration(synthetic.labelled(positions, cell, species)))
    assert labels[0] != labels[1]


def test_a_rattle_is_the_unit_of_distance(mixed):
    rng = np.random.default_rng(1)
    some = [mixed.frames[n] for n in range(24, 40, 2)]
    moved = [dataclasses.replace(f, atoms=f.atoms.displaced(jnp.asarray(rng.normal(0, RATTLE_A / 3**0.5, (16, 3)))))
             for f in some]
    values = fingerprints(synthetic.dataset([("a", f) for f in some + moved])).values
    change = np.linalg.norm(values[:8] - values[8:], axis=1)
    assert 0.5 < np.median(change) < 2.0


def test_parents(mixed):
    parent = parents(mixed)
    assert len(set(parent[in_group(mixed, "elastic_Mo")])) == 1
    assert len(set(parent[in_group(mixed, "elastic_W")])) == 1
    alloy = parent[in_group(mixed, "alloy")]
    np.testing.assert_array_equal(alloy[::2], alloy[1::2])
    assert len(set(alloy)) >= 6
    assert parent[in_group(mixed, "elastic_Mo")][0] != parent[in_group(mixed, "elastic_W")][0]
    np.testing.assert_array_equal(np.unique(parent), np.arange(parent.max() + 1))


def test_units_of_trajectories(mixed, units):
    """One in order is cut into blocks; one in disorder falls into its two temperatures."""
    md, heat = in_group(mixed, "md"), in_group(mixed, "heat")
    assert np.bincount(np.unique(units.label[md], return_inverse=True)[1]).tolist() == [20, 20]
    np.testing.assert_array_equal(units.order[md], np.arange(40))
    assert len(set(units.label[heat])) == 2
    assert (units.order[heat] == -1).all()
    energy = np.array([float(mixed.frames[n].free_energy_eV) for n in heat])
    first, second = (energy[units.label[heat] == u] for u in np.unique(units.label[heat]))
    assert len(first) == len(second) == 20
    assert first.max() < second.min() or second.max() < first.min()


def test_no_unit_is_parted_and_keys_decide(mixed, units):
    splits = [split_by_parent(mixed, (0.6, 0.2, 0.2), jax.random.key(k), units=units) for k in (1, 1, 2)]
    for one, two in zip(splits[0].parts.values(), splits[1].parts.values(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(set(a) != set(b) for a, b in zip(splits[0].parts.values(), splits[2].parts.values(), strict=True))
    for split in splits:
        sets = [set(units.label[part]) for part in split.parts.values()]
        assert sum(map(len, sets)) == len(set().union(*sets))
        everything = np.concatenate([*split.parts.values(), split.dropped])
        np.testing.assert_array_equal(np.sort(everything), np.arange(len(mixed)))
        assert set(mixed.groups) == {mixed.groups[n] for n in split.train}


def test_no_group_pays_for_another(mixed):
    """Large units elsewhere leave much owing; a group of single frames still keeps to its own shares."""
    rng = np.random.default_rng(2)
    singles = [("free", f) for k in range(20) for f in synthetic.strained(rng, (0, 1), 1)]
    data = synthetic.dataset([*zip(mixed.groups, mixed.frames, strict=True), *singles])
    alone = np.arange(len(data))
    label = np.where(np.array(data.groups) == "free", alone, 1000 + alone // 20)
    units = dataclasses.replace(find_units(data), label=np.unique(label, return_inverse=True)[1],
                                order=alone * 0 - 1, trajectory=alone * 0 - 1)
    for k in range(5):
        split = split_by_parent(data, (0.8, 0.1, 0.1), jax.random.key(k), units=units)
        taken = [sum(data.groups[n] == "free" for n in part) for part in split.parts.values()]
        assert taken[0] >= 16
        assert max(taken[1:]) <= 2


def test_gaps_between_blocks(mixed):
    blocks = find_units(mixed, block=8)
    split = split_by_parent(mixed, (0.6, 0.2, 0.2), units=blocks, gap=2)
    md = in_group(mixed, "md")
    part = {n: name for name, members in split.parts.items() for n in members}
    assert len(split.dropped) > 0
    assert set(split.dropped) <= set(md)
    for n, m in itertools.pairwise(md):
        assert part.get(n) == part.get(m) or n in split.dropped or m in split.dropped
    borders = [n for n in md[1:] if n in split.dropped and n - 1 not in split.dropped]
    assert all(np.isin(np.arange(b, min(b + 4, md[-1] + 1)), split.dropped).all() for b in borders)


def test_parents_leak_less_than_chance(mixed, units):
    prints = fingerprints(mixed)
    at_random = leakage(mixed, random_split(mixed, (0.7, 0.1, 0.2)), prints=prints)
    apart = leakage(mixed, split_by_parent(mixed, (0.6, 0.2, 0.2), units=units), prints=prints)
    assert np.median(apart.distance) > np.median(at_random.distance)
    table = apart.by_group(mixed.groups)
    assert sum(row[0] for row in table.values()) == len(apart.frames)
    own = leakage(mixed, Split(np.arange(50), np.zeros(0, int), np.arange(50, 60)), of=np.arange(5), prints=prints)
    np.testing.assert_allclose(own.distance, 0, atol=1e-9)
    np.testing.assert_array_equal(own.nearest, np.arange(5))
    assert own.share == 1.0


def test_leave_out(mixed):
    split = leave_pair_out(mixed, "Mo", "W")
    assert set(np.array(mixed.groups)[split.test]) == {"alloy"}
    assert len(split.train) + len(split.test) == len(mixed)
    split = leave_group_out(mixed, "md", "heat")
    assert set(np.array(mixed.groups)[split.test]) == {"md", "heat"}
    for wrong in (lambda: leave_pair_out(mixed, "Mo", "Ta"), lambda: leave_pair_out(mixed, "W", "W"),
                  lambda: leave_group_out(mixed, "none"), lambda: leave_group_out(mixed),
                  lambda: leave_group_out(mixed, *mixed.groups),
                  lambda: split_by_parent(mixed, (0.5, 0.5)), lambda: split_by_parent(mixed, (0.0, 0.5, 0.5)),
                  lambda: split_by_parent(mixed.select(range(12)), (0.8, 0.1, 0.1))):
        with pytest.raises(DatasetError):
            wrong()
    with pytest.raises(ValueError, match="two parts"):
        Split(np.arange(3), np.arange(2, 4), np.zeros(0, int))


def test_a_single_family_can_be_cut(mixed):
    part = mixed.select(range(12))
    split = split_by_parent(part, (0.6, 0.2, 0.2), units=find_units(part, cut_families=True))
    assert all(len(p) for p in split.parts.values())


def test_group_weights(mixed):
    even = group_weights(mixed.groups, balance=1.0)
    sums = [even[in_group(mixed, g)].sum() for g in mixed.group_sizes()]
    np.testing.assert_allclose(sums, sums[0])
    given = group_weights(mixed.groups, given={"md": 3.0}, balance=0.0)
    assert given[in_group(mixed, "md")[0]] / given[0] == pytest.approx(3.0)
    assert given.mean() == pytest.approx(1.0)
    for wrong in ({"no": 1.0}, {"md": -1.0}, dict.fromkeys(mixed.groups, 0.0)):
        with pytest.raises(DatasetError):
            group_weights(mixed.groups, given=wrong)


def test_offsets(mixed):
    """Least squares find what energies per composition are; a few wild frames do not move the robust fit."""
    counts = np.array([np.bincount(np.asarray(f.atoms.species), minlength=2) for f in mixed.frames])
    exact = tuple(dataclasses.replace(f, free_energy_eV=jnp.asarray(c @ [-3.0, -4.5]))
                  for f, c in zip(mixed.frames, counts, strict=True))
    data = dataclasses.replace(mixed, frames=exact)
    np.testing.assert_allclose(fitted_offsets(data, robust=False).values_eV, [-3.0, -4.5], rtol=1e-12)
    wild = tuple(dataclasses.replace(f, free_energy_eV=f.free_energy_eV + 50.0) if n % 17 == 0 else f
                 for n, f in enumerate(exact))
    data_wild = dataclasses.replace(data, frames=wild)
    np.testing.assert_allclose(fitted_offsets(data_wild).values_eV, [-3.0, -4.5], atol=1e-3)
    plain = np.array(fitted_offsets(data_wild, robust=False).values_eV)
    assert np.abs(plain - np.array([-3.0, -4.5])).max() > 0.1
    offsets = given_offsets({"W": -4.5, "Mo": -3.0, "Nb": 1.0}, data.elements)
    assert offsets.values_eV == (-3.0, -4.5)
    assert max(abs(float(f.free_energy_eV)) for f in aligned(data, offsets).frames) < 1e-12
    assert offsets.total(np.array([0, 1, 1])) == pytest.approx(-12.0)
    alloys = [n for n in range(len(counts)) if counts[n].tolist() == counts[30].tolist()]
    assert not fitted_offsets(data.select(alloys)).determined
    for wrong in (lambda: given_offsets({"W": 1.0}, ("W", "Mo")), lambda: given_offsets({"W": np.nan}, ("W",)),
                  lambda: aligned(shipped_dataset(), offsets)):
        with pytest.raises(DatasetError):
            wrong()


@pytest.mark.slow
def test_li_2020():
    """Every binary holds 231 decorations, every element five trajectories and a family of strained cells."""
    if not LI.exists():
        pytest.skip(f"{LI.name} is not among the files at hand (../shared/data/dft)")
    data = load_dataset(LI, LI_2020, elements=("Nb", "Mo", "Ta", "W"))
    units = find_units(data)
    groups = np.array(data.groups)
    for group, size in data.group_sizes().items():
        expected = {"SS": 231, "AIMD": 5, "Elastic": 1, "Surface": size}[group.split("_")[1]]
        assert len(set(units.label[groups == group])) == expected
    prints = fingerprints(data)
    assert leakage(data, random_split(data), prints=prints).share > 0.3
    assert leakage(data, split_by_parent(data, units=units), prints=prints).share < 0.02
    pair = leave_pair_out(data, "Mo", "Ta")
    assert set(groups[pair.test]) == {"MoTa_SS"}
