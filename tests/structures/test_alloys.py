"""Random alloys at exact composition."""

import jax
import numpy as np
import pytest

from hea_jax.structures.alloys import FCC_BASIS, exact_counts, random_alloys, supercell

ELEMENTS = ("Nb", "Mo", "Ta", "W")


def test_supercell_has_the_lattice_it_claims():
    for basis, shells in ((None, [(8, np.sqrt(0.75)), (6, 1.0)]), (FCC_BASIS, [(12, np.sqrt(0.5)), (6, 1.0)])):
        positions, cell = supercell(3.2, (3, 3, 3), **({} if basis is None else {"basis": basis}))
        d = np.asarray(positions) - np.asarray(positions)[0]
        d -= np.round(d @ np.linalg.inv(cell)) @ np.asarray(cell)
        r = np.sort(np.linalg.norm(d, axis=1))[1:] / 3.2
        start = 0
        for number, distance in shells:
            np.testing.assert_allclose(r[start:start + number], distance, rtol=1e-12)
            start += number


def test_composition_is_exact_and_cells_differ():
    batch = random_alloys(jax.random.key(0), [[0.25] * 4, [0.5, 0.0, 0.5, 0.0]], ELEMENTS, 3.2, (4, 4, 4))
    counts = [np.bincount(s, minlength=4).tolist() for s in np.asarray(batch.species)]
    assert counts == [[32] * 4, [64, 0, 64, 0]]
    pair = random_alloys(jax.random.key(0), [[0.25] * 4] * 2, ELEMENTS, 3.2, (4, 4, 4))
    assert (np.asarray(pair.species[0]) != np.asarray(pair.species[1])).any()
    again = random_alloys(jax.random.key(0), [[0.25] * 4] * 2, ELEMENTS, 3.2, (4, 4, 4))
    np.testing.assert_array_equal(pair.species, again.species)


def test_pair_statistics_are_those_of_a_random_solution():
    """Warren–Cowley α of the first shell averages to −1/(N−1), the exact value at fixed composition."""
    n = 200
    batch = random_alloys(jax.random.key(3), [[0.25] * 4] * n, ELEMENTS, 3.2, (4, 4, 4))
    positions, cell = np.asarray(batch.positions[0]), np.asarray(batch.cell[0])
    d = positions[:, None] - positions[None]
    d -= np.round(d @ np.linalg.inv(cell)) @ cell
    i, j = np.nonzero(np.abs(np.linalg.norm(d, axis=-1) - 3.2 * np.sqrt(0.75)) < 1e-6)
    species = np.asarray(batch.species)
    alike = [(s[i] == s[j]).mean() for s in species]
    expected = (32 - 1) / (128 - 1)
    assert abs(np.mean(alike) - expected) < 4 * np.std(alike) / np.sqrt(n)


def test_bad_input_names_the_remedy():
    with pytest.raises(ValueError, match="cannot be met exactly with 54 atoms: use"):
        exact_counts([0.25] * 4, 54)
    with pytest.raises(ValueError, match="sum to 1"):
        exact_counts([0.5, 0.4], 10)
    with pytest.raises(ValueError, match="must be positive"):
        supercell(-1.0, (2, 2, 2))
    with pytest.raises(ValueError, match="at least 1"):
        supercell(3.0, (2, 0, 2))
    with pytest.raises(ValueError, match="columns for"):
        random_alloys(jax.random.key(0), [[0.5, 0.5]], ELEMENTS, 3.2, (2, 2, 2))
