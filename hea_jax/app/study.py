"""The stages of ``hea-jax run``, in order: from reference data to a homogenised modulus and back by gradient."""

from hea_jax.app.runs import Stage
from hea_jax.app.stages.alloy import run_alloy, run_mixing
from hea_jax.app.stages.export import run_export
from hea_jax.app.stages.polycrystal import run_boundary, run_rve, run_scales
from hea_jax.app.stages.potential import run_data, run_fit
from hea_jax.app.stages.sensitivity import run_calibration, run_gradient


def _reference_files(config, base):
    """The reference data as an input file, unless they ship with the package (then they are part of the code)."""
    return [] if config.data.source == "gpaw_nbmotaw" else [base / config.data.source]


def stages() -> tuple[Stage, ...]:
    """The chain of a study."""
    return (
        Stage("data", run_data, (), ("data",), "Reference data", files=_reference_files),
        Stage("fit", run_fit, ("data",), ("data", "fit"), "Interatomic potential", files=_reference_files),
        Stage("export", run_export, ("fit",), ("name", "alloy", "seed"), "LAMMPS table"),
        Stage("alloy", run_alloy, ("fit",), ("alloy", "seed"), "Random alloy"),
        Stage("mixing", run_mixing, ("fit",), ("alloy", "seed"), "Mixing enthalpies"),
        Stage("rve", run_rve, ("alloy",), ("rve", "seed"), "Polycrystal"),
        Stage("boundary", run_boundary, ("alloy",), ("boundary_conditions", "rve", "seed"), "Boundary conditions"),
        Stage("scales", run_scales, (), ("scales", "rve"), "Scale separation"),
        Stage("gradient", run_gradient, ("fit",), ("gradient", "alloy", "rve", "seed"), "Gradient"),
        Stage("calibration", run_calibration, ("fit",), ("calibration", "data", "fit", "alloy", "rve", "seed"),
              "Calibration", files=_reference_files),
    )
