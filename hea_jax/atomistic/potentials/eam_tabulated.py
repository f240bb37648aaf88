"""A tabulated EAM, interpolated exactly as LAMMPS' ``pair_eam`` does, so that the two agree to round-off.

F(ρ), ρ(r) and z(r) = r φ(r) are piecewise cubics through the table, with slopes from the five-point difference formula
(one-sided and three-point at the ends); φ = z/r. Beyond the last density F continues as a straight line; beyond the
last distance (where a file's cut-off lies further out) ρ and z keep their last value; at the cut-off both end.

Source: Daw & Baskes 1984; LAMMPS ``pair_eam.cpp``, ``array2spline`` (Plimpton 1995).
"""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM, take
from hea_jax.atomistic.potentials.setfl import Setfl, pair_row, read_setfl


class TabulatedEAM(AbstractEAM):
    """EAM given by tables; build it with ``load_eam`` or ``tabulated``.

    Leaves: ``embedding_table`` (element, nrho) in eV, ``density_table`` (element, nr), ``pair_table`` (pair, nr), r φ
    in eV·Å with rows as in ``pair_row``. Static: ``elements``, ``cutoff`` (Å), spacings ``dr`` (Å) and ``drho``.
    Interpolants are C¹: forces are continuous, elastic constants have kinks (LAMMPS' too).
    """

    embedding_table: Float[Array, "element nrho"]
    density_table: Float[Array, "element nr"]
    pair_table: Float[Array, "pair nr"]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    dr: float = eqx.field(static=True)
    drho: float = eqx.field(static=True)

    @classmethod
    def from_setfl(cls, setfl: Setfl) -> "TabulatedEAM":
        """The potential of a setfl file's content (eV, Å); elements in the order of the file."""
        return cls(embedding_table=jnp.asarray(setfl.embedding), density_table=jnp.asarray(setfl.density),
                   pair_table=jnp.asarray(setfl.pair), elements=setfl.elements, cutoff=float(setfl.cutoff_A),
                   dr=float(setfl.dr_A), drho=float(setfl.drho))

    def radial(self, r, i, j):
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å); see ``AbstractEAM.radial``. Zero from the cut-off on, by a step."""
        n = len(self.elements)
        inside = r < self.cutoff
        rows = jnp.asarray(pair_row(n).ravel())
        phi = interpolate(self.pair_table, self.dr, take(rows, i * n + j), r) / r
        density = cubic_pieces(self.density_table)
        rho_ij = evaluate(density, self.dr, jnp.broadcast_to(j, r.shape), r)
        rho_ji = evaluate(density, self.dr, jnp.broadcast_to(i, r.shape), r)
        return tuple(jnp.where(inside, value, 0.0) for value in (phi, rho_ij, rho_ji))

    def embedding(self, density, species):
        """F_a(ρ) in eV; a straight line beyond the table."""
        return tabulated_embedding(self.embedding_table, self.drho, density, species)


def tabulated(setfl: Setfl) -> TabulatedEAM:
    """``TabulatedEAM.from_setfl`` as a function (eV, Å)."""
    return TabulatedEAM.from_setfl(setfl)


def load_eam(path: str | Path) -> TabulatedEAM:
    """The potential of an ``eam.alloy`` file (eV, Å); raises as ``read_setfl``."""
    return tabulated(read_setfl(path))


def tabulated_embedding(table: Float[Array, "element nrho"], drho: float, density, species):
    """F_a(ρ) in eV of tables at multiples of ``drho``; a straight line beyond the last."""
    coefficients = cubic_pieces(table)
    # The slope at the end is that of the last interval at its end, as LAMMPS takes it.
    slope = take(coefficients[:, -1] @ jnp.array([3.0, 2.0, 1.0, 0.0], coefficients.dtype), species) / drho
    beyond = jnp.maximum(density - drho * (table.shape[1] - 1), 0.0)
    return evaluate(coefficients, drho, species, density) + slope * beyond


def cubic_pieces(table: Float[Array, "row n"]) -> Float[Array, "row interval 4"]:
    """Cubic coefficients (p³, p², p, 1), p ∈ [0, 1], of each of the n − 1 intervals, in the unit of the table."""
    f = table
    first, second = f[:, 1] - f[:, 0], 0.5 * (f[:, 2] - f[:, 0])
    inner = ((f[:, :-4] - f[:, 4:]) + 8.0 * (f[:, 3:-1] - f[:, 1:-3])) / 12.0
    before, last = 0.5 * (f[:, -1] - f[:, -3]), f[:, -1] - f[:, -2]
    d = jnp.concatenate([first[:, None], second[:, None], inner, before[:, None], last[:, None]], axis=1)
    rise, d0, d1 = f[:, 1:] - f[:, :-1], d[:, :-1], d[:, 1:]
    return jnp.stack([d0 + d1 - 2.0 * rise, 3.0 * rise - 2.0 * d0 - d1, d0, f[:, :-1]], axis=-1)


def evaluate(coefficients: Float[Array, "row interval 4"], spacing: float, row, x: Float[Array, "*n"]
             ) -> Float[Array, "*n"]:
    """The cubics of ``row`` at x (same unit as ``spacing``); constant beyond the last interval."""
    count = coefficients.shape[1]
    scaled = x * (1.0 / spacing)
    interval = jnp.clip(scaled.astype(jnp.int32), 0, count - 1)
    p = jnp.minimum(scaled - interval, 1.0)
    flat = coefficients.reshape(-1, 4)
    c3, c2, c1, c0 = (take(flat[:, m], row * count + interval) for m in range(4))
    return ((c3 * p + c2) * p + c1) * p + c0


def interpolate(table: Float[Array, "row n"], spacing: float, row, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The interpolant through ``row`` of a table at x (same unit as ``spacing``)."""
    return evaluate(cubic_pieces(table), spacing, row, x)
