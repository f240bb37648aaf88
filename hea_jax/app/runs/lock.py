"""One run per folder: an advisory lock that dies with its process.

The kernel releases ``flock`` when the process ends, however it ends, so a lock left by a dead process is simply
taken over; the text in the file only serves the message.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class FolderLocked(RuntimeError):
    """Another process is running in this folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; raises ``FolderLocked`` when another process holds it."""
    path = folder / "run.lock"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "another process"
            raise FolderLocked(
                f"{folder} is in use by {owner}: wait for it, end it, or give another folder with `--out`"
            ) from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)
