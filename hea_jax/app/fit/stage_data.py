"""Stage ``data``: what the reference data are, what is wrong with them, and how they are split."""

import numpy as np

from hea_jax.app.fit.data import PARTS, findings
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.report import ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.electronic import DatasetError, leakage
from hea_jax.electronic.fingerprints import fingerprints

LARGEST_FOR_LEAKAGE = 20000
"""Frames up to which near-duplicates across the split are counted."""


def part_table(inputs) -> Table:
    """Frames per group and part."""
    groups = np.array(inputs.data.dataset.groups)
    rows = [[g, *(int((groups[inputs.split.parts[p]] == g).sum()) for p in PARTS),
             int((groups[inputs.split.dropped] == g).sum())] for g in inputs.data.dataset.group_sizes()]
    rows.append(["all", *(len(inputs.split.parts[p]) for p in PARTS), len(inputs.split.dropped)])
    return Table(["group", "training", "validation", "test", "dropped"], rows, "Frames by group and part")


def run_data(config, inputs, context):
    """Read, check, split."""
    context.progress("reading")
    given = inputs_of(config, context.resolve)
    dataset = given.data.dataset
    atoms = sum(frame.atoms.number for frame in dataset.frames)
    text = (f"{len(dataset)} structures, {atoms} atoms, elements {', '.join(dataset.elements)}; from {dataset.source}. "
            f"Split policy: {config.split.policy}.")
    tables, verdicts = [part_table(given)], []
    if config.checks.run:
        context.progress("looking the data over")
        found = findings(given.data)
        rows = [[f.severity.value, f.where, f.what, f.remedy, f.sureness] for f in found.findings]
        tables.append(Table(["severity", "where", "what", "remedy", "rests on"], rows, "Findings in the data"))
        for finding in found.errors:
            context.warn(str(finding))
        if found.errors and config.checks.refuse_errors:
            raise DatasetError("\n".join(["the data are wrong:", *map(str, found.errors),
                                          "(checks.refuse_errors: false fits them all the same)"]))
        verdicts.append(Verdict("data are sound", not found.errors, f"{len(found.errors)} errors, "
                                f"{len(found.findings) - len(found.errors)} other findings"))
    numbers = {"structures": Number(len(dataset), "1", method="count", source=dataset.source),
               "atoms": Number(atoms, "1", method="count", source=dataset.source)}
    if len(given.split.test) and len(dataset) <= LARGEST_FOR_LEAKAGE:
        context.progress("looking for near-duplicates across the split")
        near = leakage(dataset, given.split, prints=fingerprints(dataset))
        numbers["near_duplicates_in_test"] = Number(near.share, "1", method="share of test frames within a rattle of "
                                                    "0.02 Å of a training frame")  # fmt: skip
        rows = [[g, n, f"{100 * share:.0f} %", f"{median:.1f}"] for g, (n, share, median) in
                near.by_group(dataset.groups).items()]  # fmt: skip
        tables.append(Table(["group", "test frames", "near-duplicates", "median distance"], rows,
                            "How near test frames are to training frames (1: a rattle of 0.02 Å)"))
    record = {"elements": dataset.elements, "parts": {p: given.split.parts[p] for p in PARTS}}
    return StageResult(record, numbers, tuple(verdicts), (ReportSection("Reference data", text, tables),),
                       ("structures",))  # fmt: skip
