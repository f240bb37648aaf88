"""Field types of the configuration: checked values whose errors carry a remedy.

A check raises ``refused(message, remedy)``; type and range errors get their remedy in ``load``.
"""

import itertools
import math
from typing import Annotated

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic_core import PydanticCustomError

_PERIODIC_TABLE = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr"
)
SYMBOLS = frozenset(_PERIODIC_TABLE.split())
"""Chemical symbols up to lawrencium."""

FRACTION_TOLERANCE = 1e-6
"""How far the atomic fractions of a composition may be from summing to 1."""


class Section(BaseModel):
    """A section of the configuration: frozen, no unknown fields, no silent conversion of types, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def refused(message: str, remedy: str) -> PydanticCustomError:
    """An error of a check, with its remedy."""
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})


def _composition(value: dict[str, float]) -> dict[str, float]:
    """Atomic fractions of known elements, all positive, summing to 1."""
    unknown = [symbol for symbol in value if symbol not in SYMBOLS]
    if unknown:
        raise refused(f"no element is called {', '.join(map(repr, unknown))}", "use chemical symbols, e.g. `Nb: 0.25`")
    if not value or min(value.values()) <= 0:
        raise refused("atomic fractions must be positive", "leave out elements that are not there")
    total = math.fsum(value.values())
    if abs(total - 1) > FRACTION_TOLERANCE:
        scaled = ", ".join(f"{symbol}: {fraction / total:.6g}" for symbol, fraction in value.items())
        raise refused(f"atomic fractions sum to {total:.6g}, not 1", f"for these proportions write {{{scaled}}}")
    return value


def _elements(value: tuple[str, ...]) -> tuple[str, ...]:
    """Distinct chemical symbols."""
    unknown = [s for s in value if s not in SYMBOLS]
    if unknown:
        raise refused(f"no element is called {', '.join(map(repr, unknown))}", "use chemical symbols, e.g. `Nb`")
    if len(set(value)) < len(value):
        raise refused("an element stands twice", f"write {list(dict.fromkeys(value))}")
    return value


def _not_blank(value: str) -> str:
    """A text that says something."""
    if not value.strip():
        raise refused("is blank", "write a short text")
    return value


def _folder_name(value: str) -> str:
    """A text that can name a folder."""
    if not value or value.startswith((".", "-")) or not all(c.isalnum() or c in "._-" for c in value):
        raise refused(f"{value!r} cannot name a folder", "use letters, digits, `_`, `-` and `.`, e.g. `nbmotaw`")
    return value


def _increasing(value: tuple[float, ...]) -> tuple[float, ...]:
    """Strictly increasing numbers."""
    if any(b <= a for a, b in itertools.pairwise(value)):
        raise refused("values must increase strictly", f"write {sorted(set(value))}")
    return value


Composition = Annotated[dict[str, float], AfterValidator(_composition)]
"""Atomic fractions by chemical symbol."""

Elements = Annotated[tuple[str, ...], AfterValidator(_elements)]
"""Distinct chemical symbols, in their order."""

SomeElements = Annotated[tuple[str, ...], Len(1), AfterValidator(_elements)]
"""The same, one at least."""

Name = Annotated[str, AfterValidator(_folder_name)]
Text = Annotated[str, AfterValidator(_not_blank)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Repeats = tuple[PositiveInt, PositiveInt, PositiveInt]
Increasing = Annotated[tuple[PositiveFloat, ...], Len(1), AfterValidator(_increasing)]
"""Positive numbers, strictly increasing."""
