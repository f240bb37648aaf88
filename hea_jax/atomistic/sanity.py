"""What a potential must stand before it is handed out, whatever it was fitted to.

Bain path (bcc → fcc at constant volume), dimer curves of all pairs (a repulsive wall, nothing deep inside it), phonons
of the elements and of an alloy, survival of a hot random alloy. Each check returns numbers; the limits that decide are
arguments with defaults.

Sources: Bain 1924; Born & Huang 1954; Zuo et al. 2020 (dimers and molecular dynamics as tests of learned potentials).
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.ensembles import Langevin, initial_state, run_dynamics
from hea_jax.atomistic.fitting.evaluation import evaluate
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.phonons import Phonons, phonons
from hea_jax.atomistic.relaxation import relax
from hea_jax.core.results import failure_message
from hea_jax.records import AbstractPotential, Atoms, ReferenceData
from hea_jax.structures.ordered import PROTOTYPES, Prototype, ordered

FCC_RATIO = 2**0.5
"""c/a of the Bain path at which a body-centred tetragonal cell is fcc."""


def energies_per_atom(potential: AbstractPotential, configurations: Sequence[Atoms]) -> np.ndarray:
    """Energies (eV/atom) of configurations of any sizes (host-side)."""
    nothing = jnp.asarray(np.nan)
    frames = [ReferenceData(a, nothing, jnp.zeros_like(a.positions), jnp.zeros((3, 3))) for a in configurations]
    return evaluate(potential, frames).energy_eV / np.array([a.number for a in configurations])


@dataclasses.dataclass(frozen=True)
class Ground:
    """An element on a lattice at rest: ``lattice_constant_A``, ``energy_eV`` per atom, ``atoms`` of a cell; ``failure``
    says why there is none (empty: there is)."""

    lattice_constant_A: float
    energy_eV: float
    atoms: Atoms
    failure: str = ""


def ground_state(potential: AbstractPotential, lattice: Prototype, element: str, guess_A: float) -> Ground:
    """The relaxed cell of an element on a lattice with one sublattice; ``guess_A`` may be 15% off."""
    scales = np.linspace(0.85, 1.15, 31)
    cells = [ordered(lattice, (element,), guess_A * f).to_atoms(potential.elements) for f in scales]
    E = energies_per_atom(potential, cells)
    inside = [k for k in range(1, len(E) - 1) if E[k] <= E[k - 1] and E[k] <= E[k + 1]]
    if not inside:
        return Ground(float("nan"), float("nan"), cells[15], f"no minimum of E(a) within 15% of {guess_A:.3f} Å")
    start = cells[min(inside, key=lambda k: abs(k - 15))]
    sol = relax(potential, start, neighbour_table(start, potential.cutoff, skin=0.5))
    energy, atoms = sol.value
    a = float(jnp.cbrt(atoms.volume / (lattice.volume_per_atom() * len(lattice.basis))))
    return Ground(a, float(energy) / atoms.number, atoms, failure_message(sol.result))


@dataclasses.dataclass(frozen=True)
class BainPath:
    """``ratio`` (point,) c/a and ``energy_eV`` (point,) per atom relative to bcc, at the volume of the bcc cell."""

    element: str
    ratio: np.ndarray
    energy_eV: np.ndarray

    @property
    def fcc_eV(self) -> float:
        """Energy of fcc relative to bcc (eV/atom)."""
        return float(np.interp(FCC_RATIO, self.ratio, self.energy_eV))

    @property
    def lowest_ratio(self) -> float:
        """c/a of the lowest point of the path."""
        return float(self.ratio[np.argmin(self.energy_eV)])


def bain_path(potential: AbstractPotential, element: str, bcc_lattice_constant_A: float, *, points: int = 41
              ) -> BainPath:
    """The Bain path of an element from c/a 0.8 to 1.65; the lattice constant (Å) fixes the volume."""
    ratio = np.unique(np.concatenate([np.linspace(0.8, 1.65, points), [1.0, FCC_RATIO]]))
    cells = [ordered(PROTOTYPES["bcc"], (element,), bcc_lattice_constant_A * r ** (-1 / 3), c_over_a=r)
             .to_atoms(potential.elements) for r in ratio]
    E = energies_per_atom(potential, cells)
    return BainPath(element, ratio, E - E[np.searchsorted(ratio, 1.0)])


@dataclasses.dataclass(frozen=True)
class Dimer:
    """The energy of two atoms against distance: ``distance_A``, ``energy_eV`` (zero beyond the cut-off).

    ``wall_eV``: the energy at 1 Å; ``minimum_A``: where it is lowest; ``hole_eV``: the largest drop on the way inwards
    from there.
    """

    pair: tuple[str, str]
    distance_A: np.ndarray
    energy_eV: np.ndarray

    @property
    def wall_eV(self) -> float:
        """Energy (eV) at 1 Å."""
        return float(np.interp(1.0, self.distance_A, self.energy_eV))

    @property
    def minimum_A(self) -> float:
        """Distance (Å) of the lowest point."""
        return float(self.distance_A[np.argmin(self.energy_eV)])

    @property
    def hole_eV(self) -> float:
        """Largest drop (eV) of the energy on the way inwards from the minimum (0: it only rises)."""
        inwards = self.energy_eV[: np.argmin(self.energy_eV) + 1][::-1]
        return float(np.max(np.maximum.accumulate(inwards) - inwards))

    def sound(self, *, wall_eV: float = 10.0, hole_eV: float = 0.1, closest_A: float = 1.5) -> bool:
        """Whether there is a wall (eV), nothing deep inside it (eV), no minimum closer than ``closest_A`` (Å)."""
        return self.wall_eV >= wall_eV and self.hole_eV <= hole_eV and self.minimum_A >= closest_A


def dimers(potential: AbstractPotential, *, nearest_A: float = 0.8, step_A: float = 0.02) -> list[Dimer]:
    """Dimer curves of all pairs of elements, from ``nearest_A`` to the cut-off (Å)."""
    r = np.concatenate([np.arange(nearest_A, potential.cutoff, step_A), [potential.cutoff + 1.0]])
    cell, periodic = jnp.eye(3) * 100.0, (False, False, False)
    out = []
    for a, b in itertools.combinations_with_replacement(range(len(potential.elements)), 2):
        species = jnp.array([a, b], jnp.int32)
        cells = [Atoms(jnp.array([[0.0, 0, 0], [d, 0, 0]]), cell, species, potential.elements, periodic) for d in r]
        E = 2 * energies_per_atom(potential, cells)
        out.append(Dimer((potential.elements[a], potential.elements[b]), r[:-1], (E - E[-1])[:-1]))
    return out


def relaxed_alloy(potential: AbstractPotential, atoms: Atoms, *, skin_A: float = 1.0) -> tuple[Atoms, str]:
    """(relaxed cell, failure or ""): atoms and cell at zero stress; ``skin_A`` (Å) covers the motion."""
    sol = relax(potential, atoms, neighbour_table(atoms, potential.cutoff, skin=skin_A))
    return sol.value[1], failure_message(sol.result)


def primitive_phonons(potential: AbstractPotential, element: str, lattice: str, lattice_constant_A: float,
                      grid: tuple[int, int, int]) -> Phonons:
    """Phonons of an element's primitive cell (``lattice`` bcc or fcc, constant in Å) on a grid of wave vectors."""
    cell = ordered(PROTOTYPES[f"{lattice}_primitive"], (element,), lattice_constant_A)
    return phonons(potential, cell.to_atoms(potential.elements), grid)


@dataclasses.dataclass(frozen=True)
class Survival:
    """A hot run: ``time_ps``, ``energy_eV`` per atom and ``temperature_K`` (sample,), ``closest_A`` the shortest
    distance seen; ``failure`` says why it ended early (empty: it survived)."""

    time_ps: np.ndarray
    energy_eV: np.ndarray
    temperature_K: np.ndarray
    closest_A: float
    failure: str = ""


class _Ended(Exception):
    """Raised in a callback to stop a run that has failed."""


def survival(potential: AbstractPotential, atoms: Atoms, key, *, temperature_K: float = 3000.0,
             duration_ps: float = 5.0, timestep_fs: float = 2.0, closest_A: float = 1.5, bound_eV: float = 5.0,
             chunk: int = 50,
             report: Callable[[int, int], None] = lambda done, total: None) -> Survival:
    """Langevin dynamics of a periodic cell at constant volume (times in ps and fs, lengths in Å; host driver).

    It fails when two atoms are closer than ``closest_A`` or the potential energy per atom moves by more than
    ``bound_eV`` from the first look, both looked at every ``chunk`` steps, or when the dynamics itself fails.
    """
    steps = max(chunk, round(duration_ps * 1e3 / timestep_fs / chunk) * chunk)
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.0)
    start = initial_state(potential, atoms, pairs, key, temperature_K=temperature_K)
    rows: list[tuple[float, float, float]] = []
    seen = {"closest": np.inf, "failure": ""}

    def watch(progress, samples):
        now = progress.state.atoms
        E = float(samples.potential_energy_eV[-1]) / atoms.number
        first = rows[0][1] if rows else E
        rows.append((float(progress.state.step) * timestep_fs * 1e-3, E, float(samples.temperature_K[-1])))
        seen["closest"] = min(seen["closest"], shortest_distance(now))
        report(int(progress.state.step), steps)
        if seen["closest"] < closest_A:
            seen["failure"] = f"two atoms came as close as {seen['closest']:.2f} Å"
        elif not abs(E - first) < bound_eV:
            seen["failure"] = f"the energy moved by {E - first:+.2f} eV/atom"
        if seen["failure"]:
            raise _Ended

    try:
        sol = run_dynamics(potential, Langevin(temperature_K, 0.01), start, dt_fs=timestep_fs, steps=steps, every=chunk,
                           chunk=chunk, skin_A=1.0, on_chunk=watch)
        failure = failure_message(sol.result)
    except _Ended:
        failure = str(seen["failure"])
    time, energy, temperature = (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.zeros(0)] * 3
    return Survival(time, energy, temperature, float(seen["closest"]), failure)


def shortest_distance(atoms: Atoms, *, reach_A: float = 2.4) -> float:
    """Shortest distance (Å) between atoms or images; ``reach_A`` if none is within it."""
    table = neighbour_table(atoms, reach_A)
    mask = np.asarray(table.mask)
    if not mask.any():
        return reach_A
    x, cell = np.asarray(atoms.positions), np.asarray(atoms.cell)
    i, j = np.nonzero(mask)[0], np.asarray(table.index)[mask]
    return float(np.linalg.norm(x[j] + np.asarray(table.shift)[mask] @ cell - x[i], axis=1).min())


def hot_cell(atoms: Atoms, expansion: float = 1.02) -> Atoms:
    """A cell stretched by the thermal expansion that a hot run has."""
    return atoms.deformed(expansion * jnp.eye(3))
