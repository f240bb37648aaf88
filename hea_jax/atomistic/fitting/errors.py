"""Per-group error tables of a fit: mean absolute and root-mean-square errors.

Source: Zuo et al. 2020 (the quantities by which potentials are compared).
"""

import dataclasses

import numpy as np

from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames, predict
from hea_jax.core.units import EV_PER_A3_TO_GPA, EV_TO_MEV


@dataclasses.dataclass(frozen=True)
class GroupErrors:
    """Errors of one group: energies per atom (meV), force components (eV/Å), stress components (GPa); MAE and RMSE."""

    group: str
    frames: int
    energy_mae_meV: float
    energy_rmse_meV: float
    force_mae_eV_per_A: float
    force_rmse_eV_per_A: float
    stress_mae_GPa: float
    stress_rmse_GPa: float


def error_table(parameters: FitParameters, packed: PackedFrames, groups: tuple[str, ...]) -> list[GroupErrors]:
    """Errors of every group in order of appearance, then of all frames (group ``all``); host-side."""
    energy, forces, stress = (np.asarray(x) for x in predict(parameters, packed))
    per_atom = (energy - np.asarray(packed.energy_target)) / np.asarray(packed.counts).sum(1) * EV_TO_MEV
    force = forces - np.asarray(packed.force_target)
    known = np.asarray(packed.stress_weight) > 0
    stress = (stress - np.asarray(packed.stress_target)) * EV_PER_A3_TO_GPA
    # Mandel to tensor components.
    stress = stress / np.array([1, 1, 1, *[np.sqrt(2)] * 3])
    labels, frame = np.array(groups), np.asarray(packed.frame)

    def row(name, chosen):
        of = (per_atom[chosen], force[chosen[frame]], stress[chosen & known])
        figures = [f(x) if x.size else float("nan") for x in of for f in (_mae, _rmse)]
        return GroupErrors(name, int(chosen.sum()), *figures)

    rows = [row(name, labels == name) for name in dict.fromkeys(groups)]
    return [*rows, row("all", np.ones(len(labels), bool))]


def _mae(x):
    return float(np.mean(np.abs(x)))


def _rmse(x):
    return float(np.sqrt(np.mean(x**2)))


def format_table(rows: list[GroupErrors]) -> str:
    """A plain-text table of ``error_table`` rows (MAE / RMSE)."""
    head = f"{'group':<14}{'frames':>6}  {'energy meV/atom':>18}  {'force eV/Å':>16}  {'stress GPa':>14}"
    lines = [f"{r.group:<14}{r.frames:>6}  {r.energy_mae_meV:>8.2f} /{r.energy_rmse_meV:>8.2f}"
             f"  {r.force_mae_eV_per_A:>7.3f} /{r.force_rmse_eV_per_A:>7.3f}"
             f"  {r.stress_mae_GPa:>6.2f} /{r.stress_rmse_GPa:>6.2f}" for r in rows]
    return "\n".join([head, *lines])
