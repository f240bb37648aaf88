"""Files of a body-ordered potential: its own, and the ``.yace`` file that LAMMPS' PACE package reads."""

import ase
import numpy as np

from hea_jax.app.fit.lammps_input import INPUT, STRUCTURE, input_text
from hea_jax.app.fit.stage_export import POTENTIAL, lammps_verdict, per_atom
from hea_jax.app.report import ReportSection
from hea_jax.app.runs import StageResult, Verdict
from hea_jax.atomistic.potentials import ZBL, LammpsTaper, Overlay
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.file import load_body_ordered, save_body_ordered
from hea_jax.atomistic.potentials.body_ordered.yace import save_yace

PACE = "potential.yace"
NEEDS = "# Needs LAMMPS built with the package ML-PACE."
PACE_EV = 1e-5
"""Demand per atom: LAMMPS, with PACE's radial splines, against us."""


def export_linear(config, outcome, atoms, offsets, context):
    """``potential.json``, ``potential.yace`` and the input for LAMMPS."""
    potential = outcome.potential
    fitted, core = potential, None
    if isinstance(potential, Overlay):
        fitted, repulsion = potential.parts
        assert isinstance(repulsion, ZBL)
        core = repulsion.taper
    assert isinstance(fitted, BodyOrdered)
    assert core is None or isinstance(core, LammpsTaper)
    first = dict(zip(potential.elements, np.asarray(outcome.offsets_eV)[0].tolist(), strict=True))
    facts = {"fit": config.name, "offsets_eV_of_sources": np.asarray(outcome.offsets_eV).tolist()}
    save_body_ordered(context.path(POTENTIAL), fitted, core=core, offsets_eV=first, facts=facts)
    save_yace(context.path(PACE), fitted)
    context.path(INPUT).write_text(input_text(pair_lines(fitted, core), offsets), encoding="utf-8")
    exact = per_atom(potential, atoms)
    again = abs(per_atom(load_body_ordered(context.path(POTENTIAL)), atoms) - exact)
    verdicts = [Verdict("file equals the fit", again <= 1e-12, f"{again:.1e} eV/atom")]
    numbers, checks, sentence = lammps_verdict(context, atoms, exact, PACE_EV)
    if not checks:
        checks, sentence = pace_verdict(context, fitted, atoms, sentence)
    text = (f"`{POTENTIAL}` is read by `load_body_ordered`; `{PACE}` is for LAMMPS with its PACE package (`pace`); "
            f"`{INPUT}` runs it on `{STRUCTURE}`.{sentence}\n\nNeither holds the energies of lone atoms; add per atom, "
            f"eV: {offsets}.")
    return StageResult({"files": (POTENTIAL, PACE, INPUT, STRUCTURE)}, numbers, tuple([*verdicts, *checks]),
                       (ReportSection("Files", text),))  # fmt: skip


def pace_verdict(context, fitted: BodyOrdered, atoms, sentence: str) -> tuple[list[Verdict], str]:
    """Without LAMMPS' PACE package: the ``.yace`` file in PACE's own evaluator (python-ace), core left out."""
    try:
        from pyace import PyACECalculator  # pyright: ignore[reportMissingImports]
    except ImportError:
        return [], f"{sentence} `{PACE}` was not checked: pip install python-ace, or LAMMPS with its ML-PACE package."
    peer = ase.Atoms(atoms.symbols(), positions=np.asarray(atoms.positions), cell=np.asarray(atoms.cell), pbc=True,
                     calculator=PyACECalculator(str(context.path(PACE))))
    off = abs(float(peer.get_potential_energy()) / atoms.number - per_atom(fitted, atoms))
    text = f"{sentence} PACE's own evaluator reads `{PACE}` and agrees to {off:.1e} eV/atom (the core left out)."
    return [Verdict("PACE agrees", off <= PACE_EV, f"{off:.1e} eV/atom, the core left out")], text


def pair_lines(fitted: BodyOrdered, core: LammpsTaper | None) -> tuple[str, ...]:
    """Lines of a LAMMPS input that set the interaction."""
    from ase.data import atomic_numbers

    symbols = " ".join(fitted.elements)
    if core is None:
        return NEEDS, "pair_style      pace", f"pair_coeff      * * {PACE} {symbols}"
    lines = [NEEDS, f"pair_style      hybrid/overlay pace zbl {core.inner_A:.17g} {core.outer_A:.17g}",
             f"pair_coeff      * * pace {PACE} {symbols}"]
    Z = [atomic_numbers[e] for e in fitted.elements]
    lines += [f"pair_coeff      {a + 1} {b + 1} zbl {Z[a]} {Z[b]}" for a in range(len(Z)) for b in range(a, len(Z))]
    return tuple(lines)
