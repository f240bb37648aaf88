"""Relaxation of atoms and cell at given stress, with an implicit derivative.

The enthalpy H(σ; ε, u) = E − V₀ σ:ε is minimised over the cell's strain ε and the displacements u; the applied
stress σ is the coarse variable. y* carries its derivative in the potential's parameters (``condense``).

Sources: Parrinello & Rahman 1981 (variable cell); Blondel et al. 2022 (implicit differentiation).
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from hea_jax.atomistic.neighbours import skin_exceeded
from hea_jax.atomistic.properties import energy
from hea_jax.core.condense import AbstractProblem, condense
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import AbstractMinimiser, Newton
from hea_jax.core.results import RESULTS, Solution, failure_if, first_failure, require_x64
from hea_jax.core.tensors import from_mandel
from hea_jax.core.types import Mandel6, Positions
from hea_jax.records import AbstractPotential, Atoms, Neighbours

RELAX = Newton(rtol=0.0, atol=1e-9, max_steps=60)
"""To a residual of 1e-9 eV/Å (all atoms together), tight enough for derivatives to 1e-6."""

LINEAR = CG(rtol=1e-10, max_steps=4000)


class CellRelaxation(AbstractProblem):
    """H(σ; s, u) in eV; x = σ (6,) Mandel in eV/Å³, y = {"cell": s (6,), "atoms": u (atom, 3)} in Å.

    The deformation is F = I + s/ℓ with ℓ = √N Å, which makes the stiffness of the cell comparable with that of an
    atom, and positions are (r + u) Fᵀ.
    """

    potential: AbstractPotential
    atoms: Atoms
    pairs: Neighbours

    def relaxed(self, y) -> Atoms:
        """The configuration that y stands for."""
        return self.atoms.displaced(y["atoms"]).deformed(self.deformation(y))

    def deformation(self, y):
        """F (3, 3) of the cell, symmetric (no rotation)."""
        return jnp.eye(3, dtype=y["cell"].dtype) + from_mandel(y["cell"] / self.scale)

    @property
    def scale(self) -> float:
        """ℓ in Å."""
        return float(self.atoms.number) ** 0.5

    def energy(self, x, y):
        work = self.atoms.volume * jnp.sum(x * y["cell"]) / self.scale
        return energy(self.potential, self.relaxed(y), self.pairs) - work

    def project(self, y):
        return {"cell": y["cell"], "atoms": y["atoms"] - jnp.mean(y["atoms"], axis=0)}


class AtomRelaxation(AbstractProblem):
    """E(x; u) in eV at fixed cell; x = η (6,) Mandel Green strain of the cell, y = u (atom, 3) in Å.

    The stretch is I + η − ½η², which has the Green strain η up to third order: second derivatives at η = 0 are those of
    the energy in η, which are the elastic constants also where the reference is under stress (Wallace 1972).
    """

    potential: AbstractPotential
    atoms: Atoms
    pairs: Neighbours

    def relaxed(self, x: Mandel6, y: Positions) -> Atoms:
        """The configuration that (x, y) stands for."""
        eta = from_mandel(x)
        return self.atoms.displaced(y).deformed(jnp.eye(3, dtype=y.dtype) + eta - 0.5 * eta @ eta)

    def energy(self, x, y):
        return energy(self.potential, self.relaxed(x, y), self.pairs)

    def project(self, y):
        return y - jnp.mean(y, axis=0)


@eqx.filter_jit
def relax(potential: AbstractPotential, atoms: Atoms, pairs: Neighbours, *, stress_eV_per_A3: Mandel6 | None = None,
          solver: AbstractMinimiser = RELAX, linear: CG = LINEAR) -> Solution:
    """Relax atoms and the full cell to a stress (Mandel, default zero): ``Solution((energy eV, Atoms))``.

    The relaxed configuration is differentiable in the potential's parameters and in the stress. ``pairs`` must have
    been built for ``atoms`` with a skin that covers the motion, else the result is ``neighbour_skin_exceeded``; other
    results as for ``condense`` (``negative_curvature``: the lattice is unstable). float64 only.
    """
    require_x64(potential, atoms)
    problem = CellRelaxation(potential, atoms, pairs)
    x = jnp.zeros(6) if stress_eV_per_A3 is None else stress_eV_per_A3
    y0 = {"cell": jnp.zeros(6), "atoms": jnp.zeros_like(atoms.positions)}
    sol = condense(problem, x, y0, solver=solver, linear=linear)
    enthalpy, y = sol.value
    relaxed = problem.relaxed(y)
    energy_eV = enthalpy + atoms.volume * jnp.sum(x * y["cell"]) / problem.scale
    lost = failure_if(skin_exceeded(atoms, jax.lax.stop_gradient(relaxed), pairs), RESULTS.neighbour_skin_exceeded)
    return Solution((energy_eV, relaxed), first_failure(sol.result, lost), sol.stats)
