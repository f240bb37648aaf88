"""Angular algebra of the bispectrum: Clebsch–Gordan coefficients, harmonics on the 3-sphere, triple products.

A neighbour at r maps onto a rotation with Cayley–Klein parameters (a, b); its harmonics U^j (a (j+1, j+1) matrix for
each doubled index j = 0 … 2J) obey

    U^j_{μm} = √((j−m)/(j−μ)) a* U^{j−1}_{μm} − √(m/(j−μ)) b* U^{j−1}_{μ,m−1},   U^j_{j−μ,j−m} = (−1)^{m−μ} U^j_{μm}*,

so that rows μ ≤ j/2 are enough. The bispectrum is B_{j₁j₂j} = Re Σ conj(U^j) · Z^j_{j₁j₂}, with Z^j the product
U^{j₁} ⊗ U^{j₂} coupled by Clebsch–Gordan coefficients in rows and columns. All tables are built on the host, once.

Sources: Bartók, Payne, Kondor & Csányi 2010 (bispectrum); Thompson, Swiler, Trott, Foiles & Tucker 2015 (recursion,
triples and order of SNAP); Varshalovich, Moskalev & Khersonskii 1988 (Clebsch–Gordan coefficients).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MAX_TWOJ = 14
"""Largest 2J for which tables are built: they grow as its seventh power (440,000 products at 14)."""


class BispectrumTables(NamedTuple):
    """Products of harmonics behind each component: rows point into all (j, μ, m), j slowest.

    ``triples`` (b, 3): doubled j₁, j₂, j. A product ``weight`` · U[``first``] · U[``second``] belongs to the coupled
    element ``element``; element e stands opposite conj(U[``opposite[e]``]) with ``multiplicity[e]`` in component
    ``component[e]``.
    """

    triples: np.ndarray
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    element: np.ndarray
    opposite: np.ndarray
    multiplicity: np.ndarray
    component: np.ndarray


def clebsch_gordan(j1: int, j2: int, j: int) -> np.ndarray:
    """⟨j₁ m₁ j₂ m₂ | j m₁+m₂⟩ for doubled angular momenta, shape (j1+1, j2+1) over m₁, m₂ from −j₁, −j₂ upwards.

    Dimensionless; sums of exact integers (Racah's formula), rounded once.
    """
    f = math.factorial
    out = np.zeros((j1 + 1, j2 + 1))
    triangle = f((j1 + j2 - j) // 2) * f((j1 - j2 + j) // 2) * f((j2 - j1 + j) // 2) / f((j1 + j2 + j) // 2 + 1)
    for p in range(j1 + 1):
        for q in range(j2 + 1):
            m = p + q - (j1 + j2 - j) // 2
            if not 0 <= m <= j:
                continue
            scale = triangle * (j + 1) * f(p) * f(j1 - p) * f(q) * f(j2 - q) * f(m) * f(j - m)
            # A factor below zero ends the sum; all terms share one denominator, so that the sum is exact.
            last = (j1 + j2 - j) // 2
            parts = [(k, last - k, j1 - p - k, q - k, p + k - (j1 + j2 - j) // 2, (j - j1 + j2) // 2 - q + k)
                     for k in range(last + 1)]
            valid = [k for k in range(last + 1) if min(parts[k]) >= 0]
            terms = [math.prod(f(part) for part in parts[k]) for k in valid]
            common = math.lcm(*terms)
            total = sum((-1) ** k * (common // term) for k, term in zip(valid, terms, strict=True))
            out[p, q] = total / common * math.sqrt(scale)
    return out


def triples(twojmax: int) -> list[tuple[int, int, int]]:
    """Doubled (j₁, j₂, j) of the components, in SNAP's order: j₂ ≤ j₁ ≤ j ≤ 2J, |j₁ − j₂| ≤ j ≤ j₁ + j₂."""
    return [(j1, j2, j) for j1 in range(twojmax + 1) for j2 in range(j1 + 1)
            for j in range(j1 - j2, min(twojmax, j1 + j2) + 1, 2) if j >= j1]


def level_starts(twojmax: int) -> np.ndarray:
    """Where each j starts among all (j, μ, m); the last entry is their number."""
    return np.concatenate([[0], np.cumsum((np.arange(twojmax + 1) + 1) ** 2)])


@functools.lru_cache(maxsize=8)
def bispectrum_tables(twojmax: int) -> BispectrumTables:
    """Tables for 2J = ``twojmax``; raises ``ValueError`` unless it is in 0 … ``MAX_TWOJ``."""
    if not 0 <= twojmax <= MAX_TWOJ:
        raise ValueError(f"twojmax must lie between 0 and {MAX_TWOJ}, got {twojmax}")
    start = level_starts(twojmax)
    found = triples(twojmax)
    columns: list[list[np.ndarray]] = [[] for _ in range(7)]
    count = 0
    for b, (j1, j2, j) in enumerate(found):
        rows = [_couplings(j1, j2, j, m) for m in range(j + 1)]
        for mu in range(j // 2 + 1):
            p, q, c = rows[mu]
            # Of the middle row of an even j, one half repeats the other.
            for m in range(mu + 1 if 2 * mu == j else j + 1):
                p_, q_, c_ = rows[m]
                twice = 1.0 if 2 * mu == j and m == mu else 2.0
                first = start[j1] + p[:, None] * (j1 + 1) + p_
                second = start[j2] + q[:, None] * (j2 + 1) + q_
                content = (first.ravel(), second.ravel(), np.outer(c, c_).ravel(), np.full(first.size, count),
                           [start[j] + mu * (j + 1) + m], [twice], [b])
                for column, values in zip(columns, content, strict=True):
                    column.append(np.asarray(values))
                count += 1
    first, second, weight, element, opposite, multiplicity, component = map(np.concatenate, columns)
    return BispectrumTables(np.array(found), first, second, weight, element, opposite, multiplicity, component)


@functools.cache
def _table(j1: int, j2: int, j: int) -> np.ndarray:
    return clebsch_gordan(j1, j2, j)


def _couplings(j1: int, j2: int, j: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (p, q) of rows that couple to row m, and their coefficients."""
    p = np.arange(j1 + 1)
    q = m + (j1 + j2 - j) // 2 - p
    inside = (q >= 0) & (q <= j2)
    p, q = p[inside], q[inside]
    return p, q, _table(j1, j2, j)[p, q]


def half_harmonics(a: tuple[Array, Array], b: tuple[Array, Array], weight: Array, twojmax: int
                   ) -> list[tuple[Float[Array, "mu m *n"], Float[Array, "mu m *n"]]]:
    """Real and imaginary parts of rows μ ≤ j/2 of ``weight`` · U^j, j = 0 … ``twojmax`` (dimensionless).

    ``a`` and ``b`` are pairs (real, imaginary) of equal shape (*n), the Cayley–Klein parameters: |a|² + |b|² = 1.
    """
    a_r, a_i = a
    b_r, b_i = b
    # The recursion is linear: a weight put in at j = 0 is carried along for nothing.
    levels = [(weight[None, None], jnp.zeros_like(weight)[None, None])]
    for j in range(1, twojmax + 1):
        re, im = levels[-1]
        if j % 2 == 0:
            # Row j/2 of the level below, by symmetry from row j/2 − 1.
            sign = _column(_signs(j - 1)[j // 2], re.ndim - 1)
            re, im = (jnp.concatenate([re, (sign * re[-1, ::-1])[None]]),
                      jnp.concatenate([im, (-sign * im[-1, ::-1])[None]]))
        mu, m = np.arange(j // 2 + 1)[:, None], np.arange(j)[None]
        keep = _column(np.sqrt((j - m) / (j - mu)), re.ndim)
        lift = _column(np.sqrt((m + 1) / (j - mu)), re.ndim)
        pad = [(0, 0)] * (re.ndim - 2)
        stay, move = [(0, 0), (0, 1), *pad], [(0, 0), (1, 0), *pad]
        level = (jnp.pad(keep * (a_r * re + a_i * im), stay) - jnp.pad(lift * (b_r * re + b_i * im), move),
                 jnp.pad(keep * (a_r * im - a_i * re), stay) - jnp.pad(lift * (b_r * im - b_i * re), move))
        # Without the barrier the compiler fuses levels and computes lower ones anew in each higher one.
        levels.append(jax.lax.optimization_barrier(level))
    return levels


def full_harmonics(levels: list[tuple[Array, Array]]) -> tuple[Float[Array, "jmm *n"], Float[Array, "jmm *n"]]:
    """All (j, μ, m) in one axis, from the rows μ ≤ j/2 of each j (dimensionless)."""
    whole = []
    for j, (re, im) in enumerate(levels):
        # Rows μ < (j + 1)/2, reversed in both axes, are the conjugates of the others.
        half = (j + 1) // 2
        sign = _column(_signs(j)[:half][::-1, ::-1], re.ndim)
        mirrored = (sign * re[:half][::-1, ::-1], -sign * im[:half][::-1, ::-1])
        flat = [jnp.concatenate([part, other]).reshape(((j + 1) ** 2, *part.shape[2:]))
                for part, other in zip((re, im), mirrored, strict=True)]
        whole.append(flat)
    return jnp.concatenate([w[0] for w in whole]), jnp.concatenate([w[1] for w in whole])


def _signs(j: int) -> np.ndarray:
    """(−1)^{m−μ}, shape (j+1, j+1)."""
    index = np.arange(j + 1)
    return 1.0 - 2.0 * ((index[:, None] + index[None]) % 2)


def _column(values: np.ndarray, ndim: int) -> np.ndarray:
    return values.reshape(values.shape + (1,) * (ndim - values.ndim))


def bispectrum(U: tuple[Float[Array, "channel jmm n"], Float[Array, "channel jmm n"]], tables: BispectrumTables,
               normalised: bool) -> Float[Array, "channel channel channel b n"]:
    """B^{e₁e₂e₃}_{j₁j₂j} of summed harmonics (real and imaginary parts), dimensionless.

    e₁ and e₂ are the channels coupled to Z, e₃ the one opposite; ``normalised`` divides by 2j + 1.
    """
    re, im = U
    channels = re.shape[0]
    weight = jnp.asarray(tables.weight[:, None], re.dtype)
    degree = tables.triples[tables.component, 2] + 1.0
    opposite_weight = jnp.asarray((tables.multiplicity / (degree if normalised else 1.0))[:, None], re.dtype)
    sums = lambda values, where, count: jax.ops.segment_sum(values, where, count, indices_are_sorted=True)
    elements, components = len(tables.opposite), len(tables.triples)

    def coupled(e1, e2):
        x_r, x_i = re[e1][tables.first] * weight, im[e1][tables.first] * weight
        y_r, y_i = re[e2][tables.second], im[e2][tables.second]
        z_r = opposite_weight * sums(x_r * y_r - x_i * y_i, tables.element, elements)
        z_i = opposite_weight * sums(x_r * y_i + x_i * y_r, tables.element, elements)
        dots = [re[e][tables.opposite] * z_r + im[e][tables.opposite] * z_i for e in range(channels)]
        return jnp.stack([sums(dot, tables.component, components) for dot in dots])

    return jnp.stack([jnp.stack([coupled(e1, e2) for e2 in range(channels)]) for e1 in range(channels)])
