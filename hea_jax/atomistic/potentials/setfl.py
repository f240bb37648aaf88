"""The ``eam.alloy`` (setfl) file of an embedded-atom potential: reading, checking, writing.

Three comment lines; ``n El1 … Eln``; ``nrho drho nr dr cutoff``; per element a line ``Z mass a₀ lattice``, F at nrho
densities and ρ at nr distances; then r φ at nr distances for the pairs (1,1), (2,1), (2,2), (3,1), … Energies in eV,
lengths in Å, masses in amu, densities in a unit of the potential's own; grids start at zero.

Source: Daw, Foiles & Baskes 1993 (the format); LAMMPS manual, ``pair_style eam/alloy``.
"""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np

COMMENT_LINES = 3
FORTRAN = "correct the entry (Fortran exponents must be written with E, not D)"
MISPLACED = "either the entry is wrong, or the tables before it are not as long as line 5 announces"


class SetflError(ValueError):
    """A setfl file that cannot be read; the text names file, line, field and remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class Setfl:
    """The content of a setfl file; compare with ``same_content``.

    ``embedding`` (element, nrho): F in eV at ρ = m · ``drho``; ``density`` (element, nr) at r = m · ``dr_A``;
    ``pair`` (pair, nr): r φ in eV·Å, rows as in ``pair_row``. ``numbers`` are atomic numbers,
    ``masses_amu``, ``lattice_constants_A`` and ``lattices`` stand in the header of each element.

    Raises ``ValueError`` for shapes that disagree, tables that are not finite, or spacings that are not positive.
    """

    elements: tuple[str, ...]
    drho: float
    dr_A: float
    cutoff_A: float
    embedding: np.ndarray
    density: np.ndarray
    pair: np.ndarray
    numbers: tuple[int, ...]
    masses_amu: tuple[float, ...]
    lattice_constants_A: tuple[float, ...]
    lattices: tuple[str, ...]
    comments: tuple[str, str, str] = ("", "", "")

    def __post_init__(self):
        n = len(self.elements)
        if len(set(self.elements)) != n or n == 0:
            raise ValueError(f"elements must be distinct symbols, at least one, got {self.elements}")
        for name in ("drho", "dr_A", "cutoff_A"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        rows = {"embedding": n, "density": n, "pair": n * (n + 1) // 2}
        for name, count in rows.items():
            table = getattr(self, name)
            if table.ndim != 2 or table.shape[0] != count or table.shape[1] < 5:
                raise ValueError(f"{name} must have {count} rows of at least 5 values, got shape {table.shape}")
            if not np.isfinite(table).all():
                raise ValueError(f"{name} has values that are not finite")
        if self.density.shape[1] != self.pair.shape[1]:
            raise ValueError(f"density has {self.density.shape[1]} distances, pair "
                             f"{self.pair.shape[1]}: tabulate both on one grid")
        for name in ("numbers", "masses_amu", "lattice_constants_A", "lattices"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} must have one entry per element ({n}), got {getattr(self, name)}")


def pair_row(n: int) -> np.ndarray:
    """(n, n): row of ``pair`` that holds each pair of species, in the order (1,1), (2,1), (2,2), (3,1), …"""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


def same_content(a: Setfl, b: Setfl) -> bool:
    """Whether two files say exactly the same, comments aside."""
    fields = [f.name for f in dataclasses.fields(Setfl) if f.name != "comments"]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


class _Reader:
    """Lines of a file with their numbers; every complaint names file, line and field."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}: check the path")
        self.lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        self.at = 0
        self.surplus: list[str] = []

    def error(self, message: str) -> SetflError:
        return SetflError(f"{self.path}, line {self.at}: {message}")

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
        try:
            value = kind(word)
        except ValueError as error:
            noun = "a whole number" if kind is int else "a number"
            raise self.error(f"{field} should be {noun}, found {word!r}: {remedy}") from error
        if not math.isfinite(value):
            raise self.error(f"{field} is {word}: tables must be finite; correct the entry")
        return value

    def table(self, count: int, field: str) -> np.ndarray:
        """``count`` numbers, over as many lines as they take; surplus on the last of them is noted and dropped."""
        values: list[float] = []
        while len(values) < count:
            words = self.next_words(f"value {len(values) + 1} of {count} of {field}")
            values += [self.number(word, f"value {len(values) + m + 1} of {field}") for m, word in enumerate(words)]
        if len(values) > count:
            self.surplus.append(f"line {self.at}: {field} has {len(values)} values")
        return np.array(values[:count])


def read_setfl(path: str | Path) -> Setfl:
    """Read an ``eam.alloy`` file (eV, Å).

    Raises ``FileNotFoundError``, or ``SetflError`` naming file, line, field and remedy: a truncated file, wrong counts,
    text where a number should be, a species count that differs from the species named, spacings that are not positive.
    Warns of values beyond the announced count on the last line of a table, which LAMMPS drops, and so does this.
    """
    reader = _Reader(Path(path))
    if len(reader.lines) < COMMENT_LINES + 2:
        reader.at = len(reader.lines)
        raise reader.error("a setfl file has three comment lines and two header lines: this one is truncated")
    comments = (reader.lines[0], reader.lines[1], reader.lines[2])
    reader.at = COMMENT_LINES
    elements = _read_elements(reader)
    nrho, drho, nr, dr, cutoff = _read_grid(reader)
    heads, F, rho = [], [], []
    for element in elements:
        heads.append(_read_head(reader, element))
        F.append(reader.table(nrho, f"F(rho) of {element}"))
        rho.append(reader.table(nr, f"rho(r) of {element}"))
    z = [reader.table(nr, f"r*phi(r) of {a}-{b}") for m, a in enumerate(elements) for b in elements[: m + 1]]
    left = [number + 1 for number in range(reader.at, len(reader.lines)) if reader.lines[number].split("#")[0].split()]
    if left:
        reader.at = left[0]
        raise reader.error(f"text follows the last table: {len(elements)} elements need {len(z)} pair tables; "
                           "an eam.fs file (density per pair) is another format")
    if reader.surplus:
        # Published files do this (a value too many in each block); LAMMPS drops it without a word.
        warnings.warn(f"{path}, line 5 announces nrho={nrho} and nr={nr}, but {len(reader.surplus)} blocks end with "
                      f"more, which is dropped, as LAMMPS does; the first is {reader.surplus[0]}", stacklevel=2)
    numbers, masses, constants, lattices = (tuple(column) for column in zip(*heads, strict=True))
    tables = np.stack(F), np.stack(rho), np.stack(z)
    return Setfl(elements, drho, dr, cutoff, *tables, numbers, masses, constants, lattices, comments)


def _read_elements(reader: _Reader) -> tuple[str, ...]:
    words = reader.next_words("the number of elements and their symbols")
    count = reader.number(words[0], "the number of elements", int)
    if count != len(words) - 1 or count < 1:
        raise reader.error(f"the number of elements is {count} but {len(words) - 1} symbols follow "
                           f"({' '.join(words[1:])}): make them agree (a funcfl file is another format)")
    if len(set(words[1:])) != count:
        raise reader.error(f"an element stands twice among {' '.join(words[1:])}: name each once")
    return tuple(words[1:])


def _read_grid(reader: _Reader) -> tuple[int, float, int, float, float]:
    words = reader.next_words("nrho drho nr dr cutoff")
    if len(words) < 5:
        raise reader.error(f"nrho drho nr dr cutoff are five numbers, found {len(words)}: complete the line")
    nrho, nr = (reader.number(words[m], name, int) for m, name in ((0, "nrho"), (2, "nr")))
    drho, dr, cutoff = (reader.number(words[m], name) for m, name in ((1, "drho"), (3, "dr"), (4, "cutoff")))
    for name, value in (("drho", drho), ("dr", dr), ("cutoff", cutoff)):
        if value <= 0:
            raise reader.error(f"{name} is {value}: spacings and cut-off must be positive; correct the entry")
    for name, value in (("nrho", nrho), ("nr", nr)):
        if value < 5:
            raise reader.error(f"{name} is {value}: at least 5 points are needed to interpolate; correct the entry")
    return nrho, drho, nr, dr, cutoff


def _read_head(reader: _Reader, element: str) -> tuple[int, float, float, str]:
    words = reader.next_words(f"atomic number, mass, lattice constant and lattice of {element}")
    if len(words) < 3:
        raise reader.error(f"the header of {element} should be atomic number, mass, lattice constant and lattice, "
                           f"found {' '.join(words)!r}: {MISPLACED}")
    Z = reader.number(words[0], f"atomic number of {element}", int, MISPLACED)
    mass = reader.number(words[1], f"mass of {element}")
    if mass <= 0:
        raise reader.error(f"mass of {element} is {mass}: it must be positive (amu)")
    return Z, mass, reader.number(words[2], f"lattice constant of {element}"), words[3] if len(words) > 3 else ""


def write_setfl(path: str | Path, setfl: Setfl) -> Path:
    """Write an ``eam.alloy`` file (eV, Å) at full precision: reading it gives the same numbers to the last bit.

    Raises ``ValueError`` if a comment does not fit one line.
    """
    for comment in setfl.comments:
        if "\n" in comment or "\r" in comment:
            raise ValueError(f"a setfl comment is one line, got {comment!r}")
    lines = [*setfl.comments, f"{len(setfl.elements)} {' '.join(setfl.elements)}"]
    nrho, nr = setfl.embedding.shape[1], setfl.density.shape[1]
    lines.append(f"{nrho} {setfl.drho:.17g} {nr} {setfl.dr_A:.17g} {setfl.cutoff_A:.17g}")
    for m in range(len(setfl.elements)):
        lines.append(f"{setfl.numbers[m]} {setfl.masses_amu[m]:.17g} {setfl.lattice_constants_A[m]:.17g} "
                     f"{setfl.lattices[m]}".rstrip())
        lines += _block(setfl.embedding[m]) + _block(setfl.density[m])
    for row in setfl.pair:
        lines += _block(row)
    path = Path(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _block(values: np.ndarray, width: int = 5) -> list[str]:
    return [" ".join(f"{value:.17g}" for value in values[m : m + width]) for m in range(0, len(values), width)]
