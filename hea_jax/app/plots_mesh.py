"""Figures of components: deformed meshes, load–displacement curves, Newton residuals.

The style is that of ``hea_jax.app.plots``: functions from data to a matplotlib ``Figure``, a unit on every axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hea_jax.app.plots import _MARKS, COLOURS, INK, _colour, _figure, _style


def mesh_plot(nodes: Any, cells: Any, facets: Any, field: Any, *, displacement: Any, label: str, length_unit: str,
              magnification: float = 1.0, title: str = "", centred: bool = False) -> Any:
    """A deformed plane mesh coloured by a field, over the outline of the undeformed one.

    ``nodes`` (node, 2) and ``displacement`` (node, 2) in ``length_unit`` (drawn ``magnification`` times); ``cells``
    (element, corners or more) of quadrilaterals or triangles in VTK's order; ``facets`` (facet, 2 or 3) all boundary
    edges, ends first, oriented as ``boundary_facets`` gives them; ``field`` one value per element, or per node;
    ``label`` names it with its unit. ``centred`` uses a diverging map about zero.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    nodes, cells, field = np.asarray(nodes), np.asarray(cells), np.asarray(field)
    moved = nodes + magnification * np.asarray(displacement)
    ring = _ring(cells.shape[1])
    values = field if len(field) == len(cells) else np.mean(field[cells], axis=1)
    limit = float(np.max(np.abs(values))) or 1.0
    span = np.ptp(np.concatenate([nodes, moved]), axis=0)
    with _style():
        figure = _figure(*_plane_size(span))
        axes = figure.add_subplot()
        lines = len(cells) <= 1500
        shape = PolyCollection(list(moved[cells[:, ring]]), array=values, cmap="RdBu_r" if centred else "viridis",
                               edgecolors=(0, 0, 0, 0.35) if lines else "face", linewidths=0.35 if lines else 0.2)
        if centred:
            shape.set_clim(-limit, limit)
        axes.add_collection(shape)
        scale = "" if magnification == 1 else f" (displacement × {magnification:g})"
        axes.add_collection(LineCollection([nodes[loop] for loop in _loops(np.asarray(facets))], colors=INK,
                                           linewidths=1.1, linestyles=(0, (4, 2.5)), label=f"undeformed{scale}"))
        axes.set_aspect("equal")
        axes.autoscale_view()
        axes.margins(0.04)
        axes.grid(False)
        axes.set(xlabel=f"x ({length_unit})", ylabel=f"y ({length_unit})", title=title)
        axes.ticklabel_format(style="sci", scilimits=(-3, 4), useMathText=True)
        bar = figure.colorbar(shape, ax=axes, label=label, shrink=0.92, pad=0.03)
        bar.outline.set_linewidth(0.6)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center")
        return figure


def load_displacement(curves: Mapping[str, tuple[Any, Any]], *, xlabel: str, ylabel: str) -> Any:
    """Load against displacement, one marked line per name; the labels carry the units."""
    with _style():
        figure = _figure(5.4, 3.8)
        axes = figure.add_subplot()
        for i, (name, (displacement, load)) in enumerate(curves.items()):
            axes.plot(displacement, load, color=_colour(i), marker=_MARKS[i % len(_MARKS)], ms=5, lw=1.6, mec="white",
                      label=name)
        axes.axhline(0, color=INK, lw=0.7)
        axes.axvline(0, color=INK, lw=0.7)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(0.05)
        if len(curves) > 1:
            axes.legend()
        return figure


def newton_residuals(steps: Mapping[str, Sequence[float]], *, unit: str, tolerance: float | None = None) -> Any:
    """Residual norm after every Newton iteration, one line per load step, on a logarithmic axis.

    ``steps`` maps the name of a step to its norms in ``unit``, the first at its predictor.
    """
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure = _figure(5.6, 3.9)
        axes = figure.add_subplot()
        names = list(steps)
        for i, name in enumerate(names):
            norms = np.asarray(steps[name], float)
            # A norm of exactly zero has no place on the axis.
            shown = np.where(norms > 0, norms, np.nan)
            axes.semilogy(np.arange(len(shown)), shown, color=_colour(i), marker=_MARKS[i % len(_MARKS)], ms=5, lw=1.5,
                          mec="white", label=name)
        if tolerance is not None:
            axes.axhline(tolerance, color=COLOURS[-1], lw=1, ls="--", label="tolerance")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="Newton iteration", ylabel=f"residual norm ({unit})")
        axes.legend(title="load step", fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
        return figure


def _ring(corners: int) -> list[int]:
    """Local nodes of a cell in the order in which its boundary is walked."""
    rings = {3: [0, 1, 2], 4: [0, 1, 2, 3], 6: [0, 3, 1, 4, 2, 5], 8: [0, 4, 1, 5, 2, 6, 3, 7]}
    if corners not in rings:
        raise ValueError(f"cells of {corners} nodes are no plane elements; 3, 4, 6 and 8 are")
    return rings[corners]


def _loops(facets: np.ndarray) -> list[list[int]]:
    """Nodes of the closed curves that oriented edges form, so that dashes run on from edge to edge."""
    following = {int(facet[0]): facet for facet in facets}
    loops = []
    while following:
        node = first = next(iter(following))
        loop = [first]
        while node in following:
            facet = following.pop(node)
            node = int(facet[1])
            loop += [*(int(n) for n in facet[2:]), node]
        loops.append(loop)
    return loops


def _plane_size(span: Any) -> tuple[float, float]:
    """Width and height in inches of a figure for a plane of this extent, colour bar and legend included."""
    height = float(np.clip(4.6 * span[1] / span[0], 1.6, 6.0))
    return 4.6 * min(1.0, height / (4.6 * span[1] / span[0])) + 1.9, height + 1.2
