"""Figures of components: what is drawn is what was given, with units."""

import numpy as np
import pytest

from hea_jax.app.plots_mesh import _loops, load_displacement, mesh_plot, newton_residuals
from hea_jax.continuum.mesh import Hex8, Quad4, Quad8, Tri6, boundary_facets, box, rectangle


@pytest.mark.parametrize("element", [Quad4(), Quad8(), Tri6()], ids=lambda e: type(e).__name__)
def test_mesh_plot(element, tmp_path):
    mesh = rectangle((2.0, 1.0), (4, 2), element)
    nodes, cells, facets = (np.asarray(a) for a in (mesh.nodes, mesh.cells, boundary_facets(mesh)))
    field = np.linspace(-2.0, 1.0, len(cells))
    figure = mesh_plot(nodes, cells, facets, field, displacement=0.1 * nodes, magnification=2, label="σ_xx (GPa)",
                       length_unit="nm", centred=True)
    shape, outline = figure.axes[0].collections
    np.testing.assert_allclose(shape.get_array(), field)
    assert shape.get_clim() == (-2.0, 2.0)
    corners = np.concatenate([path.vertices for path in shape.get_paths()])
    np.testing.assert_allclose(corners.max(axis=0), [2.4, 1.2])
    (loop,) = outline.get_segments()
    np.testing.assert_allclose(loop[0], loop[-1])
    # The outline runs counter-clockwise around the undeformed area.
    x, y = loop.T
    np.testing.assert_allclose(0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]), 2.0)
    assert (figure.axes[0].get_xlabel(), figure.axes[1].get_ylabel()) == ("x (nm)", "σ_xx (GPa)")
    assert "× 2" in figure.legends[0].get_texts()[0].get_text()
    figure.savefig(tmp_path / "mesh.png")
    nodal = mesh_plot(nodes, cells, facets, nodes[:, 0], displacement=0 * nodes, label="x (nm)", length_unit="nm")
    np.testing.assert_allclose(nodal.axes[0].collections[0].get_array(), nodes[cells, 0].mean(axis=1))


def test_loops_and_refusals():
    assert _loops(np.array([[0, 1], [5, 6], [1, 2], [6, 5], [2, 0]])) == [[0, 1, 2, 0], [5, 6, 5]]
    mesh = box((1.0, 1.0, 1.0), (1, 1, 1))
    with pytest.raises(ValueError, match="5 nodes are no plane elements"):
        mesh_plot(np.asarray(mesh.nodes)[:, :2], np.zeros((1, 5), int), np.zeros((1, 2), int), [1.0],
                  displacement=np.zeros((8, 2)), label="", length_unit="nm")
    assert Hex8().vtk == 12


def test_curves():
    figure = load_displacement({"a": ([0, 1], [0, 2]), "b": ([0, 1], [0, 3])}, xlabel="u (nm)", ylabel="F (nN)")
    lines = [line for line in figure.axes[0].lines if line.get_label() in "ab"]
    assert [list(line.get_ydata()) for line in lines] == [[0, 2], [0, 3]]
    residuals = newton_residuals({"0.5": [1.0, 1e-3, 0.0], "1": [2.0]}, unit="nN", tolerance=1e-9)
    first = residuals.axes[0].lines[0].get_ydata()
    assert np.isnan(first[2])
    assert residuals.axes[0].get_yscale() == "log"
    assert residuals.axes[0].get_ylabel() == "residual norm (nN)"
