"""Parameter uncertainty of a fit: Laplace's approximation with a temperature that knows of misfit.

With the Gauss–Newton matrix G = JᵀJ of weighted residuals and the prior precision P, the posterior about the optimum is

    θ ~ N(θ̂, (G/T + P)⁻¹).

T = 1 is Laplace's approximation (MacKay 1992): right where residuals are independent noise of the size that the weights
say. A potential fitted to DFT data is another case: the data have no noise to speak of, the residuals are misfit of the
form, and the spread at T = 1 shrinks with the number of frames while errors stay (Swinburne & Perez 2025). T is then
raised until predictions of the ensemble cover the residuals: for every group of rows the share ``coverage`` of the
residuals must lie within z √(noise² + spread²). Raising the temperature of the likelihood keeps the prior where data
say nothing, unlike a factor on the whole covariance; T is chosen from the groups because a mean over all rows
(T = Σr²/parameters, Frederiksen et al. 2004) covers the many well-fitted ones and leaves out those that matter.

Sources: MacKay 1992; Frederiksen, Jacobsen, Brown & Sethna 2004 (Phys. Rev. Lett. 93, 165501: ensembles at a
temperature); Swinburne & Perez 2025 (Mach. Learn.: Sci. Technol. 6, 015008: misspecification in the low-noise regime);
Miller & Dunson 2019 (tempered posteriors).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.stats
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.objective import prior_residuals
from hea_jax.atomistic.fitting.packing import data_residuals
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.core.types import Scalar

FEWEST_ROWS = 12
"""Groups with fewer rows are judged together."""
HIGHEST_TEMPERATURE = 1e8


class Laplace(eqx.Module):
    """A Gaussian about the optimum: ``mean`` (parameter,); ``basis`` (parameter, mode) with basisᵀ P basis = 1 and
    basisᵀ G basis diagonal, its diagonal ``curvature`` (mode,); ``temperature`` T of the likelihood (dimensionless)."""

    mean: Float[Array, "parameter"]
    basis: Float[Array, "parameter mode"]
    curvature: Float[Array, "mode"]
    temperature: Float[Array, ""]

    @property
    def deviations(self) -> Float[Array, "mode"]:
        """Standard deviation of every mode."""
        return 1.0 / jnp.sqrt(self.curvature / self.temperature + 1.0)

    @property
    def effective_parameters(self) -> Scalar:
        """Number of parameters that data rather than prior determine (MacKay's γ)."""
        return jnp.sum(self.curvature / (self.curvature + self.temperature))

    def covariance(self) -> Float[Array, "parameter parameter"]:
        """Covariance of the parameters."""
        scaled = self.basis * self.deviations
        return scaled @ scaled.T

    def samples(self, key, count: int) -> Float[Array, "sample parameter"]:
        """Independent draws of the parameters (jittable)."""
        normal = jax.random.normal(key, (count, self.curvature.size), self.mean.dtype)
        return self.mean + (normal * self.deviations) @ self.basis.T

    def spread(self, rows: Float[Array, "row parameter"]) -> Float[Array, "row"]:
        """Standard deviation of linear predictions ``rows @ θ``, in the unit of the rows."""
        return jnp.linalg.norm((rows @ self.basis) * self.deviations, axis=-1)

    def at(self, temperature) -> "Laplace":
        """The same at another temperature of the likelihood."""
        return eqx.tree_at(lambda p: p.temperature, self, jnp.asarray(temperature, self.mean.dtype))


def laplace(mean, gram, prior_precision) -> Laplace:
    """Laplace's approximation at T = 1 from G (parameter, parameter) and P, likewise or (parameter,) its diagonal.

    Host-side, float64. Raises ``ValueError`` for a prior that is not positive definite or values that are not finite.
    """
    gram, P = np.asarray(gram, float), np.asarray(prior_precision, float)
    P = np.diag(P) if P.ndim == 1 else P
    if not (np.isfinite(gram).all() and np.isfinite(P).all() and np.isfinite(np.asarray(mean)).all()):
        raise ValueError("mean, gram and prior precision must be finite: the fit has not converged")
    try:
        L = np.linalg.cholesky(P)
    except np.linalg.LinAlgError:
        raise ValueError("the prior precision is not positive definite: give every parameter a prior") from None
    whitened = scipy.linalg.solve_triangular(L, scipy.linalg.solve_triangular(L, gram, lower=True).T, lower=True)
    curvature, V = np.linalg.eigh(0.5 * (whitened + whitened.T))
    basis = scipy.linalg.solve_triangular(L.T, V, lower=False)
    return Laplace(jnp.asarray(mean), jnp.asarray(basis), jnp.asarray(np.maximum(curvature, 0.0)), jnp.asarray(1.0))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """``temperature`` chosen; ``of_groups`` the temperature that each group alone asks for (``inf``: none covers it);
    ``covered`` the share of its residuals that are covered at the chosen one, ``covered_untempered`` at T = 1."""

    temperature: float
    of_groups: dict[str, float]
    covered: dict[str, float]
    covered_untempered: dict[str, float]


def calibrated(posterior: Laplace, rows, residuals, groups: Sequence[str], *, noise: float = 0.0,
               coverage: float = 0.683) -> tuple[Laplace, Calibration]:
    """The posterior at the lowest T ≥ 1 at which every group's residuals are covered, and how it was found.

    ``rows`` (row, parameter) are derivatives of the predictions, ``residuals`` (row,) prediction minus data, ``noise``
    the standard deviation of the data, all in one (weighted) unit. Groups of fewer than ``FEWEST_ROWS`` rows are judged
    together; rows that no parameter moves are left out. A group that the prior itself does not cover asks for ``inf``
    and is left to the report. Host-side.
    """
    modes = np.asarray(rows) @ np.asarray(posterior.basis)
    r, labels = np.abs(np.asarray(residuals, float)), _joined(groups)
    moved = np.linalg.norm(modes, axis=1) > 1e-9
    modes, r, labels = modes[moved] ** 2, r[moved], labels[moved]
    z = float(scipy.stats.norm.ppf(0.5 + 0.5 * coverage))
    curvature = np.asarray(posterior.curvature)
    names = list(dict.fromkeys(labels.tolist()))

    def share(name, T):
        mine = labels == name
        variance = modes[mine] @ (1.0 / (curvature / T + 1.0))
        return float(np.mean(r[mine] <= z * np.sqrt(noise**2 + variance)))

    wanted = {name: _lowest(lambda T, name=name: share(name, T), coverage) for name in names}
    temperature = max([T for T in wanted.values() if np.isfinite(T)], default=1.0)
    return posterior.at(temperature), Calibration(
        temperature, wanted, {n: share(n, temperature) for n in names}, {n: share(n, 1.0) for n in names})


def _joined(groups: Sequence[str]) -> np.ndarray:
    """Labels with those of few rows replaced by one."""
    labels = np.array(groups, dtype=object)
    small = [name for name in dict.fromkeys(groups) if (labels == name).sum() < FEWEST_ROWS]
    labels[np.isin(labels.astype(str), small)] = "small groups"
    return labels


def _lowest(share: Callable[[float], float], coverage: float) -> float:
    """Lowest T in [1, ``HIGHEST_TEMPERATURE``] with share(T) ≥ coverage, by bisection of ln T; inf if there is none."""
    if share(1.0) >= coverage:
        return 1.0
    if share(HIGHEST_TEMPERATURE) < coverage:
        return float("inf")
    low, high = 0.0, float(np.log(HIGHEST_TEMPERATURE))
    while high - low > 0.02:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if share(float(np.exp(middle))) >= coverage else (middle, high)
    return float(np.exp(high))


def ensemble(posterior: Laplace, key, count: int, rebuild: Callable[[Array], Any]) -> Any:
    """``count`` potentials drawn from a posterior as one pytree with a leading axis on every array leaf.

    ``rebuild(θ)`` makes a potential of a parameter vector. Propagate with ``eqx.filter_vmap`` over the result (in_axes
    ``eqx.if_array(0)``), or take them one by one with ``member``.
    """
    return eqx.filter_vmap(rebuild)(posterior.samples(key, count))


def member(potentials: Any, index: int) -> Any:
    """One potential of an ensemble."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, potentials)


def gauss_newton(objective: ScaledObjective, z: Float[Array, "parameter"]) -> tuple[np.ndarray, np.ndarray]:
    """(weighted data residuals (row,), their Jacobian (row, parameter)) of an EAM fit at scaled variables z."""
    r, J = _linearised(objective, z)
    return np.asarray(r), np.asarray(J)


@eqx.filter_jit
def _linearised(objective, z):
    r, push = jax.linearize(lambda y: data_residuals(objective.parameters(y), objective.packed), z)
    return r, jax.lax.map(push, jnp.eye(z.size, dtype=z.dtype), batch_size=16).T


def prior_precision(objective: ScaledObjective) -> np.ndarray:
    """Precision (parameter, parameter) of the ridge rows of an EAM fit, in scaled variables."""
    rows = lambda z: prior_residuals(objective.parameters(z), objective.prior)
    J = np.asarray(jax.jacfwd(rows)(jnp.zeros_like(objective.scaled(objective.prior.centre))))
    return J.T @ J


def row_labels(objective: ScaledObjective, groups: Sequence[str]) -> list[str]:
    """Group and quantity of every data row of an EAM fit (the order of ``data_residuals``)."""
    frame = np.asarray(objective.packed.frame)
    return [*(f"{g}, energies" for g in groups), *(f"{groups[int(n)]}, forces" for n in np.repeat(frame, 3)),
            *(f"{g}, stresses" for g in groups for _ in range(6))]
