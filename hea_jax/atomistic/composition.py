"""How the properties of an alloy change with its composition: small designs of random cells and their fits.

Sources: Redlich & Kister 1948 (excess enthalpies by pairs, lowest order: the regular solution of Hildebrand 1929);
Draper & Smith 1998, ch. 5 (weighted least squares and its covariance).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.structures.alloys import exact_counts


class AffineFit(eqx.Module):
    """values(c) = ``value`` + ``slopes``·(c − mean): ``value`` (m,) and ``slopes`` (m, element) in the unit of the
    values, with standard errors; the slopes have no part along (1, …, 1), which no composition can probe."""

    value: Float[Array, "m"]
    value_stderr: Float[Array, "m"]
    slopes: Float[Array, "m element"]
    slopes_stderr: Float[Array, "m element"]


def enriched_compositions(composition, atoms: int, *, step: float = 0.1) -> np.ndarray:
    """One composition for each element present, enriched in it by about ``step`` at the cost of the others, (n,
    element).

    All can be met exactly by ``atoms`` atoms. Raises ``ValueError`` if the composition itself cannot, if only one
    element is present, or if an element has too few atoms to give some away.
    """
    counts = exact_counts(composition, atoms)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise ValueError(f"composition {np.asarray(composition).tolist()} has one element only: nothing to vary")
    share = max(1, round(step * atoms / len(present)))
    if counts[present].min() <= share:
        raise ValueError(f"an element has {counts[present].min()} of {atoms} atoms, too few to give {share} away: "
                         "use a smaller `step` or larger cells")
    rows = np.tile(counts, (len(present), 1))
    for row, element in zip(rows, present, strict=True):
        row[present] -= share
        row[element] += share * len(present)
    return rows / atoms


class AffineDesign(eqx.Module):
    """Where values are known, prepared for ``affine_fit``: the design matrix, its pseudo-inverse, degrees of
    freedom."""

    matrix: Float[Array, "n u"]
    inverse: Float[Array, "u n"]
    freedom: int = eqx.field(static=True)


def affine_design(compositions, mean) -> AffineDesign:
    """The design of values at ``compositions`` (n, element) about the composition ``mean`` (element,); host-side.

    Raises ``ValueError`` if there are fewer values than unknowns plus one.
    """
    offsets = np.asarray(compositions, float) - np.asarray(mean, float)
    matrix = np.column_stack([np.ones(len(offsets)), offsets])
    rank = int(np.linalg.matrix_rank(matrix, tol=1e-9))
    if len(matrix) <= rank:
        raise ValueError(f"{len(matrix)} values cannot fit a plane of {rank} unknowns and its scatter: add cells")
    return AffineDesign(jnp.asarray(matrix), jnp.asarray(np.linalg.pinv(matrix, rcond=1e-9)), len(matrix) - rank)


def affine_fit(design: AffineDesign, values: Float[Array, "n m"]) -> AffineFit:
    """Least-squares plane through ``values`` (n, m); differentiable in them, usable under ``jit``.

    Standard errors from the scatter about the plane, each column its own.
    """
    solution = design.inverse @ values
    scatter = jnp.sum((values - design.matrix @ solution) ** 2, axis=0) / design.freedom
    errors = jnp.sqrt(scatter[None, :] * jnp.sum(design.inverse**2, axis=1)[:, None])
    return AffineFit(solution[0], errors[0], solution[1:].T, errors[1:].T)


def pair_interactions(compositions, enthalpies_eV: Float[Array, "n"], stderr_eV: Float[Array, "n"]
                      ) -> tuple[Float[Array, "element element"], Float[Array, "element element"]]:
    """Ω_ij (eV) of H_mix = ½ Σ_ij Ω_ij c_i c_j by weighted least squares, and their standard errors; symmetric, zero
    diagonal.

    The errors hold the misfit of the model where it exceeds the errors of the enthalpies. Elements
    that no composition contains have zeros; raises ``ValueError`` if a pair of the others is in no composition, or
    undetermined.
    """
    c = np.asarray(compositions, float)
    first, second = np.triu_indices(c.shape[1], 1)
    design = c[:, first] * c[:, second]
    present = design.max(axis=0) > 0
    missing = [(int(i), int(j)) for i, j, p in zip(first, second, present, strict=True)
               if not p and c[:, i].any() and c[:, j].any()]
    if missing:
        raise ValueError(f"no composition contains the pairs of elements {missing}: add a composition of each")
    design = design[:, present]
    if np.linalg.matrix_rank(design, tol=1e-9) < design.shape[1]:
        raise ValueError(f"{len(c)} compositions do not determine {design.shape[1]} pair interactions: add binaries")
    weight = 1 / jnp.maximum(stderr_eV, 1e-6)
    weighted = jnp.asarray(design) * weight[:, None]
    covariance = jnp.linalg.inv(weighted.T @ weighted)
    pairs = covariance @ weighted.T @ (weight * enthalpies_eV)
    excess = len(c) - design.shape[1]
    misfit = jnp.sum((weight * enthalpies_eV - weighted @ pairs) ** 2) / max(excess, 1)
    errors = jnp.sqrt(jnp.diag(covariance) * jnp.maximum(misfit, 1.0))
    n = c.shape[1]
    i, j = first[present], second[present]
    return tuple(jnp.zeros((n, n)).at[i, j].set(v).at[j, i].set(v) for v in (pairs, errors))  # pyright: ignore
