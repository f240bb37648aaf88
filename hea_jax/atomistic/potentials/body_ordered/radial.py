"""Radial functions of the body-ordered potential: smooth at the cut-off, switched off inside, orthonormal polynomials.

With u = 1 − r/r_c the functions are R_n(r) = s(r) u⁴ (1 − u) p_n(u), polynomials p_n of degree n that make the
functions without s orthonormal on [``inner``, r_c] with weight r² (so n counts nodes). Three derivatives vanish at the
cut-off. s rises from 0 at ``inner`` to 1 at ``inner`` + ``WIDTH_A`` (C²): a polynomial means nothing where there were
no data, and with forces from it atoms fall into each other. A pair closer than ``inner`` is left to a repulsive core.
The factor 1 − u = r/r_c makes them combinations of the ``ChebLinear`` functions that other ACE codes read; s is their
inner cut-off.

Sources: the form is ours; Bachmayr et al. 2022 (orthogonal polynomials under an envelope); Lysogorskiy et al. 2021
(PACE, the functions and the inner cut-off of its files).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

POWER = 4
WIDTH_A = 0.5
"""Distance (Å) from ``inner`` over which the functions are switched on."""


def inner_switch(r: Float[Array, "*n"], inner: float) -> Float[Array, "*n"]:
    """s (dimensionless): 0 up to ``inner``, 1 from ``inner`` + ``WIDTH_A`` on, two continuous derivatives; r in Å."""
    t = jnp.clip((r - inner) * (1.0 / WIDTH_A), 0.0, 1.0)
    return t * t * t * (10.0 + t * (6.0 * t - 15.0))


def inner_switch_slope(r: Float[Array, "*n"], inner: float) -> Float[Array, "*n"]:
    """Derivative of ``inner_switch`` (1/Å); r in Å."""
    t = jnp.clip((r - inner) * (1.0 / WIDTH_A), 0.0, 1.0)
    return (30.0 / WIDTH_A) * (t * (1.0 - t)) ** 2


@functools.cache
def coefficients(count: int, cutoff: float, inner: float) -> np.ndarray:
    """(count, count): row n holds p_n over Chebyshev polynomials T_k(2u/u_max − 1), u_max at ``inner`` (Å)."""
    u_max = 1.0 - inner / cutoff
    nodes, weights = np.polynomial.legendre.leggauss(count + 10)
    t = nodes
    u = 0.5 * u_max * (t + 1.0)
    r = cutoff * (1.0 - u)
    measure = weights * 0.5 * u_max * cutoff * r**2 * (u**POWER * (1.0 - u)) ** 2
    V = np.polynomial.chebyshev.chebvander(t, count - 1)
    # QR of the weighted Vandermonde matrix is Gram–Schmidt in order of degree.
    R = np.linalg.qr(np.sqrt(measure)[:, None] * V, mode="r")
    sign = np.sign(np.diag(R))
    return np.linalg.inv(sign[:, None] * R).T


def radial_functions(count: int, cutoff: float, inner: float, r: Float[Array, "*n"]) -> list[Float[Array, "*n"]]:
    """R_0 … R_{count−1} (Å^-3/2) at distances r (Å); zero up to ``inner`` and from the cut-off on."""
    u = jnp.maximum(1.0 - r / cutoff, 0.0)
    t = u * (2.0 / (1.0 - inner / cutoff)) - 1.0
    u2 = u * u
    chebyshev = [jnp.ones_like(t), t]
    for _ in range(count - 2):
        chebyshev.append(2.0 * t * chebyshev[-1] - chebyshev[-2])
    table = coefficients(count, cutoff, inner)
    envelope = inner_switch(r, inner) * u2 * u2 * (1.0 - u)
    return [envelope * sum(float(c) * T for c, T in zip(row[: n + 1], chebyshev, strict=False))
            for n, row in enumerate(table)]
