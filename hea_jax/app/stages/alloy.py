"""Stages on random alloy cells: lattice constant, elastic constants, mixing enthalpies, all with standard errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots import bar_chart
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.atomistic.alloys import (
    alloy_cells,
    cell_stiffness,
    mean_and_error,
    mixing_enthalpy,
    relax_cells,
    standard_error,
)
from hea_jax.atomistic.elasticity import born_constants
from hea_jax.atomistic.relaxation import RELAX
from hea_jax.core.minimise import Newton
from hea_jax.core.results import failure_message
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.units import EV_TO_MEV
from hea_jax.structures.alloys import BCC_BASIS, FCC_BASIS

BASES = {"bcc": BCC_BASIS, "fcc": FCC_BASIS}

LITERATURE_MEV = {
    "Mo0.5 Ta0.5": -117.0,
    "Mo0.5 Nb0.5": -87.0,
    "Ta0.5 W0.5": -74.0,
    "Nb0.5 W0.5": -52.0,
    "Mo0.5 W0.5": -4.0,
    "Nb0.5 Ta0.5": -3.0,
    "Mo0.25 Nb0.25 Ta0.25 W0.25": -80.0,
}
"""DFT mixing enthalpies of bcc alloys (meV/atom), for orientation in the figure: ordered or special quasi-random."""


def fractions_vector(composition, elements):
    """Atomic fractions in the order of the potential's elements; elements that it lacks raise ``ValueError``."""
    unknown = sorted(set(composition) - set(elements))
    if unknown:
        raise ValueError(
            f"the reference data hold {', '.join(elements)} but the composition asks for "
            f"{', '.join(unknown)}: change `alloy` or `data.source`"
        )
    return [composition.get(element, 0.0) for element in elements]


def relaxation(config) -> Newton:
    """The configured relaxation."""
    return Newton(rtol=0.0, atol=config.alloy.force_tolerance_eV_per_A, max_steps=RELAX.max_steps)


def build_cells(config, potential, compositions, key):
    """Random cells of the given compositions with the configured lattice."""
    rows = [fractions_vector(c, potential.elements) for c in compositions]
    return alloy_cells(
        key,
        rows,
        potential.elements,
        lattice_constant_A=config.alloy.lattice_guess_A,
        repeats=config.alloy.repeats,
        cutoff_A=potential.cutoff,
        skin_A=config.alloy.skin_A,
        basis=BASES[config.alloy.lattice],
    )


def equimolar_cells(config, potential):
    """The cells of the alloy itself: the same in every stage."""
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    return build_cells(config, potential, [config.alloy.composition] * config.alloy.n_cells, key)


def run_alloy(config, inputs, context):
    """Stage ``alloy``: lattice constant and relaxed elastic constants of the random alloy."""
    potential = inputs["fit"]["parameters"].potential
    cells = equimolar_cells(config, potential)
    context.progress(f"relaxing {cells.number} cells of {cells.atoms.number} atoms")
    relaxed = relax_cells(potential, cells, solver=relaxation(config))
    relaxed.unwrap()
    context.progress("elastic constants with the non-affine part")
    stiffness = cell_stiffness(potential, relaxed.value.atoms, cells)
    stiffness.unwrap()
    born = jax.jit(jax.vmap(lambda atoms: born_constants(potential, atoms, cells.pairs)))(relaxed.value.atoms)
    cubic = cubic_projection(stiffness.value)
    lattice, lattice_error = mean_and_error(relaxed.value.lattice_constants_A)
    mean, error = jnp.mean(cubic, axis=0), standard_error(cubic)
    method = (
        f"mean over {cells.number} random cells of {cells.atoms.number} atoms, relaxed; standard error of the mean"
    )
    numbers = {"lattice_constant": Number(float(lattice), "Å", float(lattice_error), method)}
    for i, name in enumerate(("C11", "C12", "C44")):
        numbers[name] = Number(float(mean[i]), "GPa", float(error[i]), method + "; non-affine part by condensation")
    born_cubic = jnp.mean(cubic_projection(born), axis=0)
    for i, name in enumerate(("C11", "C12", "C44")):
        numbers[f"{name}_born"] = Number(
            float(born_cubic[i]), "GPa", float(standard_error(cubic_projection(born))[i]), "affine (Born) part alone"
        )
    record = {
        "cells": cubic,
        "cubic_GPa": mean,
        "covariance_GPa2": jnp.cov(cubic.T) / cells.number,
        "stiffness_GPa": jnp.mean(stiffness.value, axis=0),
        "lattice_constant_A": lattice,
        "lattice_constant_stderr_A": lattice_error,
        "energies_eV": relaxed.value.energies_eV,
    }
    stable = bool((cubic[:, 0] > cubic[:, 1]).all() and (cubic[:, 2] > 0).all())
    verdict = Verdict("lattice stable", stable, f"C' and C44 positive in all {cells.number} cells")
    rows = [[k, *(f"{v:.2f}" for v in row)] for k, row in enumerate(np.asarray(cubic), 1)]
    table = Table(["cell", "C11 (GPa)", "C12 (GPa)", "C44 (GPa)"], rows, "Relaxed elastic constants of every cell")
    figure = ReportFigure(
        "elastic_constants",
        "Relaxed elastic constants (bars) and their affine part (diamonds).",
        bar_chart(
            ["C11", "C12", "C44"],
            np.asarray(mean),
            np.asarray(error),
            ylabel="GPa",
            references=dict(zip(("C11", "C12", "C44"), np.asarray(born_cubic), strict=True)),
            reference_label="affine (Born)",
        ),
    )
    text = (
        f"Lattice constant {float(lattice):.4f} ± {float(lattice_error):.4f} Å. The non-affine relaxation of the atoms "
        f"lowers C44 from {float(born_cubic[2]):.1f} to {float(mean[2]):.1f} GPa."
    )
    return StageResult(
        record,
        numbers,
        (verdict,),
        (ReportSection("Random alloy", text, [table], [figure]),),
        ("lattice_constant", "C11", "C12", "C44"),
    )


def run_mixing(config, inputs, context):
    """Stage ``mixing``: enthalpies of mixing over composition."""
    potential = inputs["fit"]["parameters"].potential
    elements, n = potential.elements, config.alloy.n_mixing_cells
    # Without a list: what determines the pair interactions, 50:50 of every pair, and the alloy.
    pairs = [{a: 0.5, b: 0.5} for a, b in itertools.combinations(config.alloy.composition, 2)]
    wanted = list(config.alloy.mixing_compositions) or [*pairs, config.alloy.composition]
    compositions = [{element: 1.0} for element in elements] + [c for c in wanted for _ in range(n)]
    energies = _energies(config, potential, compositions, context)
    fractions = jnp.asarray([fractions_vector(c, elements) for c in compositions])
    enthalpy = EV_TO_MEV * mixing_enthalpy(energies, fractions, energies[: len(elements)])
    samples = enthalpy[len(elements) :].reshape(len(wanted), n)
    means, errors = jnp.mean(samples, axis=1), jax.vmap(standard_error)(samples)
    names = [" ".join(f"{element}{fraction:g}" for element, fraction in sorted(c.items())) for c in wanted]
    method = f"mean over {n} relaxed random cells against relaxed pure elements; standard error of the mean"
    numbers = {
        f"mixing_enthalpy {name}": Number(float(m), "meV/atom", float(e), method)
        for name, m, e in zip(names, means, errors, strict=True)
    }
    record = {"compositions": fractions[len(elements) :: n], "enthalpies_meV": means, "errors_meV": errors}
    if not wanted:
        return StageResult(record, numbers)
    table = Table(
        ["composition", "H_mix (meV/atom)", "standard error"],
        [[a, f"{float(m):.1f}", f"{float(e):.1f}"] for a, m, e in zip(names, means, errors, strict=True)],
        "Mixing enthalpies of random alloys",
    )
    short = [name.replace("0.25", "").replace("0.5", "").replace(" ", "") for name in names]
    known = {s: LITERATURE_MEV[name] for s, name in zip(short, names, strict=True) if name in LITERATURE_MEV}
    figure = ReportFigure(
        "mixing",
        "Mixing enthalpies of random alloys with standard errors; diamonds: published DFT "
        "values of the same compositions.",
        bar_chart(
            short,
            np.asarray(means),
            np.asarray(errors),
            ylabel="mixing enthalpy (meV/atom)",
            references=known,
            reference_label="published DFT",
        ),
    )
    return StageResult(record, numbers, (), (ReportSection("Mixing enthalpies", "", [table], [figure]),), ())


def _energies(config, potential, compositions, context):
    """Relaxed energies per atom, in batches of the size that the stage ``alloy`` has compiled already."""
    size, energies = config.alloy.n_cells, []
    for start in range(0, len(compositions), size):
        context.progress("relaxing cells", start, len(compositions))
        batch = compositions[start : start + size]
        padded = batch + [batch[-1]] * (size - len(batch))
        key = jax.random.fold_in(jax.random.key(config.seed), 100 + start)
        relaxed = relax_cells(potential, build_cells(config, potential, padded, key), solver=relaxation(config))
        message = failure_message(relaxed.result)
        if message:
            raise RuntimeError(f"mixing enthalpies, cells {start} to {start + len(batch)}: {message}")
        energies.append(relaxed.value.energies_eV[: len(batch)])
    return jnp.concatenate(energies)
