"""Which frames are copies of one parent: strained, relaxed or thermally displaced copies, and equal decorations.

Two frames are linked when one follows from the other by a strain and small displacements, atom by atom; parents are
joined further when their neighbour graphs agree, whatever the order and orientation of the atoms. Host-side.

Source: Weisfeiler & Leman 1968 (colours of a graph), on the graph of atoms closer than 1.51 (V/N)^(1/3), which in bcc
holds two shells and in close-packed crystals one, at strains up to some 10%.
"""

import dataclasses
import hashlib

import jax
import numpy as np

from hea_jax.electronic.neighbours import neighbour_pairs

SHELL = 1.51
"""Radius of the neighbour graph in units of (V/N)^(1/3): between the second and third shell of bcc."""
LARGEST_STRAIN = 0.35
LARGEST_RMS, LARGEST_MOVE = 0.35, 0.8
"""Largest displacements (rms, and of one atom) of a linked pair, in units of (V/N)^(1/3)."""


@dataclasses.dataclass(frozen=True)
class Links:
    """Pairs of frames with the same atoms in the same order: ``first`` and ``second`` (pair,) frame indices, ``strain``
    (pair,) norm of the Lagrange strain between their cells, ``displacement`` (pair,) rms beyond it in Å."""

    first: np.ndarray
    second: np.ndarray
    strain: np.ndarray
    displacement: np.ndarray


def host_frames(dataset):
    """The frames with NumPy leaves, brought from the device at once."""
    return jax.device_get(dataset.frames)


def is_crystal(frame) -> bool:
    """Whether a frame has a cell that holds a volume (all three directions periodic)."""
    return all(frame.atoms.pbc) and abs(np.linalg.det(frame.atoms.cell)) > 1e-8


def find_links(frames) -> Links:
    """All linked pairs of the given frames, (n²·atoms) within frames of the same species sequence."""
    buckets: dict[tuple, list[int]] = {}
    for n, frame in enumerate(frames):
        if is_crystal(frame):
            buckets.setdefault((frame.atoms.species.tobytes(), frame.atoms.pbc), []).append(n)
    found = [_links_of(frames, np.array(members)) for members in buckets.values() if len(members) > 1]
    if not found:
        return Links(*(np.zeros(0, kind) for kind in (int, int, float, float)))
    return Links(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _links_of(frames, members):
    cells = np.stack([frames[n].atoms.cell for n in members]).astype(float)
    scaled = np.stack([frames[n].atoms.positions for n in members]) @ np.linalg.inv(cells)
    spacing = (np.abs(np.linalg.det(cells)) / scaled.shape[1]) ** (1 / 3)
    inverse, eye, out = np.linalg.inv(cells), np.eye(3), []
    for i in range(len(members) - 1):
        step = scaled_step(scaled[i], scaled[i + 1:])
        moved = np.linalg.norm(step @ cells[i], axis=-1) / spacing[i]
        rms = np.sqrt(np.mean(moved**2, axis=-1))
        G = inverse[i] @ cells[i + 1:]
        strain = np.linalg.norm(0.5 * (G @ G.swapaxes(-1, -2) - eye), axis=(-2, -1))
        # A swap of two atoms leaves all others in place; heat moves them all.
        small = (moved.max(axis=-1) < LARGEST_MOVE) | (np.median(moved, axis=-1) > 0.1)
        near = np.flatnonzero((strain < LARGEST_STRAIN) & (rms < LARGEST_RMS) & small)
        out.append((np.full(len(near), members[i]), members[i + 1 + near], strain[near], rms[near] * spacing[i]))
    return [np.concatenate(column) for column in zip(*out, strict=True)]


def scaled_step(start, end):
    """Change of scaled positions (…, atom, 3) to the nearest image, without the drift of all atoms."""
    step = end - start
    step = step - step[..., :1, :]
    step = step - np.round(step)
    return step - step.mean(axis=-2, keepdims=True)


def decoration(frame) -> str:
    """A label equal for frames with the same neighbour graph and species, whatever their strain, order or orientation.

    (Graphs that refinement of colours cannot tell apart, which are rare among crystals, share a label.)
    """
    atoms = frame.atoms
    volume = abs(np.linalg.det(atoms.cell))
    i, j, _ = neighbour_pairs(atoms, SHELL * (volume / atoms.number) ** (1 / 3))
    names = [atoms.elements[int(s)] for s in atoms.species]
    order = sorted(set(names))
    colour = np.array([order.index(name) for name in names], np.uint64)
    with np.errstate(over="ignore"):
        for _ in range(4):
            # A sum of scrambled colours is the same for any order of the neighbours.
            around = np.zeros(atoms.number, np.uint64)
            np.add.at(around, i, _scrambled(colour[j]))
            colour = _scrambled(colour * np.uint64(0x9E3779B97F4A7C15) + around)
    text = ",".join(sorted(names)).encode() + np.sort(colour).tobytes()
    return hashlib.sha256(text).hexdigest()[:16]


def _scrambled(x):
    """A bijection of 64-bit integers without visible structure (Steele et al. 2014, splitmix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def parents(dataset) -> np.ndarray:
    """(frame,) index of the parent of each frame, numbered by first appearance.

    Frames share a parent when they are linked (``find_links``) or have the same decoration; a frame without a periodic
    cell is its own parent.
    """
    frames = host_frames(dataset)
    links = find_links(frames)
    same: dict[str, int] = {}
    edges = list(zip(links.first, links.second, strict=True))
    for n, frame in enumerate(frames):
        if is_crystal(frame):
            edges.append((same.setdefault(decoration(frame), n), n))
    return components(len(frames), np.array(edges, int).reshape(-1, 2))


def components(number, edges) -> np.ndarray:
    """(number,) index of the connected component of each node, numbered by first appearance."""
    import scipy.sparse
    import scipy.sparse.csgraph

    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(number, number))
    _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
