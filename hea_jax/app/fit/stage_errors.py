"""Stage ``errors``: the potential itself, evaluated on every frame, against the reference."""

import csv
import dataclasses
import math

import numpy as np

from hea_jax.app.fit.figures import parity_figure, residual_figure
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult
from hea_jax.app.runs.atomic import write_json
from hea_jax.atomistic.fitting.evaluation import ErrorRow, error_rows, evaluate, residuals_of

UNITS = {"energy": ("meV", "meV/atom"), "force": ("eV_per_A", "eV/Å"), "stress": ("GPa", "GPa")}


def run_errors(config, inputs, context):
    """Errors per group and part, as CSV, JSON, tables and figures."""
    given = inputs_of(config, context.resolve)
    outcome, dataset = inputs["fit"], given.data.dataset
    parts = given.split.parts
    used = np.sort(np.concatenate(list(parts.values())))
    predictions = evaluate(outcome.potential, [dataset.frames[n] for n in used],
                           report=lambda done, total: context.progress("evaluating frames", done, total))
    place = np.full(len(dataset), -1)
    place[used] = np.arange(len(used))
    residuals = residuals_of(predictions, [dataset.frames[n] for n in used], outcome.offsets_eV,
                             given.data.source[used])
    groups, at = [dataset.groups[n] for n in used], {part: place[indices] for part, indices in parts.items()}
    rows = error_rows(residuals, groups, at)
    write_errors(rows, context)
    figures = [ReportFigure("parity", "Potential against reference; open marks did not train. Energies are relative to "
                            "the element offsets.", parity_figure(residuals, groups, at)),
               ReportFigure("residuals", "Share of residuals above a size.", residual_figure(residuals, at))]
    tables = [_table(part, [r for r in rows if r.part == part]) for part in parts if len(parts[part])]
    text = "Errors of the potential as it is written to its file, on every frame of the split."
    numbers = {}
    for row in rows:
        for quantity, (field, unit) in UNITS.items():
            for kind in ("mae", "rmse", "max"):
                value = getattr(row, f"{quantity}_{kind}_{field}")
                if row.group == "all" and math.isfinite(value):
                    numbers[f"{row.part}_{quantity}_{kind}"] = Number(value, unit, method=f"{row.frames} structures",
                                                                      source=dataset.source)  # fmt: skip
    handover = tuple(n for n in ("test_energy_mae", "test_force_mae") if n in numbers) or ("train_energy_mae",)
    return StageResult({"rows": [dataclasses.asdict(r) for r in rows]}, numbers, (),
                       (ReportSection("Errors", text, tables, figures),), handover)


def write_errors(rows: list[ErrorRow], context) -> None:
    """``errors.csv`` and ``errors.json``; an unknown error is empty, or null."""
    known = lambda v: None if isinstance(v, float) and not math.isfinite(v) else v
    plain = [{k: known(v) for k, v in dataclasses.asdict(r).items()} for r in rows]
    with context.path("errors.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [f.name for f in dataclasses.fields(ErrorRow)])
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in plain)
    write_json(context.path("errors.json"), plain)


def _table(part: str, rows: list[ErrorRow]) -> Table:
    """Mean absolute / root-mean-square / largest errors."""
    head = ["group", "structures", "energy (meV/atom)", "force (eV/Å)", "stress (GPa)"]
    text = lambda r, name, unit, digits: " / ".join(
        f"{getattr(r, f'{name}_{kind}_{unit}'):.{digits}f}" for kind in ("mae", "rmse", "max"))
    body = [[r.group, r.frames, text(r, "energy", "meV", 2), text(r, "force", "eV_per_A", 3),
             text(r, "stress", "GPa", 2)] for r in rows]
    return Table(head, [[c if c != "nan / nan / nan" else "" for c in row] for row in body],
                 f"Mean absolute / root-mean-square / largest errors: {part}")
