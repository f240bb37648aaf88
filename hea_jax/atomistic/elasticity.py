"""Elastic constants of crystals and random alloys, the non-affine part through ``condense``.

W̄(η) = min_u E(η, u)/V₀ gives C = C_Born − ΞᵀH⁻¹Ξ/V₀ (Lemaître & Maloney 2006) as its second derivative; no finite
differences. η is the Green strain, so that C are the elastic constants of thermodynamics under a reference stress too
(Wallace 1972); they are stress–strain coefficients where the total stress vanishes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.relaxation import LINEAR, AtomRelaxation
from hea_jax.core.condense import condense, condensed_hessian
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import Stationary
from hea_jax.core.results import Solution, first_failure, require_x64
from hea_jax.core.types import Positions, Stiffness66
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.records import AbstractPotential, Atoms, Neighbours


@eqx.filter_jit
def elastic_constants(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours, *, linear: CG = LINEAR,
                      force_tolerance: float = 1e-6) -> Solution:
    """Relaxed elastic constants: ``Solution(C)`` (6, 6) Mandel in GPa, from six linear solves on the atomic Hessian.

    ``atoms`` must be relaxed (``relax``, or at fixed cell) and carry the derivative of that relaxation where one is
    wanted; residual forces above ``force_tolerance`` (eV/Å, all atoms together) are ``newton_max_steps``.
    Differentiable in the potential and in the configuration; usable under ``jit`` and ``vmap``. Other results:
    ``negative_curvature``, ``tangent_not_converged``. float64 only.
    """
    require_x64(potential, atoms)
    problem = AtomRelaxation(potential, atoms, pairs)
    x, still = jnp.zeros(6), jnp.zeros_like(atoms.positions)
    state = Stationary(atol=force_tolerance).minimise(*jax.lax.stop_gradient((problem, x, still)), linear)
    hessian = condensed_hessian(problem, x, still, linear=linear)
    C = hessian.value * (EV_PER_A3_TO_GPA / atoms.volume)
    return Solution(C, first_failure(state.result, hessian.result), state.stats)


@eqx.filter_jit
def born_constants(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> Stiffness66:
    """Affine (Born) elastic constants (6, 6) Mandel in GPa: the atoms follow the strain. float64 only."""
    require_x64(potential, atoms)
    problem = AtomRelaxation(potential, atoms, pairs)
    still = jnp.zeros_like(atoms.positions)
    hessian = jax.hessian(lambda x: problem.energy(x, still))(jnp.zeros(6))
    return hessian * (EV_PER_A3_TO_GPA / atoms.volume)


def non_affine_displacements(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours, *,
                             linear: CG = LINEAR) -> Float[Array, "6 atom 3"]:
    """du*/dε (Å per unit Mandel strain) of a relaxed configuration, one field for each of the six strains."""
    problem = AtomRelaxation(potential, atoms, pairs)

    def shifts(x) -> Positions:
        return condense(problem, x, jnp.zeros_like(atoms.positions), solver=Stationary(), linear=linear).value[1]
    return jnp.moveaxis(jax.jacfwd(shifts)(jnp.zeros(6)), -1, 0)
