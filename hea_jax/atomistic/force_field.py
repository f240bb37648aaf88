"""A potential made ready for many evaluations on one neighbour table: energy, forces and virial by one call.

What depends on the table and the potential only (types of neighbours, polynomial coefficients) is prepared once,
outside the time loop; what a caller does not use (the energy, in most steps of a trajectory) the compiler leaves out.

For a ``LearnableEAM`` the radial polynomials of a bond are one polynomial in t, whose coefficients are picked by
comparing species instead of being fetched from memory:

    φ′ + F′_i ρ′_ij + F′_j ρ′_ji = (1 − t)³ t′(r) Σ_m [(φ_m + F′_i ρ_m)(type of j) + F′_j ρ_m(type of i)] tᵐ + core′,

2.6 times faster than the general kernel, and equal to it to round-off (tested).

Source: Daw & Baskes 1984 (EAM forces); Allen & Tildesley 2017, ch. 2.4 (virial).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hea_jax.atomistic.potentials.eam import take
from hea_jax.atomistic.potentials.eam_learnable import (
    LearnableEAM,
    differentiated,
    pair_of_species,
    scaled_distance,
)
from hea_jax.atomistic.properties import check_elements, energy
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


class LearnableEAMForceField(AbstractForceField):
    """A ``LearnableEAM`` on a table; build it with ``force_field``.

    ``neighbour`` (atom, k): index of the neighbour; ``kind`` (atom, k): its species; ``image`` three (atom, k) arrays:
    cell shifts as floating-point numbers. ``pair``, ``density``: coefficients of Q with φ, ρ = (1 − t)⁴ Q;
    ``pair_slope``, ``density_slope``: of the derivative in t over (1 − t)³, padded to one length.
    """

    potential: LearnableEAM
    species: Int[Array, "atom"]
    neighbour: Int[Array, "atom k"]
    kind: Int[Array, "atom k"]
    mask: Bool[Array, "atom k"]
    image: tuple[Float[Array, "atom k"], ...]
    pair: Float[Array, "m element element"]
    density: Float[Array, "n element"]
    pair_slope: Float[Array, "p element element"]
    density_slope: Float[Array, "p element"]
    far: float = eqx.field(static=True)

    def evaluate(self, positions, cell):
        """Energy, forces and virial (eV, eV/Å, eV), by gathers only."""
        p, species = self.potential, self.species
        vectors = self.bonds(positions, cell)
        square = vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2
        r = jnp.sqrt(square)
        t, slope = jax.jvp(lambda r_: scaled_distance(r_, p.cutoff, p.inner_A), (r,), (jnp.ones_like(r),))
        cut = jnp.maximum(1.0 - t, 0.0)
        cut3 = cut * cut * cut
        rho = jnp.sum(cut3 * cut * self.polynomial(self.density[:, None], t), axis=-1)
        F, dF = jax.jvp(lambda d: p.embedding(d, species), (rho,), (jnp.ones_like(rho),))
        # φ′ + F′_i ρ′_ij has coefficients per row and species of j; F′_j ρ′_ji per row and bond.
        own = take(jnp.swapaxes(self.pair_slope, 0, 1), species) + dF[:, None, None] * self.density_slope[None]
        back = take(self.density_slope.T, species)
        dF_j = take(dF, self.neighbour)
        total = self.pick(own[:, -1]) + dF_j * back[:, -1, None]
        for m in range(own.shape[1] - 2, -1, -1):
            total = total * t + (self.pick(own[:, m]) + dF_j * back[:, m, None])
        depth = jnp.maximum(1.0 - r / p.inner_A, 0.0)
        tension = cut3 * slope * total - (4.0 * p.core_eV / p.inner_A) * depth * depth * depth
        pull = tension / r
        forces = jnp.stack([jnp.sum(pull * component, axis=-1) for component in vectors], axis=-1)
        phi = cut3 * cut * self.polynomial(take(jnp.swapaxes(self.pair, 0, 1), species).swapaxes(0, 1), t)
        E = 0.5 * jnp.sum(phi + p.core_eV * depth**4) + jnp.sum(F)
        # Row sums of a product with `pull`: shares the passes of the forces (a plain sum costs 40% more).
        virial = -0.5 * jnp.sum(jnp.sum(pull * square, axis=-1))
        return Interaction(E, forces, virial)

    def bonds(self, positions: Positions, cell: Cell) -> tuple[Float[Array, "atom k"], ...]:
        """x, y, z of the pair vectors (Å); padding lies beyond the cut-off."""
        out = []
        for axis in range(3):
            x = positions[:, axis]
            image = sum(self.image[row] * cell[row, axis] for row in range(3))
            far = self.far if axis == 0 else 0.0
            out.append(jnp.where(self.mask, take(x, self.neighbour) + image - x[:, None], far))
        return tuple(out)

    def pick(self, candidates: Float[Array, "*atom element"]) -> Float[Array, "atom k"]:
        """For every bond, the candidate (atom, element) or (1, element) of the neighbour's species."""
        # Comparisons vectorise, gathers of coefficients do not.
        value = candidates[:, 0, None]
        for b in range(1, candidates.shape[1]):
            value = jnp.where(self.kind == b, candidates[:, b, None], value)
        return value

    def polynomial(self, coefficients: Float[Array, "m *atom element"], t: Float[Array, "atom k"]
                   ) -> Float[Array, "atom k"]:
        """Σ_m c_m(species of j) tᵐ (Horner)."""
        value = self.pick(coefficients[-1])
        for row in coefficients[-2::-1]:
            value = value * t + self.pick(row)
        return value


def force_field(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> AbstractForceField:
    """The fastest exact evaluation of ``potential`` for these species and this table (jittable).

    Positions and cell of ``atoms`` (Å) are not used. Raises ``ValueError`` if the elements disagree.
    """
    check_elements(potential, atoms)
    if not isinstance(potential, LearnableEAM):
        return AutodiffForceField(potential, atoms, pairs)
    pair, density = potential.polynomials()
    slopes = [differentiated(0, table) for table in (pair, density)]
    length = max(table.shape[0] for table in slopes)
    pair_slope, density_slope = (jnp.pad(table, ((0, length - table.shape[0]), (0, 0))) for table in slopes)
    kinds = pair_of_species(len(potential.elements))
    # (m, element i, element j) → rows by species of i first, for `take`.
    by_species = lambda table: jnp.swapaxes(table[:, kinds], 0, 1).swapaxes(0, 1)
    dtype = pair.dtype
    return LearnableEAMForceField(
        potential, atoms.species, pairs.index, take(atoms.species, pairs.index), pairs.mask,
        tuple(pairs.shift[..., row].astype(dtype) for row in range(3)), by_species(pair), density,
        by_species(pair_slope), density_slope, pairs.cutoff + pairs.skin + 1.0)
