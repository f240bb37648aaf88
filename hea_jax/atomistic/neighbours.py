"""Neighbour tables, built on the host for any cell: triclinic, smaller than the cut-off, partly periodic.

Wrapped positions and their periodic images go into a k-d tree, so that a cell may be smaller than twice the
cut-off (an atom then meets several images of a neighbour, and of itself). ``skin_exceeded`` says, inside
``jit``, when a table may have lost a pair: it bounds the shortening of a pair distance in Cartesian space,
strain of the cell included.

Source: Verlet 1967 (neighbour lists with a skin); Maneewongvatana & Mount 1999 (the k-d tree of SciPy).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from scipy.spatial import KDTree

from hea_jax.core.types import Cell, Positions, Scalar
from hea_jax.records import Atoms, Neighbours

ROUND_OFF = 1e-9
"""How much farther (relative) than asked tables reach, so that a shell of neighbours at the cut-off is whole."""
LARGEST_SEARCH = 1e7
"""Points (atoms and their images within reach) beyond which a table is refused."""


def neighbour_table(atoms: Atoms, cutoff: float, *, skin: float = 0.0, capacity: int | None = None) -> Neighbours:
    """All pairs within ``cutoff + skin`` (Å) as a dense full table; host-side, not for use under ``jit``.

    ``atoms`` may carry one leading batch axis: the tables are then stacked at one common capacity.
    ``capacity`` is the width of the table (default: the largest number of neighbours found).

    Raises ``ValueError`` for non-finite positions, a singular cell, a bad cut-off or one that is absurd for the cell
    (more than ``LARGEST_SEARCH`` points within reach), or too small a capacity.
    """
    if not (math.isfinite(cutoff) and cutoff > 0 and math.isfinite(skin) and skin >= 0):
        raise ValueError(f"cutoff must be positive and skin non-negative (Å), got cutoff={cutoff}, skin={skin}")
    positions, cells = np.asarray(atoms.positions, float), np.asarray(atoms.cell, float)
    batched = positions.ndim == 3
    if not batched:
        positions, cells = positions[None], cells[None]
    cells = np.broadcast_to(cells, (len(positions), 3, 3))
    lists = [_pairs(x, A, atoms.pbc, cutoff + skin) for x, A in zip(positions, cells, strict=True)]
    width = max(1, *(np.bincount(i, minlength=1).max() for i, _, _ in lists))
    if capacity is not None and capacity < width:
        raise ValueError(f"an atom has {width} neighbours within {cutoff + skin:g} Å but capacity is {capacity}: "
                         f"pass capacity={width} or more (or None)")
    width = capacity or int(width)
    tables = [_pack(pairs, positions.shape[1], width) for pairs in lists]
    index, shift, mask = (np.stack(column) if batched else column[0] for column in zip(*tables, strict=True))
    return Neighbours(jnp.asarray(index), jnp.asarray(shift), jnp.asarray(mask), float(cutoff), float(skin))


def _complete_cell(cell, pbc):
    """Rows of non-periodic directions that are zero become unit vectors normal to the others."""
    out = cell.copy()
    for row in range(3):
        if pbc[row] or np.linalg.norm(out[row]) > 0:
            continue
        others = out[[r for r in range(3) if r != row]]
        normal = np.linalg.svd(others)[2][-1]
        out[row] = normal
    return out


def _validated(positions, cell, pbc):
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise ValueError(f"positions of atoms {bad[:5].tolist()} are not finite: check the structure or the step "
                         "that produced it")
    if not np.isfinite(cell).all():
        raise ValueError("the cell is not finite: check the structure or the step that produced it")
    full = _complete_cell(cell, pbc)
    lengths = np.linalg.norm(full, axis=1)
    if (lengths == 0).any() or abs(np.linalg.det(full)) < 1e-8 * np.prod(lengths):
        raise ValueError(f"the cell is singular (rows {cell.tolist()}): give three independent lattice vectors, "
                         "or set pbc to False along the missing one")
    return full


def _check_search(number, cell, margin, reach):
    """Refuse what would take gigabytes; ``margin``: reach over the heights of the cell, 0 where it is not periodic."""
    # In floating point: the number itself may be absurd.
    points = number * math.prod(1.0 + 2.0 * float(m) for m in margin)
    if points > LARGEST_SEARCH:
        raise ValueError(f"a cut-off (with skin) of {reach:g} Å reaches {points:.1e} atoms and images of the {number} "
                         f"atoms in the cell {cell.tolist()} Å: check the cut-off of the potential and the units of "
                         "both (Å)")


def _pairs(positions, cell, pbc, reach):
    """Directed pairs (i, j, S) with 0 < |r_j + S·A − r_i| ≤ reach to round-off, self-images included; with each its
    reverse."""
    full = _validated(positions, cell, pbc)
    periodic = np.asarray(pbc)
    # The tree rounds differently from either end of a pair: it looks farther, and ``_within`` decides for both.
    reach, searched = reach * (1.0 + ROUND_OFF), reach * (1.0 + 2.0 * ROUND_OFF)
    fractional = positions @ np.linalg.inv(full)
    offset = np.where(periodic, np.floor(fractional), 0.0)
    wrapped, fractional = positions - offset @ full, fractional - offset
    heights = 1.0 / np.linalg.norm(np.linalg.inv(full), axis=0)
    margin = searched / heights + 1e-9
    _check_search(len(positions), cell, np.where(periodic, margin, 0.0), reach)
    layers = np.where(periodic, np.floor(margin) + 1, 0).astype(int)
    images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in layers), indexing="ij"), -1).reshape(-1, 3)
    # Only images within reach of the home cell enter the tree.
    lifted = fractional[None] + images[:, None]
    near = (~periodic | ((lifted >= -margin) & (lifted <= 1 + margin))).all(-1)
    which, atom = np.nonzero(near)
    points = wrapped[atom] + images[which] @ full
    found = KDTree(points).query_ball_point(wrapped, searched, return_sorted=True)
    i = np.repeat(np.arange(len(positions)), [len(row) for row in found])
    hit = np.concatenate([np.asarray(row, int) for row in found]) if len(found) else np.zeros(0, int)
    j, S = atom[hit], images[which[hit]]
    keep = ((i != j) | (S != 0).any(axis=1)) & _within(wrapped, full, i, j, S, reach)
    i, j, S = i[keep], j[keep], S[keep]
    return i, j, (S - offset[j] + offset[i]).astype(int)


def _within(positions, cell, i, j, S, reach):
    """Which pairs have |r_j + S·A − r_i| ≤ reach, to the last bit the same for a pair and its reverse."""
    square = np.zeros(len(i))
    for axis in range(3):
        x = positions[:, axis]
        # One operation after another: a matrix product may round rows differently.
        image = S[:, 0] * cell[0, axis] + S[:, 1] * cell[1, axis] + S[:, 2] * cell[2, axis]
        square += ((x[j] - x[i]) + image) ** 2
    return np.sqrt(square) <= reach


def _pack(pairs, number, width):
    i, j, S = pairs
    order = np.lexsort((j, i))
    i, j, S = i[order], j[order], S[order]
    slot = np.arange(len(i)) - np.searchsorted(i, i)
    index, shift = np.zeros((number, width), np.int32), np.zeros((number, width, 3), np.int32)
    mask = np.zeros((number, width), bool)
    index[i, slot], shift[i, slot], mask[i, slot] = j, S, True
    return index, shift, mask


def widened(pairs: Neighbours, capacity: int) -> Neighbours:
    """The same table with rows padded to ``capacity`` entries; raises ``ValueError`` if it is wider already."""
    extra = capacity - pairs.index.shape[-1]
    if extra < 0:
        raise ValueError(f"the table is {pairs.index.shape[-1]} wide, which exceeds capacity={capacity}")
    rows = [(0, 0)] * (pairs.index.ndim - 1)
    index, mask = (jnp.pad(table, [*rows, (0, extra)]) for table in (pairs.index, pairs.mask))
    return Neighbours(index, jnp.pad(pairs.shift, [*rows, (0, extra), (0, 0)]), mask, pairs.cutoff, pairs.skin)


def skin_exceeded(reference: Atoms, atoms: Atoms, pairs: Neighbours) -> Bool[Array, ""]:
    """Whether ``pairs``, built for ``reference``, may miss a pair within the cut-off of ``atoms`` (jittable).

    With F the deformation gradient from cell to cell and u the displacement beyond it, a pair outside the table,
    |D₀| > r_c + skin, now has |D| ≥ σ_min(F)|D₀| − |u_i| − |u_j|. True when that bound falls below r_c (Å). A
    sufficient test, hence conservative: it never misses a lost pair.
    """
    mapped, stretch = carried_along(reference, atoms.cell)
    # Round-off of an unchanged configuration must not read as a loss.
    return ~(skin_used(mapped, stretch, atoms.positions, pairs) <= pairs.skin + 1e-9)


def carried_along(reference: Atoms, cell: Cell) -> tuple[Positions, Scalar]:
    """Positions of ``reference`` (Å) under the deformation gradient F that takes its cell to ``cell``, and σ_min(F)."""
    inverse = jnp.linalg.pinv(reference.cell)
    # Rows of zeros (non-periodic directions) leave F undefined across them: take the identity there.
    F_T = inverse @ cell + (jnp.eye(3, dtype=cell.dtype) - inverse @ reference.cell)
    return reference.positions @ F_T, jnp.linalg.svd(F_T, compute_uv=False)[-1]


def skin_used(mapped: Positions, stretch: Scalar, positions: Positions, pairs: Neighbours) -> Scalar:
    """How much of the skin (Å) is used up at most: ``mapped`` and ``stretch`` come from ``carried_along``.

    A common translation of all atoms uses none of it.
    """
    u = positions - mapped
    size = jnp.linalg.norm(u - jnp.mean(u, axis=-2, keepdims=True), axis=-1)
    first = jnp.argmax(size)
    second = jnp.max(jnp.where(jnp.arange(size.shape[-1]) == first, 0.0, size))
    return (pairs.cutoff + pairs.skin) * (1.0 - stretch) + size[first] + second
