"""What is wrong with a configuration: every problem with its place and its remedy."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value was written: a file and line (from 1), or a command-line override (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem: its place, the dotted path of the field (empty for the whole file), what is wrong, what to do."""

    place: Place
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.place}: {field}{self.message}\n    remedy: {self.remedy}"


class ConfigError(ValueError):
    """A configuration that cannot be used; ``problems`` holds all of them, in file order."""

    def __init__(self, problems: list[Problem]):
        self.problems = tuple(sorted(problems, key=lambda p: (p.place.line == 0, p.place.source, p.place.line)))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the configuration\n" + "\n".join(str(p) for p in self.problems))


def dotted(path: tuple[str | int, ...]) -> str:
    """A field path as a user reads it: ``("rve", "grid", 0)`` is ``rve.grid[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
