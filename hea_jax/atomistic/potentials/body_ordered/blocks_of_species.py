"""Atoms in blocks of one element, so that coefficients are picked per block and not per atom.

A potential whose coefficients depend on the central element would otherwise fetch (or multiply by) a table per atom.
Every element's atoms fill whole blocks of ``size`` rows, the last one padded; the number of blocks depends on shapes
only, so composition may change without a new compilation.

Source: the idea of grouped matrix products, as in Shazeer et al. 2017 (sparsely gated layers).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from hea_jax.atomistic.potentials.eam import take


class SpeciesBlocks(eqx.Module):
    """``atom`` (block · size,): the atom in each row (padding repeats atom 0); ``row`` (atom,): the row of each atom;
    ``element`` (block,): the element of each block."""

    atom: Int[Array, "row"]
    row: Int[Array, "atom"]
    element: Int[Array, "block"]

    @property
    def shape(self) -> tuple[int, int]:
        """(number of blocks, rows in a block)."""
        return self.element.shape[0], self.atom.shape[0] // self.element.shape[0]


def species_blocks(species: Int[Array, "atom"], elements: int, largest: int = 64) -> SpeciesBlocks:
    """Rows for atoms of the given species (jittable; shapes depend on the numbers of atoms and elements only).

    A block has at most ``largest`` rows, and few enough that padding stays below a quarter of the atoms (all of them,
    where that would take blocks of less than eight).
    """
    number = species.shape[0]
    size = max(1, min(largest, number // elements, max(8, number // (4 * elements))))
    count = -(-number // size) + elements
    mine = (species[:, None] == jnp.arange(elements)).astype(jnp.int32)
    order = take_along(jnp.cumsum(mine, axis=0) - 1, species)
    needed = -(-jnp.sum(mine, axis=0) // size)
    ends = jnp.cumsum(needed)
    row = take(ends - needed, species) * size + order
    atom = jnp.zeros(count * size, jnp.int32).at[row].set(jnp.arange(number, dtype=jnp.int32))
    element = jnp.minimum(jnp.searchsorted(ends, jnp.arange(count), side="right"), elements - 1)
    return SpeciesBlocks(atom, row.astype(jnp.int32), element.astype(jnp.int32))


def take_along(table: Int[Array, "atom element"], species: Int[Array, "atom"]) -> Int[Array, "atom"]:
    """table[i, species[i]]."""
    return jnp.take_along_axis(table, species[:, None], axis=1)[:, 0]
