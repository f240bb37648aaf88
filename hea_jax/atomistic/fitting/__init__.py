"""Fitting potentials to reference data: packing, objective, optimisation, error tables."""

from hea_jax.atomistic.fitting.errors import GroupErrors, error_table, format_table
from hea_jax.atomistic.fitting.fit import FitSettings, fit
from hea_jax.atomistic.fitting.gauss_newton import Blocks, BlockSettings, fit_blocks, pack_blocks
from hea_jax.atomistic.fitting.objective import (
    FitPrior,
    Ridge,
    flatten,
    held_out_split,
    initial_parameters,
    loss,
    make_prior,
    residuals,
)
from hea_jax.atomistic.fitting.packing import (
    FitParameters,
    FitWeights,
    PackedFrames,
    data_residuals,
    pack,
    predict,
)
from hea_jax.atomistic.fitting.study import BCC_WEIGHTS, FitModel, FitStudy, fit_dataset, prepare_fit

__all__ = [
    "BCC_WEIGHTS", "BlockSettings", "Blocks", "FitModel", "FitParameters", "FitPrior", "FitSettings", "FitStudy",
    "FitWeights", "GroupErrors", "PackedFrames", "Ridge", "data_residuals", "error_table", "fit", "fit_blocks",
    "fit_dataset", "flatten", "format_table", "held_out_split", "initial_parameters", "loss", "make_prior", "pack",
    "pack_blocks", "predict", "prepare_fit", "residuals",
]
