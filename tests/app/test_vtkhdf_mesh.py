"""Meshes in VTKHDF: the layout that VTK asks for, fields with units, refused fields."""

import h5py
import numpy as np
import pytest

from hea_jax.app.runs.vtkhdf import save_unstructured_grid
from hea_jax.continuum.mesh import Hex8, Quad8, box, rectangle


@pytest.mark.parametrize("element", [Quad8(), Hex8()], ids=lambda e: type(e).__name__)
def test_unstructured_grid(tmp_path, element):
    mesh = box((2.0, 1.0, 1.0), (2, 1, 1)) if element.dim == 3 else rectangle((2.0, 1.0), (2, 1), element)
    nodes, cells = np.asarray(mesh.nodes), np.asarray(mesh.cells)
    stress = np.arange(2 * 9.0).reshape(2, 3, 3)
    save_unstructured_grid(tmp_path / "x.vtkhdf", nodes, cells, element.vtk, {"u_nm": 0.1 * nodes, "T_K": nodes[:, 0]},
                           {"stress_GPa": stress, "flag": np.array([True, False])})
    with h5py.File(tmp_path / "x.vtkhdf") as file:
        root = file["VTKHDF"]
        assert root.attrs["Type"] == b"UnstructuredGrid"
        assert list(root.attrs["Version"]) == [2, 0]
        assert [int(root[f"NumberOf{n}"][0]) for n in ("Points", "Cells", "ConnectivityIds")] == [
            len(nodes), 2, cells.size]
        assert list(root["Types"]) == [{2: 23, 3: 12}[element.dim]] * 2
        offsets, connectivity = root["Offsets"][:], root["Connectivity"][:]
        for i, cell in enumerate(cells):
            np.testing.assert_array_equal(connectivity[offsets[i] : offsets[i + 1]], cell)
        points = root["Points"][:]
        assert points.shape == (len(nodes), 3)
        np.testing.assert_array_equal(points[:, : element.dim], nodes)
        assert np.all(points[:, element.dim :] == 0)
        np.testing.assert_allclose(root["PointData/u_nm"][:], 0.1 * points)
        assert root["PointData/T_K"].attrs["unit"] == "K"
        np.testing.assert_array_equal(root["CellData/stress_GPa"][:], stress.reshape(2, 9))
        assert list(root["CellData/flag"]) == [1, 0]


def test_fields_of_another_length_are_refused(tmp_path):
    mesh = rectangle((2.0, 1.0), (2, 1), Quad8())
    with pytest.raises(ValueError, match=r"'T_K' has shape \(3,\): expected 13 nodes"):
        save_unstructured_grid(tmp_path / "x.vtkhdf", mesh.nodes, mesh.cells, 23, {"T_K": np.ones(3)}, {})
    with pytest.raises(ValueError, match="expected 2 elements"):
        save_unstructured_grid(tmp_path / "x.vtkhdf", mesh.nodes, mesh.cells, 23, {}, {"E_GPa": np.float64(1.0)})
