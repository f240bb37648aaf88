"""Bounds and estimates of effective stiffness: Voigt, Reuss, Hashin–Shtrikman, self-consistent.

These bound the effective stiffness of the material. The apparent stiffnesses of one window under KUBC and SUBC
are something else (Huet 1990).

Sources: Hill 1952 (Voigt and Reuss as bounds); Hashin & Shtrikman 1962 (cubic polycrystals), 1963 (composites);
Walpole 1966 (n phases); Hershey 1954, Kröner 1958 (self-consistent cubic polycrystal).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hea_jax.core.tensors import isotropic_projection
from hea_jax.core.types import Scalar, Stiffness66


def phase_fractions(phases, number: int) -> Float[Array, "number"]:
    """Volume fraction of each of ``number`` phases (or grains) in a voxel field of indices."""
    return jnp.mean(phases.reshape(-1)[:, None] == jnp.arange(number)[None, :], axis=0)


def voigt(stiffness: Float[Array, "phase 6 6"], fractions: Float[Array, "phase"]) -> Stiffness66:
    """Upper bound Σ f C, Mandel (GPa); for grains, pass their rotated stiffnesses."""
    return jnp.einsum("p,pmn->mn", fractions, stiffness)


def reuss(stiffness: Float[Array, "phase 6 6"], fractions: Float[Array, "phase"]) -> Stiffness66:
    """Lower bound (Σ f C⁻¹)⁻¹, Mandel (GPa)."""
    return jnp.linalg.inv(jnp.einsum("p,pmn->mn", fractions, jnp.linalg.inv(stiffness)))


class IsotropicBounds(eqx.Module):
    """Lower and upper bounds of bulk and shear modulus, each () in GPa."""

    bulk_lower: Scalar
    bulk_upper: Scalar
    shear_lower: Scalar
    shear_upper: Scalar


def hashin_shtrikman(bulk: Float[Array, "phase"], shear: Float[Array, "phase"],
                     fractions: Float[Array, "phase"]) -> IsotropicBounds:
    """Bounds of a statistically isotropic composite of isotropic phases (GPa).

    The comparison media take the extreme bulk and the extreme shear modulus, so the bounds hold for badly ordered
    phases too (Walpole 1966), for any number of phases.
    """
    def bound(k, g):
        star = 4 * g / 3
        zeta = g * (9 * k + 8 * g) / (6 * (k + 2 * g))
        return 1 / jnp.sum(fractions / (bulk + star)) - star, 1 / jnp.sum(fractions / (shear + zeta)) - zeta
    low, high = bound(jnp.min(bulk), jnp.min(shear)), bound(jnp.max(bulk), jnp.max(shear))
    return IsotropicBounds(low[0], high[0], low[1], high[1])


class CubicPolycrystal(eqx.Module):
    """Isotropic polycrystal of a cubic crystal, GPa: exact ``bulk``, and the shear modulus by Reuss,
    Hashin–Shtrikman lower, self-consistent, Hashin–Shtrikman upper, Voigt; all ()."""

    bulk: Scalar
    reuss: Scalar
    hs_lower: Scalar
    self_consistent: Scalar
    hs_upper: Scalar
    voigt: Scalar


def cubic_polycrystal(c11, c12, c44) -> CubicPolycrystal:
    """Bounds of an untextured polycrystal from C11, C12, C44 () in GPa; raises nothing, NaN for unstable crystals."""
    c11, c12, c44 = (jnp.asarray(c) for c in (c11, c12, c44))
    K = (c11 + 2 * c12) / 3
    soft = (c11 - c12) / 2

    def hs(own, other, share):
        # Hashin & Shtrikman 1962, eqs. 4.18–4.20, written without the pole at isotropy.
        beta = -3 * (K + 2 * own) / (5 * own * (3 * K + 4 * own))
        return own + share * (other - own) / (5 - 2 * (5 - share) * beta * (other - own))
    # Three of the five deviatoric eigenvalues belong to C44, two to C′.
    one, two = hs(soft, c44, 3.0), hs(c44, soft, 2.0)
    return CubicPolycrystal(K, 5 * soft * c44 / (2 * c44 + 3 * soft), jnp.minimum(one, two),
                            self_consistent_cubic(c11, c12, c44), jnp.maximum(one, two), (2 * soft + 3 * c44) / 5)


def self_consistent_cubic(c11, c12, c44) -> Scalar:
    """Shear modulus (GPa): positive root of 8G³ + (5C11+4C12)G² − C44(7C11−4C12)G − C44(C11−C12)(C11+2C12) = 0.

    Newton from the Voigt average. The last two steps carry the derivative: right to second order.
    """
    def newton(G, c):
        c11, c12, c44 = c
        b, d = 5 * c11 + 4 * c12, c44 * (7 * c11 - 4 * c12)
        value = 8 * G**3 + b * G**2 - d * G - c44 * (c11 - c12) * (c11 + 2 * c12)
        return G - value / (24 * G**2 + 2 * b * G - d)
    c = tuple(jnp.asarray(v) for v in (c11, c12, c44))
    fixed = jax.lax.stop_gradient(c)
    start = (fixed[0] - fixed[1] + 3 * fixed[2]) / 5
    G = jax.lax.fori_loop(0, 30, lambda _, g: newton(g, fixed), start)
    return newton(newton(jax.lax.stop_gradient(G), c), c)


class Placement(eqx.Module):
    """Where a stiffness lies between two bounds.

    ``lower_margin``, ``upper_margin`` (): smallest eigenvalues of C − lower and upper − C in GPa (≥ 0 inside, in the
    sense of quadratic forms); ``bulk_position``, ``shear_position`` (): 0 at the lower and 1 at the upper bound's
    isotropic projection (NaN if they coincide); ``inside`` () with the tolerance asked for.
    """

    lower_margin: Scalar
    upper_margin: Scalar
    bulk_position: Scalar
    shear_position: Scalar
    inside: Bool[Array, ""]


def placement(stiffness: Stiffness66, lower: Stiffness66, upper: Stiffness66, *, rtol: float = 1e-9) -> Placement:
    """Report where ``stiffness`` (GPa, Mandel) lies between ``lower`` and ``upper``; margins above −rtol ‖upper‖
    count as inside."""
    margins = [jnp.linalg.eigvalsh(d)[0] for d in (stiffness - lower, upper - stiffness)]
    own, low, high = (isotropic_projection(c) for c in (stiffness, lower, upper))
    gap = high - low
    known = gap > rtol * high
    position = jnp.where(known, (own - low) / jnp.where(known, gap, 1.0), np.nan)
    slack = rtol * jnp.linalg.norm(upper)
    return Placement(margins[0], margins[1], position[0], position[1], (margins[0] > -slack) & (margins[1] > -slack))
