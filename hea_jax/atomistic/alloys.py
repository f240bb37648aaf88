"""Averages over random alloy cells: lattice constant, elastic constants, mixing enthalpy, with standard errors.

All cells are relaxed (atoms and full cell) and differentiated in one batched call; every result is a
differentiable function of the potential.

Sources: Lemaître & Maloney 2006 (non-affine moduli); Li et al. 2020 (random cells of NbMoTaW); Wang et al. 2010
(J. Phys.: Condens. Matter 22, 225404: quasi-static elastic constants).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.neighbours import neighbour_table, skin_exceeded
from hea_jax.atomistic.relaxation import LINEAR, RELAX, AtomRelaxation, relax
from hea_jax.core.condense import condense
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser
from hea_jax.core.results import RESULTS, Solution, failure_if, first_failure, succeeded
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.types import Scalar
from hea_jax.records import AbstractPotential, Atoms, Neighbours
from hea_jax.structures.alloys import BCC_BASIS, random_alloys


class AlloyCells(eqx.Module):
    """Random cells on one starting lattice: ``atoms`` with a leading cell axis, one shared neighbour table, and
    ``cubic_cells`` (static), the number of cubic unit cells in each."""

    atoms: Atoms
    pairs: Neighbours
    cubic_cells: int = eqx.field(static=True)

    @property
    def number(self) -> int:
        """Number of cells."""
        return self.atoms.positions.shape[0]


def alloy_cells(
    key,
    compositions,
    elements: tuple[str, ...],
    *,
    lattice_constant_A: float,
    repeats: tuple[int, int, int],
    cutoff_A: float,
    skin_A: float = 0.6,
    basis=BCC_BASIS,
) -> AlloyCells:
    """Random cells, one per row of ``compositions`` (cell, element), with their neighbour table (host-side).

    ``skin_A`` must cover the relaxation (checked by ``relax``). Raises ``ValueError`` as ``random_alloys``.
    """
    atoms = random_alloys(key, compositions, elements, lattice_constant_A, repeats, basis=basis)
    first = jax.tree.map(lambda a: a[0], atoms)
    # All cells start from one lattice: they share one table.
    return AlloyCells(atoms, neighbour_table(first, cutoff_A, skin=skin_A), int(np.prod(repeats)))


class RelaxedCells(eqx.Module):
    """Relaxed cells: ``atoms`` (leading cell axis), per-atom ``energies_eV`` and ``lattice_constants_A`` (cell,)."""

    atoms: Atoms
    energies_eV: Float[Array, "cell"]
    lattice_constants_A: Float[Array, "cell"]


@eqx.filter_jit
def relax_cells(
    potential: AbstractPotential, cells: AlloyCells, *, solver: AbstractMinimiser = RELAX, linear: CG = LINEAR
) -> Solution:
    """Relax every cell to zero stress: ``Solution(RelaxedCells)``; results per cell as for ``relax``."""

    def one(atoms):
        return relax(potential, atoms, cells.pairs, solver=solver, linear=linear)

    sol = jax.vmap(one)(cells.atoms)
    energy, atoms = sol.value
    volume = jnp.abs(jnp.linalg.det(atoms.cell))
    lattice = jnp.cbrt(volume / cells.cubic_cells)
    return Solution(RelaxedCells(atoms, energy / cells.atoms.number, lattice), sol.result, sol.stats)


@eqx.filter_jit
def cell_stiffness(
    potential: AbstractPotential, relaxed: Atoms, cells: AlloyCells, *, linear: CG = LINEAR
) -> Solution:
    """Relaxed elastic constants of every cell: ``Solution(C)`` (cell, 6, 6) Mandel in GPa."""

    def one(atoms):
        return elastic_constants(potential, atoms, cells.pairs, linear=linear)

    return jax.vmap(one)(relaxed)


@eqx.filter_jit
def quasi_static_stiffness(
    potential: AbstractPotential,
    relaxed: Atoms,
    cells: AlloyCells,
    stretch: Float[Array, "cell"],
    *,
    solver: AbstractMinimiser = RELAX,
    linear: CG = LINEAR,
) -> Solution:
    """Elastic constants at the lattice constant of a temperature: ``Solution(C)`` (cell, 6, 6) Mandel in GPa.

    ``relaxed`` are relaxed cells at zero temperature (any selection of ``cells``), ``stretch`` (cell,) = a(T)/a(0) of
    each; the atoms relax again. The quasi-static approximation (Wang et al. 2010): the temperature enters by the
    thermal expansion alone. Results per cell as for ``relax`` and ``elastic_constants``.
    """

    lattice = jax.tree.map(lambda leaf: leaf[0], cells.atoms)

    def one(atoms, factor):
        wide = atoms.deformed(factor * jnp.eye(3))
        problem, still = AtomRelaxation(potential, wide, cells.pairs), jnp.zeros_like(wide.positions)
        found = condense(problem, jnp.zeros(6), still, solver=solver, linear=linear)
        final = wide.displaced(found.value[1])
        stiffness = elastic_constants(potential, final, cells.pairs, linear=linear)
        # All cells start from one lattice, which the table was built for.
        lost = skin_exceeded(lattice, jax.lax.stop_gradient(final), cells.pairs)
        result = first_failure(found.result, stiffness.result, failure_if(lost, RESULTS.neighbour_skin_exceeded))
        return Solution(stiffness.value, result, found.stats)

    return jax.vmap(one)(relaxed, stretch)


def standard_error(samples: Float[Array, "n *rest"]) -> Float[Array, "*rest"]:
    """Standard error of the mean over the first axis (same unit); NaN for a single sample."""
    n = samples.shape[0]
    return jnp.std(samples, axis=0, ddof=1) / n**0.5 if n > 1 else jnp.full(samples.shape[1:], jnp.nan)


@eqx.filter_jit
def cubic_constants(
    potential: AbstractPotential, cells: AlloyCells, *, solver: AbstractMinimiser = RELAX, linear: CG = LINEAR
) -> Float[Array, "3"]:
    """Mean relaxed (C11, C12, C44) in GPa over the cells, as one differentiable function of the potential.

    Relaxation and tangent solves included. A cell that fails anywhere makes the answer NaN.
    """
    sol = relax_cells(potential, cells, solver=solver, linear=linear)
    stiffness = cell_stiffness(potential, sol.value.atoms, cells, linear=linear)
    good = succeeded(sol.result) & succeeded(stiffness.result)
    # A product, not a `where`: the derivative of a failed answer must be NaN as well.
    factor = jnp.where(jnp.all(good), 1.0, jnp.nan)
    return factor * jnp.mean(cubic_projection(stiffness.value), axis=0)


def mixing_enthalpy(
    energies_eV: Float[Array, "n"], fractions: Float[Array, "n element"], pure_eV: Float[Array, "element"]
) -> Float[Array, "n"]:
    """H_mix = E − Σ c_i E_i per atom (eV), of relaxed cells against relaxed pure elements on the same lattice."""
    return energies_eV - fractions @ pure_eV


def fractions_of(atoms: Atoms) -> Float[Array, "cell element"]:
    """Atomic fractions of every cell of a batch."""
    return jnp.mean(jax.nn.one_hot(atoms.species, len(atoms.elements)), axis=-2)


def mean_and_error(samples: Float[Array, "n"]) -> tuple[Scalar, Scalar]:
    """Mean and standard error of independent samples."""
    return jnp.mean(samples), standard_error(samples)
