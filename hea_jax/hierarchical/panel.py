"""The component at the end of the chain: Cook's tapered panel of the homogenised alloy, and its tip displacement.

The panel is clamped at the left, sheared at the right by a uniform traction, and hotter at the loaded side; its law
varies from point to point with composition and temperature (``component_law``).

Sources: Cook 1974 (the panel); JCGM 100:2008 (propagation of uncertainty).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.continuum.laws.hooke import Hooke
from hea_jax.continuum.mesh.component import Component, Loads, component_of, loads_of
from hea_jax.continuum.mesh.discretisation import at_gauss
from hea_jax.continuum.mesh.elements import AbstractElement, Quad8
from hea_jax.continuum.mesh.generators import cooks_membrane
from hea_jax.continuum.mesh.meshes import Mesh, fixed_at, nearest_node, traction_forces
from hea_jax.continuum.mesh.solve import solve_component
from hea_jax.core.results import Solution
from hea_jax.core.types import Scalar
from hea_jax.hierarchical.grains_to_component import component_law
from hea_jax.records import EffectiveProperties

CORNER = (48.0, 60.0)
"""The tip: upper right corner of the panel, in units of its scale."""


class Panel(eqx.Module):
    """Mesh, supports and loads of the panel: ``points_nm`` (element, gauss, 2) and ``temperature_K`` (element, gauss)
    at the Gauss points, ``component`` with a placeholder law, ``tip`` the node at the upper right corner."""

    mesh: Mesh
    component: Component
    loads: Loads
    points_nm: Float[Array, "element gauss 2"]
    temperature_K: Float[Array, "element gauss"]
    tip: int = eqx.field(static=True)


def panel_of(counts: tuple[int, int], *, scale_nm: float, traction_GPa: float, clamp_temperature_K: float,
             tip_temperature_K: float, element: AbstractElement | None = None) -> Panel:
    """The panel with ``counts`` elements along its sides (default ``Quad8``), thickness 1 nm; host-side.

    ``traction_GPa`` acts upwards on the right side. Temperature is linear from the clamp to the loaded side.
    """
    mesh = cooks_membrane(counts, Quad8() if element is None else element, scale=scale_nm)
    # Moduli of a placeholder: the law comes with the material.
    shape = component_of(mesh, Hooke(jnp.eye(6)), fixed_at(mesh, {"left": (0, 1)})).disc.points
    law = Hooke(jnp.broadcast_to(jnp.eye(6), (*shape, 6, 6)), jnp.zeros((*shape, 6)))
    component = component_of(mesh, law, fixed_at(mesh, {"left": (0, 1)}), varies=2)
    points = at_gauss(component.disc, mesh.nodes)
    share = points[..., 0] / (48 * scale_nm)
    temperature = clamp_temperature_K + (tip_temperature_K - clamp_temperature_K) * share
    force = traction_forces(mesh, "right", jnp.array([0.0, traction_GPa]))
    tip = nearest_node(mesh, [x * scale_nm for x in CORNER])
    return Panel(mesh, component, loads_of(component, force=force), points, temperature, tip)


def panel_state(effective: EffectiveProperties, panel: Panel) -> Solution:
    """``Solution(ComponentState)`` of the panel made of the homogenised alloy; differentiable in the record."""
    law = component_law(effective, panel.points_nm, panel.temperature_K)
    return solve_component(panel.component.with_law(law), panel.loads)


@eqx.filter_jit
def tip_displacement(effective: EffectiveProperties, panel: Panel) -> Scalar:
    """Vertical displacement of the tip (nm); NaN if the solution failed."""
    return panel_state(effective, panel).value.displacement[panel.tip, 1]


@eqx.filter_jit
def tip_and_error(effective: EffectiveProperties, panel: Panel) -> tuple[Scalar, Scalar]:
    """Vertical tip displacement and its standard error (nm) from those of the record, by the delta method.

    Errors of moduli, of thermal strains and of the composition have few sources each: within such a group they count as
    fully correlated (for the composition, whose signs are unknown, an upper bound); so do those of the slopes in one
    element. Groups and elements count as independent.
    """
    tip, slope = jax.value_and_grad(lambda e: tip_displacement(e, panel))(effective)
    groups = (jnp.sum(slope.stiffness_GPa * effective.stiffness_stderr_GPa),
              jnp.sum(slope.stiffness_slopes_GPa * effective.stiffness_slopes_stderr_GPa, axis=(0, 1)),
              jnp.sum(slope.thermal_strain * effective.thermal_strain_stderr),
              jnp.sum(jnp.abs(slope.composition) * effective.composition_stderr))
    return tip, jnp.sqrt(sum(jnp.sum(group**2) for group in groups))
