"""What a check of a dataset found: severity, where, what, remedy, and how sure it is.

Source: this project's conventions (PHYSICS of datasets: every finding names its frame or group and its remedy).
"""

import dataclasses
import enum


class Severity(enum.Enum):
    """How bad a finding is: an error makes a fit wrong, a warning may, a note does not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding about a dataset; ``frames`` are indices into it, ``sureness`` says on what it rests."""

    severity: Severity
    where: str
    what: str
    remedy: str
    frames: tuple[int, ...] = ()
    sureness: str = ""

    def __str__(self) -> str:
        sure = f" ({self.sureness})" if self.sureness else ""
        return f"{self.severity.value}: {self.where}: {self.what}{sure}: {self.remedy}"


@dataclasses.dataclass(frozen=True)
class DatasetReport:
    """All findings of ``check_dataset`` on the dataset read from ``source``, the worst first."""

    findings: tuple[Finding, ...]
    source: str = ""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make a fit wrong."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that may make a fit wrong."""
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    def __str__(self) -> str:
        notes = len(self.findings) - len(self.errors) - len(self.warnings)
        head = f"{self.source}: {len(self.errors)} error(s), {len(self.warnings)} warning(s), {notes} note(s)"
        return "\n".join([head, *(f"  {finding}" for finding in self.findings)])
