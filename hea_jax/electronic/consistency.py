"""Whether energies, forces and stress of a dataset belong together: dE against work, over pairs of neighbouring frames.

Between two frames with the same atoms, E₂ − E₁ = ∫ (V σ : du − F · du), here by the trapezoidal rule over a straight
path: second-order in the step, independent of any energy reference. A wrong sign or unit of stress, forces or energies
shows as another factor between the two sides; a single wrong energy shows as a jump against all neighbours of a frame.

Source: Nielsen & Martin 1985 (stress and forces as derivatives of one energy).
"""

import dataclasses

import numpy as np

from hea_jax.core.units import BAR_TO_GPA, EV_PER_A3_TO_GPA
from hea_jax.electronic.families import Links, find_links, host_frames
from hea_jax.electronic.findings import Finding, Severity

HARTREE_EV, BOHR_A, KCAL_PER_MOL_EV, KJ_PER_MOL_EV = 27.211386245981, 0.529177210544, 0.0433641153, 0.0103642697
MOST_STRAIN, MOST_MOVE_A = 0.12, 0.25
"""Pairs further apart say little: the trapezoidal rule fails them."""
RIGHT, WRONG, FEWEST_PAIRS = 0.15, 0.25, 6
"""Misfits below ``RIGHT`` confirm a scale, above ``WRONG`` refute it, given ``FEWEST_PAIRS``."""
SHEAR = ([1, 0, 0], [2, 2, 1])
"""Rows and columns of the components yz, xz, xy."""
NOISE_EV, PULAY_EV_PER_A3 = 2e-4, 4e-3
"""What cannot be told from noise: an energy per atom, and the Pulay stress of an incomplete basis."""


@dataclasses.dataclass(frozen=True)
class Work:
    """Per pair of neighbouring frames: ``pairs`` (links), energy difference ``energy``, work of ``stress`` and of
    ``forces`` (pair,) in eV; ``volume`` (pair,) Å³ and ``atoms`` (pair,) scale hypotheses about virials and E/N;
    ``shear`` (pair, 3, 3) the work of stress components yz, xz, xy (rows) on strains yz, xz, xy (columns) in eV."""

    pairs: Links
    energy: np.ndarray
    stress: np.ndarray
    forces: np.ndarray
    volume: np.ndarray
    atoms: np.ndarray
    shear: np.ndarray

    def part(self, chosen) -> "Work":
        """The chosen pairs only."""
        take = lambda x: x[chosen]
        links = Links(*(take(getattr(self.pairs, f.name)) for f in dataclasses.fields(Links)))
        return Work(links, *(take(getattr(self, f.name)) for f in dataclasses.fields(Work)[1:]))

    def reordered(self, order: tuple[int, int, int]) -> "Work":
        """The works if the true stresses yz, xz, xy are those that stand in the places ``order``."""
        shear = self.shear[:, order, :]
        change = np.trace(shear, axis1=1, axis2=2) - np.trace(self.shear, axis1=1, axis2=2)
        return dataclasses.replace(self, stress=self.stress + change, shear=shear)

    @property
    def strained(self) -> np.ndarray:
        """Pairs that differ by a strain alone: they test the stress."""
        return (self.pairs.strain > 1e-4) & (self.pairs.displacement < 5e-3) & np.isfinite(self.stress)

    @property
    def displaced(self) -> np.ndarray:
        """Pairs of one cell with displaced atoms: they test the forces."""
        return (self.pairs.strain < 1e-5) & (self.pairs.displacement > 5e-3)


def pair_work(frames, links: Links, *, neighbours: int = 3) -> Work:
    """Energy differences and works (eV) of the ``neighbours`` nearest linked frames of each frame."""
    near = (links.strain < MOST_STRAIN) & (links.displacement < MOST_MOVE_A)
    near &= (links.strain > 1e-5) | (links.displacement > 1e-3)
    links = Links(*(getattr(links, f.name)[near] for f in dataclasses.fields(Links)))
    chosen = _nearest(links, len(frames), neighbours)
    links = Links(*(getattr(links, f.name)[chosen] for f in dataclasses.fields(Links)))
    rows = [_work(frames[i], frames[j]) for i, j in zip(links.first, links.second, strict=True)]
    table = np.array(rows, float).reshape(-1, 14)
    energy, stress, forces, volume, atoms = table[:, :5].T
    return Work(links, energy, stress, forces, volume, atoms, table[:, 5:].reshape(-1, 3, 3))


def _nearest(links, number, neighbours):
    """Indices of the links among the nearest of either of their frames (displacement in Å, strain times 3 Å)."""
    distance = links.displacement + 3.0 * links.strain
    ends = np.concatenate([links.first, links.second])
    which = np.tile(np.arange(len(distance)), 2)
    order = np.lexsort((distance[which], ends))
    rank = np.arange(len(order)) - np.searchsorted(ends[order], ends[order])
    return np.unique(which[order[rank < neighbours]])


def _work(one, two):
    A, B = np.asarray(one.atoms.cell, float), np.asarray(two.atoms.cell, float)
    invA, invB = np.linalg.inv(A), np.linalg.inv(B)
    V = abs(np.linalg.det(A)), abs(np.linalg.det(B))
    step = two.atoms.positions @ invB - one.atoms.positions @ invA
    step = step - step[:1]
    step = step - np.round(step)
    step = step - step.mean(axis=0)
    by_stress, shear = 0.0, np.zeros((3, 3))
    for v, frame, inverse in zip(V, (one, two), (invA, invB), strict=True):
        gradient = inverse @ (B - A)
        by_stress += 0.5 * v * np.sum(frame.stress_eV_per_A3 * gradient)
        shear += 0.5 * v * np.outer(frame.stress_eV_per_A3[SHEAR], (gradient + gradient.T)[SHEAR])
    by_forces = -0.5 * (np.sum(one.forces_eV_per_A * (step @ A)) + np.sum(two.forces_eV_per_A * (step @ B)))
    return (float(two.free_energy_eV - one.free_energy_eV), by_stress, by_forces, 0.5 * (V[0] + V[1]),
            one.atoms.number, *shear.ravel())


@dataclasses.dataclass(frozen=True)
class Scale:
    """A hypothesis: the true value is the given one times the factor, times volume**power (stress, Å³) or
    atoms**power (energy)."""

    name: str
    energy: float = 1.0
    stress: float = 1.0
    forces: float = 1.0
    volume_power: int = 0
    atoms_power: int = 0


AS_DECLARED = Scale("as declared")
_GPA, _KBAR = 1.0 / EV_PER_A3_TO_GPA, 0.1 / EV_PER_A3_TO_GPA
_STRESSES = (
    ("the stress (virial) has the wrong sign", 1.0), ("the stress is in GPa, not in eV/Å³", _GPA),
    ("the stress is in kbar, not in eV/Å³", _KBAR), ("the stress is in bar, not in eV/Å³", BAR_TO_GPA * _GPA),
    ("the stress is in eV/Å³, not in GPa", 1 / _GPA), ("the stress is in eV/Å³, not in kbar", 1 / _KBAR),
    ("the stress is in kbar, not in GPa", 0.1), ("the stress is in GPa, not in kbar", 10.0),
    ("the stress is in Hartree/bohr³, not in eV/Å³", HARTREE_EV / BOHR_A**3),
    ("the stress is in Rydberg/bohr³, not in eV/Å³", 0.5 * HARTREE_EV / BOHR_A**3),
)  # fmt: skip
_ENERGIES = (("Hartree", HARTREE_EV), ("Rydberg", 0.5 * HARTREE_EV), ("kcal/mol", KCAL_PER_MOL_EV),
             ("kJ/mol", KJ_PER_MOL_EV), ("meV", 1e-3))
FORCE_UNITS = (("Hartree/bohr", HARTREE_EV / BOHR_A), ("Rydberg/bohr", 0.5 * HARTREE_EV / BOHR_A),
               ("eV/bohr", 1 / BOHR_A), ("Hartree/Å", HARTREE_EV), ("Rydberg/Å", 0.5 * HARTREE_EV), ("meV/Å", 1e-3),
               ("kcal/mol/Å", KCAL_PER_MOL_EV))
_SIGN = "the stress (virial) has the wrong sign"
SCALES = (
    *(Scale(name if sign > 0 else f"{name}, and has the wrong sign", stress=sign * factor)
      for name, factor in _STRESSES[1:] for sign in (1, -1)),
    Scale(_SIGN, stress=-1.0),
    *(Scale(f"the stress is {what}{'' if sign > 0 else ', and has the wrong sign'}", stress=sign, volume_power=power)
      for what, power in (("a virial (stress × volume)", -1), ("divided by the volume once too often", 1))
      for sign in (1, -1)),
    *(Scale(f"the energies are in {unit}, not in eV", energy=factor) for unit, factor in _ENERGIES),
    Scale("the energies are per atom, not of the whole cell", atoms_power=1),
    Scale("the forces have the wrong sign (gradients)", forces=-1.0),
    *(Scale(f"the forces are in {unit}, not in eV/Å", forces=factor) for unit, factor in FORCE_UNITS),
    *(Scale(f"energies and forces are in {unit} and {unit}/bohr, not in eV and eV/Å", energy=factor,
            forces=factor / BOHR_A) for unit, factor in _ENERGIES[:2]),
    *(Scale(f"energies, forces and stress are in atomic units of {unit} and bohr", energy=factor,
            forces=factor / BOHR_A, stress=factor / BOHR_A**3) for unit, factor in _ENERGIES[:2]),
)  # fmt: skip


def misfit(work: Work, scale: Scale = AS_DECLARED) -> tuple[float, float]:
    """How badly dE and work disagree under a hypothesis, over (strained, displaced) pairs: 0 equal, 1 opposite or of
    other size; NaN where fewer than ``FEWEST_PAIRS`` tell."""
    energy = work.energy * scale.energy * work.atoms**scale.atoms_power
    known = np.where(np.isfinite(work.stress), work.stress, 0.0)
    total = known * scale.stress * work.volume**scale.volume_power + work.forces * scale.forces
    out = []
    # Each pair counts alike, whatever its step: a harmonic energy grows with the step squared.
    size = work.atoms * ((3.0 * work.pairs.strain) ** 2 + work.pairs.displacement**2)
    # Below this, dE is noise, or the stress of an incomplete basis at work.
    noise = work.atoms * (NOISE_EV + PULAY_EV_PER_A3 * work.volume / work.atoms * work.pairs.strain)
    # As declared or as assumed: no hypothesis may win by making everything small.
    sizes = (energy, total, work.energy, known + work.forces)
    telling = np.max(np.abs(sizes), axis=0) > 3 * noise
    for chosen in (work.strained & telling, work.displaced & telling):
        if chosen.sum() < FEWEST_PAIRS:
            out.append(np.nan)
            continue
        difference = np.median(np.abs(energy - total)[chosen] / size[chosen])
        both = np.median((np.abs(energy) + np.abs(total))[chosen] / size[chosen])
        out.append(float(difference / both) if both > 0 else np.nan)
    return out[0], out[1]


ORDERS: tuple[tuple[int, int, int], ...] = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Places (of yz, xz, xy as read) where the true yz, xz, xy may stand; the first is as read."""
_ORDER_NAMES = {(1, 2, 0): "the order xy yz xz of VASP read as yz xz xy", (2, 0, 1): "the order yz xz xy of ASE read "
                "as that of VASP", (2, 1, 0): "the order xy xz yz of LAMMPS read as yz xz xy"}


def order_name(order: tuple[int, int, int]) -> str:
    """What a permutation of the shear stresses is called: which component stands where yz, xz, xy are read."""
    true = ("yz", "xz", "xy")
    name = f"{', '.join(true[order.index(place)] for place in range(3))} where yz, xz, xy are read"
    return name + (f" ({_ORDER_NAMES[order]})" if order in _ORDER_NAMES else "")


ORDER_REMEDY = "set `voigt_order` in `DatasetKeys` (`declared_keys`), or write the stress as 3×3"


def _shear_misfits(work):
    """(order,) misfit of dE and work over strained pairs where the order of the shear stresses matters, and their
    number; as given and with the sign of the stress turned, the better."""
    works = [work.reordered(order) for order in ORDERS]
    noise = work.atoms * (NOISE_EV + PULAY_EV_PER_A3 * work.volume / work.atoms * work.pairs.strain)
    matters = np.ptp([w.stress for w in works], axis=0) > np.maximum(3 * noise, 0.3 * np.abs(work.energy))
    chosen = work.strained & matters
    if chosen.sum() < FEWEST_PAIRS:
        return None, int(chosen.sum())
    size = work.atoms[chosen] * (3.0 * work.pairs.strain[chosen]) ** 2

    def misfit_of(w, sign):
        total = (sign * w.stress + w.forces)[chosen]
        energy = w.energy[chosen]
        return float(np.median(np.abs(energy - total) / size) / np.median((np.abs(energy) + np.abs(total)) / size))

    return np.array([min(misfit_of(w, sign) for sign in (1, -1)) for w in works]), int(chosen.sum())


def _order_finding(work, where):
    """(finding or None, the order it gives to the shear stresses)."""
    values, count = _shear_misfits(work)
    if values is None or not values[0] > WRONG or not values.min() < RIGHT:
        return None, ORDERS[0]
    best = [order for order, value in zip(ORDERS, values, strict=True) if value < values.min() + 0.015]
    return Finding(Severity.ERROR, where, "the shear components of the stress are permuted: "
                   + "; or ".join(order_name(order) for order in best), ORDER_REMEDY,
                   sureness=f"{count} sheared pairs of frames: dE and work disagree by {values[0]:.0%} as read, by "
                            f"{values.min():.0%} so"), best[0]


def _worst(work, scale):
    values = [value for value in misfit(work, scale) if np.isfinite(value)]
    return max(values) if values else np.nan


def _value(work, scale):
    """The worst misfit of a hypothesis; more for each thing it changes and for pairs that say nothing of it."""
    by_stress, by_forces = misfit(work, scale)
    changes_stress = scale.stress != 1 or scale.volume_power != 0
    if (np.isnan(by_stress) and changes_stress) or (np.isnan(by_forces) and scale.forces != 1):
        return np.inf
    untested = np.isnan(by_stress) + np.isnan(by_forces)
    changes = sum(x != 1 for x in (scale.energy, scale.stress, scale.forces))
    return np.nanmax([by_stress, by_forces, 0.0]) + 0.02 * changes + 0.06 * untested


def scale_findings(dataset, work: Work | None = None) -> list[Finding]:
    """Findings about sign and unit of stress, forces and energies, and the order of shear stresses: of the whole set,
    else of single groups."""
    if work is None:
        frames = host_frames(dataset)
        work = pair_work(frames, find_links(frames))
    permuted, order = _order_finding(work, "whole set")
    # What follows judges the stress as it ought to be read.
    work, first = work.reordered(order), [] if permuted is None else [permuted]
    whole = _judge(work, "whole set")
    if whole is not None and whole.severity is Severity.ERROR:
        return [*first, whole]
    groups = np.array(dataset.groups)
    found = []
    for group in dataset.group_sizes():
        inside = work.part((groups[work.pairs.first] == group) & (groups[work.pairs.second] == group))
        permuted, order = _order_finding(inside, f"group {group}") if not first else (None, ORDERS[0])
        mine = tuple(int(n) for n in np.flatnonzero(groups == group))
        found += [dataclasses.replace(f, frames=mine)
                  for f in (permuted, _judge(inside.reordered(order), f"group {group}")) if f is not None]
    return first + (found or ([] if whole is None else [whole]))


def _judge(work, where):
    by_stress, by_forces = misfit(work)
    declared = _worst(work, AS_DECLARED)
    if not declared > WRONG:
        return None
    values = np.array([_value(work, scale) for scale in SCALES])
    best = int(np.argmin(values))
    # Units a few per cent apart (Rydberg/bohr and Hartree/Å) are all named.
    alike = [s.name for s, v in zip(SCALES, values, strict=True) if v < values[best] + 0.015]
    strained, displaced = int(work.strained.sum()), int(work.displaced.sum())
    tested = f"{strained} strained and {displaced} displaced pairs of frames"
    if values[best] < RIGHT:
        return Finding(Severity.ERROR, where, "; or ".join(alike),
                       "correct `DatasetKeys` (sign, unit) or convert the file",
                       sureness=f"{tested}: dE and work disagree by {declared:.0%} as declared, "
                                f"by {_worst(work, SCALES[best]):.0%} so")
    parts = [f"{value:.0%} on {name} pairs" for value, name in ((by_stress, "strained"), (by_forces, "displaced"))
             if np.isfinite(value)]
    return Finding(Severity.WARNING, where, "energy differences do not follow from stress and forces",
                   "look for mixed settings, energies that do not go with the forces, or another unit",
                   sureness=f"{tested}: misfit {' and '.join(parts)}, and no known unit or sign explains it")


def jump_findings(dataset, work: Work, *, tolerance_eV: float = 0.008) -> list[Finding]:
    """Frames whose energy (eV) jumps against all their neighbours, by more than ``tolerance_eV`` per atom and what the
    trapezoidal rule misses: such an energy comes from other settings, or is a free energy among extrapolated ones."""
    total = np.where(np.isfinite(work.stress), work.stress, 0.0) + work.forces
    jump = (work.energy - total) / work.atoms
    size = (np.abs(work.energy) + np.abs(total - work.forces) + np.abs(work.forces)) / work.atoms
    step = 3.0 * work.pairs.strain + work.pairs.displacement
    third = np.abs(jump[step > 0.1]) / step[step > 0.1] ** 3
    bound = np.tile(tolerance_eV + 0.15 * size + 5 * (np.median(third) if len(third) else 0.0) * step**3, 2)
    ends, signed = np.concatenate([work.pairs.second, work.pairs.first]), np.concatenate([jump, -jump])
    groups: dict[str, list[tuple[int, float]]] = {}
    for n in np.unique(ends):
        # The pairs that tell most: far ones allow any jump.
        best = np.flatnonzero(ends == n)
        best = best[np.argsort(bound[best])][:3]
        value = signed[best]
        if len(best) >= 2 and (np.abs(value) > bound[best]).all() and abs(np.sign(value).sum()) == len(value):
            groups.setdefault(dataset.groups[n], []).append((int(n), float(np.median(value))))
    return [Finding(Severity.WARNING, f"group {group}",
                    f"{len(found)} energies jump against their neighbours, by "
                    f"{np.median([abs(jump) for _, jump in found]):.3f} eV/atom in the median: frames "
                    + ", ".join(f"{n} ({dataset.names[n]}, {jump:+.3f})" for n, jump in found[:5])
                    + (", …" if len(found) > 5 else ""),
                    "recompute them with the settings of the others; look for free energies among extrapolated ones",
                    tuple(n for n, _ in found), "against stress and forces of at least two neighbours each")
            for group, found in groups.items()]
