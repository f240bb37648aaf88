"""Force fields of embedded-atom potentials: two passes over the table, gathers only.

First the densities and F′, then the tension of every bond, φ′ + F′_i ρ′_ij + F′_j ρ′_ji. On a CPU each operation writes
a whole (atom, k) array, so large tables are visited in blocks of rows whose arrays stay in the cache: the time per atom
does not grow with the number of atoms.

Source: Daw & Baskes 1984 (EAM forces); Allen & Tildesley 2017, ch. 2.4 and 5 (virial, tables).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.atomistic.force_field_base import AbstractForceField, Interaction
from hea_jax.atomistic.potentials.eam import AbstractEAM, take
from hea_jax.core.types import Cell, Positions
from hea_jax.records import Atoms, Neighbours

BLOCK_ROWS = 512
"""Rows visited together at most: fewer cost more calls and share out badly among threads."""

Bond = Float[Array, "row k"]
Row = Float[Array, "row"]


class Rows(eqx.Module):
    """Some rows of a neighbour table, or with a leading axis all its blocks: ``species`` (row,), ``neighbour`` and
    ``kind`` (row, k), index and species of the neighbour, ``mask`` (row, k), ``image`` cell shifts, three (row, k)."""

    species: Int[Array, "*block row"]
    neighbour: Int[Array, "*block row k"]
    kind: Int[Array, "*block row k"]
    mask: Bool[Array, "*block row k"]
    image: tuple[Int[Array, "*block row k"], ...]


class EAMTable(eqx.Module):
    """A neighbour table in blocks of rows. Static: ``number`` of atoms (the last block may be longer), ``far`` (Å),
    beyond every cut-off, where padding is put."""

    rows: Rows
    number: int = eqx.field(static=True)
    far: float = eqx.field(static=True)

    @classmethod
    def of(cls, atoms: Atoms, pairs: Neighbours) -> "EAMTable":
        """The table of ``pairs`` for the species of ``atoms``."""
        # Two bytes: shifts are read in every pass.
        image = tuple(pairs.shift[..., row].astype(jnp.int16) for row in range(3))
        rows = Rows(atoms.species, pairs.index, take(atoms.species, pairs.index), pairs.mask, image)
        number = atoms.species.shape[0]
        return cls(jax.tree.map(lambda x: _split(x, number), rows), number, pairs.cutoff + pairs.skin + 1.0)

    def visit(self, function, *per_row):
        """``function(rows, *values)`` for every block, where ``per_row`` holds one array (atom,) per value; its answers
        (row, …) come back as (atom, …)."""
        arguments = (self.rows, *(_split(values, self.number) for values in per_row))
        out = jax.lax.map(lambda block: function(*block), arguments)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:self.number], out)


def _split(values, number):
    """(atom, …) → (block, row, …), padded with zeros (False for a mask)."""
    # At least two: in a single one XLA shares distances between the passes, which costs more than to repeat them.
    blocks = min(number, max(2, -(-number // BLOCK_ROWS)))
    size = -(-number // blocks)
    padded = jnp.pad(values, [(0, blocks * size - number)] + [(0, 0)] * (values.ndim - 1))
    return padded.reshape(blocks, size, *values.shape[1:])


class AbstractEAMForceField(AbstractForceField):
    """An EAM on a table: how densities and tensions follow from distances is left to the concrete field."""

    table: eqx.AbstractVar[EAMTable]

    @abc.abstractmethod
    def density(self, rows: Rows, r: Bond) -> Row:
        """Density at the atoms of ``rows``; distances r in Å."""

    @abc.abstractmethod
    def embedding(self, density: Float[Array, "atom"], species: Int[Array, "atom"]) -> Float[Array, "atom"]:
        """Embedding energies F (eV)."""

    @abc.abstractmethod
    def bonds(self, rows: Rows, r: Bond, own: Row, other: Bond) -> tuple[Bond, Bond]:
        """(φ in eV, φ′ + F′_i ρ′_ij + F′_j ρ′_ji in eV/Å) with F′_i = ``own`` (row,), F′_j = ``other`` (row, k)."""

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV), by gathers only."""
        F, out = self._visit(positions, cell, _force_and_trace)
        energy, forces, trace = out
        return Interaction(jnp.sum(energy + F), forces, jnp.sum(trace))

    def atomic_virials(self, positions: Positions, cell: Cell) -> Float[Array, "atom 3 3"]:
        """W_i = −½ Σ_j D_ij ⊗ (∂E/∂D_ij) in eV, symmetric: their traces add up to the virial, and −Σ W_i/V is
         the stress (positive in tension)."""
        return self._visit(positions, cell, _virial)[1]

    def _visit(self, positions, cell, read):
        """(F (atom,), what ``read(vectors, φ, tension/r)`` makes of each block)."""
        species = self.table.rows.species.reshape(-1)[:self.table.number]
        x = tuple(positions[:, axis] for axis in range(3))

        def densities(rows, *own):
            return self.density(rows, _lengths(self._vectors(rows, x, own, cell)))

        density = self.table.visit(densities, *x)
        F, slope = jax.jvp(lambda d: self.embedding(d, species), (density,), (jnp.ones_like(density),))

        def bonds(rows, slope_own, *own):
            vectors = self._vectors(rows, x, own, cell)
            r = _lengths(vectors)
            phi, tension = self.bonds(rows, r, slope_own, take(slope, rows.neighbour))
            return read(vectors, phi, tension / r)

        return F, self.table.visit(bonds, slope, *x)

    def _vectors(self, rows, x, own, cell):
        """x, y, z of the pair vectors (Å); padding lies beyond the cut-off."""
        shift = [image.astype(cell.dtype) for image in rows.image]
        out = []
        for axis in range(3):
            image = sum(shift[row] * cell[row, axis] for row in range(3))
            far = self.table.far if axis == 0 else 0.0
            # Reversed pairs come out exactly opposite, so both ends agree on what is within the cut-off.
            out.append(jnp.where(rows.mask, (take(x[axis], rows.neighbour) - own[axis][:, None]) + image, far))
        return tuple(out)


def _lengths(vectors):
    return jnp.sqrt(vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2)


def row_sum(a: Bond, b: Bond) -> Row:
    """Σ_k a b."""
    # As a product of rows: a plain sum of a long row is done by XLA in two passes, at three times the cost.
    return jnp.einsum("ak,ak->a", a, b)


def _force_and_trace(vectors, phi, pull):
    energy = 0.5 * jnp.sum(phi, axis=-1)
    square = vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2
    forces = jnp.stack([row_sum(pull, component) for component in vectors], axis=-1)
    return energy, forces, -0.5 * row_sum(pull, square)


def _virial(vectors, phi, pull):
    W = [[-0.5 * row_sum(pull * vectors[a], vectors[b]) for b in range(3)] for a in range(3)]
    return jnp.stack([jnp.stack(line, axis=-1) for line in W], axis=-2)


class RadialEAMForceField(AbstractEAMForceField):
    """Any EAM, from its own radial functions."""

    potential: AbstractEAM
    table: EAMTable

    def density(self, rows, r):
        """Densities at the atoms."""
        return jnp.sum(self.potential.radial(r, rows.species[:, None], rows.kind)[1], axis=-1)

    def embedding(self, density, species):
        """F (eV)."""
        return self.potential.embedding(density, species)

    def bonds(self, rows, r, own, other):
        """(φ, tension), derivatives by one forward pass."""
        radial = lambda r_: self.potential.radial(r_, rows.species[:, None], rows.kind)
        (phi, _, _), (d_phi, d_in, d_out) = jax.jvp(radial, (r,), (jnp.ones_like(r),))
        return phi, d_phi + own[:, None] * d_in + other * d_out
