"""What structures will cost, from what like structures have cost.

Source: Mortensen et al. 2024 (plane-wave GPAW: between quadratic and cubic in the atoms, linear in the k-points).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hea_jax.electronic.campaign.tasks import Task

FEWEST = 5
"""Frames below which no law is fitted."""


def estimated_seconds(tasks: Sequence[Task], frames: Sequence[Any]) -> np.ndarray | None:
    """Seconds per task (task,), or None while fewer than five computed frames say how long they took.

    A structure that computed frames match in atoms and k-points takes their median; others follow a power law in atoms
    and k-points fitted to all frames. A guide, not a promise: symmetry is not looked at.
    """
    measured = [(len(f), int(np.prod(f.info.get("kpts", 1))), float(f.info["seconds"]))
                for f in frames if float(f.info.get("seconds", 0.0)) > 0]  # fmt: skip
    if len(measured) < FEWEST:
        return None
    atoms, points, seconds = (np.array(column, float) for column in zip(*measured, strict=True))
    columns = np.stack([np.ones_like(atoms), np.log(atoms), np.log(points)], axis=1)
    law = np.linalg.lstsq(columns, np.log(seconds), rcond=None)[0]
    out = []
    for task in tasks:
        n, k = len(task.crystal), int(np.prod(task.kpts or 1))
        same = seconds[(atoms == n) & (points == k)]
        out.append(np.median(same) if len(same) else np.exp(law @ [1.0, np.log(n), np.log(k)]))
    return np.array(out)
