"""Voxel fields for ParaView: VTKHDF image data, written with h5py.

Source: VTK file formats, "VTKHDF file format", version 2.0 (image data: WholeExtent, Origin, Spacing, Direction;
arrays in z, y, x order).
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
