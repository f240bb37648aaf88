"""Small datasets whose answers come from a Morse potential in NumPy, so that every label is known to be consistent."""

import jax.numpy as jnp
import numpy as np

from hea_jax.electronic import Dataset
from hea_jax.electronic.neighbours import neighbour_pairs
from hea_jax.records import Atoms, ReferenceData

ELEMENTS = ("Mo", "W")
DEPTH, RANGE_A, STIFFNESS = np.array([[0.30, 0.33], [0.33, 0.36]]), np.array([[2.9, 2.95], [2.95, 3.0]]), 1.3
OFFSETS_EV = np.array([-5.0, -7.0])
BCC = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])


def labelled(positions, cell, species):
    """The configuration with energy (plus an offset per element), forces and stress of the Morse potential."""
    atoms = Atoms(jnp.asarray(positions), jnp.asarray(cell), jnp.asarray(species, jnp.int32), ELEMENTS)
    i, j, vectors = neighbour_pairs(atoms, 6.0)
    r = np.linalg.norm(vectors, axis=1)
    D, r0 = DEPTH[species[i], species[j]], RANGE_A[species[i], species[j]]
    cut, slope_of_cut = (1 - (r / 6) ** 2) ** 3, -r / 6 * (1 - (r / 6) ** 2) ** 2
    x = np.exp(-STIFFNESS * (r - r0))
    value, slope = D * (x**2 - 2 * x), 2 * D * STIFFNESS * (x - x**2)
    slope = slope * cut + value * slope_of_cut
    along = vectors * (slope / r)[:, None]
    forces = np.stack([np.bincount(i, along[:, k], len(species)) for k in range(3)], axis=1)
    stress = 0.5 * np.einsum("pa,pb->ab", vectors, along) / abs(np.linalg.det(cell))
    energy = 0.5 * np.sum(value * cut) + OFFSETS_EV[species].sum()
    return ReferenceData(atoms, jnp.asarray(energy), jnp.asarray(forces), jnp.asarray(stress))


def supercell(repeats, a=3.15):
    """Positions (Å) and cell of a bcc supercell."""
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    return a * (cells + BCC).reshape(-1, 3), a * np.diag(repeats).astype(float)


def dataset(named):
    """A dataset of (group, frame) pairs."""
    groups = tuple(group for group, _ in named)
    names = tuple(f"{g}-{n}" for n, g in enumerate(groups))
    return Dataset(tuple(f for _, f in named), groups, names, ELEMENTS, "synthetic")


def strained(rng, species=(0, 0), count=12):
    """Strained copies of a two-atom cell."""
    positions, cell = supercell((1, 1, 1))
    for _ in range(count):
        e = rng.normal(0, 0.02, (3, 3))
        F = np.eye(3) + 0.5 * (e + e.T)
        yield labelled(positions @ F, cell @ F, np.array(species))


def trajectory(rng, *, count=40, amplitude=0.08, memory=0.9, a=3.15, species=None):
    """Frames of one cell about its lattice sites: ``memory`` 0 is disorder, near 1 a smooth motion in time."""
    positions, cell = supercell((2, 2, 2), a)
    species = np.zeros(len(positions), int) if species is None else species
    u = rng.normal(0, amplitude, positions.shape)
    for _ in range(count):
        yield labelled(positions + u, cell, species)
        u = memory * u + np.sqrt(1 - memory**2) * rng.normal(0, amplitude, u.shape)


def decorations(rng, count=8):
    """Pairs of an unrelaxed and a slightly relaxed, strained copy of distinct binary decorations."""
    positions, cell = supercell((2, 2, 2))
    for n in range(count):
        species = np.zeros(16, int)
        species[rng.permutation(16)[:2 + n % 7]] = 1
        yield labelled(positions, cell, species)
        F = np.eye(3) + np.diag(rng.normal(0, 0.01, 3))
        yield labelled((positions + rng.normal(0, 0.02, positions.shape)) @ F, cell @ F, species)


def mixed(seed=0):
    """Strained elements, decorations, a trajectory in order and one of two temperatures in disorder."""
    rng = np.random.default_rng(seed)
    cold, hot = (list(trajectory(rng, count=20, amplitude=s, memory=0.0, a=3.2)) for s in (0.03, 0.10))
    order = rng.permutation(40)
    return dataset([*(("elastic_Mo", f) for f in strained(rng)), *(("elastic_W", f) for f in strained(rng, (1, 1))),
                    *(("alloy", f) for f in decorations(rng)), *(("md", f) for f in trajectory(rng)),
                    *(("heat", (cold + hot)[n]) for n in order)])
