"""The folder of a campaign: one file per finished structure, log, lock and failure; nothing is ever half there.

    structures/NAME.extxyz   a finished frame
    logs/NAME.log            what the engine said
    failures/NAME.json       why a structure is left out
    requests/, locks/        while a structure is computed

A lock belongs to a process through the kernel (``flock``) and to the engine's process with it: it is free again when
both have ended, however they ended, so no lock can go stale; the text in it says who holds it.

Source: POSIX.1-2017 (rename is atomic within one file system).
"""

import dataclasses
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO, Any

import numpy as np

from hea_jax.electronic.campaign.tasks import CampaignError, Task

_TOLERANCE_A = 1e-6


@dataclasses.dataclass(frozen=True)
class CampaignFolder:
    """Paths and states of the structures of a campaign under ``root``."""

    root: Path

    def prepare(self) -> None:
        """Make the folders; raises ``CampaignError`` if a file is in the way."""
        try:
            for name in ("structures", "logs", "failures", "requests", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise CampaignError(f"{self.root} is or holds a file of that name: give another folder") from None

    def result(self, name: str) -> Path:
        """The frame of a finished structure."""
        return self.root / "structures" / f"{name}.extxyz"

    def log(self, name: str) -> Path:
        """What the engine said."""
        return self.root / "logs" / f"{name}.log"

    def failure(self, name: str) -> Path:
        """Why a structure is left out."""
        return self.root / "failures" / f"{name}.json"

    def request(self, name: str) -> Path:
        """What the engine is told."""
        return self.root / "requests" / f"{name}.json"

    def failed(self, task: Task, settings: str) -> dict[str, Any] | None:
        """The recorded failure of a structure with these settings, if it has failed."""
        path = self.failure(task.name)
        if not path.exists() or self.result(task.name).exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CampaignError(f"{path} is no failure's record ({error}): delete it") from error
        return record if record["settings"] == settings else None

    def finished(self, task: Task, settings: str) -> bool:
        """Whether the structure is computed; raises ``CampaignError`` if with other settings or other positions."""
        path = self.result(task.name)
        if not path.exists():
            return False
        frame = read_frame(path)
        remedy = f"give another folder, or delete {path} to compute it again"
        if frame.info.get("settings") != settings:
            raise CampaignError(f"{task.name} was computed with other settings of the engine: {remedy}")
        check_same_structure(task, frame, f"{path}: {remedy}")
        return True

    def claim(self, name: str) -> IO[str] | None:
        """The open lock of a structure, or None while another process holds it."""
        stream = (self.root / "locks" / f"{name}.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        return stream

    def holder(self, name: str) -> str:
        """Who says to hold a lock."""
        path = self.root / "locks" / f"{name}.lock"
        return (path.read_text(encoding="utf-8").strip() if path.exists() else "") or "another process"

    def release(self, name: str, lock: IO[str]) -> None:
        """Give a lock back; results are looked up again after a lock is taken, so its file may go."""
        (self.root / "locks" / f"{name}.lock").unlink(missing_ok=True)
        lock.close()

    def tidy(self, name: str) -> None:
        """Remove what stands for a running calculation; the caller holds the lock."""
        self.request(name).unlink(missing_ok=True)
        for path in (self.result(name), self.failure(name), self.request(name)):
            for partial in path.parent.glob(f"{path.name}.partial-*"):
                partial.unlink(missing_ok=True)

    def write_failures(self, tasks, settings) -> list[dict[str, Any]]:
        """Collect the failures of the given tasks in ``failures.json``; ``settings(task)`` gives their digest."""
        records = [record for task in tasks if (record := self.failed(task, settings(task))) is not None]
        write_json(self.root / "failures.json", records)
        return records


def read_frame(path: Path) -> Any:
    """The one frame of a file, as ASE atoms; raises ``CampaignError`` for a file that holds none."""
    from ase.io import read

    try:
        return read(path, index=0, format="extxyz")
    except Exception as error:
        raise CampaignError(f"{path} holds no frame ({type(error).__name__}: {error}): delete it to compute the "
                            "structure again") from error


def check_same_structure(task: Task, frame: Any, where: str) -> None:
    """Raise ``CampaignError`` if a computed frame is not the structure (or k-mesh) of its task."""
    crystal = task.crystal
    same = tuple(frame.get_chemical_symbols()) == crystal.symbols and all(
        np.abs(ours - theirs).max() < _TOLERANCE_A
        for ours, theirs in ((crystal.positions, frame.positions), (crystal.cell, frame.cell.array))
    )
    if not same:
        raise CampaignError(f"{task.name} is another structure than the one computed before ({where})")
    kpts = frame.info.get("kpts")
    if task.kpts is not None and kpts is not None and [int(k) for k in kpts] != list(task.kpts):
        raise CampaignError(f"{task.name} has k-points {list(task.kpts)} but was computed with {list(kpts)} ({where})")


def write_text(path: Path, text: str) -> None:
    """Write a file beside ``path``, flush it to disk, move it there in one step."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
