"""The body-ordered potential on one neighbour table: atoms in small blocks of one element, forces by gathers.

All intermediates of a block fit the cache, which is worth a factor of two and a half against the same operations on all
atoms at once. A table with a skin holds more pairs beyond the cut-off than within; rows are first packed to the pairs
within. How many fit is looked up at each evaluation: the narrowest of a few widths that holds them all is used, the
last being the table's own, so no pair is ever left out.

Every pair of atoms stands in both rows of the table, so the force on atom i

    F_i = Σ_k [ g_ik − g_j,k′ ],      g_ik = ∂(Σ E)/∂r_ik over the energy of i alone, k′ the place of i in the row of j,

is a gather; the places k′ are found once per table.

Sources: Drautz 2019 (the potential); Allen & Tildesley 2017, ch. 2.4 (virial).
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.atomistic.force_field_base import AbstractForceField, Interaction
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.blocks_of_species import SpeciesBlocks, species_blocks
from hea_jax.atomistic.potentials.body_ordered.kernel import Kernel, kernel_of
from hea_jax.atomistic.potentials.eam import take
from hea_jax.records import Atoms, Neighbours

ROWS_PER_BLOCK = {"cpu": 32}
"""Rows of a block by platform; what stands here fits the cache of a core."""
ROWS_ELSEWHERE = 2048
"""Rows elsewhere: enough to fill a GPU. With 40 pairs in a row, 25 harmonics and 20 channels are 30 MB of doubles, and
everything that lives at once is 0.1 GB (as compiled for a CPU)."""
PACKED = (0.86, 1.15)
"""Packed widths over what a uniform density leaves of the table's width within the cut-off: bcc is below, fcc above."""


class BodyOrderedForceField(AbstractForceField):
    """A ``BodyOrdered`` potential on a table; build it with ``body_ordered_force_field``.

    ``blocks``: atoms in blocks; ``neighbour``, ``kind``, ``mask`` (block, row, k) and ``image`` (block, row, k, 3) are
    the table in that order; ``opposite`` (block, row, k): place of the reversed pair among all (row, k), −1 for none.
    Static: ``widths``, ascending, that rows may be packed to.
    """

    kernel: Kernel
    blocks: SpeciesBlocks
    neighbour: Int[Array, "block row k"]
    kind: Int[Array, "block row k"]
    mask: Bool[Array, "block row k"]
    image: Float[Array, "block row k 3"]
    opposite: Int[Array, "block row k"]
    widths: tuple[int, ...] = eqx.field(static=True)

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV)."""
        order = self._order(positions, cell)
        needed = largest(order[..., -1])
        which = jnp.sum(needed > jnp.array(self.widths[:-1], jnp.int32), dtype=jnp.int32)
        branches = [functools.partial(self._evaluated, width=width) for width in self.widths]
        return jax.lax.switch(which, branches, positions, cell, order)

    def _vectors(self, positions, cell, atom, neighbour, image):
        """Components (row, k) of the pair vectors of some rows (Å)."""
        def component(axis):
            x = positions[:, axis]
            shift = image[..., 0] * cell[0, axis] + image[..., 1] * cell[1, axis] + image[..., 2] * cell[2, axis]
            # Reversed pairs come out exactly opposite, so both ends agree on what is within the cut-off.
            return (take(x, neighbour) - take(x, atom)[..., None]) + shift

        return tuple(component(axis) for axis in range(3))

    @property
    def _atom(self):
        """The atom in each row (block, row)."""
        return self.blocks.atom.reshape(self.neighbour.shape[:2])

    def _order(self, positions, cell):
        """How many pairs within the cut-off stand up to each place (block, row, k), this one included."""
        def one(block):
            atom, neighbour, image, mask = block
            x, y, z = self._vectors(positions, cell, atom, neighbour, image)
            # A distance that is not a number counts as within, so that it shows.
            inside = mask & ~(x * x + y * y + z * z >= self.kernel.cutoff**2)
            return jnp.cumsum(inside, axis=-1, dtype=jnp.int32)

        return jax.lax.map(one, (self._atom, self.neighbour, self.image, self.mask))

    def _rows(self, order):
        """What ``_packed`` needs of every block."""
        return self._atom, self.neighbour, self.kind, self.image, self.opposite, order

    def _packed(self, positions, cell, rows, *, width: int):
        """Pair vectors (Å; empty places lie beyond the cut-off), kinds and opposite places (-1 in empty ones) of a
        block packed to ``width`` pairs."""
        atom, neighbour, kind, image, opposite, order = rows
        places = jnp.arange(width, dtype=jnp.int32)
        column = jnp.sum(order[:, None, :] <= places[:, None], axis=-1, dtype=jnp.int32)
        full = column < order.shape[1]
        column = jnp.minimum(column, order.shape[1] - 1)
        pick = lambda table: jnp.take_along_axis(table, column, axis=1, mode="promise_in_bounds")
        vectors = self._vectors(positions, cell, atom, neighbour, image)
        far = (self.kernel.cutoff + 1.0, 0.0, 0.0)
        vectors = tuple(jnp.where(full, pick(v), f) for v, f in zip(vectors, far, strict=True))
        return *jax.lax.optimization_barrier((vectors, pick(kind))), jnp.where(full, pick(opposite), -1)

    def _evaluated(self, positions, cell, order, *, width: int) -> Interaction:
        """The interaction of rows packed to ``width`` pairs, which must hold them all."""
        count = jnp.arange(order.shape[0] * order.shape[1], dtype=jnp.int32).reshape(order.shape[:2])
        inside = jnp.diff(order, axis=-1, prepend=0) > 0
        # Where a pair stands among all packed ones.
        place = jnp.where(inside, count[..., None] * width + order - 1, -1).ravel()

        def one(block):
            element, rows = block
            vectors, kind, opposite = self._packed(positions, cell, rows, width=width)
            energy, g = self.kernel.bonds(element, vectors, kind)
            back = jnp.where(opposite < 0, -1, take(place, jnp.maximum(opposite, 0)))
            return energy, g, sum(jnp.sum(a * v, axis=1) for a, v in zip(g, vectors, strict=True)), back

        # Without a checkpoint the backward pass would keep the harmonics of all pairs.
        energies, pulls, virials, back = jax.lax.map(jax.checkpoint(one, prevent_cse=False),
                                                     (self.blocks.element, self._rows(order)))
        row = self.blocks.row
        back = take(back.reshape(-1, width), row)
        known, back = back >= 0, jnp.maximum(back, 0)

        def force(g):
            own = take(jnp.sum(g, axis=-1).ravel(), row)
            return own - jnp.sum(jnp.where(known, take(g.ravel(), back), 0.0), axis=1)

        forces = jnp.stack([force(g) for g in pulls], axis=1)
        return Interaction(jnp.sum(take(energies.ravel(), row)), forces, -jnp.sum(take(virials.ravel(), row)))


@jax.custom_batching.custom_vmap
def largest(numbers: Int[Array, "..."]) -> Int[Array, ""]:
    """The largest number, of a whole batch under ``vmap``: a choice that depends on it stays a choice."""
    return jnp.max(numbers)


@largest.def_vmap
def _largest_of_batch(size, batched, numbers):
    return largest(numbers), False


def packed_widths(table: int, fraction: float) -> tuple[int, ...]:
    """Widths to pack rows of ``table`` places to, if about this fraction is within the cut-off; the last is ``table``.

    Multiples of eight, which fill vector registers; none that would save too little to be worth its compilation.
    """
    packed = {8 * math.ceil(share * fraction * table / 8) for share in PACKED}
    return *sorted(width for width in packed if width <= 0.85 * table), table


def body_ordered_force_field(potential: BodyOrdered, atoms: Atoms, pairs: Neighbours) -> BodyOrderedForceField:
    """Bind a potential to the species of ``atoms`` and a complete table (Å); jittable."""
    rows = ROWS_PER_BLOCK.get(jax.default_backend(), ROWS_ELSEWHERE)
    # Not constants: XLA would fold the search for reversed pairs, which takes it minutes.
    species, pairs = jax.lax.optimization_barrier((atoms.species, pairs))
    blocks = species_blocks(species, len(potential.elements), rows)
    ordered = lambda table: take(table, blocks.atom).reshape(*blocks.shape, *table.shape[1:])
    kind = take(species, pairs.index)
    widths = packed_widths(pairs.index.shape[1], (potential.cutoff / (pairs.cutoff + pairs.skin)) ** 3)
    return BodyOrderedForceField(kernel_of(potential), blocks, ordered(pairs.index), ordered(kind),
                                 ordered(pairs.mask), ordered(pairs.shift).astype(potential.coefficients.dtype),
                                 ordered(opposite_places(pairs, blocks.row)), widths)


def opposite_places(pairs: Neighbours, row: Int[Array, "atom"]) -> Int[Array, "atom k"]:
    """For every pair (i, k), the place row(j) · width + k′ of the same pair seen from its other end; −1 where the table
    does not have it there (and in padding)."""
    number, width = pairs.index.shape
    me = jnp.arange(number, dtype=pairs.index.dtype)

    def of_atom(atom):
        i, index, shift, mask = atom
        same = (take(pairs.index, index) == i) & take(pairs.mask, index) & mask[:, None]
        for axis in range(3):
            same &= take(pairs.shift[..., axis], index) == -shift[:, axis, None]
        return jnp.where(jnp.any(same, axis=1), take(row, index) * width + jnp.argmax(same, axis=1), -1)

    table = (me, pairs.index, pairs.shift, pairs.mask)
    return jax.lax.map(of_atom, table, batch_size=min(number, 1024)).astype(jnp.int32)
