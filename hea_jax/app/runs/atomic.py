"""Files that are either whole or absent: write beside, flush to disk, rename.

A rename within one file system is atomic (POSIX); flushing the file before and the folder after it makes the order
survive a power failure as well as a SIGKILL.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"
"""Prefix of files and folders that are being written; what a killed process leaves is cleared at the next start."""


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Have ``write`` fill a file beside ``path``, then move it there in one step."""
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    write(partial)
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically; NaN and infinities are refused (they are not JSON)."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def canonical_json(data: Any) -> str:
    """One text per value: sorted keys, no spaces; for hashing."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
