"""Export to the ``.yace`` file of PACE, which LAMMPS reads (``pair_style pace``).

Chemical channels become elements, real harmonics complex ones, and R_n combinations of the ``ChebLinear`` functions
½ − ½ T_k(1 − r/r_c) under PACE's inner cut-off. The energy is the same to the resolution of PACE's radial splines.
Inside ``inner`` both are zero, so overlay the repulsive core:

    pair_style hybrid/overlay pace zbl INNER OUTER

Sources: Lysogorskiy et al. 2021 (PACE); Drautz 2019, eqs. 25–34 (products of complex projections).
"""

import functools
import itertools
from pathlib import Path

import numpy as np

from hea_jax.atomistic.potentials.body_ordered.basis import blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import numpy_harmonics
from hea_jax.atomistic.potentials.body_ordered.model import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.radial import POWER, WIDTH_A, coefficients

SPLINE_A = 0.001
ROOT_4PI = float(np.sqrt(4.0 * np.pi))
"""PACE's harmonics are √(4π) times the orthonormal ones."""

SMALLEST = 1e-14
"""Coefficients below this part of the largest are left out."""


def save_yace(path: str | Path, potential: BodyOrdered, *, offsets_eV: dict[str, float] | None = None) -> Path:
    """Write the file (eV, Å); ``offsets_eV`` are the energies of isolated atoms per element (default 0)."""
    T, elements = potential.truncation, potential.elements
    n = max(T.three_radial, T.four_radial)
    g = chebyshev_table(potential)
    lines = [f"elements: [{', '.join(elements)}]",
             f"E0: [{', '.join(_number((offsets_eV or {}).get(e, 0.0)) for e in elements)}]",
             f"deltaSplineBins: {SPLINE_A}", "embeddings:"]
    for a in range(len(elements)):
        lines.append(f"  {a}: {{ndensity: 1, FS_parameters: [1, 1], npoti: FinnisSinclairShiftedScaled, "
                     "rho_core_cutoff: 1.0e+20, drho_core_cutoff: 1.0}")
    lines.append("bonds:")
    crad = "[" + ", ".join(f"[{', '.join(['[' + ', '.join(map(_number, row)) + ']'] * (T.lmax + 1))}]"
                           for row in g[: max(n, 1)]) + "]"
    for a, b in itertools.product(range(len(elements)), repeat=2):
        lines.append(f"  [{a}, {b}]: {{nradmax: {max(n, 1)}, lmax: {T.lmax}, nradbasemax: {g.shape[1]}, "
                     f"radbasename: ChebLinear, radparameters: [1.0], radcoefficients: {crad}, prehc: 0, lambdahc: 1, "
                     f"rcut: {_number(potential.cutoff)}, dcut: 0.01, "
                     f"rcut_in: {_number(potential.inner + WIDTH_A)}, dcut_in: {_number(WIDTH_A)}, "
                     "inner_cutoff_type: distance}")
    lines.append("functions:")
    for a in range(len(elements)):
        lines.append(f"  {a}:")
        lines += [f"    - {{mu0: {a}, {text}}}" for text in _functions(potential, a, g)]
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _number(value: float) -> str:
    return f"{value:.17g}"


def chebyshev_table(potential: BodyOrdered) -> np.ndarray:
    """(n, k): R_n (Å^-3/2) as combinations of ½ − ½ T_k(1 − r/r_c), k = 1, 2, …"""
    u_max = 1.0 - potential.inner / potential.cutoff
    table = coefficients(potential.truncation.radial, potential.cutoff, potential.inner)
    x = np.polynomial.Polynomial([0.0, 1.0])
    rows = []
    for row in table:
        p = np.polynomial.Chebyshev(row).convert(kind=np.polynomial.Polynomial)(2.0 / u_max * x - 1.0)
        full = np.polynomial.polynomial.polymul((x**POWER * (1.0 - x)).coef, p.coef)
        rows.append(np.polynomial.chebyshev.poly2cheb(full))
    width = max(len(row) for row in rows)
    # A polynomial that vanishes at u = 1 is Σ a_k (T_k − 1), as T_k(1) = 1.
    return np.array([-2.0 * np.pad(row, (0, width - len(row)))[1:] for row in rows])


def _functions(potential, a, g):
    """The functions of central element ``a`` as YAML, element channels and complex harmonics."""
    T, S = potential.truncation, len(potential.elements)
    c = np.asarray(potential.coefficients)[a]
    for block in blocks(T, S):
        part = c[block.start : block.stop]
        if not block.orders:
            yield from _pair_functions(part.reshape(S, T.pair_radial), g)
            continue
        three = len(block.orders) == 1
        channels = T.three(S) if three else T.four(S)
        W = channel_matrix(potential, channels, T.three_radial if three else T.four_radial)
        orders = block.orders * 2 if three else block.orders
        full = np.zeros((len(channels),) * len(orders))
        full[tuple(block.index.T)] = part
        full = functools.reduce(lambda t, _: np.moveaxis(np.tensordot(t, W, axes=(0, 0)), -1, -1), orders, full)
        radial = T.three_radial if three else T.four_radial
        yield from _products(full, orders, radial)


def _pair_functions(part, g):
    """Two-body functions: rank 1 over PACE's own basis functions."""
    table = part @ g[: part.shape[1]]
    for z, row in enumerate(table):
        for k, value in enumerate(row):
            yield (f"rank: 1, ndensity: 1, num_ms_combs: 1, mus: [{z}], ns: [{k + 1}], ls: [0], ms_combs: [0], "
                   f"ctildes: [{_number(value)}]")


def channel_matrix(potential: BodyOrdered, channels, radial: int) -> np.ndarray:
    """(channel, element · n): weights with which elements enter the channels (q, n)."""
    W = np.asarray(potential.channels)
    out = np.zeros((len(channels), W.shape[1], radial))
    for place, (q, n) in enumerate(channels):
        out[place, :, n] = W[q]
    return out.reshape(len(channels), -1)


def _products(full, orders, radial):
    """One function per set of equivalent channels; equal angular momenta may change places."""
    spec = list(itertools.product(range(full.shape[0]), repeat=len(orders)))
    merged: dict[tuple, float] = {}
    for place in spec:
        key = tuple(sorted(zip(orders, place, strict=True)))
        merged[key] = merged.get(key, 0.0) + full[place]
    largest = max(map(abs, merged.values()), default=0.0)
    ms, weights = complex_coupling(orders)
    for key, value in merged.items():
        if abs(value) <= SMALLEST * largest:
            continue
        z, n = zip(*(divmod(place, radial) for _, place in key), strict=True)
        yield (f"rank: {len(orders)}, ndensity: 1, num_ms_combs: {len(ms)}, mus: {list(z)}, ns: {[k + 1 for k in n]}, "
               f"ls: {[l for l, _ in key]}, ms_combs: {[int(m) for row in ms for m in row]}, "
               f"ctildes: [{', '.join(_number(value * w) for w in weights)}]")


@functools.cache
def complex_coupling(orders: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[float]]:
    """(m's, weights) of the invariant product of projections with the given l, ascending, in PACE's complex harmonics.

    They are ∫ Y*_l₁m₁ Y*_l₂m₂ (Y*_l₃m₃) dΩ; with two harmonics that is (−1)^m for m₂ = −m₁.
    """
    degree = sum(orders)
    nodes, w = np.polynomial.legendre.leggauss(degree // 2 + 1)
    count = 2 * degree + 2
    phi = np.arange(count) * (2 * np.pi / count)
    z, phi = (a.ravel() for a in np.meshgrid(nodes, phi, indexing="ij"))
    w = np.repeat(w, count) * (2 * np.pi / count)
    real = numpy_harmonics(max(orders), z, phi)
    ms, weights = [], []
    for m in itertools.product(*(range(-l, l + 1) for l in orders)):
        if sum(m) != 0:
            continue
        value = np.sum(w * np.prod([_complex(real, l, k) for l, k in zip(orders, m, strict=True)], axis=0))
        if abs(value) > 1e-12:
            ms.append(m)
            weights.append(float(np.real(value)) / ROOT_4PI ** len(orders))
    return ms, weights


def _complex(real, l, m):
    """Conjugate complex harmonic with the Condon–Shortley sign, from real ones."""
    c, s = real[l * l + l + abs(m)], (real[l * l + l - abs(m)] if m else 0.0)
    if m == 0:
        return c
    plus = (-1.0) ** m * (c + 1j * s) / np.sqrt(2.0) if m > 0 else (c - 1j * s) / np.sqrt(2.0)
    return np.conj(plus)
