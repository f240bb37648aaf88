"""A mesh of one kind of element, its tables, and its loads.

Coordinates are in any one length unit (nm by habit). A two-dimensional mesh is a slice of stated ``thickness`` in plane
strain. Checks look at concrete numbers: inside ``jit`` they are skipped.

Source: Hughes 1987, ch. 3 (isoparametric map, consistent nodal forces).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from hea_jax.continuum.mesh.discretisation import Discretisation
from hea_jax.continuum.mesh.elements import AbstractElement, Rule


class Mesh(eqx.Module):
    """``nodes`` (node, dim) positions, ``cells`` (element, a) node numbers, the ``element``; named ``node_sets``
    (node numbers) and ``facet_sets`` ((facet, nodes of a facet) node numbers); ``thickness`` of a two-dimensional mesh
    (length). Raises ``ValueError`` for cells that do not fit."""

    nodes: Float[Array, "node dim"] = eqx.field(converter=jnp.asarray)
    cells: Int[Array, "element a"] = eqx.field(converter=jnp.asarray)
    element: AbstractElement
    node_sets: dict[str, Int[Array, "member"]] = eqx.field(default_factory=dict)
    facet_sets: dict[str, Int[Array, "facet b"]] = eqx.field(default_factory=dict)
    thickness: Float[Array, ""] | float = 1.0

    def __check_init__(self):
        expected = len(self.element.exponents)
        if self.cells.ndim != 2 or self.cells.shape[1] != expected:
            name = type(self.element).__name__
            raise ValueError(f"cells of {name} must be (element, {expected}), got shape {self.cells.shape}")
        if self.nodes.ndim != 2 or self.nodes.shape[1] != self.element.dim:
            raise ValueError(f"nodes must be (node, {self.element.dim}), got shape {self.nodes.shape}")
        if not _traced(self.cells):
            cells = np.asarray(self.cells)
            if not (cells.min() >= 0 and cells.max() < len(self.nodes)):
                raise ValueError(f"cells name nodes outside 0 … {len(self.nodes) - 1}")


def discretise(mesh: Mesh, *, rule: Rule | None = None) -> Discretisation:
    """Shape functions and volume weights of a mesh at the element's Gauss points, or at those of ``rule``: local
    points and weights (zero to only look at fields there). Differentiable in the nodes.

    Raises ``ValueError`` naming the element where the isoparametric map is folded or flat.
    """
    points, weights = mesh.element.rule if rule is None else rule
    dtype = mesh.nodes.dtype
    slopes = mesh.element.slopes(points).astype(dtype)
    corners = mesh.nodes[mesh.cells] if _traced(mesh.nodes) else np.asarray(mesh.nodes)[np.asarray(mesh.cells)]
    # Concrete nodes stay in numpy: a dozen small programs less to compile for every new mesh.
    xp: Any = jnp if _traced(corners) else np
    J = xp.einsum("eai,gad->egid", corners, slopes)
    determinant = xp.linalg.det(J)
    if not _traced(determinant):
        _check_not_inverted(mesh, determinant)
    gradients = xp.einsum("gad,egdi->egai", slopes, xp.linalg.inv(J))
    thickness = mesh.thickness if mesh.element.dim == 2 else 1.0
    volumes = thickness * determinant * np.asarray(weights, dtype)
    return Discretisation(mesh.cells, jnp.asarray(gradients), jnp.asarray(mesh.element.shape(points), dtype),
                          jnp.asarray(volumes, dtype), len(mesh.nodes), mesh.element.dim)


def fixed_at(mesh: Mesh, axes: Mapping[str, Sequence[int]]) -> Bool[np.ndarray, "node dim"]:
    """Which displacement components are prescribed: ``{"left": (0,), "corner": (0, 1)}`` by node set.

    Raises ``KeyError`` naming the sets that exist, ``ValueError`` for an axis beyond the dimension.
    """
    fixed = np.zeros(mesh.nodes.shape, bool)
    for name, components in axes.items():
        if not all(0 <= c < mesh.element.dim for c in components):
            raise ValueError(f"axes {tuple(components)} of {name!r}: the mesh has dimension {mesh.element.dim}")
        for component in components:
            fixed[np.asarray(members(mesh.node_sets, name)), component] = True
    return fixed


def members(sets: Mapping[str, Array], name: str) -> Array:
    """The entry of a named set; raises ``KeyError`` with the names there are."""
    if name not in sets:
        raise KeyError(f"there is no set {name!r}; there are {', '.join(sorted(sets)) or 'none'}")
    return sets[name]


def nearest_node(mesh: Mesh, position: Sequence[float]) -> int:
    """Number of the node closest to a position (dim,), in the mesh's length unit. Host-side."""
    return int(np.argmin(np.linalg.norm(np.asarray(mesh.nodes) - np.asarray(position), axis=1)))


def boundary_facets(mesh: Mesh) -> Int[np.ndarray, "facet b"]:
    """Facets that belong to one element only, outward. Host-side."""
    cells, local = np.asarray(mesh.cells), mesh.element.facets
    every = cells[:, local].reshape(-1, local.shape[1])
    _, first, count = np.unique(np.sort(every, axis=1), axis=0, return_index=True, return_counts=True)
    return every[np.sort(first[count == 1])]


def facets_on(mesh: Mesh, nodes: Int[Array, "member"]) -> Int[np.ndarray, "facet b"]:
    """Boundary facets all of whose nodes are in ``nodes``. Host-side."""
    facets = boundary_facets(mesh)
    return facets[np.isin(facets, np.asarray(nodes)).all(axis=1)]


def with_sets(mesh: Mesh, node_sets: Mapping[str, Int[Array | np.ndarray, "member"]]) -> Mesh:
    """The mesh with further named node sets, and under the same names the boundary facets they span. Host-side."""
    facets = boundary_facets(mesh)
    spanned = {name: facets[np.isin(facets, np.asarray(nodes)).all(axis=1)] for name, nodes in node_sets.items()}
    nodes = mesh.node_sets | {name: jnp.asarray(n) for name, n in node_sets.items()}
    found = {name: jnp.asarray(f) for name, f in spanned.items() if len(f)}
    return Mesh(mesh.nodes, mesh.cells, mesh.element, nodes, mesh.facet_sets | found, mesh.thickness)


def facet_points(mesh: Mesh, name: str) -> tuple[Array, Array]:
    """Positions of the Gauss points of a facet set and outward area vectors n dA there: (facet, gauss, dim) each."""
    facets, element = members(mesh.facet_sets, name), _facet_element(mesh)
    points, weights = element.rule
    corners = mesh.nodes[facets]
    position = jnp.einsum("ga,fai->fgi", element.shape(points), corners)
    tangents = jnp.einsum("gad,fai->fgdi", element.slopes(points), corners)
    if mesh.element.dim == 2:
        t = tangents[:, :, 0]
        area = mesh.thickness * jnp.stack([t[..., 1], -t[..., 0]], axis=-1)
    else:
        area = jnp.cross(tangents[:, :, 0], tangents[:, :, 1])
    return position, area * weights[None, :, None]


def traction_forces(mesh: Mesh, name: str, traction: Float[Array, "*point dim"]) -> Float[Array, "node dim"]:
    """Consistent nodal forces ∫ N_a t dA (GPa·length²) of a dead traction (GPa) on a facet set: (dim,), or one per
    point of ``facet_points`` (facet, gauss, dim)."""
    facets, element = members(mesh.facet_sets, name), _facet_element(mesh)
    _, area = facet_points(mesh, name)
    t = jnp.broadcast_to(traction, area.shape)
    forces = jnp.einsum("fgi,fg,ga->fai", t, jnp.linalg.norm(area, axis=-1), element.shape(element.rule[0]))
    return jnp.zeros(mesh.nodes.shape, forces.dtype).at[facets].add(forces)


def _facet_element(mesh: Mesh) -> AbstractElement:
    facet = mesh.element.facet
    if facet is None:
        raise ValueError("a line has no facets")
    return facet


def _traced(array) -> bool:
    return isinstance(array, Tracer)


def _check_not_inverted(mesh, determinant):
    bad = np.flatnonzero(~(np.asarray(determinant).min(axis=1) > 0))
    if bad.size:
        corners = np.asarray(mesh.nodes)[np.asarray(mesh.cells)[bad[0]]].round(6).tolist()
        raise ValueError(f"{bad.size} of {len(mesh.cells)} elements are inverted or flat (det J <= 0), first element "
                         f"{bad[0]} with nodes at {corners}: number its nodes counter-clockwise and do not fold it")
