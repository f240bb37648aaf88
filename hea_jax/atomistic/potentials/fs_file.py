"""The ``eam.fs`` file of a tabulated Finnis–Sinclair potential: reading, checking, writing.

As ``eam.alloy``, except that each element carries one density table per element: in the block of element a, table b is
the density that an atom a puts at a site of b. Energies in eV, lengths in Å, masses in amu; grids start at zero.

Source: Daw, Foiles & Baskes 1993 (the format); LAMMPS manual, ``pair_style eam/fs``.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hea_jax.atomistic.potentials import table_file as shared

COMMENT_LINES = 3


class FsError(shared.PotentialFileError):
    """An eam.fs file that cannot be read; the text names file, line, field and remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class FsFile:
    """The content of an eam.fs file; compare with ``same_content``.

    ``embedding`` (element, nrho): F in eV at ρ = m · ``drho``; ``density`` (source, site, nr): what an atom of the
    first element puts at a site of the second, at r = m · ``dr_A``; ``pair`` (pair, nr): r φ in eV·Å, rows as in
    ``pair_row``. ``numbers`` are atomic numbers, ``masses_amu``, ``lattice_constants_A`` and ``lattices`` stand in the
    header of each element.

    Raises ``ValueError`` for shapes that disagree, tables that are not finite, or spacings that are not positive.
    """

    elements: tuple[str, ...]
    drho: float
    dr_A: float
    cutoff_A: float
    embedding: np.ndarray
    density: np.ndarray
    pair: np.ndarray
    numbers: tuple[int, ...]
    masses_amu: tuple[float, ...]
    lattice_constants_A: tuple[float, ...]
    lattices: tuple[str, ...]
    comments: tuple[str, str, str] = ("", "", "")

    def __post_init__(self):
        n = len(self.elements)
        shared.check_grid(self)
        shared.check_tables(self, {"embedding": (n,), "density": (n, n), "pair": (n * (n + 1) // 2,)})

    def chosen(self, elements: tuple[str, ...]) -> "FsFile":
        """The content for these of its elements, in this order; raises ``ValueError`` for others."""
        rows = shared.chosen_elements(self.elements, elements)
        pick = lambda column: tuple(column[m] for m in rows)
        return dataclasses.replace(
            self, elements=tuple(elements), embedding=self.embedding[rows], density=self.density[rows][:, rows],
            pair=self.pair[shared.chosen_pairs(rows)], numbers=pick(self.numbers), masses_amu=pick(self.masses_amu),
            lattice_constants_A=pick(self.lattice_constants_A), lattices=pick(self.lattices))


def read_fs(path: str | Path) -> FsFile:
    """Read an ``eam.fs`` file (eV, Å).

    Raises ``FileNotFoundError``, or ``FsError`` naming file, line, field and remedy. Warns of values beyond the
    announced count on the last line of a table, which LAMMPS drops, and so does this.
    """
    reader = shared.TableReader(Path(path), FsError)
    one, two, three = reader.comments(COMMENT_LINES, "an eam.fs file has three comment lines and two header lines")
    elements = reader.elements()
    nrho, drho, nr, dr, cutoff = reader.grid()
    heads, F, rho = [], [], []
    for element in elements:
        heads.append(reader.head(element))
        F.append(reader.table(nrho, f"F(rho) of {element}"))
        rho.append(np.stack([reader.table(nr, f"rho(r) of {element} at {site}") for site in elements]))
    z = [reader.table(nr, f"r*phi(r) of {a}-{b}") for m, a in enumerate(elements) for b in elements[: m + 1]]
    reader.finish(f"{len(elements)} elements need {len(elements)} densities each and {len(z)} pair tables")
    numbers, masses, constants, lattices = (tuple(column) for column in zip(*heads, strict=True))
    tables = np.stack(F), np.stack(rho), np.stack(z)
    return FsFile(elements, drho, dr, cutoff, *tables, numbers, masses, constants, lattices, (one, two, three))


def write_fs(path: str | Path, content: FsFile) -> Path:
    """Write an ``eam.fs`` file (eV, Å) at full precision: reading it gives the same numbers to the last bit.

    Raises ``ValueError`` if a comment does not fit one line.
    """
    shared.check_comments(content.comments)
    lines = [*content.comments, f"{len(content.elements)} {' '.join(content.elements)}"]
    nrho, nr = content.embedding.shape[1], content.density.shape[2]
    lines.append(f"{nrho} {content.drho:.17g} {nr} {content.dr_A:.17g} {content.cutoff_A:.17g}")
    for m in range(len(content.elements)):
        lines += [shared.head_line(content, m), *shared.block(content.embedding[m])]
        for row in content.density[m]:
            lines += shared.block(row)
    for row in content.pair:
        lines += shared.block(row)
    return shared.write_lines(path, lines)
