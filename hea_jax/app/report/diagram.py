"""The chain as a diagram: a box per stage, an arrow per dependence, the numbers handed over beside the box."""

from collections.abc import Sequence
from html import escape

_BOX_WIDTH, _LINE, _GAP, _PADDING, _LEFT, _WIDTH = 250, 18, 34, 10, 110, 900
_ARC_STEP = 16


def chain_svg(boxes: Sequence[tuple[str, str, Sequence[str]]], edges: Sequence[tuple[str, str]]) -> str:
    """An SVG of ``boxes`` (name, title, lines of numbers) from top to bottom with ``edges`` between names.

    Neighbours are joined by a straight arrow; other edges run round the left side.
    """
    tops, heights, y = {}, {}, 8
    for name, _, lines in boxes:
        heights[name] = max(44, _LINE * len(lines) + 2 * _PADDING)
        tops[name] = y
        y += heights[name] + _GAP
    order = {name: i for i, (name, _, _) in enumerate(boxes)}
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {y - _GAP + 8}" role="img" aria-label="the chain of stages" class="chain">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#5a6472"/></marker></defs>',
    ]
    lane = 0
    for start, end in edges:
        if order[end] == order[start] + 1:
            x = _LEFT + _BOX_WIDTH / 2
            parts.append(_path(f"M{x} {tops[start] + heights[start]} L{x} {tops[end] - 2}"))
        else:
            lane = lane % 5 + 1
            parts.append(_path(_detour(lane, tops[start] + heights[start] - 12, tops[end] + 8 + 5 * lane)))
    for name, title, lines in boxes:
        parts.append(_box(tops[name], heights[name], title, lines))
    return "\n".join([*parts, "</svg>"])


def _detour(lane: int, y0: float, y1: float) -> str:
    """A path round the left side, from height y0 to height y1, with rounded corners."""
    x = _LEFT - lane * _ARC_STEP
    return f"M{_LEFT} {y0} H{x + 8} Q{x} {y0} {x} {y0 + 8} V{y1 - 8} Q{x} {y1} {x + 8} {y1} H{_LEFT - 2}"


def _path(d: str) -> str:
    """An arrow along a path."""
    return f'<path d="{d}" fill="none" stroke="#5a6472" stroke-width="1.5" marker-end="url(#tip)"/>'


def _box(top: float, height: float, title: str, lines: Sequence[str]) -> str:
    """A box with its title inside and its numbers at its right."""
    middle = top + height / 2
    centre = _LEFT + _BOX_WIDTH / 2
    text = [
        f'<rect x="{_LEFT}" y="{top}" width="{_BOX_WIDTH}" height="{height}" rx="6" fill="#eef3f8" stroke="#2f5d8a"/>',
        f'<text x="{centre}" y="{middle + 5}" text-anchor="middle" class="stage">{escape(title)}</text>',
    ]
    first = middle - _LINE * (len(lines) - 1) / 2 + 5
    for i, line in enumerate(lines):
        text.append(f'<text x="{_LEFT + _BOX_WIDTH + 18}" y="{first + i * _LINE}" class="number">{escape(line)}</text>')
    return "\n".join(text)
