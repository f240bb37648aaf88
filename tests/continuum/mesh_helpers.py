"""Meshes and an independent sparse solve, shared by the tests of the finite elements."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from hea_jax.continuum.mesh import Hex8, Quad4, Quad8, Tri3, Tri6, box, loads_of, mapped_square, stiffness_entries

PLANE = [Quad4(), Quad8(), Quad8(points=2), Tri3(), Tri6()]
ELEMENTS = [*PLANE, Hex8()]


def name_of(element):
    """Name of an element in test identifiers."""
    return type(element).__name__ + (f"-{element.points}" if isinstance(element, Quad8) else "")


def unit_mesh(element, n, *, distortion=0.0, seed=0):
    """The unit square or cube with n elements per side; interior nodes moved by up to ``distortion`` element sizes."""
    square = lambda s, t: np.stack([s, t], axis=-1)
    mesh = box((1.0,) * 3, (n,) * 3) if element.dim == 3 else mapped_square((n, n), square, element, thickness=0.5)
    nodes = np.asarray(mesh.nodes)
    inside = np.all((nodes > 1e-9) & (nodes < 1 - 1e-9), axis=1)[:, None]
    noise = np.random.default_rng(seed).uniform(-1, 1, nodes.shape) * distortion / n
    return dataclasses.replace(mesh, nodes=jnp.asarray(nodes + inside * noise))


def sparse_solution(component, loads):
    """Nodal displacements of a linear component by SciPy's sparse LU, without any of our solvers."""
    entries = eqx.filter_jit(lambda c: stiffness_entries(c.disc, c.element_matrices(loads_of(c), c.start())))
    values, rows, columns = (np.asarray(a) for a in entries(component))
    n = component.disc.n_nodes * component.disc.dim
    matrix = coo_matrix((values, (rows, columns)), shape=(n, n)).tocsc()
    free = ~np.asarray(component.fixed).ravel()
    u = np.where(free, 0.0, np.asarray(loads.displacement).ravel())
    rhs = np.asarray(loads.force).ravel() - matrix @ u
    u[free] = spsolve(matrix[free][:, free], rhs[free])
    return u.reshape(-1, component.disc.dim)
