"""Random cells that follow from their name: composition, arrangement, volume, strain, vacancies, displacements.

Draws come in one fixed order, and what is not asked for draws nothing: species, lattice constant, strain, vacancies,
fault displacement, amplitude of the displacements, displacements.

Source: Zuo et al. 2020, J. Phys. Chem. A 124, 731 (structures of training sets for alloy potentials).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hea_jax.structures.alloys import exact_counts
from hea_jax.structures.crystals import (
    Crystal,
    displaced,
    generator_of,
    random_strain,
    relabelled,
    repeated,
    strained,
    without,
)
from hea_jax.structures.defect_cells import Plane, stacking_fault
from hea_jax.structures.ordered import Prototype, ordered


@dataclasses.dataclass(frozen=True)
class Composition:
    """Exact atomic ``fractions`` of ``elements``, or (None) fractions drawn from a flat Dirichlet distribution.

    ``concentration`` is the Dirichlet parameter: 1 is uniform over all compositions, less favours the elements.
    """

    elements: tuple[str, ...]
    fractions: tuple[float, ...] | None = None
    concentration: float = 1.0

    def draw(self, generator: np.random.Generator, number: int) -> list[str]:
        """Symbols of ``number`` atoms; one element alone draws nothing. Raises ``ValueError`` as ``exact_counts``."""
        if len(self.elements) == 1:
            return [self.elements[0]] * number
        if self.fractions is None:
            fractions = generator.dirichlet([self.concentration] * len(self.elements))
            return [str(s) for s in generator.choice(self.elements, size=number, p=fractions)]
        return [str(s) for s in generator.permutation(dealt(self.elements, exact_counts(self.fractions, number)))]


def dealt(elements: Sequence[str], counts) -> list[str]:
    """The given counts of each element dealt out in turn: A B C A B C A."""
    rounds = range(int(max(counts)))
    return [e for turn in rounds for e, count in zip(elements, counts, strict=True) if count > turn]


def vegard(symbols: Sequence[str], lattice_constants_A: Mapping[str, float]) -> float:
    """Mean lattice constant (Å) of the symbols (Vegard 1921)."""
    return float(np.mean([lattice_constants_A[s] for s in symbols]))


def random_cell(name: str, composition: Composition, prototype: Prototype, repeats: tuple[int, int, int],
                lattice_constants_A: Mapping[str, float], *, scale: tuple[float, float] | None = None,
                strain: float = 0.0, vacancies: int = 0, amplitudes_A: Sequence[float] = ()) -> Crystal:
    """A random cell of a lattice with one sublattice, built from its name alone.

    The lattice constant is Vegard's times a uniform number from ``scale``; ``strain`` is the standard deviation of the
    components of a symmetric strain; atoms are displaced by normal numbers (Å) of an amplitude chosen from
    ``amplitudes_A``. Lattice constants are those of the prototype, in Å. Raises ``ValueError`` for a prototype with
    sublattices, an impossible composition, or more vacancies than atoms.
    """
    if prototype.number_of_sublattices != 1:
        raise ValueError("random cells need a lattice with one sublattice: fcc, bcc, hcp, sc, diamond")
    generator = generator_of(name)
    number = len(prototype.basis) * int(np.prod(repeats))
    if not 0 <= vacancies < number:
        raise ValueError(f"{vacancies} vacancies in a cell of {number} atoms")
    symbols = composition.draw(generator, number)
    a = vegard(symbols, lattice_constants_A) * (generator.uniform(*scale) if scale else 1.0)
    crystal = relabelled(repeated(ordered(prototype, ("X",), a), repeats), symbols)
    if strain:
        crystal = strained(crystal, random_strain(generator, strain))
    for _ in range(vacancies):
        crystal = without(crystal, int(generator.integers(len(crystal))))
    return rattled(generator, crystal, amplitudes_A)


def random_fault(name: str, composition: Composition, plane: Plane, layers: int,
                 lattice_constants_A: Mapping[str, float], *, u: tuple[float, float],
                 amplitudes_A: Sequence[float] = ()) -> Crystal:
    """A random alloy with one stacking fault at a displacement drawn uniformly from ``u``; built from its name alone.

    Lattice constants (Å) are cubic; amplitudes of displacements in Å as in ``random_cell``.
    """
    generator = generator_of(name)
    symbols = composition.draw(generator, layers)
    fraction = float(generator.uniform(*u))
    crystal = stacking_fault(plane, tuple(symbols), vegard(symbols, lattice_constants_A), fraction)
    return rattled(generator, crystal, amplitudes_A)


def rattled(generator: np.random.Generator, crystal: Crystal, amplitudes_A: Sequence[float]) -> Crystal:
    """Normal displacements (Å) of an amplitude chosen from ``amplitudes_A``; none for an empty list."""
    if not amplitudes_A:
        return crystal
    amplitude = generator.choice(amplitudes_A) if len(amplitudes_A) > 1 else amplitudes_A[0]
    return displaced(crystal, generator.normal(0, amplitude, crystal.positions.shape))
