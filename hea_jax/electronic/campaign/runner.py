"""Running a campaign: one engine process per structure, several at a time, resumable at any moment.

Several runs may work in one folder; what another one is computing is waited for. When this process dies, its engines
end themselves. A host driver: nothing here is traced.

Source: Larsen et al. 2017 (ASE calculators, which the engine processes run).
"""

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hea_jax.electronic.campaign.engine import Engine
from hea_jax.electronic.campaign.folder import CampaignFolder, check_same_structure, write_json
from hea_jax.electronic.campaign.tasks import CampaignError, Task

_POLL_S = 0.05
_WAIT_S = 1.0

Observer = Callable[[str, str, str], None]
"""Called with an event (``started``, ``finished``, ``failed``, ``waiting``), a structure's name and a short text."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Names of structures: computed in this run, there before, taken from known frames; and the failures' records."""

    computed: tuple[str, ...]
    reused: tuple[str, ...]
    known: tuple[str, ...]
    failures: tuple[dict[str, Any], ...]


@dataclasses.dataclass
class _Running:
    """A structure that an engine process is computing."""

    task: Task
    process: subprocess.Popen
    lock: IO[str]
    started: float
    timed_out: bool = False


def run_campaign(tasks: Sequence[Task], engine: Engine, folder: Path, *, known: Mapping[str, Any] | None = None,
                 only: Collection[str] | None = None, retry_failed: bool = False,
                 observer: Observer = lambda event, name, text: None) -> Outcome:
    """Compute what is missing of the tasks, in their order; results and failures stand in ``folder``.

    ``only`` names the tasks to compute (all of them if None); ``known`` maps names to ASE frames that need no
    computing. Failed structures stay failed unless ``retry_failed``. Raises ``CampaignError`` where results in the
    folder, or known frames, belong to another structure or other settings (all of them listed), before anything is
    computed.
    """
    store = CampaignFolder(folder)
    store.prepare()
    known = known or {}
    reused, pending = _sorted_out(tasks, engine, store, known)
    pending = [task for task in pending if only is None or task.name in only]
    if retry_failed:
        for task in pending:
            store.failure(task.name).unlink(missing_ok=True)
    pending = [task for task in pending if store.failed(task, engine.settings(task)) is None]
    computed = _compute(pending, engine, store, observer)
    own = [task for task in tasks if task.name not in known]
    failures = store.write_failures(own, engine.settings)
    taken = tuple(task.name for task in tasks if task.name in known)
    return Outcome(tuple(computed), tuple(reused), taken, tuple(failures))


def _sorted_out(tasks: Sequence[Task], engine: Engine, store: CampaignFolder, known: Mapping[str, Any]):
    """Names that are there already, and tasks to compute."""
    reused, pending, problems = [], [], []
    for task in tasks:
        try:
            if task.name in known:
                check_same_structure(task, known[task.name], "among the known frames: rename it, or leave them out")
            elif store.finished(task, engine.settings(task)):
                reused.append(task.name)
            else:
                pending.append(task)
        except CampaignError as error:
            problems.append(str(error))
    if problems:
        raise CampaignError("\n".join([f"{len(problems)} result(s) do not belong to this campaign:", *problems]))
    return reused, pending


def _compute(pending: list[Task], engine: Engine, store: CampaignFolder, observer: Observer) -> list[str]:
    """Keep ``engine.processes`` structures running until none is left; names computed here."""
    running: list[_Running] = []
    computed: list[str] = []
    announced: set[str] = set()
    try:
        while pending or running:
            busy = []
            while pending and len(running) < engine.processes:
                task = pending.pop(0)
                started = _start(task, engine, store)
                if started is None:
                    busy.append(task)
                    if task.name not in announced:
                        announced.add(task.name)
                        observer("waiting", task.name, store.holder(task.name))
                elif isinstance(started, _Running):
                    running.append(started)
                    observer("started", task.name, "")
            pending.extend(busy)
            time.sleep(_WAIT_S if busy and not running else _POLL_S)
            running = [job for job in running if not _ended(job, engine, store, observer, computed)]
    finally:
        _abandon(running, store)
    return computed


def _start(task: Task, engine: Engine, store: CampaignFolder) -> "_Running | bool | None":
    """Start one structure: the running job, True if it was done meanwhile, None if another process has it."""
    lock = store.claim(task.name)
    if lock is None:
        return None
    settings = engine.settings(task)
    if store.finished(task, settings) or store.failed(task, settings) is not None:
        store.release(task.name, lock)
        return True
    store.failure(task.name).unlink(missing_ok=True)
    request = store.request(task.name)
    write_json(request, engine.request(task, result=store.result(task.name), failure=store.failure(task.name)))
    with store.log(task.name).open("w") as log:
        try:
            process = subprocess.Popen(engine.command(request), stdin=subprocess.PIPE, stdout=log, stderr=log,
                                       env=engine.environment(), pass_fds=(lock.fileno(),), start_new_session=True)
        except OSError as error:
            store.release(task.name, lock)
            raise CampaignError(f"the engine does not start ({error}): check `engine.python` and `engine.launcher`"
                                ) from None
    return _Running(task, process, lock, time.monotonic())


def _ended(job: _Running, engine: Engine, store: CampaignFolder, observer: Observer, computed: list[str]) -> bool:
    """Whether a job has ended; if so it is booked."""
    name, seconds = job.task.name, time.monotonic() - job.started
    code = job.process.poll()
    if code is None:
        if engine.timeout_s is not None and seconds > engine.timeout_s and not job.timed_out:
            job.timed_out = True
            _signal(job.process, signal.SIGKILL)
        return False
    _close(job, store)
    if store.result(name).exists():
        computed.append(name)
        observer("finished", name, f"{seconds:.1f} s")
        return True
    if not store.failure(name).exists():
        record = {"name": name, "group": job.task.group, "error": _death(job, code, engine, store.log(name)),
                  "attempts": 1, "settings": engine.settings(job.task)}
        write_json(store.failure(name), record)
    failure = store.failed(job.task, engine.settings(job.task)) or {"error": "unknown"}
    observer("failed", name, str(failure["error"]).splitlines()[0][:200])
    return True


def _death(job: _Running, code: int, engine: Engine, log: Path) -> str:
    """Why an engine process ended without a word."""
    if job.timed_out:
        return f"stopped after timeout_s = {engine.timeout_s:g} s"
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "") + f", see {log}"
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"exit code {code}: {' '.join(tail)[:300]}, see {log}"


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    """Signal an engine and all it has started (an MPI launcher has); each engine leads a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def _close(job: _Running, store: CampaignFolder) -> None:
    """Remove what stood for a running job."""
    if job.process.stdin is not None:
        job.process.stdin.close()
    store.tidy(job.task.name)
    store.release(job.task.name, job.lock)


def _abandon(running: list[_Running], store: CampaignFolder) -> None:
    """End the engines of an interrupted run."""
    for job in running:
        _signal(job.process, signal.SIGTERM)
    for job in running:
        try:
            job.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            _signal(job.process, signal.SIGKILL)
            job.process.wait()
        _close(job, store)
