"""What a stage contributes to the report: text, tables and figures, as plain data."""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: column heads (with units), rows of texts or numbers, and a caption."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self):
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"table {self.caption!r}: a row has {len(wrong[0])} cells, not {len(self.columns)}")


@dataclasses.dataclass(frozen=True)
class ReportFigure:
    """A figure: its file name (without ending), its caption, and the matplotlib ``Figure``."""

    name: str
    caption: str
    figure: Any


@dataclasses.dataclass(frozen=True)
class ReportSection:
    """One section: a title, paragraphs of text (separated by blank lines), tables, figures."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[ReportFigure] = ()
