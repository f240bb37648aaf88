"""Energies of reference per element: given (isolated atoms), or fitted to a dataset, and datasets aligned to them.

A potential is fitted to energies relative to such a reference; two datasets can only be joined when theirs agree.

Source: Huber 1964 (robust least squares).
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from hea_jax.electronic.readers import DatasetError


@dataclasses.dataclass(frozen=True)
class ElementOffsets:
    """An energy per atom of each element (eV), in the order of ``elements``; ``determined`` is false for a fit to
    compositions that do not tell all elements apart (the offsets are then the smallest that fit)."""

    elements: tuple[str, ...]
    values_eV: tuple[float, ...]
    determined: bool = True

    def total(self, species) -> float:
        """Sum over atoms of the given species indices, in eV."""
        return float(np.sum(np.asarray(self.values_eV)[np.asarray(species)]))


def given_offsets(table: Mapping[str, float], elements: tuple[str, ...]) -> ElementOffsets:
    """Offsets from a table of energies in eV per atom, e.g. of isolated atoms with the settings of the dataset.

    Raises ``DatasetError`` for an element that the table lacks or whose energy is not finite.
    """
    missing = [e for e in elements if e not in table or not np.isfinite(table[e])]
    if missing:
        raise DatasetError(f"no finite energy is given for the elements {missing}: add them to the table (eV per atom)")
    return ElementOffsets(elements, tuple(float(table[e]) for e in elements))


def fitted_offsets(dataset, *, robust: bool = True) -> ElementOffsets:
    """Offsets (eV per atom) that explain the energies per atom by composition alone, by least squares.

    ``robust`` gives less weight to frames far off (liquids, surfaces, strong compression, wrong references).
    """
    counts, energy = composition_matrix(dataset), np.array([float(f.free_energy_eV) for f in dataset.frames])
    share = counts / counts.sum(axis=1, keepdims=True)
    per_atom = energy / counts.sum(axis=1)
    weight = np.ones(len(share))
    x = np.zeros(share.shape[1])
    for _ in range(50 if robust else 1):
        root = np.sqrt(weight)[:, None]
        x = np.linalg.lstsq(share * root, per_atom * root[:, 0], rcond=1e-10)[0]
        off = np.abs(per_atom - share @ x)
        scale = max(1.4826 * float(np.median(off)), 1e-6)
        weight = 1.0 / np.maximum(1.0, off / scale)
    used = share.any(axis=0)
    determined = bool(np.linalg.matrix_rank(share[:, used], tol=1e-8) == used.sum())
    return ElementOffsets(dataset.elements, tuple(float(v) for v in x), determined)


def composition_matrix(dataset) -> np.ndarray:
    """(frame, element) number of atoms of each element in each frame."""
    number = len(dataset.elements)
    return np.array([np.bincount(np.asarray(f.atoms.species), minlength=number) for f in dataset.frames], float)


def aligned(dataset, offsets: ElementOffsets):
    """The dataset with the offsets taken off its energies (eV): what is left is zero for the reference.

    Raises ``DatasetError`` when the elements differ from those of the dataset.
    """
    if offsets.elements != dataset.elements:
        raise DatasetError(f"offsets are for {offsets.elements}, the dataset holds {dataset.elements}: give offsets "
                           "for the elements of the dataset, in its order")
    shifts = composition_matrix(dataset) @ np.array(offsets.values_eV)
    frames = tuple(dataclasses.replace(f, free_energy_eV=jnp.asarray(np.asarray(f.free_energy_eV) - shift))
                   for f, shift in zip(dataset.frames, shifts, strict=True))
    return dataclasses.replace(dataset, frames=frames)
