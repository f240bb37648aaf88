"""Ensembles as small objects: each advances a state by one step, with one force evaluation.

NVE is velocity Verlet; ``Langevin`` is BAOAB (half kick, half drift, friction and noise, half drift, half kick), whose
configurations are exact for a harmonic oscillator at any stable step; ``StochasticCellRescaling`` puts an isotropic,
first-order stochastic barostat in front of the drift of BAOAB, where the virial is known.

Sources: Swope et al. 1982; Leimkuhler & Matthews 2013; Bernetti & Bussi 2020.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.ensembles.state import MDState, as_dtype, kinetic_energy, thermal_momentum
from hea_jax.atomistic.force_field import AbstractForceField
from hea_jax.core.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN_EV_PER_K, GPA_TO_EV_PER_A3

Parameter = Float[Array, "*batch"]


class AbstractEnsemble(eqx.Module):
    """How a state moves on by one step. The cell may change by a factor only (``simulate`` relies on it)."""

    @abc.abstractmethod
    def step(self, state: MDState, field: AbstractForceField, dt: Array) -> MDState:
        """The state after one step of ``dt`` (fs); its forces and virial are those of the new positions."""

    @abc.abstractmethod
    def degrees_of_freedom(self, number: int) -> int:
        """Momentum components that carry heat, for the kinetic temperature of ``number`` atoms."""


class NVE(AbstractEnsemble):
    """Constant energy and volume: velocity Verlet."""

    def step(self, state, field, dt):
        """One velocity Verlet step (fs)."""
        state = drift(kick(state, 0.5 * dt), dt)
        return _advanced(kick(_with_forces(state, field), 0.5 * dt))

    def degrees_of_freedom(self, number):
        """3N − 3: the centre of mass stays at rest."""
        return 3 * number - 3


class Langevin(AbstractEnsemble):
    """Constant temperature and volume: BAOAB with friction rate ``friction_per_fs`` (1/fs), target in K."""

    temperature_K: Parameter = eqx.field(converter=jnp.asarray)
    friction_per_fs: Parameter = eqx.field(converter=jnp.asarray)

    def step(self, state, field, dt):
        """One BAOAB step (fs)."""
        state = drift(kick(state, 0.5 * dt), 0.5 * dt)
        noise = jax.random.normal(_key(state), state.momenta.shape, state.momenta.dtype)
        state = drift(thermalised(state, self.temperature_K, self.friction_per_fs, noise, dt), 0.5 * dt)
        return _advanced(kick(_with_forces(state, field), 0.5 * dt))

    def degrees_of_freedom(self, number):
        """3N: the thermostat moves the centre of mass too."""
        return 3 * number


class StochasticCellRescaling(AbstractEnsemble):
    """Constant temperature and pressure, isotropic: BAOAB with stochastic cell rescaling.

    λ = √V follows dλ = −(β λ/2τ)[P₀ − P − k_BT/2V] dt + √(k_BT β/2τ) dW with β = ``compressibility_per_GPa`` (only
    a rate: any positive value gives the same distribution) and τ = ``barostat_fs``; positions scale with V^⅓, momenta
    with V^−⅓. ``temperature_K`` and ``friction_per_fs`` (1/fs) as in ``Langevin``; ``pressure_GPa`` is P₀.
    """

    temperature_K: Parameter = eqx.field(converter=jnp.asarray)
    pressure_GPa: Parameter = eqx.field(converter=jnp.asarray)
    friction_per_fs: Parameter = eqx.field(converter=jnp.asarray, default=0.005)
    barostat_fs: Parameter = eqx.field(converter=jnp.asarray, default=500.0)
    compressibility_per_GPa: Parameter = eqx.field(converter=jnp.asarray, default=0.005)

    def step(self, state, field, dt):
        """One step (fs): half kick, rescaling of the cell, then the rest of BAOAB."""
        for_atoms, for_cell = jax.random.split(_key(state))
        state = kick(state, 0.5 * dt)
        # Here, and not at the end: the virial of these very positions is at hand.
        state = self.rescaled(state, jax.random.normal(for_cell, (), dt.dtype), dt)
        state = drift(state, 0.5 * dt)
        noise = jax.random.normal(for_atoms, state.momenta.shape, state.momenta.dtype)
        state = drift(thermalised(state, self.temperature_K, self.friction_per_fs, noise, dt), 0.5 * dt)
        return _advanced(kick(_with_forces(state, field), 0.5 * dt))

    def rescaled(self, state: MDState, noise: Array, dt: Array) -> MDState:
        """The state after an Euler–Maruyama step of √V over ``dt`` (fs), with one standard normal number."""
        V = state.atoms.volume
        kT = as_dtype(self.temperature_K, V) * BOLTZMANN_EV_PER_K
        rate = as_dtype(self.compressibility_per_GPa, V) / GPA_TO_EV_PER_A3 / as_dtype(self.barostat_fs, V)
        P = (2.0 * kinetic_energy(state) + state.virial) / (3.0 * V)
        P0 = as_dtype(self.pressure_GPa, V) * GPA_TO_EV_PER_A3
        root = jnp.sqrt(V)
        new = root - 0.5 * rate * root * (P0 - P - 0.5 * kT / V) * dt + jnp.sqrt(0.5 * kT * rate * dt) * noise
        # A step that empties the cell must not come back as a positive volume.
        scale = jnp.where(new > 0, jnp.cbrt((new / root) ** 2), jnp.nan)
        return eqx.tree_at(lambda s: (s.atoms.positions, s.atoms.cell, s.momenta), state,
                           (state.atoms.positions * scale, state.atoms.cell * scale, state.momenta / scale))

    def degrees_of_freedom(self, number):
        """3N: the thermostat moves the centre of mass too."""
        return 3 * number


def kick(state: MDState, time: Array) -> MDState:
    """Momenta under the present forces for ``time`` (fs)."""
    momenta = state.momenta + state.forces * (time / AMU_A2_PER_FS2_TO_EV)
    return eqx.tree_at(lambda s: s.momenta, state, momenta)


def drift(state: MDState, time: Array) -> MDState:
    """Positions under the present momenta for ``time`` (fs)."""
    positions = state.atoms.positions + state.momenta * (time / state.masses[:, None])
    return eqx.tree_at(lambda s: s.atoms.positions, state, positions)


def thermalised(state: MDState, temperature_K, friction_per_fs, noise: Array, time: Array) -> MDState:
    """Momenta after friction and noise alone over ``time`` (fs), solved exactly; ``noise`` is standard normal."""
    kept = jnp.exp(-as_dtype(friction_per_fs, time) * time)
    width = jnp.sqrt(1.0 - kept**2) * thermal_momentum(state.masses, temperature_K)
    return eqx.tree_at(lambda s: s.momenta, state, kept * state.momenta + width * noise)


def _with_forces(state, field):
    now = field.evaluate(state.atoms.positions, state.atoms.cell)
    return eqx.tree_at(lambda s: (s.forces, s.virial), state, (now.forces, now.virial))


def _advanced(state):
    return eqx.tree_at(lambda s: s.step, state, state.step + 1)


def _key(state):
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
