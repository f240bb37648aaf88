"""A potential made ready for many evaluations on one neighbour table: energy, forces and virial by one call.

What depends on the table and the potential only (types of neighbours, polynomial coefficients) is prepared once,
outside the time loop; what a caller does not use (the energy, in most steps of a trajectory) the compiler leaves out.
Every field equals derivatives of the energy to round-off (tested).

Source: Daw & Baskes 1984 (EAM forces); Allen & Tildesley 2017, ch. 2.4 (virial).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hea_jax.atomistic.force_field_base import AbstractForceField, AutodiffForceField, Interaction
from hea_jax.atomistic.force_field_body_ordered import BodyOrderedForceField, body_ordered_force_field, largest
from hea_jax.atomistic.force_field_eam import AbstractEAMForceField, EAMTable, RadialEAMForceField
from hea_jax.atomistic.force_field_learnable import LearnableEAMForceField, learnable_field
from hea_jax.atomistic.force_field_tables import TableForceField, table_field
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.potentials.eam import AbstractEAM, take
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair
from hea_jax.atomistic.potentials.zbl import ZBL, Overlay
from hea_jax.atomistic.properties import check_inputs
from hea_jax.records import AbstractPotential, Atoms, Neighbours

__all__ = ["AbstractEAMForceField", "AbstractForceField", "AutodiffForceField", "BodyOrderedForceField",
           "CoreForceField", "Interaction", "LearnableEAMForceField", "RadialEAMForceField", "SumForceField",
           "TableForceField", "force_field"]


class SumForceField(AbstractForceField):
    """Several fields on one table, added up."""

    parts: tuple[AbstractForceField, ...]

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV)."""
        return jax.tree.map(lambda *terms: sum(terms[1:], terms[0]),
                            *(part.evaluate(positions, cell) for part in self.parts))


class CoreForceField(AbstractForceField):
    """A repulsive core: while no pair is within its cut-off, all it costs is a look at the distances."""

    field: AutodiffForceField

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV)."""
        pairs = self.field.pairs

        def component(axis):
            x = positions[:, axis]
            image = sum(pairs.shift[..., row].astype(cell.dtype) * cell[row, axis] for row in range(3))
            return take(x, pairs.index) - x[:, None] + image

        square = sum(component(axis) ** 2 for axis in range(3))
        # What is not a number counts as near: the field has the say.
        near = jnp.any(pairs.mask & ~(square >= self.field.potential.cutoff**2))
        all_of_it = lambda x, A: self.field.evaluate(x, A)
        shapes = jax.eval_shape(all_of_it, positions, cell)
        nothing = lambda *_: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(largest(near.astype(jnp.int32)) > 0, all_of_it, nothing, positions, cell)


Builder = Callable[[Any, Atoms, Neighbours], AbstractForceField]

BUILDERS: tuple[tuple[type[AbstractPotential], Builder], ...] = (
    (LearnableEAM, learnable_field),
    (TabulatedEAM, table_field),
    (FinnisSinclair, table_field),
    (AbstractEAM, lambda p, atoms, pairs: RadialEAMForceField(potential=p, table=EAMTable.of(atoms, pairs))),
    (BodyOrdered, body_ordered_force_field),
    (ZBL, lambda p, atoms, pairs: CoreForceField(AutodiffForceField(p, atoms, pairs))),
    (Overlay, lambda p, atoms, pairs: SumForceField(tuple(force_field(part, atoms, pairs) for part in p.parts))),
    (AbstractPotential, AutodiffForceField),
)
"""The first type that fits decides."""


def force_field(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> AbstractForceField:
    """The fastest exact evaluation of ``potential`` for these species and this table (jittable).

    Positions and cell of ``atoms`` (Å) are not used. Raises ``ValueError`` if the elements disagree, or the table was
    built for less than the potential's cut-off.
    """
    check_inputs(potential, atoms, pairs)
    build = next(build for kind, build in BUILDERS if isinstance(potential, kind))
    return build(potential, atoms, pairs)
