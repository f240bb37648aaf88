"""Stages from reference data to a potential: load, fit, export.

Each wraps library calls that a notebook makes in the same way (``hea_jax.electronic``, ``hea_jax.atomistic``).
"""

import dataclasses

import numpy as np

from hea_jax.app.plots import Parity, parity_plots
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.fitting import (
    BCC_WEIGHTS,
    FitModel,
    FitSettings,
    error_table,
    fit,
    predict,
    prepare_fit,
)
from hea_jax.core.results import failure_message
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.electronic.dataset import NAMED_KEYS, DatasetKeys, load_dataset, shipped_dataset


def load_reference(config, context):
    """The dataset that the configuration names, indexed by the elements of the alloy."""
    if config.data.source == "gpaw_nbmotaw":
        return shipped_dataset()
    declared = config.data.declared_keys
    keys = NAMED_KEYS[config.data.keys] if declared is None else DatasetKeys(**declared.model_dump())
    return load_dataset(context.resolve(config.data.source), keys)


def fit_inputs(config, dataset):
    """(start, prior, training, held out, training indices, held-out indices) of the configured fit."""
    weights = dataclasses.replace(
        BCC_WEIGHTS,
        energy_eV=config.fit.weights.energy_scale_eV,
        force_eV_per_A=config.fit.weights.force_scale_eV_per_A,
        stress_eV=config.fit.weights.stress_scale_eV,
    )
    model = FitModel(
        pair_functions=config.fit.n_pair_functions,
        density_functions=config.fit.n_density_functions,
        cutoff_A=config.fit.cutoff_A,
    )
    start, prior, training, held_out, inside, outside = prepare_fit(
        dataset, model=model, weights=weights, held_out_fraction=config.fit.held_out_fraction
    )
    if held_out is None:
        raise ValueError("no structure is held out: every group is too small; give more structures per group")
    return start, prior, training, held_out, inside, outside


def run_data(config, inputs, context):
    """Stage ``data``: read the reference set and say what is in it."""
    dataset = load_reference(config, context)
    sizes = dataset.group_sizes()
    atoms = sum(frame.atoms.number for frame in dataset.frames)
    table = Table(["group", "structures"], list(sizes.items()), "Structures of the reference set")
    elements = ", ".join(dataset.elements)
    text = f"{len(dataset)} structures, {atoms} atoms, elements {elements}; from {config.data.source}."
    numbers = {
        "structures": Number(len(dataset), "1", method="count", source=config.data.source),
        "reference_atoms": Number(atoms, "1", method="count", source=config.data.source),
    }
    return StageResult(
        {"elements": dataset.elements},
        numbers,
        (),
        (ReportSection("Reference data", text, [table]),),
        ("structures",),
    )


def run_fit(config, inputs, context):
    """Stage ``fit``: the learnable EAM fitted to energies, forces and stresses."""
    dataset = load_reference(config, context)
    start, prior, training, held_out, inside, outside = fit_inputs(config, dataset)
    saved = context.restore("parameters", start)
    if saved is not None:
        context.progress("going on from a checkpoint")
    settings = FitSettings(
        adam_steps=config.fit.adam_steps,
        adam_rate=config.fit.adam_learning_rate,
        lbfgs_steps=config.fit.lbfgs_steps,
        gradient_rtol=config.fit.gradient_rtol,
    )
    total = config.fit.adam_steps + config.fit.lbfgs_steps
    solution = fit(
        start,
        training,
        prior,
        settings=settings,
        report=lambda step, loss: context.progress(f"loss {float(loss):.1f}", min(step, total), total),
    )
    parameters = solution.value
    groups = [tuple(dataset.groups[int(i)] for i in part) for part in (inside, outside)]
    tables = {
        "training": error_table(parameters, training, groups[0]),
        "held out": error_table(parameters, held_out, groups[1]),
    }
    numbers, verdicts = _fit_numbers(solution, tables, config)
    figure = ReportFigure(
        "parity",
        "Fitted potential against the reference data; open marks were held out.",
        parity_plots(_parity(parameters, training, held_out, groups)),
    )
    section = ReportSection(
        "Interatomic potential", _fit_text(solution), [_error_table(k, v) for k, v in tables.items()], [figure]
    )
    return StageResult({"parameters": parameters}, numbers, verdicts, (section,), ("held_out_energy_rmse",))


def _fit_text(solution):
    stats = solution.stats
    return (
        f"A learnable EAM fitted to energies, forces and stresses; {int(stats['steps'])} steps. Loss "
        f"{float(stats['loss']):.2f}; gradient norm {float(stats['gradient_norm']):.3g}, which is "
        f"{float(stats['relative_gradient']):.2g} of the norm at the start."
    )


def _fit_numbers(solution, tables, config):
    numbers = {}
    units = {
        "energy": ("energy_rmse_meV", "meV/atom"),
        "force": ("force_rmse_eV_per_A", "eV/Å"),
        "stress": ("stress_rmse_GPa", "GPa"),
    }
    for part, rows in tables.items():
        for quantity, (field, unit) in units.items():
            for row in rows:
                value = getattr(row, field)
                if not np.isfinite(value):
                    continue
                suffix = "" if row.group == "all" else f"_{row.group}"
                numbers[f"{part.replace(' ', '_')}_{quantity}_rmse{suffix}"] = Number(
                    value,
                    unit,
                    method=f"root-mean-square error over {row.frames} structures",
                    source=config.data.source,
                )
    stats = solution.stats
    numbers["fit_loss"] = Number(float(stats["loss"]), "1", method="half the sum of squared weighted residuals")
    numbers["fit_relative_gradient"] = Number(
        float(stats["relative_gradient"]), "1", method="gradient norm of the loss over its value at the start"
    )
    message = failure_message(solution.result)
    verdict = Verdict(
        "fit converged", not message, message or f"relative gradient norm {float(stats['relative_gradient']):.2g}"
    )
    return numbers, (verdict,)


def _error_table(part, rows):
    columns = ["group", "structures", "energy RMSE (meV/atom)", "force RMSE (eV/Å)", "stress RMSE (GPa)"]
    body = [
        [r.group, r.frames, f"{r.energy_rmse_meV:.2f}", f"{r.force_rmse_eV_per_A:.3f}", f"{r.stress_rmse_GPa:.2f}"]
        for r in rows
    ]
    return Table(columns, body, f"Errors of the fit by group: {part}")


def _parity(parameters, training, held_out, groups):
    """The three panels: energy per atom relative to the element offsets, forces, stresses."""
    columns = {"energy": [], "force": [], "stress": []}
    for packed, labels, held in ((training, groups[0], False), (held_out, groups[1], True)):
        energy, forces, stress = (np.asarray(a) for a in predict(parameters, packed))
        counts = np.asarray(packed.counts)
        offset = counts @ np.asarray(parameters.offsets_eV)
        n, labels = counts.sum(1), np.array(labels)
        columns["energy"].append(
            ((np.asarray(packed.energy_target) - offset) / n, (energy - offset) / n, labels, held)
        )
        per_force = np.repeat(labels[np.asarray(packed.frame)], 3)
        columns["force"].append((np.asarray(packed.force_target).ravel(), forces.ravel(), per_force, held))
        scale = EV_PER_A3_TO_GPA / np.array([1, 1, 1, *[np.sqrt(2)] * 3])
        columns["stress"].append(
            ((np.asarray(packed.stress_target) * scale).ravel(), (stress * scale).ravel(), np.repeat(labels, 6), held)
        )
    units = {"energy": "eV/atom", "force": "eV/Å", "stress": "GPa"}
    panels = []
    for quantity, parts in columns.items():
        reference, predicted, labels = (np.concatenate([p[k] for p in parts]) for k in range(3))
        held = np.concatenate([np.full(len(p[0]), p[3]) for p in parts])
        panels.append(Parity(quantity, units[quantity], reference, predicted, labels.tolist(), held))
    return panels
