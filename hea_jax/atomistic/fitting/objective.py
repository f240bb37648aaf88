"""What a fit minimises: ½‖residuals‖², data rows and ridge rows alike, and the held-out split.

Source: Hoerl & Kennard 1970 (ridge); as a Gaussian prior, Tarantola 2005, ch. 3.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames, data_residuals
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM, pair_of_species
from hea_jax.core.types import Scalar


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Prior standard deviations about the start of the fit, by block (a smaller one holds tighter).

    ``pair_eV`` is for like pairs about the start, ``cross_eV`` for a mixed pair about the mean of its two like pairs:
    a mixed pair with little data does not wander off. Radial coefficients of order k are held by s/(1 + k²)^½.
    They also fix what data cannot: the scale of the density, and a term linear in ρ against the pair part.
    """

    pair_eV: float = 3.0
    cross_eV: float = 0.5
    density: float = 1.0
    root_eV: float = 1.0
    series_eV: float = 2.0
    offsets_eV: float = 5.0


class FitPrior(eqx.Module):
    """Centre and spread of the ridge rows, both with the structure of ``FitParameters``."""

    centre: FitParameters
    spread: FitParameters


def make_prior(start: FitParameters, ridge: Ridge) -> FitPrior:
    """Prior about ``start`` with the spreads of ``ridge``."""
    potential = start.potential

    def falling(array, spread):
        order = jnp.arange(array.shape[1], dtype=array.dtype)
        return jnp.broadcast_to(jnp.asarray(spread), (array.shape[0],))[:, None] / (1.0 + order**2) ** 0.5

    rows, columns = np.triu_indices(len(potential.elements))
    pair = falling(potential.pair, np.where(rows == columns, ridge.pair_eV, ridge.cross_eV))
    leaves = (pair, falling(potential.density, ridge.density), jnp.full_like(potential.embedding_root, ridge.root_eV),
              jnp.full_like(potential.embedding_series, ridge.series_eV),
              jnp.full_like(start.offsets_eV, ridge.offsets_eV))
    return FitPrior(start, eqx.tree_at(_leaves, start, leaves))


def _leaves(parameters):
    p = parameters.potential
    return p.pair, p.density, p.embedding_root, p.embedding_series, parameters.offsets_eV


def _relative_to_like_pairs(parameters):
    """The parameters with each mixed pair given relative to the mean of its two like pairs (a linear map)."""
    n = len(parameters.potential.elements)
    rows, columns = np.triu_indices(n)
    like = parameters.potential.pair[pair_of_species(n).diagonal()]
    mean = np.where(rows == columns, 0.0, 0.5)[:, None] * (like[rows] + like[columns])
    return eqx.tree_at(lambda p: p.potential.pair, parameters, parameters.potential.pair - mean)


def residuals(parameters: FitParameters, packed: PackedFrames, prior: FitPrior) -> Float[Array, "row"]:
    """All weighted residuals (dimensionless), ridge rows last."""
    return jnp.concatenate([data_residuals(parameters, packed), prior_residuals(parameters, prior)])


def prior_residuals(parameters: FitParameters, prior: FitPrior) -> Float[Array, "parameter"]:
    """The ridge rows (dimensionless)."""
    moved, centre = (_leaves(_relative_to_like_pairs(p)) for p in (parameters, prior.centre))
    return jnp.concatenate([((p - c) / s).ravel() for p, c, s in zip(moved, centre, _leaves(prior.spread),
                                                                     strict=True)])


def loss(parameters: FitParameters, packed: PackedFrames, prior: FitPrior) -> Scalar:
    """½‖residuals‖² (dimensionless): a negative log posterior up to a constant."""
    return 0.5 * jnp.sum(residuals(parameters, packed, prior) ** 2)


def flatten(parameters: FitParameters) -> tuple[Float[Array, "parameter"], Callable]:
    """The parameter vector and the map back to ``FitParameters``."""
    arrays, static = eqx.partition(parameters, eqx.is_inexact_array)
    vector, unravel = ravel_pytree(arrays)
    return vector, lambda v: eqx.combine(unravel(v), static)


def held_out_split(groups: tuple[str, ...], names: tuple[str, ...], *, fraction: float = 0.18, smallest: int = 5,
                   salt: str = "", always_train: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Indices (training, held out), decided frame by frame from a hash of its name.

    A frame keeps its side when the set grows. Groups with fewer than ``smallest`` frames are all for training (a group
    with one frame per element cannot lose one without losing that element), and so are those of ``always_train``.
    """
    sizes = {group: groups.count(group) for group in set(groups)}

    def share(name):
        return int(hashlib.sha256((salt + name).encode()).hexdigest()[:12], 16) / 16.0**12

    whole = {group for group, size in sizes.items() if size < smallest or group in always_train}
    out = np.array([g not in whole and share(n) < fraction for g, n in zip(groups, names, strict=True)], bool)
    return np.flatnonzero(~out), np.flatnonzero(out)


def initial_parameters(elements: tuple[str, ...], *, pair_functions: int = 10, density_functions: int = 5,
                       embedding_terms: int = 3, cutoff: float = 5.5, inner_A: float = 1.9, offsets_eV=None
                       ) -> FitParameters:
    """A start for fits: no pair part, densities that decay and sum to about one in bcc, a root embedding of 3 eV."""
    n = len(elements)
    density = jnp.zeros((n, density_functions)).at[:, 0].set(0.6)
    potential = LearnableEAM(
        pair=jnp.zeros((n * (n + 1) // 2, pair_functions)), density=density, embedding_root=jnp.full(n, 3.0),
        embedding_series=jnp.zeros((n, embedding_terms)), elements=tuple(elements), cutoff=cutoff, inner_A=inner_A)
    offsets = jnp.zeros(n) if offsets_eV is None else jnp.asarray(offsets_eV)
    return FitParameters(potential, offsets)
