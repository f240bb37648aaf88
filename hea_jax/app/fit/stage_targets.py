"""Stage ``targets``: every physical target of the configuration, computed with the finished potential."""

import numpy as np

from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.targets import all_built
from hea_jax.app.report import ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.fitting.targets import observe


def run_targets(config, inputs, context):
    """Values reached; a target counts as met within twice its tolerance."""
    given, potential = inputs_of(config, context.resolve), inputs["fit"].potential
    rows, numbers, verdicts = [], {}, []
    targets = all_built(config, given.data, potential.cutoff)
    for n, (section, target) in enumerate(zip(config.targets, targets, strict=True)):
        context.progress(section.label, n + 1, len(targets))
        value = float(observe(target, potential))
        off = (value - section.value) / section.tolerance
        rows.append([section.label, f"{value:.5g}", f"{section.value:.5g}", f"{section.tolerance:.2g}", section.unit,
                     f"{off:+.1f}", section.source])
        if np.isfinite(value):
            numbers[f"target_{n}"] = Number(value, section.unit, method=section.label, source=section.source)
        verdicts.append(Verdict(section.label, bool(abs(off) <= 2), f"{value:.5g} against {section.value:.5g} ± "
                                f"{section.tolerance:.2g} {section.unit}"))  # fmt: skip
    text = "" if rows else "No physical targets were given."
    head = ["target", "reached", "value", "tolerance", "unit", "off, in tolerances", "source"]
    tables = [Table(head, rows, "Physical targets")] if rows else []
    return StageResult({}, numbers, tuple(verdicts), (ReportSection("Physical targets", text, tables),))
