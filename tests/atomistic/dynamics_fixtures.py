"""Systems with known statistics, and small crystals, for the tests of molecular dynamics."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.ensembles import initial_state
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.records import AbstractPotential, Atoms, Neighbours

MASS = 50.0
START = eqx.filter_jit(initial_state)


class Free(AbstractPotential):
    """No interaction: an ideal gas."""

    elements: tuple[str, ...] = eqx.field(static=True, default=("X",))
    cutoff: float = eqx.field(static=True, default=1.0)

    def atomic_energies(self, atoms, pairs):
        return 0.0 * jnp.sum(atoms.positions, axis=-1)


class Einstein(AbstractPotential):
    """Every atom on its own isotropic spring of ``stiffness`` (eV/Å²) about the origin."""

    stiffness: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    elements: tuple[str, ...] = eqx.field(static=True, default=("X",))
    cutoff: float = eqx.field(static=True, default=1.0)

    def atomic_energies(self, atoms, pairs):
        return 0.5 * self.stiffness * jnp.sum(atoms.positions**2, axis=-1)


def particles(number, edge=20.0, pbc=(False,) * 3):
    """``number`` atoms at the origin of a cubic cell (Å)."""
    return Atoms(jnp.zeros((number, 3)), edge * jnp.eye(3), jnp.zeros(number, jnp.int32), ("X",), pbc)


def no_pairs(number):
    """An empty table with a skin that nothing exceeds."""
    return Neighbours(jnp.zeros((number, 1), jnp.int32), jnp.zeros((number, 1, 3), jnp.int32),
                      jnp.zeros((number, 1), bool), 1.0, 1e6)


def gas(potential, number, *, temperature_K, seed=0, lanes=None, edge=20.0):
    """Initial state(s) of non-interacting atoms and their table."""
    pairs, m = no_pairs(number), jnp.full(number, MASS)
    start = lambda key: initial_state(potential, particles(number, edge), pairs, key, temperature_K=temperature_K,
                                      masses=m)
    key = jax.random.key(seed)
    return (jax.jit(start)(key) if lanes is None else jax.jit(jax.vmap(start))(jax.random.split(key, lanes))), pairs


def crystal(potential, atoms, *, temperature_K, skin=1.0, seed=0):
    """Initial state of a crystal and the table built for it."""
    pairs = neighbour_table(atoms, potential.cutoff, skin=skin)
    return START(potential, atoms, pairs, jax.random.key(seed), temperature_K=temperature_K), pairs
