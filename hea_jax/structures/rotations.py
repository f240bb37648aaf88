"""Rotations of crystals: uniform random ones, quaternions, Bunge Euler angles.

A rotation matrix here is active, from crystal to sample axes: v_sample = R v_crystal. Quaternions are (w, x, y, z),
unit length. Bunge angles (φ₁, Φ, φ₂), intrinsic z x z, are those of the same R (its transpose is the passive
orientation matrix g of texture analysis).

Sources: Shoemake 1992 (uniform random rotations); Bunge 1982 (Euler angles).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def matrix_of_quaternion(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of a quaternion (w, x, y, z), normalised first."""
    q = quaternion / jnp.linalg.norm(quaternion, axis=-1, keepdims=True)
    w, x, y, z = (q[..., i] for i in range(4))
    rows = [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_of_matrix(rotation: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion (w ≥ 0, x, y, z) of a rotation matrix, from the largest component (Shepperd 1978)."""
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row k is 4 q_k q: any of the four is proportional to the quaternion; the longest one is well conditioned.
    rows = jnp.stack([jnp.stack([1 + xx + yy + zz, wx, wy, wz], -1), jnp.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
                      jnp.stack([wy, xy, 1 - xx + yy - zz, yz], -1), jnp.stack([wz, xz, yz, 1 - xx - yy + zz], -1)], -2)
    best = jnp.argmax(jnp.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    q = jnp.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    q = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    return jnp.where(q[..., :1] < 0, -q, q)


def matrix_of_bunge(angles: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Active rotation matrix of Bunge angles (φ₁, Φ, φ₂) in radian: R = Rz(φ₁) Rx(Φ) Rz(φ₂)."""
    c1, c, c2 = (jnp.cos(angles[..., i]) for i in range(3))
    s1, s, s2 = (jnp.sin(angles[..., i]) for i in range(3))
    rows = [[c1 * c2 - s1 * c * s2, -c1 * s2 - s1 * c * c2, s1 * s],
            [s1 * c2 + c1 * c * s2, -s1 * s2 + c1 * c * c2, -c1 * s],
            [s * s2, s * c2, c]]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def bunge_of_matrix(rotation: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 3"]:
    """Bunge angles (φ₁, Φ, φ₂) in radian of an active rotation matrix; φ₂ = 0 where Φ is 0 or π.

    φ₁, φ₂ in (−π, π], Φ in [0, π].
    """
    m = rotation
    sine = jnp.hypot(m[..., 0, 2], m[..., 1, 2])
    degenerate = sine < 1e-12
    first = jnp.where(degenerate, jnp.arctan2(m[..., 1, 0], m[..., 0, 0]), jnp.arctan2(m[..., 0, 2], -m[..., 1, 2]))
    second = jnp.where(degenerate, 0.0, jnp.arctan2(m[..., 2, 0], m[..., 2, 1]))
    return jnp.stack([first, jnp.arctan2(sine, m[..., 2, 2]), second], axis=-1)


def random_rotations(key: Array, number: int) -> Float[Array, "number 3 3"]:
    """Rotations drawn uniformly from SO(3) (Haar measure), by random unit quaternions."""
    u = jax.random.uniform(key, (3, number))
    a, b = jnp.sqrt(1 - u[0]), jnp.sqrt(u[0])
    q = jnp.stack([a * jnp.sin(2 * jnp.pi * u[1]), a * jnp.cos(2 * jnp.pi * u[1]), b * jnp.sin(2 * jnp.pi * u[2]),
                   b * jnp.cos(2 * jnp.pi * u[2])], axis=-1)
    return matrix_of_quaternion(q)
