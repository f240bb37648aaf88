"""Random alloy cells that a fit's checks run on."""

from collections.abc import Mapping

import numpy as np

from hea_jax.app.fit.targets import lattice_guess
from hea_jax.records import Atoms
from hea_jax.structures.crystals import generator_of, relabelled, repeated
from hea_jax.structures.ordered import PROTOTYPES, ordered


def nearest_counts(fractions, number: int) -> np.ndarray:
    """Whole numbers of atoms next to the fractions (largest remainders)."""
    ideal = np.asarray(fractions, float) * number
    counts = np.floor(ideal + 1e-9).astype(int)
    for index in np.argsort(counts - ideal, kind="stable")[: number - counts.sum()]:
        counts[index] += 1
    return counts


def alloy_cell(name: str, config, elements: tuple[str, ...], dataset, repeats: tuple[int, int, int]) -> Atoms:
    """A random cell of ``sanity.composition`` (equal parts if left out), as near to it as its atoms allow.

    ``name`` seeds the order of the atoms; lattice constants are mean values of the elements'.
    """
    section = config.sanity
    given: Mapping[str, float] = section.composition or {e: 1.0 / len(elements) for e in elements}
    lattice = PROTOTYPES[section.lattice]
    a = sum(c * lattice_guess(e, section.lattice, dataset, section.lattice_constants_A) for e, c in given.items())
    crystal = repeated(ordered(lattice, ("X",), float(a)), repeats)
    counts = nearest_counts(list(given.values()), len(crystal))
    symbols = np.repeat(list(given), counts)
    return relabelled(crystal, generator_of(f"{name}-{config.seed}").permutation(symbols)).to_atoms(elements)
