"""A fit from a dataset in one call: split, pack, start, prior, fit, error tables.

Source: Ercolessi & Adams 1994 (force matching).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.fitting.errors import GroupErrors, error_table
from hea_jax.atomistic.fitting.fit import FitSettings, Report, fit
from hea_jax.atomistic.fitting.objective import FitPrior, Ridge, held_out_split, initial_parameters, make_prior
from hea_jax.atomistic.fitting.packing import FitParameters, FitWeights, PackedFrames, pack
from hea_jax.core.results import Solution
from hea_jax.electronic.dataset import Dataset

_BCC_ALLOY = (("elastic_bcc", (0.0, 1.0, 6.0)), ("eos_bcc", (1.0, 1.0, 2.5)), ("alloy8", (2.0, 1.0, 1.0)),
              ("alloy16", (2.0, 1.0, 1.0)), ("solute8", (2.0, 1.0, 1.0)), ("ternary8", (2.0, 1.0, 1.0)),
              ("vacancy15", (1.5, 1.0, 1.0)), ("fcc", (0.5, 1.0, 0.5)), ("hcp", (0.5, 1.0, 0.5)),
              ("sc", (0.5, 1.0, 0.5)))

BCC_WEIGHTS = FitWeights(energy_eV=0.003, force_eV_per_A=0.15, stress_eV=0.06, group_factors=_BCC_ALLOY)
"""Weights for the shipped set. Strained cells weigh more in stress: a 1 GPa error at 3% shear is 33 GPa in C44. Their
energies weigh nothing: they are on a finer k-mesh than all others, which shifts them by up to 8 meV/atom."""

ALWAYS_TRAIN = ("elastic_bcc",)
"""Groups that no frame is held out of: each element has one frame per strain, and no other frame gives its C44."""


@dataclasses.dataclass(frozen=True)
class FitModel:
    """Shape of the potential and its prior; distances in Å."""

    pair_functions: int = 12
    density_functions: int = 6
    cutoff_A: float = 5.5
    inner_A: float = 1.9
    ridge: Ridge = dataclasses.field(default_factory=Ridge)


@dataclasses.dataclass(frozen=True)
class FitStudy:
    """A fit with everything needed to judge it or to go on from it.

    ``solution`` as returned by ``fit``; ``training`` and ``held_out`` (None if empty) are packed frames, with
    the dataset indices and the error tables that go with them.
    """

    solution: Solution
    prior: FitPrior
    training: PackedFrames
    held_out: PackedFrames | None
    training_indices: np.ndarray
    held_out_indices: np.ndarray
    training_errors: list[GroupErrors]
    held_out_errors: list[GroupErrors]

    @property
    def parameters(self) -> FitParameters:
        """The fitted potential and offsets."""
        return self.solution.value


def prepare_fit(dataset: Dataset, *, model: FitModel | None = None, weights: FitWeights = BCC_WEIGHTS,
                held_out_fraction: float = 0.18
                ) -> tuple[FitParameters, FitPrior, PackedFrames, PackedFrames | None, np.ndarray, np.ndarray]:
    """(start, prior, training, held out or None, training indices, held-out indices) for a dataset (host-side)."""
    model = model or FitModel()
    inside, outside = held_out_split(dataset.groups, dataset.names, fraction=held_out_fraction,
                                     always_train=ALWAYS_TRAIN)
    train, test = dataset.select(inside), dataset.select(outside)

    def start_with(offsets):
        return initial_parameters(dataset.elements, pair_functions=model.pair_functions,
                                  density_functions=model.density_functions, cutoff=model.cutoff_A,
                                  inner_A=model.inner_A, offsets_eV=offsets)

    template = start_with(None).potential
    training = pack(train.frames, train.groups, template, weights)
    held_out = pack(test.frames, test.groups, template, weights) if len(test) else None
    offsets = np.linalg.lstsq(np.asarray(training.counts), np.asarray(training.energy_target), rcond=None)[0]
    start = start_with(jnp.asarray(offsets))
    return start, make_prior(start, model.ridge), training, held_out, inside, outside


def fit_dataset(dataset: Dataset, *, model: FitModel | None = None, weights: FitWeights = BCC_WEIGHTS,
                held_out_fraction: float = 0.18, settings: FitSettings | None = None, report: Report | None = None
                ) -> FitStudy:
    """Fit a ``LearnableEAM`` to a dataset with a held-out part of its groups (float64; see ``fit``)."""
    start, prior, training, held_out, inside, outside = prepare_fit(
        dataset, model=model, weights=weights, held_out_fraction=held_out_fraction)
    solution = fit(start, training, prior, settings=settings, report=report)
    groups = lambda indices: tuple(dataset.groups[int(i)] for i in indices)
    held_out_errors = error_table(solution.value, held_out, groups(outside)) if held_out is not None else []
    return FitStudy(solution, prior, training, held_out, inside, outside,
                    error_table(solution.value, training, groups(inside)), held_out_errors)
