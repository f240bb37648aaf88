"""A tabulated Finnis–Sinclair potential: an EAM whose density depends on the species of both ends.

    E = Σ_i [ ½ Σ_j φ_ij(r_ij) + F_i(Σ_j ρ_ij(r_ij)) ]

with ρ_ij, what j puts at i, a table of its own for each ordered pair. Interpolated as ``TabulatedEAM``, hence exactly
as LAMMPS' ``pair_style eam/fs``. Sources: Finnis & Sinclair 1984; Ackland & Vitek 1990 (alloys).
"""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.eam import AbstractEAM, take
from hea_jax.atomistic.potentials.eam_tabulated import cubic_pieces, evaluate, interpolate, tabulated_embedding
from hea_jax.atomistic.potentials.fs_file import FsFile, read_fs
from hea_jax.atomistic.potentials.table_file import pair_row


class FinnisSinclair(AbstractEAM):
    """Finnis–Sinclair potential given by tables; build it with ``load_fs`` or ``from_file_content``.

    Leaves: ``embedding_table`` (element, nrho) in eV, ``density_table`` (source, site, nr), ``pair_table`` (pair, nr),
    r φ in eV·Å with rows as in ``pair_row``. Static: ``elements``, ``cutoff`` (Å), spacings ``dr`` (Å) and ``drho``.
    """

    embedding_table: Float[Array, "element nrho"]
    density_table: Float[Array, "element element nr"]
    pair_table: Float[Array, "pair nr"]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    dr: float = eqx.field(static=True)
    drho: float = eqx.field(static=True)

    @classmethod
    def from_file_content(cls, content: FsFile) -> "FinnisSinclair":
        """The potential of an eam.fs file's content (eV, Å); elements in the order of the file."""
        return cls(embedding_table=jnp.asarray(content.embedding), density_table=jnp.asarray(content.density),
                   pair_table=jnp.asarray(content.pair), elements=content.elements, cutoff=float(content.cutoff_A),
                   dr=float(content.dr_A), drho=float(content.drho))

    def radial(self, r, i, j):
        """(φ_ij, ρ_ij, ρ_ji) at distances r (Å); see ``AbstractEAM.radial``. Zero from the cut-off on, by a step."""
        n = len(self.elements)
        inside = r < self.cutoff
        phi = interpolate(self.pair_table, self.dr, take(jnp.asarray(pair_row(n).ravel()), i * n + j), r) / r
        density = cubic_pieces(self.density_table.reshape(n * n, -1))
        rho_ij = evaluate(density, self.dr, j * n + i, r)
        rho_ji = evaluate(density, self.dr, i * n + j, r)
        return tuple(jnp.where(inside, value, 0.0) for value in (phi, rho_ij, rho_ji))

    def embedding(self, density, species):
        """F_a(ρ) in eV; a straight line beyond the table."""
        return tabulated_embedding(self.embedding_table, self.drho, density, species)


def load_fs(path: str | Path) -> FinnisSinclair:
    """The potential of an ``eam.fs`` file (eV, Å); raises as ``read_fs``."""
    return FinnisSinclair.from_file_content(read_fs(path))
