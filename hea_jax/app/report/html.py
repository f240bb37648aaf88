"""``report.html``: one file without links to anywhere but the run folder; figures are embedded."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hea_jax.app.report.diagram import chain_svg
from hea_jax.app.report.format import plain_number, quantity, with_uncertainty
from hea_jax.app.runs.folder import FIGURE_DPI, StoredResult
from hea_jax.app.runs.stage import Stage

_STYLE = Path(__file__).with_name("style.css")
_MAX_MATRIX = 9


def render(summary: Mapping[str, Any], stages: Sequence[Stage], results: Mapping[str, StoredResult]) -> str:
    """The whole page."""
    name = escape(summary["name"])
    body = [
        f"<header><h1>{name}</h1>{_versions(summary)}</header>",
        _contents(stages),
        _checks(summary),
        "<section id='chain'><h2>The chain</h2>",
        "<p>Each box is a stage; beside it stand the numbers that it hands over.</p>",
        _diagram(stages, results),
        "</section>",
        *(_stage(stage, results[stage.name]) for stage in stages),
        _seconds(summary, stages),
    ]
    style = _STYLE.read_text(encoding="utf-8")
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{name}: hea_jax report</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _title(stage: Stage) -> str:
    """What a stage is called in the report."""
    return stage.title or stage.name.replace("_", " ").capitalize()


def _versions(summary: Mapping[str, Any]) -> str:
    """One line: versions and hashes."""
    versions = ", ".join(f"{escape(k)} {escape(v)}" for k, v in summary["versions"].items())
    hashes = f"configuration {summary['config_hash'][:12]}, code {summary['code_hash'][:12]}"
    return f"<p class='dim'>{versions}; {hashes}</p>"


def _contents(stages: Sequence[Stage]) -> str:
    """Links to the sections."""
    links = "".join(f"<li><a href='#{stage.name}'>{escape(_title(stage))}</a></li>" for stage in stages)
    files = "".join(f"<li><a href='{file}'>{file}</a></li>" for file in ("summary.json", "config.json"))
    first = "<li><a href='#checks'>Checks</a></li><li><a href='#chain'>Chain</a></li>"
    return f"<nav><ul>{first}{links}{files}</ul></nav>"


def _checks(summary: Mapping[str, Any]) -> str:
    """Verdicts and warnings of all stages."""
    rows = [
        f"<tr class='{'met' if v['passed'] else 'unmet'}'><td>{'met' if v['passed'] else 'not met'}</td>"
        f"<td><a href='#{v['stage']}'>{escape(v['stage'])}</a></td><td>{escape(v['name'])}</td>"
        f"<td>{escape(v['text'])}</td></tr>"
        for v in summary["verdicts"]
    ]
    warnings = [
        f"<li><a href='#{w['stage']}'>{escape(w['stage'])}</a>: {escape(w['text'])}</li>" for w in summary["warnings"]
    ]
    parts = ["<section id='checks'><h2>Checks</h2>"]
    if rows:
        head = "<tr><th>verdict</th><th>stage</th><th>check</th><th>numbers</th></tr>"
        parts.append(f"<div class='wide'><table>{head}{''.join(rows)}</table></div>")
    else:
        parts.append("<p>No stage gave a verdict.</p>")
    if warnings:
        parts.append(f"<h3>Warnings</h3><ul class='warnings'>{''.join(warnings)}</ul>")
    return "\n".join([*parts, "</section>"])


def _diagram(stages: Sequence[Stage], results: Mapping[str, StoredResult]) -> str:
    """The chain diagram with the numbers handed over."""
    boxes = []
    for stage in stages:
        data = results[stage.name].data
        lines = [f"{_words(name)} = {quantity(data['numbers'][name])}" for name in data["handover"]]
        boxes.append((stage.name, _title(stage), lines))
    edges = [(need, stage.name) for stage in stages for need in stage.needs]
    return chain_svg(boxes, edges)


def _stage(stage: Stage, result: StoredResult) -> str:
    """The section of one stage."""
    parts = [f"<section id='{stage.name}'><h2>{escape(_title(stage))}</h2>"]
    for section in result.data["sections"]:
        if section["title"] and section["title"] != _title(stage):
            parts.append(f"<h3>{escape(section['title'])}</h3>")
        parts += [f"<p>{escape(text)}</p>" for text in section["text"].split("\n\n") if text.strip()]
        parts += [_table(table) for table in section["tables"]]
        figures = [_figure(result.folder / figure["file"], figure["caption"]) for figure in section["figures"]]
        if figures:
            parts.append(f"<div class='figures'>{''.join(figures)}</div>")
    parts.append(_numbers(result.data["numbers"]))
    files = "".join(f"<li><a href='stages/{stage.name}/{escape(f)}'>{escape(f)}</a></li>" for f in result.files())
    parts.append(f"<p class='dim'>Computed in {result.seconds:.1f} s. Files:</p><ul class='files'>{files}</ul>")
    parts.append("</section>")
    return "\n".join(parts)


def _table(table: Mapping[str, Any]) -> str:
    """A table of a section."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in table["columns"])
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table["rows"])
    caption = f"<caption>{escape(table['caption'])}</caption>" if table["caption"] else ""
    return f"<div class='wide'><table>{caption}<tr>{head}</tr>{rows}</table></div>"


def _cell(value: Any) -> str:
    """A table cell; numbers are set to the right."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"<td class='right'>{escape(plain_number(value))}</td>"
    return f"<td>{escape(str(value))}</td>"


def _figure(path: Path, caption: str) -> str:
    """An embedded picture."""
    content = path.read_bytes()
    data = base64.b64encode(content).decode()
    # The width in pixels stands in bytes 16 to 20 of a PNG file; on the page an inch is 96 pixels.
    width = int.from_bytes(content[16:20], "big") * 96 // FIGURE_DPI
    return (
        f"<figure><img width='{width}' src='data:image/png;base64,{data}' alt='{escape(caption, quote=True)}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _numbers(numbers: Mapping[str, Any]) -> str:
    """All numbers of a stage, folded away under a heading."""
    if not numbers:
        return ""
    rows = []
    for name, number in numbers.items():
        provenance = number["provenance"]
        origin = "; ".join(text for text in (provenance["method"], provenance["source"]) if text)
        value = _matrix(number) or escape(quantity(number))
        rows.append(f"<tr><td>{escape(_words(name))}</td><td class='right'>{value}</td><td>{escape(origin)}</td></tr>")
    head = "<tr><th>number</th><th>value</th><th>from</th></tr>"
    return (
        f"<details open><summary>All numbers of this stage ({len(numbers)})</summary>"
        f"<div class='wide'><table>{head}{''.join(rows)}</table></div></details>"
    )


def _matrix(number: Mapping[str, Any]) -> str:
    """A small matrix written out, or nothing if the number is none."""
    value, spread = number["value"], number["uncertainty"]
    small = isinstance(value, list) and 0 < len(value) <= _MAX_MATRIX
    if not small or not all(isinstance(row, list) and len(row) <= _MAX_MATRIX for row in value):
        return ""
    if any(isinstance(item, list) for row in value for item in row):
        return ""
    spread = spread if isinstance(spread, list) else [[None] * len(row) for row in value]
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_short(v, u))}</td>" for v, u in zip(row, errors, strict=True)) + "</tr>"
        for row, errors in zip(value, spread, strict=True)
    )
    return f"<table class='matrix'>{rows}</table>{escape(number['unit'])}"


def _short(value: Any, uncertainty: Any) -> str:
    """A matrix element: to four digits, or with its uncertainty."""
    if uncertainty is None and isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return with_uncertainty(value, uncertainty)


def _words(name: str) -> str:
    """A field name as words."""
    return name.replace("_", " ")


def _seconds(summary: Mapping[str, Any], stages: Iterable[Stage]) -> str:
    """Where the time went."""
    seconds = summary["seconds"]
    rows = "".join(
        f"<tr><td>{escape(_title(stage))}</td><td class='right'>{seconds['stages'][stage.name]:.1f}</td>"
        f"<td>{escape(str(seconds['machines'][stage.name]['device']))}</td></tr>"
        for stage in stages
    )
    return (
        "<section id='seconds'><h2>Seconds per stage</h2><table><tr><th>stage</th><th>s</th><th>device</th></tr>"
        f"{rows}<tr><th>total</th><th class='right'>{seconds['total']:.1f}</th><th></th></tr></table></section>"
    )
