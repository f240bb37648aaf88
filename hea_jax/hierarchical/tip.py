"""The longest path of the chain as one differentiable function: potential → tip displacement of the component.

The chain rule is cut at the elastic constants over temperature and composition: a handful of numbers, so that atoms and
continuum are compiled and run apart.

Source: Griewank & Walther 2008 (reverse mode through a composition of programs).
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from hea_jax.atomistic.alloys import AlloyCells
from hea_jax.atomistic.composition import AffineDesign
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser
from hea_jax.core.types import Scalar
from hea_jax.hierarchical.atoms_to_grains import alloy_elasticity
from hea_jax.hierarchical.grains_to_component import effective_properties
from hea_jax.hierarchical.panel import Panel, tip_displacement
from hea_jax.records import AbstractPotential, AtomisticProperties, Microstructure


class TipPath(eqx.Module):
    """Everything on the way but the potential: ``cells`` of all compositions with their ``design``, ``stretches`` (t,)
    a(T)/a(0), the ``properties`` whose elastic fields are replaced, ``microstructure``, ``panel``."""

    cells: AlloyCells
    design: AffineDesign
    stretches: Float[Array, "t"]
    properties: AtomisticProperties
    microstructure: Microstructure
    panel: Panel
    base: int = eqx.field(static=True)
    relaxation: AbstractMinimiser
    linear: CG

    def elastic(self, potential: AbstractPotential) -> tuple[Float[Array, "t 3"], Float[Array, "3 element"]]:
        """Elastic constants (GPa) over temperature, and their slopes over composition."""
        value = alloy_elasticity(potential, self.cells, self.design, self.stretches, base=self.base,
                                 solver=self.relaxation).value
        return value.constants_GPa, value.composition.slopes

    @eqx.filter_jit
    def tip(self, constants_GPa: Float[Array, "t 3"], slopes_GPa: Float[Array, "3 element"]) -> Scalar:
        """Tip displacement (nm) from the elastic constants: RVE and finite elements."""
        record = eqx.tree_at(lambda p: (p.elastic_constants_GPa, p.elastic_slopes_GPa), self.properties,
                             (constants_GPa, slopes_GPa))
        effective = effective_properties(record, [self.microstructure], linear=self.linear).value
        return tip_displacement(effective, self.panel)

    def value(self, potential: AbstractPotential) -> Scalar:
        """Tip displacement (nm) of a potential; NaN if anything on the way failed."""
        return self.tip(*self.elastic(potential))

    def value_and_gradient(self, potential: AbstractPotential):
        """``(tip displacement, its gradient)``: nm, and a pytree like the potential's floating-point leaves."""
        value, slopes = _continuum(self, self.elastic(potential))
        return value, _pulled_to_atoms(self, potential, slopes)


@eqx.filter_jit
def _continuum(path, elastic):
    """The tip displacement and its slopes in the elastic constants."""
    return jax.value_and_grad(lambda e: path.tip(*e))(elastic)


@eqx.filter_jit
def _pulled_to_atoms(path, potential, slopes):
    """Slopes in the elastic constants pulled back to the potential's parameters."""
    dynamic, static = eqx.partition(potential, eqx.is_inexact_array)
    _, pull = jax.vjp(lambda leaves: path.elastic(eqx.combine(leaves, static)), dynamic)
    return pull(slopes)[0]
