"""Random solid solutions on a lattice, at exact composition.

Source: Warren 1990 (random solid solution as the ideal state of short-range order).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.records import Atoms

BCC_BASIS = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
FCC_BASIS = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
"""Fractional positions of the atoms of the cubic cell, (atom, 3)."""


def supercell(lattice_constant_A: float, repeats: tuple[int, int, int], *, basis: np.ndarray = BCC_BASIS
              ) -> tuple[Float[Array, "atom 3"], Float[Array, "3 3"]]:
    """Positions (atom, 3) and cell (3, 3) in Å of a cubic lattice repeated along its axes.

    ``basis`` holds the fractional positions of one cubic cell (bcc by default). Raises ``ValueError`` for a
    non-positive lattice constant or repeat.
    """
    if not lattice_constant_A > 0:
        raise ValueError(f"lattice_constant_A must be positive, got {lattice_constant_A}")
    if min(repeats) < 1:
        raise ValueError(f"repeats must be at least 1 along every axis, got {repeats}")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), -1).reshape(-1, 1, 3)
    positions = (corners + basis).reshape(-1, 3) * lattice_constant_A
    return jnp.asarray(positions), jnp.diag(jnp.asarray(repeats, float) * lattice_constant_A)


def exact_counts(composition, number: int) -> np.ndarray:
    """Atoms of each species, (element,), for ``number`` atoms at the given atomic fractions.

    Raises ``ValueError`` if the fractions are negative, do not sum to 1 (1e-6), or cannot be met exactly with this
    number of atoms (nothing is rounded silently); the message names the closest composition that can.
    """
    fractions = np.asarray(composition, float)
    if (fractions < 0).any() or abs(fractions.sum() - 1) > 1e-6:
        raise ValueError(f"composition must be non-negative fractions that sum to 1, got {fractions.tolist()}")
    ideal = fractions * number
    counts = np.floor(ideal + 1e-6).astype(int)
    for index in np.argsort(counts - ideal)[: number - counts.sum()]:
        counts[index] += 1
    if np.abs(counts - ideal).max() > 1e-4:
        raise ValueError(f"composition {fractions.tolist()} cannot be met exactly with {number} atoms: use "
                         f"{(counts / number).round(6).tolist()} or another cell size")
    return counts


def random_species(key, composition, number: int):
    """A random permutation (number,) of species at exact composition; see ``exact_counts``."""
    species = np.repeat(np.arange(len(composition)), exact_counts(composition, number))
    return jax.random.permutation(key, jnp.asarray(species, jnp.int32))


def random_alloys(key, compositions, elements: tuple[str, ...], lattice_constant_A: float,
                  repeats: tuple[int, int, int], *, basis: np.ndarray = BCC_BASIS) -> Atoms:
    """A batch of random alloys on one unrelaxed lattice: one cell for each row of ``compositions`` (cell, element).

    Returns ``Atoms`` with a leading batch axis on every array (Å). The same key gives the same cells.
    """
    compositions = np.atleast_2d(np.asarray(compositions, float))
    if compositions.shape[1] != len(elements):
        raise ValueError(f"compositions have {compositions.shape[1]} columns for {len(elements)} elements {elements}")
    positions, cell = supercell(lattice_constant_A, repeats, basis=basis)
    keys = jax.random.split(key, len(compositions))
    species = jnp.stack([random_species(k, c, len(positions)) for k, c in zip(keys, compositions, strict=True)])
    n = len(compositions)
    return Atoms(jnp.broadcast_to(positions, (n, *positions.shape)), jnp.broadcast_to(cell, (n, 3, 3)), species,
                 tuple(elements))
