"""A periodic grid with its Fourier transforms (real FFT) in one, two or three dimensions.

The grid axes are the last ones of every field; axes before them (components, order parameters) are carried along.

Sources: Trefethen 2000 (spectral differentiation; the Nyquist mode of first derivatives).
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class PeriodicGrid(eqx.Module):
    """``sizes`` points per axis and ``voxel_nm`` (d,) their spacing (nm), d = 1, 2 or 3. Make it with ``grid_of``."""

    sizes: tuple[int, ...] = eqx.field(static=True)
    voxel_nm: Float[Array, "d"]

    @property
    def axes(self) -> tuple[int, ...]:
        """The grid axes of a field, counted from the end."""
        return tuple(range(-len(self.sizes), 0))

    @property
    def points(self) -> int:
        """Number of grid points."""
        return int(np.prod(self.sizes))

    def voxel_volume(self) -> Float[Array, ""]:
        """Product of the spacings (nm^d)."""
        return jnp.prod(self.voxel_nm)

    def coordinates(self) -> list[Array]:
        """Coordinates (nm) of the points along each axis, from 0, shaped to broadcast over the grid."""
        return [self._along(axis, np.arange(n)) * self.voxel_nm[axis] for axis, n in enumerate(self.sizes)]

    def transform(self, fields: Float[Array, "*any"]) -> Array:
        """Real Fourier transform over the grid axes."""
        return jnp.fft.rfftn(fields, axes=self.axes)

    def inverse(self, spectrum: Array) -> Float[Array, "*any"]:
        """Inverse of ``transform``."""
        return jnp.fft.irfftn(spectrum, s=self.sizes, axes=self.axes)

    def wavenumbers(self, *, odd: bool = False) -> list[Float[Array, "*k"]]:
        """k (1/nm) along each axis, shaped to broadcast over a spectrum.

        ``odd`` zeroes the Nyquist mode of even axes, as first derivatives need: there +k and −k are one mode.
        """
        out = []
        for axis, n in enumerate(self.sizes):
            last = axis == len(self.sizes) - 1
            index = (np.fft.rfftfreq(n) if last else np.fft.fftfreq(n)) * n
            if odd and n % 2 == 0:
                index = np.where(np.abs(index) == n // 2, 0.0, index)
            out.append(self._along(axis, index) * (2 * np.pi / n) / self.voxel_nm[axis])
        return out

    def k_squared(self) -> Float[Array, "*k"]:
        """|k|² (1/nm²) of every mode of a spectrum."""
        return sum((k**2 for k in self.wavenumbers()), jnp.zeros((), self.voxel_nm.dtype))  # pyright: ignore

    def gradient(self, spectrum: Array) -> Float[Array, "d *any"]:
        """∂/∂x of the field behind ``spectrum``, along a new first axis (per nm)."""
        return jnp.stack([self.inverse(1j * k * spectrum) for k in self.wavenumbers(odd=True)])

    def divergence(self, vectors: Float[Array, "d *any"]) -> Array:
        """Spectrum of the divergence of a vector field (component axis first)."""
        parts = [1j * k * self.transform(v) for k, v in zip(self.wavenumbers(odd=True), vectors, strict=True)]
        return sum(parts[1:], parts[0])

    def _along(self, axis: int, values: np.ndarray) -> Array:
        shape = [-1 if a == axis else 1 for a in range(len(self.sizes))]
        return jnp.asarray(values, self.voxel_nm.dtype).reshape(shape)


def grid_of(sizes: Sequence[int], voxel_nm: float | Sequence[float] | np.ndarray = 1.0, *, dtype=None) -> PeriodicGrid:
    """A periodic grid of ``sizes`` points with spacing ``voxel_nm`` (nm; one for all axes or one per axis).

    ``dtype`` is that of the fields to come (default: JAX's). Raises ``ValueError`` for sizes below 2, more than three
    axes, or spacings that are not positive.
    """
    numbers = tuple(int(n) for n in sizes)
    if not 1 <= len(numbers) <= 3 or min(numbers) < 2 or any(n != m for n, m in zip(numbers, sizes, strict=True)):
        raise ValueError(f"sizes must be one to three whole numbers of at least 2 points, got {tuple(sizes)}")
    spacing = np.broadcast_to(np.asarray(voxel_nm, float), (len(numbers),))
    if not np.all(np.isfinite(spacing)) or not np.all(spacing > 0):
        raise ValueError(f"spacings must be positive (nm), got {voxel_nm}")
    return PeriodicGrid(numbers, jnp.asarray(spacing, dtype))
