"""Fits to many frames: blocks of equal width, and Gauss–Newton steps whose normal equations are summed over them.

A frame of 54 atoms and one of 2 do not share a dense structure without waste: ``pack_blocks`` sorts frames by size.
``fit_blocks`` then minimises the same loss as ``fit``. The Jacobian of a block exists only while the block is visited;
its columns for pair coefficients and offsets are the packed features themselves, and their share of the normal matrix
is computed once. After every step the linear parameters are solved for, so that steps follow the curved valley in which
densities and embedding compensate each other. Some ten to thirty steps replace hundreds of first-order ones.

Sources: Golub & Pereyra 1973; Nocedal & Wright 2006, ch. 10 (Levenberg–Marquardt).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.fit import Report
from hea_jax.atomistic.fitting.objective import FitPrior, prior_residuals
from hea_jax.atomistic.fitting.packing import FitParameters, FitWeights, PackedFrames, data_residuals, pack
from hea_jax.atomistic.fitting.reduced import ScaledObjective, positions_of
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM
from hea_jax.core.results import RESULTS, Solution, failure_if, require_x64
from hea_jax.records import ReferenceData

COLUMNS_AT_ONCE = 8
"""Jacobian columns computed together: more read the features less often, but hold larger intermediate arrays."""


@dataclasses.dataclass(frozen=True)
class BlockSettings:
    """``steps`` at most; converged once a step promises to lower the loss by less than ``loss_rtol`` of it.

    ``damping``: first Levenberg–Marquardt parameter, in units of the prior's curvature.
    """

    steps: int = 60
    loss_rtol: float = 1e-8
    damping: float = 1.0


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Packed frames in blocks of like size; ``indices[b][k]`` is the place of frame k of block b in the dataset."""

    packed: tuple[PackedFrames, ...]
    indices: tuple[np.ndarray, ...]


def pack_blocks(frames: tuple[ReferenceData, ...], groups: tuple[str, ...], potential: LearnableEAM,
                weights: FitWeights, *, rare: int = 32) -> Blocks:
    """``pack`` by number of atoms (host-side; float64); sizes with fewer than ``rare`` frames share one block."""
    sizes = np.array([frame.atoms.number for frame in frames])
    common = [size for size in np.unique(sizes) if (sizes == size).sum() >= rare]
    members = [np.flatnonzero(sizes == size) for size in common]
    rest = np.flatnonzero(~np.isin(sizes, common))
    indices = tuple(part for part in (*members, rest) if len(part))
    return Blocks(tuple(pack(tuple(frames[n] for n in part), tuple(groups[n] for n in part), potential, weights)
                        for part in indices), indices)


@dataclasses.dataclass(frozen=True)
class BlockState:
    """Where a fit over blocks is between two steps: scaled variables ``z``, ``damping``, ``step``, the loss that the
    last step ``promised`` to gain, ``start_norm`` of the gradient; a pytree of arrays when taken by ``arrays``."""

    z: np.ndarray
    damping: float
    step: int
    promised: float
    start_norm: float

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name, for a checkpoint."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def of(cls, arrays) -> "BlockState":
        """Back from ``arrays``."""
        return cls(np.asarray(arrays["z"]), float(arrays["damping"]), int(arrays["step"]), float(arrays["promised"]),
                   float(arrays["start_norm"]))


def initial_blocks(start: FitParameters, prior: FitPrior, settings: BlockSettings) -> BlockState:
    """The state before the first step."""
    # What is packed does not matter for the scaling of variables.
    nothing: Any = None
    z = ScaledObjective(nothing, prior).scaled(start)
    return BlockState(np.asarray(z), settings.damping, 0, float("inf"), float("nan"))


def mean_square(blocks: Blocks, prior: FitPrior, z) -> float:
    """Mean squared weighted residual of the data rows of all blocks at scaled variables z (dimensionless)."""
    rows = sum(packed.energy_target.size + packed.force_target.size + packed.stress_target.size
               for packed in blocks.packed)
    total = sum(float(_data_loss(ScaledObjective(packed, prior), jnp.asarray(z))) for packed in blocks.packed)
    return 2.0 * total / rows


def fit_blocks(start: FitParameters | BlockState, blocks: Blocks, prior: FitPrior, *,
               settings: BlockSettings | None = None, report: Report | None = None,
               keep: Callable[[BlockState], bool | None] = lambda state: None) -> Solution:
    """Minimise the loss of ``fit`` over all blocks from ``start``; ``report(step, loss)`` and ``keep(state)`` after
    every step, which ends the fit by returning True. From a kept ``BlockState`` it goes on as if it had not been
    interrupted.

    ``Solution(FitParameters, result, stats)`` with stats ``loss``, ``gradient_norm``, ``start_gradient_norm`` (scaled
    variables), ``steps``. Result ``fit_not_converged`` if ``settings.steps`` ran out, ``non_finite`` on NaN. A host
    driver: not for use under ``jit``.
    """
    settings = settings or BlockSettings()
    now = start if isinstance(start, BlockState) else initial_blocks(start, prior, settings)
    require_x64(prior)
    objectives = [ScaledObjective(packed, prior) for packed in blocks.packed]
    fixed, embedding, density = positions_of(prior.centre)
    free = np.concatenate([embedding, density])
    normal_fixed = sum(np.asarray(_fixed_normal(objective)) for objective in objectives)

    def settled(z):
        """z with the best linear parameters for its densities."""
        normal, gradient = _normal_equations(objectives, z, normal_fixed, fixed, embedding)
        linear = np.concatenate([fixed, embedding])
        return z.at[linear].add(-np.linalg.solve(normal[np.ix_(linear, linear)], gradient[linear]))

    z, damping, promised, step = jnp.asarray(now.z), now.damping, now.promised, now.step
    z = settled(z) if step == 0 else z
    value = _total(objectives, z)
    gradient, start_norm = np.nan, now.start_norm
    while step < settings.steps and np.isfinite(value) and promised > settings.loss_rtol * value:
        normal, gradient = _normal_equations(objectives, z, normal_fixed, fixed, free)
        start_norm = np.linalg.norm(gradient) if step == 0 else start_norm
        z, value, damping, promised = _damped_step(objectives, (z, value), (normal, gradient), damping, settled)
        step += 1
        if report is not None:
            report(step, value)
        if keep(BlockState(np.asarray(z), damping, step, promised, float(start_norm))):
            break
    result = failure_if(not promised <= settings.loss_rtol * value, RESULTS.fit_not_converged)
    result = failure_if(not np.isfinite(value), RESULTS.non_finite, result)
    stats = {"loss": value, "gradient_norm": np.linalg.norm(gradient), "start_gradient_norm": start_norm, "steps": step}
    return Solution(objectives[0].parameters(z), result, {key: jnp.asarray(np.asarray(x)) for key, x in stats.items()})


def _damped_step(objectives, at, equations, damping, settled):
    """(z, loss, damping, promised gain) after a step that lowers the loss; the damping falls on success."""
    (z, value), (normal, gradient) = at, equations
    for _ in range(12):
        step = np.linalg.solve(normal + damping * np.eye(len(gradient)), -gradient)
        promised = -(gradient @ step + 0.5 * step @ normal @ step)
        moved = settled(z + step)
        tried = _total(objectives, moved)
        if tried <= value:
            good = value - tried > 0.5 * promised
            return moved, tried, damping * (0.2 if good else 1.0), promised
        damping *= 8.0
    return z, value, damping, 0.0


def _total(objectives, z) -> float:
    data = sum(float(_data_loss(objective, z)) for objective in objectives)
    return data + 0.5 * float(jnp.sum(_prior_rows(objectives[0], z) ** 2))


def _normal_equations(objectives, z, normal_fixed, fixed, free):
    """(JᵀJ, Jᵀr) of all rows at z (scaled variables)."""
    rows, J = _prior_rows(objectives[0], z), np.asarray(_prior_jacobian(objectives[0], z))
    normal, gradient = J.T @ J, J.T @ np.asarray(rows)
    for objective in objectives:
        parts = _block_equations(objective, z, tuple(free.tolist()))
        cross, own, slope_fixed, slope_free = (np.asarray(part) for part in parts)
        normal[np.ix_(fixed, free)] += cross
        normal[np.ix_(free, fixed)] += cross.T
        normal[np.ix_(free, free)] += own
        gradient[fixed] += slope_fixed
        gradient[free] += slope_free
    normal[np.ix_(fixed, fixed)] += normal_fixed
    return normal, gradient


@eqx.filter_jit
def _data_loss(objective: ScaledObjective, z):
    return 0.5 * jnp.sum(data_residuals(objective.parameters(z), objective.packed) ** 2)


@eqx.filter_jit
def _prior_rows(objective: ScaledObjective, z):
    return prior_residuals(objective.parameters(z), objective.prior)


@eqx.filter_jit
def _prior_jacobian(objective: ScaledObjective, z):
    return jax.jacfwd(lambda y: prior_residuals(objective.parameters(y), objective.prior))(z)


def _columns(objective: ScaledObjective) -> list[Float[Array, "row fixed"]]:
    """Residual columns of pair coefficients and offsets: energies, forces, stresses (rows of each)."""
    p, spread = objective.packed, objective.prior.spread
    per_atom = (p.energy_weight / jnp.sum(p.counts, axis=1))[:, None]
    pair, B = spread.potential.pair.ravel(), p.counts.shape[1]
    silent = lambda rows: jnp.concatenate([rows * pair, jnp.zeros((rows.shape[0], B))], axis=1)
    return [jnp.concatenate([p.pair_energy * pair, p.counts * spread.offsets_eV], axis=1) * per_atom,
            silent((p.pair_force * p.force_weight[:, None, None]).reshape(-1, pair.size)),
            silent((p.pair_stress * p.stress_weight[:, None, None]).reshape(-1, pair.size))]


@eqx.filter_jit
def _fixed_normal(objective: ScaledObjective):
    return sum(columns.T @ columns for columns in _columns(objective))


@eqx.filter_jit
def _block_equations(objective: ScaledObjective, z, places: tuple[int, ...]):
    """(fixed × free, free × free, gradients of both) of the data rows of one block."""
    at = np.array(places)
    along = lambda step: data_residuals(objective.parameters(z.at[at].add(step)), objective.packed)
    r, linear = jax.linearize(along, jnp.zeros(len(at), z.dtype))
    J = jax.lax.map(linear, jnp.eye(len(at), dtype=z.dtype), batch_size=COLUMNS_AT_ONCE).T
    parts = _columns(objective)
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    cross = sum(part.T @ rows for part, rows in zip(parts, jnp.split(J, cuts), strict=True))
    slope = sum(part.T @ rows for part, rows in zip(parts, jnp.split(r, cuts), strict=True))
    return cross, J.T @ J, slope, J.T @ r
