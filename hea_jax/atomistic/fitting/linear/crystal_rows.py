"""Lattice and elastic constants of an element on a Bravais lattice, with slopes by the coefficients in closed form.

Nothing but the lattice constant relaxes there. With B the energy of unit coefficients in the cell, c the coefficients
and s a relative change of all lengths,

    s* : c·B'(s) = 0,    ∂s*/∂c = −B' / (c·B''),    C_ij = c·R_ij / V,    ∂C/∂c = R/V + (dC/ds) ∂s*/∂c,

R being the second derivatives of B by the strains. The same numbers as from ``observe`` and its derivative, which go
through a relaxation and third derivatives of the potential and take minutes to compile for many functions.

Source: Wallace 1972 (elastic constants at zero pressure).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.targets import Cell, ElasticConstant, LatticeConstant
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.properties import energy
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.records import AbstractPotential

STEP = 2e-4
"""Relative change of lengths for dC/ds, by central differences."""
ROUNDS = 30
_STRAINS = np.zeros((3, 3, 3))
_STRAINS[0, 0, 0] = _STRAINS[1, 1, 1] = 1.0
_STRAINS[2, 0, 1] = _STRAINS[2, 1, 0] = 0.5
_PAIRS = ((0, 0), (0, 1), (2, 2))
"""Strains whose products give C11, C12, C44."""


class CrystalRows(NamedTuple):
    """Per unit coefficient (element · function), then of the core: ``slope`` and ``curvature`` (eV) of the energy of
    the cell by s, and ``elastic`` (3, …) second derivatives (eV) that give C11, C12, C44; ``volume`` (Å³)."""

    slope: Float[Array, "unknown"]
    curvature: Float[Array, "unknown"]
    elastic: Float[Array, "3 unknown"]
    volume: Float[Array, ""]


@eqx.filter_jit
def crystal_rows(template: BodyOrdered, core: AbstractPotential | None, cell: Cell, stretch: Float[Array, ""]
                 ) -> CrystalRows:
    """Derivatives of all functions' energies in the cell, lengths times ``stretch``."""
    still = cell.atoms.deformed(stretch * jnp.eye(3))
    one_hot = jax.nn.one_hot(still.species, len(template.elements), dtype=still.positions.dtype)

    def unit_energies(strain):
        atoms = still.deformed(jnp.eye(3) + strain)
        fixed = jnp.zeros(()) if core is None else energy(core, atoms, cell.pairs)
        return jnp.append((one_hot.T @ template.functions(atoms, cell.pairs)).ravel(), fixed)

    def along(strain, other):
        inner = lambda e: jax.jvp(unit_energies, (e,), (strain,))[1]
        return jax.jvp(inner, (jnp.zeros((3, 3)),), (other,))

    slope, curvature = along(jnp.eye(3), jnp.eye(3))
    strains = jnp.asarray(_STRAINS)
    first, second = (strains[jnp.array(k)] for k in zip(*_PAIRS, strict=True))
    elastic = jax.lax.map(lambda pair: along(*pair)[1], (first, second))
    return CrystalRows(slope, curvature, elastic, still.volume)


def value_and_row(target: LatticeConstant | ElasticConstant, potential: BodyOrdered, core: AbstractPotential | None
                  ) -> tuple[float, np.ndarray]:
    """The number (Å or GPa), and its slope (element · function); NaN where there is no lattice constant at rest.

    For a target whose cell is a Bravais lattice of one element, and only for such.
    """
    c = np.append(np.asarray(potential.coefficients).ravel(), 0.0 if core is None else 1.0)
    rows = lambda s: crystal_rows(potential, core, target.cell, jnp.asarray(s))
    s, now, settled = 1.0, rows(1.0), False
    for _ in range(ROUNDS):
        bend = float(c @ now.curvature)
        step = -float(c @ now.slope) / bend if bend > 0 else np.nan
        if not abs(step) < 0.1:
            break
        s, settled = s * (1.0 + step), abs(step) < 1e-11
        now = rows(s)
        if settled:
            break
    if not settled:
        return np.nan, np.full(len(c) - 1, np.nan)
    moves = -np.asarray(now.slope) / float(c @ now.curvature)
    if isinstance(target, LatticeConstant):
        value = float(np.cbrt(float(now.volume) / target.cell.cells))
        return value, value * moves[:-1]
    k = int(target.which)
    constant = lambda r: float(c @ r.elastic[k]) / float(r.volume) * EV_PER_A3_TO_GPA
    by_s = (constant(rows(s * (1 + STEP))) - constant(rows(s * (1 - STEP)))) / (2 * STEP)
    slope = np.asarray(now.elastic[k]) / float(now.volume) * EV_PER_A3_TO_GPA + by_s * moves
    return constant(now), slope[:-1]
