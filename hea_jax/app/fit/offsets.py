"""Offsets of a fit: free, or given by the configuration, then taken off the data and held at that."""

import numpy as np

from hea_jax.electronic import DatasetError

HELD_EV = 1e-6
"""Prior spread (eV) of offsets that the configuration gives: what was taken off the data is not fitted again."""


def offset_spread(config, free_eV: float) -> float:
    """Prior spread of offsets (eV): ``free_eV``, or ``HELD_EV`` where `offsets.table_eV` gives them."""
    return free_eV if config.offsets.table_eV is None else HELD_EV


def offset_start(config, counts, energies_eV) -> np.ndarray:
    """Offsets (eV) to begin with: least squares of ``counts`` (frame, offset) to energies (frame,), 0 where given."""
    if config.offsets.table_eV is not None:
        return np.zeros(np.shape(counts)[1])
    return np.linalg.lstsq(np.asarray(counts), np.asarray(energies_eV), rcond=1e-10)[0]


def check_offsets(config, elements: tuple[str, ...]) -> None:
    """Raise ``DatasetError`` for energies (eV) of elements that the data do not have."""
    unknown = [e for e in config.offsets.table_eV or {} if e not in elements]
    if unknown:
        raise DatasetError(f"offsets.table_eV gives {', '.join(unknown)}, of which there are no data: the elements are "
                           f"{', '.join(elements)}; take it off the table")
