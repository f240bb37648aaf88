"""Huber's loss for a fit, by iteratively reweighted least squares.

A whole force vector, a whole stress tensor, or an energy is one residual ρ (its norm, in units of its expected error):
½ρ² up to δ, δ(ρ − ½δ) beyond. The weights min(1, δ/ρ) multiply squared residuals; vectors keep the loss independent
of the axes. At the fixed point the gradient is that of Huber's loss.

Sources: Huber 1964; Holland & Welsch 1977 (iteratively reweighted least squares).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.packing import FitParameters, PackedFrames, predict
from hea_jax.core.types import Scalar


def residual_norms(parameters: FitParameters, packed: PackedFrames
                   ) -> tuple[Float[Array, "frame"], Float[Array, "atom"], Float[Array, "frame"]]:
    """Norms (dimensionless) of weighted residuals: energies (frame,), force vectors (atom,), stresses (frame,)."""
    energy, forces, stress = predict(parameters, packed)
    per_atom = jnp.sum(packed.counts, axis=1)
    return (jnp.abs(packed.energy_weight * (energy - packed.energy_target) / per_atom),
            packed.force_weight * jnp.linalg.norm(forces - packed.force_target, axis=1),
            packed.stress_weight * jnp.linalg.norm(stress - packed.stress_target, axis=1))


@eqx.filter_jit
def reweighted(parameters: FitParameters, packed: PackedFrames, delta: float) -> PackedFrames:
    """``packed`` (with its original weights) as the least-squares problem of Huber's loss about ``parameters``."""
    factors = [jnp.sqrt(jnp.minimum(1.0, delta / jnp.maximum(norm, 1e-300))) for norm in
               residual_norms(parameters, packed)]
    return eqx.tree_at(lambda p: (p.energy_weight, p.force_weight, p.stress_weight), packed,
                       tuple(w * f for w, f in zip((packed.energy_weight, packed.force_weight, packed.stress_weight),
                                                   factors, strict=True)))


@eqx.filter_jit
def huber_loss(parameters: FitParameters, packed: PackedFrames, delta: float) -> Scalar:
    """Σ Huber(ρ) over all residuals (dimensionless)."""
    norms = jnp.concatenate(residual_norms(parameters, packed))
    return jnp.sum(jnp.where(norms <= delta, 0.5 * norms**2, delta * (norms - 0.5 * delta)))
