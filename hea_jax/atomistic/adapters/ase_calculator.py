"""A potential of this package as an ASE calculator.

Energies and forces in eV and eV/Å; ASE's stress has the order xx yy zz yz xz xy and the sign of ours, positive in
tension, in eV/Å³. ASE's "free energy" is the energy: a potential has no electrons to smear.

Source: Larsen et al. 2017 (ASE and its calculator interface).
"""

import functools
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.neighbours import neighbour_table, skin_exceeded, widened
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.core.results import require_x64
from hea_jax.records import AbstractPotential, Atoms, Neighbours

SPARE = 1.15
"""Tables get this much more room than they need, so that a denser configuration does not compile anew."""


class CalculatorError(ValueError):
    """A configuration or potential that the calculator cannot take; the text says what to do."""


def as_ase_calculator(potential: AbstractPotential, *, offsets_eV: Mapping[str, float] | None = None,
                      skin_A: float = 0.5):
    """An ``ase.calculators.calculator.Calculator`` of ``potential``: energy, free energy, energies per atom, forces and
    stress (eV, eV/Å, eV/Å³) of any cell and periodicity.

    ``offsets_eV``: element → energy added per atom, so that totals compare with those of another method.
    ``skin_A``: how far (Å) atoms may move, the cell's strain included, before the neighbour table is built again; that
    makes evaluations cheaper and changes no number.

    Raises ``TypeError`` if the potential is not in float64, ``CalculatorError`` for offsets of unknown elements or,
    when it is used, for an atom whose element the potential does not know. Without a cell ASE gets no stress.
    """
    require_x64(potential)
    if not jnp.zeros(()).dtype == jnp.float64:
        raise TypeError("the calculator needs float64: switch double precision of jax on before anything else")
    offsets = dict(offsets_eV or {})
    strange = [symbol for symbol in offsets if symbol not in potential.elements]
    if strange:
        raise CalculatorError(f"offsets_eV names {', '.join(strange)}, which the potential does not know; it knows "
                              f"{', '.join(potential.elements)}")
    if not (np.isfinite(skin_A) and skin_A >= 0):
        raise CalculatorError(f"skin_A must be non-negative and finite (Å), got {skin_A}")
    shifts = np.array([float(offsets.get(symbol, 0.0)) for symbol in potential.elements])
    return _calculator_class()(potential, shifts, float(skin_A))


def atoms_from_ase(atoms, elements: tuple[str, ...]) -> Atoms:
    """The ``Atoms`` record (Å) of an ``ase.Atoms``, species numbered as in ``elements``.

    Raises ``CalculatorError`` naming atoms whose element is not among them.
    """
    symbols = atoms.get_chemical_symbols()
    unknown = sorted(set(symbols) - set(elements))
    if unknown:
        first = next(m for m, symbol in enumerate(symbols) if symbol in unknown)
        raise CalculatorError(f"atom {first} is {symbols[first]}: the potential knows {', '.join(elements)}, not "
                              f"{', '.join(unknown)}; use one that does")
    species = np.array([elements.index(symbol) for symbol in symbols], np.int32)
    x, y, z = (bool(flag) for flag in atoms.pbc)
    return Atoms(jnp.asarray(atoms.get_positions()), jnp.asarray(np.array(atoms.cell)), jnp.asarray(species),
                 tuple(elements), (x, y, z))


_evaluate = eqx.filter_jit(energy_forces_stress)
_exceeded = eqx.filter_jit(skin_exceeded)
_per_atom = eqx.filter_jit(lambda potential, atoms, pairs: potential.atomic_energies(atoms, pairs))


class _Tables:
    """The neighbour table of the last configurations, built again when atoms have moved too far."""

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self.skin = cutoff, skin
        self.reference: Atoms | None = None
        self.pairs: Neighbours | None = None
        self.builds = 0

    def of(self, atoms: Atoms) -> Neighbours:
        """A table that holds all pairs of ``atoms``."""
        known = self.reference
        same = known is not None and known.number == atoms.number and known.pbc == atoms.pbc
        if self.pairs is None or known is None or not same or bool(_exceeded(known, atoms, self.pairs)):
            fresh = neighbour_table(atoms, self.cutoff, skin=self.skin)
            need = fresh.index.shape[1]
            width = self.pairs.index.shape[1] if same and self.pairs is not None else 0
            self.pairs = widened(fresh, width if need <= width else int(np.ceil(SPARE * need)))
            self.reference = atoms
            self.builds += 1
        return self.pairs


@functools.cache
def _calculator_class():
    """The class, made at first use: ASE is an optional dependency."""
    from ase.calculators.calculator import Calculator, all_changes

    class PotentialCalculator(Calculator):
        """A potential of hea_jax in ASE (eV, Å); made by ``as_ase_calculator``."""

        implemented_properties: ClassVar = ["energy", "free_energy", "energies", "forces", "stress"]
        ignored_changes: ClassVar = {"initial_charges", "initial_magmoms"}

        def __init__(self, potential, shifts, skin):
            super().__init__()
            self.potential, self.shifts = potential, shifts
            self.tables = _Tables(potential.cutoff, skin)

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            """All properties of ``atoms`` but the energies per atom, which cost extra and come on request."""
            super().calculate(atoms, properties, system_changes)
            ours = atoms_from_ase(self.atoms, self.potential.elements)
            pairs = self.tables.of(ours)
            shifts = self.shifts[np.asarray(ours.species)]
            if system_changes or "energy" not in self.results:
                total, forces, stress = jax.device_get(_evaluate(self.potential, ours, pairs))
                value = float(total) + float(shifts.sum())
                self.results = {"energy": value, "free_energy": value, "forces": np.array(forces)}
                if float(ours.volume) > 0:
                    self.results["stress"] = np.array(stress)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            if "energies" in properties:
                self.results["energies"] = np.array(_per_atom(self.potential, ours, pairs)) + shifts

    return PotentialCalculator
