"""Splits of a dataset into training, validation and test frames that keep copies of one structure together.

A unit is what must not be parted: all copies of one parent (strained, relaxed, equally decorated), one trajectory whose
order in time is unknown, or a block of one whose order is known. How near the parts still come is measured.

Source: Roberts et al. 2017 (cross-validation for structured data: blocks, not random frames).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from hea_jax.electronic.families import host_frames, is_crystal, parents, scaled_step
from hea_jax.electronic.fingerprints import Fingerprints, fingerprints, near_duplicates, nearest_distances
from hea_jax.electronic.readers import DatasetError

SHORTEST_TRAJECTORY = 10
"""Fewer frames in one cell are taken for copies of a parent, not for a trajectory."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices (sorted, disjoint) of the frames for training, validation and test; ``dropped`` are the gaps between
    blocks of a trajectory that went to different parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self):
        joined = np.concatenate([self.train, self.validation, self.test, self.dropped])
        if len(np.unique(joined)) != len(joined):
            raise ValueError("a frame is in two parts of the split: give disjoint indices")

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The parts that serve a fit, by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclasses.dataclass(frozen=True)
class Units:
    """``label`` (frame,) the unit of each frame; ``order`` (frame,) its place in a trajectory with known order, else
    −1; ``trajectory`` (frame,) the trajectory of such a frame, else −1."""

    label: np.ndarray
    order: np.ndarray
    trajectory: np.ndarray


def find_units(dataset, *, block: int = 20, cut_families: bool = False) -> Units:
    """Units of a dataset: parents, trajectories in disorder (one per temperature and cell), and blocks of ``block``
    frames of those in order.

    ``cut_families`` makes a unit of every cell of a family of strained copies: near-duplicates are still kept together,
    neighbouring strains are not. Without it a family that is the only one of its group trains as a whole.
    """
    frames, parent = host_frames(dataset), parents(dataset)
    label = np.array([f"parent {p}" for p in parent], dtype=object)
    order, trajectory = np.full(len(frames), -1), np.full(len(frames), -1)
    cells = np.array([_cell_key(frame) for frame in frames], dtype=object)
    kinds: dict[tuple, list[int]] = {}
    for n, group in enumerate(dataset.groups):
        kinds.setdefault((parent[n], group, cells[n]), []).append(n)
    for members in kinds.values():
        if not _is_trajectory(frames, members):
            continue
        for run in _temperatures(frames, np.array(members)):
            trajectory[run] = run[0]
            ordered = _in_order(frames, run)
            order[run] = np.arange(len(run)) if ordered else -1
            for k, n in enumerate(run):
                label[n] = f"trajectory {run[0]}" + (f" block {k // block}" if ordered else "")
    if cut_families:
        _cut(dataset, label, trajectory)
    _, numbered = np.unique(label.astype(str), return_inverse=True)
    return Units(numbered, order, np.where(order >= 0, trajectory, -1))


def _cell_key(frame):
    cell = np.asarray(frame.atoms.cell)
    return (np.round(cell, 3) + 0.0).tobytes() + frame.atoms.species.tobytes()


def _temperatures(frames, members):
    """Runs of one cell, parted by temperature: where energies fall into two heaps, each narrow against their distance.

    (Halves of one Gaussian lie 2.7 of their own standard deviations apart, of a uniform distribution 3.5.)
    """
    E = np.array([float(frames[n].free_energy_eV) for n in members])
    ranked = np.argsort(E, kind="stable")
    k = np.arange(SHORTEST_TRAJECTORY, len(E) - SHORTEST_TRAJECTORY + 1)
    if len(k) == 0:
        return [members]
    cut = k[np.argmax(np.diff(E[ranked])[k - 1])]
    low, high = E[ranked[:cut]], E[ranked[cut:]]
    spread = np.sqrt(0.5 * (low.var() + high.var()))
    if not high.mean() - low.mean() > 4.5 * spread + 1e-3 * frames[members[0]].atoms.number:
        return [members]
    heaps = np.sort(members[ranked[:cut]]), np.sort(members[ranked[cut:]])
    return [run for heap in heaps for run in _temperatures(frames, heap)]


def _is_trajectory(frames, members):
    """Whether frames of one cell are one crystal (or a path) in motion, not equal cells or copies at rest."""
    if len(members) < SHORTEST_TRAJECTORY or not is_crystal(frames[members[0]]):
        return False
    cell = np.asarray(frames[members[0]].atoms.cell, float)
    scaled = np.stack([frames[n].atoms.positions for n in members]) @ np.linalg.inv(cell)
    moved = np.linalg.norm(scaled_step(scaled[0], scaled[1:]) @ cell, axis=-1)
    typical = np.median(np.sqrt(np.mean(moved**2, axis=-1)))
    return bool(0.01 < typical < 0.4 * (abs(np.linalg.det(cell)) / scaled.shape[1]) ** (1 / 3))


def _in_order(frames, run):
    """Whether neighbours in the file are nearer to each other than any two frames of the run."""
    cell = np.asarray(frames[run[0]].atoms.cell, float)
    scaled = np.stack([frames[n].atoms.positions for n in run]) @ np.linalg.inv(cell)
    apart = lambda lag: np.median(np.linalg.norm(scaled_step(scaled[:-lag], scaled[lag:]) @ cell, axis=(-2, -1)))
    return bool(apart(1) < 0.8 * apart(len(run) // 2))


def _cut(dataset, label, trajectory):
    """Parents without a trajectory fall into groups of near-duplicates."""
    free = np.flatnonzero(trajectory < 0)
    if len(free):
        for same, n in zip(near_duplicates(fingerprints(dataset.select(free))), free, strict=True):
            label[n] = f"{label[n]} copy {same}"


def split_by_parent(dataset, fractions: Sequence[float] = (0.8, 0.1, 0.1), key=None, *, units: Units | None = None,
                    gap: int = 2) -> Split:
    """Whole units to training, validation and test, group by group, as near to ``fractions`` as their sizes allow.

    ``key`` (a JAX random key, default ``jax.random.key(0)``) decides alone: the same key gives the same split. A group
    that is a single unit trains. Of a trajectory with known order ``gap`` frames are dropped on each side of a border
    between parts. Raises ``DatasetError`` for fractions that are not three shares of 1, and for parts left empty.
    """
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-9 or shares[0] == 0:
        raise DatasetError(f"fractions {tuple(fractions)} are not three shares of 1 (training, validation, test), "
                           "training above 0: correct them")
    units = find_units(dataset) if units is None else units
    rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)))
    part, owed = np.zeros(len(dataset), int), np.zeros(3)
    sizes = np.bincount(units.label)
    home: dict[str, list[int]] = {}
    for unit, first in zip(*np.unique(units.label, return_index=True), strict=True):
        home.setdefault(dataset.groups[first], []).append(unit)
    for group in sorted(home):
        if len(home[group]) == 1:
            continue
        order = rng.permutation(home[group])
        chosen, room = [], shares * sizes[order].sum()
        for unit in order:
            owed += shares * sizes[unit]
            # What other groups left owing goes to parts that have room in this group, so that none loses a whole group.
            chosen.append(int(np.argmax(np.where(room > 1e-9 * sizes.sum(), owed, -np.inf))))
            owed[chosen[-1]] -= sizes[unit]
            room[chosen[-1]] -= sizes[unit]
        if 0 not in chosen:
            owed[chosen[0]], owed[0], chosen[0] = owed[chosen[0]] + sizes[order[0]], owed[0] - sizes[order[0]], 0
        for unit, where in zip(order, chosen, strict=True):
            part[units.label == unit] = where
    dropped = _borders(units, part, gap)
    part[dropped] = 3
    names = ("training", "validation", "test")
    empty = [name for k, name in enumerate(names) if shares[k] > 0 and not (part == k).any()]
    if empty:
        raise DatasetError(f"no unit is left for {' and '.join(empty)} among {len(sizes)}: ask for other fractions, or "
                           "part families (`split.cut_families: true`; units=find_units(dataset, cut_families=True))")
    return Split(*(np.flatnonzero(part == k) for k in range(4)))


def _borders(units, part, gap):
    lost = []
    for run in np.unique(units.trajectory[units.trajectory >= 0]):
        members = np.flatnonzero(units.trajectory == run)
        members = members[np.argsort(units.order[members])]
        for border in np.flatnonzero(np.diff(part[members])) + 1:
            lost.extend(members[max(0, border - gap):border + gap])
    return np.unique(np.array(lost, int))


def random_split(dataset, fractions: Sequence[float] = (0.8, 0.1, 0.1), key=None) -> Split:
    """Frames at random, blind to copies: what ``split_by_parent`` is to be compared with."""
    alone = np.arange(len(dataset))
    return split_by_parent(dataset, fractions, key, units=Units(alone, np.full(len(alone), -1), alone * 0 - 1))


def leave_pair_out(dataset, first: str, second: str) -> Split:
    """Test on every frame that holds both elements, train on all others (no validation).

    Raises ``DatasetError`` for an element that the dataset lacks, or a pair that no frame holds.
    """
    for element in (first, second):
        if element not in dataset.elements:
            raise DatasetError(f"element {element!r} is not in the dataset ({dataset.elements}): name two of its own")
    pair = {dataset.elements.index(first), dataset.elements.index(second)}
    both = np.array([pair <= set(np.asarray(f.atoms.species).tolist()) for f in host_frames(dataset)])
    if first == second or not both.any() or both.all():
        raise DatasetError(f"{int(both.sum())} of {len(both)} frames hold {first} with {second}: name two elements "
                           "that some frames, not all, hold together")
    return Split(np.flatnonzero(~both), np.zeros(0, int), np.flatnonzero(both))


def leave_group_out(dataset, *groups: str) -> Split:
    """Test on the given groups, train on all others (no validation). Raises ``DatasetError`` for an unknown group, or
    where no group is left to train."""
    unknown = sorted(set(groups) - set(dataset.groups))
    if unknown or not groups:
        raise DatasetError(f"groups {unknown} are not in the dataset ({sorted(set(dataset.groups))}): name its own")
    out = np.array([g in groups for g in dataset.groups])
    if out.all():
        raise DatasetError(f"groups {sorted(set(groups))} are all that the dataset has, none is left for training: "
                           "leave one out of them")
    return Split(np.flatnonzero(~out), np.zeros(0, int), np.flatnonzero(out))


def group_weights(groups: Sequence[str], *, given: Mapping[str, float] | None = None, balance: float = 0.5
                  ) -> np.ndarray:
    """(frame,) weights with mean 1: ``given`` per group (default 1), times group size to the power −``balance`` (0: a
    frame is a frame; 1: a group is a group). Raises ``DatasetError`` for unknown groups or weights below 0."""
    given = dict(given or {})
    unknown = sorted(set(given) - set(groups))
    if unknown or any(not w >= 0 for w in given.values()):
        raise DatasetError(f"weights {given} name groups that are not there ({unknown}) or are below 0: correct them")
    sizes = {group: list(groups).count(group) for group in set(groups)}
    weights = np.array([given.get(g, 1.0) * sizes[g] ** -balance for g in groups])
    if not weights.sum() > 0:
        raise DatasetError("all weights are zero: give at least one group a weight above 0")
    return weights / weights.mean()


@dataclasses.dataclass(frozen=True)
class Leakage:
    """Per frame of a part: ``distance`` to the nearest training frame, in units of a rattle of 0.02 Å, and its index
    ``nearest``; below 1 the frame is a near-duplicate of one that trains."""

    frames: np.ndarray
    distance: np.ndarray
    nearest: np.ndarray

    @property
    def share(self) -> float:
        """Share of the frames that are near-duplicates of training frames."""
        return float(np.mean(self.distance < 1.0)) if len(self.distance) else 0.0

    def by_group(self, groups: Sequence[str]) -> dict[str, tuple[int, float, float]]:
        """Per group: number of frames, share of near-duplicates, median distance."""
        mine = np.array(groups)[self.frames]
        return {str(g): (int((mine == g).sum()), float(np.mean(self.distance[mine == g] < 1)),
                         float(np.median(self.distance[mine == g]))) for g in dict.fromkeys(mine)}


def leakage(dataset, split: Split, *, of: np.ndarray | None = None, prints: Fingerprints | None = None) -> Leakage:
    """How near the test frames (or the frames ``of``) come to those that train (see ``Fingerprints``)."""
    frames = split.test if of is None else np.asarray(of)
    values = (fingerprints(dataset) if prints is None else prints).values
    if not len(frames) or not len(split.train):
        return Leakage(frames, np.full(len(frames), np.inf), np.full(len(frames), -1))
    distance, index = nearest_distances(values[frames], values[split.train])
    return Leakage(frames, distance, split.train[index])
