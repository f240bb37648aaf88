"""Stage ``export``: the potential's own file and its files for LAMMPS, checked against the fit and against LAMMPS."""

import jax
import numpy as np

from hea_jax.app.fit.cells import alloy_cell
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.lammps_input import INPUT, STRUCTURE, input_text, run_input, structure_text
from hea_jax.app.report import ReportSection
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.lammps import LammpsError, lammps_available
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import LearnableEAM, load_eam, to_setfl
from hea_jax.atomistic.potentials.shipped import potential_from_json, potential_to_json
from hea_jax.atomistic.properties import energy
from hea_jax.core.units import EV_TO_MEV

POTENTIAL, TABLE = "potential.json", "potential.eam.alloy"
TABLE_EV, PEER_EV = 1e-6, 1e-8
"""Demands per atom: table against fit, LAMMPS against our evaluation of the table."""


def offsets_text(elements, offsets_eV, sources) -> str:
    """Offsets per source as one line."""
    lines = [", ".join(f"{e} {x:.8g}" for e, x in zip(elements, row, strict=True)) for row in offsets_eV]
    return lines[0] if len(lines) == 1 else "; ".join(f"{s}: {t}" for s, t in zip(sources, lines, strict=True))


def run_export(config, inputs, context):
    """Write the files of the potential, and run what was written."""
    given, outcome = inputs_of(config, context.resolve), inputs["fit"]
    elements = given.data.elements
    atoms = alloy_cell("export", config, elements, given.data.dataset, (4, 4, 4))
    noise = 0.05 * jax.random.normal(jax.random.fold_in(jax.random.key(config.seed), 77), atoms.positions.shape)
    atoms = atoms.displaced(noise)
    context.path(STRUCTURE).write_text(structure_text(atoms), encoding="utf-8")
    offsets = offsets_text(elements, np.asarray(outcome.offsets_eV), given.data.sources)
    if isinstance(outcome.potential, LearnableEAM):
        return _export_eam(config, outcome, atoms, offsets, context)
    from hea_jax.app.fit.export_linear import export_linear

    return export_linear(config, outcome, atoms, offsets, context)


def per_atom(potential, atoms) -> float:
    """Energy per atom (eV)."""
    return float(energy(potential, atoms, neighbour_table(atoms, potential.cutoff))) / atoms.number


def lammps_verdict(context, atoms, expected_eV: float, demand_eV: float) -> tuple[dict, list[Verdict], str]:
    """Run ``in.lammps``: (numbers, verdicts, a sentence); energies per atom."""
    available, reason = lammps_available()
    if not available:
        return {}, [], f" LAMMPS was not run: {reason}."
    context.progress(f"running {INPUT}")
    try:
        first, last = run_input(context.path(INPUT).parent)
    except LammpsError as error:
        if "Unrecognized pair style" in str(error):
            return {}, [], f" The LAMMPS here lacks the pair style, so `{INPUT}` was not run."
        return {}, [Verdict("LAMMPS runs the input", False, str(error))], f" LAMMPS does not run `{INPUT}`: {error}."
    off = abs(first / atoms.number - expected_eV)
    numbers = {"lammps_energy_difference": Number(off, "eV/atom", None, f"{INPUT} against our evaluation")}
    verdicts = [Verdict("LAMMPS agrees", off <= demand_eV, f"{off:.1e} eV/atom"),
                Verdict("LAMMPS runs the input", bool(np.isfinite(last)), f"ends at {last / atoms.number:.4f} eV/atom")]
    return numbers, verdicts, f" LAMMPS runs `{INPUT}` and agrees to {off:.1e} eV/atom."


def _export_eam(config, outcome, atoms, offsets, context):
    """``potential.json``, the ``eam.alloy`` table, and the input."""
    potential, path = outcome.potential, context.path(TABLE)
    facts = {"offsets_eV": np.asarray(outcome.offsets_eV).tolist(), "fit": config.name}
    potential_to_json(potential, context.path(POTENTIAL), **facts)
    first = np.asarray(outcome.offsets_eV)[0]
    to_setfl(potential, path=path, offsets_eV=first, provenance=f"hea_jax fit {config.name}")
    pair = "pair_style      eam/alloy", f"pair_coeff      * * {TABLE} {' '.join(potential.elements)}"
    context.path(INPUT).write_text(input_text(pair, offsets), encoding="utf-8")
    exact, table = per_atom(potential, atoms), per_atom(load_eam(path), atoms)
    again = abs(per_atom(potential_from_json(context.path(POTENTIAL)), atoms) - exact)
    error = abs(table - exact)
    numbers = {"table_error": Number(error * EV_TO_MEV, "meV/atom", None, f"table against fit, {atoms.number} atoms")}
    verdicts = [Verdict("table equals the fit", error <= TABLE_EV, f"{error:.1e} eV/atom"),
                Verdict("file equals the fit", again <= 1e-12, f"{again:.1e} eV/atom")]
    more, checks, sentence = lammps_verdict(context, atoms, table, PEER_EV)
    text = (f"`{POTENTIAL}` is read by `load_potential`; `{TABLE}` is the table for LAMMPS, within {error:.1e} eV/atom "
            f"of the fit; `{INPUT}` runs it on `{STRUCTURE}`.{sentence}\n\nNeither holds energies of lone atoms; "
            f"add per atom, eV: {offsets}.")
    return StageResult({"files": (POTENTIAL, TABLE, INPUT, STRUCTURE)}, numbers | more, tuple([*verdicts, *checks]),
                       (ReportSection("Files", text),), ("table_error",))
