"""The fitted potentials that ship with the package, and the JSON file of a ``LearnableEAM``.

``hea_jax/data/nbmotaw_eam.json`` holds the parameters of a ``LearnableEAM`` fitted to the shipped DFT set, with the
errors of that fit; ``scripts/data/make_nbmotaw_eam.py`` makes it anew. ``nbmotaw_body_ordered.json`` is the more
accurate and slower one, fitted to the set of Li et al. 2020 beside it. Source: the set's provenance in
``hea_jax/data/README.md`` (GPAW, PBE).
"""

import json
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.potentials.body_ordered.file import load_body_ordered
from hea_jax.atomistic.potentials.eam_learnable import CORE_WIDTH_A, LearnableEAM, pair_of_species
from hea_jax.atomistic.potentials.table_file import PotentialFileError, chosen_elements
from hea_jax.atomistic.potentials.zbl import Overlay

PATH = Path(__file__).parents[2] / "data" / "nbmotaw_eam.json"
BODY_ORDERED = PATH.with_name("nbmotaw_body_ordered.json")
LEAVES = ("pair", "density", "embedding_root", "embedding_series")
STATIC = ("elements", "cutoff", "inner_A", "core_eV", "rho0")


class PotentialJsonError(PotentialFileError):
    """A JSON file that holds no LearnableEAM; the text names file, field and remedy."""


def shipped_potential() -> LearnableEAM:
    """The Nb–Mo–Ta–W potential of the package (eV, Å); energies are relative to its element offsets."""
    return potential_from_json(PATH)


def shipped_body_ordered() -> Overlay:
    """The body-ordered Nb–Mo–Ta–W potential with its core (eV, Å); energies are relative to its element offsets."""
    potential = load_body_ordered(BODY_ORDERED)
    assert isinstance(potential, Overlay)
    return potential


def potential_from_json(path: str | Path) -> LearnableEAM:
    """Read a ``LearnableEAM`` written by ``potential_to_json``.

    Raises ``FileNotFoundError``, or ``PotentialJsonError`` (a ``ValueError``) naming the file and the field that is
    missing, of another type or shape, out of range, or not finite.
    """
    path = Path(path)
    content = _object(path)
    missing = [name for name in (*LEAVES, *STATIC) if name not in content]
    if missing:
        raise PotentialJsonError(f"{path}: missing {', '.join(missing)}: write it with `potential_to_json`")
    elements = _elements(path, content["elements"])
    cutoff, inner, core, rho0 = (_number(path, name, content[name]) for name in STATIC[1:])
    if not 2 * CORE_WIDTH_A < inner < cutoff:
        raise PotentialJsonError(f"{path}: inner_A is {inner} and cutoff {cutoff} Å: they must satisfy "
                                 f"{2 * CORE_WIDTH_A} < inner_A < cutoff")
    if core < 0 or rho0 <= 0:
        raise PotentialJsonError(f"{path}: core_eV is {core} and rho0 {rho0}: the core must not attract, and rho0 must "
                                 "be positive")
    n = len(elements)
    shapes = {"pair": (n * (n + 1) // 2, None), "density": (n, None), "embedding_root": (n,),
              "embedding_series": (n, None)}
    pair, density, root, series = (jnp.asarray(_table(path, name, content[name], shapes[name])) for name in LEAVES)
    return LearnableEAM(pair=pair, density=density, embedding_root=root, embedding_series=series,
                        elements=elements, cutoff=cutoff, inner_A=inner, core_eV=core, rho0=rho0)


def potential_to_json(potential: LearnableEAM, path: str | Path, **facts) -> None:
    """Write the parameters (full precision) and any plain ``facts`` about them."""
    content = {name: np.asarray(getattr(potential, name)).tolist() for name in LEAVES}
    content |= {name: getattr(potential, name) for name in STATIC} | facts
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def chosen(potential: LearnableEAM, elements: tuple[str, ...]) -> LearnableEAM:
    """The potential for these of its elements, in this order; raises ``ValueError`` for others."""
    rows = chosen_elements(potential.elements, elements)
    pairs = pair_of_species(len(potential.elements))
    upper = np.triu_indices(len(rows))
    order = np.array([pairs[rows[a], rows[b]] for a, b in zip(*upper, strict=True)])
    at = np.array(rows)
    return LearnableEAM(pair=potential.pair[order], density=potential.density[at],
                        embedding_root=potential.embedding_root[at], embedding_series=potential.embedding_series[at],
                        elements=tuple(elements), cutoff=potential.cutoff, inner_A=potential.inner_A,
                        core_eV=potential.core_eV, rho0=potential.rho0)


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        # Besides malformed JSON: bytes that are no text, integers of too many digits.
        raise PotentialJsonError(f"{path} is not JSON ({error}): write it with `potential_to_json`") from error
    if not isinstance(content, dict):
        raise PotentialJsonError(f"{path} holds a {type(content).__name__}, not an object of named fields: write it "
                                 "with `potential_to_json`")
    return content


def _elements(path: Path, value: Any) -> tuple[str, ...]:
    symbols = isinstance(value, list) and all(isinstance(entry, str) and entry.strip() for entry in value)
    if not symbols or not value or len(set(value)) != len(value):
        raise PotentialJsonError(f"{path}: elements must be a list of distinct symbols, found {_short(value)}")
    return tuple(value)


def _number(path: Path, field: str, value: Any) -> float:
    # bool is a kind of int; an integer may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
        raise PotentialJsonError(f"{path}: {field} must be one finite number, found {_short(value)}")
    return float(value)


def _table(path: Path, field: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Lists of numbers as an array; a None in ``shape`` stands for any length of at least one."""
    rows = value if len(shape) == 2 else [value]
    wanted = " x ".join("k" if size is None else str(size) for size in shape)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise PotentialJsonError(f"{path}: {field} must be {wanted} numbers in nested lists, found {_short(value)}")
    table = [[_number(path, f"an entry of {field}", entry) for entry in row] for row in rows]
    lengths = {len(row) for row in table}
    expected = shape if len(shape) == 2 else (1, *shape)
    fits = len(table) == expected[0] and len(lengths) == 1 and expected[1] in (None, *lengths)
    if not fits:
        raise PotentialJsonError(f"{path}: {field} must be {wanted} numbers, found {len(table)} rows of "
                                 f"{sorted(lengths)[:5]}")
    return np.array(table).reshape([-1 if size is None else size for size in shape])


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
