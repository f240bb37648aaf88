"""The rows of ``hea-jax verify``: reference cases, their checks, and how a check passes.

A module of cases exposes ``cases() -> list[Case]``; building the list is cheap, running a case may take seconds.
"""

import dataclasses
from collections.abc import Callable

SCALES = ("electronic", "atomistic", "mesoscale", "continuum", "concurrent", "hierarchical", "uncertainty")
"""The scales a case may belong to, in the order in which they are printed."""


class Skip(Exception):
    """Raised by a case whose peer or data are not there; the text says which and how to get it."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One computed number against one reference, both in ``unit``; ``tolerance`` is absolute, in the same unit."""

    case: str
    computed: float
    reference: float
    unit: str
    tolerance: float
    source: str

    @property
    def passed(self) -> bool:
        """Whether |computed − reference| <= tolerance; a NaN anywhere fails."""
        return bool(abs(self.computed - self.reference) <= self.tolerance)


@dataclasses.dataclass(frozen=True)
class Case:
    """A reference case of one scale: ``run`` computes its checks, or raises ``Skip`` with the reason."""

    scale: str
    name: str
    run: Callable[[], list[Check]]

    def __post_init__(self):
        if self.scale not in SCALES:
            raise ValueError(f"case {self.name!r}: scale {self.scale!r} is none of {', '.join(SCALES)}")
