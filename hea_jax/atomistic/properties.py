"""Energy, forces and stress of a configuration: thin verbs over any potential.

All are pure JAX, usable under ``jit``, ``vmap`` and ``grad`` (to any order, also with respect to the potential). All
raise ``ValueError`` as ``check_inputs`` does.

Source: Nielsen & Martin 1985 (stress as the strain derivative of the energy).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM, fused_energy
from hea_jax.core.types import Positions, Scalar, Tensor33
from hea_jax.records import AbstractPotential, Atoms, Neighbours


def energy(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> Scalar:
    """Potential energy (eV) of the configuration.

    For an EAM its derivatives in positions and cell are gathers over the table (``fused_energy``), several times
    faster than those of ``sum(atomic_energies)``, of which they are the exact equal.
    """
    check_inputs(potential, atoms, pairs)
    if isinstance(potential, AbstractEAM):
        return fused_energy(potential, atoms, pairs)
    return jnp.sum(potential.atomic_energies(atoms, pairs))


def forces(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> Positions:
    """Forces −∂E/∂r (eV/Å), shape (atom, 3)."""
    return -jax.grad(lambda u: energy(potential, atoms.displaced(u), pairs))(jnp.zeros_like(atoms.positions))


def stress(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> Tensor33:
    """Cauchy stress (1/V) ∂E/∂ε (eV/Å³), symmetric, positive in tension; by autodiff of a homogeneous strain."""
    def strained(gradient):
        symmetric = 0.5 * (gradient + gradient.T)
        return energy(potential, atoms.deformed(jnp.eye(3, dtype=gradient.dtype) + symmetric), pairs)

    return jax.grad(strained)(jnp.zeros_like(atoms.cell)) / atoms.volume


def energy_forces_stress(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours
                         ) -> tuple[Scalar, Positions, Float[Array, "3 3"]]:
    """``(energy eV, forces eV/Å, stress eV/Å³)`` in one pass."""
    def total(u, gradient):
        symmetric = 0.5 * (gradient + gradient.T)
        return energy(potential, atoms.displaced(u).deformed(jnp.eye(3, dtype=u.dtype) + symmetric), pairs)

    value, (g, s) = jax.value_and_grad(total, argnums=(0, 1))(jnp.zeros_like(atoms.positions),
                                                              jnp.zeros_like(atoms.cell))
    return value, -g, s / atoms.volume


def check_inputs(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours) -> None:
    """Raise ``ValueError`` unless ``atoms.elements`` equals ``potential.elements`` (species index into both) and the
    table was built for the potential's cut-off (Å) or more."""
    if atoms.elements != potential.elements:
        raise ValueError(f"atoms are indexed by {atoms.elements}, the potential by {potential.elements}: build the "
                         "atoms with `elements=potential.elements`")
    if pairs.cutoff < potential.cutoff * (1.0 - 1e-9):
        raise ValueError(f"the neighbour table was built for {pairs.cutoff:g} Å, the potential reaches "
                         f"{potential.cutoff:g} Å: build it with `neighbour_table(atoms, potential.cutoff)`")
