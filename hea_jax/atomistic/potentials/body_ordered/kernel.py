"""The body-ordered energy of one block of atoms and its derivatives by pair vectors, written out for speed.

The same sums as in ``model``, arranged for a compiler that neither shares work between the outputs of a stack nor
between an energy and its gradient:

- projections are made on Q_k = s u⁴ (1 − u) T_k, Chebyshev polynomials under the envelope, and coefficients are
  transformed to them once for all (R_n = Σ_k M_nk Q_k);
- Chebyshev polynomials and harmonics of high order are products of stored lower ones;
- of a quadratic form aᵀCa, the product Ca is value and slope at once; of a trilinear one, the products with one and
  with two factors are;
- slopes along r and r̂ are one pass over the projections' slopes each.

Equal to derivatives of ``BodyOrdered.atomic_energies`` to round-off (tested). Shapes: atoms of a block are ``row``,
their neighbours ``k``.

Sources: Drautz 2019 (the potential); Lysogorskiy et al. 2021 (adjoints of the projections).
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.potentials.body_ordered.basis import blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import gaunt, legendre
from hea_jax.atomistic.potentials.body_ordered.model import BodyOrdered, factor_order, product_matrices, symmetric
from hea_jax.atomistic.potentials.body_ordered.radial import (
    POWER,
    coefficients,
    inner_switch,
    inner_switch_slope,
)


class Kernel(eqx.Module):
    """Coefficients of a ``BodyOrdered`` over Q_k, per central element; make one with ``kernel_of``.

    ``pair`` (element, element, k), ``three`` (element, lm, channel, channel) symmetric and alike for all m of an l,
    ``four`` per (l₁, l₂, l₃) in ``four_orders`` (element, channel², channel) as in ``model.product_matrices`` and
    symmetric in factors of equal l, all in eV; ``channels`` (channel, element). Static: the numbers of radial functions
    ``radial`` of pairs, three and four bodies; highest l ``orders`` and numbers of chemical channels ``counts`` of
    three and four bodies; ``cutoff`` and ``inner`` (Å).
    """

    pair: Float[Array, "element element k"]
    three: Float[Array, "element lm c c"]
    four: tuple[Float[Array, "element cc c"], ...]
    channels: Float[Array, "channel element"]
    four_orders: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    radial: tuple[int, int, int] = eqx.field(static=True)
    orders: tuple[int, int] = eqx.field(static=True)
    counts: tuple[int, int] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    inner: float = eqx.field(static=True)

    def bonds(self, element: Int[Array, ""], vectors: tuple[Array, Array, Array], kind: Int[Array, "row k"]
              ) -> tuple[Float[Array, "row"], tuple[Array, Array, Array]]:
        """Energies (eV) of atoms of one element, and derivatives (eV/Å) of their sum by their pair vectors (Å)."""
        x, y, z = vectors
        r = jnp.sqrt(x * x + y * y + z * z)
        n = x / r, y / r, z / r
        pair, three, four = jax.tree.map(lambda c: c[element], (self.pair, self.three, self.four))
        Q = _kept(radial_stack(max(self.radial), self.cutoff, self.inner, r))
        Y = _kept(harmonic_stack(max(self.orders), *n))
        weights = _by_kind(self.channels, kind)
        width = max(self.radial[1:])
        W = _kept((weights[:, :, None] * Q[:, None, :width]).reshape(len(r), weights.shape[1] * width, r.shape[1]))
        A = jnp.einsum("amk,ack->amc", Y, W)
        energy, dA = self._many_body(A, three, four)
        pair = _by_kind(pair.T, kind)
        energy = energy + jnp.sum(pair * Q[:, : self.radial[0]], axis=(1, 2))
        dW = jnp.einsum("amc,amk->ack", dA, Y).reshape(len(r), weights.shape[1], width, r.shape[1])
        dQ = _kept(jnp.sum(weights[:, :, None] * dW, axis=1))
        dY = jnp.einsum("amc,ack->amk", dA, W)
        along_r = radial_slope(pair, dQ, self.cutoff, self.inner, r)
        along_n = harmonic_slope(dY, *n)
        turned = n[0] * along_n[0] + n[1] * along_n[1] + n[2] * along_n[2]
        slope = lambda axis: (along_n[axis] - turned * n[axis]) / r + along_r * n[axis]
        return energy, (slope(0), slope(1), slope(2))

    def _many_body(self, A, three, four) -> tuple[Array, Array]:
        """Energies of three and four bodies (row), and their derivatives by the projections (row, lm, channel)."""
        rows, width = A.shape[0], max(self.radial[1:])
        split = A.reshape(rows, A.shape[1], len(self.channels), width)
        energy, slope = jnp.zeros(rows, A.dtype), jnp.zeros_like(split)
        for body, (lmax, count) in enumerate(zip(self.orders, self.counts, strict=True)):
            part = slice(None), slice((lmax + 1) ** 2), slice(count), slice(self.radial[1 + body])
            a = split[part]
            if not a.size:
                continue
            flat = a.reshape(rows, a.shape[1], -1)
            own, by_a = _quadratic(flat, three) if body == 0 else _trilinear(flat, self.four_orders, four)
            energy, slope = energy + own, slope.at[part].add(by_a.reshape(a.shape))
        return energy, slope.reshape(A.shape)


def _quadratic(a, three):
    """Σ aᵀCa and its derivatives by a (row, lm, channel)."""
    Ca = jnp.einsum("rmc,mcd->rmd", a, three)
    return jnp.sum(a * Ca, axis=(1, 2)), 2.0 * Ca


def _trilinear(a, orders, four):
    """Energies of four bodies and their derivatives by a (row, lm, channel)."""
    # Rows last: products of channels and harmonics are then whole vectors.
    a = _kept(jnp.transpose(a, (2, 1, 0)))
    energy = jnp.zeros(a.shape[2], a.dtype)
    slopes: dict[int, Any] = dict.fromkeys(range(math.isqrt(a.shape[1])), 0.0)
    for triple, C in zip(orders, four, strict=True):
        own, parts = _triple(a, triple, C)
        energy = energy + own
        for l, part in parts:
            slopes[l] = slopes[l] + part
    return energy, jnp.transpose(jnp.concatenate(list(slopes.values()), axis=1), (2, 1, 0))


def _triple(a, orders, C):
    """Energies (row) of one (l₁, l₂, l₃), and (l, derivatives by the a of that l); a (channel, lm, row)."""
    order = factor_order(orders)
    l1, l2, l3 = (orders[k] for k in order)
    G = np.transpose(gaunt(*orders), order)
    first, second, third = (a[:, l * l : (l + 1) ** 2] for l in (l1, l2, l3))

    def coupled(factor, term, axis):
        """Σ G term(m, m′) over the others' m, m′, stacked along ``axis`` over the m of one ``factor`` (0, 1 or 2)."""
        planes = [[(float(plane[m]), m) for m in zip(*np.nonzero(plane), strict=True)]
                  for plane in np.moveaxis(G, factor, 0)]
        return jnp.stack([_kept(sum(g * term(*m) for g, m in plane)) for plane in planes], axis=axis)

    products = coupled(2, lambda m1, m2: first[:, None, m1] * second[None, :, m2], axis=2)
    by_third = (C.T @ products.reshape(C.shape[0], -1)).reshape(third.shape)
    by_product = _kept((C @ third.reshape(C.shape[1], -1)).reshape(products.shape))
    by_first = coupled(0, lambda m2, m3: jnp.sum(by_product[:, :, m3] * second[None, :, m2], axis=1), axis=1)
    if l1 == l2:
        # Equal factors, symmetric C: they have the same derivatives.
        by_second = by_first
    else:
        by_second = coupled(1, lambda m1, m3: jnp.sum(by_product[:, :, m3] * first[:, None, m1], axis=0), axis=1)
    return jnp.sum(third * by_third, axis=(0, 1)), ((l1, by_first), (l2, by_second), (l3, by_third))


def kernel_of(potential: BodyOrdered) -> Kernel:
    """The coefficients of a potential in the order and over the functions that ``Kernel`` uses."""
    T, S = potential.truncation, len(potential.elements)
    dtype = potential.coefficients.dtype
    M = jnp.asarray(coefficients(T.radial, potential.cutoff, potential.inner), dtype)
    over = lambda count, radial: jnp.kron(jnp.eye(count, dtype=dtype), M[:radial, :radial])
    counts = min(T.three_channels, S), min(T.four_channels, S)
    three_M, four_M = over(counts[0], T.three_radial), over(counts[1], T.four_radial)
    pairs, *rest = blocks(T, S)
    part = lambda block: potential.coefficients[:, block.start : block.stop]
    pair = part(pairs).reshape(S, S, T.pair_radial) @ M[: T.pair_radial, : T.pair_radial]
    three, four = [jnp.zeros((S, 0, *three_M.shape), dtype)], {}
    for block in rest:
        if len(block.orders) == 1:
            C = jnp.einsum("ai,sab,bj->sij", three_M, symmetric(part(block), block.index, len(three_M)), three_M)
            three += [C[:, None]] * (2 * block.orders[0] + 1)
        else:
            C = product_matrices(part(block), block, len(four_M)).reshape(S, *[len(four_M)] * 3)
            C = jnp.einsum("ai,bj,ck,sabc->sijk", four_M, four_M, four_M, C, optimize="optimal")
            first, second, _ = (block.orders[k] for k in factor_order(block.orders))
            C = 0.5 * (C + jnp.swapaxes(C, 1, 2)) if first == second else C
            four[block.orders] = C.reshape(S, len(four_M) ** 2, len(four_M))
    orders = T.three_l if T.three_radial else 0, T.four_l if T.four_radial else 0
    return Kernel(pair, jnp.concatenate(three, axis=1), tuple(four.values()), potential.channels[: T.channels(S)],
                  tuple(four), (T.pair_radial, T.three_radial, T.four_radial), orders, counts, potential.cutoff,
                  potential.inner)


def _kept(value):
    """Store a value: what follows reads it instead of computing it again for each of its outputs."""
    return jax.lax.optimization_barrier(value)


def _by_kind(table: Float[Array, "n element"], kind: Int[Array, "row k"]) -> Float[Array, "row n k"]:
    """table[n, kind], by selection (a gather of single numbers is slower)."""
    out = jnp.broadcast_to(table[None, :, 0, None], (kind.shape[0], table.shape[0], kind.shape[1]))
    for s in range(1, table.shape[1]):
        out = jnp.where(kind[:, None, :] == s, table[None, :, s, None], out)
    return out


def radial_stack(count: int, cutoff: float, inner: float, r: Float[Array, "row k"]) -> Float[Array, "row n k"]:
    """Q_0 … Q_{count−1} (dimensionless) at distances r (Å)."""
    u = jnp.maximum(1.0 - r / cutoff, 0.0)
    t = u * (2.0 / (1.0 - inner / cutoff)) - 1.0
    u2 = u * u
    t, envelope = _kept((t, inner_switch(r, inner) * u2 * u2 * (1.0 - u)))
    Q = [envelope, _kept(envelope * t)][:count]
    for _ in range(count - 2):
        Q.append(_kept(2.0 * t * Q[-1] - Q[-2]))
    return jnp.stack(Q, axis=1)


def radial_slope(pair: Float[Array, "row n k"], dQ: Float[Array, "row m k"], cutoff: float, inner: float,
                 r: Float[Array, "row k"]) -> Float[Array, "row k"]:
    """Σ_n (pair_n + dQ_n) dQ_n/dr (eV/Å) by one recurrence; r in Å."""
    scale = 2.0 / (1.0 - inner / cutoff)
    u = jnp.maximum(1.0 - r / cutoff, 0.0)
    t = u * scale - 1.0
    value, slope = [jnp.ones_like(t), t], [jnp.zeros_like(t), jnp.ones_like(t)]
    total_value, total_slope = jnp.zeros_like(t), jnp.zeros_like(t)
    for n in range(max(pair.shape[1], dQ.shape[1])):
        if n > 1:
            value.append(2.0 * t * value[-1] - value[-2])
            slope.append(2.0 * value[-2] + 2.0 * t * slope[-1] - slope[-2])
        s = (pair[:, n] if n < pair.shape[1] else 0.0) + (dQ[:, n] if n < dQ.shape[1] else 0.0)
        total_value, total_slope = total_value + s * value[n], total_slope + s * slope[n]
    u3 = u * u * u
    envelope, envelope_slope = u3 * u * (1.0 - u), u3 * (POWER - (POWER + 1.0) * u)
    by_u = total_value * envelope_slope + total_slope * envelope * scale
    by_switch = total_value * envelope * inner_switch_slope(r, inner)
    return by_u * (-1.0 / cutoff) * inner_switch(r, inner) + by_switch


def _azimuths(lmax, x, y):
    """sin^m θ cos mφ and sin^m θ sin mφ for m = 0 … lmax, stored."""
    c, s = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(lmax):
        c, s = [*c, _kept(x * c[-1] - y * s[-1])], [*s, _kept(x * s[-1] + y * c[-1])]
    return c, s


def _polynomial(numbers, z):
    """Σ numbers_i z^i of an even or odd polynomial."""
    degree = max((i for i, c in enumerate(numbers) if c), default=0)
    if degree == 0:
        return jnp.full_like(z, numbers[0] if numbers else 0.0)
    z2, value = z * z, numbers[degree]
    for i in range(degree - 2, -1, -2):
        value = value * z2 + numbers[i]
    return value * z if degree % 2 else value


def harmonic_stack(lmax: int, x: Float[Array, "row k"], y: Float[Array, "row k"], z: Float[Array, "row k"]
                   ) -> Float[Array, "row lm k"]:
    """Real harmonics (dimensionless) of unit vectors, in the order l² + l + m."""
    c, s = _azimuths(lmax, x, y)
    out: list = [None] * (lmax + 1) ** 2
    for l in range(lmax + 1):
        for m in range(l + 1):
            P = _polynomial(legendre(l, m), z)
            out[l * l + l + m] = _kept(P * c[m])
            if m:
                out[l * l + l - m] = _kept(P * s[m])
    return jnp.stack(out, axis=1)


def harmonic_slope(dY: Float[Array, "row lm k"], x: Float[Array, "row k"], y: Float[Array, "row k"],
                   z: Float[Array, "row k"]) -> tuple[Array, Array, Array]:
    """Σ_lm dY_lm ∂Y_lm/∂(x, y, z) of the harmonics as polynomials in x, y, z."""
    lmax = math.isqrt(dY.shape[1]) - 1
    c, s = _azimuths(lmax, x, y)
    gx, gy, gz = jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(x)
    for m in range(lmax + 1):
        plus = minus = jnp.zeros_like(x)
        for l in range(m, lmax + 1):
            numbers = legendre(l, m)
            up, down = dY[:, l * l + l + m], dY[:, l * l + l - m]
            if l > m:
                slope = _polynomial(tuple(i * v for i, v in enumerate(numbers))[1:], z)
                gz = gz + slope * (up * c[m] + (down * s[m] if m else 0.0))
            if m:
                P = _polynomial(numbers, z)
                plus, minus = plus + P * up, minus + P * down
        if m:
            gx = gx + m * (plus * c[m - 1] + minus * s[m - 1])
            gy = gy + m * (minus * c[m - 1] - plus * s[m - 1])
    return gx, gy, gz
