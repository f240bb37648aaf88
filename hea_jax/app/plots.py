"""Figures of the report: functions from data to a matplotlib ``Figure``.

Colours are those of Okabe & Ito (2008), told apart by readers with any colour vision; groups differ in their marks
too. Every axis carries its unit. No function draws on a screen or keeps state.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A", "#7A6A4F", "#222222")
INK, GRID = "#1d2430", "#d9dee5"
_MARKS = "osD^vPXh*"
_RC: Any = {
    "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10.5, "legend.fontsize": 9, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False, "mathtext.fontset": "dejavusans",
    "savefig.facecolor": "white", "figure.facecolor": "white", "xtick.direction": "out", "ytick.direction": "out",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Parity:
    """One quantity against its reference: flat arrays in ``unit``, a group label and a held-out flag per value."""

    quantity: str
    unit: str
    reference: Any
    predicted: Any
    groups: Sequence[str]
    held_out: Any


def parity_plots(panels: Sequence[Parity]) -> Any:
    """Prediction against reference (above) and their difference (below), one column per quantity.

    Filled marks were fitted, open ones with a dark edge held out; the root-mean-square errors of both stand inside.
    """
    with _style():
        figure = _figure(4.4 * len(panels), 6.1)
        grid = figure.add_gridspec(2, len(panels), height_ratios=(3, 1.15))
        marks = _group_marks(panels)
        for column, panel in enumerate(panels):
            above = figure.add_subplot(grid[0, column])
            below = figure.add_subplot(grid[1, column], sharex=above)
            _draw_parity(above, below, panel, marks)
        handles = _group_handles(marks)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3 * len(panels)))
        figure.align_ylabels()
        return figure


def bar_chart(
    labels: Sequence[str],
    values: Any,
    errors: Any,
    *,
    ylabel: str,
    references: Mapping[str, float] | None = None,
    reference_label: str = "reference",
) -> Any:
    """Bars with standard errors; ``references`` (by label) are drawn as diamonds. ``ylabel`` carries the unit."""
    with _style():
        figure = _figure(max(4.2, 0.85 * len(labels) + 1.6), 3.6)
        axes = figure.add_subplot()
        x = np.arange(len(labels))
        spread = [np.nan if error is None else error for error in errors]
        axes.bar(x, values, width=0.62, color=COLOURS[0], alpha=0.85)
        axes.errorbar(x, values, yerr=spread, fmt="none", ecolor=INK, elinewidth=1.3, capsize=4, label="standard error")
        found = [(i, references[name]) for i, name in enumerate(labels) if references and name in references]
        if found:
            axes.plot(*zip(*found, strict=True), "D", color=COLOURS[1], mec="white", ms=8, label=reference_label)
        axes.axhline(0, color=INK, lw=0.9)
        axes.set_xticks(x, labels)
        axes.grid(False, axis="x")
        axes.margins(y=0.14)
        axes.set_ylabel(ylabel)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return figure


def grains_slice(phases: Any, voxel_nm: Any, *, title: str = "") -> Any:
    """A plane of a microstructure, one colour per grain, with the grain boundaries drawn; axes in nm."""
    from matplotlib.colors import ListedColormap

    phases = np.asarray(phases)
    names, index = np.unique(phases, return_inverse=True)
    with _style():
        figure, axes, extent = _plane(phases.shape, voxel_nm, title, width=4.7)
        colours = ListedColormap(_grain_colours(names))
        image = index.reshape(phases.shape).T
        axes.imshow(image, cmap=colours, extent=extent, origin="lower", interpolation="nearest", vmin=-0.5,
                    vmax=len(names) - 0.5)  # fmt: skip
        for segment in _boundaries(phases, voxel_nm):
            axes.plot(*segment, color="#222222", lw=0.8, solid_capstyle="round")
        return figure


def field_slice(field: Any, voxel_nm: Any, *, label: str, title: str = "", centred: bool = False) -> Any:
    """A plane of a field with a colour bar; ``label`` names the quantity with its unit, axes are in nm
    or µm.

    ``centred`` uses a diverging map about zero.
    """
    field = np.asarray(field)
    with _style():
        figure, axes, extent = _plane(field.shape, voxel_nm, title, width=5.6)
        limit = float(np.max(np.abs(field))) or 1.0
        options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if centred else {"cmap": "viridis"}
        image = axes.imshow(field.T, extent=extent, origin="lower", interpolation="nearest", **options)
        figure.colorbar(image, ax=axes, label=label, shrink=0.92, pad=0.03)
        return figure


def convergence(
    histories: Mapping[str, Sequence[float]],
    *,
    ylabel: str = "relative residual",
    xlabel: str = "iteration",
    tolerance: float | None = None,
) -> Any:
    """Residuals on a logarithmic axis against the iteration, one line per name; a dashed line at the tolerance."""
    with _style():
        figure = _figure(5.4, 3.7)
        axes = figure.add_subplot()
        for i, (name, history) in enumerate(histories.items()):
            every = max(1, len(history) // 12)
            axes.semilogy(history, color=_colour(i), marker=_MARKS[i % len(_MARKS)], markevery=every, ms=5, lw=1.6,
                          label=name)  # fmt: skip
        if tolerance is not None:
            axes.axhline(tolerance, color=INK, lw=1, ls="--")
            axes.annotate("tolerance", (1, tolerance), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          fontsize=9, xytext=(0, 2), textcoords="offset points")  # fmt: skip
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if len(histories) > 1:
            axes.legend()
        return figure


def trade_off(
    x: Sequence[float],
    y: Sequence[float],
    labels: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    chosen: int | None = None,
    limit: float | None = None,
    log_y: bool = True,
) -> Any:
    """A trade-off curve through labelled points; ``chosen`` is ringed, ``limit`` is the largest allowed x."""
    with _style():
        figure = _figure(5.6, 4.0)
        axes = figure.add_subplot()
        axes.plot(x, y, "-o", color=COLOURS[0], lw=1.6, ms=6, mec="white", zorder=3)
        for px, py, text in zip(x, y, labels, strict=True):
            axes.annotate(text, (px, py), xytext=(11, 7), textcoords="offset points", fontsize=9)
        if chosen is not None:
            axes.plot(x[chosen], y[chosen], "o", ms=15, mfc="none", mec=COLOURS[1], mew=2, zorder=4, label="chosen")
        if limit is not None:
            axes.axvline(limit, color=COLOURS[1], ls="--", lw=1.2, label="limit")
        if log_y:
            axes.set_yscale("log")
        axes.margins(x=0.14, y=0.14)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if chosen is not None or limit is not None:
            axes.legend()
        return figure


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A modulus between its bounds, all in one unit; ``points`` are computed values by name (e.g. PBC)."""

    name: str
    reuss: float
    hashin_low: float
    hashin_high: float
    voigt: float
    points: Mapping[str, float]


def bounds_strip(rows: Sequence[Bounds], *, unit: str) -> Any:
    """Where computed moduli lie between Reuss and Voigt (pale) and the Hashin–Shtrikman bounds (dark), row by row."""
    with _style():
        figure = _figure(6.6, 1.35 * len(rows) + 0.75)
        names = list(dict.fromkeys(name for row in rows for name in row.points))
        for axes, row in zip(np.ravel(figure.subplots(len(rows), 1)), rows, strict=True):
            _draw_bounds(axes, row, names)
            axes.set_xlabel(f"{row.name} ({unit})")
        entries = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(),
                                                                                  strict=True)}  # fmt: skip
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=min(len(entries), 5))
        return figure


def _style() -> Any:
    """The house style, for the time of drawing."""
    import matplotlib

    return matplotlib.rc_context(_RC)


def _figure(width: float, height: float) -> Any:
    """A figure of a size in inches, outside pyplot (nothing to close)."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _colour(i: int) -> str:
    """The i-th colour."""
    return COLOURS[i % len(COLOURS)]


def _group_marks(panels: Sequence[Parity]) -> dict[str, tuple[str, str]]:
    """Colour and mark of every group."""
    groups = list(dict.fromkeys(group for panel in panels for group in panel.groups))
    return {group: (_colour(i), _MARKS[i % len(_MARKS)]) for i, group in enumerate(groups)}


def _group_handles(marks: Mapping[str, tuple[str, str]]) -> list[Any]:
    """Legend entries of the groups and of the held-out mark."""
    from matplotlib.lines import Line2D

    plain = {"ls": "none", "ms": 7}
    handles = [Line2D([], [], color=c, marker=m, mec=c, mew=0.5, label=g, **plain) for g, (c, m) in marks.items()]
    return [*handles, Line2D([], [], color="white", marker="o", mec=INK, mew=1.3, label="held out (open)", **plain)]


def _draw_parity(above: Any, below: Any, panel: Parity, marks: Mapping[str, tuple[str, str]]) -> None:
    """One column of ``parity_plots``."""
    reference, predicted = np.asarray(panel.reference), np.asarray(panel.predicted)
    held, groups = np.asarray(panel.held_out, bool), np.asarray(panel.groups)
    error = predicted - reference
    size = 16 if reference.size < 1500 else 7
    for group, (colour, mark) in marks.items():
        for is_held in (False, True):
            chosen = (groups == group) & (held == is_held)
            face = "none" if is_held else colour
            edge, width = (colour, 1.2) if is_held else ("white", 0.3)
            style = {"s": size * (1.7 if is_held else 1), "marker": mark, "facecolors": face, "edgecolors": edge,
                     "linewidths": width, "zorder": 4 if is_held else 3}  # fmt: skip
            above.scatter(reference[chosen], predicted[chosen], **style)
            below.scatter(reference[chosen], error[chosen], **style)
    low, high = float(min(reference.min(), predicted.min())), float(max(reference.max(), predicted.max()))
    pad = 0.04 * (high - low or 1.0)
    above.plot([low - pad, high + pad], [low - pad, high + pad], color=INK, lw=1, zorder=2)
    below.axhline(0, color=INK, lw=1, zorder=2)
    above.set(title=panel.quantity, ylabel=f"predicted ({panel.unit})", aspect="equal", adjustable="datalim")
    below.set(xlabel=f"reference ({panel.unit})", ylabel=f"difference ({panel.unit})")
    above.tick_params(labelbottom=False)
    lines = [f"RMSE {name} {_rms(error[chosen]):.3g}" for name, chosen in (("fitted", ~held), ("held out", held))
             if chosen.any()]  # fmt: skip
    box = {"boxstyle": "round,pad=.3", "fc": "white", "ec": GRID}
    above.text(0.04, 0.96, "\n".join(lines), transform=above.transAxes, va="top", fontsize=9, bbox=box, zorder=5)


def _rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def _plane(shape: tuple[int, ...], voxel_nm: Any, title: str, width: float) -> tuple[Any, Any, Any]:
    """Figure, axes and extent of a picture of a plane; in µm where nm would be five digits."""
    lengths = [n * float(h) for n, h in zip(shape, voxel_nm, strict=True)]
    unit = "nm" if max(lengths) < 1e4 else "µm"
    lengths = lengths if unit == "nm" else [1e-3 * length for length in lengths]
    figure = _figure(width, 4.4)
    axes = figure.add_subplot()
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", title=title, aspect="equal")
    axes.grid(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return figure, axes, (0, lengths[0], 0, lengths[1])


def _grain_colours(names: np.ndarray) -> list[Any]:
    """A light, distinct colour per grain index: hues by the golden ratio, two levels of brightness."""
    from matplotlib.colors import hsv_to_rgb

    hues = (0.13 + 0.6180339887 * names.astype(float)) % 1.0
    saturation = np.where(names % 3 == 0, 0.35, 0.55)
    brightness = np.where(names % 2 == 0, 0.95, 0.78)
    return list(hsv_to_rgb(np.stack([hues, saturation, brightness], axis=-1)))


def _boundaries(phases: np.ndarray, voxel_nm: Any) -> list[tuple[Any, Any]]:
    """Edges between voxels of different grains, as line segments with gaps (nan) in nm."""
    hx, hy = (float(h) for h in voxel_nm)
    i, j = np.nonzero(phases[1:, :] != phases[:-1, :])
    k, m = np.nonzero(phases[:, 1:] != phases[:, :-1])
    gap, gap2 = np.full(i.size, np.nan), np.full(k.size, np.nan)
    upright = (np.stack([(i + 1) * hx, (i + 1) * hx, gap], 1).ravel(), np.stack([j * hy, (j + 1) * hy, gap], 1).ravel())
    level = (np.stack([k * hx, (k + 1) * hx, gap2], 1).ravel(), np.stack([(m + 1) * hy, (m + 1) * hy, gap2], 1).ravel())
    return [upright, level]


def _draw_bounds(axes: Any, row: Bounds, names: Sequence[str]) -> None:
    """One row of ``bounds_strip``."""
    values = (row.reuss, row.voigt, *row.points.values())
    span = max(values) - min(values)
    span = max(span, 2e-3 * max(map(abs, values)))
    # Coinciding bounds (the bulk modulus of cubic crystals) stay visible as a thin bar.
    for low, high, colour, alpha, name in (
        (row.reuss, row.voigt, COLOURS[5], 0.35, "Reuss–Voigt"),
        (row.hashin_low, row.hashin_high, COLOURS[0], 0.55, "Hashin–Shtrikman"),
    ):
        width = max(high - low, 0.006 * span)
        axes.barh(0, width, left=(low + high - width) / 2, height=0.62, color=colour, alpha=alpha, label=name)
    for i, name in enumerate(names):
        if name in row.points:
            axes.plot(row.points[name], 0, _MARKS[i % len(_MARKS)], color=_colour(i + 1), mec="white", ms=9, zorder=4,
                      label=name)  # fmt: skip
    middle = (min(values) + max(values)) / 2
    axes.set(yticks=[], ylim=(-0.6, 0.6), xlim=(middle - 0.58 * span, middle + 0.58 * span))
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
