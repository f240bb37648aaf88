"""Neighbours of small cells on the host, in NumPy, for checks of datasets (no compilation for each size of cell).

Source: Allen & Tildesley 1987 (all images within a cut-off, of small cells).
"""

import numpy as np


def neighbour_pairs(atoms, cutoff_A) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair within ``cutoff_A`` (Å), from both ends: indices i (pair,), j (pair,) and vectors i → j (pair, 3), Å.

    ``atoms`` may be periodic in any directions; images of an atom are its neighbours.
    """
    cell, positions = np.asarray(atoms.cell, float), np.asarray(atoms.positions, float)
    periodic = np.array(atoms.pbc)
    if not periodic.any():
        shifts = np.zeros((1, 3))
    else:
        height = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        scaled = positions @ np.linalg.inv(cell)
        # Wrapped atoms need only as many images as the cut-off spans cells.
        positions = (scaled - np.floor(scaled) * periodic) @ cell
        reach = np.where(periodic, np.floor(cutoff_A / height) + 1, 0).astype(int)
        grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
        shifts = np.stack([g.ravel() for g in grid], axis=1) @ cell
    vectors = (positions[None, :, None] - positions[:, None, None]) + shifts
    r2 = np.einsum("ijsa,ijsa->ijs", vectors, vectors)
    i, j, s = np.nonzero((r2 < cutoff_A**2) & (r2 > 1e-16))
    return i, j, vectors[i, j, s]


def nearest_distance(atoms, reach_A=4.0) -> float:
    """Shortest distance between two atoms in Å; infinite if it is beyond ``reach_A``. Coinciding atoms give 0."""
    i, _, vectors = neighbour_pairs(atoms, reach_A)
    positions = np.asarray(atoms.positions, float)
    if len(np.unique(np.round(positions, 7), axis=0)) < len(positions):
        return 0.0
    return float(np.sqrt(np.min(np.sum(vectors**2, axis=1)))) if len(i) else np.inf
