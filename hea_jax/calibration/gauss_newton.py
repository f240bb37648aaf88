"""Gauss–Newton calibration of parameters on reference residuals and one upscaled observable.

    L_w(θ) = ½ ‖r(θ)‖² + ½ w ((m(θ) − m*)/σ)²

r are the weighted residuals of the reference (DFT) fit, cheap and many; m is an upscaled observable, dear and
scalar, with an exact gradient from the whole chain. The model Hessian is JᵀJ + w g gᵀ/σ², so that a step costs one
evaluation of m with its gradient. Steps are damped (Levenberg–Marquardt) and accepted only if L_w falls.

Sources: Levenberg 1944; Marquardt 1963; Nocedal & Wright 2006, ch. 10.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.results import RESULTS, Solution

Vector = Float[Array, "parameter"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A measured value of the observable: ``value`` and its standard ``uncertainty``, in the observable's unit."""

    value: float
    uncertainty: float

    def __post_init__(self):
        if not self.uncertainty > 0:
            raise ValueError(f"the uncertainty of a target must be positive, got {self.uncertainty}")


@dataclasses.dataclass(frozen=True)
class CalibrationPoint:
    """One point of the trade-off: the ``weight``, the parameters θ reached, the ``observable`` there and its
    difference ``error`` from the target (the observable's unit), ½‖r‖² as ``reference_loss``, steps taken, and the
    norm of ∇L_w over that of its start (``gradient_ratio``)."""

    weight: float
    parameters: Vector
    observable: float
    error: float
    reference_loss: float
    steps: int
    gradient_ratio: float


def calibrate(
    residuals: Callable[[Vector], Float[Array, "residual"]],
    observable: Callable[[Vector], tuple[Float[Array, ""], Vector]],
    start: Vector,
    target: Target,
    *,
    weight: float,
    max_steps: int = 8,
    rtol: float = 1e-3,
    report: Callable[[int, float, float], None] | None = None,
) -> Solution:
    """Minimise L_w from ``start``: ``Solution(CalibrationPoint)``. Host driver (a handful of dear steps).

    ``residuals(θ)`` and ``observable(θ) -> (m, ∇m)`` are jitted functions of the flat parameters; ``rtol`` ends the
    iteration when L_w falls by less than that fraction. ``report(step, L_w, m)`` is called after every step.
    Result: ``non_finite`` if m or r are not finite at the start, ``newton_max_steps`` if ``max_steps`` was too few.
    """
    jacobian = jax.jit(lambda theta: _residuals_and_jacobian(residuals, theta))
    theta, damping = start, 1e-6
    loss, m, g = _loss(residuals, observable, theta, target, weight)
    if not np.isfinite(loss):
        point = CalibrationPoint(weight, theta, float(m), float(m) - target.value, float("nan"), 0, float("nan"))
        return Solution(point, RESULTS.non_finite, {})
    first_gradient, gradient_norm, converged, stalled, step = None, 0.0, False, False, 0
    while step < max_steps and not (converged or stalled):
        r, J = jacobian(theta)
        mismatch = (m - target.value) / target.uncertainty
        gradient = J.T @ r + weight * mismatch * g / target.uncertainty
        gradient_norm = float(jnp.linalg.norm(gradient))
        first_gradient = gradient_norm if first_gradient is None else first_gradient
        hessian = J.T @ J + weight * jnp.outer(g, g) / target.uncertainty**2
        accepted = False
        while step < max_steps and not accepted:
            change = _damped_solve(hessian, gradient, damping)
            if 0.5 * float(gradient @ change) <= 0.5 * rtol * float(loss):
                # The model promises no more than the tolerance: not worth another dear evaluation. Where rejected
                # steps have raised the damping, the promise is small for another reason: no convergence.
                converged, stalled = damping <= 1.0, damping > 1.0
                break
            step += 1
            trial = theta - change
            new_loss, new_m, new_g = _loss(residuals, observable, trial, target, weight)
            accepted = bool(new_loss < loss)
            damping = damping / 10 if accepted else damping * 30
        if accepted:
            converged = bool(loss - new_loss <= rtol * loss)
            theta, loss, m, g = trial, new_loss, new_m, new_g
        if report is not None:
            report(step, float(loss), float(m))
    reference = float(0.5 * jnp.sum(residuals(theta) ** 2))
    ratio = gradient_norm / first_gradient if first_gradient else 0.0
    point = CalibrationPoint(weight, theta, float(m), float(m) - target.value, reference, step, ratio)
    return Solution(point, RESULTS.successful if converged else RESULTS.newton_max_steps, {})


def _residuals_and_jacobian(residuals, theta):
    """r and J by forward mode, a few columns at a time to bound memory."""
    r, push = jax.linearize(residuals, theta)
    columns = jax.lax.map(push, jnp.eye(theta.size, dtype=theta.dtype), batch_size=16)
    return r, columns.T


def _loss(residuals, observable, theta, target, weight):
    m, g = observable(theta)
    loss = 0.5 * jnp.sum(residuals(theta) ** 2) + 0.5 * weight * ((m - target.value) / target.uncertainty) ** 2
    return loss, m, g


def _damped_solve(hessian, gradient, damping):
    """(H + λ diag H)⁻¹ ∇L (Marquardt's scaling)."""
    scale = jnp.sqrt(jnp.maximum(jnp.diag(hessian), 1e-12 * jnp.max(jnp.diag(hessian))))
    scaled = hessian / jnp.outer(scale, scale) + damping * jnp.eye(scale.size)
    return jnp.linalg.solve(scaled, gradient / scale) / scale
