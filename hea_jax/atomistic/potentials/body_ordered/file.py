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
from hea_jax.atomistic.potentials.table_file import PotentialFileError
from hea_jax.atomistic.potentials.zbl import ZBL, LammpsTaper, Overlay

FORMAT, VERSION = "hea_jax body-ordered potential", 1
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
    """The checked content: arrays, ``elements``, ``truncation`` and the facts; raises as ``load_body_ordered``."""
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
        raise fail("version", f"is {content.get('version')!r}, this package reads {VERSION}")
    return {**content, **_checked(content, fail)}


def _checked(content, fail):
    elements = content.get("elements")
    symbols = isinstance(elements, list) and all(isinstance(e, str) for e in elements)
    if not symbols or not elements or len(set(elements)) != len(elements):
        raise fail("elements", "should be a list of different chemical symbols")
    try:
        truncation = Truncation(**content["truncation"])
    except (KeyError, TypeError, ValueError) as error:
        raise fail("truncation", f"{error}") from error
    cutoff, inner = (_number(content, name, fail) for name in ("cutoff_A", "inner_A"))
    if not 0.5 < inner < cutoff < 100.0:
        raise fail("inner_A", f"should lie between 0.5 Å and cutoff_A below 100 Å, found {inner} and {cutoff}")
    core = content.get("core_zbl_A")
    if core is not None:
        numbers = isinstance(core, list) and len(core) == 2 and all(isinstance(x, int | float) for x in core)
        if not numbers or not 0 < core[0] < core[1] < 100:
            raise fail("core_zbl_A", f"should be two increasing distances in Å or null, found {core!r}")
    n = len(elements)
    shapes = {"coefficients_eV": (n, count_functions(truncation, n)), "channels": (n, n)}
    arrays = {name: _array(content, name, shape, fail) for name, shape in shapes.items()}
    return {"elements": tuple(elements), "truncation": truncation, "cutoff_A": cutoff, "inner_A": inner, **arrays}


def _number(content, name, fail):
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise fail(name, f"should be a finite number, found {value!r}")
    return float(value)


def _array(content, name, shape, fail):
    try:
        value = np.asarray(content[name], float)
    except (KeyError, TypeError, ValueError) as error:
        raise fail(name, f"should be numbers in an array of shape {shape} ({error})") from error
    if value.shape != shape:
        raise fail(name, f"has shape {value.shape}, the truncation and elements need {shape}")
    if not np.isfinite(value).all():
        raise fail(name, "holds values that are not finite")
    return value
