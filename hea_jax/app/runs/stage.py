"""What a stage of the chain is, and what it returns.

A stage is a name and a pure function ``run(config, inputs, context) -> StageResult``. It sees only the configuration
sections and the upstream results that it declares, so that the runner knows when it must be computed again.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hea_jax.app.report.sections import ReportSection


@dataclasses.dataclass(frozen=True)
class Number:
    """A number for the summary: value (or nested list) with unit, standard uncertainty (None if none is known),
    the method that gave it, and the source of what it rests on. Use "1" as the unit of a ratio or a count."""

    value: Any
    unit: str
    uncertainty: Any = None
    method: str = ""
    source: str = ""

    def plain(self, stage: str, name: str) -> dict[str, Any]:
        """The entry of ``summary.json``; an unknown (NaN) uncertainty is null, a value that is no number raises."""
        provenance = {"stage": stage, "method": self.method, "source": self.source}
        value, uncertainty = _plain(self.value, name), _plain(self.uncertainty, name, unknown=True)
        return {"value": value, "unit": self.unit, "uncertainty": uncertainty, "provenance": provenance}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A yes or no on a numerical result, with the numbers that decided it."""

    name: str
    passed: bool
    text: str


@dataclasses.dataclass(frozen=True)
class StageResult:
    """What a stage returns.

    ``record`` goes to later stages (a pytree of records, dicts, tuples, arrays and plain values); ``numbers`` and
    ``verdicts`` go to ``summary.json``; ``sections`` to the report; ``handover`` names the numbers that the chain
    diagram shows on the way to the next stage.
    """

    record: Any = None
    numbers: Mapping[str, Number] = dataclasses.field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    sections: tuple[ReportSection, ...] = ()
    handover: tuple[str, ...] = ()

    def __post_init__(self):
        unknown = [name for name in self.handover if name not in self.numbers]
        if unknown:
            raise ValueError(f"handover names numbers that the stage does not give: {', '.join(unknown)}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage: its function, the stages it needs, the configuration fields it reads.

    ``files(config, base)`` lists input files whose content the result depends on; ``version`` is raised when the
    function changes outside the package (code inside it is part of the key anyway).
    """

    name: str
    run: Callable[[Any, Mapping[str, Any], Any], StageResult]
    needs: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    title: str = ""
    files: Callable[[Any, Path], Iterable[Path]] | None = None
    version: str = "1"


class ConfigView:
    """The part of a configuration that a stage declared; anything else raises."""

    def __init__(self, config: Any, stage: Stage):
        self._config = config
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        if name in self._stage.config:
            return getattr(self._config, name)
        raise AttributeError(
            f"stage {self._stage.name!r} reads {name!r} of the configuration without declaring it: add it to `config=`"
        )


def check_chain(stages: Iterable[Stage]) -> None:
    """Raise ``ValueError`` unless names are unique, usable in file names, and every need stands earlier."""
    seen: set[str] = set()
    for stage in stages:
        if not stage.name.isidentifier():
            raise ValueError(f"stage name {stage.name!r} is not an identifier")
        if stage.name in seen:
            raise ValueError(f"two stages are called {stage.name!r}")
        missing = [need for need in stage.needs if need not in seen]
        if missing:
            raise ValueError(f"stage {stage.name!r} needs {', '.join(missing)}, which does not stand before it")
        seen.add(stage.name)


def _plain(value: Any, name: str, *, unknown: bool = False) -> Any:
    """A value as JSON data; non-finite numbers raise, or become None where ``unknown`` allows it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, name, unknown=unknown) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        if unknown:
            return None
        raise ValueError(f"the number {name!r} is {value}: the stage should have failed before giving it")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the number {name!r} is a {type(value).__name__}: give a float, an int or an array")
