"""Merging a campaign into one data set, and what its table and report say.

Source: Larsen et al. 2017 (extended XYZ).
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hea_jax.electronic.campaign.folder import CampaignFolder, read_frame, write_text
from hea_jax.electronic.campaign.tasks import Task, groups_of
from hea_jax.electronic.dataset import GPAW_NBMOTAW, Dataset, load_dataset

DATASET, CONVERGENCE = "dataset.extxyz", "convergence.extxyz"


def read_known(path: Path, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Frames that were computed before, by name, with ``provenance`` added where a frame does not say it itself.

    Raises ``FileNotFoundError``; ``ValueError`` for an unreadable file, a frame without a name, or two of one name.
    """
    from ase.io import read

    if not path.exists():
        raise FileNotFoundError(f"known frames {path} do not exist: check the path")
    try:
        images: Any = read(path, index=":", format="extxyz")
    except Exception as error:
        raise ValueError(f"{path}: not readable as extxyz ({type(error).__name__}: {error}): check that the file is "
                         "complete") from error
    frames: dict[str, Any] = {}
    for number, image in enumerate(images):
        name = image.info.get("name")
        if name is None or str(name) in frames:
            raise ValueError(f"{path}: frame {number}: field `name` is {'missing' if name is None else 'repeated'}: "
                             "give every frame its own name")
        image.info = {**(provenance or {}), "origin": path.name, **image.info}
        frames[str(name)] = image
    return frames


def merge(tasks: Sequence[Task], folder: Path, known: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Write ``dataset.extxyz`` and, of convergence studies, ``convergence.extxyz``; the number of frames of each.

    Frames stand in the order of the tasks; structures without a result are left out, and so are known frames that are
    no task (``left_out`` names them).
    """
    store, known = CampaignFolder(folder), known or {}
    counts = {}
    for name, wanted in ((DATASET, True), (CONVERGENCE, False)):
        chosen = [task for task in tasks if task.in_dataset is wanted]
        texts = [text for task in chosen if (text := _frame_text(task, store, known)) is not None]
        counts[name] = len(texts)
        path = folder / name
        if texts:
            write_text(path, "".join(texts))
        else:
            path.unlink(missing_ok=True)
    return counts


def left_out(tasks: Sequence[Task], known: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of known frames that are no structure of the campaign, in their order; ``merge`` writes none of them."""
    names = {task.name for task in tasks}
    return tuple(name for name in known if name not in names)


def _frame_text(task: Task, store: CampaignFolder, known: Mapping[str, Any]) -> str | None:
    """The frame of a structure as extended XYZ, or None without one."""
    if task.name in known:
        from ase.io import write

        stream = io.StringIO()
        write(stream, known[task.name], format="extxyz")
        return stream.getvalue()
    path = store.result(task.name)
    return path.read_text(encoding="utf-8") if path.exists() else None


def merged_dataset(folder: Path, elements: tuple[str, ...], *, with_stress: bool = True) -> Dataset:
    """The merged set as the fitting tools load it; raises ``DatasetError`` if it breaks its declaration."""
    import dataclasses

    keys = GPAW_NBMOTAW if with_stress else dataclasses.replace(GPAW_NBMOTAW, stress=None)
    return load_dataset(folder / DATASET, keys, elements=elements)


def campaign_frames(tasks: Sequence[Task], folder: Path, known: Mapping[str, Any] | None = None) -> list[Any]:
    """The finished frames of a campaign as ASE atoms, in the order of the tasks."""
    store, known = CampaignFolder(folder), known or {}
    return [known[task.name] if task.name in known else read_frame(store.result(task.name))
            for task in tasks if task.name in known or store.result(task.name).exists()]


def summary_rows(tasks: Sequence[Task], frames: Sequence[Any], failed: Sequence[str]) -> list[dict[str, Any]]:
    """One row per group: structures wanted, finished, failed; atoms; seconds; energies (eV/atom) and largest force."""
    by_name = {str(frame.info["name"]): frame for frame in frames}
    rows = []
    for group, members in groups_of(tasks).items():
        done = [by_name[task.name] for task in members if task.name in by_name]
        energies = [float(frame.info["free_energy_eV"]) / len(frame) for frame in done]
        forces = [float(np.abs(frame.arrays["forces_eV_per_A"]).max()) for frame in done]
        rows.append({
            "group": group, "structures": len(members), "finished": len(done),
            "failed": sum(task.name in failed for task in members), "atoms": sum(len(t.crystal) for t in members),
            "seconds": round(sum(float(frame.info.get("seconds", 0.0)) for frame in done), 1),
            "lowest_eV_per_atom": min(energies, default=None), "highest_eV_per_atom": max(energies, default=None),
            "largest_force_eV_per_A": max(forces, default=None),
        })  # fmt: skip
    return rows
