"""Figures of a fit's report: learning curves, parity, residual distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hea_jax.app.plots import Parity, parity_plots
from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.atomistic.fitting.evaluation import Residuals

DRAWN = 3000
"""Most points of one group and part that a parity plot draws."""
SMALLEST = {"energy": 1e-4, "force": 1e-5, "stress": 1e-5}
"""Residuals below these (meV/atom, eV/Å, GPa) are left out of a logarithmic axis."""


def learning_curves(history: np.ndarray) -> Any:
    """Mean squared weighted residuals against steps (all phases in a row), training and validation."""
    step, before, last = [], 0.0, 0.0
    phases = history[:, 0]
    for k, row in enumerate(history):
        if k and phases[k] != phases[k - 1]:
            before += last
        last = row[1]
        step.append(before + last)
    curves = [Curve("training", step, history[:, 2])]
    if np.isfinite(history[:, 3]).any():
        curves.append(Curve("validation", step, history[:, 3]))
    return panels([Panel("step", "mean squared weighted residual", curves, log_y=True)], width=5.6)


def prior_curve(scales: Sequence[float], validation: Sequence[float], label: str) -> Any:
    """Validation loss against the prior's scale."""
    return panels([Panel("scale of the prior (eV/Å)", label, [Curve("", scales, validation, marks=True)],
                         log_x=True)], width=5.0)  # fmt: skip


def parity_figure(residuals: Residuals, groups: Sequence[str], parts: dict[str, np.ndarray]) -> Any:
    """Energies, forces and stresses against the reference; what did not train is open."""
    labels, rng = np.array(groups), np.random.default_rng(0)
    held = np.ones(len(labels), bool)
    held[parts["train"]] = False
    used = np.concatenate(list(parts.values()))
    columns: dict[str, list[tuple]] = {"energy": [], "force": [], "stress": []}
    for group in dict.fromkeys(labels[used].tolist()):
        for is_held in (False, True):
            at = used[(labels[used] == group) & (held[used] == is_held)]
            if not len(at):
                continue
            some = residuals.select(at)
            forces = np.concatenate([f.ravel() for f in some.reference_forces_eV_per_A])
            errors = np.concatenate([f.ravel() for f in some.forces_eV_per_A])
            stress, wrong = some.reference_stress_GPa.ravel(), some.stress_GPa.ravel()
            for name, (x, e) in {"energy": (some.reference_energy_eV, some.energy_meV * 1e-3),
                                 "force": (forces, errors), "stress": (stress, wrong)}.items():
                keep = np.flatnonzero(np.isfinite(x))
                keep = keep if len(keep) <= DRAWN else rng.choice(keep, DRAWN, replace=False)
                columns[name].append((x[keep], x[keep] + e[keep], [group] * len(keep), np.full(len(keep), is_held)))
    units = {"energy": "eV/atom", "force": "eV/Å", "stress": "GPa"}
    drawn = []
    for name, found in columns.items():
        x, y = (np.concatenate([c[k] for c in found]) for k in (0, 1))
        if len(x):
            drawn.append(Parity(name, units[name], x, y, [g for c in found for g in c[2]],
                                np.concatenate([c[3] for c in found])))
    return parity_plots(drawn)


def residual_figure(residuals: Residuals, parts: dict[str, np.ndarray]) -> Any:
    """Share of residuals above a size, by part: the tails that a root-mean-square error hides."""
    kinds = (("energy", "|energy error| (meV/atom)"), ("force", "|force error| (eV/Å)"),
             ("stress", "|stress error| (GPa)"))
    content = []
    for kind, label in kinds:
        curves = []
        for part, at in parts.items():
            if not len(at):
                continue
            some = residuals.select(at)
            values = {"energy": some.energy_meV, "force": np.concatenate([f.ravel() for f in some.forces_eV_per_A]),
                      "stress": some.stress_GPa[np.isfinite(some.stress_GPa)]}[kind]
            size = np.sort(np.abs(values))
            size = size[size > SMALLEST[kind]]
            if len(size):
                share = 1.0 - np.arange(len(size)) / len(size)
                every = np.unique(np.linspace(0, len(size) - 1, 400).astype(int))
                curves.append(Curve(part, size[every], share[every]))
        if curves:
            content.append(Panel(label, "share of residuals above", curves, log_x=True, log_y=True))
    return panels(content, width=4.0, height=3.4)
