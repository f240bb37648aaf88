"""An ASE calculator as a potential, through a callback to the host.

The energy has first derivatives (forces and stress of the calculator). Second derivatives raise an error unless
``difference_A`` is set: then products of the Hessian with a vector are central differences of forces, which is what a
Newton relaxation or elastic constants need.

A callback runs on the host, one configuration at a time (``vmap`` is a loop), whatever device the rest runs on.

Sources: Larsen et al. 2017 (ASE); Nielsen & Martin 1985 (stress and the derivative in the cell).
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.records import AbstractPotential, Atoms, Neighbours


class ASEPotential(AbstractPotential):
    """``calculator`` (any with energy and forces) for atoms of ``elements``; eV, Å.

    The calculator finds neighbours by itself: a table given to this potential is not looked at, ``cutoff`` (Å) is only
    what tables are built for, and small by default. Verbs that check the skin of a table still do: build it with a
    skin as large as the motion.

    ``atomic_energies`` are the calculator's where it has them, else the total divided by the number of atoms. Either
    way only their sum has a derivative (each atom gets an equal share of it): a calculator has no others.

    The derivative in the cell needs the calculator's stress and is NaN without; a cell of zero volume has none.

    ``difference_A``: step (Å, the largest displacement of an atom) of Hessian–vector products, None for an error.
    """

    calculator: object = eqx.field(static=True)
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True, default=0.5)
    difference_A: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        offered = getattr(self.calculator, "implemented_properties", ())
        if "energy" not in offered or "forces" not in offered:
            raise ValueError(f"{type(self.calculator).__name__} offers {', '.join(offered) or 'nothing'}: an ASE "
                             "calculator with energy and forces is needed")
        if self.difference_A is not None and not self.difference_A > 0:
            raise ValueError(f"difference_A must be positive (Å) or None, got {self.difference_A}")

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); see the class for their derivatives."""
        frame = (jax.lax.stop_gradient(atoms.positions), jax.lax.stop_gradient(atoms.cell), atoms.species)
        values = self._evaluate(atoms.pbc, *frame)[0]
        total = _total(self, atoms.pbc, atoms.positions, atoms.cell, atoms.species)
        # Zero in value, it carries the derivative of the sum.
        return values + (total - jax.lax.stop_gradient(total)) / values.shape[0]

    def _evaluate(self, pbc, positions, cell, species):
        """(energies (atom,), ∂E/∂positions, ∂E/∂cell) by the calculator (eV, eV/Å)."""
        dtype = positions.dtype
        shapes = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in (positions.shape[:1], positions.shape, (3, 3)))
        return jax.pure_callback(functools.partial(self._host, pbc), shapes, positions, cell, species,
                                 vmap_method="sequential")

    def _host(self, pbc, positions, cell, species):
        """The same on the host, as NumPy arrays."""
        from ase import Atoms as ASEAtoms

        positions, cell, species = (np.array(part) for part in (positions, cell, species))
        dtype = positions.dtype
        frame = ASEAtoms([self.elements[s] for s in species], positions=positions, cell=cell, pbc=pbc)
        frame.calc = self.calculator
        offered = self.calculator.implemented_properties  # type: ignore[attr-defined]
        # Free energies are what forces derive from, where a calculator tells them apart.
        total = frame.get_potential_energy(force_consistent="free_energy" in offered)
        gradient = -frame.get_forces()
        energies = np.full(len(frame), total / len(frame))
        if "energies" in offered:
            own = frame.get_potential_energies()
            energies = own + (total - own.sum()) / len(frame)
        slope = np.zeros((3, 3))
        volume = abs(np.linalg.det(cell))
        if volume > 0 and "stress" in offered:
            virial = frame.get_stress(voigt=False) * volume
            # A strain moves atoms and cell: V σ = gᵀ x + Gᵀ A.
            slope = np.linalg.solve(cell.T, (virial - gradient.T @ positions).T)
        elif volume > 0 and any(pbc):
            slope = np.full((3, 3), np.nan)
        return energies.astype(dtype), gradient.astype(dtype), slope.astype(dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _total(potential, pbc, positions, cell, species):
    return jnp.sum(potential._evaluate(pbc, positions, cell, species)[0])


@_total.defjvp
def _total_jvp(potential, pbc, primals, tangents):
    value, gradient, slope = _gradient(potential, pbc, *primals)
    moved, strained, _ = tangents
    return value, jnp.sum(gradient * moved) + jnp.sum(slope * strained)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gradient(potential, pbc, positions, cell, species):
    energies, gradient, slope = potential._evaluate(pbc, positions, cell, species)
    return jnp.sum(energies), gradient, slope


@_gradient.defjvp
def _gradient_jvp(potential, pbc, primals, tangents):
    step = potential.difference_A
    if step is None:
        raise ValueError("an ASE calculator has no second derivatives: set `difference_A` (say 1e-3 Å) of ASEPotential "
                         "to have Hessian–vector products by differences of its forces, or use a first-order method")
    positions, cell, species = primals
    moved, strained, _ = tangents
    value, gradient, slope = _gradient(potential, pbc, positions, cell, species)
    # Scaled by the largest motion of an atom or a cell vector; a tangent of zero stays zero.
    size = jnp.maximum(jnp.max(jnp.abs(moved)), jnp.max(jnp.abs(strained)))
    h = step / jnp.where(size > 0, size, 1.0)
    ahead, behind = (_fixed(potential, pbc, positions + s * h * moved, cell + s * h * strained, species)
                     for s in (1.0, -1.0))
    d_gradient, d_slope = ((p - m) / (2.0 * h) for p, m in zip(ahead[1:], behind[1:], strict=True))
    return (value, gradient, slope), (jnp.sum(gradient * moved) + jnp.sum(slope * strained), d_gradient, d_slope)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _fixed(potential, pbc, positions, cell, species):
    """The gradient where no further derivative may be taken: differences of differences would be noise."""
    return potential._evaluate(pbc, positions, cell, species)


@_fixed.defjvp
def _fixed_jvp(potential, pbc, primals, tangents):
    raise ValueError("ASEPotential has no derivatives beyond Hessian–vector products")
