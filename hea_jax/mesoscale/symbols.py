"""Linear operators that are diagonal in Fourier space: the stiff part of an equation, as steppers need it.

Sources: Kassam & Trefethen 2005 (φ functions by contour integrals).
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class AbstractSymbol(eqx.Module):
    """Λ(k), real: what a linear operator does to each Fourier mode (1/s)."""

    @abc.abstractmethod
    def apply(self, spectrum: Array) -> Array:
        """Λ times a spectrum."""

    @abc.abstractmethod
    def resolvent(self, step: Float[Array, ""]) -> "AbstractSymbol":
        """(1 − step Λ)⁻¹; ``step`` in s."""


class Diagonal(AbstractSymbol):
    """One number per mode: ``values`` (*k), or (n, *k) for n fields."""

    values: Float[Array, "*k"]

    def apply(self, spectrum):
        return self.values * spectrum

    def resolvent(self, step):
        return Diagonal(1 / (1 - step * self.values))


class Coupled(AbstractSymbol):
    """A matrix (n, n) per mode for n coupled fields: ``values`` (n, n, *k)."""

    values: Float[Array, "n n *k"]

    def apply(self, spectrum):
        return jnp.einsum("ij...,j...->i...", self.values, spectrum)

    def resolvent(self, step):
        n, modes = self.values.shape[0], self.values.ndim - 2
        identity = jnp.eye(n, dtype=self.values.dtype).reshape(n, n, *[1] * modes)
        return Coupled(_inverse(identity - step * self.values))


def _inverse(matrices: Float[Array, "n n *k"]) -> Float[Array, "n n *k"]:
    """Inverses of small matrices, component axes first, by Gauss–Jordan elimination with row pivots.

    Not by LAPACK: two batched triangular solves of one program block each other for ever on a CPU with two threads
    (jax 0.10: both wait for the thread pool from within it).
    """
    n, modes = matrices.shape[0], matrices.ndim - 2
    identity = jnp.eye(n, dtype=matrices.dtype).reshape(n, n, *[1] * modes)
    rows = jnp.concatenate([matrices, jnp.broadcast_to(identity, matrices.shape)], axis=1)
    number = jnp.arange(n).reshape(n, *[1] * (modes + 1))
    for column in range(n):
        pivot = column + jnp.argmax(jnp.abs(rows[column:, column]), axis=0)
        chosen = jnp.take_along_axis(rows, pivot[None, None], axis=0)[0]
        rows = jnp.where(number == pivot, rows[column], rows)
        chosen = chosen / chosen[column]
        rows = jnp.where(number == column, chosen, rows - rows[:, column][:, None] * chosen)
    return rows[:, n:]


def exponential_weights(z: Float[Array, "*k"], *, points: int = 16) -> tuple[Array, Array, Array, Array]:
    """Coefficients of ETDRK4 for z = Λ dt (dimensionless), per dt: φ₁(z/2)/2 and the three weights of the last stage.

    Means over ``points`` points of the upper half of a unit circle around z: the closed forms cancel near z = 0.
    """
    r = z[..., None] + np.exp(1j * np.pi * (np.arange(points) + 0.5) / points)
    e, half = jnp.exp(r), jnp.exp(r / 2)
    terms = ((half - 1) / r, (-4 - r + e * (4 - 3 * r + r**2)) / r**3, (2 + r + e * (r - 2)) / r**3,
             (-4 - 3 * r - r**2 + e * (4 - r)) / r**3)
    q, f1, f2, f3 = (jnp.mean(t.real, axis=-1).astype(z.dtype) for t in terms)
    return q, f1, f2, f3
