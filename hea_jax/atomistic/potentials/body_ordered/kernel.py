"""The body-ordered energy of one block of atoms and its derivatives by pair vectors, written out for speed.

The same sums as in ``model``, arranged for a compiler that neither shares work between the outputs of a stack nor
between an energy and its gradient:

- projections are made on Q_k = u⁴ (1 − u) T_k, Chebyshev polynomials under the envelope, and coefficients are
  transformed to them once for all (R_n = Σ_k M_nk Q_k);
- Chebyshev polynomials and harmonics of high order are products of stored lower ones;
- of a quadratic form aᵀCa, the product Ca is value and slope at once;
- slopes along r and r̂ are one pass over the projections' slopes each.

Equal to derivatives of ``BodyOrdered.atomic_energies`` to round-off (tested). Shapes: atoms of a block are ``row``,
their neighbours ``k``.

Sources: Drautz 2019 (the potential); Lysogorskiy et al. 2021 (adjoints of the projections).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.potentials.body_ordered.basis import Block, blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import legendre
from hea_jax.atomistic.potentials.body_ordered.model import BodyOrdered, four_body_factors, symmetric
from hea_jax.atomistic.potentials.body_ordered.radial import POWER, coefficients, saturated, saturated_slope


class Kernel(eqx.Module):
    """Coefficients of a ``BodyOrdered`` over Q_k, per central element; make one with ``kernel_of``.

    ``pair`` (element, element, k), ``three`` per l (element, channel, channel) symmetric, ``four`` per block (element,
    channel², channel), all in eV; ``channels`` (channel, element).
    """

    pair: Float[Array, "element element k"]
    three: tuple[Float[Array, "element c c"], ...]
    four: tuple[Float[Array, "element cc c"], ...]
    channels: Float[Array, "channel element"]
    four_blocks: tuple[Block, ...] = eqx.field(static=True)
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
        chosen = jax.tree.map(lambda c: c[element], (self.pair, self.three, self.four))
        Q = _kept(radial_stack(max(self.radial), self.cutoff, self.inner, r))
        Y = _kept(harmonic_stack(max(self.orders), *n))
        weights = _by_kind(self.channels, kind)
        width = max(self.radial[1:])
        W = _kept((weights[:, :, None] * Q[:, None, :width]).reshape(len(r), weights.shape[1] * width, r.shape[1]))
        A = jnp.einsum("amk,ack->amc", Y, W)
        energy, dA = self._many_body(A, *chosen[1:])
        pair = _by_kind(chosen[0].T, kind)
        energy = energy + jnp.sum(pair * Q[:, : self.radial[0]], axis=(1, 2))
        dW = jnp.einsum("amc,amk->ack", dA, Y).reshape(len(r), weights.shape[1], width, r.shape[1])
        dQ = _kept(jnp.sum(weights[:, :, None] * dW, axis=1))
        dY = jnp.einsum("amc,ack->amk", dA, W)
        along_r = radial_slope(pair, dQ, self.cutoff, self.inner, r)
        along_n = harmonic_slope(dY, *n)
        turned = n[0] * along_n[0] + n[1] * along_n[1] + n[2] * along_n[2]
        return energy, tuple((g - turned * e) / r + along_r * e for g, e in zip(along_n, n, strict=True))

    def _many_body(self, A, three, four):
        """Energies of three and four bodies, and their derivatives by the projections (row, lm, channel)."""
        rows, width = A.shape[0], max(self.radial[1:])
        A4 = A.reshape(rows, A.shape[1], len(self.channels), width)
        flat = lambda lmax, count, radial: A4[:, : (lmax + 1) ** 2, :count, :radial].reshape(
            rows, (lmax + 1) ** 2, count * radial)  # fmt: skip
        energy, slope = jnp.zeros(rows, A.dtype), jnp.zeros_like(A4)
        if three:
            lmax, count, radial = self.orders[0], self.counts[0], self.radial[1]
            a = flat(lmax, count, radial)
            Ca = jnp.concatenate([jnp.einsum("rmc,cd->rmd", a[:, l * l : (l + 1) ** 2], C)
                                  for l, C in enumerate(three)], axis=1)
            energy = energy + jnp.sum(a * Ca, axis=(1, 2))
            slope = slope.at[:, : a.shape[1], :count, :radial].set((2.0 * Ca).reshape(rows, a.shape[1], count, radial))
        if four:
            lmax, count, radial = self.orders[1], self.counts[1], self.radial[2]
            a = flat(lmax, count, radial)

            def total(a):
                out = jnp.zeros(rows, a.dtype)
                for block, C in zip(self.four_blocks, four, strict=True):
                    third, products, _ = four_body_factors(a, block)
                    out = out + jnp.sum(third * jnp.einsum("rmp,pc->rmc", products, C), axis=(1, 2))
                return jnp.sum(out), out

            more, own = jax.grad(total, has_aux=True)(a)
            energy = energy + own
            slope = slope.at[:, : a.shape[1], :count, :radial].add(more.reshape(rows, a.shape[1], count, radial))
        return energy, slope.reshape(A.shape)


def kernel_of(potential: BodyOrdered) -> Kernel:
    """The coefficients of a potential in the order and over the functions that ``Kernel`` uses."""
    T, S = potential.truncation, len(potential.elements)
    dtype = potential.coefficients.dtype
    M = jnp.asarray(coefficients(T.radial, potential.cutoff, potential.inner), dtype)
    over = lambda count, radial: jnp.kron(jnp.eye(count, dtype=dtype), M[:radial, :radial])
    three_count, four_count = min(T.three_channels, S), min(T.four_channels, S)
    three_M, four_M = over(three_count, T.three_radial), over(four_count, T.four_radial)
    pair, three, four, four_blocks = None, [], [], []
    for block in blocks(T, S):
        part = potential.coefficients[:, block.start : block.stop]
        if not block.orders:
            pair = part.reshape(S, S, T.pair_radial) @ M[: T.pair_radial, : T.pair_radial]
        elif len(block.orders) == 1:
            C = symmetric(part, block.index, len(three_M))
            three.append(jnp.einsum("ai,sab,bj->sij", three_M, C, three_M))
        else:
            C = _triples(block, part, len(four_M)).reshape(S, len(four_M), len(four_M), len(four_M))
            C = jnp.einsum("ai,bj,ck,sabc->sijk", four_M, four_M, four_M, C, optimize="optimal")
            four.append(C.reshape(S, len(four_M) ** 2, len(four_M)))
            four_blocks.append(block)
    assert pair is not None
    return Kernel(pair, tuple(three), tuple(four), potential.channels[: max(T.channels(S), 1)], tuple(four_blocks),
                  (T.pair_radial, T.three_radial, T.four_radial), (T.three_l if three else 0, T.four_l if four else 0),
                  (three_count, four_count), potential.cutoff, potential.inner)


def _triples(block, part, count):
    """Coefficients of a four-body block as matrices from channel pairs to the third channel."""
    _, _, (first, second, last) = four_body_factors(jnp.zeros((1, (max(block.orders) + 1) ** 2, count)), block)
    place = block.index[:, first] * count + block.index[:, second]
    return jnp.zeros((part.shape[0], count * count, count), part.dtype).at[:, place, block.index[:, last]].set(part)


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
    u = jnp.maximum(1.0 - saturated(r, inner) / cutoff, 0.0)
    t = u * (2.0 / (1.0 - inner / cutoff)) - 1.0
    u2 = u * u
    t, envelope = _kept((t, u2 * u2 * (1.0 - u)))
    Q = [envelope, _kept(envelope * t)][:count]
    for _ in range(count - 2):
        Q.append(_kept(2.0 * t * Q[-1] - Q[-2]))
    return jnp.stack(Q, axis=1)


def radial_slope(pair: Float[Array, "row n k"], dQ: Float[Array, "row m k"], cutoff: float, inner: float,
                 r: Float[Array, "row k"]) -> Float[Array, "row k"]:
    """Σ_n (pair_n + dQ_n) dQ_n/dr (eV/Å) by one recurrence; r in Å."""
    scale = 2.0 / (1.0 - inner / cutoff)
    u = jnp.maximum(1.0 - saturated(r, inner) / cutoff, 0.0)
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
    return by_u * (-1.0 / cutoff) * saturated_slope(r, inner)


def _azimuths(lmax, x, y):
    """sin^m θ cos mφ and sin^m θ sin mφ for m = 0 … lmax, stored."""
    c, s = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(lmax):
        c, s = [*c, _kept(x * c[-1] - y * s[-1])], [*s, _kept(x * s[-1] + y * c[-1])]
    return c, s


def _polynomial(numbers, z):
    """Σ numbers_i z^i of an even or odd polynomial, or None if it is zero."""
    degree = max((i for i, c in enumerate(numbers) if c), default=None)
    if degree is None:
        return None
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
    lmax = int(np.sqrt(dY.shape[1])) - 1
    c, s = _azimuths(lmax, x, y)
    gx, gy, gz = jnp.zeros_like(x), jnp.zeros_like(x), jnp.zeros_like(x)
    for m in range(lmax + 1):
        plus = minus = jnp.zeros_like(x)
        for l in range(m, lmax + 1):
            numbers = legendre(l, m)
            up, down = dY[:, l * l + l + m], dY[:, l * l + l - m]
            slope = _polynomial(tuple(i * v for i, v in enumerate(numbers))[1:], z)
            if slope is not None:
                gz = gz + slope * (up * c[m] + (down * s[m] if m else 0.0))
            if m:
                P = _polynomial(numbers, z)
                plus, minus = plus + P * up, minus + P * down
        if m:
            gx = gx + m * (plus * c[m - 1] + minus * s[m - 1])
            gy = gy + m * (minus * c[m - 1] - plus * s[m - 1])
    return gx, gy, gz
