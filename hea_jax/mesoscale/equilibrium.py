"""Phase equilibrium of solutions: binodal by the common tangent, spinodal, stability of many components.

Fractions are solved for as logits y = ln(c/(1 − c)), so that Newton cannot leave (0, 1). Both solutions carry implicit
derivatives with respect to every parameter of the density.

Sources: Hillert 2008 (common tangent); de Fontaine 1972 (stability of many components by the projected Hessian).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.condense import AbstractResidualProblem, condense
from hea_jax.core.krylov import Dense
from hea_jax.core.minimise import Newton
from hea_jax.core.results import RESULTS, Solution, failure_if
from hea_jax.core.units import BOLTZMANN_EV_PER_K
from hea_jax.mesoscale.bulk import AbstractBulk, projected_hessian, second_derivative, tangent_basis


class _CommonTangent(AbstractResidualProblem):
    """y = logits of the two phases; R: equal slopes, and the chord has that slope (both over the curvature scale x)."""

    bulk: AbstractBulk

    def residual(self, x, y):
        a, b = jax.nn.sigmoid(y)
        g, slope = self.bulk.density, jax.grad(self.bulk.density)
        return jnp.stack([slope(b) - slope(a), (g(b) - g(a)) / (b - a) - slope(a)]) / x


class _Inflection(AbstractResidualProblem):
    """y = logits of the limits of stability; R: g″ = 0 at both."""

    bulk: AbstractBulk

    def residual(self, x, y):
        return second_derivative(self.bulk, jax.nn.sigmoid(y)) / x


@eqx.filter_jit
def binodal(bulk: AbstractBulk, *, points: int = 192, reach: float = 14.0) -> Solution:
    """``Solution((c_a, c_b))`` (2,): fractions of two phases in equilibrium, of a density of one field (GPa).

    The start is the widest chord that supports the lower convex hull on ``points`` logits within ± ``reach``. Result:
    ``newton_max_steps``, ``line_search_failed``, or ``negative_curvature`` where g is convex (one phase).
    """
    logits = jnp.linspace(-reach, reach, points)
    c = jax.nn.sigmoid(logits)
    g = bulk.density(c)
    gap = c[None, :] - c[:, None]
    slope = (g[None, :] - g[:, None]) / jnp.where(gap > 0, gap, 1.0)

    def below(i):
        line = g[i] + slope[i][:, None] * (c[None, :] - c[i])
        return jnp.min(g[None, :] - line, axis=1)

    supporting = (jax.lax.map(below, jnp.arange(points)) >= -1e-14 * jnp.max(jnp.abs(g))) & (gap > 0)
    widest = jnp.argmax(jnp.where(supporting, gap, -1.0))
    i, j = jnp.unravel_index(widest, gap.shape)
    stable = (j - i) <= 1
    return _solve(_CommonTangent(bulk), bulk, jnp.stack([logits[i], logits[j]]), stable)


@eqx.filter_jit
def spinodal(bulk: AbstractBulk, *, points: int = 801, reach: float = 14.0) -> Solution:
    """``Solution((c_a, c_b))`` (2,): outermost fractions where g″ of a density of one field (GPa) changes sign.

    Result: as ``binodal``; ``negative_curvature`` where g is convex throughout (no spinodal).
    """
    logits = jnp.linspace(-reach, reach, points)
    unstable = second_derivative(bulk, jax.nn.sigmoid(logits)) < 0
    first = jnp.argmax(unstable)
    last = points - 1 - jnp.argmax(unstable[::-1])
    return _solve(_Inflection(bulk), bulk, jnp.stack([logits[first], logits[last]]), ~jnp.any(unstable))


def _solve(problem, bulk, start, stable) -> Solution:
    """Newton from the start; NaN where there is one phase only."""
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(second_derivative(bulk, jnp.linspace(0.25, 0.75, 11)))))
    sol = condense(problem, scale, start, solver=Newton(atol=1e-13, rtol=1e-13), linear=Dense())
    result = failure_if(stable, RESULTS.negative_curvature, sol.result)
    return Solution(jnp.where(stable, jnp.nan, jax.nn.sigmoid(sol.value[1])), result, sol.stats)


def stability(bulk: AbstractBulk, composition: Float[Array, "element"]) -> Float[Array, ""]:
    """Smallest eigenvalue (GPa) of the Hessian of g on Σ δc = 0: negative inside the spinodal."""
    return jnp.linalg.eigvalsh(projected_hessian(bulk, composition))[0]


def spinodal_temperature_K(interactions_eV: Float[Array, "element element"], composition: Float[Array, "element"]
                           ) -> Float[Array, ""]:
    """Temperature (K) at which a regular solution loses stability; 0 or less: stable down to 0 K.

    k_B T is the largest −vᵀΩv / vᵀ diag(1/c) v over Σ v = 0; interactions (eV) do not depend on T.
    """
    basis = jnp.asarray(tangent_basis(composition.shape[0]), composition.dtype)
    entropy: Array = basis.T @ jnp.diag(1 / composition) @ basis
    inverse_root = jnp.linalg.inv(jnp.linalg.cholesky(entropy))
    driving = inverse_root @ (basis.T @ (-interactions_eV) @ basis) @ inverse_root.T
    return jnp.linalg.eigvalsh(driving)[-1] / BOLTZMANN_EV_PER_K
