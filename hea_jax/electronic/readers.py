"""Files of reference structures as raw frames: extended XYZ (plain or .gz) and ASE databases (.db, .json).

Fields stay as they are written until someone asks for them under a declared key, so that nothing is guessed. Whatever
the bytes are, the answer is a list of frames or a ``DatasetError`` that names the file and the line, frame or row.

Source: Larsen et al. 2017 (extended XYZ and the databases of ASE; the databases are read by ASE itself).
"""

import dataclasses
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 1 << 28
"""Default limit of what a file may hold, after decompression (256 MiB; 5000 frames of 20 atoms take 13)."""
LONGEST_WORD = 64

_PAIR = re.compile(r"""\s*(?:"([^"]*)"|([^\s="']+))(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|\{([^{}]*)\}|(\S+)))?""")


class DatasetError(ValueError):
    """A dataset breaks its declaration; the message lists every problem with its remedy."""


@dataclasses.dataclass(frozen=True)
class RawFrame:
    """One structure as a file holds it: ``positions`` and ``cell`` rows in Å, ``fields`` still unread; ``where`` names
    file and place for messages."""

    where: str
    symbols: list[str]
    positions: np.ndarray
    cell: np.ndarray
    pbc: tuple[bool, bool, bool]
    fields: dict[str, Any]


def read_frames(path: Path, *, max_bytes: int = MAX_BYTES) -> list[RawFrame]:
    """All frames of a file, read by its suffix: ``.db`` and ``.json`` as an ASE database, all else as extended XYZ.

    Raises ``FileNotFoundError``, or ``DatasetError`` for what cannot be read or holds more than ``max_bytes`` bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset {path} does not exist: check the path")
    if path.suffix in (".db", ".json"):
        return _read_database(path, max_bytes)
    lines = _text(path, max_bytes).split("\n")
    frames, at = [], 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        frame, at = _read_xyz(lines, at, f"{path}: frame {len(frames)}")
        frames.append(frame)
    return frames


def numbers(raw: Any) -> np.ndarray:
    """A field as a float array: numbers parted by blanks, JSON (``_JSON [[…]]``), or an array of either.

    Raises ``ValueError`` or ``TypeError`` when it holds anything else.
    """
    if isinstance(raw, str):
        text = raw.removeprefix("_JSON").strip()
        raw = json.loads(text) if text.startswith("[") else np.array(text.split(), dtype=str)
        if isinstance(raw, np.ndarray) and raw.shape == (1,):
            raw = raw[0]
    return np.asarray(raw).astype(float)


def _too_large(path, size, max_bytes):
    return DatasetError(f"{path}: holds {size} bytes, more than the limit of {max_bytes}: raise `max_bytes` if the "
                        "file can be trusted")


def _text(path, max_bytes):
    """The decoded text of a plain or compressed file of bounded size."""
    if path.stat().st_size > max_bytes:
        raise _too_large(path, path.stat().st_size, max_bytes)
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                content = stream.read(max_bytes + 1)
            if len(content) > max_bytes:
                raise _too_large(path, f"at least {len(content)}", max_bytes)
        else:
            content = path.read_bytes()
        return content.decode().replace("\r\n", "\n")
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: not readable ({type(error).__name__}: {error}): check that the file is "
                           "complete") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not readable as text (byte {error.start}): check that the file is in extended XYZ "
                           "format, and compressed if and only if it ends in .gz") from error


def _read_xyz(lines, at, frame):
    """The frame that starts at line ``at`` (from 0) and the line after it."""
    def wrong(what, line, remedy="correct the file"):
        return DatasetError(f"{frame}, line {line + 1}: not readable as extxyz: {what}: {remedy}")

    try:
        number = int(lines[at])
    except ValueError:
        raise wrong(f"{lines[at].strip()!r:.60} where a number of atoms should stand", at) from None
    if number < 1:
        raise wrong(f"{number} atoms", at)
    if at + 2 + number > len(lines):
        raise wrong(f"{number} atoms are announced, the file ends before", at, "check that the file is complete")
    fields = {}
    for match in _PAIR.finditer(lines[at + 1]):
        quoted, bare, *values = match.groups()
        value = next((v for v in values if v is not None), "T")
        fields[quoted if bare is None else bare] = value
    columns = _columns(fields.pop("Properties", "species:S:1:pos:R:3"), lambda what: wrong(what, at + 1))
    width = max(stop for _, stop in columns.values())
    rows = [line.split() for line in lines[at + 2:at + 2 + number]]
    for n, row in enumerate(rows):
        if len(row) != width:
            raise wrong(f"{len(row)} columns where `Properties` announces {width}", at + 2 + n)
        # An array of words is as wide as its longest.
        if max(map(len, row)) > LONGEST_WORD:
            raise wrong(f"a word of {max(map(len, row))} characters", at + 2 + n)
    table = np.array(rows, dtype=str)
    arrays = {name: table[:, start] if stop == start + 1 else table[:, start:stop]
              for name, (start, stop) in columns.items()}
    cell_text, pbc = fields.pop("Lattice", None), fields.pop("pbc", None)
    try:
        cell = np.zeros((3, 3)) if cell_text is None else numbers(cell_text).reshape(3, 3)
    except (ValueError, TypeError, RecursionError):
        raise wrong(f"`Lattice` is not nine numbers ({cell_text!r:.60})", at + 1) from None
    try:
        positions = arrays.pop("pos").astype(float)
    except ValueError as error:
        raise wrong(f"a position is not a number ({error})", at + 2) from None
    periodic = _periodicity(pbc, cell_text is not None, lambda what: wrong(what, at + 1))
    symbols = _symbols(arrays, lambda what: wrong(what, at + 2))
    return RawFrame(frame, symbols, positions, cell, periodic, {**fields, **arrays}), at + 2 + number


def _columns(text, wrong):
    parts, columns, start = text.split(":"), {}, 0
    if len(parts) % 3:
        raise wrong(f"`Properties={text:.80}` is not a list of name:type:columns")
    for name, kind, count in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if kind not in "SRIL" or len(kind) != 1 or not (count.isascii() and count.isdigit() and int(count[:9]) > 0):
            raise wrong(f"`Properties` declares {name:.40} with type {kind:.20} and {count:.20} columns")
        columns[name] = (start, start + int(count[:9]))
        start += int(count[:9])
    if "pos" not in columns or columns["pos"][1] - columns["pos"][0] != 3:
        raise wrong("`Properties` declares no `pos:R:3`")
    return columns


def _periodicity(text, has_cell, wrong):
    if text is None:
        return has_cell, has_cell, has_cell
    flags = [{"T": True, "TRUE": True, "1": True, "F": False, "FALSE": False, "0": False}.get(word)
             for word in text.strip("[]").replace(",", " ").upper().split()]
    if len(flags) != 3 or None in flags:
        raise wrong(f"`pbc` is not three of T and F ({text!r:.40})")
    return bool(flags[0]), bool(flags[1]), bool(flags[2])


def _symbols(arrays, wrong):
    """Chemical symbols from the column ``species``, or from atomic numbers in ``Z``."""
    from ase.data import atomic_numbers, chemical_symbols

    column = arrays.pop("species", None)
    if column is None and "Z" in arrays:
        raw = arrays.pop("Z")
        known = [str(z) for z in range(len(chemical_symbols))]
        column = np.array([chemical_symbols[int(z)] if z in known else z for z in raw.tolist()])
    if column is None or column.ndim != 1:
        raise wrong("`Properties` declares neither `species:S:1` nor `Z:I:1`")
    symbols = column.tolist()
    unknown = sorted({s for s in symbols if s not in atomic_numbers or s == "X"})
    if unknown:
        raise wrong(f"{unknown} are no chemical elements"[:200])
    return symbols


def _read_database(path, max_bytes):
    """Rows of an ASE database; key-value pairs, ``data`` and the stored results of the calculator become fields."""
    from ase.db import connect

    if path.stat().st_size > max_bytes:
        raise _too_large(path, path.stat().st_size, max_bytes)
    if path.suffix == ".db":
        _require_ase_tables(path)
    frames = []
    try:
        database: Any = connect(str(path), type=path.suffix[1:])
        with database:
            for row in database.select():
                fields = {"energy": row.get("energy"), "free_energy": row.get("free_energy"),
                          "forces": row.get("forces"), "stress": row.get("stress"), **dict(row.data),
                          **dict(row.key_value_pairs)}
                present = {key: value for key, value in fields.items() if value is not None}
                pbc = tuple(bool(p) for p in np.broadcast_to(row.pbc, 3))
                frames.append(RawFrame(f"{path}: row {row.id}", list(row.symbols),
                                       np.array(row.positions, float).reshape(-1, 3),
                                       np.array(row.cell, float).reshape(3, 3), (pbc[0], pbc[1], pbc[2]), present))
                if len(row.positions) != len(row.symbols):
                    raise ValueError(f"{len(row.symbols)} symbols for {len(row.positions)} positions")
    except Exception as error:
        raise DatasetError(f"{path}: row {len(frames) + 1}: not readable as an ASE database ({type(error).__name__}: "
                           f"{error!s:.200}): check that the file is complete and was written by ase.db") from error
    return frames


def _require_ase_tables(path):
    """Look before ASE does: it would write its tables into whatever database it is given."""
    import sqlite3

    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not readable as an ASE database ({error}): check that the file is complete and "
                           "was written by ase.db") from error
    if not {"systems", "information"} <= names:
        raise DatasetError(f"{path}: not an ASE database (no table `systems`): give a file written by ase.db")
