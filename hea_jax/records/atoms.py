"""Atoms and neighbour tables: the configuration that every atomistic verb takes."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.core.types import Cell, Positions, Scalar, Species, Tensor33


class Atoms(eqx.Module):
    """A configuration of atoms in a (triclinic) cell.

    ``positions`` (atom, 3) in Å; ``cell`` (3, 3) rows are lattice vectors in Å; ``species`` (atom,) indexes
    ``elements`` (chemical symbols, static); ``pbc`` per cell vector (static). Positions need not be wrapped.
    """

    positions: Positions
    cell: Cell
    species: Species
    elements: tuple[str, ...] = eqx.field(static=True)
    pbc: tuple[bool, bool, bool] = eqx.field(static=True, default=(True, True, True))

    @property
    def number(self) -> int:
        """Number of atoms (last leading axis, so also for a batch)."""
        return self.positions.shape[-2]

    @property
    def volume(self) -> Scalar:
        """Cell volume in Å³."""
        return jnp.abs(jnp.linalg.det(self.cell))

    def symbols(self) -> list[str]:
        """Chemical symbols, one per atom (host-side)."""
        return [self.elements[int(s)] for s in self.species]

    def displaced(self, displacement: Positions) -> "Atoms":
        """A copy with ``displacement`` (Å) added to the positions."""
        return eqx.tree_at(lambda a: a.positions, self, self.positions + displacement)

    def deformed(self, F: Tensor33) -> "Atoms":
        """A copy under a homogeneous deformation gradient F: r → r Fᵀ, A → A Fᵀ."""
        return eqx.tree_at(lambda a: (a.positions, a.cell), self, (self.positions @ F.T, self.cell @ F.T))


class Neighbours(eqx.Module):
    """Dense full neighbour table of fixed capacity k; every pair stands in both atoms' rows.

    ``index`` (atom, k): neighbour's index, ``shift`` (atom, k, 3): integer image of the neighbour's cell,
    ``mask`` (atom, k): whether the entry is a pair. Padding points at atom 0 and is masked. The table holds all
    pairs within ``cutoff + skin`` (Å, static) of the positions it was built for; it stays complete while no
    pair can have come closer by more than ``skin``.
    """

    index: Int[Array, "atom k"]
    shift: Int[Array, "atom k 3"]
    mask: Bool[Array, "atom k"]
    cutoff: float = eqx.field(static=True)
    skin: float = eqx.field(static=True, default=0.0)


def pair_vectors(atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom k 3"]:
    """Vectors r_j + S·A − r_i from each atom to its neighbours (Å); padding is (cutoff + skin + 1, 0, 0)."""
    image = jnp.einsum("akm,mi->aki", pairs.shift.astype(atoms.cell.dtype), atoms.cell)
    # In this order a pair and its reverse are exactly opposite: both lie within the cut-off, or neither.
    vectors = (atoms.positions[pairs.index] - atoms.positions[:, None, :]) + image
    # Padding lies beyond every cut-off, so that neither values nor derivatives see a zero distance.
    far = jnp.array([pairs.cutoff + pairs.skin + 1.0, 0.0, 0.0], vectors.dtype)
    return jnp.where(pairs.mask[..., None], vectors, far)
