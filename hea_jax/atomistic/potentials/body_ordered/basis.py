"""The functions of the body-ordered potential and their order in the coefficient vector.

Every atom i has the projections of its neighbour density

    A_{q n l m}(i) = Σ_j w_{q s_j} R_n(r_ij) Y_lm(r̂_ij),

with q a chemical channel: w is an orthogonal matrix over the elements whose first row is constant, so that q = 0 does
not see which element a neighbour is. Invariants of body order 2, 3 and 4 are

    B⁽²⁾ = A_{z n 00} (per element z),   B⁽³⁾ = Σ_m A_{a l m} A_{b l m},   B⁽⁴⁾ = Σ G_{m₁m₂m₃} A_{a l₁m₁} A_{b l₂m₂}
    A_{c l₃m₃},

a, b, c standing for (q, n). They are complete within the truncation, and linearly independent.

Sources: Drautz 2019 (atomic cluster expansion); Willatt, Musil & Ceriotti 2018 (chemical channels).
"""

import dataclasses
import functools
import itertools
import math

import numpy as np

from hea_jax.atomistic.potentials.body_ordered.harmonics import coupled_triples


@dataclasses.dataclass(frozen=True)
class Truncation:
    """Sizes of the three body orders: ``pair_radial`` functions R_n per element pair; ``three_radial`` ×
    ``three_channels`` channels with l ≤ ``three_l``; ``four_radial`` × ``four_channels`` channels with l ≤ ``four_l``
    (all counts).

    Raises ``ValueError`` for a count out of range.
    """

    pair_radial: int = 8
    three_radial: int = 5
    three_l: int = 4
    three_channels: int = 4
    four_radial: int = 3
    four_l: int = 2
    four_channels: int = 2

    def __post_init__(self):
        limits = {"pair_radial": (1, 24), "three_radial": (0, 16), "three_l": (0, 8), "three_channels": (1, 118),
                  "four_radial": (0, 12), "four_l": (0, 6), "four_channels": (1, 118)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")

    @property
    def radial(self) -> int:
        """Number of radial functions altogether."""
        return max(self.pair_radial, self.three_radial, self.four_radial)

    @property
    def lmax(self) -> int:
        """Highest angular momentum."""
        return max(self.three_l if self.three_radial else 0, self.four_l if self.four_radial else 0)

    def channels(self, elements: int) -> int:
        """Number of chemical channels in use."""
        return min(elements, max(self.three_channels if self.three_radial else 1,
                                 self.four_channels if self.four_radial else 1))

    def three(self, elements: int) -> list[tuple[int, int]]:
        """(q, n) of the channels of three-body functions."""
        return list(itertools.product(range(min(self.three_channels, elements)), range(self.three_radial)))

    def four(self, elements: int) -> list[tuple[int, int]]:
        """(q, n) of the channels of four-body functions."""
        return list(itertools.product(range(min(self.four_channels, elements)), range(self.four_radial)))


@dataclasses.dataclass(frozen=True)
class Block:
    """A run of coefficients: ``orders`` () for pairs, (l,) for three bodies, (l₁, l₂, l₃) for four; ``index``
    (function, body order − 1) are channel numbers (an element and n for pairs), ``start`` the place of the first
    coefficient."""

    orders: tuple[int, ...]
    index: np.ndarray
    start: int

    @property
    def stop(self) -> int:
        """One past the place of the last coefficient."""
        return self.start + len(self.index)


@functools.cache
def blocks(truncation: Truncation, elements: int) -> tuple[Block, ...]:
    """The coefficient blocks of one central element, in order."""
    three, four = len(truncation.three(elements)), len(truncation.four(elements))
    found = [((), list(itertools.product(range(elements), range(truncation.pair_radial))))]
    if three:
        pairs = list(itertools.combinations_with_replacement(range(three), 2))
        found += [((l,), pairs) for l in range(truncation.three_l + 1)]
    if four:
        found += [(orders, _triples(orders, four)) for orders in coupled_triples(truncation.four_l)]
    out, start = [], 0
    for orders, index in found:
        out.append(Block(orders, np.array(index, int).reshape(len(index), -1), start))
        start += len(index)
    return tuple(out)


def _triples(orders, count):
    """Channel triples (a, b, c), one of each class that equal angular momenta make equivalent."""
    l1, l2, l3 = orders
    if l1 == l2 == l3:
        return list(itertools.combinations_with_replacement(range(count), 3))
    if l1 == l2:
        return [(a, b, c) for a, b in itertools.combinations_with_replacement(range(count), 2) for c in range(count)]
    if l2 == l3:
        return [(a, b, c) for a in range(count) for b, c in itertools.combinations_with_replacement(range(count), 2)]
    return list(itertools.product(range(count), repeat=3))


def count_functions(truncation: Truncation, elements: int) -> int:
    """Number of coefficients per central element, in closed form: whatever the truncation, nothing is listed."""
    three, four = len(truncation.three(elements)), len(truncation.four(elements))
    # Of one, two and three different angular momenta, as in ``_triples``.
    triples = {1: math.comb(four + 2, 3), 2: math.comb(four + 1, 2) * four, 3: four**3}
    return (elements * truncation.pair_radial + math.comb(three + 1, 2) * (truncation.three_l + 1)
            + sum(triples[len(set(orders))] for orders in coupled_triples(truncation.four_l)))


def chemical_channels(elements: tuple[str, ...]) -> np.ndarray:
    """(channel, element): orthonormal, first row constant; then differences of group, of period, and of both.

    For elements that do not fill a product of groups and periods, Gram–Schmidt of (1, group, period, group·period,
    powers of Z) completes the set.
    """
    from ase.data import atomic_numbers

    Z = np.array([atomic_numbers[e] for e in elements], float)
    group, period = _groups_and_periods(Z.astype(int))
    standard = lambda v: (v - v.mean()) / (np.ptp(v) or 1.0)
    g, p, z = standard(group), standard(period), standard(Z)
    candidates = [np.ones_like(Z), g, p, g * p, z, z**2, z**3, *np.eye(len(Z))]
    rows: list[np.ndarray] = []
    for v in candidates:
        for row in rows:
            v = v - (v @ row) * row
        if np.linalg.norm(v) > 1e-6 * max(1.0, np.sqrt(len(Z))):
            rows.append(v / np.linalg.norm(v))
        if len(rows) == len(Z):
            break
    return np.array(rows)


def _groups_and_periods(Z):
    """Group and period of the periodic table from noble-gas closures (lanthanides and actinides in group 3)."""
    closures = np.array([0, 2, 10, 18, 36, 54, 86, 118])
    period = np.searchsorted(closures, Z)
    after = Z - closures[period - 1]
    length = np.array([2, 8, 8, 18, 18, 32, 32])[period - 1]
    group = np.where(length == 32, np.where(after <= 2, after, np.maximum(after - 14, 3)), after)
    group = np.where((length == 8) & (after > 2), after + 10, group)
    return np.where((length == 2) & (after == 2), 18, group).astype(float), period.astype(float)
