"""Tensor conventions of the package, stated once, and the conversions between them.

- Stress is positive in tension. Cells are row-vector (``cell[i]`` is a lattice vector): under a deformation
  gradient F a position r and a cell A become r Fᵀ and A Fᵀ.
- Mandel notation inside linear algebra: (xx, yy, zz, √2 yz, √2 xz, √2 xy), for stress and strain alike, so that
  inner products, rotations and inverses of fourth-order tensors are those of 6-vectors and 6×6 matrices.
- Voigt notation (stress (xx, yy, zz, yz, xz, xy), engineering shear strain) only in files and tables; the 6×6
  Voigt stiffness has C44 where Mandel has 2 C44.

Source: Mehrabadi & Cowin 1990 (Mandel/Kelvin notation); Nye 1957 (Voigt).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.types import Stiffness66

ROWS = np.array([0, 1, 2, 1, 0, 0])
COLUMNS = np.array([0, 1, 2, 2, 2, 1])
"""Tensor indices (ROWS[m], COLUMNS[m]) of Mandel component m."""

WEIGHTS = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
"""Factor of each Mandel component against the tensor component."""

_BASIS = np.zeros((6, 3, 3))
for _m in range(6):
    _BASIS[_m, ROWS[_m], COLUMNS[_m]] += 0.5 * WEIGHTS[_m]
    _BASIS[_m, COLUMNS[_m], ROWS[_m]] += 0.5 * WEIGHTS[_m]
BASIS = _BASIS
"""Orthonormal basis of symmetric tensors, (6, 3, 3): ε = Σ ε_m BASIS[m]."""

_DELTA = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
VOLUMETRIC = np.outer(_DELTA, _DELTA) / 3
DEVIATORIC = np.eye(6) - VOLUMETRIC
"""Projections of symmetric tensors onto their spherical and deviatoric parts (Mandel 6×6)."""


def to_mandel(tensor: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 6"]:
    """Mandel 6-vector of the symmetric part of a tensor (same unit)."""
    return jnp.einsum("mij,...ij->...m", BASIS, tensor)


def from_mandel(vector: Float[Array, "*batch 6"]) -> Float[Array, "*batch 3 3"]:
    """Symmetric tensor of a Mandel 6-vector (same unit)."""
    return jnp.einsum("...m,mij->...ij", vector, BASIS)


def voigt_from_mandel(stiffness: Float[Array, "*batch 6 6"]) -> Float[Array, "*batch 6 6"]:
    """Voigt stiffness matrix (C44 on the diagonal) of a Mandel one, same unit; for tables and files."""
    return stiffness / np.outer(WEIGHTS, WEIGHTS)


def mandel_from_voigt(stiffness: Float[Array, "*batch 6 6"]) -> Float[Array, "*batch 6 6"]:
    """Mandel stiffness matrix of a Voigt one, same unit."""
    return stiffness * np.outer(WEIGHTS, WEIGHTS)


def cubic_stiffness(c11, c12, c44) -> Stiffness66:
    """Mandel stiffness of a cubic crystal in its axes, from C11, C12, C44 (any one unit)."""
    c11, c12, c44 = jnp.asarray(c11), jnp.asarray(c12), jnp.asarray(c44)
    block = c12 * jnp.ones((3, 3)) + (c11 - c12) * jnp.eye(3)
    return jnp.zeros((6, 6), block.dtype).at[:3, :3].set(block).at[3:, 3:].set(2 * c44 * jnp.eye(3))


def isotropic_stiffness(bulk, shear) -> Stiffness66:
    """Mandel stiffness 3K P_vol + 2G P_dev of an isotropic solid (any one unit)."""
    return 3 * jnp.asarray(bulk) * VOLUMETRIC + 2 * jnp.asarray(shear) * DEVIATORIC


def bulk_shear_from_young(young, poisson):
    """(K, G) from Young's modulus and Poisson's ratio, same unit as ``young``."""
    return young / (3 * (1 - 2 * poisson)), young / (2 * (1 + poisson))


def mandel_rotation(rotation: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 6 6"]:
    """Orthogonal 6×6 matrix Q with (R ε Rᵀ)_Mandel = Q ε_Mandel."""
    return jnp.einsum("mij,...ik,...jl,nkl->...mn", BASIS, rotation, rotation, BASIS)


def rotate_stiffness(stiffness: Stiffness66, rotation: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 6 6"]:
    """Mandel stiffness seen in the sample frame (unit of ``stiffness``), for an active rotation from crystal to sample
    axes."""
    q = mandel_rotation(rotation)
    return jnp.einsum("...mi,ij,...nj->...mn", q, stiffness, q)


def cubic_projection(stiffness: Float[Array, "*batch 6 6"]) -> Float[Array, "*batch 3"]:
    """(C11, C12, C44) of the closest cubic tensor in the given axes (Frobenius norm), same unit."""
    upper = stiffness[..., :3, :3]
    c11 = jnp.trace(upper, axis1=-2, axis2=-1) / 3
    c12 = (jnp.sum(upper, axis=(-2, -1)) - 3 * c11) / 6
    c44 = jnp.trace(stiffness[..., 3:, 3:], axis1=-2, axis2=-1) / 6
    return jnp.stack([c11, c12, c44], axis=-1)


def isotropic_projection(stiffness: Float[Array, "*batch 6 6"]) -> Float[Array, "*batch 2"]:
    """(K, G) of the closest isotropic tensor (Frobenius norm), same unit."""
    bulk = jnp.einsum("...mn,mn->...", stiffness, VOLUMETRIC) / 3
    shear = jnp.einsum("...mn,mn->...", stiffness, DEVIATORIC) / 10
    return jnp.stack([bulk, shear], axis=-1)
