"""What a force field is: a potential bound to species and a neighbour table; and the one that serves any potential.

Source: Allen & Tildesley 2017, ch. 2.4 (virial).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from hea_jax.atomistic.properties import energy
from hea_jax.core.types import Cell, Positions, Scalar
from hea_jax.records import AbstractPotential, Atoms, Neighbours


class Interaction(eqx.Module):
    """``energy`` (eV), ``forces`` (atom, 3) in eV/Å, ``virial`` W = −dE/d ln λ (eV) under r → λ r, so that the
    pressure is (2K + W)/3V."""

    energy: Scalar
    forces: Positions
    virial: Scalar


class AbstractForceField(eqx.Module):
    """A potential bound to species and a neighbour table."""

    @abc.abstractmethod
    def evaluate(self, positions: Positions, cell: Cell) -> Interaction:
        """The interaction at positions and cell (Å)."""


class AutodiffForceField(AbstractForceField):
    """Any potential: derivatives of its energy (gathers only for an EAM, see ``properties.energy``)."""

    potential: AbstractPotential
    atoms: Atoms
    pairs: Neighbours

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV) by one reverse pass."""
        def total(u, stretch):
            moved = eqx.tree_at(lambda a: (a.positions, a.cell), self.atoms,
                                ((positions + u) * stretch, cell * stretch))
            return energy(self.potential, moved, self.pairs)

        one = jnp.ones((), positions.dtype)
        value, (g, slope) = jax.value_and_grad(total, argnums=(0, 1))(jnp.zeros_like(positions), one)
        return Interaction(value, -g, -slope)
