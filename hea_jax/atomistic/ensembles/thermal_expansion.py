"""Lattice constants at temperature, by constant-volume or constant-pressure dynamics, and their thermal expansion.

At constant volume, runs at several volumes give p(V), whose zero is the volume sought; at constant pressure the mean
volume gives it directly. Errors are standard errors, corrected for correlation.

Source: Allen & Tildesley 2017, ch. 2 (averages in either ensemble); Bernetti & Bussi 2020 (constant pressure).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.ensembles.driver import run_dynamics
from hea_jax.atomistic.ensembles.integrators import Langevin, StochasticCellRescaling
from hea_jax.atomistic.ensembles.observables import mean_and_corrected_error, weighted_line
from hea_jax.atomistic.ensembles.state import initial_state
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.core.results import Solution
from hea_jax.core.types import Scalar
from hea_jax.records import AbstractPotential, Atoms


class LatticeConstants(eqx.Module):
    """``lattice_constants_A`` and ``errors_A`` (temperature,) at ``temperatures_K``; the means behind them, over
    (temperature, strain): ``volumes_A3`` per cubic cell, ``pressures_GPa`` and ``pressure_errors_GPa``."""

    temperatures_K: Float[Array, "temperature"]
    lattice_constants_A: Float[Array, "temperature"]
    errors_A: Float[Array, "temperature"]
    volumes_A3: Float[Array, "temperature strain"]
    pressures_GPa: Float[Array, "temperature strain"]
    pressure_errors_GPa: Float[Array, "temperature strain"]


def zero_pressure_lattice_constant(volumes_A3: Float[Array, "n"], pressures_GPa: Float[Array, "n"],
                                   pressure_errors_GPa: Float[Array, "n"]) -> tuple[Scalar, Scalar]:
    """``(a, standard error)`` in Å where the weighted fit of p(V) vanishes.

    ``volumes_A3`` per cubic unit cell (Å³), at least two that enclose p = 0. Three or more are fitted by a parabola:
    a straight line through volumes 3% apart would err by some 1e-4 of a.
    """
    n = volumes_A3.shape[0]
    centre = jnp.mean(volumes_A3)
    x = (volumes_A3 - centre) / centre
    design = jnp.stack([x**k for k in range(min(n, 3))], axis=1) / pressure_errors_GPa[:, None]
    covariance = jnp.linalg.inv(design.T @ design)
    coefficients = covariance @ design.T @ (pressures_GPa / pressure_errors_GPa)
    powers = jnp.arange(coefficients.shape[0])

    def polish(root, _):
        value, slope = jax.value_and_grad(lambda t: jnp.sum(coefficients * t**powers))(root)
        return root - value / slope, None

    start = -coefficients[0] / coefficients[1]
    root, _ = jax.lax.scan(polish, start, None, length=8)
    slope = jax.grad(lambda t: jnp.sum(coefficients * t**powers))(root)
    terms = root**powers
    a = jnp.cbrt(centre * (1 + root))
    return a, a / 3 / (1 + root) * jnp.sqrt(terms @ covariance @ terms) / jnp.abs(slope)


def expansion_coefficient(temperatures_K: Float[Array, "n"], lattice_constants_A: Float[Array, "n"],
                          errors_A: Float[Array, "n"]) -> tuple[Scalar, Scalar]:
    """``(α, standard error)`` in 1/K: slope of the weighted line a(T) over its value at the mean temperature."""
    (a, slope), covariance, _ = weighted_line(temperatures_K, lattice_constants_A, errors_A)
    alpha = slope / a
    return alpha, jnp.sqrt(covariance[1, 1] + alpha**2 * covariance[0, 0]) / a


def lattice_constants_of_temperature(potential: AbstractPotential, atoms: Atoms, key, *, temperatures_K,
                                     cubic_cells: int, strains=(0.0, 0.005, 0.01), dt_fs: float = 2.0,
                                     steps: int = 5000, discard: int = 1000, every: int = 10, chunk: int = 500,
                                     friction_per_fs: float = 0.005) -> Solution:
    """Host driver: ``Solution(LatticeConstants)`` from constant-volume runs at every temperature (K) and strain.

    ``atoms``: a crystal of ``cubic_cells`` unit cells, stretched by 1 + strain; all runs are one batch of ``steps``
    steps of ``dt_fs`` (fs), of which the first ``discard`` are left out. Choose strains that enclose p = 0.
    Results as ``run_dynamics``, lane by lane (temperature-major).
    """
    T = np.asarray(temperatures_K, float)
    stretch = np.tile(1.0 + np.asarray(strains, float), len(T))
    ensemble = Langevin(np.repeat(T, len(strains)).astype(atoms.positions.dtype), friction_per_fs)
    sol = _run(potential, _stretched(atoms, stretch), ensemble, key,
               {"dt_fs": dt_fs, "steps": steps, "every": every, "chunk": chunk})
    V = np.broadcast_to(np.asarray(atoms.volume) * stretch**3 / cubic_cells, stretch.shape)
    p, error = _averages(sol.value.samples.pressure_GPa, discard // every)
    V, p, error = (jnp.asarray(x).reshape(len(T), len(strains)) for x in (V, p, error))
    a, a_error = jax.vmap(zero_pressure_lattice_constant)(V, p, error)
    return Solution(LatticeConstants(jnp.asarray(T), a, a_error, V, p, error), sol.result, sol.stats)


def lattice_constants_at_pressure(potential: AbstractPotential, atoms: Atoms, key, *, temperatures_K, cubic_cells: int,
                                  pressure_GPa: float = 0.0, dt_fs: float = 2.0, steps: int = 5000,
                                  discard: int = 1000, every: int = 10, chunk: int = 500,
                                  barostat_fs: float = 500.0) -> Solution:
    """Host driver: ``Solution(LatticeConstants)`` from constant-pressure runs, one per temperature (K).

    Arguments as ``lattice_constants_of_temperature``; ``pressure_GPa`` is imposed with the time ``barostat_fs`` (fs).
    Volumes and pressures of the value have one column.
    """
    T = np.asarray(temperatures_K, float)
    ensemble = StochasticCellRescaling(T.astype(atoms.positions.dtype), pressure_GPa, barostat_fs=barostat_fs)
    sol = _run(potential, _stretched(atoms, np.ones(len(T))), ensemble, key,
               {"dt_fs": dt_fs, "steps": steps, "every": every, "chunk": chunk})
    a, error = _averages(np.cbrt(sol.value.samples.volume_A3 / cubic_cells), discard // every)
    V, _ = _averages(sol.value.samples.volume_A3 / cubic_cells, discard // every)
    p, p_error = _averages(sol.value.samples.pressure_GPa, discard // every)
    value = LatticeConstants(jnp.asarray(T), a, error, V[:, None], p[:, None], p_error[:, None])
    return Solution(value, sol.result, sol.stats)


def _stretched(atoms, stretch):
    """``atoms`` once per entry of ``stretch``, scaled by it, along a new leading axis."""
    factor = jnp.asarray(stretch, atoms.positions.dtype)[:, None, None]
    species = jnp.broadcast_to(atoms.species, (len(stretch), atoms.number))
    return eqx.tree_at(lambda a: (a.positions, a.cell, a.species), atoms,
                       (atoms.positions * factor, atoms.cell * factor, species))


def _run(potential, batch, ensemble, key, options):
    pairs = neighbour_table(batch, potential.cutoff)
    keys = jax.random.split(key, len(batch.positions))

    def start(atoms, pairs, key, T):
        return initial_state(potential, atoms, pairs, key, temperature_K=T)

    # Twice the temperature: half of the kinetic energy becomes potential energy within a vibration.
    state = eqx.filter_jit(jax.vmap(start))(batch, pairs, keys, 2.0 * ensemble.temperature_K)
    return run_dynamics(potential, ensemble, state, **options)


def _averages(series, skip):
    """Mean and corrected standard error of each lane, the first ``skip`` samples left out."""
    return jax.vmap(mean_and_corrected_error)(jnp.asarray(series)[:, skip:])
