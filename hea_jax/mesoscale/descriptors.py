"""Descriptors of phase-field states: grains, interfaces, wavelengths.

Sources: Federer 1959 (coarea formula: interface area as ∫|∇c|/Δc); Guinier 1963 (structure factor).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.mesoscale.grid import PeriodicGrid


def grain_volumes(grains: Int[Array, "*grid"], count: int, grid: PeriodicGrid) -> Float[Array, "grain"]:
    """Volume (nm^d) of each of ``count`` grains (or phases) of a map; 0 for those that are gone."""
    return jnp.bincount(grains.ravel(), length=count) * grid.voxel_volume()


def volume_fractions(grains: Int[Array, "*grid"], count: int) -> Float[Array, "grain"]:
    """Volume fraction of each of ``count`` grains (or phases) of a map."""
    return jnp.bincount(grains.ravel(), length=count) / grains.size


def grain_count(grains: Int[Array, "*grid"], count: int) -> Int[Array, ""]:
    """How many of ``count`` grains a map still has."""
    return jnp.sum(jnp.bincount(grains.ravel(), length=count) > 0)


def mean_grain_size_nm(grains: Int[Array, "*grid"], count: int, grid: PeriodicGrid) -> Float[Array, ""]:
    """Diameter (nm) of the sphere (circle in 2D, segment in 1D) of the mean grain volume."""
    volumes = grain_volumes(grains, count, grid)
    mean = jnp.sum(volumes) / jnp.sum(volumes > 0)
    d = len(grid.sizes)
    unit_ball = {1: 2.0, 2: np.pi, 3: 4 * np.pi / 3}[d]
    return 2 * (mean / unit_ball) ** (1 / d)


def compact_grains(grains: Int[Array, "*grid"]) -> tuple[np.ndarray, np.ndarray]:
    """The map with the grains still there renumbered 0, 1, …, and their old numbers (grain,). Host-side (NumPy)."""
    old, new = np.unique(np.asarray(grains), return_inverse=True)
    return new.reshape(grains.shape), old


def interface_area(field: Float[Array, "*grid"], grid: PeriodicGrid, *, low, high) -> Float[Array, ""]:
    """Area (nm^(d−1)) of the diffuse interfaces of one field between its values ``low`` and ``high``."""
    slope = jnp.sqrt(jnp.sum(grid.gradient(grid.transform(field)) ** 2, axis=0))
    return jnp.sum(slope) * grid.voxel_volume() / (high - low)


def boundary_area(fields: Float[Array, "op *grid"], grid: PeriodicGrid) -> Float[Array, ""]:
    """Area (nm^(d−1)) of the boundaries between order parameters; each boundary belongs to two of them."""
    slopes = jnp.sqrt(jnp.sum(grid.gradient(grid.transform(fields)) ** 2, axis=0))
    return 0.5 * jnp.sum(slopes) * grid.voxel_volume()


def boundary_points(fields: Float[Array, "*fields"], grid: PeriodicGrid) -> Float[Array, ""]:
    """Grid points in the step of the steepest interface of ``fields``: range over steepest slope over spacing."""
    slopes = jnp.sqrt(jnp.sum(grid.gradient(grid.transform(fields)) ** 2, axis=0))
    return (jnp.max(fields) - jnp.min(fields)) / jnp.max(slopes) / jnp.max(grid.voxel_nm)


def structure_factor(field: Float[Array, "*grid"], grid: PeriodicGrid
                     ) -> tuple[Float[Array, "bin"], Float[Array, "bin"]]:
    """Wavenumbers k (1/nm) and S(k) = ⟨|ĉ_k|²⟩/points averaged over shells of width 2π/(longest edge); k = 0 left out.

    For white noise of variance v, S = v. Shells without a mode have S = 0.
    """
    spectrum = grid.transform(field)
    unit = 2 * jnp.pi / jnp.max(jnp.asarray(grid.sizes) * grid.voxel_nm)
    bins = max(grid.sizes) // 2
    shell = jnp.round(jnp.sqrt(grid.k_squared()) / unit).astype(int)
    # Modes with 0 < k_last < Nyquist stand for their conjugates too.
    last = np.arange(spectrum.shape[-1])
    twice = np.where((last > 0) & (2 * last != grid.sizes[-1]), 2.0, 1.0)
    weight = jnp.broadcast_to(jnp.asarray(twice, field.dtype), spectrum.shape).ravel()
    power = (jnp.abs(spectrum) ** 2).ravel() / grid.points
    total = jnp.bincount(shell.ravel(), weight * power, length=bins + 1)[1:]
    number = jnp.bincount(shell.ravel(), weight, length=bins + 1)[1:]
    return unit * jnp.arange(1, bins + 1), jnp.where(number > 0, total / jnp.maximum(number, 1), 0.0)


def mean_wavelength_nm(field: Float[Array, "*grid"], grid: PeriodicGrid) -> Float[Array, ""]:
    """2π over the mean wavenumber of the power |ĉ_k|² (nm): the spacing of a segregation or spinodal pattern."""
    spectrum = grid.transform(field - jnp.mean(field))
    last = np.arange(spectrum.shape[-1])
    twice = jnp.asarray(np.where((last > 0) & (2 * last != grid.sizes[-1]), 2.0, 1.0), field.dtype)
    power = twice * jnp.abs(spectrum) ** 2
    return 2 * jnp.pi * jnp.sum(power) / jnp.sum(power * jnp.sqrt(grid.k_squared()))
