"""What the DYNAMO table formats share: reading with errors that say where, checking, writing at full precision.

``setfl`` (``eam.alloy``), its Finnis–Sinclair variant (``eam.fs``) and ``funcfl`` (``eam``) are numbers between
whitespace. Every complaint names file, line, field and remedy, and nothing is allocated on the word of a header.

Source: Daw, Foiles & Baskes 1993 (the formats); LAMMPS manual, ``pair_style eam``.
"""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np

FORTRAN = "correct the entry (Fortran exponents must be written with E, not D)"
MISPLACED = "either the entry is wrong, or the tables before it are not as long as the header announces"
LARGEST_INTEGER = 2**31 - 1
LARGEST_CUTOFF_A = 100.0
"""Cut-offs beyond this are refused: a neighbour table would hold a hundred thousand pairs per atom."""


class PotentialFileError(ValueError):
    """A potential file that cannot be read; the text names file, place, field and remedy."""


class TableReader:
    """Lines of a file with their numbers; every complaint names file, line and field.

    ``error_type`` is what it raises; a missing file is a ``FileNotFoundError``.
    """

    def __init__(self, path: Path, error_type: type[PotentialFileError]):
        self.path, self.error_type = path, error_type
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}: check the path")
        # Only a newline ends a line here (as in LAMMPS), whatever else a comment holds.
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        self.lines = lines[:-1] if lines[-1] == "" else lines
        self.at = 0
        self.surplus: list[str] = []

    def error(self, message: str) -> PotentialFileError:
        """The error for the current line."""
        return self.error_type(f"{self.path}, line {self.at}: {message}")

    def comments(self, count: int, announcement: str) -> tuple[str, ...]:
        """The first ``count`` lines as they are; ``announcement`` says what a file must begin with."""
        if len(self.lines) < count + 2:
            self.at = len(self.lines)
            raise self.error(f"{announcement}: this one is truncated")
        self.at = count
        return tuple(self.lines[:count])

    def next_words(self, field: str) -> list[str]:
        """Words of the next line that has any; a # starts a comment, as in LAMMPS."""
        while self.at < len(self.lines):
            words = self.lines[self.at].split("#")[0].split()
            self.at += 1
            if words:
                return words
        raise self.error(f"the file ends where {field} should stand: it is truncated (or a count in its header is too "
                         "large); fetch or write it again")

    def number(self, word: str, field: str, kind: type = float, remedy: str = FORTRAN):
        """The word as a finite number of that kind."""
        noun = "a whole number" if kind is int else "a number"
        try:
            # Python reads 1_000 as a number, LAMMPS does not.
            value = kind(word if "_" not in word else "")
        except ValueError as error:
            raise self.error(f"{field} should be {noun}, found {word[:40]!r}: {remedy}") from error
        if kind is int and abs(value) > LARGEST_INTEGER:
            raise self.error(f"{field} is {word[:40]}, which no whole number of such a file can be: correct the entry")
        if not math.isfinite(value):
            raise self.error(f"{field} is {word[:40]}: tables must be finite; correct the entry")
        return value

    def table(self, count: int, field: str) -> np.ndarray:
        """``count`` numbers, over as many lines as they take; surplus on the last of them is noted and dropped."""
        values: list[float] = []
        while len(values) < count:
            words = self.next_words(f"value {len(values) + 1} of {count} of {field}")
            row = _plain(words)
            if row is None:
                row = [self.number(word, f"value {len(values) + m + 1} of {field}") for m, word in enumerate(words)]
            values += row
        if len(values) > count:
            self.surplus.append(f"line {self.at}: {field} has {len(values)} values")
        return np.array(values[:count])

    def finish(self, expectation: str) -> None:
        """Raise if text follows (``expectation`` says what should have been the last), warn of surplus values."""
        left = [at + 1 for at in range(self.at, len(self.lines)) if self.lines[at].split("#")[0].split()]
        if left:
            self.at = left[0]
            raise self.error(f"text follows the last table: {expectation}")
        if self.surplus:
            # Published files do this (a value too many in each block); LAMMPS drops it without a word.
            warnings.warn(f"{self.path}: {len(self.surplus)} blocks end with more values than the header announces, "
                          f"which is dropped, as LAMMPS does; the first is {self.surplus[0]}", stacklevel=3)

    def elements(self) -> tuple[str, ...]:
        """The line ``n El1 … Eln``."""
        words = self.next_words("the number of elements and their symbols")
        count = self.number(words[0], "the number of elements", int)
        if count != len(words) - 1 or count < 1:
            raise self.error(f"the number of elements is {count} but {len(words) - 1} symbols follow "
                             f"({' '.join(words[1:])[:80]}): make them agree (a funcfl file is another format)")
        if len(set(words[1:])) != count:
            raise self.error(f"an element stands twice among {' '.join(words[1:])[:80]}: name each once")
        return tuple(words[1:])

    def grid(self) -> tuple[int, float, int, float, float]:
        """The line ``nrho drho nr dr cutoff`` (dr and cutoff in Å)."""
        words = self.next_words("nrho drho nr dr cutoff")
        if len(words) < 5:
            raise self.error(f"nrho drho nr dr cutoff are five numbers, found {len(words)}: complete the line")
        if len(words) > 5 and _plain(words[5:6]):
            raise self.error(f"six numbers stand where nrho drho nr dr cutoff should: {' '.join(words[:6])} is the "
                             "header of an eam.he file (densities below zero), which is another format")
        nrho, nr = (self.number(words[m], name, int) for m, name in ((0, "nrho"), (2, "nr")))
        drho, dr, cutoff = (self.number(words[m], name) for m, name in ((1, "drho"), (3, "dr"), (4, "cutoff")))
        for name, value in (("drho", drho), ("dr", dr), ("cutoff", cutoff)):
            if value <= 0:
                raise self.error(f"{name} is {value}: spacings and cut-off must be positive; correct the entry")
        if cutoff > LARGEST_CUTOFF_A:
            raise self.error(f"cutoff is {cutoff:g} Å, potentials end below {LARGEST_CUTOFF_A:g} Å: correct the entry")
        for name, value in (("nrho", nrho), ("nr", nr)):
            if value < 5:
                raise self.error(f"{name} is {value}: at least 5 points are needed to interpolate; correct the entry")
        for name, value, count in (("drho", drho, nrho), ("dr", dr, nr)):
            if not (math.isfinite(1.0 / value) and math.isfinite(count * value)):
                raise self.error(f"{name} is {value}: no grid can have such a spacing; correct the entry")
        return nrho, drho, nr, dr, cutoff

    def head(self, element: str) -> tuple[int, float, float, str]:
        """The line ``Z mass a₀ lattice`` (amu, Å) of an element."""
        words = self.next_words(f"atomic number, mass, lattice constant and lattice of {element}")
        if len(words) < 3:
            raise self.error(f"the header of {element} should be atomic number, mass, lattice constant and lattice, "
                             f"found {' '.join(words)[:80]!r}: {MISPLACED}")
        Z = self.number(words[0], f"atomic number of {element}", int, MISPLACED)
        mass = self.number(words[1], f"mass of {element}")
        if mass <= 0:
            raise self.error(f"mass of {element} is {mass}: it must be positive (amu)")
        return Z, mass, self.number(words[2], f"lattice constant of {element}"), words[3] if len(words) > 3 else ""


def _plain(words: list[str]) -> list[float] | None:
    """The words as numbers, if all of them are ordinary ones."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) and not any("_" in word for word in words) else None


def pair_row(n: int) -> np.ndarray:
    """(n, n): row of a pair table that holds each pair of species, in the order (1,1), (2,1), (2,2), (3,1), …"""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


def check_grid(content, names: tuple[str, ...] = ("drho", "dr_A", "cutoff_A")) -> None:
    """Raise ``ValueError`` unless the named attributes (any unit) are positive and finite."""
    for name in names:
        value = getattr(content, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def check_tables(content, rows: dict[str, tuple[int, ...]]) -> None:
    """Raise ``ValueError`` unless the named attributes are finite arrays of these leading shapes and 5 columns or more.

    ``density`` and ``pair`` must share a grid; per-element attributes must have one entry per element.
    """
    n = len(content.elements)
    if len(set(content.elements)) != n or n == 0:
        raise ValueError(f"elements must be distinct symbols, at least one, got {content.elements}")
    for name, shape in rows.items():
        table = getattr(content, name)
        if table.ndim != len(shape) + 1 or table.shape[:-1] != shape or table.shape[-1] < 5:
            count = " x ".join(map(str, shape))
            raise ValueError(f"{name} must have {count} rows of at least 5 values, got shape {table.shape}")
        if not np.isfinite(table).all():
            raise ValueError(f"{name} has values that are not finite")
    if content.density.shape[-1] != content.pair.shape[-1]:
        raise ValueError(f"density has {content.density.shape[-1]} distances, pair "
                         f"{content.pair.shape[-1]}: tabulate both on one grid")
    for name in ("numbers", "masses_amu", "lattice_constants_A", "lattices"):
        if len(getattr(content, name)) != n:
            raise ValueError(f"{name} must have one entry per element ({n}), got {getattr(content, name)}")


def same_content(a, b) -> bool:
    """Whether two file contents of one kind say exactly the same, comments aside."""
    fields = [f.name for f in dataclasses.fields(a) if f.name not in ("comments", "comment")]
    return type(a) is type(b) and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


def chosen_elements(elements: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """Where the ``wanted`` elements stand among ``elements``; raises ``ValueError`` naming those that do not."""
    missing = [element for element in wanted if element not in elements]
    if missing or not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"elements must be distinct and among {', '.join(elements)}, got {wanted}")
    return [elements.index(element) for element in wanted]


def chosen_pairs(rows: list[int]) -> list[int]:
    """The rows of a pair table that remain when the elements ``rows`` are chosen, in their new order."""
    old = pair_row(max(rows) + 1)
    return [int(old[rows[a], rows[b]]) for a in range(len(rows)) for b in range(a + 1)]


def check_comments(comments: tuple[str, ...]) -> None:
    """Raise ``ValueError`` if a comment does not fit one line."""
    for comment in comments:
        if "\n" in comment or "\r" in comment:
            raise ValueError(f"a comment is one line, got {comment!r}")


def block(values: np.ndarray, width: int = 5) -> list[str]:
    """Lines of numbers at full precision."""
    return [" ".join(f"{value:.17g}" for value in values[m : m + width]) for m in range(0, len(values), width)]


def head_line(content, m: int) -> str:
    """The line ``Z mass a₀ lattice`` of element ``m``."""
    return (f"{content.numbers[m]} {content.masses_amu[m]:.17g} {content.lattice_constants_A[m]:.17g} "
            f"{content.lattices[m]}").rstrip()


def write_lines(path: str | Path, lines: list[str]) -> Path:
    """Write lines to ``path``, with the same bytes on every platform."""
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return path
