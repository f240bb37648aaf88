"""Constitutive laws: content goes up, loading goes down.

Energies are per reference volume in GPa, strains in Mandel notation (small strain) or as deformation
gradients F (finite strain). Stress, tangent, chemical potential and entropy follow by autodiff.
Laws are written for one material point and vmapped over points; a law may add a fused field kernel.

Sources: Coleman & Noll 1963 (ψ as potential); Ortiz & Stainier 1999 (incremental potentials).
"""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from hea_jax.core.types import Scalar


class Loading(eqx.Module):
    """What goes down to a law: strain (6,) Mandel or F (3, 3); temperature in K; composition (atomic fractions)."""

    strain: Float[Array, "..."]
    temperature_K: Scalar
    composition: Float[Array, "element"]


class Response(eqx.Module):
    """What comes up: energy ψ (GPa), stress ∂ψ/∂(strain or F) (GPa), tangent ∂²ψ (GPa),
    chemical potential ∂ψ/∂c (GPa; µ in eV times 160.2177/Ω₀[Å³]), entropy −∂ψ/∂T (GPa/K)."""

    energy: Scalar
    stress: Float[Array, "..."]
    tangent: Float[Array, "..."]
    chemical_potential: Float[Array, "element"]
    entropy: Scalar


class AbstractLaw(eqx.Module):
    """An elastic law (no history): a Helmholtz energy per reference volume."""

    @abc.abstractmethod
    def helmholtz(self, strain: Array, temperature_K: Scalar, composition: Array) -> Scalar:
        """ψ(strain or F, T, c) in GPa, at one material point."""


class AbstractSmallStrainLaw(AbstractLaw):
    """A law of the small strain ε, Mandel (6,)."""


class AbstractFiniteStrainLaw(AbstractLaw):
    """A law of the deformation gradient F (3, 3), objective: ψ(QF) = ψ(F)."""


class AbstractHistoryLaw(eqx.Module):
    """A law with history, as an incremental potential; ``condense`` minimises over ``internal``."""

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """State of a virgin material point (pytree)."""

    @abc.abstractmethod
    def increment(self, strain: Array, old_state: Any, internal: Any, dt_s: Scalar) -> Scalar:
        """ΔW (GPa): free energy plus dissipation of the step to ``strain``."""

    @abc.abstractmethod
    def next_state(self, internal: Any, old_state: Any) -> Any:
        """State after the step with the condensed ``internal``."""


def respond(law: AbstractLaw, loading: Loading) -> Response:
    """Evaluate an elastic law at one material point; all derivatives by autodiff."""
    at = (loading.strain, loading.temperature_K, loading.composition)
    energy, (stress, minus_entropy, mu) = jax.value_and_grad(law.helmholtz, argnums=(0, 1, 2))(*at)
    tangent = jax.hessian(law.helmholtz)(*at)
    return Response(energy, stress, tangent, mu, -minus_entropy)
