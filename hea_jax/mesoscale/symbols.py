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
        matrices = jnp.moveaxis(self.values, (0, 1), (-2, -1))
        inverse = jnp.linalg.inv(jnp.eye(matrices.shape[-1], dtype=matrices.dtype) - step * matrices)
        return Coupled(jnp.moveaxis(inverse, (-2, -1), (0, 1)))


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
