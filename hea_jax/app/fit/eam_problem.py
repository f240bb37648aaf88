"""The least-squares problem of an EAM fit, as a configuration states it."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp

from hea_jax.app.fit.data import counts_by_source
from hea_jax.app.fit.inputs import Inputs
from hea_jax.app.fit.offsets import offset_spread, offset_start
from hea_jax.atomistic.fitting import FitParameters, FitPrior, PackedFrames, Ridge, initial_parameters, make_prior, pack
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.robust import reweighted
from hea_jax.atomistic.fitting.training import Schedule


@dataclasses.dataclass(frozen=True)
class EamProblem:
    """Everything that is minimised: ``start``, ``prior``, packed frames for training and (or None) validation."""

    start: FitParameters
    prior: FitPrior
    packed: PackedFrames
    validation: PackedFrames | None


def start_of(section, elements: tuple[str, ...], offsets_eV=None) -> FitParameters:
    """Where the fit begins (offsets in eV)."""
    return initial_parameters(elements, pair_functions=section.n_pair_functions,
                              density_functions=section.n_density_functions, cutoff=section.cutoff_A,
                              inner_A=section.inner_A, offsets_eV=offsets_eV)


def prior_about(config, start: FitParameters) -> FitPrior:
    """The prior of the configuration about the start."""
    p = config.learnable_eam.prior
    return make_prior(start, Ridge(p.pair_eV, p.cross_eV, p.density, p.root_eV, p.series_eV,
                                   offset_spread(config, Ridge().offsets_eV)))


def eam_problem(config, given: Inputs) -> EamProblem:
    """The problem of a configuration (float64)."""
    section, elements, sources = config.learnable_eam, given.data.elements, given.sources
    template = start_of(section, elements).potential

    def packed(part):
        frames, source = given.part(part)
        if not len(frames):
            return None
        return counts_by_source(pack(frames.frames, frames.groups, template, given.weights), source, sources)

    training = packed("train")
    assert training is not None
    start = start_of(section, elements, jnp.asarray(offset_start(config, training.counts, training.energy_target)))
    return EamProblem(start, prior_about(config, start), training, packed("validation"))


def schedule_of(optimiser) -> Schedule:
    """The schedule of a configuration."""
    return Schedule(optimiser.adam_steps, optimiser.learning_rate, optimiser.warmup_steps, optimiser.final_fraction,
                    optimiser.lbfgs_steps, optimiser.newton_steps, optimiser.gradient_rtol, optimiser.checkpoint_every,
                    optimiser.patience)


def final_objective(config, problem: EamProblem, z) -> ScaledObjective:
    """The least-squares problem that z is the minimum of (Huber weights applied)."""
    objective = ScaledObjective(problem.packed, problem.prior)
    if config.optimiser.huber is None:
        return objective
    weighted = reweighted(objective.parameters(z), problem.packed, config.optimiser.huber)
    return eqx.tree_at(lambda o: o.packed, objective, weighted)
