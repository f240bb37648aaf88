"""What every kind of fit hands on: the potential, its offsets, and how it was reached."""

from typing import Any

import equinox as eqx
import numpy as np

from hea_jax.records import AbstractPotential


class Outcome(eqx.Module):
    """``potential``; ``offsets_eV`` (source, element) per atom, that no potential holds; ``history`` (row, 4) of phase,
    step, training and validation loss; ``extra``: what the uncertainty needs (arrays by name)."""

    potential: AbstractPotential
    offsets_eV: np.ndarray
    history: np.ndarray
    extra: dict[str, Any]
