"""What a campaign says: the plan of a dry run, the table at the end, ``report.md`` and ``summary.json``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hea_jax.app.dft.load import Campaign
from hea_jax.electronic.campaign.convergence import MeshRow, kmesh_convergence
from hea_jax.electronic.campaign.cost import estimated_seconds
from hea_jax.electronic.campaign.folder import write_json, write_text
from hea_jax.electronic.campaign.merge import campaign_frames, left_out, summary_rows
from hea_jax.electronic.campaign.tasks import Task

PLAN = ("structure", "group", "formula", "atoms", "k-mesh", "estimate", "state")
GROUPS = ("group", "structures", "finished", "failed", "atoms", "hours", "eV/atom", "largest force")
NAMED = 20
"""Known frames outside the campaign that are named; of more, the rest is counted."""
MESHES = ("structure", "k-mesh", "energy, meV/atom", "stress, GPa", "C', GPa", "C44, GPa", "change")


def formula(task: Task) -> str:
    """Elements and counts."""
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in Counter(task.crystal.symbols).items())


def duration(seconds: float | None) -> str:
    """Seconds as people read them."""
    if seconds is None:
        return "?"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else (
        f"{seconds / 3600:.1f} h")  # fmt: skip


def plan_rows(campaign: Campaign, folder: Path, known: Mapping[str, Any], names: Sequence[str]
              ) -> tuple[list[tuple[str, ...]], str]:
    """Rows of ``PLAN`` for the named structures, and a sentence about the total."""
    tasks = [task for task in campaign.tasks if task.name in set(names)]
    frames = [*campaign_frames([t for t in campaign.tasks if t.name not in known], folder), *known.values()]
    seconds = estimated_seconds(tasks, frames)
    rows, open_seconds, missing = [], 0.0, 0
    for i, task in enumerate(tasks):
        state = "known" if task.name in known else "computed" if (
            folder / "structures" / f"{task.name}.extxyz").exists() else "to compute"  # fmt: skip
        estimate = None if seconds is None else float(seconds[i])
        if state == "to compute":
            missing += 1
            open_seconds += estimate or 0.0
        mesh = "-" if task.kpts is None else "x".join(map(str, task.kpts))
        rows.append((task.name, task.group, formula(task), str(len(task.crystal)), mesh, duration(estimate), state))
    total = f"{len(tasks)} structures, {missing} to compute"
    if seconds is None:
        return rows, f"{total}; no estimate: fewer than five computed frames say how long they took"
    processes = campaign.engine.processes
    return rows, (f"{total}: about {duration(open_seconds / processes)} with {processes} at a time, estimated from "
                  f"{len(frames)} computed frames")  # fmt: skip


def group_cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of ``GROUPS``."""
    out = []
    for row in rows:
        low, high = row["lowest_eV_per_atom"], row["highest_eV_per_atom"]
        energies = "-" if low is None else f"{low:.3f} … {high:.3f}"
        force = row["largest_force_eV_per_A"]
        out.append((row["group"], str(row["structures"]), str(row["finished"]), str(row["failed"]), str(row["atoms"]),
                    f"{row['seconds'] / 3600:.2f}", energies, "-" if force is None else f"{force:.2f} eV/Å"))
    return out


def mesh_cells(rows: Sequence[MeshRow]) -> list[tuple[str, ...]]:
    """Rows of ``MESHES``."""
    number = lambda value: "" if value is None else f"{value:.1f}"
    return [(row.structure, "x".join(map(str, row.kpts)), f"{row.energy_meV_per_atom:+.2f}", f"{row.stress_GPa:.2f}",
             number(row.C_prime_GPa), number(row.C44_GPa),
             "finest" if row.finest else "" if row.constant_change is None else f"{100 * row.constant_change:+.1f} %")
            for row in rows]  # fmt: skip


def left_out_sentence(names: Sequence[str]) -> str:
    """How many known frames are no structure of the campaign, and which; empty if none."""
    if not names:
        return ""
    more = "" if len(names) <= NAMED else f", and {len(names) - NAMED} more (`known_left_out` in summary.json)"
    subject = "1 known frame is no structure of this campaign and is" if len(names) == 1 else (
        f"{len(names)} known frames are no structure of this campaign and are")  # fmt: skip
    return f"{subject} left out: {', '.join(names[:NAMED])}{more}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def write_report(campaign: Campaign, folder: Path, known: Mapping[str, Any], failures: Sequence[Mapping[str, Any]],
                 counts: Mapping[str, int]) -> dict[str, Any]:
    """Write ``report.md`` and ``summary.json``; the summary is returned."""
    frames = campaign_frames(campaign.tasks, folder, known)
    rows = summary_rows(campaign.tasks, frames, [record["name"] for record in failures])
    meshes = kmesh_convergence(frames)
    unused = left_out(campaign.tasks, known)
    summary = {
        "name": campaign.settings.name, "structures": len(campaign.tasks), "finished": len(frames),
        "failed": len(failures), "frames": dict(counts), "groups": rows, "failures": [dict(f) for f in failures],
        "engines": dict(Counter(_engine_of(frame) for frame in frames)),
        "known_left_out": list(unused), "kmesh": [vars(row) | {"kpts": list(row.kpts)} for row in meshes],
    }  # fmt: skip
    write_json(folder / "summary.json", plain(summary))
    parts = [f"# DFT campaign {campaign.settings.name}\n", f"{len(frames)} of {len(campaign.tasks)} structures; "
             f"data set: {', '.join(f'`{name}` {n} frames' for name, n in counts.items())}\n",
             markdown_table(GROUPS, group_cells(rows)),
             "Engines: " + "; ".join(f"{name} ({n})" for name, n in summary["engines"].items()) + "\n"]  # fmt: skip
    if unused:
        parts.append(left_out_sentence(unused) + "\n")
    if meshes:
        parts += ["## k-mesh\n", "Changes against the finest mesh; secants at the strain of the cell.\n",
                  markdown_table(MESHES, mesh_cells(meshes))]
    if failures:
        parts += ["## Failed, left out\n", markdown_table(("structure", "group", "attempts", "error"), [
            (f["name"], f["group"], str(f["attempts"]), str(f["error"]).splitlines()[0]) for f in failures])]
    write_text(folder / "report.md", "\n".join(parts))
    return summary


def _engine_of(frame: Any) -> str:
    """Engine, version and method of a frame."""
    info = frame.info
    words = [str(info.get("engine", "not stated")), str(info.get("engine_version", ""))]
    words += [f"{key} {info[key]}" for key in ("xc", "cutoff_eV", "smearing_eV") if key in info]
    return " ".join(word for word in words if word)


def plain(value: Any) -> Any:
    """NumPy scalars and arrays as plain data."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value
