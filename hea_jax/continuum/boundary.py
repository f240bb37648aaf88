"""Boundary conditions of an RVE as nested subspaces of one finite-element space.

Fluctuations u′ on n₁×n₂×n₃ voxels: ``Periodic`` u′ periodic; ``KinematicUniform`` u′ = 0 on the boundary;
``StaticUniform`` ⟨∇u′⟩ = 0 only (minimal kinematic constraint, uniform traction). With the same elements the
spaces are nested, so the apparent stiffnesses obey SUBC ≤ PBC ≤ KUBC exactly, as quadratic forms.

Each condition embeds its unknowns into the nodes that its stencil needs, and carries a preconditioner that is
diagonal in Fourier (PBC), sine (KUBC) or cosine (SUBC) modes. Symbols are arrays handed in and out, never closed
over. They take no derivative.

Sources: Hill 1963; Huet 1990; Mesarovic & Padbidri 2005 (minimal kinematic constraints); Ladecký et al. 2023
(discrete Green preconditioner); Risthaus & Schneider 2024 (sine/cosine modes for Dirichlet and Neumann sides).
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.continuum.grid import AbstractQuadrature, Gradient, mode_symbols

Grid = tuple[int, int, int]


class AbstractBoundary(eqx.Module):
    """What fluctuations are admissible, and how to precondition there."""

    @abc.abstractmethod
    def unknowns(self, grid: Grid) -> Grid:
        """Number of unknown nodes per axis for a grid of voxels; raises ``ValueError`` if there are none."""

    def check(self, quadrature: AbstractQuadrature) -> None:
        """Raise ``ValueError`` if the element leaves null modes that ``project`` does not remove."""
        return

    @abc.abstractmethod
    def nodal(self, y: Float[Array, "3 *unknown"]) -> Float[Array, "3 *node"]:
        """Displacements of all (n+1)… nodes."""

    @abc.abstractmethod
    def with_halo(self, y: Float[Array, "3 *unknown"]) -> Float[Array, "3 *halo"]:
        """Displacements with one more layer of nodes on every side of the unknowns."""

    @abc.abstractmethod
    def elements(self, field: Float[Array, "c *grid"]) -> Float[Array, "c *halo"]:
        """A voxel field on all elements that touch an unknown (zero outside the body)."""

    @abc.abstractmethod
    def project(self, y: Float[Array, "3 *unknown"], quadrature: AbstractQuadrature) -> Float[Array, "3 *unknown"]:
        """Orthogonal projection onto admissible fluctuations without null modes."""

    @abc.abstractmethod
    def inverse_symbol(self, grid: Grid, voxel, quadrature: AbstractQuadrature, bulk, shear) -> Array:
        """Inverse of the homogeneous stencil of moduli (K, G), per mode: real numbers, an array."""

    @abc.abstractmethod
    def apply_inverse(self, symbol: Array, r: Float[Array, "3 *unknown"]) -> Float[Array, "3 *unknown"]:
        """The preconditioner: symmetric, positive definite on admissible residuals."""


class Periodic(AbstractBoundary):
    """u′ periodic, mean zero (PBC). A single layer of voxels along an axis is plane strain along it."""

    def unknowns(self, grid):
        return grid

    def nodal(self, y):
        return jnp.pad(y, ((0, 0), *((0, 1),) * 3), mode="wrap")

    def with_halo(self, y):
        return jnp.pad(y, ((0, 0), *((1, 1),) * 3), mode="wrap")

    def elements(self, field):
        return jnp.pad(field, ((0, 0), *((1, 0),) * 3), mode="wrap")

    def project(self, y, quadrature):
        y = y - jnp.mean(y, axis=(1, 2, 3), keepdims=True)
        if not quadrature.hourglasses:
            return y
        return _without_alternating(y, [n % 2 == 0 for n in y.shape[1:]])

    def inverse_symbol(self, grid, voxel, quadrature, bulk, shear):
        """(6, n₁, n₂, n₃/2+1): xx yy zz yz xz xy of the inverse acoustic tensor per frequency (length²/GPa)."""
        frequencies = [*(np.fft.fftfreq(n) for n in grid[:2]), np.fft.rfftfreq(grid[2])]
        angles = _open_mesh([2 * np.pi * f for f in frequencies])
        acoustic = [jnp.zeros((), voxel.dtype)] * 6
        lame = bulk - 2 * shear / 3
        for w, g in mode_symbols(quadrature, angles, voxel):
            g = [0.0 if c is None else c for c in g]
            norm2 = g[0] ** 2 + g[1] ** 2 + g[2] ** 2
            for m, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
                term = (lame + shear) * g[i] * g[j] + (shear * norm2 if i == j else 0.0)
                acoustic[m] = acoustic[m] + w * term
        acoustic = [jnp.broadcast_to(a, jnp.broadcast_shapes(*(q.shape for q in angles))) for a in acoustic]
        return _symmetric_inverse(acoustic)

    def apply_inverse(self, symbol, r):
        f = jnp.fft.rfftn(r, axes=(1, 2, 3))
        xx, yy, zz, yz, xz, xy = (symbol[m] for m in range(6))
        z = jnp.stack([xx * f[0] + xy * f[1] + xz * f[2], xy * f[0] + yy * f[1] + yz * f[2],
                       xz * f[0] + yz * f[1] + zz * f[2]])
        return jnp.fft.irfftn(z, s=r.shape[1:], axes=(1, 2, 3))


class KinematicUniform(AbstractBoundary):
    """u′ = 0 on the boundary (KUBC); the unknowns are the interior nodes."""

    def unknowns(self, grid):
        if min(grid) < 2:
            raise ValueError(f"KinematicUniform needs at least two voxels along every axis, got a grid {grid}")
        return grid[0] - 1, grid[1] - 1, grid[2] - 1

    def nodal(self, y):
        return jnp.pad(y, ((0, 0), *((1, 1),) * 3))

    def with_halo(self, y):
        return self.nodal(y)

    def elements(self, field):
        return field

    def project(self, y, quadrature):
        return y

    def inverse_symbol(self, grid, voxel, quadrature, bulk, shear):
        """(3, n₁−1, …): inverse of each component's own stencil in sine modes (length²/GPa)."""
        angles = _open_mesh([np.pi * np.arange(1, n) / n for n in grid])
        return _inverse(_component_symbols(mode_symbols(quadrature, angles, voxel), bulk, shear))

    def apply_inverse(self, symbol, r):
        scale = float(np.prod([2 / (n + 1) for n in r.shape[1:]]))
        for axis in (1, 2, 3):
            r = _sine(r, axis)
        z = scale * symbol * r
        for axis in (1, 2, 3):
            z = _sine(z, axis)
        return z


class StaticUniform(AbstractBoundary):
    """⟨∇u′⟩ = 0 and nothing else (SUBC): the traction on the boundary is that of a uniform stress.

    Needs full integration: with free sides a reduced element has, beyond the alternating displacements, alternating
    rotations without energy.
    """

    def check(self, quadrature):
        if quadrature.hourglasses:
            raise ValueError("StaticUniform needs a fully integrated element (HEX8): with free sides, reduced "
                             "integration leaves alternating rotations without energy")

    def unknowns(self, grid):
        return grid[0] + 1, grid[1] + 1, grid[2] + 1

    def nodal(self, y):
        return y

    def with_halo(self, y):
        return jnp.pad(y, ((0, 0), *((1, 1),) * 3))

    def elements(self, field):
        return jnp.pad(field, ((0, 0), *((1, 1),) * 3))

    def project(self, y, quadrature):
        # The three rows of ⟨∇u′⟩ are odd along one axis each, so they are orthogonal to one another and to the mean.
        rows = _mean_gradient_rows(y.shape[1:], y.dtype)
        # Twice: boundary forces are mostly constraint forces, and what is left after one pass is no purer than
        # round-off of them. CG on a homogeneous body would never converge.
        for row in (*rows, *rows):
            moments = jnp.sum(row * y, axis=(1, 2, 3), keepdims=True)
            y = y - row * (moments / jnp.sum(row * row))
        return y - jnp.mean(y, axis=(1, 2, 3), keepdims=True)

    def inverse_symbol(self, grid, voxel, quadrature, bulk, shear):
        """(3, n₁+1, …): inverse of each component's own stencil in cosine modes, norms included (length²/GPa)."""
        angles = _open_mesh([np.pi * np.arange(n + 1) / n for n in grid])
        symbols = _component_symbols(mode_symbols(quadrature, angles, voxel), bulk, shear)
        norms = [np.where((np.arange(n + 1) == 0) | (np.arange(n + 1) == n), float(n), n / 2) for n in grid]
        a, b, c = _open_mesh(norms)
        return _inverse(symbols) / (a * b * c)

    def apply_inverse(self, symbol, r):
        for axis in (1, 2, 3):
            r = _cosine(r, axis)
        z = symbol * r
        # z = Gr − GCᵀ(CGCᵀ)⁻¹CGr: in cosine modes a row of C lives on the odd modes of one line.
        for axis in range(3):
            line = tuple(slice(None) if d == axis else 0 for d in range(3))
            odd = jnp.asarray(np.arange(z.shape[axis + 1]) % 2, z.dtype)
            G, z_line = symbol[:, *line], z[:, *line]
            share = jnp.sum(odd * z_line, axis=1, keepdims=True) / jnp.sum(odd * G, axis=1, keepdims=True)
            z = z.at[:, *line].set(z_line - odd * G * share)
        for axis in (1, 2, 3):
            z = _cosine(z, axis)
        return z


def _open_mesh(values: Sequence[np.ndarray]) -> tuple[Array, Array, Array]:
    """Arrays of shapes (n₁,1,1), (1,n₂,1), (1,1,n₃)."""
    a, b, c = (jnp.asarray(v) for v in values)
    return a[:, None, None], b[None, :, None], c[None, None, :]


def _component_symbols(modes: list[tuple[float, Gradient]], bulk, shear) -> Array:
    """(3, *mode): symbol of the diagonal blocks of the isotropic stencil, one per displacement component."""
    rows = []
    for component in range(3):
        total = 0.0
        for w, g in modes:
            for axis, column in enumerate(g):
                if column is not None:
                    modulus = bulk + 4 * shear / 3 if axis == component else shear
                    total = total + w * modulus * column**2
        rows.append(total)
    return jnp.stack(rows)


def _inverse(symbol: Array) -> Array:
    """1/symbol, and 0 for null modes."""
    null = symbol <= 1e-12 * jnp.max(symbol)
    return jnp.where(null, 0.0, 1 / jnp.where(null, 1.0, symbol))


def _symmetric_inverse(a: Sequence[Array]) -> Array:
    """Inverse of symmetric 3×3 matrices by cofactors, order xx yy zz yz xz xy; 0 where the matrix is 0."""
    xx, yy, zz, yz, xz, xy = a
    trace = xx + yy + zz
    null = trace <= 1e-12 * jnp.max(trace)
    cofactors = [yy * zz - yz**2, xx * zz - xz**2, xx * yy - xy**2, xz * xy - xx * yz, xy * yz - yy * xz,
                 xz * yz - zz * xy]
    determinant = xx * cofactors[0] + xy * cofactors[5] + xz * cofactors[4]
    return jnp.where(null, 0.0, jnp.stack(cofactors) / jnp.where(null, 1.0, determinant))


def _signs(n: int, dtype) -> Array:
    return jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0).astype(dtype)


def _without_alternating(y: Array, axes: Sequence[bool]) -> Array:
    """Remove displacements that alternate along two axes (of those marked) and vary freely along the third."""
    for free in range(3):
        first, second = (d for d in range(3) if d != free)
        if axes[first] and axes[second]:
            shape = [1, 1, 1, 1]
            shape[first + 1] = y.shape[first + 1]
            pattern = _signs(y.shape[first + 1], y.dtype).reshape(shape)
            shape = [1, 1, 1, 1]
            shape[second + 1] = y.shape[second + 1]
            pattern = pattern * _signs(y.shape[second + 1], y.dtype).reshape(shape)
            y = y - pattern * jnp.mean(pattern * y, axis=(first + 1, second + 1), keepdims=True)
    return y


def _mean_gradient_rows(nodes: Sequence[int], dtype) -> list[Array]:
    """The rows of u ↦ ⟨∂u/∂x_d⟩ on (n+1)… nodes, up to scale: ± on opposite faces, trapezoidal within."""
    rows = []
    for d in range(3):
        row = jnp.ones((1, 1, 1), dtype)
        for axis, n in enumerate(nodes):
            i = jnp.arange(n)
            ends = (i == n - 1).astype(dtype) - (i == 0) if axis == d else jnp.where((i == 0) | (i == n - 1), 0.5, 1.0)
            row = row * ends.astype(dtype).reshape([-1 if a == axis else 1 for a in range(3)])
        rows.append(row[None])
    return rows


def _sine(a: Array, axis: int) -> Array:
    """Σ_i sin(π k (i+1)/n) a_i, k = 1 … n−1, by the FFT of the odd extension."""
    a = jnp.moveaxis(a, axis, -1)
    zero = jnp.zeros_like(a[..., :1])
    odd = jnp.concatenate([zero, a, zero, -a[..., ::-1]], axis=-1)
    out = -0.5 * jnp.fft.rfft(odd, axis=-1).imag[..., 1:-1]
    return jnp.moveaxis(out, -1, axis)


def _cosine(a: Array, axis: int) -> Array:
    """Σ_i cos(π k i/n) a_i, i, k = 0 … n, by the FFT of the even extension."""
    a = jnp.moveaxis(a, axis, -1)
    ends = jnp.concatenate([2 * a[..., :1], a[..., 1:-1], 2 * a[..., -1:]], axis=-1)
    even = jnp.concatenate([ends, ends[..., -2:0:-1]], axis=-1)
    out = 0.5 * jnp.fft.rfft(even, axis=-1).real
    return jnp.moveaxis(out, -1, axis)


