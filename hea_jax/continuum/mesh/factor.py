"""Approximate or exact inverses of an assembled stiffness: what ``condense`` calls the preconditioner.

``BlockCholesky`` is a direct solver in plain JAX: nodes in the order of the mesh, or in that of Cuthill and McKee, cut
into blocks about as wide as the band, make the matrix block tridiagonal, and one scan factorises it. With it CG ends
after one or two iterations in forward, tangent and adjoint solves alike, on CPU and GPU, under ``jit`` and ``vmap``,
without a call back to the host. Memory is 2 n·w numbers and work about 3 n·w² for n unknowns in blocks of w (6,400 and
196 for 1,024 plane quadratic elements: 50 ms on one core); beyond some 10¹¹ operations use ``Jacobi``.
Stiffnesses are in GPa·length, forces in GPa·length², displacements in the mesh's length unit.

Sources: Cuthill & McKee 1969; George & Liu 1981 (band and profile factorisation); Du Croz & Higham 1992 (inverses of
triangular blocks); Golub & Van Loan 2013, ch. 4.5.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from hea_jax.continuum.mesh.discretisation import Discretisation


class AbstractInverse(eqx.Module):
    """Makes an approximate inverse of a stiffness given by element matrices, on the free displacements."""

    @abc.abstractmethod
    def prepare(self, disc: Discretisation, K: Array, free: Bool[Array, "node dim"]) -> Any:
        """What ``apply`` needs (arrays), from element matrices K (element, a, dim, a, dim) in GPa·length."""

    @abc.abstractmethod
    def apply(self, prepared: Any, forces: Array) -> Array:
        """Displacements (node, dim) for nodal ``forces`` (GPa·length²), zero at prescribed ones."""

    @abc.abstractmethod
    def definite(self, prepared: Any) -> Bool[Array, ""]:
        """False if the stiffness was found not to be positive definite (True: it is, or it was not looked at)."""


class Jacobi(AbstractInverse):
    """The inverse of the diagonal: no memory, many iterations."""

    def prepare(self, disc, K, free):
        own = jnp.einsum("eaiai->eai", K)
        diagonal = jnp.zeros((disc.n_nodes, disc.dim), K.dtype).at[disc.cells].add(own)
        # Absolute: a tangent that is not definite (an instability) must not make the preconditioner indefinite too.
        return jnp.where(free, 1 / jnp.abs(jnp.where(free, diagonal, 1.0)), 0.0)

    def apply(self, prepared, forces):
        return prepared * forces

    def definite(self, prepared):
        return jnp.array(True)


class BlockCholesky(AbstractInverse):
    """Exact, by block tridiagonal Cholesky; make it with ``block_cholesky``.

    ``position`` (node,) rank of every node in the band order; ``width`` nodes per block. Where the factorisation breaks
    down (no minimum) it falls back to ``Jacobi``, so that CG can look for the negative direction itself.
    """

    position: Int[Array, "node"]
    width: int = eqx.field(static=True)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.position.shape[0] // self.width)

    def prepare(self, disc, K, free):
        size = self._size(disc.dim)
        unknown = self._unknowns(disc.dim)[disc.cells]
        element_free = free[disc.cells]
        K = jnp.where(element_free[:, :, :, None, None] & element_free[:, None, None, :, :], K, 0.0)
        row = jnp.broadcast_to(unknown[:, :, :, None, None], K.shape)
        column = jnp.broadcast_to(unknown[:, None, None, :, :], K.shape)
        # Two blocks per block row, the left neighbour and the diagonal; the upper entries fall outside.
        place = column - (row // size - 1) * size
        place = jnp.where(place < 2 * size, place, 2 * size)
        band = jnp.zeros((self.blocks, size, 2 * size), K.dtype)
        band = band.at[row // size, row % size, place].add(K, mode="drop")
        absent = jnp.ones(self.blocks * size, K.dtype).at[self._unknowns(disc.dim)].add(-free.astype(K.dtype))
        band = band + jnp.pad(jnp.eye(size, dtype=K.dtype), ((0, 0), (size, 0))) * absent.reshape(-1, size, 1)

        def eliminate(above, rows):
            left = rows[:, :size] @ above.T
            _, inverse = _cholesky(rows[:, size:] - left @ left.T)
            return inverse, (left, inverse)
        _, (left, inverse) = jax.lax.scan(eliminate, jnp.eye(size, dtype=K.dtype), band)
        positive = jnp.all(jnp.isfinite(inverse))
        return left, inverse, free, positive, Jacobi().prepare(disc, K, free)

    def apply(self, prepared, forces):
        left, inverse, free, positive, rough = prepared
        size, unknown = inverse.shape[-1], self._unknowns(free.shape[1])
        b = jnp.zeros(self.blocks * size, forces.dtype).at[unknown].set(jnp.where(free, forces, 0.0))

        def down(above, block):
            left_, inverse_, b_ = block
            y = inverse_ @ (b_ - left_ @ above)
            return y, y

        def up(below, block):
            left_, inverse_, y_ = block
            x = inverse_.T @ (y_ - below)
            return left_.T @ x, x
        zero = jnp.zeros(size, forces.dtype)
        _, y = jax.lax.scan(down, zero, (left, inverse, b.reshape(-1, size)))
        _, x = jax.lax.scan(up, zero, (left, inverse, y), reverse=True)
        exact = jnp.where(free, x.reshape(-1)[unknown], 0.0)
        return jnp.where(positive, exact, Jacobi().apply(rough, forces))

    def definite(self, prepared):
        return prepared[3]

    def _size(self, dim):
        """Unknowns per block."""
        return self.width * dim

    def _unknowns(self, dim):
        """Place of every displacement (node, dim) in the padded blocks."""
        block, within = self.position // self.width, self.position % self.width
        return (block * self._size(dim) + within * dim)[:, None] + np.arange(dim)


_LEAF = 32


def _cholesky(A: Array) -> tuple[Array, Array]:
    """(L, L⁻¹) of a positive definite matrix, by halves down to ``_LEAF``; NaN if it is not positive definite.

    Products only, no triangular solves: those of LAPACK are up to 500 times slower where threads are oversubscribed,
    and slow on a GPU at any time.
    """
    n = A.shape[0]
    if n <= _LEAF:
        L = jnp.linalg.cholesky(A, symmetrize_input=False)
        return L, _triangular_inverse(L)
    leaves = -(-n // _LEAF)
    half = leaves // 2 * -(-n // leaves)
    L11, X11 = _cholesky(A[:half, :half])
    L21 = A[half:, :half] @ X11.T
    L22, X22 = _cholesky(A[half:, half:] - L21 @ L21.T)
    upper = jnp.zeros((half, n - half), A.dtype)
    return jnp.block([[L11, upper], [L21, L22]]), jnp.block([[X11, upper], [-X22 @ L21 @ X11, X22]])


def _triangular_inverse(L: Array) -> Array:
    """L⁻¹ of a lower triangular matrix up to ``_LEAF``: with X the inverse of its diagonal blocks, X − X M X is that of
    blocks twice as large, where M holds what these add below the diagonal."""
    n = L.shape[0]
    X, size, block = jnp.diag(1 / jnp.diag(L)), 1, np.arange(n)
    while size < n:
        added = (block[:, None] // 2 == block // 2) & (block[:, None] > block)
        X = X - X @ jnp.where(added, L, 0.0) @ X
        size, block = 2 * size, block // 2
    return X


def block_cholesky(cells: Int[Array, "element a"], n_nodes: int) -> BlockCholesky:
    """The ordering of a mesh's nodes for ``BlockCholesky``. Host-side: build it outside of ``jit`` (``TypeError``)."""
    if isinstance(cells, Tracer):
        raise TypeError("the node order needs concrete cells: build the component (or its inverse) outside of jit")
    own = np.asarray(cells)
    rows, columns = np.repeat(own, own.shape[1], axis=1).ravel(), np.tile(own, (1, own.shape[1])).ravel()
    graph = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(n_nodes, n_nodes)).tocsr()
    rcm = np.empty(n_nodes, int)
    rcm[reverse_cuthill_mckee(graph, symmetric_mode=True)] = np.arange(n_nodes)
    # Structured meshes are numbered layer by layer already; their blocks are layers, narrower than the band.
    choices = [(_block_width(order[own]), order) for order in (np.arange(n_nodes), rcm)]
    width, position = min(choices, key=lambda choice: choice[0])
    return BlockCholesky(jnp.asarray(position), width)


def _block_width(rank: np.ndarray) -> int:
    """The narrowest blocks of consecutive nodes such that every element (rows of ``rank``) lies in two neighbours."""
    low, high = rank.min(axis=1), rank.max(axis=1)
    band = int(np.max(high - low))
    return next(w for w in range(max(band // 2, 1), band + 1) if np.max(high // w - low // w) <= 1)
