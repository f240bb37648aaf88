"""Bulk free-energy densities g: polynomials, double well, regular solution, many order parameters.

A density is a function of the local fields alone, in GPa. Its Hessian's spectrum over the fields' values tells a
stepper how much to stabilise. Composition axes come first: (element, *grid) with atomic fractions.

Sources: Cahn & Hilliard 1958 (regular solution); Jokisaari et al. 2017 (double well of PFHub benchmark 1);
Moelans, Blanpain & Wollants 2008 (many order parameters).
"""

import abc
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.units import BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA


class AbstractBulk(eqx.Module):
    """A bulk free-energy density g(fields) in GPa, local, with its curvature."""

    @abc.abstractmethod
    def density(self, fields: Float[Array, "*fields"]) -> Float[Array, "*grid"]:
        """g at every point (GPa)."""

    @abc.abstractmethod
    def curvature(self, fields: Float[Array, "*fields"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Bounds on the eigenvalues of the Hessian of g over the values in ``fields`` (GPa)."""


def second_derivative(bulk: AbstractBulk, c: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    """d²g/dc² (GPa) of a density of one field, pointwise."""
    return jax.vmap(jax.grad(jax.grad(bulk.density)))(c.ravel()).reshape(c.shape)


def _range(values: Array) -> tuple[Array, Array]:
    return jnp.min(values), jnp.max(values)


class Polynomial(AbstractBulk):
    """g = Σ_j a_j c^j of one field; ``coefficients`` (order + 1,) in GPa."""

    coefficients: Float[Array, "power"]

    def density(self, fields):
        return jnp.polyval(self.coefficients[::-1], fields)

    def curvature(self, fields):
        return _range(second_derivative(self, fields))


class DoubleWell(AbstractBulk):
    """g = ``height`` (c − ``low``)² (``high`` − c)² of one field; ``height`` in GPa, wells at ``low`` and ``high``."""

    height: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]

    def density(self, fields):
        return self.height * (fields - self.low) ** 2 * (self.high - fields) ** 2

    def curvature(self, fields):
        return _range(second_derivative(self, fields))


class RegularSolution(AbstractBulk):
    """½ Σ Ω_ij c_i c_j + k_B T Σ c_i ln c_i per atom, over the volume per atom; fields (element, *grid).

    ``interactions_eV`` (element, element) symmetric with zero diagonal, ``temperature_K`` (), ``volume_A3`` () per
    atom. A fraction that is not positive gives NaN: nothing is clamped. Only Σ c = 1 has a meaning, so the curvature
    is that of the Hessian projected onto Σ δc = 0.
    """

    interactions_eV: Float[Array, "element element"]
    temperature_K: Float[Array, ""]
    volume_A3: Float[Array, ""]

    def per_atom_eV(self, composition: Float[Array, "element *grid"]) -> Float[Array, "*grid"]:
        """Free energy of mixing per atom (eV)."""
        pairs = 0.5 * jnp.sum(composition * jnp.tensordot(self.interactions_eV, composition, 1), axis=0)
        thermal = BOLTZMANN_EV_PER_K * self.temperature_K
        return pairs + thermal * jnp.sum(composition * jnp.log(composition), axis=0)

    def density(self, fields):
        return EV_PER_A3_TO_GPA / self.volume_A3 * self.per_atom_eV(fields)

    def curvature(self, fields):
        points = fields.reshape(fields.shape[0], -1).T
        return _range(jnp.linalg.eigvalsh(jax.vmap(functools.partial(projected_hessian, self))(points)))


class Binary(AbstractBulk):
    """A two-element density as a density of one field, the fraction c of its first element."""

    solution: AbstractBulk

    def density(self, fields):
        return self.solution.density(jnp.stack([fields, 1 - fields]))

    def curvature(self, fields):
        return _range(second_derivative(self, fields))


class MultiWell(AbstractBulk):
    """g = m [Σ_i (η_i⁴/4 − η_i²/2) + γ Σ_i Σ_{j>i} η_i² η_j² + ¼] of order parameters (op, *grid).

    ``height_GPa`` m (); ``crossing`` γ (), 1.5 for symmetric boundaries. Minima are one η_i = ±1, the others 0, with
    g = 0. The curvature is a bound (Gershgorin), since the Hessian is (op, op) at every point.
    """

    height_GPa: Float[Array, ""]
    crossing: Float[Array, ""]

    def density(self, fields):
        squares = fields**2
        total, fourth = jnp.sum(squares, axis=0), jnp.sum(squares**2, axis=0)
        return self.height_GPa * (0.25 * fourth - 0.5 * total + 0.5 * self.crossing * (total**2 - fourth) + 0.25)

    def curvature(self, fields):
        size = jnp.abs(fields)
        others2 = jnp.sum(fields**2, axis=0) - fields**2
        centre = 3 * fields**2 - 1 + 2 * self.crossing * others2
        radius = 4 * self.crossing * size * (jnp.sum(size, axis=0) - size)
        return self.height_GPa * jnp.min(centre - radius), self.height_GPa * jnp.max(centre + radius)


def tangent_basis(elements: int) -> np.ndarray:
    """Orthonormal basis (element, element − 1) of composition changes with Σ δc = 0 (Helmert's)."""
    basis = np.zeros((elements, elements - 1))
    for j in range(1, elements):
        basis[:j, j - 1] = 1 / np.sqrt(j * (j + 1))
        basis[j, j - 1] = -j / np.sqrt(j * (j + 1))
    return basis


def projected_hessian(bulk: AbstractBulk, composition: Float[Array, "element"]) -> Float[Array, "n n"]:
    """Hessian of g (GPa) at one composition on Σ δc = 0, in the basis ``tangent_basis``; n = element − 1."""
    basis = jnp.asarray(tangent_basis(composition.shape[0]), composition.dtype)
    return jax.hessian(lambda step: bulk.density(composition + basis @ step))(jnp.zeros_like(composition[1:]))
