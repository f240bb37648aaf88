"""Stage ``tip``: d(tip displacement)/d(potential parameters), through C_ij, RVE and finite elements."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.report import ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.stages.alloy import relaxation
from hea_jax.app.stages.component import panel
from hea_jax.app.stages.polycrystal import solver
from hea_jax.app.stages.properties import elastic_cells, stretches
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.hierarchical.tip import TipPath

WEAKEST = 1e-6
"""Smallest slope, relative to the displacement, of a direction that proves something."""


def run_tip(config, inputs, context):
    """Stage ``tip``: the gradient of the component's tip displacement against re-relaxed finite differences."""
    potential = inputs["fit"]["parameters"].potential
    cells, design = elastic_cells(config, potential)
    record, needed = _needed(config, inputs["properties"]["record"])
    path = TipPath(
        cells,
        design,
        stretches(inputs)[:needed],
        record,
        inputs["grains"]["microstructures"][0],
        panel(config),
        config.alloy.n_cells,
        relaxation(config),
        solver(config.rve),
    )
    context.progress("compiling the gradient of the tip displacement")
    value, gradient = path.value_and_gradient(potential)
    directions = parameter_directions(potential, random=config.tip_gradient.n_random_directions, seed=config.seed + 1)
    chosen = {name: d for name, d in directions.items() if name.startswith("random")}
    stacked = jax.tree.map(lambda leaf: leaf[None], gradient)
    checks = []
    for k, (name, direction) in enumerate(chosen.items()):
        context.progress(f"finite differences: {name}", k, len(chosen))
        checks.append(
            check_direction(
                name,
                lambda p: path.value(p)[None],
                potential,
                stacked,
                direction,
                steps=config.tip_gradient.relative_steps,
            )
        )
    numbers, verdicts, section = _report(config.tip_gradient, value, gradient, checks)
    return StageResult(
        {"gradient": gradient, "tip_nm": value, "slopes": np.array([c.slopes[0] for c in checks])},
        numbers,
        verdicts,
        (section,),
        ("tip_gradient_error",),
    )


def _needed(config, record):
    """The record up to the first temperature that the component does not exceed, and their number."""
    hottest = max(config.component.clamp_temperature_K, config.component.tip_temperature_K)
    needed = int(np.searchsorted(np.asarray(record.temperatures_K), hottest)) + 1
    names = (
        "temperatures_K",
        "lattice_constants_A",
        "lattice_constants_stderr_A",
        "elastic_constants_GPa",
        "elastic_constants_stderr_GPa",
    )
    return dataclasses.replace(record, **{name: getattr(record, name)[:needed] for name in names}), needed


def _report(limits, value, gradient, checks):
    """Numbers, verdicts and the report's section."""
    worst, weakest = max(c.worst for c in checks), min(c.weakest for c in checks)
    numbers = {
        "tip_of_the_gradient": Number(float(value), "nm", None, "tip displacement with the first RVE alone"),
        "tip_gradient_error": Number(
            worst, "1", None, "largest relative difference from central differences, the better of two steps"
        ),
        "tip_gradient_weakest": Number(weakest, "1", None, "smallest |slope| over the displacement"),
    }
    for path_, leaf in jax.tree_util.tree_flatten_with_path(gradient)[0]:
        name = jax.tree_util.keystr(path_).lstrip(".")
        numbers[f"dtip_d_{name}"] = Number(
            float(jnp.linalg.norm(leaf)), "nm per parameter unit", None, "norm over block"
        )
    verdicts = (
        Verdict(
            "gradient of the tip equals finite differences",
            worst <= limits.rtol,
            f"largest relative difference {worst:.1e} over {len(checks)} directions",
        ),
        Verdict(
            "tip: every direction matters", weakest >= WEAKEST, f"smallest slope {weakest:.1e} of the displacement"
        ),
    )
    rows = [[c.name, f"{c.slopes[0]:.6g}", *(f"{e.max():.1e}" for e in c.relative_errors)] for c in checks]
    table = Table(
        ["direction", "d tip (nm)", *(f"error at h = {h:g}" for h in limits.relative_steps)],
        rows,
        "Slopes along unit directions in the potential's parameters, everything re-relaxed and solved anew",
    )
    text = (
        "Potential → relaxed cells of all compositions at all temperatures → RVE → finite elements, reverse mode. "
        "Held fixed: the relative expansion a(T)/a(0) of the dynamics, hence the thermal strain, the microstructure "
        "and its composition field."
    )
    return numbers, verdicts, ReportSection("Gradient of the tip displacement", text, [table])
