"""What an assembler needs of a mesh: tables at Gauss points, gather and scatter.

Row i of a displacement gradient is the displacement component, column J the reference direction: H_iJ = ∂u_i/∂X_J.
Two-dimensional meshes are in plane strain: third row and column of H are zero. Lengths are in any one unit (nm by
habit), stresses in GPa, so that forces come in GPa·nm² (= nN) and energies in GPa·nm³.

Sources: Hughes 1987, ch. 2–3 (assembly of isoparametric elements); Simo & Hughes 1998 (finite-strain form).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.core.tensors import to_mandel


class Discretisation(eqx.Module):
    """Shape functions of every element at its Gauss points.

    ``cells`` (element, a) node numbers; ``shape_gradients`` (element, gauss, a, dim) dN_a/dX_J (1/length);
    ``shape_values`` (gauss, a) N_a; ``weights`` (element, gauss) volume weights, thickness included (length³).
    """

    cells: Int[Array, "element a"]
    shape_gradients: Float[Array, "element gauss a dim"]
    shape_values: Float[Array, "gauss a"]
    weights: Float[Array, "element gauss"]
    n_nodes: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    @property
    def points(self) -> tuple[int, int]:
        """(elements, Gauss points per element)."""
        return self.weights.shape[0], self.weights.shape[1]


def displacement_gradients(disc: Discretisation, u: Float[Array, "node dim"]) -> Array:
    """H_iJ = ∂u_i/∂X_J at the Gauss points, (element, gauss, dim, dim), of nodal ``u`` in the mesh's length unit."""
    return jnp.einsum("eai,egaJ->egiJ", u[disc.cells], disc.shape_gradients)


def embedded(tensor: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch 3 3"]:
    """A tensor of the plane padded with zeros to three dimensions (plane strain); 3D passes unchanged."""
    missing = 3 - tensor.shape[-1]
    return jnp.pad(tensor, [(0, 0)] * (tensor.ndim - 2) + [(0, missing)] * 2) if missing else tensor


def deformation_gradients(disc: Discretisation, u: Float[Array, "node dim"]) -> Array:
    """F = I + H at the Gauss points, (element, gauss, 3, 3), plane strain in two dimensions."""
    return jnp.eye(3, dtype=u.dtype) + embedded(displacement_gradients(disc, u))


def small_strains(disc: Discretisation, u: Float[Array, "node dim"]) -> Array:
    """ε = sym H at the Gauss points, (element, gauss, 6) Mandel, plane strain in two dimensions."""
    return to_mandel(embedded(displacement_gradients(disc, u)))


def at_gauss(disc: Discretisation, nodal: Float[Array, "node *component"]) -> Array:
    """A nodal field interpolated to the Gauss points, (element, gauss, *component); positions, if given the nodes."""
    return jnp.einsum("ga,ea...->eg...", disc.shape_values, nodal[disc.cells])


def cell_means(disc: Discretisation, field: Float[Array, "element gauss *component"]) -> Array:
    """Volume mean of a Gauss-point field in every element, (element, *component)."""
    total = jnp.einsum("eg,eg...->e...", disc.weights, field)
    volume = jnp.sum(disc.weights, axis=1)
    return total / volume.reshape(-1, *[1] * (total.ndim - 1))


def assemble_forces(disc: Discretisation, P: Float[Array, "element gauss 3 3"]) -> Float[Array, "node dim"]:
    """Nodal forces ∫ P_iJ dN_a/dX_J dV (GPa·length²) of a stress P or σ in GPa; in the plane P_i3, P_3J do no work."""
    d = disc.dim
    forces = jnp.einsum("eg,egiJ,egaJ->eai", disc.weights, P[..., :d, :d], disc.shape_gradients)
    return jnp.zeros((disc.n_nodes, d), forces.dtype).at[disc.cells].add(forces)


def assemble_body_force(disc: Discretisation, density: Float[Array, "*point dim"]) -> Float[Array, "node dim"]:
    """Consistent nodal forces ∫ N_a b dV (GPa·length²) of a body force (dim,) or (element, gauss, dim), GPa/length."""
    b = jnp.broadcast_to(density, (*disc.points, disc.dim))
    forces = jnp.einsum("eg,egi,ga->eai", disc.weights, b, disc.shape_values)
    return jnp.zeros((disc.n_nodes, disc.dim), forces.dtype).at[disc.cells].add(forces)


def element_stiffness(disc: Discretisation, A: Float[Array, "element gauss 3 3 3 3"]) -> Array:
    """Element matrices K[e, a, i, b, k] = ∫ dN_a/dX_J A_iJkL dN_b/dX_L dV (GPa·length) of moduli A in GPa.

    A is (element, gauss, 3, 3, 3, 3), or already restricted to the plane (element, gauss, dim, dim, dim, dim).
    """
    d = disc.dim
    weighted = disc.weights[..., None, None] * disc.shape_gradients
    right = jnp.einsum("egiJkL,egbL->egJibk", A[..., :d, :d, :d, :d], disc.shape_gradients)
    return jnp.einsum("egaJ,egJibk->eaibk", weighted, right)


def apply_stiffness(disc: Discretisation, K: Float[Array, "element a dim a dim"], v: Float[Array, "node dim"]) -> Array:
    """K v (node, dim) for element matrices K (GPa·length) and nodal v: gather, multiply, scatter."""
    forces = jnp.einsum("eaibk,ebk->eai", K, v[disc.cells])
    return jnp.zeros((disc.n_nodes, disc.dim), forces.dtype).at[disc.cells].add(forces)


def stiffness_entries(disc: Discretisation, K: Float[Array, "element a dim a dim"]) -> tuple[Array, Array, Array]:
    """(values, rows, columns) of the assembled matrix (GPa·length) in coordinate form, repeated entries to be summed;
    unknown ``node·dim + component``. ``scipy.sparse.coo_matrix((values, (rows, columns)))`` takes it as it is."""
    unknown = disc.cells[:, :, None] * disc.dim + np.arange(disc.dim)
    rows = jnp.broadcast_to(unknown[:, :, :, None, None], K.shape)
    columns = jnp.broadcast_to(unknown[:, None, None, :, :], K.shape)
    return K.ravel(), rows.ravel(), columns.ravel()


def assemble_stiffness(disc: Discretisation, A: Float[Array, "element gauss 3 3 3 3"]) -> Float[Array, "n n"]:
    """Dense stiffness (n, n) in GPa·length, n = nodes · dim, unknown ``node·dim + component``, of moduli A_iJkL in GPa
    (element, gauss, 3, 3, 3, 3). For small meshes; ``element_stiffness`` and ``apply_stiffness`` need no matrix."""
    values, rows, columns = stiffness_entries(disc, element_stiffness(disc, A))
    n = disc.n_nodes * disc.dim
    return jnp.zeros((n, n), values.dtype).at[rows, columns].add(values)
