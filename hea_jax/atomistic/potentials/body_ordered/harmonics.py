"""Real spherical harmonics on the unit sphere, and the invariant couplings of two and three of them.

Y_lm are orthonormal, m = −l … l, sin(|m|φ) for m < 0 and cos(mφ) for m ≥ 0, without the Condon–Shortley sign. The
number of a harmonic is l² + l + m. Three harmonics couple to an invariant by their Gaunt coefficients

    G = ∫ Y_l₁m₁ Y_l₂m₂ Y_l₃m₃ dΩ,

the only invariant there is for l₁ + l₂ + l₃ even (for an odd sum it changes sign under reflection).

Source: Drautz 2019, eqs. 17–24 (atomic cluster expansion); Homeier & Steinborn 1996 (real Gaunt coefficients).
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.cache
def legendre(l: int, m: int) -> tuple[float, ...]:
    """Coefficients of z⁰, z¹, … in N_lm (1 − z²)^(−m/2) P_lm(z), N_lm including √2 for m > 0."""
    poly = np.polynomial.legendre.leg2poly(np.eye(l + 1)[l])
    derived = np.polynomial.polynomial.polyder(poly, m) if m else poly
    norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m))
    # Plain numbers, which leave single precision alone.
    return tuple((np.asarray(derived) * norm * (math.sqrt(2.0) if m else 1.0)).tolist())


def real_harmonics(lmax: int, x: Float[Array, "*n"], y: Float[Array, "*n"], z: Float[Array, "*n"]
                   ) -> list[Float[Array, "*n"]]:
    """The (lmax + 1)² harmonics (dimensionless) of unit vectors (x, y, z), in the order l² + l + m."""
    cosine, sine = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(lmax):
        c, s = cosine[-1], sine[-1]
        cosine.append(x * c - y * s)
        sine.append(x * s + y * c)
    z2 = z * z
    out: list = [None] * (lmax + 1) ** 2
    for l in range(lmax + 1):
        for m in range(l + 1):
            # The polynomial is even or odd in z: Horner in z².
            coefficients = legendre(l, m)
            kept = coefficients[(l - m) % 2 :: 2]
            value = kept[-1]
            for c in kept[-2::-1]:
                value = value * z2 + c
            value = value * z if (l - m) % 2 else value
            out[l * l + l + m] = value * cosine[m]
            if m:
                out[l * l + l - m] = value * sine[m]
    return out


@functools.cache
def gaunt(l1: int, l2: int, l3: int) -> np.ndarray:
    """(2l₁+1, 2l₂+1, 2l₃+1): Gaunt coefficients of real harmonics, by exact quadrature (dimensionless)."""
    degree = l1 + l2 + l3
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    phi = np.arange(2 * degree + 2) * (2 * np.pi / (2 * degree + 2))
    z, phi = (a.ravel() for a in np.meshgrid(nodes, phi, indexing="ij"))
    w = np.repeat(weights, 2 * degree + 2) * (2 * np.pi / (2 * degree + 2))
    Y = numpy_harmonics(max(l1, l2, l3), z, phi)
    block = lambda l: Y[l * l : (l + 1) ** 2]
    out = np.einsum("aq,bq,cq,q->abc", block(l1), block(l2), block(l3), w, optimize=True)
    return np.where(np.abs(out) < 1e-13, 0.0, out)


def numpy_harmonics(lmax: int, z: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """((lmax + 1)², n) real harmonics (dimensionless) at cos θ = z and azimuth φ (rad), on the host."""
    s = np.sqrt(np.maximum(1.0 - z * z, 0.0))
    out = np.zeros(((lmax + 1) ** 2, len(z)))
    for l in range(lmax + 1):
        for m in range(l + 1):
            radial = np.polynomial.polynomial.polyval(z, np.asarray(legendre(l, m))) * s**m
            out[l * l + l + m] = radial * np.cos(m * phi)
            if m:
                out[l * l + l - m] = radial * np.sin(m * phi)
    return out


def coupled_triples(lmax: int) -> list[tuple[int, int, int]]:
    """All l₁ ≤ l₂ ≤ l₃ ≤ lmax that couple to an invariant: triangles of even sum."""
    return [(a, b, c) for a in range(lmax + 1) for b in range(a, lmax + 1) for c in range(b, lmax + 1)
            if c <= a + b and (a + b + c) % 2 == 0]
