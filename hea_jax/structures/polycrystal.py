"""Polycrystals on a voxel grid.

Source: Voronoi tessellation of random (Poisson) seeds with periodic images, as in Kanit et al. 2003.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.records.scales import Microstructure
from hea_jax.structures.rotations import random_rotations

Lengths = float | Sequence[float] | np.ndarray
"""One edge length for all axes, or one per axis."""


def check_grid(grid: Sequence[int], voxel_nm: Lengths) -> tuple[tuple[int, int, int], np.ndarray]:
    """Three positive numbers of voxels and three positive edge lengths (nm); raises ``ValueError`` otherwise."""
    sizes = tuple(int(n) for n in grid)
    if len(sizes) != 3 or min(sizes) < 1 or any(n != m for n, m in zip(sizes, grid, strict=True)):
        raise ValueError(f"grid must be three positive whole numbers of voxels, got {tuple(grid)}")
    voxel = np.broadcast_to(np.asarray(voxel_nm, float), (3,))
    if not np.all(np.isfinite(voxel)) or not np.all(voxel > 0):
        raise ValueError(f"voxel edge lengths must be positive (nm), got {voxel_nm}")
    return sizes, voxel


def voxel_centres(sizes: tuple[int, int, int], voxel: np.ndarray) -> list[np.ndarray]:
    """Coordinates (nm) of voxel centres along each axis."""
    return [(np.arange(n) + 0.5) * h for n, h in zip(sizes, voxel, strict=True)]


def periodic_voronoi(seeds_nm: Float[Array, "grain 3"], grid: Sequence[int],
                     voxel_nm: Lengths) -> Int[Array, "n1 n2 n3"]:
    """Index of the nearest seed (with periodic images) of every voxel centre.

    One seed at a time, so memory is that of two fields; usable under ``jit`` and ``vmap`` over seeds.
    """
    sizes, voxel = check_grid(grid, voxel_nm)
    centres = [jnp.asarray(c) for c in voxel_centres(sizes, voxel)]
    edges = np.array(sizes) * voxel

    def nearer(best, item):
        index, seed = item
        away = [c - seed[d] for d, c in enumerate(centres)]
        x, y, z = ((a - edges[d] * jnp.round(a / edges[d])) ** 2 for d, a in enumerate(away))
        distance = x[:, None, None] + y[None, :, None] + z[None, None, :]
        closer = distance < best[0]
        return (jnp.where(closer, distance, best[0]), jnp.where(closer, index, best[1])), None
    number = seeds_nm.shape[0]
    start = (jnp.full(sizes, jnp.inf, centres[0].dtype), jnp.zeros(sizes, int))
    (_, phases), _ = jax.lax.scan(nearer, start, (jnp.arange(number), jnp.asarray(seeds_nm)))
    return phases


def voronoi_polycrystal(key: Array, *, grains: int, grid: Sequence[int],
                        voxel_nm: Lengths = 1.0) -> Microstructure:
    """A periodic Voronoi polycrystal with uniform random orientations.

    ``key`` fixes seeds and orientations; ``grid`` (3,) voxels, ``voxel_nm`` edge length(s) in nm. Raises
    ``ValueError`` for a number of grains that is not between 1 and the number of voxels, or a bad grid.
    """
    sizes, voxel = check_grid(grid, voxel_nm)
    if not 1 <= grains <= int(np.prod(sizes)):
        raise ValueError(f"grains must lie between 1 and the number of voxels {int(np.prod(sizes))}, got {grains}")
    key_seeds, key_rotations = jax.random.split(key)
    seeds = jax.random.uniform(key_seeds, (grains, 3)) * jnp.asarray(np.array(sizes) * voxel)
    phases = periodic_voronoi(seeds, sizes, voxel)
    return Microstructure(phases, random_rotations(key_rotations, grains), jnp.asarray(voxel))
