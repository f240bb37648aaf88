"""Averages of correlated series with honest errors, and structure read off a configuration.

Sources: Sokal 1997 (integrated autocorrelation time, automatic window); Wolff 2004 (its error);
Allen & Tildesley 2017, ch. 8 (radial distribution).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.types import Positions, Scalar
from hea_jax.records import Atoms, Neighbours, pair_vectors

WINDOW = 6.0
"""Window in autocorrelation times (Sokal: 4 to 10)."""
SHORTEST = 1.5
"""The window never closes as if τ were below this: anticorrelated series would end the sum after one term."""


def autocorrelation(series: Float[Array, "n"]) -> Float[Array, "n"]:
    """Normalised autocorrelation ρ(0) = 1, ρ(1), … of a series of any unit; 1 throughout for a constant one."""
    n = series.shape[0]
    x = series - jnp.mean(series)
    spectrum = jnp.fft.rfft(x, 2 * n)
    c = jnp.fft.irfft(jnp.abs(spectrum) ** 2, 2 * n)[:n] / jnp.arange(n, 0, -1)
    return jnp.where(c[0] > 0, c / jnp.where(c[0] > 0, c[0], 1.0), 1.0).astype(series.dtype)


def integrated_autocorrelation_time(series: Float[Array, "n"]) -> Scalar:
    """τ = ½ + Σ_t ρ(t) in sampling intervals: the series is worth n/2τ independent samples (½ for white noise).

    The sum ends at the first t ≥ 6 max(τ(t), 1.5) (Sokal 1997); at n/2 if there is none: the series is too short then.
    Jittable; the relative error is about √(2(2W + 1)/n) with the window W (Wolff 2004).
    """
    n = series.shape[0]
    half = max(1, n // 2)
    # Taking the mean of the series itself away lowers every ρ by 2τ/n on average.
    tau = 0.5 + jnp.cumsum(autocorrelation(series)[1:half + 1]) if n > 1 else jnp.full(1, 0.5, series.dtype)
    tau = tau * (1.0 + (2.0 * jnp.arange(1, tau.shape[0] + 1) + 1.0) / n)
    closed = jnp.arange(1, tau.shape[0] + 1) >= WINDOW * jnp.maximum(tau, SHORTEST)
    end = jnp.where(jnp.any(closed), jnp.argmax(closed), tau.shape[0] - 1)
    return jnp.maximum(tau[end], 0.5 / n)


def mean_and_corrected_error(series: Float[Array, "n"]) -> tuple[Scalar, Scalar]:
    """Mean and its standard error (the unit of the series), corrected for correlation: √(2τ var/n)."""
    n = series.shape[0]
    tau = integrated_autocorrelation_time(series)
    return jnp.mean(series), jnp.sqrt(2.0 * tau * jnp.var(series, ddof=1) / n)


def mean_square_displacement(positions: Positions, origin: Positions) -> Scalar:
    """⟨|r − r₀|²⟩ over the atoms less the mean displacement (Å²), for unwrapped positions (Å)."""
    moved = positions - origin
    return jnp.mean(jnp.sum((moved - jnp.mean(moved, axis=0)) ** 2, axis=-1))


def radial_distribution(atoms: Atoms, pairs: Neighbours, edges_A: Float[Array, "bins+1"]) -> Float[Array, "bins"]:
    """g(r), dimensionless, in the bins between ``edges_A`` (Å, up to the cut-off of the table), of all species."""
    r = jnp.where(pairs.mask, jnp.linalg.norm(pair_vectors(atoms, pairs), axis=-1), jnp.inf)
    counts = jnp.histogram(r.ravel(), edges_A)[0]
    shells = 4.0 / 3.0 * jnp.pi * (edges_A[1:] ** 3 - edges_A[:-1] ** 3)
    return counts / (atoms.number * shells * atoms.number / atoms.volume)


def weighted_line(x: Float[Array, "n"], y: Float[Array, "n"], errors: Float[Array, "n"]
                  ) -> tuple[Float[Array, "2"], Float[Array, "2 2"], Scalar]:
    """Least squares y = a + b (x − x̄) with weights 1/error²: ``((a, b), covariance, x̄)``, any units.

    The covariance is that of the given errors, not of the residuals; x̄ is the weighted mean, so a and b are
    uncorrelated.
    """
    w = 1.0 / errors**2
    centre = jnp.sum(w * x) / jnp.sum(w)
    d = x - centre
    a, b = jnp.sum(w * y) / jnp.sum(w), jnp.sum(w * d * y) / jnp.sum(w * d * d)
    return jnp.stack([a, b]), jnp.diag(jnp.stack([1.0 / jnp.sum(w), 1.0 / jnp.sum(w * d * d)])), centre

