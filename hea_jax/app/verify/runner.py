"""Running reference cases: each is computed, compared, timed; one that breaks is a failed row, not a crash."""

import importlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

from hea_jax.app.verify.rows import SCALES, Case, Check, Skip

MODULES = ("electronic", "atomistic_potentials", "atomistic_snap", "atomistic_body_ordered", "atomistic_elasticity",
           "atomistic_dynamics", "mesoscale", "continuum", "macro", "fe2", "hierarchical", "path")
"""Modules of ``hea_jax.app.verify`` that hold cases; each has ``cases() -> list[Case]``."""


def collect(scale: str | None = None) -> list[Case]:
    """All cases, or those of one scale, in the order of ``SCALES``; raises ``ValueError`` for an unknown scale."""
    if scale is not None and scale not in SCALES:
        raise ValueError(f"there is no scale {scale!r}; the scales are {', '.join(SCALES)}")
    cases: list[Case] = []
    for name in MODULES:
        cases += importlib.import_module(f"{__package__}.{name}").cases()
    repeated = {case.name for case in cases if sum(case.name == other.name for other in cases) > 1}
    if repeated:
        raise ValueError(f"two cases are called {', '.join(sorted(repeated))}")
    chosen = [case for case in cases if scale in (None, case.scale)]
    return sorted(chosen, key=lambda case: SCALES.index(case.scale))


def run_cases(cases: Iterable[Case]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each case, as soon as it is done."""
    for case in cases:
        yield run_case(case)


def run_case(case: Case) -> list[dict[str, Any]]:
    """The rows of one case. ``seconds`` is the time of the whole case, the same in each of its rows."""
    started = time.perf_counter()
    try:
        checks = case.run()
        if not checks:
            raise ValueError("the case gave no check")
        rows = [_row(case.scale, check) | {"passed": check.passed} for check in checks]
    except Skip as skip:
        rows = [_row(case.scale, _nothing(case)) | {"skipped": str(skip) or "no reason given"}]
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        rows = [_row(case.scale, _nothing(case)) | {"passed": False, "error": text}]
    seconds = time.perf_counter() - started
    return [row | {"seconds": seconds} for row in rows]


def _nothing(case: Case) -> Check:
    """The check of a case that computed nothing."""
    return Check(case.name, math.nan, math.nan, "", math.nan, "")


def _row(scale: str, check: Check) -> dict[str, Any]:
    """A row with its keys in order, not judged; a number that is not finite is null in JSON."""
    return {
        "scale": scale,
        "case": check.case,
        "computed": _finite(check.computed),
        "reference": _finite(check.reference),
        "unit": check.unit,
        "tolerance": _finite(check.tolerance),
        "passed": None,
        "source": check.source,
    }


def _finite(value: Any) -> float | None:
    """A number as a Python float, None if it is not finite."""
    return float(value) if math.isfinite(float(value)) else None


def exit_code(rows: Iterable[dict[str, Any]]) -> int:
    """1 if any row failed; a skipped row did not."""
    return int(any(row["passed"] is False for row in rows))
