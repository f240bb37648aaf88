"""Embedded-atom potentials: what they share, and their energy with gather-only derivatives.

    E = Σ_i [ ½ Σ_j φ_ij(r_ij) + F_i(ρ̄_i) ],   ρ̄_i = Σ_j ρ_ij(r_ij)

(Daw & Baskes 1984; Finnis & Sinclair 1984), with ρ_ij the density that j puts at i.

Plain autodiff of E scatters ∂E/∂r_ij to the neighbours. On a full table the same force is

    ∂E/∂r_i = −Σ_j [ φ′ + F′_i ρ′_ij + F′_j ρ′_ji ] r̂_ij,

which gathers F′_j instead; ``fused_energy`` carries that as its derivative rule, itself differentiable, so that
Hessian-vector products and parameter derivatives gather too.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hea_jax.core.types import Scalar
from hea_jax.records import AbstractPotential, Atoms, Neighbours

PairArray = Float[Array, "atom k"]


class AbstractEAM(AbstractPotential):
    """An EAM: a potential given by its radial functions and embedding energies."""

    @abc.abstractmethod
    def radial(self, r: PairArray, i: Int[Array, "atom #k"], j: Int[Array, "atom k"]
               ) -> tuple[PairArray, PairArray, PairArray]:
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å) between species i and j: eV, density at i, density at j.

        All three vanish smoothly at the cut-off and stay zero beyond.
        """

    @abc.abstractmethod
    def embedding(self, density: Float[Array, "*n"], species: Int[Array, "*n"]) -> Float[Array, "*n"]:
        """Embedding energies F (eV), elementwise."""

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); half of each bond goes to either end."""
        i, j = _pair_species(atoms.species, pairs)
        phi, rho_ij, _ = self.radial(jnp.sqrt(_squared(_components(atoms.positions, atoms.cell, pairs))), i, j)
        return 0.5 * jnp.sum(phi, axis=-1) + self.embedding(jnp.sum(rho_ij, axis=-1), atoms.species)


def take(values, index):
    """``values[index]`` for indices known to be in bounds (no wrapping or clamping arithmetic per element)."""
    return values.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _pair_species(species, pairs):
    return species[:, None], take(species, pairs.index)


def _components(positions, cell, pairs):
    """x, y, z of the pair vectors as three (atom, k) arrays; padding lies beyond every cut-off."""
    shift = pairs.shift.astype(cell.dtype)
    out = []
    for axis in range(3):
        x = positions[:, axis]
        image = shift[..., 0] * cell[0, axis] + shift[..., 1] * cell[1, axis] + shift[..., 2] * cell[2, axis]
        vector = (take(x, pairs.index) - x[:, None]) + image
        fixed = jax.lax.stop_gradient(vector)
        far = (pairs.cutoff + pairs.skin + 1.0) if axis == 0 else 0.0
        # Adds zero, but keeps the select out of the derivative: radial functions are flat at the padding.
        out.append(jnp.where(pairs.mask, fixed, far) + (vector - fixed))
    return tuple(out)


def _squared(vectors):
    return vectors[0] ** 2 + vectors[1] ** 2 + vectors[2] ** 2


@eqx.filter_custom_jvp
def _radial(order, potential, s, i, j):
    """Derivative of the given order in s = r² of the radial functions.

    Its own rule in s is one multiplication, which is what a linearised gradient then repeats in every iteration
    of a linear solver; the chain through √s and the polynomials is left behind in the constants.
    """
    return _radial_plain(order, potential, s, i, j)


def _radial_plain(order, potential, s, i, j):
    if order == 0:
        return potential.radial(jnp.sqrt(s), i, j)
    return jax.jvp(lambda s_: _radial_plain(order - 1, potential, s_, i, j), (s,), (jnp.ones_like(s),))[1]


@_radial.def_jvp
def _radial_jvp(primals, tangents):
    order, potential, s, i, j = primals
    _, t_potential, t_s, _, _ = tangents
    value = _radial(order, potential, s, i, j)
    slope = jax.tree.map(jnp.zeros_like, value)
    if t_s is not None:
        slope = jax.tree.map(lambda total, next_: total + next_ * t_s, slope, _radial(order + 1, potential, s, i, j))
    if jax.tree.leaves(t_potential):
        change = eqx.filter_jvp(lambda p: _radial_plain(order, p, s, i, j), (potential,), (t_potential,))[1]
        slope = jax.tree.map(jnp.add, slope, change)
    return value, slope


def fused_energy(potential: AbstractEAM, atoms: Atoms, pairs: Neighbours) -> Scalar:
    """Total energy (eV) = Σ ``atomic_energies``, with derivatives that gather and never scatter.

    Equal to plain autodiff (tested), for values and derivatives of every order; the table must be complete.
    """
    return _energy(potential, atoms.positions, atoms.cell, atoms.species, pairs)


@eqx.filter_custom_jvp
def _energy(potential, positions, cell, species, pairs):
    return _plain(potential, positions, cell, species, pairs)


@eqx.filter_jit
def _plain(potential, positions, cell, species, pairs):
    i, j = _pair_species(species, pairs)
    phi, rho_ij, _ = _radial(0, potential, _squared(_components(positions, cell, pairs)), i, j)
    return 0.5 * jnp.sum(phi) + jnp.sum(potential.embedding(jnp.sum(rho_ij, axis=-1), species))


@_energy.def_jvp
def _energy_jvp(primals, tangents):
    potential, positions, cell, species, pairs = primals
    t_potential, t_positions, t_cell, _, _ = tangents
    value = _energy(potential, positions, cell, species, pairs)
    slope = jnp.zeros_like(value)
    if t_positions is not None or t_cell is not None:
        g_positions, g_cell = _gradient(potential, positions, cell, species, pairs)
        if t_positions is not None:
            slope = slope + jnp.sum(g_positions * t_positions)
        if t_cell is not None:
            slope = slope + jnp.sum(g_cell * t_cell)
    if jax.tree.leaves(t_potential):
        slope = slope + eqx.filter_jvp(lambda p: _plain(p, positions, cell, species, pairs),
                                       (potential,), (t_potential,))[1]
    return value, slope


@eqx.filter_jit
def _gradient(potential, positions, cell, species, pairs):
    """(∂E/∂r (atom, 3), ∂E/∂A (3, 3)) in eV/Å, by gathers only."""
    vectors = _components(positions, cell, pairs)
    i, j = _pair_species(species, pairs)
    s = _squared(vectors)
    density = jnp.sum(_radial(0, potential, s, i, j)[1], axis=-1)
    dphi, drho_ij, drho_ji = _radial(1, potential, s, i, j)
    dF = jax.jvp(lambda d: potential.embedding(d, species), (density,), (jnp.ones_like(density),))[1]
    # ∂/∂r = 2 r ∂/∂s
    tension = 2.0 * (dphi + dF[:, None] * drho_ij + take(dF, pairs.index) * drho_ji)
    pulls = [tension * component for component in vectors]
    g_positions = -jnp.stack([jnp.sum(pull, axis=-1) for pull in pulls], axis=-1)
    # Each bond stands in both atoms' rows, hence the half.
    shift = pairs.shift.astype(cell.dtype)
    g_cell = 0.5 * jnp.stack([jnp.einsum("akm,ak->m", shift, pull) for pull in pulls], axis=-1)
    return g_positions, g_cell
