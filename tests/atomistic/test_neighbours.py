"""Neighbour tables pair by pair against ASE's, and the skin test."""

import ase
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from hea_jax.atomistic.neighbours import neighbour_table, skin_exceeded
from hea_jax.records import Atoms, pair_vectors


def structure(number, cell, pbc=(True, True, True), *, seed=0, spread=1.0):
    """Random positions, some of them outside the cell."""
    rng = np.random.default_rng(seed)
    x = (rng.uniform(-spread, 1 + spread, (number, 3))) @ np.asarray(cell, float)
    return Atoms(jnp.asarray(x), jnp.asarray(cell, float), jnp.zeros(number, jnp.int32), ("W",), pbc)


def listed(atoms, pairs):
    mask = np.asarray(pairs.mask)
    i = np.nonzero(mask)[0]
    D = np.asarray(pair_vectors(atoms, pairs))[mask]
    return sorted(zip(i.tolist(), np.asarray(pairs.index)[mask].tolist(),
                      map(tuple, np.asarray(pairs.shift)[mask].tolist()), strict=True)), D


CELLS = {
    "cubic": (12, 6.0 * np.eye(3), (True, True, True), 4.0),
    "primitive bcc": (1, 1.6 * (np.ones((3, 3)) - 2 * np.eye(3)), (True, True, True), 6.0),
    "small triclinic": (3, [[3.0, 0, 0], [1.9, 2.2, 0], [-1.1, 0.7, 2.6]], (True, True, True), 5.5),
    "very skewed": (4, [[4.1, 0, 0], [11.0, 4, 0], [-7.0, 9.0, 4]], (True, True, True), 5.07),
    "left-handed": (5, [[0, 4.0, 0.3], [4.5, 0, 0], [0, 0.4, 4.2]], (True, True, True), 5.0),
    "slab": (8, [[4.0, 0.3, 0], [0.8, 4, 0], [0, 0.5, 9.0]], (True, True, False), 4.5),
    "wire": (6, [[4.0, 0, 0], [0, 7, 0], [0, 0, 7]], (False, False, True), 5.0),
    "cluster": (9, 5.0 * np.eye(3), (False, False, False), 4.0),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("skin", [0.0, 0.7])
def test_pairs_equal_ase(name, skin):
    number, cell, pbc, cutoff = CELLS[name]
    atoms = structure(number, cell, pbc, seed=len(name))
    pairs = neighbour_table(atoms, cutoff, skin=skin)
    ours, D = listed(atoms, pairs)
    reference = ase.Atoms(f"W{number}", positions=np.asarray(atoms.positions), cell=cell, pbc=pbc)
    i, j, S, r = neighbor_list("ijSd", reference, cutoff + skin)
    theirs = sorted(zip(i.tolist(), j.tolist(), map(tuple, S.tolist()), strict=True))
    assert ours == theirs
    np.testing.assert_allclose(np.sort(np.linalg.norm(D, axis=1)), np.sort(r), rtol=1e-12)
    assert np.linalg.norm(D, axis=1).max() <= cutoff + skin + 1e-9


def test_every_pair_stands_in_both_rows():
    pairs = neighbour_table(structure(*CELLS["small triclinic"][:2]), 5.5)
    ours, _ = listed(structure(*CELLS["small triclinic"][:2]), pairs)
    assert {(j, i, tuple(-s for s in S)) for i, j, S in ours} == set(ours)


def test_a_shell_at_the_cutoff_is_whole_and_in_both_rows():
    """bcc with its third shell (12 pairs) at the cut-off but for round-off, turned and shifted."""
    rng = np.random.default_rng(0)
    corner = np.stack(np.meshgrid(*map(np.arange, (2, 2, 2)), indexing="ij"), -1).reshape(-1, 3)
    ideal, a = np.concatenate([corner, corner + 0.5]), 5.0 / np.sqrt(2.0)
    for turn in (np.eye(3), *(np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(9))):
        x = (ideal * a + rng.uniform(-3, 3, 3)) @ turn
        atoms = Atoms(jnp.asarray(x), jnp.asarray(2 * a * turn), jnp.zeros(16, jnp.int32), ("W",))
        pairs = neighbour_table(atoms, 5.0)
        assert pairs.mask.sum(axis=1).tolist() == [26] * 16
        ours, _ = listed(atoms, pairs)
        assert {(j, i, tuple(-s for s in S)) for i, j, S in ours} == set(ours)


@pytest.mark.parametrize("cutoff", [700.0, 1e6, 1e300])
def test_an_absurd_cutoff_is_refused_at_once(cutoff):
    atoms = structure(1, 3.0 * np.eye(3))
    with pytest.raises(ValueError, match=r"cut-off .* reaches .* in the cell \[\[3\.0"):
        neighbour_table(atoms, cutoff)
    cluster = structure(5, 5.0 * np.eye(3), (False, False, False))
    assert bool(jnp.all(neighbour_table(cluster, cutoff).mask[:, :4]))


def test_zero_cell_vectors_in_open_directions():
    atoms = structure(5, 5.0 * np.eye(3), (False, False, False))
    bare = eqx.tree_at(lambda a: a.cell, atoms, jnp.zeros((3, 3)))
    assert listed(bare, neighbour_table(bare, 4.0))[0] == listed(atoms, neighbour_table(atoms, 4.0))[0]


def test_batch_shares_a_capacity():
    several = [structure(6, (4.0 + 0.3 * s) * np.eye(3), seed=s) for s in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *several)
    pairs = neighbour_table(batch, 4.0)
    assert pairs.index.shape[:2] == (3, 6)
    for lane, atoms in enumerate(several):
        assert listed(atoms, jax.tree.map(lambda x, lane=lane: x[lane], pairs))[0] == listed(
            atoms, neighbour_table(atoms, 4.0))[0]


def test_capacity_pads_or_refuses():
    atoms = structure(6, 4.0 * np.eye(3))
    width = neighbour_table(atoms, 4.0).index.shape[1]
    padded = neighbour_table(atoms, 4.0, capacity=width + 5)
    assert padded.index.shape == (6, width + 5)
    assert float(jnp.min(jnp.linalg.norm(pair_vectors(atoms, padded), axis=-1)[~padded.mask])) > 4.0
    with pytest.raises(ValueError, match=f"capacity={width}"):
        neighbour_table(atoms, 4.0, capacity=width - 1)


def test_bad_input_is_refused_with_a_remedy():
    atoms = structure(4, 4.0 * np.eye(3))
    with pytest.raises(ValueError, match=r"positions of atoms \[2\]"):
        neighbour_table(eqx.tree_at(lambda a: a.positions, atoms, atoms.positions.at[2, 0].set(jnp.nan)), 4.0)
    with pytest.raises(ValueError, match="independent lattice vectors"):
        neighbour_table(eqx.tree_at(lambda a: a.cell, atoms, atoms.cell.at[2].set(atoms.cell[1])), 4.0)
    with pytest.raises(ValueError, match="cell is not finite"):
        neighbour_table(eqx.tree_at(lambda a: a.cell, atoms, atoms.cell.at[2, 2].set(jnp.inf)), 4.0)
    with pytest.raises(ValueError, match="cutoff"):
        neighbour_table(atoms, -1.0)


def test_skin_counts_displacement_and_strain():
    atoms = structure(16, 7.0 * np.eye(3), spread=0.0)
    pairs = neighbour_table(atoms, 4.0, skin=0.5)
    exceeded = jax.jit(lambda new: skin_exceeded(atoms, new, pairs))
    shift = jnp.zeros((16, 3))
    assert not exceeded(atoms)
    assert not exceeded(atoms.displaced(shift + 3.0))
    assert not exceeded(atoms.displaced(shift.at[0, 0].set(0.4)))
    assert exceeded(atoms.displaced(shift.at[0, 0].set(0.4).at[1, 0].set(-0.4)))
    assert not exceeded(atoms.deformed(jnp.diag(jnp.array([1.0, 0.9, 1.0]))))
    assert exceeded(atoms.deformed(jnp.diag(jnp.array([1.0, 0.88, 1.0]))))
    rotation = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    assert not exceeded(atoms.deformed(rotation))
    assert exceeded(atoms.displaced(shift.at[0, 0].set(jnp.nan)))


def test_skin_never_misses_a_lost_pair():
    rng = np.random.default_rng(2)
    for _ in range(20):
        atoms = structure(8, 5.0 * np.eye(3), seed=int(rng.integers(1000)))
        pairs = neighbour_table(atoms, 3.5, skin=0.4)
        F = jnp.asarray(np.eye(3) + rng.normal(0, 0.03, (3, 3)))
        new = atoms.displaced(jnp.asarray(rng.normal(0, 0.08, (8, 3)))).deformed(F)
        kept, D = listed(new, pairs)
        inside = {pair for pair, d in zip(kept, np.linalg.norm(np.asarray(pair_vectors(new, pairs)), axis=-1)[
            np.asarray(pairs.mask)], strict=False)} if D.size else set()
        needed = set(listed(new, neighbour_table(new, 3.5))[0])
        assert needed <= inside or bool(skin_exceeded(atoms, new, pairs))
