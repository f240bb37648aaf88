"""Force field of a ``LearnableEAM``: its radial polynomials summed per bond before they are evaluated.

    φ′ + F′_i ρ′_ij + F′_j ρ′_ji = (1 − t)³ t′(r) Σ_m [(φ_m + F′_i ρ_m)(type of j) + F′_j ρ_m(type of i)] tᵐ + core′:

one polynomial in t, whose coefficients are picked by comparing species instead of being fetched from memory.

Source: Daw & Baskes 1984 (EAM forces); the form is ours.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.force_field_eam import AbstractEAMForceField, EAMTable, Rows
from hea_jax.atomistic.potentials.eam import take
from hea_jax.atomistic.potentials.eam_learnable import (
    LearnableEAM,
    differentiated,
    pair_of_species,
    scaled_distance,
)
from hea_jax.records import Atoms, Neighbours


class LearnableEAMForceField(AbstractEAMForceField):
    """A ``LearnableEAM`` on a table; build it with ``force_field``.

    ``pair``, ``density_rows``: coefficients of Q with φ, ρ = (1 − t)⁴ Q, rows by species of i; ``pair_slope``,
    ``density_slope``: of the derivative in t over (1 − t)³, padded to one length.
    """

    potential: LearnableEAM
    table: EAMTable
    pair: Float[Array, "element m element"]
    density_rows: Float[Array, "n element"]
    pair_slope: Float[Array, "element p element"]
    density_slope: Float[Array, "p element"]

    def density(self, rows, r):
        """Densities at the atoms."""
        t = self.potential.scaled_distance(r)
        cut = jnp.maximum(1.0 - t, 0.0)
        return jnp.sum(cut**4 * polynomial(rows, self.density_rows[:, None], t), axis=-1)

    def embedding(self, density, species):
        """F (eV)."""
        return self.potential.embedding(density, species)

    def bonds(self, rows, r, own, other):
        """(φ, tension)."""
        p = self.potential
        t, slope = jax.jvp(lambda r_: scaled_distance(r_, p.cutoff, p.inner_A), (r,), (jnp.ones_like(r),))
        cut = jnp.maximum(1.0 - t, 0.0)
        cut3 = cut * cut * cut
        # φ′ + F′_i ρ′_ij has coefficients per row and species of j; F′_j ρ′_ji per row and bond.
        near = take(self.pair_slope, rows.species) + own[:, None, None] * self.density_slope[None]
        back = take(self.density_slope.T, rows.species)
        total = pick(rows, near[:, -1]) + other * back[:, -1, None]
        for m in range(near.shape[1] - 2, -1, -1):
            total = total * t + (pick(rows, near[:, m]) + other * back[:, m, None])
        depth = jnp.maximum(1.0 - r / p.inner_A, 0.0)
        tension = cut3 * slope * total - (4.0 * p.core_eV / p.inner_A) * depth * depth * depth
        phi = cut3 * cut * polynomial(rows, jnp.moveaxis(take(self.pair, rows.species), 1, 0), t)
        return phi + p.core_eV * depth**4, tension


def pick(rows: Rows, candidates: Float[Array, "*row element"]) -> Float[Array, "row k"]:
    """For every bond, the candidate (row, element) or (1, element) of the neighbour's species."""
    # Comparisons vectorise, gathers of coefficients do not.
    value = candidates[:, 0, None]
    for b in range(1, candidates.shape[1]):
        value = jnp.where(rows.kind == b, candidates[:, b, None], value)
    return value


def polynomial(rows: Rows, coefficients: Float[Array, "m *row element"], t: Float[Array, "row k"]
               ) -> Float[Array, "row k"]:
    """Σ_m c_m(species of j) tᵐ (Horner)."""
    value = pick(rows, coefficients[-1])
    for row in coefficients[-2::-1]:
        value = value * t + pick(rows, row)
    return value


def learnable_field(potential: LearnableEAM, atoms: Atoms, pairs: Neighbours) -> LearnableEAMForceField:
    """The field with its coefficients prepared (jittable)."""
    pair, density = potential.polynomials()
    slopes = [differentiated(0, table) for table in (pair, density)]
    length = max(table.shape[0] for table in slopes)
    pair_slope, density_slope = (jnp.pad(table, ((0, length - table.shape[0]), (0, 0))) for table in slopes)
    kinds = pair_of_species(len(potential.elements))
    # (m, element i, element j) → rows by species of i first, for `take`.
    by_species = lambda table: jnp.swapaxes(table[:, kinds], 0, 1)
    return LearnableEAMForceField(potential=potential, table=EAMTable.of(atoms, pairs), pair=by_species(pair),
                                  density_rows=density, pair_slope=by_species(pair_slope), density_slope=density_slope)
