"""Fields for ParaView: VTKHDF image data and unstructured grids, written with h5py.

Source: VTK file formats, "VTKHDF file format", version 2.0 (image data: WholeExtent, Origin, Spacing, Direction;
arrays in z, y, x order; unstructured grids: NumberOfPoints, Points, Connectivity, Offsets, Types).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hea_jax.app.runs.units import unit_of


def save_image_data(path: Path, fields: Mapping[str, Any], spacing_nm: Any) -> None:
    """Write voxel fields of one grid as cell data; lengths in nm, units stand in the names of the fields.

    A field has shape (x, y[, z]) or, with components first, (c, x, y[, z]) for a vector (c = 3), a symmetric tensor
    in the order xx yy zz xy yz xz (c = 6) or any other set of components. Raises ``ValueError`` when grids differ.
    """
    import h5py

    ndim = len(spacing_nm)
    if ndim not in (2, 3) or not fields:
        raise ValueError("give at least one field, and the spacing along two or three axes")
    arrays = {name: _components_last(name, field, ndim) for name, field in fields.items()}
    grids = {array.shape[:3] for array in arrays.values()}
    if len(grids) > 1:
        raise ValueError(f"the fields are on different grids: {sorted(grids)}")
    grid = grids.pop()
    spacing = [*(float(h) for h in spacing_nm), *([float(min(spacing_nm))] * (3 - ndim))]
    with h5py.File(path, "w") as file:
        root = file.create_group("VTKHDF")
        root.attrs["Version"] = np.array([2, 0], dtype=np.int64)
        root.attrs.create("Type", b"ImageData", dtype=h5py.string_dtype("ascii", len(b"ImageData")))
        root.attrs["WholeExtent"] = np.array([0, grid[0], 0, grid[1], 0, grid[2]], dtype=np.int64)
        root.attrs["Origin"] = np.zeros(3)
        root.attrs["Spacing"] = np.array(spacing)
        root.attrs["Direction"] = np.eye(3).ravel()
        cells = root.create_group("CellData")
        for name, array in arrays.items():
            data = np.ascontiguousarray(np.swapaxes(array, 0, 2))
            cells.create_dataset(name, data=data, compression="gzip", shuffle=True).attrs["unit"] = unit_of(name)


def save_unstructured_grid(path: Path, nodes_nm: Any, cells: Any, kind: int, point_fields: Mapping[str, Any],
                           cell_fields: Mapping[str, Any]) -> None:
    """Write a mesh with fields; lengths in nm, units stand in the names of the fields.

    ``nodes_nm`` (node, 2 or 3); ``cells`` (element, a) node numbers; ``kind`` VTK's number of the cell type (an
    element's ``vtk``). Point fields are (node, ...), cell fields (element, ...): scalars, vectors of two (padded) or
    three components, tensors 3×3 in rows. Raises ``ValueError`` for a field of another length.
    """
    import h5py

    nodes, connectivity = _three_components(np.asarray(nodes_nm, float)), np.asarray(cells, np.int64)
    groups = {"PointData": _rows(point_fields, len(nodes), "nodes"),
              "CellData": _rows(cell_fields, len(connectivity), "elements")}
    with h5py.File(path, "w") as file:
        root = file.create_group("VTKHDF")
        root.attrs["Version"] = np.array([2, 0], dtype=np.int64)
        root.attrs.create("Type", b"UnstructuredGrid", dtype=h5py.string_dtype("ascii", len(b"UnstructuredGrid")))
        for name, count in (("Points", len(nodes)), ("Cells", len(connectivity)),
                            ("ConnectivityIds", connectivity.size)):
            root.create_dataset(f"NumberOf{name}", data=np.array([count], dtype=np.int64))
        root.create_dataset("Points", data=nodes)
        root.create_dataset("Connectivity", data=connectivity.ravel())
        root.create_dataset("Offsets", data=np.arange(len(connectivity) + 1, dtype=np.int64) * connectivity.shape[1])
        root.create_dataset("Types", data=np.full(len(connectivity), kind, dtype=np.uint8))
        for group, fields in groups.items():
            data = root.create_group(group)
            for name, array in fields.items():
                data.create_dataset(name, data=array, compression="gzip", shuffle=True).attrs["unit"] = unit_of(name)


def _rows(fields: Mapping[str, Any], count: int, of: str) -> dict[str, np.ndarray]:
    """Fields as (count,) or (count, component), logical ones as integers."""
    rows = {}
    for name, field in fields.items():
        array = np.asarray(field)
        if array.ndim == 0 or len(array) != count:
            raise ValueError(f"field {name!r} has shape {array.shape}: expected {count} {of} first")
        flat = array if array.ndim == 1 else array.reshape(count, -1)
        flat = flat.astype(np.int64) if flat.dtype == bool else flat
        rows[name] = _three_components(flat) if array.shape[1:] == (2,) else flat
    return rows


def _three_components(array: np.ndarray) -> np.ndarray:
    """Vectors of the plane with a third component of zero."""
    return np.pad(array, ((0, 0), (0, 3 - array.shape[1]))) if array.shape[1] < 3 else array


def _components_last(name: str, field: Any, ndim: int) -> np.ndarray:
    """A field as (x, y, z) or (x, y, z, component)."""
    array = np.asarray(field)
    if array.ndim not in (ndim, ndim + 1):
        raise ValueError(f"field {name!r} has shape {array.shape}: expected {ndim} grid axes, components first")
    if array.ndim == ndim + 1:
        array = np.moveaxis(array, 0, -1)
    if ndim == 2:
        array = np.expand_dims(array, 2)
    return array.astype(np.int64) if array.dtype == bool else array
