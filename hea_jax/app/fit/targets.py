"""Physical targets of a configuration as objects of the library."""

from collections.abc import Mapping, Sequence

import numpy as np

from hea_jax.app.dft.load import measured_volume_A3
from hea_jax.app.fit.data import FitData
from hea_jax.app.fit.models import FitConfig, Target
from hea_jax.app.report import Table
from hea_jax.app.runs import Number
from hea_jax.atomistic.fitting.targets import (
    AbstractTarget,
    Cell,
    ElasticConstant,
    EnergyDifference,
    LatticeConstant,
    alloy_crystal,
    cell_of,
    mixing_enthalpy_target,
    pure_cell,
    stacking_fault_energy,
    vacancy_energy,
)
from hea_jax.electronic import DatasetError
from hea_jax.structures.crystals import Crystal
from hea_jax.structures.defect_cells import plane_of
from hea_jax.structures.ordered import PROTOTYPES, Prototype, ordered

CUBIC = ("bcc", "fcc", "sc", "B2", "diamond")
"""Lattices of a target whose cell is a cube."""


def lattice_guess(element: str, lattice: str, dataset, given: Mapping[str, float]) -> float:
    """Guess of an element's lattice constant (Å): given, else from the volume of its lowest frame, else measured.

    Raises ``DatasetError`` where nothing is known.
    """
    prototype = PROTOTYPES[lattice]
    if element in given:
        return given[element]
    volume = None
    if dataset is not None and element in dataset.elements:
        index = dataset.elements.index(element)
        pure = [f for f in dataset.frames if set(np.asarray(f.atoms.species).tolist()) == {index}]
        if pure:
            lowest = min(pure, key=lambda f: float(f.free_energy_eV) / f.atoms.number)
            volume = float(lowest.atoms.volume) / lowest.atoms.number
    volume = volume or measured_volume_A3(element)
    if volume is None:
        raise DatasetError(f"no lattice constant of {element} is known: give it in `sanity.lattice_constants_A`")
    return float((volume / prototype.volume_per_atom()) ** (1 / 3))


def built(target: Target, elements: tuple[str, ...], cutoff_A: float, dataset, given: Mapping[str, float]
          ) -> AbstractTarget:
    """The target as an object; cut-off in Å. Raises ``DatasetError`` for one that cannot be built."""
    try:
        return _built(target, elements, cutoff_A, dataset, given)
    except ValueError as error:
        raise DatasetError(f"target {target.label}: {error}") from None


def all_built(config: FitConfig, data: FitData, cutoff_A: float) -> tuple[AbstractTarget, ...]:
    """All targets of a configuration; cut-off in Å. Raises ``DatasetError`` as ``built`` does."""
    return tuple(built(target, data.elements, cutoff_A, data.dataset, config.sanity.lattice_constants_A)
                 for target in config.targets)


def _built(target, elements, cutoff_A, dataset, given):
    symbols = tuple(target.composition)
    unknown = [s for s in symbols if s not in elements]
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not among the elements {', '.join(elements)}: leave the target out")
    _check(target)
    lattice = PROTOTYPES[target.lattice]
    guesses = {s: target.lattice_guess_A if target.lattice_guess_A and len(symbols) == 1 else
               lattice_guess(s, target.lattice, dataset, given) for s in symbols}  # fmt: skip
    a = target.lattice_guess_A or float(sum(c * guesses[s] for s, c in target.composition.items()))
    alone = symbols[0]
    if target.kind in ("vacancy", "stacking_fault") and len(symbols) > 1:
        raise ValueError("vacancies and stacking faults are targets of one element: give one")
    if target.kind == "vacancy":
        return vacancy_energy(lattice, alone, a, target.repeats, elements, cutoff_A=cutoff_A)
    if target.kind == "stacking_fault":
        plane = plane_of(target.lattice, target.plane)
        return stacking_fault_energy(lattice, plane, alone, a, target.u, elements, cutoff_A=cutoff_A)
    crystal, cells = _structure(target, lattice, a)
    if target.kind == "lattice_constant":
        return LatticeConstant(cell_of(crystal, elements, cutoff_A, cells=cells))
    if target.kind in ("C11", "C12", "C44"):
        return ElasticConstant(cell_of(crystal, elements, cutoff_A), ("C11", "C12", "C44").index(target.kind))
    simple = PROTOTYPES["bcc" if lattice.number_of_sublattices > 1 else target.lattice]
    if target.kind == "mixing_enthalpy":
        return mixing_enthalpy_target(crystal, simple, guesses, elements, cutoff_A=cutoff_A)
    others: tuple[Cell, ...] = tuple(pure_cell(simple, s, guesses[s], elements, cutoff_A) for s in symbols)
    return EnergyDifference(cell_of(crystal, elements, cutoff_A), others, tuple(target.composition.values()))


def _check(target: Target) -> None:
    """Raise ``ValueError`` for a target that its structure does not have."""
    cubic = ("lattice_constant", "C11", "C12", "C44")
    if target.kind in cubic and target.lattice not in CUBIC:
        raise ValueError(f"{', '.join(cubic)} are those of a cubic crystal, which {target.lattice} is not: set "
                         f"`lattice` to one of {', '.join(CUBIC)}, or give an `energy_difference`")
    if target.kind == "lattice_constant" and not target.value > 0:
        raise ValueError(f"`value` {target.value:g} Å is no lattice constant: give a positive one")
    if target.kind == "vacancy" and min(target.repeats) < 2:
        raise ValueError(f"with `repeats` {list(target.repeats)} the vacancy is its own neighbour: give 2 or more "
                         "along every axis")


def _structure(target: Target, lattice: Prototype, a: float) -> tuple[Crystal, float]:
    """The crystal of a target, and the number of conventional cells in it."""
    symbols = tuple(target.composition)
    if lattice.number_of_sublattices > 1:
        if len(symbols) != lattice.number_of_sublattices:
            raise ValueError(f"{target.lattice} takes {lattice.number_of_sublattices} elements")
        return ordered(lattice, symbols, a), 1.0
    if len(symbols) == 1:
        return ordered(lattice, symbols, a), 1.0
    name = f"target-{target.label}"
    return alloy_crystal(name, target.composition, lattice, a, target.repeats), float(np.prod(target.repeats))


def target_numbers(targets: Sequence[Target], reached: Sequence[tuple[float, float]]) -> dict[str, Number]:
    """What the fit to the data alone gave for each target, (before, after) each."""
    return {f"target_{n}_before": Number(before, t.unit, method=f"{t.label}, fit to data alone", source=t.source)
            for n, (t, (before, _)) in enumerate(zip(targets, reached, strict=True))}


def target_table(targets: Sequence[Target], reached: Sequence[tuple[float, float]]) -> list[Table]:
    """The table of fitted targets, (before, after) each; none where there are no targets."""
    rows = [[t.label, f"{before:.5g}", f"{after:.5g}", t.unit, f"{t.value:.5g}", f"{t.tolerance:.2g}", t.source]
            for t, (before, after) in zip(targets, reached, strict=True)]
    head = ["target", "before", "after", "unit", "target value", "tolerance", "source"]
    return [Table(head, rows, "Physical targets that were fitted with the data")] if rows else []
