"""Cubic crystal at finite strain: a compressible neo-Hookean solid plus an anisotropic term in the Green strain.

Sources: Simo & Hughes 1998, eq. 9.2.3 (isotropic part); Schröder & Neff 2003 (structural tensors, cubic invariants).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.continuum.laws.fused import COLUMNS9, ROWS9, AbstractFusedLaw


class CubicNeoHooke(AbstractFusedLaw):
    """ψ(F) = ψ_neo-Hooke(F; K, G) + ½ (C11 − C12 − 2 C44) Σ_i (a_i·E·a_i)², with E = ½(FᵀF − 1), G = C44 and
    K = C12 + ⅔ C44, so that the tangent at F = 1 is exactly the cubic stiffness (C11, C12, C44).

    ``c11``, ``c12``, ``c44`` () in GPa; ``rotation`` (3, 3) active, from crystal to sample axes (a_i its columns).
    An isotropic crystal is ``NeoHooke`` (tested). NaN for det F ≤ 0. With C11 − C12 < 2 C44 the energy is not bounded
    below: it loses ellipticity at large stretch.
    """

    c11: Float[Array, "*phase"]
    c12: Float[Array, "*phase"]
    c44: Float[Array, "*phase"]
    rotation: Float[Array, "*phase 3 3"]

    def helmholtz(self, strain, temperature_K, composition):
        """ψ in GPa of a deformation gradient F (3, 3); temperature and composition do not enter."""
        # Component by component: the derivative of `det` is a batch of LU solves, slow as a field over voxels.
        F, a = ([[t[i, j] for j in range(3)] for i in range(3)] for t in (strain, self.rotation))
        J = sum(F[0][i] * (F[1][j] * F[2][k] - F[1][k] * F[2][j]) for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)))
        log_J, trace = jnp.log(J), sum(c**2 for row in F for c in row)
        images = [[sum(F[i][j] * a[j][m] for j in range(3)) for i in range(3)] for m in range(3)]
        green = [0.5 * (sum(c**2 for c in image) - 1) for image in images]
        isochoric = 0.5 * self.c44 * (trace * jnp.exp(-2 / 3 * log_J) - 3)
        volumetric = 0.5 * (self.c12 + 2 * self.c44 / 3) * (0.5 * (J**2 - 1) - log_J)
        return isochoric + volumetric + 0.5 * (self.c11 - self.c12 - 2 * self.c44) * sum(e**2 for e in green)

    def packed_tangent(self, F):
        a, c44, anisotropy = self.rotation, self.c44, self.c11 - self.c12 - 2 * self.c44
        f = [[F[3 * i + j] for j in range(3)] for i in range(3)]
        following = ((1, 2), (2, 0), (0, 1))
        cofactors = [[f[p][r] * f[q][s] - f[p][s] * f[q][r] for r, s in following] for p, q in following]
        J = sum(f[0][j] * cofactors[0][j] for j in range(3))
        H = [[c / J for c in row] for row in cofactors]
        trace, g = sum(c**2 for row in f for c in row), c44 * jnp.exp(-2 / 3 * jnp.log(J))
        bulk = self.c12 + 2 * c44 / 3
        parallel = 2 / 9 * g * trace + bulk * J**2
        crossed = g * trace / 3 - 0.5 * bulk * (J**2 - 1)
        images = [[sum(f[i][j] * a[j, m] for j in range(3)) for m in range(3)] for i in range(3)]
        green = [0.5 * anisotropy * (sum(images[i][m] ** 2 for i in range(3)) - 1) for m in range(3)]
        S = [[sum(green[m] * a[j, m] * a[l, m] for m in range(3)) + (g if j == l else 0.0) for l in range(3)]
             for j in range(3)]

        def component(row, column):
            (i, j), (k, l) = divmod(int(row), 3), divmod(int(column), 3)
            out = parallel * H[i][j] * H[k][l] + crossed * H[i][l] * H[k][j]
            out = out - 2 / 3 * g * (f[i][j] * H[k][l] + H[i][j] * f[k][l])
            out = out + anisotropy * sum(images[i][m] * a[j, m] * images[k][m] * a[l, m] for m in range(3))
            return out + S[j][l] if i == k else out
        return jnp.stack([component(row, column) for row, column in zip(ROWS9, COLUMNS9, strict=True)])


def grains(crystal: CubicNeoHooke, rotations: Float[Array, "grain 3 3"]) -> CubicNeoHooke:
    """The law of a polycrystal: one crystal (its constants in GPa, () each) in every grain, for active
    crystal-to-sample rotations."""
    c11, c12, c44 = (jnp.broadcast_to(jnp.asarray(c, rotations.dtype), rotations.shape[:1])
                     for c in (crystal.c11, crystal.c12, crystal.c44))
    return CubicNeoHooke(c11, c12, c44, jnp.einsum("gij,jk->gik", rotations, crystal.rotation))


def crystal(c11, c12, c44) -> CubicNeoHooke:
    """A cubic crystal in its own axes, from C11, C12, C44 in GPa."""
    return CubicNeoHooke(jnp.asarray(c11, float), jnp.asarray(c12, float), jnp.asarray(c44, float), jnp.eye(3))


__all__ = ["CubicNeoHooke", "crystal", "grains"]
