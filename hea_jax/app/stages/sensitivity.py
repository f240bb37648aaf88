"""Stages that go back by gradient: d(homogenised moduli)/d(potential parameters), and calibration with it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots import trade_off
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.stages.alloy import equimolar_cells
from hea_jax.app.stages.polycrystal import polycrystal, solver
from hea_jax.app.stages.potential import fit_inputs, load_reference
from hea_jax.atomistic.fitting import data_residuals, error_table, flatten, residuals
from hea_jax.calibration.gauss_newton import Target, calibrate
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.core.results import failure_message
from hea_jax.hierarchical.upscaling import moduli_and_jacobian

WEAKEST = 1e-6
"""Smallest slope, relative to the modulus, of a direction that proves something."""


def path(config, inputs, potential):
    """(moduli and their gradients) as a function of the potential, on the cells and the first RVE of the chain."""
    cells, grains = equimolar_cells(config, potential), polycrystal(inputs)
    return lambda p: moduli_and_jacobian(p, cells, grains, linear=solver(config.rve))


def run_gradient(config, inputs, context):
    """Stage ``gradient``: the gradient through the whole path against finite differences, all re-relaxed."""
    potential = inputs["fit"]["parameters"].potential
    evaluate = path(config, inputs, potential)
    context.progress("compiling the gradient of the whole path")
    moduli, gradient = evaluate(potential)
    directions = parameter_directions(potential, random=config.gradient.n_random_directions, seed=config.seed)
    checks = []
    for k, (name, direction) in enumerate(directions.items()):
        context.progress(f"finite differences: {name}", k, len(directions))
        checks.append(
            check_direction(
                name, lambda p: evaluate(p)[0], potential, gradient, direction, steps=config.gradient.relative_steps
            )
        )
    worst, weakest = max(c.worst for c in checks), min(c.weakest for c in checks)
    norms = {
        jax.tree_util.keystr(p).lstrip("."): np.sqrt(np.sum(np.asarray(g) ** 2, axis=tuple(range(1, g.ndim))))
        for p, g in jax.tree_util.tree_flatten_with_path(gradient)[0]
    }
    method = "reverse mode through RVE, elastic constants and relaxation"
    numbers = {
        "gradient_error": Number(
            worst, "1", None, "largest relative difference from central differences, the better of two steps"
        ),
        "gradient_weakest": Number(weakest, "1", None, "smallest |slope| over the modulus"),
    }
    for block, norm in norms.items():
        numbers[f"dK_d_{block}"] = Number(
            float(norm[0]), "GPa per parameter unit", None, "norm over the block; " + method
        )
        numbers[f"dG_d_{block}"] = Number(
            float(norm[1]), "GPa per parameter unit", None, "norm over the block; " + method
        )
    verdicts = (
        Verdict(
            "gradient equals finite differences",
            worst <= config.gradient.rtol,
            f"largest relative difference {worst:.1e} over {len(checks)} directions",
        ),
        Verdict("every direction matters", weakest >= WEAKEST, f"smallest slope {weakest:.1e} of the modulus"),
    )
    rows = [
        [c.name, f"{c.slopes[0]:.6g}", f"{c.slopes[1]:.6g}", *(f"{e.max():.1e}" for e in c.relative_errors)]
        for c in checks
    ]
    columns = ["direction", "dK (GPa)", "dG (GPa)", *(f"error at h = {h:g}" for h in config.gradient.relative_steps)]
    table = Table(
        columns,
        rows,
        "Slopes along unit directions (scaled by the parameters' rms) and their relative "
        "difference from central differences, everything re-relaxed",
    )
    return StageResult(
        {"moduli_GPa": moduli, "gradient": gradient},
        numbers,
        verdicts,
        (ReportSection("Gradient of the path", "", [table]),),
        ("gradient_error",),
    )


def run_calibration(config, inputs, context):
    """Stage ``calibration``: the target modulus beside the reference data, over a sweep of weights."""
    fitted = inputs["fit"]["parameters"]
    dataset = load_reference(config, context)
    _, prior, training, held_out, _, outside = fit_inputs(config, dataset)
    theta, unflatten = flatten(fitted)
    evaluate = path(config, inputs, fitted.potential)

    def observable(t):
        moduli, gradient = evaluate(unflatten(t).potential)
        shear = jax.tree.map(lambda g: g[1], gradient)
        padded = eqx.tree_at(lambda p: p.potential, jax.tree.map(jnp.zeros_like, fitted), shear)
        return moduli[1], flatten(padded)[0]

    @jax.jit
    def rows(t):
        return residuals(unflatten(t), training, prior)

    @jax.jit
    def held_out_error(t):
        return jnp.sqrt(jnp.mean(data_residuals(unflatten(t), held_out) ** 2))

    target = Target(config.calibration.target_shear_GPa, config.calibration.target_uncertainty_GPa)
    start = float(observable(theta)[0])
    initial, points = start - target.value, []
    first_gradient = float(jnp.linalg.norm(jax.grad(lambda t: 0.5 * jnp.sum(rows(t) ** 2))(theta)))
    t = theta
    for k, weight in enumerate(config.calibration.weights):
        context.progress(f"weight {weight:g}", k, len(config.calibration.weights))
        solution = calibrate(rows, observable, t, target, weight=weight, max_steps=config.calibration.steps, rtol=1e-4)
        message = failure_message(solution.result)
        if message:
            context.warn(f"calibration at weight {weight:g}: {message}")
        points.append(solution.value)
        t = solution.value.parameters
    base = float(held_out_error(theta))
    rises = [float(held_out_error(p.parameters)) / base - 1 for p in points]
    falls = [abs(initial) / max(abs(p.error), 1e-12) for p in points]
    chosen = _choose(rises, falls, config.calibration.max_held_out_rise)
    groups = tuple(dataset.groups[int(i)] for i in outside)
    tables = [error_table(unflatten(t_), held_out, groups)[-1] for t_ in (theta, points[chosen].parameters)]
    result = {"parameters": unflatten(points[chosen].parameters)}
    numbers = _calibration_numbers(
        config,
        points[chosen],
        tables,
        start=start,
        rise=rises[chosen],
        fall=falls[chosen],
        first_gradient=first_gradient,
    )
    verdicts = (
        Verdict("target error falls tenfold", falls[chosen] >= 10, f"{falls[chosen]:.1f} times smaller"),
        Verdict(
            "held-out error keeps",
            rises[chosen] <= config.calibration.max_held_out_rise,
            _rise_text(rises[chosen], tables),
        ),
    )
    section = _calibration_section(config, initial, points, rises, chosen)
    return StageResult(result, numbers, verdicts, (section,), ("calibrated_shear_modulus",))


def _rise_text(rise, tables):
    """The change of the held-out error, weighted as in the loss, and of its parts."""
    fields = {"energy": "energy_rmse_meV", "force": "force_rmse_eV_per_A", "stress": "stress_rmse_GPa"}
    parts = {name: getattr(tables[1], field) / getattr(tables[0], field) - 1 for name, field in fields.items()}
    listed = ", ".join(f"{name} {100 * change:+.1f}%" for name, change in parts.items())
    return f"weighted held-out error changes by {100 * rise:+.2f}% (root-mean-square errors: {listed})"


def _choose(rises, falls, limit):
    """The smallest weight that meets both demands; else the one with the smallest target error among those allowed."""
    good = [k for k in range(len(rises)) if rises[k] <= limit and falls[k] >= 10]
    if good:
        return good[0]
    allowed = [k for k in range(len(rises)) if rises[k] <= limit] or list(range(len(rises)))
    return max(allowed, key=lambda k: falls[k])


def _calibration_numbers(config, point, tables, *, start, rise, fall, first_gradient):
    source = config.calibration.source
    numbers = {
        "target_shear_modulus": Number(
            config.calibration.target_shear_GPa,
            "GPa",
            config.calibration.target_uncertainty_GPa,
            "given in the configuration",
            source,
        ),
        "shear_modulus_of_the_fit": Number(start, "GPa", None, "polycrystal of the DFT fit, first realisation"),
        "fit_gradient_norm": Number(
            first_gradient, "1", None, "‖∇ loss‖ of the DFT fit from which calibration starts"
        ),
        "calibrated_shear_modulus": Number(
            point.observable, "GPa", None, "after calibration, same cells and polycrystal"
        ),
        "target_error_ratio": Number(fall, "1", None, "error of the target before over after"),
        "held_out_rise": Number(rise, "1", None, "relative change of the weighted held-out error"),
        "calibration_weight": Number(point.weight, "1", None, "weight of the target in the loss"),
    }
    for name, row in zip(("before", "after"), tables, strict=True):
        numbers[f"held_out_energy_rmse_{name}"] = Number(
            row.energy_rmse_meV, "meV/atom", None, "all held-out structures"
        )
        numbers[f"held_out_force_rmse_{name}"] = Number(
            row.force_rmse_eV_per_A, "eV/Å", None, "all held-out structures"
        )
        numbers[f"held_out_stress_rmse_{name}"] = Number(row.stress_rmse_GPa, "GPa", None, "all held-out structures")
    return numbers


def _calibration_section(config, initial, points, rises, chosen):
    x = [0.0, *(100 * rise for rise in rises)]
    y = [abs(initial), *(abs(p.error) for p in points)]
    labels = ["DFT fit", *(f"{p.weight:g}" for p in points)]
    figure = trade_off(
        x,
        y,
        labels,
        xlabel="change of the held-out error (%)",
        ylabel="error of the target modulus (GPa)",
        chosen=chosen + 1,
        limit=100 * config.calibration.max_held_out_rise,
    )
    rows = [
        [f"{p.weight:g}", f"{p.observable:.3f}", f"{p.error:+.3f}", f"{100 * r:+.2f}", p.steps]
        for p, r in zip(points, rises, strict=True)
    ]
    table = Table(
        ["weight", "G (GPa)", "G − target (GPa)", "held-out error (%)", "steps"], rows, "Trade-off over weights"
    )
    text = (
        f"Target: G = {config.calibration.target_shear_GPa} ± {config.calibration.target_uncertainty_GPa} GPa. "
        f"{config.calibration.source}"
    )
    caption = "Error of the target modulus against the change of the held-out DFT error; labels are weights."
    return ReportSection("Calibration", text, [table], [ReportFigure("trade_off", caption, figure)])
