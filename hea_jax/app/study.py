"""The stages of ``hea-jax run``, in order: from reference data to a loaded component and back by gradient."""

from hea_jax.app.runs import Stage
from hea_jax.app.stages.alloy import run_alloy, run_mixing
from hea_jax.app.stages.component import run_component
from hea_jax.app.stages.dynamics import run_dynamics_stage
from hea_jax.app.stages.export import run_export
from hea_jax.app.stages.fe2 import run_fe2
from hea_jax.app.stages.mesoscale import run_grains, run_segregation
from hea_jax.app.stages.polycrystal import run_boundary, run_rve, run_scales
from hea_jax.app.stages.potential import run_data, run_fit
from hea_jax.app.stages.properties import run_properties
from hea_jax.app.stages.sensitivity import run_calibration, run_gradient
from hea_jax.app.stages.tip import run_tip


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
        Stage("dynamics", run_dynamics_stage, ("fit", "alloy"), ("dynamics", "alloy", "seed"), "Molecular dynamics"),
        Stage(
            "properties",
            run_properties,
            ("fit", "alloy", "mixing", "dynamics"),
            ("alloy", "properties", "tables", "segregation", "seed"),
            "Properties of the alloy",
        ),
        Stage("segregation", run_segregation, ("properties",), ("segregation", "seed"), "Segregation"),
        Stage("grains", run_grains, ("properties", "segregation"), ("grains", "rve", "seed"), "Grain growth"),
        Stage("rve", run_rve, ("properties", "grains"), ("rve",), "RVE of the phase field"),
        Stage("boundary", run_boundary, ("properties", "grains", "rve"), ("rve",), "Boundary conditions"),
        Stage("scales", run_scales, ("rve", "grains"), ("scales", "rve", "segregation"), "Scale separation"),
        Stage("component", run_component, ("rve",), ("component",), "Component"),
        Stage("fe2", run_fe2, ("properties", "grains", "rve"), ("fe2", "component", "seed"), "FE²"),
        Stage(
            "tip",
            run_tip,
            ("fit", "alloy", "dynamics", "properties", "grains"),
            ("tip_gradient", "alloy", "properties", "component", "rve", "seed"),
            "Gradient of the tip",
        ),
        Stage(
            "gradient", run_gradient, ("fit", "grains"), ("gradient", "alloy", "rve", "seed"), "Gradient of the moduli"
        ),
        Stage(
            "calibration",
            run_calibration,
            ("fit", "grains"),
            ("calibration", "data", "fit", "alloy", "rve", "seed"),
            "Calibration",
            files=_reference_files,
        ),
    )
