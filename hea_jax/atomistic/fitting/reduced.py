"""The fit with its linear parameters solved for: a function of the density coefficients alone.

For given densities the residuals are affine in every other parameter (pair coefficients, embedding coefficients,
offsets), which one Cholesky solve of the normal equations finds exactly. What is left for Adam and L-BFGS is a smooth
function of a few dozen variables, whose gradient is the partial one at the solution (envelope theorem).

Source: Golub & Pereyra 1973 (variable projection).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.objective import FitPrior, flatten, residuals
from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames
from hea_jax.core.types import Scalar


class ScaledObjective(eqx.Module):
    """The residuals as a function of z = (θ − θ₀)/s, the parameter vector in units of the prior's spread."""

    packed: PackedFrames
    prior: FitPrior

    def parameters(self, z: Float[Array, "parameter"]) -> FitParameters:
        """``FitParameters`` of scaled variables."""
        centre, unflatten = flatten(self.prior.centre)
        return unflatten(centre + flatten(self.prior.spread)[0] * z)

    def scaled(self, parameters: FitParameters) -> Float[Array, "parameter"]:
        """Scaled variables of ``FitParameters``."""
        return (flatten(parameters)[0] - flatten(self.prior.centre)[0]) / flatten(self.prior.spread)[0]

    def residuals(self, z: Float[Array, "parameter"]) -> Float[Array, "row"]:
        """Weighted residuals, ridge rows included."""
        return residuals(self.parameters(z), self.packed, self.prior)

    def loss(self, z: Float[Array, "parameter"]) -> Scalar:
        """½‖residuals‖²."""
        return 0.5 * jnp.sum(self.residuals(z) ** 2)


class ReducedObjective(eqx.Module):
    """min over the linear parameters of ``ScaledObjective.loss``, as a function of the scaled density coefficients."""

    full: ScaledObjective
    fixed_columns: Float[Array, "row linear"]
    fixed_normal: Float[Array, "linear linear"]

    def positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places in z of (pair and offsets, embedding, density)."""
        return positions_of(self.full.prior.centre)

    def complete(self, density: Float[Array, "density"]) -> Float[Array, "parameter"]:
        """z with the given scaled density coefficients and the best linear parameters."""
        fixed, embedding, nonlinear = self.positions()
        base = _zeros(self.full).at[nonlinear].set(density)
        r, columns = _affine(self.full, base, embedding)
        cross = self.fixed_columns.T @ columns
        normal = jnp.block([[self.fixed_normal, cross], [cross.T, columns.T @ columns]])
        rhs = -jnp.concatenate([self.fixed_columns.T @ r, columns.T @ r])
        linear = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(normal), rhs)
        return base.at[np.concatenate([fixed, embedding])].set(linear)

    def __call__(self, density: Float[Array, "density"]) -> Scalar:
        """The reduced loss; its first derivative is right by the envelope theorem, higher ones are not."""
        z = jax.lax.stop_gradient(self.complete(density))
        return self.full.loss(z.at[self.positions()[2]].set(density))


def reduce_linear(objective: ScaledObjective) -> ReducedObjective:
    """Build the reduced objective; columns that do not depend on the densities are computed here, once."""
    fixed, _, _ = positions_of(objective.prior.centre)
    columns = _fixed_columns(objective, tuple(fixed.tolist()))
    return ReducedObjective(objective, columns, columns.T @ columns)


@eqx.filter_jit
def _fixed_columns(objective, places):
    return _affine(objective, _zeros(objective), np.array(places))[1]


def _zeros(objective):
    return jnp.zeros_like(flatten(objective.prior.centre)[0])


def _affine(objective: ScaledObjective, base, places: np.ndarray) -> tuple[Array, Array]:
    """Residuals at ``base`` and their Jacobian in the entries ``places``."""
    along: Callable = lambda step: objective.residuals(base.at[places].add(step))
    r, linear = jax.linearize(along, jnp.zeros(len(places), base.dtype))
    return r, jax.vmap(linear, out_axes=1)(jnp.eye(len(places), dtype=base.dtype))


def positions_of(parameters: FitParameters):
    """Places of the blocks in ``flatten(parameters)``, found by flattening labels (no order is assumed)."""
    p = parameters.potential
    blocks = (p.pair, p.density, p.embedding_root, p.embedding_series, parameters.offsets_eV)
    labelled = eqx.tree_at(
        lambda q: (q.potential.pair, q.potential.density, q.potential.embedding_root, q.potential.embedding_series,
                   q.offsets_eV), parameters, tuple(np.full(block.shape, float(n)) for n, block in enumerate(blocks)))
    kind = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(eqx.filter(labelled, eqx.is_inexact_array_like))])
    fixed, embedding, density = (np.flatnonzero(np.isin(kind, block)) for block in ((0, 4), (2, 3), (1,)))
    return fixed, embedding, density
