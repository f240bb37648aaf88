"""Stage ``sanity``: what the potential must stand before it is handed out."""

import jax
import numpy as np

from hea_jax.app.fit.cells import alloy_cell
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.targets import lattice_guess
from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.fitting.elastic_data import cubic_elasticity, elements_with_strains
from hea_jax.atomistic.fitting.evaluation import evaluate
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.phonons import phonons
from hea_jax.atomistic.sanity import (
    FCC_RATIO,
    bain_path,
    dimers,
    ground_state,
    hot_cell,
    primitive_phonons,
    relaxed_alloy,
    survival,
)
from hea_jax.core.results import failure_message
from hea_jax.core.tensors import cubic_projection
from hea_jax.structures.ordered import PROTOTYPES

STILL_THZ = 0.05
"""Frequencies above minus this count as real."""
CLOSE = 0.10
"""Relative difference of elastic constants from those of the data that counts as met."""


def run_sanity(config, inputs, context):
    """All checks; a failure is a verdict, not an error."""
    if not config.sanity.run:
        return StageResult({}, {}, (), (ReportSection("Sanity", "Not run (`sanity.run: false`)."),))
    given, potential = inputs_of(config, context.resolve), inputs["fit"].potential
    report = _Report(config, given.data.dataset, potential, context)
    report.elements()
    report.elastic()
    report.dimers()
    report.phonons()
    report.survival()
    return StageResult({}, report.numbers, tuple(report.verdicts), tuple(report.sections))


class _Report:
    """Collects numbers, verdicts and sections, check by check."""

    def __init__(self, config, dataset, potential, context):
        self.config, self.section, self.dataset = config, config.sanity, dataset
        self.potential, self.context = potential, context
        self.numbers, self.verdicts, self.sections = {}, [], []
        self.ground = {}

    def elements(self):
        """Lattice constants, elastic constants and the Bain path of every element."""
        curves, rows = [], []
        for element in self.potential.elements:
            self.context.progress(f"element {element}")
            guess = lattice_guess(element, self.section.lattice, self.dataset, self.section.lattice_constants_A)
            ground = ground_state(self.potential, PROTOTYPES[self.section.lattice], element, guess)
            self.verdicts.append(Verdict(f"{element} is a crystal", not ground.failure, ground.failure or
                                         f"a = {ground.lattice_constant_A:.4f} Å"))  # fmt: skip
            if ground.failure:
                continue
            pairs = neighbour_table(ground.atoms, self.potential.cutoff)
            sol = elastic_constants(self.potential, ground.atoms, pairs)
            C = np.asarray(cubic_projection(sol.value))
            self.ground[element] = ground
            stable = not failure_message(sol.result) and C[0] > abs(C[1]) and C[2] > 0 and C[0] + 2 * C[1] > 0
            self.verdicts.append(Verdict(f"{element} is elastically stable", bool(stable),
                                         f"C11, C12, C44 = {C[0]:.0f}, {C[1]:.0f}, {C[2]:.0f} GPa"))  # fmt: skip
            self.numbers[f"lattice_constant_{element}"] = Number(ground.lattice_constant_A, "Å", method="relaxed")
            if np.isfinite(C).all():
                self.numbers[f"elastic_constants_{element}"] = Number(C, "GPa", method="C11, C12, C44")
            rows.append([element, f"{ground.lattice_constant_A:.4f}", *(f"{c:.1f}" for c in C)])
            if self.section.lattice == "bcc":
                path = bain_path(self.potential, element, ground.lattice_constant_A)
                curves.append(Curve(element, path.ratio, 1e3 * path.energy_eV))
                self.numbers[f"fcc_minus_bcc_{element}"] = Number(1e3 * path.fcc_eV, "meV/atom", method="Bain path")
                ok = abs(path.lowest_ratio - 1) < 0.03
                text = f"lowest at c/a {path.lowest_ratio:.3f}, fcc {1e3 * path.fcc_eV:+.0f} meV/atom"
                self.verdicts.append(Verdict(f"Bain path of {element}", bool(ok), text))
        table = Table(["element", "a (Å)", "C11 (GPa)", "C12 (GPa)", "C44 (GPa)"], rows, "Elements at rest")
        figures = []
        if curves:
            figure = panels([Panel("c/a (1: bcc, 1.414: fcc)", "energy against bcc (meV/atom)", curves, {})], width=5.4)
            figures = [ReportFigure("bain", f"Bain path at constant volume; fcc at c/a {FCC_RATIO:.3f}.", figure)]
        self.sections.append(ReportSection("Elements", "", [table], figures))

    def elastic(self):
        """Lattice and elastic constants against those read off the data, by the same regression."""
        found = elements_with_strains(self.dataset.frames, self.dataset.elements, self.section.lattice)
        rows = []
        for element, cells in found.items():
            self.context.progress(f"elastic constants of {element} off the data")
            frames = [self.dataset.frames[n] for n in cells.indices]
            reference = cubic_elasticity(cells, np.array([np.asarray(f.stress_eV_per_A3) for f in frames]))
            ours = cubic_elasticity(cells, evaluate(self.potential, frames).stress_eV_per_A3)
            for name, data, fit, unit in (("a", reference.lattice_constant_A, ours.lattice_constant_A, "Å"), *(
                    (f"C{m}", reference.constants_GPa[k], ours.constants_GPa[k], "GPa")
                    for k, m in enumerate(("11", "12", "44")))):  # fmt: skip
                if not np.isfinite(data):
                    continue
                relative = fit / data - 1
                digits = 4 if unit == "Å" else 1
                rows.append([element, name, f"{data:.{digits}f}", f"{fit:.{digits}f}", unit, f"{100 * relative:+.1f} %",
                             len(frames)])
                if np.isfinite(fit):
                    self.numbers[f"data_{name}_{element}"] = Number(data, unit, method="read off strained cells")
                    self.numbers[f"fit_{name}_{element}"] = Number(fit, unit, method="the same regression")
                limit = 0.01 if unit == "Å" else CLOSE
                self.verdicts.append(Verdict(f"{name} of {element} as in the data", bool(abs(relative) <= limit),
                                             f"{fit:.{digits}f} against {data:.{digits}f} {unit}"))
        text = "" if rows else "The data hold no strained cells of elements: elastic constants cannot be compared."
        tables = [Table(["element", "constant", "data", "potential", "unit", "difference", "cells"], rows,
                        "Read off the same strained cells by the same regression")] if rows else []  # fmt: skip
        self.sections.append(ReportSection("Elastic constants against the data", text, tables))

    def dimers(self):
        """Two atoms against distance, all pairs."""
        self.context.progress("dimers")
        curves, rows = [], []
        for dimer in dimers(self.potential):
            name = "-".join(dimer.pair)
            ok = dimer.sound(wall_eV=self.section.dimer_wall_eV, hole_eV=self.section.dimer_hole_eV,
                             closest_A=self.section.dynamics.closest_A)
            text = (f"{dimer.wall_eV:.0f} eV at 1 Å, minimum at {dimer.minimum_A:.2f} Å, dent inside it "
                    f"{dimer.hole_eV:.2f} eV")
            self.verdicts.append(Verdict(f"dimer {name}", bool(ok), text))
            rows.append([name, f"{dimer.wall_eV:.1f}", f"{dimer.minimum_A:.2f}", f"{dimer.energy_eV.min():.2f}",
                         f"{dimer.hole_eV:.3f}"])
            shown = dimer.energy_eV < max(8.0, 3 * abs(dimer.energy_eV.min()))
            curves.append(Curve(name, np.where(shown, dimer.distance_A, np.nan), dimer.energy_eV))
        table = Table(["pair", "at 1 Å (eV)", "minimum (Å)", "depth (eV)", "dent inside (eV)"], rows, "Dimers")
        figure = panels([Panel("distance (Å)", "energy (eV)", curves)], width=6.0, height=4.2)
        self.sections.append(ReportSection("Dimers", "", [table], [ReportFigure("dimers", "Two atoms alone.", figure)]))

    def phonons(self):
        """No imaginary modes of the elements on a grid of wave vectors, nor of an alloy cell."""
        rows = []
        for element, ground in self.ground.items():
            self.context.progress(f"phonons of {element}")
            found = primitive_phonons(self.potential, element, self.section.lattice, ground.lattice_constant_A,
                                      self.section.phonon_grid)
            rows.append(self._modes(element, found))
        self.context.progress("phonons of the alloy")
        cell = alloy_cell("phonons", self.config, self.potential.elements, self.dataset, self.section.phonon_alloy)
        relaxed, failure = relaxed_alloy(self.potential, cell)
        if failure:
            self.verdicts.append(Verdict("alloy cell relaxes", False, failure))
        else:
            rows.append(self._modes(f"alloy of {cell.number} atoms", phonons(self.potential, relaxed, (1, 1, 1))))
        self.sections.append(ReportSection("Phonons", "", [Table(["structure", "wave vectors", "lowest (THz)",
                             "highest (THz)"], rows, "Frequencies; negative are imaginary")]))  # fmt: skip

    def _modes(self, name, found):
        """A row of the table, with its verdict."""
        lowest = found.lowest_THz
        real = bool(lowest > -STILL_THZ)
        self.verdicts.append(Verdict(f"phonons of {name} are real", real, f"lowest {lowest:.2f} THz"))
        self.numbers["lowest_phonon_" + name.replace(" ", "_")] = Number(lowest, "THz", method="dynamical matrix")
        return [name, len(found.q), f"{lowest:.3f}", f"{found.frequencies_THz.max():.2f}"]

    def survival(self):
        """A hot random alloy."""
        hot = self.section.dynamics
        if not hot.run:
            return
        cell = alloy_cell("dynamics", self.config, self.potential.elements, self.dataset, hot.repeats)
        key = jax.random.key(self.config.seed)
        run = survival(self.potential, hot_cell(cell), key, temperature_K=hot.temperature_K,
                       duration_ps=hot.duration_ps, timestep_fs=hot.timestep_fs, closest_A=hot.closest_A,
                       report=lambda done, total: self.context.progress(f"dynamics at {hot.temperature_K:g} K", done,
                                                                        total))  # fmt: skip
        text = run.failure or f"{hot.duration_ps:g} ps at {hot.temperature_K:g} K, closest atoms {run.closest_A:.2f} Å"
        self.verdicts.append(Verdict("survives hot dynamics", not run.failure, text))
        if np.isfinite(run.closest_A):
            self.numbers["closest_atoms_hot"] = Number(run.closest_A, "Å", method=f"{hot.temperature_K:g} K, "
                                                       f"{cell.number} atoms")  # fmt: skip
        figures = []
        if len(run.time_ps) > 1:
            caption = f"{cell.number} atoms at constant volume, {hot.temperature_K:g} K."
            figures = [ReportFigure("dynamics", caption, panels([
                Panel("time (ps)", "potential energy (eV/atom)", [Curve("", run.time_ps, run.energy_eV)]),
                Panel("time (ps)", "temperature (K)", [Curve("", run.time_ps, run.temperature_K)])]))]  # fmt: skip
        self.sections.append(ReportSection("Hot dynamics", text + ".", [], figures))
