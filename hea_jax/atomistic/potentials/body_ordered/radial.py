"""Radial functions of the body-ordered potential: smooth at the cut-off, saturating inside, orthonormal between.

With u = 1 − r/r_c the functions are R_n(r) = u⁴ (1 − u) p_n(u), polynomials p_n of degree n, made orthonormal on
[``inner``, r_c] with weight r² (so n counts nodes). Three derivatives vanish at the cut-off. Inside ``inner`` the
distance saturates (C⁴), since a polynomial means nothing where there were no data; a repulsive core belongs there.
The factor 1 − u = r/r_c makes them combinations of the ``ChebLinear`` functions that other ACE codes read.

Sources: the form is ours; Bachmayr et al. 2022 (orthogonal polynomials under an envelope); Lysogorskiy et al. 2021
(PACE, the functions of its files).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

POWER = 4
WIDTH_A = 0.25
"""Half the width (Å) over which the distance saturates."""


def saturated(r: Float[Array, "*n"], inner: float) -> Float[Array, "*n"]:
    """r (Å) beyond ``inner``, tending to ``inner`` − ``WIDTH_A`` inside, four continuous derivatives."""
    s = jnp.clip((r - (inner - 2 * WIDTH_A)) / (2 * WIDTH_A), 0.0, 1.0)
    ramp = s**5 * (7.0 + s * (-14.0 + s * (10.0 - 2.5 * s)))
    return jnp.where(r < inner, inner - WIDTH_A + 2 * WIDTH_A * ramp, r)


def saturated_slope(r: Float[Array, "*n"], inner: float) -> Float[Array, "*n"]:
    """Derivative of ``saturated`` (dimensionless); r in Å."""
    s = jnp.clip((r - (inner - 2 * WIDTH_A)) / (2 * WIDTH_A), 0.0, 1.0)
    return jnp.where(r < inner, s**4 * (35.0 + s * (-84.0 + s * (70.0 - 20.0 * s))), 1.0)


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
    """R_0 … R_{count−1} (Å^-3/2) at distances r (Å); zero from the cut-off on."""
    u = jnp.maximum(1.0 - saturated(r, inner) / cutoff, 0.0)
    t = u * (2.0 / (1.0 - inner / cutoff)) - 1.0
    u2 = u * u
    chebyshev = [jnp.ones_like(t), t]
    for _ in range(count - 2):
        chebyshev.append(2.0 * t * chebyshev[-1] - chebyshev[-2])
    table = coefficients(count, cutoff, inner)
    envelope = u2 * u2 * (1.0 - u)
    return [envelope * sum(float(c) * T for c, T in zip(row[: n + 1], chebyshev, strict=False))
            for n, row in enumerate(table)]
