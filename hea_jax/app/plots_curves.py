"""Line plots of the report: panels side by side, curves with error bars, bands and reference lines."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hea_jax.app.plots import COLOURS, INK, _figure, _style

MARKS = "osD^vPXh*"


@dataclasses.dataclass(frozen=True)
class Curve:
    """One curve: ``x`` and ``y`` in the units of the panel's labels, standard errors of y, marks instead of a line."""

    label: str
    x: Any
    y: Any
    yerr: Any = None
    marks: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """Axes with labels (units included), curves, and horizontal reference lines by label."""

    xlabel: str
    ylabel: str
    curves: Sequence[Curve]
    levels: dict[str, float] = dataclasses.field(default_factory=dict)
    log_y: bool = False
    log_x: bool = False


def panels(content: Sequence[Panel], *, width: float = 4.6, height: float = 3.5) -> Any:
    """A figure with one axes per panel, side by side."""
    with _style():
        figure = _figure(width * len(content), height)
        for axes, panel in zip(np.ravel(figure.subplots(1, len(content))), content, strict=True):
            _draw(axes, panel)
        return figure


def _draw(axes: Any, panel: Panel) -> None:
    """One panel."""
    for i, curve in enumerate(panel.curves):
        colour, mark = COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)]
        line = {"color": colour, "label": curve.label or None}
        if curve.yerr is not None:
            axes.errorbar(
                curve.x,
                curve.y,
                yerr=curve.yerr,
                fmt=mark if curve.marks else "-" + mark,
                ms=5,
                capsize=3,
                lw=1.5,
                **line,
            )
        elif curve.marks:
            axes.plot(curve.x, curve.y, mark, ms=6, mec="white", **line)
        else:
            axes.plot(curve.x, curve.y, "-", lw=1.6, **line)
    for label, value in panel.levels.items():
        axes.axhline(value, color=INK, ls="--", lw=1.1, label=label)
    if panel.log_y:
        axes.set_yscale("log")
    if panel.log_x:
        axes.set_xscale("log")
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    if any(curve.label for curve in panel.curves) or panel.levels:
        axes.legend()
