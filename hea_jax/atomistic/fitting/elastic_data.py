"""Lattice constants and cubic elastic constants read off the strained cells of a dataset.

A frame without forces whose atoms sit on a homogeneously strained cubic lattice gives one stress at one Green strain
η (about the lattice constant a₀ where the pressure vanishes). The second Piola–Kirchhoff stress is fitted by

    S_i = C_ij η_j + ½ C_ijk η_j η_k

with the three second-order and six third-order constants of a cubic crystal (and, where enough volumes are known, the
fourth-order part of the pressure), so that finite strains do not bias C11, C12, C44. The same
regression of a potential's stresses on the same frames is the fair comparison.

Source: Brugger 1964 (thermodynamic elastic coefficients); Nye 1957 (cubic symmetry).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.records import ReferenceData

LARGEST_STRAIN = 0.075
STILL_EV_PER_A = 0.02
"""Forces below this count as none."""
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_BASES = {1: [[0.0, 0, 0]], 2: [[0.0, 0, 0], [0.5, 0.5, 0.5]],
          4: [[0.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]}


@dataclasses.dataclass(frozen=True)
class StrainedCells:
    """Frames of one element on one lattice: ``indices`` into the frames, ``F`` (frame, 3, 3) relative to a cubic cell
    of ``reference_A``."""

    indices: np.ndarray
    F: np.ndarray
    reference_A: float


@dataclasses.dataclass(frozen=True)
class CubicElasticity:
    """``lattice_constant_A`` and (C11, C12, C44) in GPa; NaN for what the frames do not determine."""

    lattice_constant_A: float
    constants_GPa: np.ndarray


def strained_cells(frames: Sequence[ReferenceData], element: str, lattice: str = "bcc") -> StrainedCells | None:
    """The strained cells of an element on the ``lattice`` (bcc or fcc) in any supercell with cubic axes; None if fewer
    than three."""
    per_cell = {"bcc": 2, "fcc": 4}[lattice]
    chosen, cells, volumes = [], [], []
    for n, frame in enumerate(frames):
        atoms = frame.atoms
        pure = all(atoms.elements[s] == element for s in np.unique(np.asarray(atoms.species)))
        if not pure or np.abs(np.asarray(frame.forces_eV_per_A)).max() > STILL_EV_PER_A:
            continue
        chosen.append(n)
        cells.append(np.asarray(atoms.cell))
        volumes.append(abs(np.linalg.det(cells[-1])) / atoms.number)
    if len(chosen) < 3:
        return None
    # Candidates for the lattice constant: where the pressure is lowest in size.
    pressure = [abs(np.trace(np.asarray(frames[n].stress_eV_per_A3))) for n in chosen]
    on_lattice = []
    for start in np.argsort(pressure)[:20]:
        a = float((per_cell * volumes[start]) ** (1 / 3))
        on_lattice = [(n, F) for n, cell in zip(chosen, cells, strict=True)
                      if (F := _deformation(frames[n].atoms, cell, a, lattice)) is not None]
        if len(on_lattice) >= 3:
            return StrainedCells(np.array([n for n, _ in on_lattice]), np.array([F for _, F in on_lattice]), a)
    return None


def _deformation(atoms, cell, a, lattice):
    """F with cell = M a Fᵀ for a half-integer M, if the atoms sit on that lattice; else None."""
    M = np.round(2 * cell / a) / 2
    if abs(np.linalg.det(M)) < 0.2:
        return None
    F_T = np.linalg.solve(M * a, cell)
    if np.abs(F_T - np.eye(3)).max() > 0.12:
        return None
    sites = (np.asarray(atoms.positions) - np.asarray(atoms.positions)[0]) @ np.linalg.inv(a * F_T)
    basis = np.array(_BASES[{"bcc": 2, "fcc": 4}[lattice]])
    off = sites[:, None, :] - basis[None]
    nearest = np.abs(off - np.round(off)).max(axis=2).min(axis=1)
    per_cell = {"bcc": 2, "fcc": 4}[lattice]
    dense = abs(abs(np.linalg.det(M)) * per_cell - atoms.number) < 1e-6
    return F_T.T if dense and nearest.max() < 2e-3 else None


def cubic_elasticity(cells: StrainedCells, stress_eV_per_A3: np.ndarray) -> CubicElasticity:
    """Lattice constant and elastic constants from stresses (frame, 3, 3) in eV/Å³ of the strained cells."""
    known = np.isfinite(stress_eV_per_A3).all(axis=(1, 2))
    F, sigma = cells.F[known], stress_eV_per_A3[known]
    stretch = _pressureless(F, sigma)
    if not np.isfinite(stretch):
        return CubicElasticity(float("nan"), np.full(3, np.nan))
    F = F / stretch
    J = np.linalg.det(F)
    inverse = np.linalg.inv(F)
    S = J[:, None, None] * inverse @ sigma @ np.swapaxes(inverse, 1, 2)
    eta = 0.5 * (np.swapaxes(F, 1, 2) @ F - np.eye(3))
    small = np.abs(eta).max(axis=(1, 2)) <= LARGEST_STRAIN
    rows = np.concatenate([_rows(e) for e in eta[small]]) if small.any() else np.zeros((0, 10))
    y = np.concatenate([[s[i, j] for i, j in _VOIGT] for s in S[small]]) if small.any() else np.zeros(0)
    volumes = np.cbrt(np.linalg.det(F[small]))
    if len(np.unique(np.round(volumes[np.abs(volumes - 1) > 1e-4], 4))) < 4:
        rows = rows[:, :9]
    C = _solved(rows, y)
    return CubicElasticity(cells.reference_A * stretch, C * EV_PER_A3_TO_GPA)


def _solved(rows, y):
    """C11, C12, C44 by least squares; NaN for those that the rows do not determine."""
    used = np.flatnonzero(np.abs(rows).max(axis=0, initial=0.0) > 1e-12)
    out = np.full(3, np.nan)
    if not len(used):
        return out
    scale = np.abs(rows[:, used]).max(axis=0)
    A = rows[:, used] / scale
    x, _, rank, _ = np.linalg.lstsq(A, y, rcond=1e-6)
    # A constant is determined if no null vector of the design moves it.
    null = np.linalg.svd(A, full_matrices=True)[2][rank:]
    for place, column in enumerate(used):
        if column < 3 and (not len(null) or np.abs(null[:, place]).max() < 1e-6):
            out[column] = x[place] / scale[place]
    return out


def _pressureless(F, sigma):
    """Isotropic stretch at which the pressure vanishes, from the isotropically strained frames."""
    stretch = np.cbrt(np.linalg.det(F))
    isotropic = np.abs(F - stretch[:, None, None] * np.eye(3)).max(axis=(1, 2)) < 1e-4
    x, p = stretch[isotropic], np.trace(sigma[isotropic], axis1=1, axis2=2) / 3
    order = np.argsort(x)
    x, p = x[order], p[order]
    keep = np.concatenate([[True], np.diff(x) > 1e-6]) if len(x) else np.zeros(0, bool)
    x, p = x[keep], p[keep]
    if len(x) < 2:
        # A lone unstrained cell defines the reference if it is nearly free of pressure.
        return float(x[0]) if len(x) == 1 and abs(p[0]) < 0.01 else float("nan")
    near = np.sort(np.argsort(np.abs(p))[: min(4, len(x))])
    coefficients = np.polyfit(x[near] - 1, p[near], min(3, len(near) - 1))
    roots = np.roots(coefficients)
    real = roots[np.abs(roots.imag) < 1e-9].real
    real = real[np.abs(real) < 0.1]
    return float(1 + real[np.argmin(np.abs(real))]) if len(real) else float("nan")


def _rows(eta):
    """(6, 10) design rows of S: columns C11, C12, C44, C111, C112, C123, C144, C155, C456, and the fourth-order part of
    the pressure, without which the bulk modulus of a wide range of volumes would be off."""
    e = np.array([eta[i, j] for i, j in _VOIGT])
    d, g = e[:3], 2 * e[3:]
    out = np.zeros((6, 10))
    out[:3, 9] = d.sum() ** 3
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        out[i, 0], out[i, 1] = d[i], d[j] + d[k]
        out[i, 3] = 0.5 * d[i] ** 2
        out[i, 4] = d[i] * (d[j] + d[k]) + 0.5 * (d[j] ** 2 + d[k] ** 2)
        out[i, 5] = d[j] * d[k]
        out[i, 6], out[i, 7] = 0.5 * g[i] ** 2, 0.5 * (g[j] ** 2 + g[k] ** 2)
        out[3 + i, 2] = g[i]
        out[3 + i, 6], out[3 + i, 7] = d[i] * g[i], (d[j] + d[k]) * g[i]
        out[3 + i, 8] = g[j] * g[k]
    return out


def elements_with_strains(frames: Sequence[ReferenceData], elements: Sequence[str], lattice: str = "bcc"
                          ) -> dict[str, StrainedCells]:
    """Strained cells of every element that has them."""
    found = {element: strained_cells(frames, element, lattice) for element in elements}
    return {element: cells for element, cells in found.items() if cells is not None}
