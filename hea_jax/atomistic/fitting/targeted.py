"""The end of an EAM fit with physical targets: Gauss–Newton in all parameters, data, prior and targets together.

    L(z) = ½‖r(z)‖² + ½ Σ_k ((m_k(z) − m_k*)/σ_k)²

r are the weighted residuals of data and prior, m_k properties (lattice constants, elastic constants, defect energies)
whose exact gradients come through the implicit differentiation of their relaxations. A step costs one Jacobian of r and
one gradient of every m_k; it is damped (Levenberg–Marquardt) and taken only if L falls.

Sources: Levenberg 1944; Marquardt 1963; Nocedal & Wright 2006, ch. 10.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.targets import AbstractTarget
from hea_jax.core.results import RESULTS, Solution, failure_if

SMALLEST_GAIN = 1e-4
"""Relative fall of the loss below which a step counts as the last."""


class TargetedState(eqx.Module):
    """Between two steps: ``z`` (scaled variables), Marquardt's ``damping``, ``step``, whether it is ``over``."""

    z: Float[Array, "parameter"]
    damping: Float[Array, ""]
    step: Int[Array, ""]
    over: Int[Array, ""]


def initial_targeted(z: Float[Array, "parameter"]) -> TargetedState:
    """The state before the first step."""
    zero = jnp.zeros((), jnp.int32)
    return TargetedState(z, jnp.asarray(1e-4, z.dtype), zero, zero)


def fit_targets(state: TargetedState, objective: ScaledObjective, targets: tuple[AbstractTarget, ...],
                values: np.ndarray, tolerances: np.ndarray, *, steps: int = 8,
                keep: Callable[[TargetedState], None] = lambda state: None,
                report: Callable[[int, float, np.ndarray], None] = lambda step, loss, values: None) -> Solution:
    """Go on from ``state`` for at most ``steps`` steps: ``Solution(z)`` in scaled variables.

    ``values`` and ``tolerances`` (target,) are in the units of the targets; ``keep(state)`` is called after every step,
    ``report(step, loss, values)`` too. Stats: ``values`` reached, ``loss``, ``state``. Result ``non_finite`` if one
    fails at the start (its relaxation does not converge), ``newton_max_steps`` if the steps ran out. Host driver.
    """
    z = state.z
    loss, rows, found, G = _at(objective, targets, values, tolerances, z)
    if not np.isfinite(loss):
        stats = {"values": np.asarray(found), "loss": loss, "state": state}
        return Solution(z, failure_if(jnp.asarray(True), RESULTS.non_finite), stats)
    while int(state.step) < steps and not int(state.over):
        z, damping = state.z, float(state.damping)
        gram, slope = _normal(objective, z)
        gram, slope = np.asarray(gram) + G.T @ G, np.asarray(slope) + G.T @ rows
        for _ in range(6):
            trial = z - jnp.asarray(np.linalg.solve(gram + damping * np.diag(np.diag(gram)), slope))
            new = _at(objective, targets, values, tolerances, trial)
            if new[0] < loss:
                break
            damping *= 30.0
        taken = bool(new[0] < loss)
        gain = (loss - new[0]) / loss if taken else 0.0
        if taken:
            z, (loss, rows, found, G), damping = trial, new, damping / 10.0
        over = jnp.asarray(int(gain < SMALLEST_GAIN), jnp.int32)
        state = TargetedState(z, jnp.asarray(damping, z.dtype), state.step + 1, over)
        keep(state)
        report(int(state.step), float(loss), found)
    result = failure_if(jnp.asarray(not int(state.over)), RESULTS.newton_max_steps)
    return Solution(state.z, result, {"values": found, "loss": loss, "state": state})


def _at(objective, targets, values, tolerances, z):
    """(loss, weighted target residuals, values, their weighted gradients (target, parameter)) at z."""
    found, gradients = [], []
    for target in targets:
        m, g = _value_and_gradient(objective, target, z)
        found.append(float(m))
        gradients.append(np.asarray(g))
    found = np.array(found)
    rows = (found - values) / tolerances
    loss = float(_loss(objective, z)) + 0.5 * float(rows @ rows)
    return loss, rows, found, np.array(gradients) / tolerances[:, None]


@eqx.filter_jit
def _value_and_gradient(objective, target, z):
    return jax.value_and_grad(lambda y: target.observe(objective.parameters(y).potential))(z)


@eqx.filter_jit
def _loss(objective, z):
    return objective.loss(z)


@eqx.filter_jit
def _normal(objective: ScaledObjective, z):
    """(JᵀJ, Jᵀr) of data and prior."""
    r, push = jax.linearize(objective.residuals, z)
    J = jax.lax.map(push, jnp.eye(z.size, dtype=z.dtype), batch_size=16)
    return J @ J.T, J @ r
