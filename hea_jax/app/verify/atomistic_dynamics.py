"""Reference cases of molecular dynamics: exact averages, conservation, order, and the statistics that judge them.

Sources: Leimkuhler & Matthews 2013 (BAOAB); Bernetti & Bussi 2020 (barostat); Sokal 1997 (autocorrelation).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.atomistic.ensembles import (
    NVE,
    Langevin,
    StochasticCellRescaling,
    initial_state,
    integrated_autocorrelation_time,
    mean_and_corrected_error,
    simulate,
)
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.core.units import AMU_A2_PER_FS2_TO_EV, BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.records import AbstractPotential, Atoms, Neighbours
from hea_jax.structures.alloys import random_alloys

MASS_AMU = 50.0


class Springs(AbstractPotential):
    """Every atom on a spring of ``stiffness`` (eV/Å²) about the origin; an ideal gas with stiffness 0."""

    stiffness: Any = eqx.field(converter=jnp.asarray)
    elements: tuple[str, ...] = eqx.field(static=True, default=("X",))
    cutoff: float = eqx.field(static=True, default=1.0)

    def atomic_energies(self, atoms, pairs):
        """½ k r² of each atom (eV)."""
        return 0.5 * self.stiffness * jnp.sum(atoms.positions**2, axis=-1)


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("atomistic", "autocorrelation time of AR(1)", _ar1),
            Case("atomistic", "BAOAB on harmonic springs", _harmonic),
            Case("atomistic", "barostat on an ideal gas", _ideal_gas),
            Case("atomistic", "dynamics of an alloy", _alloy)]


def _unbound(potential, number: int, temperature_K: float, edge_A: float, keys):
    """States (one per key) of atoms that do not see each other, and an empty table that nothing outgrows."""
    atoms = Atoms(jnp.zeros((number, 3)), edge_A * jnp.eye(3), jnp.zeros(number, jnp.int32), ("X",),
                  (False, False, False))
    pairs = Neighbours(jnp.zeros((number, 1), jnp.int32), jnp.zeros((number, 1, 3), jnp.int32),
                       jnp.zeros((number, 1), bool), 1.0, 1e6)
    start = lambda key: initial_state(potential, atoms, pairs, key, temperature_K=temperature_K,
                                      masses=jnp.full(number, MASS_AMU))
    return jax.jit(jax.vmap(start))(keys), pairs


def _ar1() -> list[Check]:
    lanes, n, rho = 256, 8000, 0.9
    noise = jax.random.normal(jax.random.key(5), (lanes, n))
    series = jax.vmap(lambda e: jax.lax.scan(lambda x, s: (rho * x + (1 - rho**2) ** 0.5 * s,) * 2, e[0], e)[1])(noise)
    tau = np.asarray(jax.vmap(integrated_autocorrelation_time)(series))
    error = tau.std(ddof=1) / lanes**0.5
    return [Check("autocorrelation time of AR(1), ρ = 0.9", tau.mean(), (1 + rho) / (2 * (1 - rho)), "samples",
                  4 * error, "(1 + ρ)/2(1 − ρ); tolerance 4 standard errors")]


def _harmonic() -> list[Check]:
    number, T, dt = 400, 300.0, 2.0
    potential = Springs(stiffness=MASS_AMU * AMU_A2_PER_FS2_TO_EV / dt**2)
    state, pairs = _unbound(potential, number, T, 20.0, jax.random.split(jax.random.key(1), 1))
    ensemble = Langevin(T, 0.2)
    run = jax.jit(lambda s: simulate(potential, ensemble, s, pairs, dt_fs=dt, steps=3000, every=4))
    state = jax.tree.map(lambda x: x[0], state)
    samples = run(run(state).unwrap().state).unwrap().samples
    kT, rows = T * BOLTZMANN_EV_PER_K, []
    for name, series, exact in (("⟨k x²⟩/kT", samples.potential_energy_eV, 1.0),
                                ("⟨p²/m⟩/kT", samples.kinetic_energy_eV, 0.75)):
        mean, error = mean_and_corrected_error(series / (1.5 * number * kT))
        rows.append(Check(f"BAOAB at ω dt = 1: {name}", float(mean), exact, "1", 4 * float(error),
                          "exact (Leimkuhler & Matthews 2013); tolerance 4 standard errors"))
    return rows


def _ideal_gas() -> list[Check]:
    free, N, T, P, lanes = Springs(stiffness=0.0), 15, 300.0, 0.01, 48
    unit = T * BOLTZMANN_EV_PER_K * EV_PER_A3_TO_GPA / P
    keys = jax.random.split(jax.random.key(2), lanes)
    state, pairs = _unbound(free, N, T, ((N + 1) * unit) ** (1 / 3), keys)
    ensemble = StochasticCellRescaling(T, P, friction_per_fs=0.05, barostat_fs=40.0, compressibility_per_GPa=1 / P)
    run = jax.jit(jax.vmap(lambda s: simulate(free, ensemble, s, pairs, dt_fs=1.0, steps=8000, every=20)))
    V = np.asarray(run(state).unwrap().samples.volume_A3)[:, 20:] / unit
    rows = []
    for name, lane in (("⟨V⟩", V.mean(axis=1)), ("⟨(V − ⟨V⟩)²⟩", ((V - N - 1) ** 2).mean(axis=1))):
        rows.append(Check(f"ideal gas of 15 atoms at constant pressure: {name}", lane.mean(), N + 1.0, "kT/P",
                          4 * lane.std(ddof=1) / lanes**0.5, "Gamma(N + 1) distribution; tolerance 4 standard errors"))
    return rows


def _alloy() -> list[Check]:
    """NVE at two steps, then a thermostat, on 54 atoms."""
    potential = shipped_potential()
    batch = random_alloys(jax.random.key(0), [[7 / 27, 7 / 27, 7 / 27, 6 / 27]], potential.elements, 3.25, (3, 3, 3))
    atoms = jax.tree.map(lambda x: x[0], batch)
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.5)
    state = eqx.filter_jit(initial_state)(potential, atoms, pairs, jax.random.key(3), temperature_K=1000.0)
    run = eqx.filter_jit(simulate)
    size, momentum = [], 0.0
    for dt in (2.0, 4.0):
        value = run(potential, NVE(), state, pairs, dt_fs=jnp.asarray(dt), steps=2000, every=2,
                    reference=atoms).unwrap()
        # The same 4 ps of both: trajectories at different steps part later, and with them their fluctuations.
        E = (value.samples.potential_energy_eV + value.samples.kinetic_energy_eV)[:int(2000 / dt)]
        size.append(float(jnp.std(E)))
        momentum = max(momentum, float(jnp.max(jnp.abs(jnp.sum(value.state.momenta, axis=0)))))
    hot = lambda s: run(potential, Langevin(600.0, 0.02), s, pairs, dt_fs=jnp.asarray(2.0), steps=2000, every=10,
                        reference=atoms).unwrap()
    mean, error = mean_and_corrected_error(hot(hot(state).state).samples.temperature_K)
    return [Check("NVE, energy fluctuation at 4 fs over 2 fs", size[1] / size[0], 4.0, "1", 0.4, "second order in dt"),
            Check("NVE, energy fluctuation per atom at 2 fs", size[0] / atoms.number * 1e3, 0.0, "meV", 0.01,
                  "conservation of energy"),
            Check("NVE, total momentum after 8 ps", momentum, 0.0, "amu·Å/fs", 1e-10, "Newton's third law"),
            Check("Langevin, kinetic temperature of an alloy", float(mean), 600.0, "K", 3 * float(error),
                  "equipartition; tolerance 3 standard errors")]
