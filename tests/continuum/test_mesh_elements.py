"""Elements and meshes: interpolation, geometry, loads, patch tests, refused input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_helpers import ELEMENTS, PLANE, name_of, sparse_solution, unit_mesh
from numpy.testing import assert_allclose

from hea_jax.continuum.laws import Hooke
from hea_jax.continuum.mesh import (
    Hex8,
    Jacobi,
    Mesh,
    Quad4,
    Quad8,
    Tri6,
    assemble_body_force,
    assemble_forces,
    assemble_stiffness,
    at_gauss,
    block_cholesky,
    boundary_facets,
    cell_means,
    component_of,
    cooks_membrane,
    deformation_gradients,
    discretise,
    displacement_gradients,
    facet_points,
    fixed_at,
    loads_of,
    nearest_node,
    plate_with_hole,
    rectangle,
    small_strains,
    traction_forces,
    with_sets,
)
from hea_jax.core.tensors import BASIS, cubic_stiffness, from_mandel, rotate_stiffness
from hea_jax.structures.rotations import random_rotations


@pytest.mark.parametrize("element", ELEMENTS, ids=name_of)
def test_shape_functions(element):
    assert_allclose(element.shape(element.nodes), np.eye(len(element.nodes)), atol=1e-14)
    points, weights = element.rule
    assert_allclose(element.shape(points).sum(1), 1.0, atol=1e-14)
    assert_allclose(element.slopes(points).sum(1), 0.0, atol=1e-14)
    h, slopes = 1e-6, element.slopes(points)
    for d, e in enumerate(np.eye(element.dim)):
        difference = (element.shape(points + h * e) - element.shape(points - h * e)) / (2 * h)
        assert_allclose(slopes[:, :, d], difference, atol=1e-9)
    # The rule integrates 1 and the positions of the reference element.
    volume = 0.5 if element.shape(np.zeros((1, element.dim))).max() == 1 else 2.0**element.dim
    assert_allclose(weights.sum(), volume, rtol=1e-14)
    centre = element.nodes.mean(axis=0)
    for local in element.facets:
        ends = element.nodes[local]
        normal = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) if element.dim == 2 else np.cross(
            ends[1] - ends[0], ends[2] - ends[0])
        assert normal @ (ends.mean(axis=0) - centre) > 0
        assert len(local) == len(element.facet.nodes)


GENERAL = rotate_stiffness(cubic_stiffness(246.0, 134.0, 28.7), random_rotations(jax.random.key(1), 1)[0])


def linear_field(dim, seed=1):
    """Offset and gradient of a linear displacement field."""
    rng = np.random.default_rng(seed)
    return 0.01 * rng.normal(size=dim), 0.01 * rng.normal(size=(dim, dim))


@eqx.filter_jit
def fields(component, loads, u):
    """Stress and the three kinds of strain."""
    disc = component.disc
    return (component.stress(loads, u), displacement_gradients(disc, u), deformation_gradients(disc, u),
            from_mandel(small_strains(disc, u)))


@pytest.mark.parametrize("element", ELEMENTS, ids=name_of)
def test_patch(element):
    """A linear field prescribed on the boundary of a distorted mesh is the exact solution, for a general crystal."""
    mesh = unit_mesh(element, 3, distortion=0.15)
    C = np.asarray(GENERAL)
    boundary = with_sets(mesh, {"all": np.unique(boundary_facets(mesh))})
    component = component_of(mesh, Hooke(C), fixed_at(boundary, {"all": range(element.dim)}), inverse=Jacobi())
    offset, H = linear_field(element.dim)
    exact = offset + np.asarray(mesh.nodes) @ H.T
    loads = loads_of(component, displacement=exact)
    u = sparse_solution(component, loads)
    assert np.sum(~np.asarray(component.fixed)) > 0
    assert_allclose(u, exact, atol=1e-14)
    full = np.zeros((3, 3))
    full[: element.dim, : element.dim] = H
    sigma = np.einsum("ijkl,kl->ij", np.einsum("mij,mn,nkl->ijkl", BASIS, C, BASIS), full)
    found = fields(component, loads, u)
    expected = (sigma, H, np.eye(3) + full, 0.5 * (full + full.T))
    for a, b, tolerance in zip(found, expected, (1e-11, 1e-13, 1e-13, 1e-13), strict=True):
        assert_allclose(a, np.broadcast_to(b, a.shape), atol=tolerance)


@pytest.mark.parametrize("element", [Quad4(), Quad8(), Tri6(), Hex8()], ids=name_of)
def test_volume_and_loads(element):
    """The divergence theorem on a distorted mesh; total traction and body force."""
    mesh = unit_mesh(element, 3, distortion=0.15)
    disc, d = discretise(mesh), element.dim
    thickness = 0.5 if d == 2 else 1.0
    assert_allclose(jnp.sum(disc.weights), thickness, rtol=1e-12)
    closed = with_sets(mesh, {"all": np.unique(boundary_facets(mesh))})
    position, area = facet_points(closed, "all")
    assert_allclose(jnp.sum(area, axis=(0, 1)), 0.0, atol=1e-12)
    assert_allclose(jnp.sum(position * area) / d, thickness, rtol=1e-12)
    traction = jnp.asarray([1.0, -2.0, 0.5])[:d]
    forces = traction_forces(mesh, "right", traction)
    assert_allclose(forces.sum(0), thickness * traction, rtol=1e-12)
    assert np.all(np.asarray(forces)[np.asarray(mesh.nodes)[:, 0] < 1] == 0)
    # ∫ x b dV about the origin: forces are consistent, not only their sum.
    b = assemble_body_force(disc, traction)
    moment = jnp.sum(disc.weights * at_gauss(disc, mesh.nodes)[..., 0])
    assert_allclose(mesh.nodes[:, 0] @ b, moment * traction, rtol=1e-12)
    assert_allclose(moment, 0.5 * thickness, rtol=1e-3)
    assert_allclose(cell_means(disc, 2.0 * jnp.ones(disc.points)), 2.0)
    # Internal forces of a constant stress are those of its tractions.
    sigma = jnp.zeros((3, 3)).at[0, 0].set(2.0)
    internal = assemble_forces(disc, jnp.broadcast_to(sigma, (*disc.points, 3, 3)))
    pulled = 2.0 * (traction_forces(mesh, "right", jnp.eye(d)[0]) - traction_forces(mesh, "left", jnp.eye(d)[0]))
    assert_allclose(internal, pulled, atol=1e-13)


def test_rigid_modes_and_stiffness():
    """The dense stiffness of a distorted crystal is symmetric and has exactly the rigid modes as its null space."""
    for element, rigid in ((Quad8(), 3), (Hex8(), 6)):
        mesh = unit_mesh(element, 2, distortion=0.1)
        component = component_of(mesh, Hooke(cubic_stiffness(246.0, 134.0, 28.7)), np.zeros(mesh.nodes.shape, bool))
        zero = component.start()
        K = eqx.filter_jit(lambda c, u: assemble_stiffness(c.disc, c.moduli(loads_of(c), u)))(component, zero)
        assert_allclose(K, K.T, atol=1e-12)
        values = np.linalg.eigvalsh(np.asarray(K))
        assert np.sum(values < 1e-10 * values[-1]) == rigid
        assert values[0] > -1e-10 * values[-1]


def test_generators():
    plate = plate_with_hole(1.0, (6.0, 5.0), (8, 5), Quad8())
    r = np.linalg.norm(np.asarray(plate.nodes), axis=1)
    hole = np.asarray(plate.node_sets["hole"])
    assert_allclose(r[hole], 1.0, rtol=1e-14)
    assert hole.size == 17
    assert np.all(r > 1 - 1e-12)
    # The straight outer edges bound the area exactly; the arc does so to fourth order of the angle.
    assert_allclose(jnp.sum(discretise(plate).weights), 30 - np.pi / 4, rtol=1e-6)
    for name, axis, value in (("left", 0, 0.0), ("bottom", 1, 0.0), ("right", 0, 6.0), ("top", 1, 5.0)):
        on = np.asarray(plate.nodes)[np.asarray(plate.node_sets[name]), axis]
        assert_allclose(on, value, atol=0)
        assert len(plate.facet_sets[name]) > 0
    edges = np.diff(np.sort(np.asarray(plate.nodes)[np.asarray(plate.node_sets["bottom"]), 0]))
    first, last = edges[0], edges[-1]
    assert last > 2 * first
    cook = cooks_membrane((4, 4), Quad4(), scale=10.0)
    assert_allclose(jnp.sum(discretise(cook).weights), 100 * 48 * (44 + 16) / 2, rtol=1e-13)
    assert_allclose(cook.nodes[nearest_node(cook, (480, 520))], [480, 520])
    assert len(cook.facet_sets["right"]) == 4


def test_refused_input():
    nodes = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]]
    with pytest.raises(ValueError, match=r"1 of 2 elements are inverted.*element 1 with nodes"):
        discretise(Mesh(nodes, [[0, 1, 2, 3], [1, 2, 5, 4]], Quad4()))
    with pytest.raises(ValueError, match="outside 0 … 5"):
        Mesh(nodes, [[0, 1, 2, 6]], Quad4())
    with pytest.raises(ValueError, match=r"cells of Quad8 must be \(element, 8\)"):
        Mesh(nodes, [[0, 1, 2, 3]], Quad8())
    with pytest.raises(ValueError, match="nodes must be"):
        Mesh(nodes, [[0, 1, 2, 3, 4, 5, 0, 1]], Hex8())
    mesh = rectangle((1.0, 1.0), (2, 2), Quad4())
    with pytest.raises(KeyError, match="no set 'hole'; there are bottom, left, right, top"):
        fixed_at(mesh, {"hole": (0,)})
    with pytest.raises(ValueError, match="dimension 2"):
        fixed_at(mesh, {"left": (2,)})
    with pytest.raises(ValueError, match="even"):
        plate_with_hole(1.0, (4.0, 4.0), (3, 3), Quad4())
    with pytest.raises(ValueError, match="no lattice of Hex8"):
        rectangle((1.0, 1.0), (2, 2), Hex8())


@pytest.mark.parametrize("element", PLANE[:2], ids=name_of)
def test_blocks_are_narrow(element):
    """Layers of a lattice are found: blocks of one layer (corners and mid-side nodes); not much wider in any order."""
    mesh = rectangle((4.0, 1.0), (12, 3), element)
    layer = 4 if isinstance(element, Quad4) else 11
    assert block_cholesky(mesh.cells, len(mesh.nodes)).width == layer
    shuffle = np.random.default_rng(0).permutation(len(mesh.nodes))
    assert block_cholesky(jnp.asarray(shuffle)[mesh.cells], len(mesh.nodes)).width <= 4 * layer
