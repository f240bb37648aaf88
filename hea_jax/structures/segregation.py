"""As-cast segregation: composition waves of the dendrite arm spacing.

In cast NbMoTaW, dendrite arms are rich in W and Ta, the regions between them in Nb and Mo: the element that melts
highest freezes first.

Sources: Senkov, Wilks, Miracle, Chuang & Liaw 2010 (as-cast NbMoTaW); Rumble 2020 (CRC Handbook, melting points).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MELTING_POINTS_K = {"Ti": 1941.0, "V": 2183.0, "Cr": 2180.0, "Zr": 2127.0, "Nb": 2750.0, "Mo": 2895.0, "Hf": 2506.0,
                    "Ta": 3290.0, "W": 3687.0, "Re": 3458.0}
"""Melting points of the refractory elements and their neighbours (K)."""


def melting_partition(elements: Sequence[str], amplitude: float) -> np.ndarray:
    """Partition vector (element,) in atomic fraction, Scheil-like: each element's melting point against their mean.

    The largest entry has magnitude ``amplitude``; the sum is zero. Raises ``ValueError`` for an element whose melting
    point (K) is not in ``MELTING_POINTS_K``: give a measured partition vector instead.
    """
    unknown = [e for e in elements if e not in MELTING_POINTS_K]
    if unknown or len(elements) < 2:
        raise ValueError(f"need two elements or more with a known melting point, got {tuple(elements)}; "
                         f"unknown: {unknown}")
    points = np.array([MELTING_POINTS_K[e] for e in elements])
    deviation = points - points.mean()
    return amplitude * deviation / np.abs(deviation).max()


def wave_field(key: Array, sizes: Sequence[int], voxel_nm, *, wavelength_nm: float, bandwidth: float = 0.25
               ) -> Float[Array, "*grid"]:
    """A periodic Gaussian random field with wavelengths near ``wavelength_nm`` (nm), mean 0 and largest |value| 1.

    Modes are weighted by a Gaussian in |k| around 2π/wavelength with relative width ``bandwidth``, and cut off at three
    widths. Raises ``ValueError`` if no mode lies in the band or the wavelength has fewer than 8 points or does not
    fit into the domain.
    """
    sizes = tuple(int(n) for n in sizes)
    spacing = np.broadcast_to(np.asarray(voxel_nm, float), (len(sizes),))
    edges = np.array(sizes) * spacing
    if not 8 * spacing.max() <= wavelength_nm <= edges[edges > spacing].min():
        raise ValueError(f"wavelength_nm must lie between 8 spacings and the shortest edge, "
                         f"{8 * spacing.max():g}–{edges.min():g} nm, got {wavelength_nm:g}")
    axes = [2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(sizes, spacing, strict=True)]
    k = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    distance = (k * wavelength_nm / (2 * np.pi) - 1) / bandwidth
    weight = np.where((np.abs(distance) < 3) & (k > 0), np.exp(-0.5 * distance**2), 0.0)
    if not weight.any():
        raise ValueError(f"no mode of the grid has a wavelength within 3 × {bandwidth:g} of {wavelength_nm:g} nm")
    field = jnp.fft.ifftn(jnp.asarray(weight) * jnp.fft.fftn(jax.random.normal(key, sizes))).real
    field = field - jnp.mean(field)
    return field / jnp.max(jnp.abs(field))


def segregated_composition(key: Array, mean: Sequence[float] | np.ndarray, partition: Sequence[float] | np.ndarray,
                           sizes: Sequence[int], voxel_nm, *, wavelength_nm: float, bandwidth: float = 0.25
                           ) -> Float[Array, "element *grid"]:
    """Fractions c_i = mean_i + partition_i φ(x) with φ of ``wave_field``: exact mean, Σ c = 1, all in (0, 1).

    ``mean`` and ``partition`` (element,) atomic fractions, Σ = 1 and 0; lengths in nm. Raises ``ValueError`` if a
    fraction could leave (0, 1), or the sums are off by more than 1e-9.
    """
    average, step = np.asarray(mean, float), np.asarray(partition, float)
    if average.shape != step.shape or abs(average.sum() - 1) > 1e-9 or abs(step.sum()) > 1e-9:
        raise ValueError(f"mean must sum to 1 and partition to 0 over the same elements, got {mean} and {partition}")
    if (average - np.abs(step) <= 0).any() or (average + np.abs(step) >= 1).any():
        raise ValueError(f"mean ± partition must stay within (0, 1): lower the amplitude, got {mean} and {partition}")
    phi = wave_field(key, sizes, voxel_nm, wavelength_nm=wavelength_nm, bandwidth=bandwidth)
    shape = (-1, *(1,) * phi.ndim)
    return jnp.asarray(average, phi.dtype).reshape(shape) + jnp.asarray(step, phi.dtype).reshape(shape) * phi
