"""Force field of tabulated EAMs (``eam.alloy``, funcfl, ``eam.fs``): cubic coefficients fetched once per use.

Every coefficient of the cubics is a table of its own, and values and slopes have separate tables: a fetched number that
has one use is combined where it is fetched, one that has two is written to memory and read back.

Source: Daw & Baskes 1984; the interpolation is that of ``TabulatedEAM`` (LAMMPS ``pair_eam.cpp``, Plimpton 1995).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.force_field_eam import AbstractEAMForceField, EAMTable, row_sum
from hea_jax.atomistic.potentials.eam import take
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM, cubic_pieces, tabulated_embedding
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair
from hea_jax.records import Atoms, Neighbours

Column = Float[Array, "piece"]


class TableForceField(AbstractEAMForceField):
    """A tabulated EAM on a table of neighbours; build it with ``force_field``.

    ``pair`` (r φ), ``density_value``: cubic coefficients p³, p², p, 1 of all pieces of all rows, one array each;
    ``density_slope``: p², p, 1 of dρ/dr. ``per_pair``: densities depend on the species of both ends.
    """

    embedding_table: Float[Array, "element nrho"]
    table: EAMTable
    pair: tuple[Column, ...]
    density_value: tuple[Column, ...]
    density_slope: tuple[Column, ...]
    drho: float = eqx.field(static=True)
    dr: float = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    pieces: int = eqx.field(static=True)
    per_pair: bool = eqx.field(static=True)

    def density(self, rows, r):
        """Densities at the atoms."""
        piece, p, inside = self.place(r)
        c3, c2, c1, c0 = (take(column, self.incoming(rows) + piece) for column in self.density_value)
        return row_sum(((c3 * p + c2) * p + c1) * p + c0, inside)

    def embedding(self, density, species):
        """F (eV)."""
        return tabulated_embedding(self.embedding_table, self.drho, density, species)

    def bonds(self, rows, r, own, other):
        """(φ, tension)."""
        piece, p, inside = self.place(r)
        i, j = rows.species[:, None], rows.kind
        # Rows of a triangle, as `pair_row`.
        large, small = jnp.maximum(i, j), jnp.minimum(i, j)
        at = (large * (large + 1) // 2 + small) * self.pieces + piece
        z3, z2, z1, z0 = (take(column, at) for column in self.pair)
        slope_in = self.slope(self.incoming(rows) + piece, p)
        slope_out = self.slope(self.outgoing(rows) + piece, p)
        phi = (((z3 * p + z2) * p + z1) * p + z0) / r
        level = self.level(r)
        d_phi = (((3.0 * z3 * p + 2.0 * z2) * p + z1) * (level / self.dr) - phi) / r
        return phi * inside, (d_phi + (own[:, None] * slope_in + other * slope_out) * level) * inside

    def place(self, r):
        """(piece, place p in it, 1 inside the cut-off and 0 outside) of distances r (Å)."""
        scaled = r * (1.0 / self.dr)
        piece = jnp.minimum(scaled.astype(jnp.int32), self.pieces - 1)
        return piece, jnp.minimum(scaled - piece, 1.0), (r < self.cutoff).astype(r.dtype)

    def level(self, r):
        """0 beyond the last point of the table, where functions are level up to the cut-off, else 1."""
        end = self.pieces * self.dr
        return 1.0 if self.cutoff <= end * (1.0 + 1e-12) else (r < end).astype(r.dtype)

    def slope(self, at, p):
        """dρ/dr at places p in pieces ``at``."""
        s2, s1, s0 = (take(column, at) for column in self.density_slope)
        return (s2 * p + s1) * p + s0

    def incoming(self, rows):
        """First piece of ρ_ij, what j puts at i."""
        n = self.embedding_table.shape[0]
        return (rows.kind * n + rows.species[:, None] if self.per_pair else rows.kind) * self.pieces

    def outgoing(self, rows):
        """First piece of ρ_ji, what i puts at j."""
        n = self.embedding_table.shape[0]
        return (rows.species[:, None] * n + rows.kind if self.per_pair else rows.species[:, None]) * self.pieces


def table_field(potential: TabulatedEAM | FinnisSinclair, atoms: Atoms, pairs: Neighbours) -> TableForceField:
    """The field with its coefficients prepared (jittable)."""
    nr = potential.density_table.shape[-1]
    density = cubic_pieces(potential.density_table.reshape(-1, nr)).reshape(-1, 4)
    pair = cubic_pieces(potential.pair_table).reshape(-1, 4)
    slope = density[:, :3] * jnp.array([3.0, 2.0, 1.0], density.dtype) / potential.dr
    columns = lambda table: tuple(table[:, m] for m in range(table.shape[1]))
    return TableForceField(embedding_table=potential.embedding_table, table=EAMTable.of(atoms, pairs),
                           pair=columns(pair), density_value=columns(density), density_slope=columns(slope),
                           drho=potential.drho, dr=potential.dr, cutoff=potential.cutoff, pieces=nr - 1,
                           per_pair=isinstance(potential, FinnisSinclair))
