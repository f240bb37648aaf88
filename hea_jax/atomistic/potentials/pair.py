"""Lennard-Jones and Morse pair potentials for several species, cut off smoothly.

    E = ½ Σ_ij f(r_ij) φ_ij(r_ij),

f = 1 below ``onset_fraction`` r_c, then falling to 0 at r_c by the C³ smoothstep 1 − (35s⁴ − 84s⁵ + 70s⁶ − 20s⁷).

Sources: Jones 1924; Morse 1929 (in the form of Girifalco & Weizer 1959).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.types import Scalar
from hea_jax.records import AbstractPotential, Atoms, Neighbours, pair_vectors

PairTable = Float[Array, "element element"]


class LennardJones(AbstractPotential):
    """φ = 4ε[(σ/r)¹² − (σ/r)⁶]; ``epsilon_eV`` and ``sigma_A`` per pair of species, symmetric matrices."""

    epsilon_eV: PairTable
    sigma_A: PairTable
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    onset_fraction: float = eqx.field(static=True, default=0.8)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); half of each bond goes to either end."""
        r, kind = _distances(atoms, pairs)
        attraction = (_symmetric(self.sigma_A)[kind] / r) ** 6
        phi = 4.0 * _symmetric(self.epsilon_eV)[kind] * attraction * (attraction - 1.0)
        return 0.5 * jnp.sum(phi * switch(r, self.onset_fraction * self.cutoff, self.cutoff), axis=-1)


class Morse(AbstractPotential):
    """φ = D[e^{−2α(r − r₀)} − 2e^{−α(r − r₀)}]; ``depth_eV``, ``alpha_per_A``, ``r0_A`` per species pair, symmetric."""

    depth_eV: PairTable
    alpha_per_A: PairTable
    r0_A: PairTable
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    onset_fraction: float = eqx.field(static=True, default=0.8)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); half of each bond goes to either end."""
        r, kind = _distances(atoms, pairs)
        decay = jnp.exp(-_symmetric(self.alpha_per_A)[kind] * (r - _symmetric(self.r0_A)[kind]))
        phi = _symmetric(self.depth_eV)[kind] * decay * (decay - 2.0)
        return 0.5 * jnp.sum(phi * switch(r, self.onset_fraction * self.cutoff, self.cutoff), axis=-1)


def switch(r: Float[Array, "*n"], onset: float, cutoff: float) -> Float[Array, "*n"]:
    """1 below ``onset``, 0 beyond ``cutoff`` (Å), three continuous derivatives (dimensionless)."""
    s = jnp.clip((r - onset) / (cutoff - onset), 0.0, 1.0)
    return 1.0 - s**4 * (35.0 + s * (-84.0 + s * (70.0 - 20.0 * s)))


def _symmetric(table: PairTable) -> Float[Array, "element element"]:
    # A gradient step may leave the matrix unsymmetric; the bond energy must not.
    return 0.5 * (table + table.T)


def _distances(atoms: Atoms, pairs: Neighbours) -> tuple[Float[Array, "atom k"], tuple[Scalar, Scalar]]:
    """Distances (Å; padding lies beyond the cut-off) and the species of both ends, as an index into pair tables."""
    r = jnp.linalg.norm(pair_vectors(atoms, pairs), axis=-1)
    return r, (atoms.species[:, None], atoms.species[pairs.index])
