"""Any potential on many reference frames: batched energies, forces and stresses, and errors per group.

Frames are padded to a few sizes (lone atoms without neighbours, whose energy is masked out), so that a set of
thousands of frames of all sizes needs a handful of compilations.

Source: Zuo et al. 2020 (the quantities by which potentials are compared).
"""

import dataclasses
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.neighbours import neighbour_table, widened
from hea_jax.core.units import EV_PER_A3_TO_GPA, EV_TO_MEV
from hea_jax.records import AbstractPotential, Atoms, Neighbours, ReferenceData

BATCH_ATOMS = 512
"""Atoms evaluated together."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Per frame: ``energy_eV`` (frame,), ``forces_eV_per_A`` list of (atom, 3), ``stress_eV_per_A3`` (frame, 3, 3)."""

    energy_eV: np.ndarray
    forces_eV_per_A: list[np.ndarray]
    stress_eV_per_A3: np.ndarray


def evaluate(potential: AbstractPotential, frames: Sequence[ReferenceData], *,
             report: Callable[[int, int], None] = lambda done, total: None) -> Predictions:
    """Predictions for all frames (host-side); ``report(done, total)`` counts frames."""
    energy, stress = np.zeros(len(frames)), np.zeros((len(frames), 3, 3))
    forces: list[np.ndarray] = [np.zeros((f.atoms.number, 3)) for f in frames]
    sized: dict[int, list[int]] = {}
    for n, frame in enumerate(frames):
        sized.setdefault(_padded(frame.atoms.number), []).append(n)
    done = 0
    for number, members in sized.items():
        count = max(1, BATCH_ATOMS // number)
        for start in range(0, len(members), count):
            chunk = members[start : start + count]
            E, F, S = (np.asarray(x) for x in _batch(potential, *_stacked([frames[n] for n in chunk], potential.cutoff,
                                                                         number, count)))
            for k, n in enumerate(chunk):
                energy[n], stress[n], forces[n] = E[k], S[k], F[k, : frames[n].atoms.number]
            done += len(chunk)
            report(done, len(frames))
    return Predictions(energy, forces, stress)


def _padded(number: int) -> int:
    """A few sizes, at most a third larger than needed."""
    size = 1
    while size < number:
        size = size + max(1, size // 3)
    return size


def _stacked(frames, cutoff, number, count):
    """(atoms, pairs, mask) of a batch of exactly ``count`` frames; the last one is repeated to fill it."""
    tables = [neighbour_table(frame.atoms, cutoff) for frame in frames]
    width = _padded(max(table.index.shape[1] for table in tables))
    rows = []
    for frame, table in zip(frames, tables, strict=True):
        extra, wide = number - frame.atoms.number, widened(table, width)
        pad = lambda a, extra=extra: np.pad(np.asarray(a), ((0, extra),) + ((0, 0),) * (np.ndim(a) - 1))
        rows.append((pad(frame.atoms.positions), np.asarray(frame.atoms.cell), pad(frame.atoms.species),
                     pad(wide.index), pad(wide.shift), pad(wide.mask), np.arange(number) < frame.atoms.number))
    rows += [rows[-1]] * (count - len(rows))
    x, cell, species, index, shift, mask, real = (jnp.asarray(np.stack(column)) for column in zip(*rows, strict=True))
    atoms = Atoms(x, cell, species, frames[0].atoms.elements)
    return atoms, Neighbours(index, shift, mask, float(cutoff)), real


@eqx.filter_jit
def _batch(potential, atoms, pairs, real):
    """Energies, forces and stresses of a batch; padding atoms count for nothing."""
    def one(atoms, pairs, real):
        def total(u, gradient):
            moved = atoms.displaced(u).deformed(jnp.eye(3, dtype=u.dtype) + 0.5 * (gradient + gradient.T))
            return jnp.sum(jnp.where(real, potential.atomic_energies(moved, pairs), 0.0))

        value, (g, s) = jax.value_and_grad(total, argnums=(0, 1))(jnp.zeros_like(atoms.positions),
                                                                  jnp.zeros_like(atoms.cell))
        return value, -g, s / atoms.volume

    return jax.lax.map(lambda row: one(*row), (atoms, pairs, real), batch_size=max(1, 64 // atoms.positions.shape[1]))


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Predicted minus reference, and the reference: per frame energies per atom (meV), lists of force components
    (atom, 3) in eV/Å, stresses (frame, 6) in GPa in the order xx yy zz yz xz xy (NaN where unknown)."""

    energy_meV: np.ndarray
    forces_eV_per_A: list[np.ndarray]
    stress_GPa: np.ndarray
    reference_energy_eV: np.ndarray
    reference_forces_eV_per_A: list[np.ndarray]
    reference_stress_GPa: np.ndarray

    def select(self, indices) -> "Residuals":
        """Those of some frames."""
        at = [int(n) for n in indices]
        return Residuals(self.energy_meV[at], [self.forces_eV_per_A[n] for n in at], self.stress_GPa[at],
                         self.reference_energy_eV[at], [self.reference_forces_eV_per_A[n] for n in at],
                         self.reference_stress_GPa[at])


def residuals_of(predictions: Predictions, frames: Sequence[ReferenceData], offsets_eV: np.ndarray,
                 source: np.ndarray) -> Residuals:
    """Residuals of predictions with element offsets (source, element) in eV; reference energies are per atom relative
    to the offsets."""
    rows, columns = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    elements = np.atleast_2d(offsets_eV).shape[1]
    counts = np.array([np.bincount(np.asarray(f.atoms.species), minlength=elements) for f in frames])
    shift = np.sum(counts * np.atleast_2d(offsets_eV)[np.asarray(source)], axis=1)
    atoms = counts.sum(axis=1)
    target = (np.array([float(f.free_energy_eV) for f in frames]) - shift) / atoms
    reference = [np.asarray(f.forces_eV_per_A) for f in frames]
    stress = np.array([np.asarray(f.stress_eV_per_A3) for f in frames])[:, rows, columns] * EV_PER_A3_TO_GPA
    ours = predictions.stress_eV_per_A3[:, rows, columns] * EV_PER_A3_TO_GPA
    forces = [p - r for p, r in zip(predictions.forces_eV_per_A, reference, strict=True)]
    per_atom = (predictions.energy_eV / atoms - target) * EV_TO_MEV
    return Residuals(per_atom, forces, ours - stress, target, reference, stress)


@dataclasses.dataclass(frozen=True)
class ErrorRow:
    """Errors of one group in one part of a split: energies per atom (meV), force components (eV/Å), stress components
    (GPa), each as mean absolute, root-mean-square and largest error; NaN where there is nothing to compare."""

    part: str
    group: str
    frames: int
    energy_mae_meV: float
    energy_rmse_meV: float
    energy_max_meV: float
    force_mae_eV_per_A: float
    force_rmse_eV_per_A: float
    force_max_eV_per_A: float
    stress_mae_GPa: float
    stress_rmse_GPa: float
    stress_max_GPa: float


def error_rows(residuals: Residuals, groups: Sequence[str], parts: dict[str, np.ndarray]) -> list[ErrorRow]:
    """Errors of every group (and ``all``) in every part that has frames."""
    labels, out = np.array(groups), []
    for part, indices in parts.items():
        names = [g for g in dict.fromkeys(groups) if (labels[indices] == g).any()]
        for name in [*names, *(["all"] if len(indices) else [])]:
            chosen = indices if name == "all" else indices[labels[indices] == name]
            out.append(_row(part, name, residuals.select(chosen)))
    return out


def _row(part, group, residuals):
    figures = []
    for values in (residuals.energy_meV, np.concatenate([f.ravel() for f in residuals.forces_eV_per_A]),
                   residuals.stress_GPa[np.isfinite(residuals.stress_GPa)]):
        size = np.abs(values)
        nothing = not values.size
        figures += [np.nan] * 3 if nothing else [size.mean(), np.sqrt(np.mean(size**2)), size.max()]
    return ErrorRow(part, group, len(residuals.energy_meV), *map(float, figures))
