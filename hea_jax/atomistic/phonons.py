"""Harmonic frequencies of a crystal by automatic differentiation of its energy.

Force constants of the atoms of one cell against those of a supercell are Hessian columns, one forward pass over the
gradient each; D(q) = Σ_R Φ(0, R) e^{iq·R}/√(mm′) is exact at the wave vectors that the supercell holds, whatever the
range of the potential.

Source: Born & Huang 1954, §38 (dynamical matrix); Parlinski, Li & Kawazoe 1997 (exact at commensurate q).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.properties import energy
from hea_jax.core.masses import masses_of
from hea_jax.core.results import require_x64
from hea_jax.core.units import AMU_A2_PER_FS2_TO_EV
from hea_jax.records import AbstractPotential, Atoms


@dataclasses.dataclass(frozen=True)
class Phonons:
    """``q`` (wave vector, 3) in units of the reciprocal cell (no 2π); ``frequencies_THz`` (wave vector, branch) sorted,
    negative where imaginary."""

    q: np.ndarray
    frequencies_THz: np.ndarray

    @property
    def lowest_THz(self) -> float:
        """The lowest frequency but for the three translations at Γ (negative: an unstable mode)."""
        at_gamma = np.all(self.q == 0, axis=1)
        rest = self.frequencies_THz.copy()
        for row in np.flatnonzero(at_gamma):
            rest[row, np.argsort(np.abs(rest[row]))[:3]] = np.inf
        return float(rest.min())


def phonons(potential: AbstractPotential, atoms: Atoms, grid: tuple[int, int, int], *, batch: int = 12) -> Phonons:
    """Frequencies of a periodic cell at equilibrium, at all wave vectors of a ``grid`` (host driver, float64).

    ``atoms`` must be at rest (forces zero); ``batch`` Hessian columns are done together. Raises ``ValueError`` for a
    grid below 1 or a cell that is not periodic.
    """
    require_x64(atoms.positions)
    if min(grid) < 1 or not all(atoms.pbc):
        raise ValueError(f"phonons need a periodic cell and a grid of at least 1 1 1, got {grid} and pbc {atoms.pbc}")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1).reshape(-1, 3)
    x, cell = np.asarray(atoms.positions), np.asarray(atoms.cell)
    n = atoms.number
    # Cell by cell, the home cell first.
    positions = (x[None] + (corners @ cell)[:, None]).reshape(-1, 3)
    species = jnp.tile(atoms.species, len(corners))
    large = Atoms(jnp.asarray(positions), jnp.asarray(cell * np.array(grid)[:, None]), species, atoms.elements)
    pairs = neighbour_table(large, potential.cutoff)
    columns = np.asarray(_columns(potential, large, pairs, n, min(batch, 3 * n)))
    phi = columns.reshape(n, 3, len(corners), n, 3)
    masses = np.asarray(masses_of(atoms.elements))[np.asarray(atoms.species)]
    scale = 1.0 / np.sqrt(masses[:, None] * masses[None, :])
    q = corners / np.array(grid)
    phase = np.exp(2j * np.pi * q @ corners.T)
    D = np.einsum("qR,iaRjb->qiajb", phase, phi) * scale[None, :, None, :, None]
    D = D.reshape(len(q), 3 * n, 3 * n)
    square = np.linalg.eigvalsh(0.5 * (D + np.conj(np.swapaxes(D, 1, 2)))) / AMU_A2_PER_FS2_TO_EV
    return Phonons(q, np.sign(square) * np.sqrt(np.abs(square)) / (2 * np.pi) * 1e3)


@eqx.filter_jit
def _columns(potential, atoms, pairs, number, batch):
    """Φ (3 · number, 3 · atom) in eV/Å²: displacements of the first ``number`` atoms against all."""
    gradient = jax.grad(lambda u: energy(potential, atoms.displaced(u), pairs))
    _, push = jax.linearize(gradient, jnp.zeros_like(atoms.positions))

    def column(k):
        return push(jnp.zeros_like(atoms.positions).at[k // 3, k % 3].set(1.0)).ravel()

    return jax.lax.map(column, jnp.arange(3 * number), batch_size=batch)
