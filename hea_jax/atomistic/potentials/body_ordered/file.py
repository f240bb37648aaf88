"""The file of a body-ordered potential: JSON with every number at full precision, and plain facts about the fit.

A repulsive core (ZBL under LAMMPS' taper) may stand in the same file; the potential read is then an ``Overlay``.

Source: the format is ours (``format`` and ``version`` stand in the file); ZBL: Ziegler, Biersack & Littmark 1985.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.potentials.body_ordered.basis import Truncation, count_functions
from hea_jax.atomistic.potentials.body_ordered.model import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.radial import WIDTH_A
from hea_jax.atomistic.potentials.table_file import LARGEST_CUTOFF_A, PotentialFileError
from hea_jax.atomistic.potentials.zbl import ZBL, LammpsTaper, Overlay

FORMAT, VERSION = "hea_jax body-ordered potential", 2
LARGEST_FILE = 2**28
"""Bytes beyond which a file is refused."""


class BodyOrderedFileError(PotentialFileError):
    """A file of a body-ordered potential that cannot be read; the text names file, field and remedy."""


def save_body_ordered(path: str | Path, potential: BodyOrdered, *, core: LammpsTaper | None = None,
                      offsets_eV: dict[str, float] | None = None, facts: dict[str, Any] | None = None) -> Path:
    """Write a potential; ``core`` adds ZBL under that taper, ``offsets_eV`` are energies per element that the fit took
    off, ``facts`` is anything plain about the fit (errors, data, version)."""
    content = {
        "format": FORMAT, "version": VERSION, "elements": list(potential.elements), "cutoff_A": potential.cutoff,
        "inner_A": potential.inner, "truncation": dataclasses.asdict(potential.truncation),
        "core_zbl_A": None if core is None else [core.inner_A, core.outer_A], "offsets_eV": offsets_eV,
        "facts": facts or {}, "channels": np.asarray(potential.channels).tolist(),
        "coefficients_eV": np.asarray(potential.coefficients).tolist(),
    }  # fmt: skip
    path = Path(path)
    path.write_text(json.dumps(content, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load_body_ordered(path: str | Path) -> BodyOrdered | Overlay:
    """The potential of a file (eV, Å): a ``BodyOrdered``, or its overlay with the core that stands in the file.

    Raises ``FileNotFoundError``, or ``BodyOrderedFileError`` naming file, field and remedy.
    """
    content = read_body_ordered(path)
    numbers = lambda name: jnp.asarray(content[name], float)
    potential = BodyOrdered(coefficients=numbers("coefficients_eV"), channels=numbers("channels"),
                            elements=content["elements"], truncation=content["truncation"],
                            cutoff=content["cutoff_A"], inner=content["inner_A"])
    if content["core_zbl_A"] is None:
        return potential
    return Overlay.of(potential, ZBL.of(potential.elements, LammpsTaper(*content["core_zbl_A"])))


def read_body_ordered(path: str | Path) -> dict[str, Any]:
    """The checked content: arrays, ``elements``, ``truncation``, distances, ``offsets_eV`` and the facts; raises as
    ``load_body_ordered``. Nothing is allocated on the word of the truncation."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    if path.stat().st_size > LARGEST_FILE:
        raise BodyOrderedFileError(f"{path}: is larger than {LARGEST_FILE} bytes: not a potential of this format")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BodyOrderedFileError(f"{path}: not JSON ({error}): it is damaged; fetch or write it again") from error
    fail = lambda field, text: BodyOrderedFileError(f"{path}: {field}: {text}; write the file with `save_body_ordered`")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise fail("format", f"should be {FORMAT!r}")
    if content.get("version") != VERSION:
        raise fail("version", f"is {_short(content.get('version'))}, this package reads {VERSION}: fit again")
    return {**content, **_checked(content, fail)}


def _checked(content, fail):
    elements = _elements(content.get("elements"), fail)
    try:
        truncation = Truncation(**content["truncation"])
    except (KeyError, TypeError, ValueError) as error:
        raise fail("truncation", f"{_short(error, str)}") from error
    cutoff, inner = (_number(content.get(name), name, fail) for name in ("cutoff_A", "inner_A"))
    if cutoff > LARGEST_CUTOFF_A:
        raise fail("cutoff_A", f"is {cutoff:g} Å, should be at most {LARGEST_CUTOFF_A:g} Å")
    if not 0.5 < inner < cutoff - WIDTH_A:
        raise fail("inner_A", f"should lie between 0.5 Å and {WIDTH_A} Å below cutoff_A, found {inner} and {cutoff}")
    facts = content.get("facts")
    if facts is not None and not isinstance(facts, dict):
        raise fail("facts", f"should be an object of named facts, found {_short(facts)}")
    n = len(elements)
    shapes = {"coefficients_eV": (n, count_functions(truncation, n)), "channels": (n, n)}
    arrays = {name: _array(content, name, shape, fail) for name, shape in shapes.items()}
    return {"elements": elements, "truncation": truncation, "cutoff_A": cutoff, "inner_A": inner,
            "core_zbl_A": _core(content.get("core_zbl_A"), fail),
            "offsets_eV": _offsets(content.get("offsets_eV"), elements, fail), "facts": facts or {}, **arrays}


def _elements(value, fail):
    from ase.data import atomic_numbers

    if not isinstance(value, list) or not value or not all(isinstance(e, str) for e in value):
        raise fail("elements", f"should be a list of chemical symbols, found {_short(value)}")
    # ASE's table has a placeholder with number zero.
    strange = [symbol for symbol in value if not atomic_numbers.get(symbol)]
    if strange or len(set(value)) != len(value):
        raise fail("elements", f"should be different chemical symbols, found {_short(strange or value)}")
    return tuple(value)


def _core(value, fail):
    if value is None:
        return None
    ends = [_finite(x) for x in value] if isinstance(value, list) else []
    numbers = [x for x in ends if x is not None]
    if not len(numbers) == len(ends) == 2 or not 0 < numbers[0] < numbers[1] <= LARGEST_CUTOFF_A:
        raise fail("core_zbl_A", f"should be two increasing distances in Å (at most {LARGEST_CUTOFF_A:g}) or null, "
                                 f"found {_short(value)}")
    return numbers


def _offsets(value, elements, fail):
    if value is None:
        return None
    if not isinstance(value, dict) or not set(value) <= set(elements):
        raise fail("offsets_eV", f"should be an object with an energy (eV) for each of {', '.join(elements)}, or null, "
                                 f"found {_short(value)}")
    return {symbol: _number(energy, f"offsets_eV of {symbol}", fail) for symbol, energy in value.items()}


def _finite(value):
    """The number as a float; None for what is not a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _number(value, field, fail):
    number = _finite(value)
    if number is None:
        raise fail(field, f"should be a finite number, found {_short(value)}")
    return number


def _array(content, name, shape, fail):
    try:
        value = np.asarray(content[name])
        if value.dtype.kind in "bSU":
            raise TypeError("text or truth values are among them")
        value = np.asarray(value, float)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise fail(name, f"should be numbers in an array of shape {shape} ({_short(error, str)})") from error
    if value.shape != shape:
        raise fail(name, f"has shape {value.shape}, the truncation and elements need {shape}")
    if not np.isfinite(value).all():
        raise fail(name, "holds values that are not finite")
    return value


def _short(value, text=repr):
    """What an error shows of a value."""
    shown = text(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
