"""The ``.snapcoeff`` and ``.snapparam`` files of a SNAP potential: reading and checking.

``.snapcoeff``: a line ``elements coefficients``; per element a line ``symbol radius weight`` and one coefficient per
line (β₀ first). ``.snapparam``: lines ``keyword value``. A # starts a comment. Units are those of the potential, eV and
Å here.

Source: Thompson, Swiler, Trott, Foiles & Tucker 2015; LAMMPS manual, ``pair_style snap``.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from hea_jax.atomistic.potentials.snap_algebra import MAX_TWOJ
from hea_jax.atomistic.potentials.table_file import PotentialFileError

IGNORED = ("chunksize", "parallelthresh")
"""Keywords of ``.snapparam`` that only tune another program."""
FLAGS = ("switchflag", "bzeroflag", "quadraticflag", "chemflag", "bnormflag", "wselfallflag", "switchinnerflag")
REALS = ("rcutfac", "rfac0", "rmin0")
PER_ELEMENT = ("sinner", "dinner")
KNOWN = (*REALS, "twojmax", *FLAGS, *PER_ELEMENT, *IGNORED)


class SnapError(PotentialFileError):
    """A SNAP file that cannot be read; the text names file, line, field and remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class SnapCoefficients:
    """Content of a ``.snapcoeff`` file: ``radii`` and ``weights`` (element,), ``coefficients`` (element, m) in eV."""

    elements: tuple[str, ...]
    radii: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray


@dataclasses.dataclass(frozen=True)
class SnapParameters:
    """Content of a ``.snapparam`` file, with the defaults of ``pair_style snap``.

    ``rcutfac`` scales the sum of two radii to a cut-off (their product in Å); ``rmin0``, ``sinner``, ``dinner`` in Å;
    ``rfac0`` dimensionless; ``twojmax`` = 2J; ``sinner`` and ``dinner`` per element of the coefficient file.
    """

    rcutfac: float
    twojmax: int
    rfac0: float = 0.99363
    rmin0: float = 0.0
    switchflag: bool = True
    bzeroflag: bool = True
    quadraticflag: bool = False
    chemflag: bool = False
    bnormflag: bool = False
    wselfallflag: bool = False
    switchinnerflag: bool = False
    sinner: tuple[float, ...] = ()
    dinner: tuple[float, ...] = ()


class _Lines:
    """Lines that hold words, with their numbers; every complaint names file, line and field."""

    def __init__(self, path: Path):
        self.path, self.at = path, 0
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}: check the path")
        lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
        split = ((number + 1, line.split("#")[0].split()) for number, line in enumerate(lines))
        self.left = [(number, words) for number, words in split if words][::-1]

    def error(self, message: str) -> SnapError:
        return SnapError(f"{self.path}, line {self.at}: {message}")

    def next(self, field: str) -> list[str]:
        if not self.left:
            raise self.error(f"the file ends where {field} should stand: it is truncated (or a count in its header is "
                             "too large); fetch or write it again")
        self.at, words = self.left.pop()
        return words

    def whole(self, word: str, field: str) -> int:
        try:
            return int(_plain(word))
        except ValueError as error:
            raise self.error(f"{field} should be a whole number, found {word[:40]!r}: correct the entry") from error

    def real(self, word: str, field: str) -> float:
        try:
            value = float(_plain(word))
        except ValueError as error:
            raise self.error(f"{field} should be a number, found {word[:40]!r}: correct the entry (exponents are "
                             "written with E)") from error
        if not math.isfinite(value):
            raise self.error(f"{field} is {word[:40]}: it must be finite; correct the entry")
        return value


def _plain(word: str) -> str:
    # Python also reads digits of other scripts and underscores between digits; no other program does.
    if "_" in word or not word.isascii():
        raise ValueError(word)
    return word


def read_snap_coefficients(path: str | Path) -> SnapCoefficients:
    """Read a ``.snapcoeff`` file (eV, Å).

    Raises ``FileNotFoundError``, or ``SnapError`` naming file, line, field and remedy: truncation, surplus lines or
    words, text where a number should be, an element named twice, a radius that is not positive.
    """
    lines = _Lines(Path(path))
    head = lines.next("the numbers of elements and coefficients")
    if len(head) != 2:
        raise lines.error(f"the first line is the numbers of elements and of coefficients per element, found "
                          f"{len(head)} words: complete it")
    count, size = lines.whole(head[0], "the number of elements"), lines.whole(head[1], "the number of coefficients")
    if count < 1 or size < 1:
        raise lines.error(f"{count} elements with {size} coefficients each: both numbers must be at least 1")
    elements: list[str] = []
    heads, tables = [], []
    for number in range(count):
        words = lines.next(f"symbol, radius and weight of element {number + 1} of {count}")
        if len(words) != 3:
            raise lines.error(f"symbol, radius and weight of element {number + 1} are three words, found {len(words)}: "
                              f"either the line is wrong, or the element before it has not {size} coefficients")
        if words[0] in elements:
            raise lines.error(f"{words[0]} stands twice: name each element once")
        radius, weight = lines.real(words[1], f"radius of {words[0]}"), lines.real(words[2], f"weight of {words[0]}")
        if radius <= 0:
            raise lines.error(f"radius of {words[0]} is {radius:g}: it must be positive")
        elements.append(words[0])
        heads.append((radius, weight))
        tables.append(_coefficients(lines, size, words[0]))
    if lines.left:
        lines.at = lines.left[-1][0]
        raise lines.error(f"text follows the last coefficient of {elements[-1]}: the header announces {count} elements "
                          f"with {size} coefficients each; make them agree")
    radii, weights = np.array(heads).T
    return SnapCoefficients(tuple(elements), radii, weights, np.array(tables))


def _coefficients(lines: _Lines, size: int, element: str) -> list[float]:
    values: list[float] = []
    while len(values) < size:
        field = f"coefficient {len(values) + 1} of {size} of {element}"
        words = lines.next(field)
        if len(words) != 1:
            raise lines.error(f"{field} stands alone on its line, found {len(words)} words: either the line is wrong, "
                              "or the header announces too many coefficients")
        values.append(lines.real(words[0], field))
    return values


def read_snap_parameters(path: str | Path) -> SnapParameters:
    """Read a ``.snapparam`` file (Å).

    Raises ``FileNotFoundError``, or ``SnapError`` naming file, line, field and remedy: an unknown, repeated or missing
    keyword, a value that is not what the keyword takes, ``twojmax`` beyond ``MAX_TWOJ``.
    """
    lines = _Lines(Path(path))
    found: dict = {}
    while lines.left:
        words = lines.next("a keyword")
        keyword = words[0]
        if keyword not in KNOWN:
            raise lines.error(f"{keyword[:40]!r} is no keyword of a SNAP parameter file; they are {', '.join(KNOWN)}")
        if keyword in found:
            raise lines.error(f"{keyword} stands twice: keep one of them")
        if len(words) < 2 or (len(words) > 2 and keyword not in PER_ELEMENT):
            raise lines.error(f"{keyword} takes one value, found {len(words) - 1}: correct the line")
        found[keyword] = _value(lines, keyword, words[1:])
    missing = [keyword for keyword in ("rcutfac", "twojmax") if keyword not in found]
    if missing:
        raise lines.error(f"the file ends without {' and '.join(missing)}: add it")
    if found["rcutfac"] <= 0 or found.get("rmin0", 0.0) < 0:
        raise SnapError(f"{path}: rcutfac must be positive and rmin0 not negative, found rcutfac "
                        f"{found['rcutfac']:g} and rmin0 {found.get('rmin0', 0.0):g}: correct them")
    inner = [keyword in found for keyword in PER_ELEMENT]
    if any(inner) != found.get("switchinnerflag", False) or any(inner) != all(inner):
        raise SnapError(f"{path}: switchinnerflag 1 goes with both sinner and dinner, 0 with neither: correct them")
    return SnapParameters(**{name: value for name, value in found.items() if name not in IGNORED})


def _value(lines: _Lines, keyword: str, words: list[str]):
    if keyword in PER_ELEMENT:
        values = tuple(lines.real(word, keyword) for word in words)
        if min(values) < 0 or (keyword == "dinner" and min(values) == 0):
            raise lines.error(f"{keyword} is {' '.join(words)[:40]}: sinner must be at least 0, dinner positive")
        return values
    if keyword in FLAGS:
        if words[0] not in ("0", "1"):
            raise lines.error(f"{keyword} is 0 or 1, found {words[0][:40]!r}: correct the entry")
        return words[0] == "1"
    if keyword in REALS:
        return lines.real(words[0], keyword)
    value = lines.whole(words[0], keyword)
    if keyword == "twojmax" and not 0 <= value <= MAX_TWOJ:
        raise lines.error(f"twojmax is {words[0][:40]}: this implementation takes 0 to {MAX_TWOJ}")
    return value
