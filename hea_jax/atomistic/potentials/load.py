"""Read a potential file of whatever format, recognised by what is in it.

``FORMATS`` is the table of formats: what recognises a file, and what reads it. Formats are tried in its order; a suffix
decides only between formats that the same text could be.

Source: Daw, Foiles & Baskes 1993 (the DYNAMO formats); LAMMPS manual, ``pair_style eam``.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from hea_jax.atomistic.potentials.body_ordered.file import FORMAT, load_body_ordered
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair
from hea_jax.atomistic.potentials.fs_file import read_fs
from hea_jax.atomistic.potentials.funcfl import load_funcfl
from hea_jax.atomistic.potentials.setfl import read_setfl
from hea_jax.atomistic.potentials.shipped import chosen, potential_from_json
from hea_jax.atomistic.potentials.snap import load_snap
from hea_jax.atomistic.potentials.table_file import LARGEST_CUTOFF_A, PotentialFileError
from hea_jax.records import AbstractPotential

Elements = tuple[str, ...] | None


class UnknownFormatError(PotentialFileError):
    """A file that is in no known potential format; the text names the file and the formats."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A file as the detectors see it.

    ``text``: its beginning, without leading blanks; ``named``: what a JSON object calls its ``format``; ``lines``: its
    first lines as words, without comments (after #), empty lines included; ``count``: the number of words after the
    third line.
    """

    path: Path
    text: str
    named: object
    lines: tuple[tuple[str, ...], ...]
    count: int

    def after(self, comments: int) -> list[tuple[str, ...]]:
        """The lines that have words, after so many comment lines."""
        return [words for words in self.lines[comments:] if words]


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: its ``name``, whether a file ``matches`` it, and how it is ``read`` for some elements (or None)."""

    name: str
    matches: Callable[[Sample], bool]
    read: Callable[[Path, Elements], AbstractPotential]


def load_potential(path: str | Path, elements: Sequence[str] | None = None) -> AbstractPotential:
    """The potential (eV, Å) in a file of any of ``FORMATS``.

    ``elements`` chooses among those of the file, in the order wanted (default: all, in the order of the file); it names
    the one element of a funcfl file.

    Raises ``FileNotFoundError``, ``UnknownFormatError``, the reader's own ``PotentialFileError``, that error also for a
    cut-off above ``LARGEST_CUTOFF_A`` (Å), or ``ValueError`` for elements that are not in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    sample = _sampled(path)
    wanted = None if elements is None else tuple(elements)
    for candidate in FORMATS:
        if candidate.matches(sample):
            return _limited(path, candidate.read(path, wanted))
    raise UnknownFormatError(f"{path} is in none of the formats {', '.join(f.name for f in FORMATS)}: call the reader "
                             "of the format it should be in, which says what is wrong")


def _limited(path: Path, potential: AbstractPotential) -> AbstractPotential:
    if potential.cutoff > LARGEST_CUTOFF_A:
        raise PotentialFileError(f"{path}: the cut-off is {potential.cutoff:g} Å, potentials end below "
                                 f"{LARGEST_CUTOFF_A:g} Å: correct the numbers that make it")
    return potential


def _sampled(path: Path) -> Sample:
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line.split("#")[0] for line in text.split("\n")]
    return Sample(path, text.lstrip()[:1000], _named_format(text), tuple(tuple(line.split()) for line in lines[:40]),
                  sum(len(line.split()) for line in lines[3:]))


def _named_format(text: str) -> object:
    """What a JSON object calls its ``format`` (None for anything else)."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)["format"]
    except KeyError:
        return None
    except (ValueError, RecursionError):
        # Damaged: the reader of the format that it mentions says what is wrong.
        return FORMAT if f'"{FORMAT}"' in text else None


def _is_json(sample: Sample) -> bool:
    return sample.text.startswith("{")


def _is_fs(sample: Sample) -> bool:
    sizes = _table_sizes(sample)
    if sizes is None:
        return False
    setfl, finnis_sinclair = sizes
    by_name = sample.path.name.endswith(".fs")
    return by_name if setfl == finnis_sinclair else abs(sample.count - finnis_sinclair) < abs(sample.count - setfl)


def _is_setfl(sample: Sample) -> bool:
    return _table_sizes(sample) is not None


def _is_funcfl(sample: Sample) -> bool:
    head = sample.after(1)[:2]
    return (len(head) == 2 and len(head[0]) >= 3 and len(head[1]) >= 5
            and all(map(_is_number, (*head[0][:3], *head[1][:5]))))


def _is_snap(sample: Sample) -> bool:
    head = sample.after(0)[:2]
    return (len(head) == 2 and len(head[0]) == 2 and all(word.isascii() and word.isdigit() for word in head[0])
            and len(head[1]) == 3 and not _is_number(head[1][0]) and all(map(_is_number, head[1][1:])))


def _table_sizes(sample: Sample) -> tuple[int, int] | None:
    """How many words an eam.alloy and an eam.fs file of this header have after their comments (None: it is neither)."""
    head = sample.after(3)[:2]
    if len(head) < 2 or len(head[1]) < 5:
        return None
    counts = [head[0][0], head[1][0], head[1][2]]
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in counts):
        return None
    n, nrho, nr = map(int, counts)
    if n != len(head[0]) - 1 or n < 1:
        return None
    common = len(head[0]) + len(head[1]) + n * (4 + nrho) + n * (n + 1) // 2 * nr
    return common + n * nr, common + n * n * nr


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_setfl(path: Path, elements: Elements) -> AbstractPotential:
    content = read_setfl(path)
    return TabulatedEAM.from_setfl(content if elements is None else content.chosen(elements))


def _read_fs(path: Path, elements: Elements) -> AbstractPotential:
    content = read_fs(path)
    return FinnisSinclair.from_file_content(content if elements is None else content.chosen(elements))


def _read_json(path: Path, elements: Elements) -> AbstractPotential:
    potential = potential_from_json(path)
    return potential if elements is None else chosen(potential, elements)


def _is_body_ordered(sample: Sample) -> bool:
    return sample.named == FORMAT


def _read_body_ordered(path: Path, elements: Elements) -> AbstractPotential:
    potential = load_body_ordered(path)
    if elements is not None and elements != potential.elements:
        raise ValueError(f"{path} holds {potential.elements}, whose functions belong together: ask for these "
                         "elements in this order (absent ones do no harm)")
    return potential


def _read_snap(path: Path, elements: Elements) -> AbstractPotential:
    parameters = path.with_suffix(".snapparam")
    if not parameters.is_file():
        raise FileNotFoundError(f"{path} needs its {parameters.name} beside it: put it there, or call `load_snap` with "
                                "both paths")
    return load_snap(path, parameters, elements=elements)


FORMATS: tuple[Format, ...] = (
    Format("JSON of a BodyOrdered", _is_body_ordered, _read_body_ordered),
    Format("JSON of a LearnableEAM", _is_json, _read_json),
    Format("SNAP (.snapcoeff, its .snapparam beside it)", _is_snap, _read_snap),
    Format("eam.fs", _is_fs, _read_fs),
    Format("eam.alloy (setfl)", _is_setfl, _read_setfl),
    Format("eam (funcfl)", _is_funcfl, load_funcfl),
)
"""The formats, in the order in which they are tried: a detector and a reader each."""
