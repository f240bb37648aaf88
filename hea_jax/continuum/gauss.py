"""Displacement gradients at the Gauss points of grid elements, nodal forces of stresses there, laws as fields.

For laws that are not linear: the modal coefficients of ``grid`` are evaluated at the points (±1/√12)³ of an element
with edges 1 (full integration) or at its centre (reduced integration); the forces are the transpose.

Sources: Hughes 1987, ch. 3 (Gauss quadrature of the trilinear hexahedron); Flanagan & Belytschko 1981 (modes).
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.continuum.boundary import AbstractBoundary, Grid
from hea_jax.continuum.boundary import _symmetric_inverse as symmetric_inverse
from hea_jax.continuum.grid import AbstractQuadrature, Subset, coefficients_of, forces_of, join, mode_symbols
from hea_jax.continuum.laws.fused import COLUMNS9, PACKED9, ROWS9, AbstractFusedLaw
from hea_jax.records.law import AbstractFiniteStrainLaw


def gauss_values(quadrature: AbstractQuadrature, axis: int) -> tuple[list[Subset], np.ndarray]:
    """The modes of ∂/∂x_axis and their polynomials at every Gauss point, (gauss, mode), dimensionless: eight points, or
    one for reduced integration."""
    modes = [mode for mode in quadrature.modes if axis not in mode]
    signs = itertools.product((-1, 1), repeat=3) if len(quadrature.modes) > 1 else [(0, 0, 0)]
    place = 1 / np.sqrt(12)
    return modes, np.array([[np.prod([place * s[d] for d in mode]) for mode in modes] for s in signs])


def gauss_gradients(quadrature: AbstractQuadrature, voxel, u: Float[Array, "3 *node"]) -> Float[Array, "9 gauss *grid"]:
    """∂u_i/∂x_d at every Gauss point, component 3i + d first; ``voxel`` (3,) edge lengths in the unit of ``u``."""
    coefficients = coefficients_of(u)
    columns = []
    for d in range(3):
        modes, values = gauss_values(quadrature, d)
        stacked = jnp.stack([coefficients[join(mode, d)] for mode in modes], axis=1) / voxel[d]
        columns.append(stacked if values.size == 1 else jnp.einsum("gm,im...->ig...", values, stacked))
    gradient = jnp.stack(columns, axis=1)
    return gradient.reshape(9, *gradient.shape[2:])


def gauss_forces(quadrature: AbstractQuadrature, boundary: AbstractBoundary, voxel,
                 stress: Float[Array, "9 gauss *grid"]) -> Float[Array, "3 *unknown"]:
    """Nodal forces per element volume of first Piola–Kirchhoff stresses at the Gauss points (GPa per length of
    ``voxel``): the transpose of ``gauss_gradients`` with ``boundary.nodal``."""
    duals: dict[Subset, Array] = {}
    for d in range(3):
        modes, values = gauss_values(quadrature, d)
        column = stress[d::3]
        shares = column if values.size == 1 else jnp.einsum("gm,ig...->im...", values, column) / len(values)
        for m, mode in enumerate(modes):
            key, term = join(mode, d), shares[:, m] / voxel[d]
            duals[key] = term + duals[key] if key in duals else term
    # One component at a time, as in ``grid.stencil``: XLA on CPU would fuse all passes and evaluate stresses again.
    return jax.lax.map(forces_of, {s: boundary.elements(duals[s]) for s in sorted(duals)})


def at_voxels(law: AbstractFiniteStrainLaw, phases) -> AbstractFiniteStrainLaw:
    """The law gathered into voxels: each leaf (phase, ...) becomes (..., *grid)."""
    ndim = phases.ndim
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[phases], range(ndim), range(-ndim, 0)), law)


def energy_field(law: AbstractFiniteStrainLaw, F: Float[Array, "9 gauss *point"]) -> Float[Array, "gauss *point"]:
    """ψ in GPa; the law's leaves carry ``*point`` as trailing axes (``at_voxels``)."""
    def energy(own, f):
        return own.helmholtz(f.reshape(3, 3), jnp.zeros(()), jnp.zeros((0,)))
    function = jax.vmap(energy, in_axes=(None, -1), out_axes=-1)
    for _ in range(F.ndim - 2):
        function = jax.vmap(function, in_axes=(-1, -1), out_axes=-1)
    return function(law, F)


def stress_field(law: AbstractFiniteStrainLaw, F: Float[Array, "9 gauss *point"]) -> Float[Array, "9 gauss *point"]:
    """P = ∂ψ/∂F in GPa at every point."""
    return jax.grad(lambda f: jnp.sum(energy_field(law, f)))(F)


def tangent_field(law: AbstractFiniteStrainLaw, F: Float[Array, "9 gauss *point"]) -> Float[Array, "45 gauss *point"]:
    """∂²ψ/∂F² in GPa at every point, packed (``laws.fused``): in closed form if the law has one, else by autodiff."""
    if isinstance(law, AbstractFusedLaw):
        return law.packed_tangent(F)
    push = jax.linearize(lambda f: stress_field(law, f), F)[1]
    units = jnp.eye(9, dtype=F.dtype).reshape(9, 9, *[1] * (F.ndim - 1))
    return jax.vmap(push)(jnp.broadcast_to(units, (9, *F.shape)))[COLUMNS9, ROWS9]


def apply_tangent(tangent: Float[Array, "45 *point"], dF: Float[Array, "9 *point"]) -> Float[Array, "9 *point"]:
    """𝔸 : dF at every point, in GPa."""
    return jnp.stack([sum((tangent[PACKED9[a, b]] * dF[b] for b in range(1, 9)), tangent[PACKED9[a, 0]] * dF[0])
                      for a in range(9)])


def acoustic_inverse(grid: Grid, voxel, quadrature: AbstractQuadrature, tangent: Float[Array, "9 9"]) -> Array:
    """Inverse of the stencil of a homogeneous tangent ∂P/∂F (GPa), per frequency: (6, n₁, n₂, n₃/2+1), order
    xx yy zz yz xz xy (length of ``voxel`` squared per GPa), as ``Periodic.apply_inverse`` takes it.

    A tangent that is not elliptic at every frequency is replaced by ‖tangent‖ times the Laplacian, so that the
    preconditioner is always positive definite.
    """
    frequencies = [*(np.fft.fftfreq(n) for n in grid[:2]), np.fft.rfftfreq(grid[2])]
    angles = [jnp.expand_dims(jnp.asarray(2 * np.pi * f), [a for a in range(3) if a != axis])
              for axis, f in enumerate(frequencies)]
    shape = tuple(f.size for f in frequencies)
    modes = mode_symbols(quadrature, angles, voxel)
    products = {(j, l): jnp.zeros(shape) for j in range(3) for l in range(j, 3)}
    for w, g in modes:
        for j, l in products:
            first, second = g[j], g[l]
            if first is not None and second is not None:
                products[j, l] = products[j, l] + w * first * second
    A = 0.5 * (tangent + tangent.T).reshape(3, 3, 3, 3)
    acoustic = [sum((A[i, j, k, l] + (A[i, l, k, j] if j != l else 0.0)) * p for (j, l), p in products.items())
                for i, k in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    xx, yy, zz, yz, xz, xy = acoustic
    norm2 = products[0, 0] + products[1, 1] + products[2, 2]
    minor = xx * yy - xy**2
    determinant = zz * minor - xx * yz**2 - yy * xz**2 + 2 * xy * xz * yz
    elliptic = (xx > 0) & (minor > 0) & (determinant > 0) | (norm2 <= 1e-12 * jnp.max(norm2))
    laplacian = jnp.linalg.norm(tangent) * norm2
    safe = [jnp.where(jnp.all(elliptic), a, laplacian if m < 3 else 0.0) for m, a in enumerate(acoustic)]
    return symmetric_inverse(safe)
