"""The stages of ``hea-jax fit``, in order: data, fit, errors, files, targets, sanity, uncertainty."""

from hea_jax.app.fit.data import input_files
from hea_jax.app.fit.inputs import READS
from hea_jax.app.fit.models import FitConfig
from hea_jax.app.fit.stage_data import run_data
from hea_jax.app.fit.stage_eam import run_eam
from hea_jax.app.fit.stage_errors import run_errors
from hea_jax.app.fit.stage_export import run_export
from hea_jax.app.fit.stage_linear import run_linear
from hea_jax.app.fit.stage_sanity import run_sanity
from hea_jax.app.fit.stage_targets import run_targets
from hea_jax.app.fit.stage_uncertainty import run_uncertainty
from hea_jax.app.runs import Stage

HANDED_OUT = {"export": ("potential.json", "potential.eam.alloy", "potential.yace", "in.lammps", "structure.data"),
              "errors": ("errors.csv", "errors.json"), "uncertainty": ("ensemble.h5",)}
"""Files of stages that are copied to the run folder itself."""


def stages(config: FitConfig) -> tuple[Stage, ...]:
    """The chain of a configuration."""
    model = "learnable_eam" if config.learnable_eam is not None else "body_ordered"
    fit = run_eam if config.learnable_eam is not None else run_linear
    files = lambda view, base: input_files(config, base)
    shape = (model, "optimiser")
    return (
        Stage("data", run_data, (), READS, "Reference data", files=files),
        Stage("fit", fit, ("data",), (*READS, *shape, "targets", "sanity"), "Fit", files=files),
        Stage("errors", run_errors, ("fit",), READS, "Errors", files=files),
        Stage("export", run_export, ("fit",), (*READS, "sanity", "name"), "Files", files=files),
        Stage("targets", run_targets, ("fit",), (*READS, "targets", "sanity"), "Physical targets", files=files),
        Stage("sanity", run_sanity, ("fit",), (*READS, "sanity"), "Sanity", files=files),
        Stage("uncertainty", run_uncertainty, ("fit",), (*READS, *shape, "sanity", "uncertainty"), "Uncertainty",
              files=files),
    )
