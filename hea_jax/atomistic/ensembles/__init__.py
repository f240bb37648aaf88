"""Molecular dynamics: states, ensembles, trajectories, and what is measured on them."""

from hea_jax.atomistic.ensembles.driver import Progress, Trajectory, begin, run_dynamics
from hea_jax.atomistic.ensembles.integrators import NVE, AbstractEnsemble, Langevin, StochasticCellRescaling
from hea_jax.atomistic.ensembles.observables import (
    autocorrelation,
    integrated_autocorrelation_time,
    mean_and_corrected_error,
    mean_square_displacement,
    radial_distribution,
    weighted_line,
)
from hea_jax.atomistic.ensembles.simulate import Chunk, Samples, simulate
from hea_jax.atomistic.ensembles.state import (
    MDState,
    initial_state,
    kinetic_energy,
    maxwell_boltzmann,
    pressure_GPa,
    temperature,
)
from hea_jax.atomistic.ensembles.thermal_expansion import (
    LatticeConstants,
    expansion_coefficient,
    lattice_constants_at_pressure,
    lattice_constants_of_temperature,
    zero_pressure_lattice_constant,
)

__all__ = [
    "NVE", "AbstractEnsemble", "Chunk", "Langevin", "LatticeConstants", "MDState", "Progress", "Samples",
    "StochasticCellRescaling", "Trajectory", "autocorrelation", "begin", "expansion_coefficient", "initial_state",
    "integrated_autocorrelation_time", "kinetic_energy", "lattice_constants_at_pressure",
    "lattice_constants_of_temperature", "maxwell_boltzmann", "mean_and_corrected_error", "mean_square_displacement",
    "pressure_GPa", "radial_distribution", "run_dynamics", "simulate", "temperature", "weighted_line",
    "zero_pressure_lattice_constant",
]
