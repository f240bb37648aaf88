"""The ``eam.alloy`` (setfl) file of an embedded-atom potential: reading, checking, writing.

Three comment lines; ``n El1 … Eln``; ``nrho drho nr dr cutoff``; per element a line ``Z mass a₀ lattice``, F at nrho
densities and ρ at nr distances; then r φ at nr distances for the pairs (1,1), (2,1), (2,2), (3,1), … Energies in eV,
lengths in Å, masses in amu, densities in a unit of the potential's own; grids start at zero.

Source: Daw, Foiles & Baskes 1993 (the format); LAMMPS manual, ``pair_style eam/alloy``.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hea_jax.atomistic.potentials import table_file as shared

COMMENT_LINES = 3
pair_row = shared.pair_row
same_content = shared.same_content


class SetflError(shared.PotentialFileError):
    """A setfl file that cannot be read; the text names file, line, field and remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class Setfl:
    """The content of a setfl file; compare with ``same_content``.

    ``embedding`` (element, nrho): F in eV at ρ = m · ``drho``; ``density`` (element, nr) at r = m · ``dr_A``;
    ``pair`` (pair, nr): r φ in eV·Å, rows as in ``pair_row``. ``numbers`` are atomic numbers,
    ``masses_amu``, ``lattice_constants_A`` and ``lattices`` stand in the header of each element.

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
        shared.check_tables(self, {"embedding": (n,), "density": (n,), "pair": (n * (n + 1) // 2,)})

    def chosen(self, elements: tuple[str, ...]) -> "Setfl":
        """The content for these of its elements, in this order; raises ``ValueError`` for others."""
        rows = shared.chosen_elements(self.elements, elements)
        pick = lambda column: tuple(column[m] for m in rows)
        return dataclasses.replace(
            self, elements=tuple(elements), embedding=self.embedding[rows], density=self.density[rows],
            pair=self.pair[shared.chosen_pairs(rows)], numbers=pick(self.numbers), masses_amu=pick(self.masses_amu),
            lattice_constants_A=pick(self.lattice_constants_A), lattices=pick(self.lattices))


def read_setfl(path: str | Path) -> Setfl:
    """Read an ``eam.alloy`` file (eV, Å).

    Raises ``FileNotFoundError``, or ``SetflError`` naming file, line, field and remedy: a truncated file, wrong counts,
    text where a number should be, a species count that differs from the species named, spacings that are not positive.
    Warns of values beyond the announced count on the last line of a table, which LAMMPS drops, and so does this.
    """
    reader = shared.TableReader(Path(path), SetflError)
    one, two, three = reader.comments(COMMENT_LINES, "a setfl file has three comment lines and two header lines")
    elements = reader.elements()
    nrho, drho, nr, dr, cutoff = reader.grid()
    heads, F, rho = [], [], []
    for element in elements:
        heads.append(reader.head(element))
        F.append(reader.table(nrho, f"F(rho) of {element}"))
        rho.append(reader.table(nr, f"rho(r) of {element}"))
    z = [reader.table(nr, f"r*phi(r) of {a}-{b}") for m, a in enumerate(elements) for b in elements[: m + 1]]
    reader.finish(f"{len(elements)} elements need {len(z)} pair tables; an eam.fs file (density per pair) is another "
                  "format")
    numbers, masses, constants, lattices = (tuple(column) for column in zip(*heads, strict=True))
    tables = np.stack(F), np.stack(rho), np.stack(z)
    return Setfl(elements, drho, dr, cutoff, *tables, numbers, masses, constants, lattices, (one, two, three))


def write_setfl(path: str | Path, setfl: Setfl) -> Path:
    """Write an ``eam.alloy`` file (eV, Å) at full precision: reading it gives the same numbers to the last bit.

    Raises ``ValueError`` if a comment does not fit one line.
    """
    shared.check_comments(setfl.comments)
    lines = [*setfl.comments, f"{len(setfl.elements)} {' '.join(setfl.elements)}"]
    nrho, nr = setfl.embedding.shape[1], setfl.density.shape[1]
    lines.append(f"{nrho} {setfl.drho:.17g} {nr} {setfl.dr_A:.17g} {setfl.cutoff_A:.17g}")
    for m in range(len(setfl.elements)):
        lines += [shared.head_line(setfl, m), *shared.block(setfl.embedding[m]), *shared.block(setfl.density[m])]
    for row in setfl.pair:
        lines += shared.block(row)
    return shared.write_lines(path, lines)
