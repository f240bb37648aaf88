"""Onsager coefficients of diffusion in an alloy, from the mobilities of its elements.

J_i = −Σ_j L_ij ∇µ_j with J in atomic fraction · nm/s, µ in GPa, L in nm²/(s GPa). With M_i = D_i c_i/(k_B T) from
tracer diffusivities D_i (k_B T over the atomic volume, in GPa), two limits, both symmetric, positive semi-definite
and with L·1 = 0 (no net flux of sites):

- Darken: vacancies in equilibrium everywhere (dislocations and boundaries make and take them): fluxes M_i ∇µ_i in the
  lattice frame, seen from the frame without net flux: L_ij = Σ_k (δ_ik − c_i)(δ_jk − c_j) M_k. Binary ideal solution:
  D = c_2 D_1 + c_1 D_2.
- Lattice-constrained: no sources of vacancies, so a vacancy potential builds up that stops the net flux:
  L_ij = M_i δ_ij − M_i M_j/ΣM. Binary ideal solution: D = D_1 D_2/(c_1 D_1 + c_2 D_2), the slower element decides.

Sources: Darken 1948; Andersson & Ågren 1992 (lattice-fixed and number-fixed frames); Moleko, Allnatt & Allnatt 1989
(constrained lattice); correlation factors beyond tracer diffusivities are left out.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.units import BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA


class AbstractMobility(eqx.Module):
    """Onsager matrix of a composition. ``uniform`` says that it does not depend on the composition."""

    uniform: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def onsager(self, composition: Float[Array, "element *grid"]) -> Float[Array, "element element *grid"]:
        """L (nm²/(s GPa)) at every point: symmetric, positive semi-definite, rows sum to zero."""


def element_mobilities(diffusivities_nm2_per_s: Float[Array, "element"], composition: Float[Array, "element *grid"], *,
                       temperature_K, volume_A3) -> Float[Array, "element *grid"]:
    """M_i = D_i c_i/(k_B T) in nm²/(s GPa), of tracer diffusivities (nm²/s) and the volume per atom (Å³)."""
    thermal_GPa = BOLTZMANN_EV_PER_K * temperature_K * EV_PER_A3_TO_GPA / volume_A3
    extra = (1,) * (composition.ndim - 1)
    return diffusivities_nm2_per_s.reshape(-1, *extra) * composition / thermal_GPa


def _mobilities_and_identity(law, composition):
    """M (element, *grid) of a law with tracer diffusivities, and the identity (element, element, 1, …) beside it."""
    M = element_mobilities(law.diffusivities_nm2_per_s, composition, temperature_K=law.temperature_K,
                           volume_A3=law.volume_A3)
    return M, jnp.eye(M.shape[0], dtype=M.dtype).reshape(*(M.shape[:1] * 2), *(1,) * (M.ndim - 1))


class Darken(AbstractMobility):
    """L of Darken's limit, vacancies in equilibrium: ``diffusivities_nm2_per_s`` (element,) tracer diffusivities at
    ``temperature_K`` (), ``volume_A3`` () per atom."""

    diffusivities_nm2_per_s: Float[Array, "element"]
    temperature_K: Float[Array, ""]
    volume_A3: Float[Array, ""]
    uniform: bool = eqx.field(static=True, default=False, init=False)

    def onsager(self, composition):
        M, eye = _mobilities_and_identity(self, composition)
        frame = eye - composition[:, None]
        return jnp.einsum("ik...,jk...,k...->ij...", frame, frame, M)


class LatticeConstrained(AbstractMobility):
    """L without sources of vacancies: ``diffusivities_nm2_per_s`` (element,) tracer diffusivities at
    ``temperature_K`` (), ``volume_A3`` () per atom."""

    diffusivities_nm2_per_s: Float[Array, "element"]
    temperature_K: Float[Array, ""]
    volume_A3: Float[Array, ""]
    uniform: bool = eqx.field(static=True, default=False, init=False)

    def onsager(self, composition):
        M, eye = _mobilities_and_identity(self, composition)
        return eye * M[:, None] - M[:, None] * M[None] / jnp.sum(M, axis=0)


class Frozen(AbstractMobility):
    """Another mobility, evaluated at one ``composition`` (element,) whatever the field: cheaper, linear in µ."""

    mobility: AbstractMobility
    composition: Float[Array, "element"]
    uniform: bool = eqx.field(static=True, default=True, init=False)

    def onsager(self, composition):
        extra = (1,) * (composition.ndim - 1)
        L = self.mobility.onsager(self.composition)
        return jnp.broadcast_to(L.reshape(*L.shape, *extra), (*L.shape, *composition.shape[1:]))
