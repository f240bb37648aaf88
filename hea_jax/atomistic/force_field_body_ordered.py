"""The body-ordered potential on one neighbour table: atoms in small blocks of one element, forces by gathers.

All intermediates of a block of 32 atoms fit the cache, which is worth a factor of two and a half against the same
operations on all atoms at once. Every pair of atoms stands in both rows of the table, so the force on atom i

    F_i = Σ_k [ g_ik − g_j,k′ ],      g_ik = ∂(Σ E)/∂r_ik over the energy of i alone, k′ the place of i in the row of j,

is a gather; the places k′ are found once per table.

Sources: Drautz 2019 (the potential); Allen & Tildesley 2017, ch. 2.4 (virial).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.atomistic.force_field_base import AbstractForceField, Interaction
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.blocks_of_species import SpeciesBlocks, species_blocks
from hea_jax.atomistic.potentials.body_ordered.model import block_energies, project
from hea_jax.atomistic.potentials.eam import take
from hea_jax.records import Atoms, Neighbours

ROWS_PER_BLOCK = 32


class BodyOrderedForceField(AbstractForceField):
    """A ``BodyOrdered`` potential on a table; build it with ``body_ordered_force_field``.

    ``blocks``: atoms in blocks; ``neighbour``, ``kind``, ``mask`` (block, row, k) and ``image`` (block, row, k, 3) are
    the table in that order; ``opposite`` (atom, k): place of the reversed pair among all (row, k).
    """

    potential: BodyOrdered
    blocks: SpeciesBlocks
    neighbour: Int[Array, "block row k"]
    kind: Int[Array, "block row k"]
    mask: Bool[Array, "block row k"]
    image: Float[Array, "block row k 3"]
    opposite: Int[Array, "atom k"]
    pair_mask: Bool[Array, "atom k"]
    far: float = eqx.field(static=True)

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV)."""
        energies, pulls, virials = self.bonds(positions, cell)
        row = self.blocks.row
        flat = pulls.reshape(-1, pulls.shape[-2], 3)
        own = take(jnp.sum(flat, axis=1), row)
        reversed_ = take(flat.reshape(-1, 3), self.opposite)
        back = jnp.sum(jnp.where(self.pair_mask[..., None], reversed_, 0.0), axis=1)
        return Interaction(jnp.sum(take(energies.ravel(), row)), own - back, -jnp.sum(take(virials.ravel(), row)))

    def bonds(self, positions, cell) -> tuple[Array, Array, Array]:
        """Per row: energy (eV), its derivatives by pair vectors (block, row, k, 3) in eV/Å, their virial (eV)."""
        elements = self.blocks.element

        def one(block):
            element, atom, neighbour, kind, mask, image = block
            vectors = take(positions, neighbour) + image @ cell - take(positions, atom)[:, None]
            far = jnp.array([self.far, 0.0, 0.0], vectors.dtype)
            vectors = jnp.where(mask[..., None], vectors, far)
            alone = SpeciesBlocks(atom, atom, element[None])

            def total(v):
                energy = block_energies(self.potential, project(self.potential, v, kind), alone)[0]
                return jnp.sum(energy), energy

            g, energy = jax.grad(total, has_aux=True)(vectors)
            return energy, g, jnp.sum(g * vectors, axis=(1, 2))

        atom = self.blocks.atom.reshape(self.neighbour.shape[:2])
        return jax.lax.map(one, (elements, atom, self.neighbour, self.kind, self.mask, self.image))


def body_ordered_force_field(potential: BodyOrdered, atoms: Atoms, pairs: Neighbours) -> BodyOrderedForceField:
    """Bind a potential to the species of ``atoms`` and a complete table (Å); jittable."""
    blocks = species_blocks(atoms.species, len(potential.elements), ROWS_PER_BLOCK)
    dtype = potential.coefficients.dtype
    ordered = lambda table: take(table, blocks.atom).reshape(*blocks.shape, *table.shape[1:])
    kind = take(atoms.species, pairs.index)
    return BodyOrderedForceField(potential, blocks, ordered(pairs.index), ordered(kind), ordered(pairs.mask),
                                 ordered(pairs.shift).astype(dtype), opposite_places(pairs, blocks.row), pairs.mask,
                                 float(pairs.cutoff + pairs.skin + 1.0))


def opposite_places(pairs: Neighbours, row: Int[Array, "atom"]) -> Int[Array, "atom k"]:
    """For every pair (i, k), the place row(j) · width + k′ of the same pair seen from its other end."""
    number, width = pairs.index.shape
    me = jnp.arange(number, dtype=pairs.index.dtype)

    def of_atom(atom):
        i, index, shift = atom
        same = (take(pairs.index, index) == i) & take(pairs.mask, index)
        for axis in range(3):
            same &= take(pairs.shift[..., axis], index) == -shift[:, axis, None]
        return take(row, index) * width + jnp.argmax(same, axis=1)

    return jax.lax.map(of_atom, (me, pairs.index, pairs.shift), batch_size=min(number, 1024)).astype(jnp.int32)
