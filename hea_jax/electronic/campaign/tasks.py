"""What a campaign computes: structures with names, groups and k-meshes.

Source: Monkhorst & Pack 1976 (k-meshes; here always centred on Γ).
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hea_jax.structures.crystals import Crystal

Mesh = tuple[int, int, int]


class KMesh(Protocol):
    """A rule that gives the k-mesh of a cell."""

    def mesh(self, crystal: Crystal, repeats: Mesh | None) -> Mesh:
        """Points along the reciprocal vectors; ``repeats``: conventional cells along each cell vector, if known."""
        ...


@dataclasses.dataclass(frozen=True)
class PointsPerCellEdge:
    """So many points along the edge of one conventional cell, whatever its strain; fewer in a supercell."""

    points: int

    def mesh(self, crystal: Crystal, repeats: Mesh | None) -> Mesh:
        """Points over repeats, rounded up; raises ``ValueError`` for a cell that is no block of cubic cells."""
        if repeats is None:
            raise ValueError("this cell is no block of conventional cells: give the k-points by their spacing")
        n1, n2, n3 = (-(-self.points // n) for n in repeats)
        return n1, n2, n3


@dataclasses.dataclass(frozen=True)
class Spacing:
    """Points at most ``per_A`` apart (1/Å, with the factor 2π)."""

    per_A: float

    def mesh(self, crystal: Crystal, repeats: Mesh | None) -> Mesh:
        """Length of each reciprocal vector over the spacing, rounded up."""
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.cell).T, axis=1)
        n1, n2, n3 = (max(1, int(np.ceil(b / self.per_A - 1e-6))) for b in lengths)
        return n1, n2, n3


@dataclasses.dataclass(frozen=True)
class FixedMesh:
    """The same points in every cell."""

    points: Mesh

    def mesh(self, crystal: Crystal, repeats: Mesh | None) -> Mesh:
        """The given points."""
        return self.points


@dataclasses.dataclass(frozen=True)
class Task:
    """One structure to compute: unique ``name``, ``group``, crystal, k-mesh (None: the calculator has none).

    ``in_dataset`` is False for convergence studies, whose structures repeat others of the campaign. ``parameters`` are
    keywords of the calculator for this structure, which go before the engine's.
    """

    name: str
    group: str
    crystal: Crystal
    kpts: Mesh | None = None
    in_dataset: bool = True
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class CampaignError(ValueError):
    """A campaign that cannot be run as it is described; the message lists every problem with its remedy."""


def interleaved(groups: Iterable[tuple[int, Sequence[Task]]]) -> list[Task]:
    """Tasks of groups given as (priority, tasks): lower priorities first, equal ones spread evenly over each other."""
    entries = [(priority, (i + 0.5) / len(tasks), order, task)
               for order, (priority, tasks) in enumerate(groups) for i, task in enumerate(tasks)]
    return [task for *_, task in sorted(entries, key=lambda e: e[:3])]


def check_tasks(tasks: Sequence[Task], shortest_distance_A: float = 1.2) -> None:
    """Raise ``CampaignError`` for repeated names, names that cannot name a file, repeated structures, atoms too close.

    Atoms are too close below ``shortest_distance_A`` (Å).
    """
    from hea_jax.structures.crystals import closest_distance

    problems = []
    seen: dict[str, str] = {}
    contents: dict[bytes, str] = {}
    for task in tasks:
        where = f"structure {task.name!r} of group {task.group!r}"
        if not task.name or task.name.startswith((".", "-")) or not all(c.isalnum() or c in "._+-" for c in task.name):
            problems.append(f"{where}: the name cannot name a file: use letters, digits, `_`, `-`, `+` and `.`")
        if task.name in seen:
            problems.append(f"{where}: same name as in group {seen[task.name]!r}: change the `name` pattern of one")
        seen.setdefault(task.name, task.group)
        distance = closest_distance(task.crystal)
        if distance < shortest_distance_A:
            problems.append(f"{where}: two atoms are {distance:.2f} Å apart: use smaller strains or displacements")
        content = repr(task.crystal.symbols).encode() + np.round(task.crystal.positions, 6).tobytes() + np.round(
            task.crystal.cell, 6).tobytes()  # fmt: skip
        if task.in_dataset and content in contents:
            problems.append(f"{where}: same structure as {contents[content]!r}: leave one out")
        elif task.in_dataset:
            contents[content] = task.name
    if problems:
        raise CampaignError("\n".join([f"{len(problems)} problem(s) with the structures:", *problems]))


def groups_of(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Tasks by group, in order of appearance."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.group, []).append(task)
    return found


def element_pairs(elements: Sequence[str]) -> list[tuple[str, ...]]:
    """All unordered pairs of elements."""
    return list(itertools.combinations(elements, 2))
