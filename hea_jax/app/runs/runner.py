"""Running a chain of stages in a folder: what is there is used, what is missing or stale is computed.

A result is kept under a key: a hash of the stage's part of the configuration, the content of its input files, the
code, and the keys of the stages before it. So a change recomputes exactly what depends on it, and a run that was
killed goes on where it was.
"""

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hea_jax.app.runs.atomic import canonical_json, digest, file_digest, write_atomic, write_json
from hea_jax.app.runs.context import Context
from hea_jax.app.runs.folder import RunFolder, StoredResult
from hea_jax.app.runs.lock import locked
from hea_jax.app.runs.programs import release_programs
from hea_jax.app.runs.progress import AbstractReporter, PlainReporter
from hea_jax.app.runs.stage import ConfigView, Stage, check_chain
from hea_jax.app.runs.summary import code_hash, machine, summarise

Observer = Callable[[str, str], None]
"""Called with a stage's name and "started", "computed", "stored" or "complete"; the tests kill the process in it."""


class StageFailed(RuntimeError):
    """A stage raised; the run folder keeps what was complete before it."""

    def __init__(self, stage: str, error: Exception, log: Path):
        self.stage = stage
        self.log = log
        super().__init__(f"stage {stage} failed: {type(error).__name__}: {error}")


@dataclasses.dataclass(frozen=True)
class Planned:
    """A stage with its key, and its result where the run folder has it."""

    stage: Stage
    key: str
    stored: StoredResult | None


class _Inputs(Mapping[str, Any]):
    """Records of the stages that a stage declared, read when first asked for."""

    def __init__(self, stage: Stage, results: Mapping[str, StoredResult], records: dict[str, Any]):
        self._stage = stage
        self._results = results
        self._records = records

    def __getitem__(self, name: str) -> Any:
        if name not in self._stage.needs:
            raise KeyError(f"stage {self._stage.name!r} uses the result of {name!r} without declaring it in `needs=`")
        if name not in self._records:
            self._records[name] = self._results[name].record()
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stage.needs)

    def __len__(self) -> int:
        return len(self._stage.needs)


def plan(stages: Sequence[Stage], config: BaseModel, root: Path, base: Path = Path()) -> list[Planned]:
    """Each stage with its key and, where the run folder has it, its result. Writes nothing."""
    check_chain(stages)
    folder = RunFolder(root)
    keys: dict[str, str] = {}
    planned = []
    for stage in stages:
        keys[stage.name] = _key(stage, config, base, keys)
        planned.append(Planned(stage, keys[stage.name], folder.load(stage.name, keys[stage.name])))
    return planned


def run_chain(
    stages: Sequence[Stage],
    config: BaseModel,
    root: Path,
    *,
    base: Path = Path(),
    reporter: AbstractReporter | None = None,
    observer: Observer = lambda stage, event: None,
) -> dict[str, Any]:
    """Run what is not there yet, write ``summary.json`` and ``report.html``, and return the summary.

    ``config`` is a model with a ``name``; ``base`` is the folder that its relative paths start from. Raises
    ``StageFailed``, ``FolderLocked``, or ``ValueError`` for a chain that is not one.
    """
    check_chain(stages)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        run = _Run(config, RunFolder(root), base, reporter or PlainReporter(), observer)
        run.folder.prepare()
        write_json(root / "config.json", config.model_dump(mode="json"))
        for index, planned in enumerate(plan(stages, config, root, base), start=1):
            if planned.stored is None:
                run.reporter.stage_started(planned.stage.name, index, len(stages))
            stored = planned.stored or run.compute(planned)
            run.reporter.stage_finished(planned.stage.name, stored.seconds, reused=planned.stored is not None)
            run.results[planned.stage.name] = stored
        return run.finish(stages)


@dataclasses.dataclass
class _Run:
    """A run in progress."""

    config: BaseModel
    folder: RunFolder
    base: Path
    reporter: AbstractReporter
    observer: Observer
    results: dict[str, StoredResult] = dataclasses.field(default_factory=dict)
    records: dict[str, Any] = dataclasses.field(default_factory=dict)

    def compute(self, planned: Planned) -> StoredResult:
        """Compute one stage and keep its result."""
        stage, key = planned.stage, planned.key
        workspace = self.folder.workspace(stage.name)
        checkpoints = self.folder.checkpoints(stage.name, key)
        context = Context(workspace, checkpoints, self.base, self.reporter)
        inputs = _Inputs(stage, self.results, self.records)
        self.observer(stage.name, "started")
        release_programs()
        started = time.perf_counter()
        try:
            result = stage.run(ConfigView(self.config, stage), inputs, context)
            self.observer(stage.name, "computed")
            self.folder.fill(workspace, stage.name, result, context.warnings)
        except Exception as error:
            raise self.failure(stage, error) from error
        seconds = time.perf_counter() - started
        self.observer(stage.name, "stored")
        self.folder.commit(stage.name, workspace, {"key": key, "seconds": seconds, "machine": machine()})
        self.observer(stage.name, "complete")
        stored = self.folder.load(stage.name, key)
        if stored is None:
            raise OSError(f"the result of stage {stage.name} cannot be read back from {self.folder.stages}")
        return stored

    def failure(self, stage: Stage, error: Exception) -> StageFailed:
        """The failure of a stage, with its traceback kept in the run folder."""
        log = self.folder.root / "failure.txt"
        text = "".join(traceback.format_exception(error))
        write_atomic(log, lambda partial: partial.write_text(text, encoding="utf-8"))
        return StageFailed(stage.name, error, log)

    def finish(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """Write ``summary.json`` and ``report.html``; the failure of an earlier attempt is over."""
        from hea_jax.app.report.html import render

        root = self.folder.root
        summary = summarise(self.config.model_dump(mode="json"), stages, self.results)
        write_json(root / "summary.json", summary)
        html = render(summary, stages, self.results)
        write_atomic(root / "report.html", lambda partial: partial.write_text(html, encoding="utf-8"))
        (root / "failure.txt").unlink(missing_ok=True)
        return summary


def _key(stage: Stage, config: BaseModel, base: Path, keys: Mapping[str, str]) -> str:
    """The key of a stage's result."""
    plain = config.model_dump(mode="json", include=set(stage.config))
    missing = [name for name in stage.config if name not in plain]
    if missing:
        raise ValueError(f"stage {stage.name!r} reads {', '.join(missing)}, which the configuration does not have")
    files = stage.files(ConfigView(config, stage), base) if stage.files else ()
    parts = {
        "stage": [stage.name, stage.version],
        "config": plain,
        "files": [file_digest(path) for path in files],
        "needs": {name: keys[name] for name in stage.needs},
        "code": code_hash(),
    }
    return digest(canonical_json(parts))
