"""PFHub benchmark 1 (spinodal decomposition), dimensionless.

Source: Jokisaari, Voorhees, Guyer, Warren & Heinonen 2017.
"""

import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.mesoscale.bulk import DoubleWell
from hea_jax.mesoscale.energy import FreeEnergy
from hea_jax.mesoscale.equations import CahnHilliard
from hea_jax.mesoscale.grid import PeriodicGrid


def bm1(grid: PeriodicGrid) -> CahnHilliard:
    """Cahn–Hilliard with f = 5 (c − 0.3)² (0.7 − c)², κ = 2, M = 5."""
    height, low, high, kappa, mobility = (jnp.asarray(v, grid.voxel_nm.dtype) for v in (5.0, 0.3, 0.7, 2.0, 5.0))
    return CahnHilliard(FreeEnergy(grid, DoubleWell(height, low, high), kappa), mobility)


def bm1_initial(grid: PeriodicGrid) -> Float[Array, "nx ny"]:
    """The initial field of benchmark 1a on a 2D grid (the domain is 200 × 200)."""
    x, y = grid.coordinates()
    waves = (jnp.cos(0.105 * x) * jnp.cos(0.11 * y) + (jnp.cos(0.13 * x) * jnp.cos(0.087 * y)) ** 2
             + jnp.cos(0.025 * x - 0.15 * y) * jnp.cos(0.07 * x - 0.02 * y))
    return 0.5 + 0.01 * waves


def bm1a_reference() -> dict[str, np.ndarray]:
    """Columns ``time``, ``total``, ``bulk``, ``grad`` of the packaged reference run (see ``data/pfhub/README.md``)."""
    path = Path(__file__).parents[1] / "data" / "pfhub" / "bm1a_ref_N200.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("time", "total", "bulk", "grad")}
