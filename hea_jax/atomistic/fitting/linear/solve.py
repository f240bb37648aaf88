"""The closed-form solution of the linear fit, with its posterior and its evidence.

    (Xᵀ W X + Σ₀⁻¹) c = Xᵀ W y,      posterior covariance s² (Xᵀ W X + Σ₀⁻¹)⁻¹,

s² being the noise in units of the weights, estimated from the residuals.

Sources: Hoerl & Kennard 1970 (ridge regression); MacKay 1992 (evidence).
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from hea_jax.atomistic.fitting.linear.design import NormalEquations
from hea_jax.atomistic.fitting.linear.prior import ChemicalPrior
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered, Truncation, chemical_channels, count_functions
from hea_jax.atomistic.potentials.body_ordered.radial import WIDTH_A


@dataclasses.dataclass(frozen=True)
class LinearModel:
    """Shape of a body-ordered potential: truncation, cut-off and inner radius (Å)."""

    truncation: Truncation = dataclasses.field(default_factory=Truncation)
    cutoff_A: float = 5.0
    inner_A: float = 1.6

    def template(self, elements: Sequence[str]) -> BodyOrdered:
        """A potential of this shape with zero coefficients (float64 where x64 is on)."""
        if not 0.5 < self.inner_A < self.cutoff_A - WIDTH_A:
            raise ValueError(f"inner_A must lie between 0.5 Å and {WIDTH_A} Å below the cut-off {self.cutoff_A} Å, got "
                             f"{self.inner_A}")
        elements = tuple(elements)
        shape = (len(elements), count_functions(self.truncation, len(elements)))
        return BodyOrdered(coefficients=jnp.zeros(shape, float), channels=jnp.asarray(chemical_channels(elements)),
                           elements=elements, truncation=self.truncation, cutoff=float(self.cutoff_A),
                           inner=float(self.inner_A))


@dataclasses.dataclass(frozen=True, eq=False)
class LinearSolution:
    """``potential``; ``offsets_eV`` (source, element); ``factor``, the lower Cholesky factor of the posterior precision
    at unit noise (unknowns: elements × functions, then offsets); ``noise`` s (1: residuals are as large as the weights
    say); ``log_evidence`` of the weighted data, up to a constant, for comparing priors."""

    potential: BodyOrdered
    offsets_eV: np.ndarray
    factor: np.ndarray
    noise: float
    log_evidence: float

    def sample(self, key_seed: int, count: int) -> np.ndarray:
        """(count, element, function) coefficients (eV) from the posterior; ``key_seed`` seeds NumPy's generator."""
        S, F = self.potential.coefficients.shape
        normal = np.random.default_rng(key_seed).normal(size=(len(self.factor), count))
        draws = scipy.linalg.solve_triangular(self.factor, normal, lower=True, trans=1, check_finite=False)
        return np.asarray(self.potential.coefficients) + self.noise * draws[: S * F].T.reshape(count, S, F)


def solve(normal: Sequence[NormalEquations], template: BodyOrdered, prior: ChemicalPrior) -> LinearSolution:
    """The fit to all groups together (host-side, float64).

    Raises ``ValueError`` for no equations, or a matrix that is not positive definite (a prior far too wide).
    """
    if not normal:
        raise ValueError("no normal equations: give at least one group")
    S, F = template.coefficients.shape
    sources = 1 + max(part.source for part in normal)
    size = S * F + sources * S
    matrix, rhs = np.zeros((size, size)), np.zeros(size)
    for part in normal:
        place = _places(part, S, F)
        matrix[np.ix_(place, place)] += part.gram
        rhs[place] += part.rhs
    squares = sum(part.force_square.sum(axis=0) for part in normal)
    force_rms = np.sqrt(squares / max(1, sum(part.force_rows for part in normal)))
    log_prior = prior.add_precision(matrix, template, force_rms)
    try:
        factor = scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise ValueError("the normal equations are not positive definite: narrow the prior (`scale`)") from error
    unknowns = scipy.linalg.cho_solve((factor, True), rhs, check_finite=False)
    rows = sum(part.rows for part in normal)
    # Of the penalised least squares: residuals plus the price of the coefficients.
    misfit = sum(part.target_square for part in normal) - float(rhs @ unknowns)
    noise = float(np.sqrt(max(misfit, 0.0) / rows))
    log_det = 2.0 * float(np.sum(np.log(np.diag(factor))))
    evidence = 0.5 * (log_prior - log_det - rows * np.log(max(misfit, 1e-300) / rows))
    fitted = eqx.tree_at(lambda p: p.coefficients, template, jnp.asarray(unknowns[: S * F].reshape(S, F)))
    return LinearSolution(fitted, unknowns[S * F :].reshape(sources, S), factor, noise, float(evidence))


def _places(part: NormalEquations, elements: int, functions: int) -> np.ndarray:
    """Where the unknowns of a group stand among all."""
    own = (part.species[:, None] * functions + np.arange(functions)).ravel()
    return np.concatenate([own, elements * functions + part.source * elements + part.species])
