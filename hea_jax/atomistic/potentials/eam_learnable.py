"""A learnable multi-species EAM that ``eam.alloy`` can represent.

With u = (1 − t)/2 falling to zero at the cut-off and t ∈ [−1, 1] the scaled distance,

    φ_ab(r) = u⁴ Σ_k c_abk T_k(t)  [+ a fixed repulsive core],      ρ_b(r) = u⁴ [Σ_k d_bk T_k(t)]²,
    F_a(ρ)  = −A_a (√(ρ + ρ₀) − √ρ₀) + B_a ρ + C_a ρ² + D_a ρ³ …

Three derivatives vanish at the cut-off (C³, needed for elastic constants that are smooth in the lattice constant).
Below ``inner_A`` the polynomial argument saturates and a repulsive core takes over, so that atoms never
fall into an extrapolated polynomial. Sources: Daw & Baskes 1984; Finnis & Sinclair 1984 (√); the form is ours.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM, take


def pair_of_species(n: int) -> np.ndarray:
    """(n, n) index of the unordered species pair (a ≤ b, row by row of the upper triangle)."""
    out = np.zeros((n, n), int)
    upper = np.triu_indices(n)
    out[upper] = np.arange(len(upper[0]))
    return np.maximum(out, out.T)


class LearnableEAM(AbstractEAM):
    """EAM with Chebyshev radial functions; its four leaves are the parameter blocks.

    ``pair`` (species pair a ≤ b, k): c_abk in eV; ``density`` (species, l): d_bl, dimensionless;
    ``embedding_root`` (species,): A_a in eV; ``embedding_series`` (species, n): B_a, C_a, D_a … in eV,
    of ρ, ρ², ρ³ ….
    Static: ``elements``, ``cutoff`` (Å), ``inner_A`` (Å, where the core starts), ``core_eV`` (height of the core),
    ``rho0`` (regularises the root at ρ = 0).
    """

    pair: Float[Array, "pair k"]
    density: Float[Array, "element l"]
    embedding_root: Float[Array, "element"]
    embedding_series: Float[Array, "element n"]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True, default=5.5)
    inner_A: float = eqx.field(static=True, default=1.9)
    core_eV: float = eqx.field(static=True, default=1.0e4)
    rho0: float = eqx.field(static=True, default=0.05)

    def radial(self, r, i, j):
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å); see ``AbstractEAM.radial``."""
        t = self.scaled_distance(r)
        pair_table, density_table = self.polynomials()
        n = len(self.elements)
        phi = cut_polynomial(0, pair_table[:, pair_of_species(n).ravel()], i * n + j, t) + self.core(r)
        rho_ij = cut_polynomial(0, density_table, j, t)
        rho_ji = cut_polynomial(0, density_table, i, t)
        return phi, rho_ij, rho_ji

    def embedding(self, density, species):
        """F_a(ρ) in eV, with F_a(0) = 0."""
        root = jnp.sqrt(density + self.rho0) - self.rho0**0.5
        series = self.embedding_series[species, -1]
        for m in range(self.embedding_series.shape[1] - 2, -1, -1):
            series = self.embedding_series[species, m] + density * series
        return -self.embedding_root[species] * root + density * series

    def core(self, r: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """Repulsive core ``core_eV`` (1 − r/``inner_A``)₊⁴ in eV, one for all pairs; zero in ordinary crystals."""
        return self.core_eV * jnp.maximum(1.0 - r / self.inner_A, 0.0) ** 4

    def scaled_distance(self, r: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """t(r): 1 at the cut-off, falling linearly with r down to ``inner_A``, saturating at −1 (C⁴)."""
        return scaled_distance(r, self.cutoff, self.inner_A)

    def polynomials(self) -> tuple[Float[Array, "k pair"], Float[Array, "m element"]]:
        """Monomial coefficients in t of Q with φ = (1 − t)⁴ Q_ab(t) and ρ = (1 − t)⁴ Q_b(t)."""
        pair = self.pair @ jnp.asarray(monomials(self.pair.shape[1]) / 16.0, self.pair.dtype)
        g = self.density @ jnp.asarray(monomials(self.density.shape[1]) / 4.0, self.density.dtype)
        return pair.T, jax.vmap(lambda q: jnp.convolve(q, q, precision="highest"))(g).T


CORE_WIDTH_A = 0.25


def scaled_distance(r, cutoff: float, inner: float):
    """t(r) of ``LearnableEAM`` (dimensionless): saturates over ``CORE_WIDTH_A`` on either side of inner − width."""
    floor = inner - CORE_WIDTH_A
    s = jnp.clip((r - (inner - 2 * CORE_WIDTH_A)) / (2 * CORE_WIDTH_A), 0.0, 1.0)
    # ∫ of the C³ smoothstep 35s⁴ − 84s⁵ + 70s⁶ − 20s⁷: value ½ and slope 1 at s = 1.
    ramp = s**5 * (7.0 + s * (-14.0 + s * (10.0 - 2.5 * s)))
    effective = jnp.where(r < inner, floor + 2 * CORE_WIDTH_A * ramp, r)
    return (2.0 * effective - (cutoff + floor)) / (cutoff - floor)


@functools.cache
def monomials(count: int) -> np.ndarray:
    """(count, count): row k holds the monomial coefficients of the Chebyshev polynomial T_k."""
    return np.stack([np.pad(np.polynomial.chebyshev.cheb2poly(np.eye(count)[k]), (0, count))[:count]
                     for k in range(count)])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def cut_polynomial(order: int, table: Float[Array, "m type"], kind, t):
    """(1 − t)₊^(4−order) Q(t), with Q's monomial coefficients in column ``kind`` of ``table``.

    The derivative in t is the function of the next order with the table of the next order, so a derivative
    costs one Horner sum and keeps the zero at the cut-off exact.
    """
    value = take(table[-1], kind)
    for row in table[-2::-1]:
        value = value * t + take(row, kind)
    if order >= 4:
        return jnp.where(t < 1.0, value, 0.0)
    return jnp.maximum(1.0 - t, 0.0) ** (4 - order) * value


def _cut_polynomial_jvp(order, primals, tangents):
    table, kind, t = primals
    d_table, _, d_t = tangents
    value = cut_polynomial(order, table, kind, t)
    slope = jnp.zeros_like(value)
    if type(d_t) is not SymbolicZero:
        slope = slope + cut_polynomial(order + 1, differentiated(order, table), kind, t) * d_t
    if type(d_table) is not SymbolicZero:
        slope = slope + cut_polynomial(order, d_table, kind, t)
    return value, slope


cut_polynomial.defjvp(_cut_polynomial_jvp, symbolic_zeros=True)


def differentiated(order: int, table: Float[Array, "m type"]) -> Float[Array, "m type"]:
    """Coefficients of Q₁ with d/dt[(1 − t)^p Q] = (1 − t)^(p−1) Q₁, p = 4 − order (Q′ where p ≤ 0)."""
    count = table.shape[0]
    derivative = jnp.concatenate([table[1:] * np.arange(1, count)[:, None], jnp.zeros_like(table[:1])])
    power = 4 - order
    if power <= 0:
        return derivative
    shifted = jnp.concatenate([jnp.zeros_like(table[:1]), derivative[:-1]])
    return derivative - shifted - power * table
