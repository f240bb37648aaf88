"""Structured meshes: a lattice on the unit square or cube, mapped to the component. Host-side, plain numpy.

Sources: Gordon & Hall 1973 (transfinite maps); Cook 1974 (the tapered panel); Kirsch 1898 (plate with a hole).
"""

from collections.abc import Callable, Sequence

import numpy as np

from hea_jax.continuum.mesh.elements import AbstractElement, Hex8, Quad4, Quad8, Tri3, Tri6
from hea_jax.continuum.mesh.meshes import Mesh, discretise, with_sets

Map = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(s, t) arrays on the unit square to positions (node, 2)."""

_SIDES = ("left", "right", "bottom", "top", "back", "front")


def mapped_square(counts: tuple[int, int], mapping: Map, element: AbstractElement, *, spacing=None, thickness=1.0,
                  names: Sequence[str] = _SIDES[:4]) -> Mesh:
    """A mesh of ``counts`` quadrilaterals (or twice as many triangles) on the image of the unit square.

    ``mapping`` takes (s, t) and must keep the orientation. ``names`` are those of the sides s = 0, s = 1, t = 0, t = 1
    (node and facet sets); ``spacing`` the two arrays of corner coordinates in [0, 1] (default uniform). Mid-side nodes
    lie at the mean of s or t. ``thickness`` is in the mesh's length unit. Raises ``ValueError`` for an element without
    a lattice or a folded map.
    """
    grid = spacing or tuple(np.linspace(0.0, 1.0, n + 1) for n in counts)
    cells, refine = _square_cells(counts, element)
    s, t = (_refined(np.asarray(g, float), refine) for g in grid)
    S, T = (a.ravel() for a in np.meshgrid(s, t, indexing="ij"))
    used, cells = np.unique(cells, return_inverse=True)
    S, T = S[used], T[used]
    mesh = Mesh(mapping(S, T), cells.reshape(-1, len(element.exponents)), element, thickness=thickness)
    discretise(mesh)
    on_side = (S == 0, S == 1, T == 0, T == 1)
    return with_sets(mesh, {name: np.flatnonzero(side) for name, side in zip(names, on_side, strict=True)})


def rectangle(size: tuple[float, float], counts: tuple[int, int], element: AbstractElement, *, thickness=1.0) -> Mesh:
    """[0, width] × [0, height] in any one length unit; sets ``left``, ``right``, ``bottom``, ``top``."""
    return mapped_square(counts, lambda s, t: np.stack([size[0] * s, size[1] * t], axis=-1), element,
                         thickness=thickness)


def cooks_membrane(counts: tuple[int, int], element: AbstractElement, *, scale=1.0, thickness=1.0) -> Mesh:
    """Cook's panel: corners (0, 0), (48, 44), (48, 60), (0, 44) times ``scale`` (length); clamp ``left``, load
    ``right``."""
    def mapping(s, t):
        return scale * np.stack([48 * s, 44 * s + t * (44 - 28 * s)], axis=-1)
    return mapped_square(counts, mapping, element, thickness=thickness)


def plate_with_hole(radius: float, size: tuple[float, float], counts: tuple[int, int], element: AbstractElement, *,
                    grading: float | None = None, thickness=1.0) -> Mesh:
    """A quarter of a plate with a round hole at the origin: x, y >= 0, outer size (width, height), any one length unit.

    ``counts`` (elements around the hole, even; elements along the radius); ``grading`` the ratio of the last to the
    first radial edge (default: that of geometric growth with the radius). Sets ``hole``, ``outer``, ``left`` (x = 0),
    ``bottom`` (y = 0), ``right``, ``top``.
    """
    width, height = size
    if counts[0] % 2 or not 0 < radius < min(size):
        raise ValueError(f"the count around the hole must be even, the radius inside the plate; got {counts}, {radius}")
    ratio = np.sqrt(width * height) / radius if grading is None else grading
    growth = ratio ** (np.arange(counts[1]) / max(counts[1] - 1, 1))
    radial = np.concatenate([[0.0], np.cumsum(growth) / np.sum(growth)])
    radial[-1] = 1.0

    def mapping(s, t):
        angle = 0.5 * np.pi * s
        inner = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        outer = np.stack([width * np.minimum(1.0, 2 - 2 * s), height * np.minimum(1.0, 2 * s)], axis=-1)
        # Exact zeros on the symmetry planes, whatever cos and sin round to.
        inner[s == 1, 0] = 0.0
        return inner + t[:, None] * (outer - inner)
    around = np.linspace(0.0, 1.0, counts[0] + 1)
    mesh = mapped_square((counts[1], counts[0]), lambda t, s: mapping(s, t), element, spacing=(radial, around),
                         thickness=thickness, names=("hole", "outer", "bottom", "left"))
    x, y = np.asarray(mesh.nodes).T
    far = 1e-9 * max(size)
    return with_sets(mesh, {"right": np.flatnonzero(x > width - far), "top": np.flatnonzero(y > height - far)})


def box(size: tuple[float, float, float], counts: tuple[int, int, int]) -> Mesh:
    """[0, a] × [0, b] × [0, c] of ``Hex8``, any one length unit; sets ``left``/``right`` (x), ``bottom``/``top`` (y),
    ``back``/``front`` (z)."""
    axes = [np.linspace(0.0, length, n + 1) for length, n in zip(size, counts, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(nodes)).reshape([n + 1 for n in counts])
    offset = ((Hex8().nodes + 1) / 2).astype(int)
    corners = [number[i : i + counts[0], j : j + counts[1], k : k + counts[2]].ravel() for i, j, k in offset]
    mesh = Mesh(nodes, np.stack(corners, axis=-1), Hex8())
    discretise(mesh)
    ends = {name: np.flatnonzero(nodes[:, d // 2] == (size[d // 2] if d % 2 else 0.0)) for d, name in enumerate(_SIDES)}
    return with_sets(mesh, ends)


def _refined(corners: np.ndarray, refine: int) -> np.ndarray:
    """Coordinates with the midpoints between, for quadratic elements."""
    if refine == 1:
        return corners
    both = np.empty(2 * len(corners) - 1)
    both[::2], both[1::2] = corners, 0.5 * (corners[1:] + corners[:-1])
    return both


def _square_cells(counts: tuple[int, int], element: AbstractElement) -> tuple[np.ndarray, int]:
    """Lattice numbers of the nodes of every cell, and the lattice's refinement (2 for quadratic elements)."""
    local = {Quad4: [Quad4().nodes], Quad8: [Quad8().nodes], Tri3: _two_triangles(Tri3()), Tri6: _two_triangles(Tri6())}
    if type(element) not in local:
        raise ValueError(f"no lattice of {type(element).__name__} on a square")
    refine = 2 if len(element.exponents) > 4 else 1
    ny = refine * counts[1] + 1
    i, j = (a.ravel() for a in np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"))
    cells = []
    for nodes in local[type(element)]:
        step = np.rint((np.asarray(nodes) + 1) / 2 * refine).astype(int)
        cells.append((refine * i[:, None] + step[:, 0]) * ny + refine * j[:, None] + step[:, 1])
    return np.stack(cells, axis=1).reshape(-1, len(element.exponents)), refine


def _two_triangles(element: AbstractElement) -> list[np.ndarray]:
    """Local node coordinates, on [−1, 1]², of the two triangles of a square."""
    xi = element.nodes
    return [2 * xi - 1, 1 - 2 * xi]
