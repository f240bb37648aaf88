"""The printed table of ``hea-jax verify``."""

from collections.abc import Iterable
from typing import Any

_MARKS = {True: "[green]pass[/]", False: "[bold red]FAIL[/]", None: "[yellow]skip[/]"}


def add_rows(table: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Add the rows of one case to a ``rich`` table."""
    from rich.markup import escape

    for i, row in enumerate(rows):
        note = row.get("skipped") or row.get("error") or row["source"]
        table.add_row(
            row["scale"],
            escape(row["case"]),
            _number(row["computed"]),
            _number(row["reference"]),
            _number(row["tolerance"], digits=2),
            escape(row["unit"]),
            _MARKS[row["passed"]],
            f"{row['seconds']:.1f}" if i == 0 else "",
            escape(note),
        )


def new_table() -> Any:
    """An empty table with the columns of ``add_rows``."""
    from rich.table import Table

    table = Table(title="Reference cases", title_justify="left", header_style="bold")
    table.add_column("scale")
    table.add_column("case", overflow="fold")
    for head in ("computed", "reference", "tolerance"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("verdict")
    table.add_column("s", justify="right")
    table.add_column("source, or why not", overflow="fold", style="dim")
    return table


def totals(rows: list[dict[str, Any]]) -> str:
    """How many rows passed, failed, were skipped."""
    counts = {verdict: sum(row["passed"] is verdict for row in rows) for verdict in (True, False, None)}
    return f"{counts[True]} passed, {counts[False]} failed, {counts[None]} skipped"


def _number(value: float | None, digits: int = 7) -> str:
    """A number in a table, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}"
