"""Two-phase test microstructures: laminate, cubic array of spheres, checkerboard.

All return ``Microstructure`` with identity rotations, phase 0 the matrix and 1 the second phase.

Source: the sphere of radius .365 in a unit cell is the example of FANS (Leuschner & Fritzen 2018).
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from hea_jax.records.scales import Microstructure
from hea_jax.structures.polycrystal import Lengths, check_grid, voxel_centres


def _two_phase(second: np.ndarray, voxel: np.ndarray) -> Microstructure:
    rotations = jnp.broadcast_to(jnp.eye(3), (2, 3, 3))
    return Microstructure(jnp.asarray(second.astype(int)), rotations, jnp.asarray(voxel))


def laminate(grid: Sequence[int], *, normal: int = 2, fraction: float = 0.5,
             voxel_nm: Lengths = 1.0) -> Microstructure:
    """Layers normal to axis ``normal`` (0, 1, 2); the last ``fraction`` of the voxels along it is phase 1.

    Raises ``ValueError`` unless ``fraction`` of the voxels is a whole number.
    """
    sizes, voxel = check_grid(grid, voxel_nm)
    if normal not in (0, 1, 2):
        raise ValueError(f"normal must be 0, 1 or 2, got {normal}")
    layers = fraction * sizes[normal]
    if not 0 <= fraction <= 1 or abs(layers - round(layers)) > 1e-9:
        raise ValueError(f"a fraction {fraction} of {sizes[normal]} voxels is not a whole number of layers")
    second = np.arange(sizes[normal]) >= sizes[normal] - round(layers)
    shape = [sizes[d] if d == normal else 1 for d in range(3)]
    return _two_phase(np.broadcast_to(second.reshape(shape), sizes), voxel)


def cubic_sphere(grid: Sequence[int], *, radius: float = 0.365,
                 voxel_nm: Lengths = 1.0) -> Microstructure:
    """One sphere in the middle of the cell, repeated periodically; a voxel belongs to it if its centre does.

    ``radius`` as a fraction of the shortest cell edge; raises ``ValueError`` unless in (0, ½].
    """
    sizes, voxel = check_grid(grid, voxel_nm)
    if not 0 < radius <= 0.5:
        raise ValueError(f"radius must lie in (0, 0.5] of the shortest edge, got {radius}")
    edges = np.array(sizes) * voxel
    x, y, z = ((c - e / 2) ** 2 for c, e in zip(voxel_centres(sizes, voxel), edges, strict=True))
    distance2 = x[:, None, None] + y[None, :, None] + z[None, None, :]
    # The same sphere for every order of summation: centres on the surface are in.
    return _two_phase(distance2 <= (radius * edges.min()) ** 2 * (1 + 1e-12), voxel)


def checkerboard(grid: Sequence[int], *, axes: Sequence[int] = (0, 1, 2),
                 voxel_nm: Lengths = 1.0) -> Microstructure:
    """Two cells per period along each of ``axes``; constant along the others.

    Raises ``ValueError`` unless the grid is even along ``axes``, or if ``axes`` is empty, repeated or not in 0–2.
    """
    sizes, voxel = check_grid(grid, voxel_nm)
    if not axes or len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise ValueError(f"axes must be distinct and among 0, 1, 2, got {tuple(axes)}")
    if any(sizes[d] % 2 for d in axes):
        raise ValueError(f"a checkerboard needs an even grid along axes {tuple(axes)}, got {sizes}")
    parity = np.zeros(sizes, int)
    for d in axes:
        shape = [sizes[d] if a == d else 1 for a in range(3)]
        parity = parity + (np.arange(sizes[d]) // (sizes[d] // 2)).reshape(shape)
    return _two_phase(parity % 2 == 1, voxel)
