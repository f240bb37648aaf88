"""Conserved phase-field equations: one component (Cahn–Hilliard) and N components (Onsager).

An equation is an energy with a mobility. It supplies its full rate in Fourier space and the symbol of its stiff part;
which scheme steps it is not its business.

Sources: Cahn 1961 (spinodal decomposition); de Fontaine 1972 (N components, eigenvalues of −k² L (H + κ k²)).
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.mesoscale.bulk import AbstractBulk
from hea_jax.mesoscale.energy import FreeEnergy
from hea_jax.mesoscale.grid import PeriodicGrid
from hea_jax.mesoscale.mobility import AbstractMobility
from hea_jax.mesoscale.symbols import AbstractSymbol, Coupled, Diagonal


class AbstractEquation(eqx.Module):
    """A gradient flow on a periodic grid; every parameter is a leaf."""

    @property
    @abc.abstractmethod
    def grid(self) -> PeriodicGrid:
        """The grid of the fields."""

    @abc.abstractmethod
    def energy(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """F (GPa nm^d), which never rises."""

    @abc.abstractmethod
    def rate(self, spectrum: Array) -> Array:
        """Spectrum of ∂(fields)/∂t (1/s), all of it."""

    @abc.abstractmethod
    def symbol(self, fields: Float[Array, "*fields"], stabilisation: float) -> AbstractSymbol:
        """The stiff part (1/s): gradient terms, and the mobility times ``stabilisation`` times the spectral radius of
        the bulk Hessian over the values in ``fields``."""

    @abc.abstractmethod
    def energy_noise(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """Rounding error of ``energy`` (GPa nm^d): a rise below it means nothing."""

    @abc.abstractmethod
    def conserved(self, fields: Float[Array, "*fields"]) -> Float[Array, "m"]:
        """Means that the equation conserves (atomic fractions), (0,) if none."""

    @abc.abstractmethod
    def interface_width_nm(self, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
        """Distance (nm) over which an equilibrium interface goes from 5% to 95% of its step; infinite if none forms."""


TANH_WIDTH = 2.9444389791664403
"""Distance between 5% and 95% of ½ + ½ tanh(x/w), over w: 2 artanh 0.9."""


def spectral_radius(bulk: AbstractBulk, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
    """Largest |eigenvalue| of the Hessian of g over the values in ``fields`` (GPa)."""
    low, high = bulk.curvature(fields)
    return jnp.maximum(jnp.abs(low), jnp.abs(high))


def energy_noise(free_energy: FreeEnergy, fields: Float[Array, "*fields"]) -> Float[Array, ""]:
    """Rounding error of F (GPa nm^d): the terms that cancel in g are of the size of its curvature times the fields
    squared, and errors add up like a random walk over the points."""
    grid = free_energy.grid
    size = spectral_radius(free_energy.bulk, fields) * jnp.sum(fields**2) * grid.voxel_volume()
    epsilon = jnp.finfo(fields.dtype).eps
    return 4 * epsilon * grid.points**0.5 * (jnp.abs(free_energy.value(fields)) + size)


def spinodal_width_nm(kappa, lowest: Float[Array, ""]) -> Float[Array, ""]:
    """5–95% width (nm) of an interface of κ (GPa nm²) over a barrier of curvature ``lowest`` (GPa).

    w = √(2κ/|g″|) is exact for a quartic double well, an estimate otherwise; infinite if ``lowest`` >= 0.
    """
    unstable = lowest < 0
    return jnp.where(unstable, TANH_WIDTH * jnp.sqrt(2 * kappa / jnp.where(unstable, -lowest, 1.0)), jnp.inf)


class CahnHilliard(AbstractEquation):
    """∂c/∂t = M ∇²(g′(c) − κ ∇²c) for one field (*grid); ``mobility`` M in nm²/(s GPa)."""

    free_energy: FreeEnergy
    mobility: Float[Array, ""]

    @property
    def grid(self):
        return self.free_energy.grid

    def energy(self, fields):
        return self.free_energy.value(fields)

    def rate(self, spectrum):
        potential = self.free_energy.spectral_potential(spectrum, self.grid.inverse(spectrum))
        return -self.mobility * self.grid.k_squared() * potential

    def symbol(self, fields, stabilisation):
        k2 = self.grid.k_squared()
        s = stabilisation * spectral_radius(self.free_energy.bulk, fields)
        return Diagonal(-self.mobility * k2 * (s + self.free_energy.kappa * k2))

    def energy_noise(self, fields):
        return energy_noise(self.free_energy, fields)

    def conserved(self, fields):
        return jnp.mean(fields)[None]

    def interface_width_nm(self, fields):
        values = jnp.linspace(jnp.min(fields), jnp.max(fields), 1001)
        return spinodal_width_nm(self.free_energy.kappa, self.free_energy.bulk.curvature(values)[0])


class Dependent(AbstractBulk):
    """A density of N elements as one of the first N − 1, (n, *grid); the last is what is left."""

    solution: AbstractBulk

    def density(self, fields):
        return self.solution.density(complete(fields))

    def curvature(self, fields):
        return self.solution.curvature(complete(fields))


def complete(reduced: Float[Array, "n *grid"]) -> Float[Array, "element *grid"]:
    """All N fractions of the first N − 1."""
    return jnp.concatenate([reduced, 1 - jnp.sum(reduced, axis=0, keepdims=True)])


def reduce(composition: Float[Array, "element *grid"]) -> Float[Array, "n *grid"]:
    """The first N − 1 fractions: the fields of ``MultiComponentDiffusion``."""
    return composition[:-1]


class MultiComponentDiffusion(AbstractEquation):
    """∂c_i/∂t = ∇·Σ_j L_ij ∇(∂g/∂c_j − κ_j ∇²c_j), i = 1…N, in the space of the first N − 1 fractions (n, *grid).

    Make it with ``multicomponent``. ``mobility`` gives the full N × N matrix L; L·1 = 0 makes its first N − 1 rows and
    columns act on the differences µ_j − µ_N, which are the derivatives of the reduced energy.
    """

    free_energy: FreeEnergy
    mobility: AbstractMobility

    @property
    def grid(self):
        return self.free_energy.grid

    def energy(self, fields):
        return self.free_energy.value(fields)

    def reduced_onsager(self, fields: Float[Array, "n *grid"]) -> Float[Array, "n n *grid"]:
        """L among the first N − 1 elements (nm²/(s GPa)) at every point."""
        return self.mobility.onsager(complete(fields))[:-1, :-1]

    def rate(self, spectrum):
        fields = self.grid.inverse(spectrum)
        potential = self.free_energy.spectral_potential(spectrum, fields)
        if self.mobility.uniform:
            L = self.reduced_onsager(_means(fields, self.grid))
            return -self.grid.k_squared() * jnp.tensordot(L, potential, 1)
        forces = self.grid.gradient(potential)
        return self.grid.divergence(jnp.einsum("ij...,dj...->di...", self.reduced_onsager(fields), forces))

    def symbol(self, fields, stabilisation):
        n, k2 = fields.shape[0], self.grid.k_squared()
        # Σ_i δc_i² of all N elements is δcᵀ A δc of the first N − 1: the metric of the projected Hessian.
        A = jnp.eye(n, dtype=fields.dtype) + 1
        s = stabilisation * spectral_radius(self.free_energy.bulk, fields)
        L = self._reference(fields)
        stiff = jnp.multiply.outer(s * L @ A, k2) + jnp.multiply.outer(L @ self.free_energy.kappa, k2**2)
        return Coupled(-stiff)

    def _reference(self, fields):
        """L at the mean composition, scaled up to the largest L in the field."""
        L = self.reduced_onsager(_means(fields, self.grid))
        if self.mobility.uniform:
            return L
        trace = jnp.einsum("ii...->...", self.reduced_onsager(fields))
        return L * jnp.maximum(jnp.max(trace) / jnp.trace(L), 1.0)

    def energy_noise(self, fields):
        return energy_noise(self.free_energy, fields)

    def conserved(self, fields):
        return _means(fields, self.grid)

    def interface_width_nm(self, fields):
        # The smallest gradient coefficient makes the thinnest interface.
        metric = jnp.linalg.inv(jnp.eye(fields.shape[0], dtype=fields.dtype) + 1)
        thinnest = jnp.min(jnp.linalg.eigvals(metric @ self.free_energy.kappa).real)
        return spinodal_width_nm(thinnest, self.free_energy.bulk.curvature(fields)[0])


def _means(fields, grid):
    return jnp.mean(fields, axis=grid.axes)


def multicomponent(grid: PeriodicGrid, solution: AbstractBulk, kappa: Float[Array, "element"],
                   mobility: AbstractMobility) -> MultiComponentDiffusion:
    """Diffusion in an alloy of N elements with density ``solution`` of all N fractions (GPa).

    ``kappa`` (element,) gradient coefficients of the elements (GPa nm², Σ ½ κ_i |∇c_i|²), ``mobility`` their L.
    """
    kappa = jnp.asarray(kappa)
    return MultiComponentDiffusion(FreeEnergy(grid, Dependent(solution), jnp.diag(kappa[:-1]) + kappa[-1]), mobility)
