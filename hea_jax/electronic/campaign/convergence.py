"""How far the k-mesh is converged: energies, stresses and elastic constants of the same structures on several meshes.

Elastic constants are secants at the strain of the structures, from differences of stress components, in which the
Pulay stress of a finite cut-off drops out: C44 = σ_xy/γ and C′ = (σ_xx − (σ_yy + σ_zz)/2)/(3g).

Source: Monkhorst & Pack 1976 (meshes); Mehl et al. 1990 (tetragonal and shear strains of cubic crystals).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hea_jax.core.units import GPA_TO_EV_PER_A3

_SAME = 1e-5
_STRAINED = 1e-6
_LARGEST = 0.2
"""Strain up to which a cell counts as a strained cubic one."""


@dataclasses.dataclass(frozen=True)
class MeshRow:
    """One structure on one mesh, against the finest mesh it was computed on.

    ``energy_meV_per_atom`` and ``stress_GPa`` (largest component) are changes; ``C_prime_GPa`` or ``C44_GPa`` (of a
    tetragonal or sheared cell) is the value itself and ``constant_change`` its relative change.
    """

    structure: str
    kpts: tuple[int, int, int]
    energy_meV_per_atom: float
    stress_GPa: float
    C_prime_GPa: float | None
    C44_GPa: float | None
    constant_change: float | None
    finest: bool


def kmesh_convergence(frames: Sequence[Any]) -> list[MeshRow]:
    """Changes with the k-mesh of every structure that ``frames`` (ASE atoms with results) hold on several meshes.

    Structures are recognised by their content, whatever their names. Empty if none has two meshes.
    """
    families: list[list[Any]] = []
    for frame in (f for f in frames if f.info.get("kpts") is not None and "stress_eV_per_A3" in f.info):
        family = next((fam for fam in families if _same(fam[0], frame)), None)
        if family is None:
            families.append([frame])
        else:
            family.append(frame)
    rows: list[MeshRow] = []
    for family in families:
        if len({_mesh(frame) for frame in family}) > 1:
            rows += _family_rows(sorted(family, key=lambda f: int(np.prod(_mesh(f)))))
    return rows


def _same(a: Any, b: Any) -> bool:
    """Whether two frames are the same structure."""
    return a.get_chemical_symbols() == b.get_chemical_symbols() and bool(
        np.abs(a.cell.array - b.cell.array).max() < _SAME and np.abs(a.positions - b.positions).max() < _SAME)


def _mesh(frame: Any) -> tuple[int, int, int]:
    n1, n2, n3 = (int(k) for k in frame.info["kpts"])
    return n1, n2, n3


def _stress_GPa(frame: Any) -> np.ndarray:
    return np.array(frame.info["stress_eV_per_A3"], float).reshape(3, 3) / GPA_TO_EV_PER_A3


def elastic_secants(frame: Any) -> tuple[float | None, float | None]:
    """C′ and C44 (GPa) of a cubic cell under tetragonal strain or shear in x–y; None where the strain is another."""
    a = np.trace(frame.cell.array) / 3
    e = frame.cell.array / a - np.eye(3)
    stress = _stress_GPa(frame)
    if np.abs(e).max() > _LARGEST:
        return None, None
    sideways = np.abs(e - np.diag(np.diag(e))).max() > _STRAINED
    if not sideways:
        g = 2 / 3 * (e[0, 0] - 0.5 * (e[1, 1] + e[2, 2]))
        if abs(e[1, 1] - e[2, 2]) > _STRAINED or abs(g) < _STRAINED:
            return None, None
        return float((stress[0, 0] - 0.5 * (stress[1, 1] + stress[2, 2])) / (3 * g)), None
    others = np.abs([*np.diag(e), e[0, 2], e[1, 2], e[2, 0], e[2, 1], e[0, 1] - e[1, 0]]).max()
    return (None, None) if others > _STRAINED else (None, float(stress[0, 1] / (2 * e[0, 1])))


def _family_rows(family: list[Any]) -> list[MeshRow]:
    """Rows of one structure, from the coarsest mesh to the finest."""
    best = family[-1]
    reference = next((c for c in elastic_secants(best) if c is not None), None)
    rows = []
    for frame in family:
        C_prime, C44 = elastic_secants(frame)
        constant = C44 if C_prime is None else C_prime
        change = None if constant is None or not reference else constant / reference - 1
        energy = (float(frame.info["free_energy_eV"]) - float(best.info["free_energy_eV"])) / len(frame)
        stress = np.abs(_stress_GPa(frame) - _stress_GPa(best)).max()
        rows.append(MeshRow(_label(best), _mesh(frame), 1e3 * energy, float(stress), C_prime, C44, change,
                            frame is best))
    return rows


def _label(frame: Any) -> str:
    """Formula and what the cell's strain is."""
    C_prime, C44 = elastic_secants(frame)
    kind = "tetragonal" if C_prime is not None else "sheared" if C44 is not None else "unstrained or other"
    return f"{frame.get_chemical_formula()} {kind}"
