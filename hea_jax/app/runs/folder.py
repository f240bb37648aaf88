"""The run folder: results of stages, each whole or absent.

    runs/<name>/
      summary.json  report.html  config.json  run.lock
      stages/<stage>/    result.h5, numbers.json, *.png, files of the stage, complete.json
      checkpoints/<stage>-<key>/    kept within a stage until it is complete

A stage's folder is filled under another name, flushed, and renamed; ``complete.json`` in it holds the key of the
result and the digest of every file, so a folder that is stale, half-written or tampered with is computed again.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hea_jax.app.report.sections import ReportSection
from hea_jax.app.runs.atomic import PARTIAL, file_digest, sync, write_json
from hea_jax.app.runs.stage import StageResult
from hea_jax.app.runs.tree import load_tree, save_tree

_RESULT = "result.h5"
_NUMBERS = "numbers.json"
_COMPLETE = "complete.json"
_KEY_LENGTH = 16
FIGURE_DPI = 150


@dataclasses.dataclass(frozen=True)
class StoredResult:
    """A complete result in the run folder; ``data`` holds what goes to the summary and the report."""

    folder: Path
    data: dict[str, Any]
    seconds: float
    machine: dict[str, Any]

    def record(self) -> Any:
        """The record for later stages, read from its file."""
        return load_tree(self.folder / _RESULT)

    def files(self) -> list[str]:
        """Names of the files of the result."""
        return sorted(path.name for path in self.folder.iterdir() if path.name != _COMPLETE)


class RunFolder:
    """A run folder; only the process that holds its lock writes to it."""

    def __init__(self, root: Path):
        self.root = root
        self.stages = root / "stages"

    def prepare(self) -> None:
        """Create the folder and clear what a killed process left half-written."""
        self.stages.mkdir(parents=True, exist_ok=True)
        # A list: removing a folder while a glob walks through it would upset the glob.
        for leftover in [path for depth in ("", "*/", "*/*/") for path in self.root.glob(f"{depth}{PARTIAL}*")]:
            if leftover.is_dir():
                shutil.rmtree(leftover)  # with the partial files inside, which are in the list too
            else:
                leftover.unlink(missing_ok=True)

    def load(self, name: str, key: str) -> StoredResult | None:
        """The complete result of a stage under this key, or None."""
        folder = self.stages / name
        try:
            marker = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
            if marker["key"] != key or {p.name for p in folder.iterdir()} != {*marker["files"], _COMPLETE}:
                return None
            if any(file_digest(folder / file) != value for file, value in marker["files"].items()):
                return None
            data = json.loads((folder / _NUMBERS).read_text(encoding="utf-8"))
            return StoredResult(folder, data, marker["seconds"], marker["machine"])
        except (OSError, ValueError, KeyError, TypeError):
            # Missing, half-written or damaged: no result, so the stage is computed again.
            return None

    def workspace(self, name: str) -> Path:
        """An empty folder in which a stage writes its files."""
        folder = self.stages / f"{PARTIAL}{os.getpid()}-{name}"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        return folder

    def checkpoints(self, name: str, key: str) -> Path:
        """Where a stage with this key keeps its checkpoints; those of other keys are removed."""
        wanted = f"{name}-{key[:_KEY_LENGTH]}"
        for folder in self.root.glob(f"checkpoints/{name}-*"):
            if folder.name != wanted:
                shutil.rmtree(folder)
        return self.root / "checkpoints" / wanted

    def fill(self, workspace: Path, name: str, result: StageResult, warnings: tuple[str, ...]) -> None:
        """Write everything of a stage's result into its workspace."""
        if not isinstance(result, StageResult):
            raise TypeError(f"stage {name!r} returned a {type(result).__name__}, not a StageResult")
        save_tree(workspace / _RESULT, result.record)
        sections = _save_sections(workspace, result.sections)
        write_json(workspace / _NUMBERS, _result_data(name, result, sections, warnings))

    def commit(self, name: str, workspace: Path, marker: dict[str, Any]) -> None:
        """Flush a workspace, mark it complete and move it into its place; checkpoints are no longer needed."""
        files = sorted(workspace.iterdir())
        for path in files:
            sync(path)
        marker = {**marker, "files": {path.name: file_digest(path) for path in files}}
        write_json(workspace / _COMPLETE, marker)
        final = self.stages / name
        if final.exists():
            old = self.stages / f"{PARTIAL}{os.getpid()}-old-{name}"
            os.rename(final, old)
            os.rename(workspace, final)
            shutil.rmtree(old)
        else:
            os.rename(workspace, final)
        sync(self.stages)
        checkpoints = self.checkpoints(name, marker["key"])
        if checkpoints.exists():
            shutil.rmtree(checkpoints)


def _save_sections(workspace: Path, sections: tuple[ReportSection, ...]) -> list[dict[str, Any]]:
    """Draw the figures into the workspace; the sections as plain data that refer to them."""
    plain = []
    for section in sections:
        figures = []
        for figure in section.figures:
            file = f"{figure.name}.png"
            if (workspace / file).exists():
                raise ValueError(f"two figures or files are called {file!r}")
            # No time stamp, no version: the same figure gives the same file.
            figure.figure.savefig(workspace / file, dpi=FIGURE_DPI, metadata={"Software": None})
            figures.append({"file": file, "caption": figure.caption})
        tables = [
            {"columns": list(t.columns), "rows": [[_cell(c) for c in row] for row in t.rows], "caption": t.caption}
            for t in section.tables
        ]
        plain.append({"title": section.title, "text": section.text, "tables": tables, "figures": figures})
    return plain


def _cell(value: Any) -> Any:
    """A table cell as JSON data: numbers stay numbers, the rest is text; a non-finite number is an empty cell."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else ""
    return value if isinstance(value, bool | int) else str(value)


def _result_data(name: str, result: StageResult, sections: list[Any], warnings: tuple[str, ...]) -> dict[str, Any]:
    """What ``numbers.json`` holds: everything of a result but its record."""
    verdicts = [(verdict.name, bool(verdict.passed), verdict.text) for verdict in result.verdicts]
    return {
        "numbers": {key: number.plain(name, key) for key, number in result.numbers.items()},
        "verdicts": [{"stage": name, "name": label, "passed": ok, "text": text} for label, ok, text in verdicts],
        "warnings": [{"stage": name, "text": text} for text in warnings],
        "handover": list(result.handover),
        "sections": sections,
    }
