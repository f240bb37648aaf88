"""The state of a trajectory and what is read off it. Time in fs, lengths in Å, energies in eV, masses in amu.

Momenta are in amu·Å/fs; a kinetic energy p²/2m becomes eV by ``AMU_A2_PER_FS2_TO_EV``.

Source: Allen & Tildesley 2017, ch. 2 and 3.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.force_field import force_field
from hea_jax.core.masses import masses_of
from hea_jax.core.types import Positions, Scalar
from hea_jax.core.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.records import AbstractPotential, Atoms, Neighbours


class MDState(eqx.Module):
    """Everything the next step depends on; saved and loaded as a pytree.

    ``atoms``: positions (never wrapped), cell, species; ``momenta`` (atom, 3) amu·Å/fs; ``masses`` (atom,) amu;
    ``forces`` (atom, 3) eV/Å and ``virial`` (eV) at these positions; ``key``: raw key data, the same for the whole
    trajectory; ``step``: number of steps done, from which, with the key, every random number follows.
    """

    atoms: Atoms
    momenta: Positions
    masses: Float[Array, "atom"]
    forces: Positions
    virial: Scalar
    key: Array
    step: Int[Array, ""]


def initial_state(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours, key, *, temperature_K,
                  masses: Float[Array, "atom"] | None = None) -> MDState:
    """The state at step 0: momenta from the Maxwell–Boltzmann distribution with zero sum (jittable, vmappable).

    ``key`` seeds the momenta and all later random numbers; ``masses`` (amu) default to those of ``atoms.elements``.
    Raises ``ValueError`` for unknown elements.
    """
    dtype = atoms.positions.dtype
    m = masses_of(atoms.elements, dtype)[atoms.species] if masses is None else jnp.asarray(masses, dtype)
    start, run = jax.random.split(key)
    now = force_field(potential, atoms, pairs).evaluate(atoms.positions, atoms.cell)
    return MDState(atoms, maxwell_boltzmann(start, m, temperature_K), m, now.forces, now.virial,
                   jax.random.key_data(run), jnp.zeros((), jnp.int32))


def maxwell_boltzmann(key, masses: Float[Array, "atom"], temperature_K) -> Positions:
    """Random momenta (atom, 3) in amu·Å/fs for ``masses`` (amu), centre of mass at rest.

    Taking the mean velocity away from independent Gaussians is the exact distribution given zero total momentum.
    """
    p = jax.random.normal(key, (*masses.shape, 3), masses.dtype) * thermal_momentum(masses, temperature_K)
    velocity = jnp.sum(p, axis=0) / jnp.sum(masses)
    return p - masses[:, None] * velocity


def thermal_momentum(masses: Float[Array, "atom"], temperature_K) -> Float[Array, "atom 1"]:
    """Standard deviation √(m k_B T) of a momentum component (amu·Å/fs), ``masses`` in amu."""
    return jnp.sqrt(masses * (as_dtype(temperature_K, masses) * BOLTZMANN_EV_PER_K / AMU_A2_PER_FS2_TO_EV))[:, None]


def as_dtype(value, like: Array) -> Array:
    """``value`` as an array of ``like``'s dtype: a float64 parameter must not promote a float32 trajectory."""
    return jnp.asarray(value).astype(like.dtype)


def kinetic_energy(state: MDState) -> Scalar:
    """Σ p²/2m in eV."""
    return 0.5 * AMU_A2_PER_FS2_TO_EV * jnp.sum(jnp.sum(state.momenta**2, axis=-1) / state.masses)


def pressure_GPa(state: MDState) -> Scalar:
    """Instantaneous pressure (2K + W)/3V in GPa, kinetic part included; positive in compression."""
    return (2.0 * kinetic_energy(state) + state.virial) / (3.0 * state.atoms.volume) * EV_PER_A3_TO_GPA


def temperature(state: MDState, degrees_of_freedom: int) -> Scalar:
    """Kinetic temperature 2K/(f k_B) in K."""
    return 2.0 * kinetic_energy(state) / (degrees_of_freedom * BOLTZMANN_EV_PER_K)
