"""Physical targets of a fit as differentiable functions of the potential.

Each target holds its structures and neighbour tables; ``observe(potential)`` relaxes what has to be relaxed and gives
one number with its derivative (implicit differentiation through ``relax`` and ``elastic_constants``). A relaxation
that fails makes the number NaN. Element offsets cancel in every one of them.

Sources: Blondel et al. 2022 (implicit differentiation); Lemaître & Maloney 2006 (elastic constants);
Vitek 1968 (generalised stacking faults).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.neighbours import neighbour_table, skin_exceeded
from hea_jax.atomistic.properties import energy
from hea_jax.atomistic.relaxation import relax
from hea_jax.core.results import succeeded
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.types import Scalar
from hea_jax.core.units import EV_PER_A2_TO_J_PER_M2, EV_TO_MEV
from hea_jax.records import AbstractPotential, Atoms, Neighbours
from hea_jax.structures.alloys import exact_counts
from hea_jax.structures.crystals import Crystal, generator_of, relabelled, repeated, without
from hea_jax.structures.defect_cells import Plane, fault_area, stacking_fault
from hea_jax.structures.ordered import Prototype, ordered
from hea_jax.structures.random_cells import Composition, dealt

SKIN_A = 0.8
"""How far (Å) pairs may come closer while a target's structures relax."""


class Cell(eqx.Module):
    """A structure with its neighbour table, and the number of conventional cells in it (static)."""

    atoms: Atoms
    pairs: Neighbours
    cells: float = eqx.field(static=True, default=1.0)


def cell_of(crystal: Crystal, elements: tuple[str, ...], cutoff_A: float, *, cells: float = 1.0,
            skin_A: float = SKIN_A) -> Cell:
    """A crystal as a target's structure; cut-off and skin in Å (host-side)."""
    atoms = crystal.to_atoms(elements)
    return Cell(atoms, neighbour_table(atoms, cutoff_A, skin=skin_A), cells)


def relaxed(potential: AbstractPotential, cell: Cell) -> tuple[Scalar, Atoms]:
    """(energy in eV, relaxed atoms) at zero stress; NaN where the relaxation failed."""
    sol = relax(potential, cell.atoms, cell.pairs)
    factor = jnp.where(succeeded(sol.result), 1.0, jnp.nan)
    value, atoms = sol.value
    return value * factor, eqx.tree_at(lambda a: a.positions, atoms, atoms.positions * factor)


class AbstractTarget(eqx.Module):
    """One number that a potential gives."""

    @abc.abstractmethod
    def observe(self, potential: AbstractPotential) -> Scalar:
        """The number, in the unit of the target; NaN where a relaxation failed. Differentiable, jittable."""


class LatticeConstant(AbstractTarget):
    """Lattice constant (Å) of a relaxed cubic crystal or random alloy: the cube root of the volume per cubic cell."""

    cell: Cell

    def observe(self, potential):
        _, atoms = relaxed(potential, self.cell)
        return jnp.cbrt(atoms.volume / self.cell.cells) + 0.0 * jnp.sum(atoms.positions)


class ElasticConstant(AbstractTarget):
    """One of C11, C12, C44 (``which`` 0, 1, 2; GPa) of a relaxed crystal, averaged over the cubic group.

    ``which`` is an array, so that the three are compiled once.
    """

    cell: Cell
    which: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def observe(self, potential):
        _, atoms = relaxed(potential, self.cell)
        sol = elastic_constants(potential, atoms, self.cell.pairs)
        factor = jnp.where(succeeded(sol.result), 1.0, jnp.nan)
        return factor * cubic_projection(sol.value)[self.which]


class VacancyEnergy(AbstractTarget):
    """Formation energy (eV) of a vacancy in an element: E(N−1) − (N−1)/N E(N), both relaxed at zero stress."""

    perfect: Cell
    vacant: Cell

    def observe(self, potential):
        whole, _ = relaxed(potential, self.perfect)
        vacant, _ = relaxed(potential, self.vacant)
        return vacant - whole * self.vacant.atoms.number / self.perfect.atoms.number


class StackingFault(AbstractTarget):
    """Generalised stacking-fault energy (mJ/m²), unrelaxed: lattice at the potential's own lattice constant.

    ``area_A2`` is that of the fault at the lattice constant at which the cells were built.
    """

    bulk: Cell
    perfect: Cell
    faulted: Cell
    area_A2: float = eqx.field(static=True)

    def observe(self, potential):
        _, atoms = relaxed(potential, self.bulk)
        stretch = jnp.cbrt(atoms.volume / self.bulk.atoms.volume) + 0.0 * jnp.sum(atoms.positions)
        F = stretch * jnp.eye(3)
        energies = [self.at(potential, cell, F) for cell in (self.faulted, self.perfect)]
        return (energies[0] - energies[1]) / (self.area_A2 * stretch**2) * EV_PER_A2_TO_J_PER_M2 * 1e3

    def at(self, potential, cell, F):
        """Energy (eV) of a cell stretched by F; NaN where its table may miss a pair."""
        stretched = cell.atoms.deformed(F)
        lost = skin_exceeded(cell.atoms, jax.lax.stop_gradient(stretched), cell.pairs)
        return energy(potential, stretched, cell.pairs) * jnp.where(lost, jnp.nan, 1.0)


class MixingEnthalpy(AbstractTarget):
    """Mixing enthalpy (meV/atom) of a relaxed cell against the relaxed elements on the same lattice."""

    alloy: Cell
    pure: tuple[Cell, ...]
    fractions: tuple[float, ...] = eqx.field(static=True)

    def observe(self, potential):
        mixed = relaxed(potential, self.alloy)[0] / self.alloy.atoms.number
        parts = [c * relaxed(potential, cell)[0] / cell.atoms.number
                 for c, cell in zip(self.fractions, self.pure, strict=True)]
        return EV_TO_MEV * (mixed - sum(parts))


class EnergyDifference(AbstractTarget):
    """Energy per atom (meV) of one fixed structure against others: E/N − Σ x_k E_k/N_k, nothing relaxed."""

    cell: Cell
    others: tuple[Cell, ...]
    shares: tuple[float, ...] = eqx.field(static=True)

    def observe(self, potential):
        per_atom = lambda cell: energy(potential, cell.atoms, cell.pairs) / cell.atoms.number
        return EV_TO_MEV * (per_atom(self.cell) - sum(x * per_atom(c) for x, c in
                                                      zip(self.shares, self.others, strict=True)))


def pure_cell(lattice: Prototype, symbol: str, a_A: float, elements: tuple[str, ...], cutoff_A: float) -> Cell:
    """One conventional cell (constant in Å) of an element."""
    return cell_of(ordered(lattice, (symbol,), a_A), elements, cutoff_A)


def alloy_crystal(name: str, composition: dict[str, float], lattice: Prototype, a_A: float,
                  repeats: tuple[int, int, int]) -> Crystal:
    """A random cell (lattice constant in Å) at exact composition, shuffled by the generator of its ``name``.

    Raises ``ValueError`` if the number of sites cannot hold the composition.
    """
    crystal = repeated(ordered(lattice, ("X",), a_A), repeats)
    symbols, fractions = tuple(composition), tuple(composition.values())
    dealt(symbols, exact_counts(fractions, len(crystal)))
    return relabelled(crystal, Composition(symbols, fractions).draw(generator_of(name), len(crystal)))


def vacancy_energy(lattice: Prototype, symbol: str, a_A: float, repeats: tuple[int, int, int],
                   elements: tuple[str, ...], *, cutoff_A: float) -> VacancyEnergy:
    """The vacancy target of an element in a supercell; lattice constant and cut-off in Å."""
    whole = repeated(ordered(lattice, (symbol,), a_A), repeats)
    # A displaced start: the perfect sites are a stationary point of no interest where the relaxed site is off-centre.
    return VacancyEnergy(cell_of(ordered(lattice, (symbol,), a_A), elements, cutoff_A),
                         cell_of(without(whole, 0), elements, cutoff_A))


def stacking_fault_energy(lattice: Prototype, plane: Plane, symbol: str, a_A: float, u: float,
                          elements: tuple[str, ...], *, cutoff_A: float, layers: int = 12) -> StackingFault:
    """The stacking-fault target of an element at displacement ``u`` (units of the slip vector); lengths in Å."""
    periods = -(-layers // plane.layers) * plane.layers
    stacks = [cell_of(stacking_fault(plane, (symbol,) * periods, a_A, x), elements, cutoff_A) for x in (0.0, u)]
    return StackingFault(bulk=pure_cell(lattice, symbol, a_A, elements, cutoff_A), perfect=stacks[0],
                         faulted=stacks[1], area_A2=fault_area(plane, a_A))


def mixing_enthalpy_target(alloy: Crystal, lattice: Prototype, a_A: dict[str, float], elements: tuple[str, ...], *,
                           cutoff_A: float) -> MixingEnthalpy:
    """The mixing-enthalpy target of a cell; ``a_A`` guesses the lattice constants of its elements (Å)."""
    symbols = tuple(dict.fromkeys(alloy.symbols))
    fractions = tuple(alloy.symbols.count(s) / len(alloy) for s in symbols)
    pure = tuple(pure_cell(lattice, s, a_A[s], elements, cutoff_A) for s in symbols)
    return MixingEnthalpy(cell_of(alloy, elements, cutoff_A), pure, fractions)


@eqx.filter_jit
def observe(target: AbstractTarget, potential: AbstractPotential) -> Scalar:
    """``target.observe(potential)``, compiled."""
    return target.observe(potential)


def observed(targets: tuple[AbstractTarget, ...], potential: AbstractPotential) -> np.ndarray:
    """All numbers (target,), each in its unit; host-side."""
    return np.array([float(observe(target, potential)) for target in targets])
