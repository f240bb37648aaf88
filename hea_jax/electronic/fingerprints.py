"""Fingerprints of structures that no order, rotation or choice of cell changes, to find near-duplicates.

A fingerprint holds, per element, mean and spread over its atoms of Gaussian-smeared neighbour densities per element of
the neighbour. It sees distances only: structures that differ in angles alone look alike.

Source: Behler & Parrinello 2007 (radial symmetry functions).
"""

import dataclasses

import numpy as np

from hea_jax.electronic.families import components, host_frames, is_crystal
from hea_jax.electronic.neighbours import neighbour_pairs

CUTOFF_A, CENTRES_A, WIDTH_A = 5.5, np.linspace(1.6, 5.2, 10), 0.4
RATTLE_A = 0.02
"""A random displacement this large (rms, Å) sets the unit of distances: closer frames are near-duplicates."""


@dataclasses.dataclass(frozen=True)
class Fingerprints:
    """``values`` (frame, p) in units of the change that a rattle of ``RATTLE_A`` Å makes (median over the set), and the
    shortest distance between atoms of each frame ``nearest_A`` (frame,)."""

    values: np.ndarray
    nearest_A: np.ndarray


def fingerprints(dataset) -> Fingerprints:
    """Fingerprints of all frames; about a millisecond each."""
    frames = host_frames(dataset)
    rows, nearest = zip(*(_fingerprint(frame.atoms, len(dataset.elements)) for frame in frames), strict=True)
    values = np.array(rows)
    some = np.unique(np.linspace(0, len(frames) - 1, min(60, len(frames))).astype(int))
    rng = np.random.default_rng(0)
    change = [np.linalg.norm(_fingerprint(_rattled(frames[n].atoms, rng), len(dataset.elements))[0] - values[n])
              for n in some if is_crystal(frames[n])]
    unit = float(np.median(change)) if change else 1.0
    return Fingerprints(values / max(unit, 1e-12), np.array(nearest))


def nearest_distances(queries, references, *, chunk=512) -> tuple[np.ndarray, np.ndarray]:
    """(query,) distance to, and index of, the nearest row of ``references``, in the unit of the fingerprints."""
    best, index = np.empty(len(queries)), np.empty(len(queries), int)
    squares = np.sum(references**2, axis=1)
    for start in range(0, len(queries), chunk):
        part = queries[start:start + chunk]
        square = squares - 2 * part @ references.T
        index[start:start + chunk] = np.argmin(square, axis=1)
        # The difference itself, for the nearest only: sums of squares lose what near-duplicates differ by.
        nearest = references[index[start:start + chunk]]
        best[start:start + chunk] = np.linalg.norm(part - nearest, axis=1)
    return best, index


def near_duplicates(prints: Fingerprints, *, within: float = 1.0, chunk=512) -> np.ndarray:
    """(frame,) index of the heap of near-duplicates that each frame is in: chains of distances below ``within``."""
    x, edges = prints.values, []
    squares = np.sum(x**2, axis=1)
    for start in range(0, len(x), chunk):
        square = squares[start:start + chunk, None] + squares - 2 * x[start:start + chunk] @ x.T
        i, j = np.nonzero(square < within**2)
        edges.append(np.stack([i + start, j], axis=1))
    return components(len(x), np.concatenate(edges))


def _rattled(atoms, rng):
    size = RATTLE_A / np.sqrt(3.0)
    return dataclasses.replace(atoms, positions=atoms.positions + rng.normal(0.0, size, atoms.positions.shape))


def _fingerprint(atoms, number):
    i, j, vectors = neighbour_pairs(atoms, CUTOFF_A)
    species, N, K = np.asarray(atoms.species), atoms.number, len(CENTRES_A)
    r = np.linalg.norm(vectors, axis=1)
    weight = (1 - (r / CUTOFF_A) ** 2) ** 2 / np.maximum(r, 0.5)
    smeared = np.exp(-0.5 * ((r[:, None] - CENTRES_A) / WIDTH_A) ** 2) * weight[:, None]
    kind = i * number + species[j]
    density = np.stack([np.bincount(kind, smeared[:, k], N * number) for k in range(K)], axis=1).reshape(N, -1)
    out = np.zeros((number, 2, number * K))
    for s in np.unique(species):
        own = density[species == s]
        share = np.sqrt(len(own) / N)
        out[s, 0], out[s, 1] = share * own.mean(axis=0), share * own.std(axis=0)
    close = len(np.unique(np.round(atoms.positions, 7), axis=0)) < N
    return out.ravel(), 0.0 if close else float(r.min()) if len(r) else np.inf
