"""DYNAMO ``funcfl`` files (one element each) and their mixing into an alloy, as LAMMPS' ``pair_style eam`` does it.

One comment line; ``Z mass a₀ lattice``; ``nrho drho nr dr cutoff``; then F (eV) at nrho densities, the effective charge
z at nr distances, and ρ at nr distances. The pair energy is φ_ab = 27.2 · 0.529 z_a z_b / r (Hartree times Bohr radius
in eV·Å, to the digits of the format's authors), so that two files make an alloy.

Files with different grids are brought onto one: spacings, range and cut-off are the largest of any file, and each table
is carried over by third-order Lagrange interpolation through four neighbouring points. The common grid has one
interval, hence one point, fewer than the longest table (the last point of a file is never used), also for a single
file. Between the last point and the cut-off, where a file leaves such a gap, the energy keeps its last value; LAMMPS'
forces there are not its derivative, those here are.

Sources: Daw & Baskes 1984; Foiles, Baskes & Daw 1986; LAMMPS manual, ``pair_style eam`` (Plimpton 1995).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hea_jax.atomistic.potentials import table_file as shared
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM
from hea_jax.atomistic.potentials.setfl import Setfl

HARTREE_BOHR_EV_A = 27.2 * 0.529
"""e²/4πε₀ (eV·Å) as the format has it; not CODATA's 14.3996."""


class FuncflError(shared.PotentialFileError):
    """A funcfl file that cannot be read; the text names file, line, field and remedy."""


@dataclasses.dataclass(frozen=True, eq=False)
class Funcfl:
    """The content of a funcfl file: one element.

    ``embedding`` (nrho,): F in eV at ρ = m · ``drho``; ``charge`` (nr,) and ``density`` (nr,): z and ρ at
    r = m · ``dr_A``.

    Raises ``ValueError`` for tables that disagree or are not finite, or spacings that are not positive.
    """

    number: int
    mass_amu: float
    lattice_constant_A: float
    lattice: str
    drho: float
    dr_A: float
    cutoff_A: float
    embedding: np.ndarray
    charge: np.ndarray
    density: np.ndarray
    comment: str = ""

    def __post_init__(self):
        shared.check_grid(self)
        for name in ("embedding", "charge", "density"):
            table = getattr(self, name)
            if table.ndim != 1 or len(table) < 5 or not np.isfinite(table).all():
                raise ValueError(f"{name} must be at least 5 finite values, got shape {table.shape}")
        if len(self.charge) != len(self.density):
            raise ValueError(f"charge has {len(self.charge)} distances, density {len(self.density)}: tabulate both on "
                             "one grid")


def read_funcfl(path: str | Path) -> Funcfl:
    """Read a funcfl file (eV, Å).

    Raises ``FileNotFoundError``, or ``FuncflError`` naming file, line, field and remedy. Warns of values beyond the
    announced count on the last line of a table, which LAMMPS drops, and so does this.
    """
    reader = shared.TableReader(Path(path), FuncflError)
    (comment,) = reader.comments(1, "a funcfl file has a comment line and two header lines")
    Z, mass, constant, lattice = reader.head("the element")
    nrho, drho, nr, dr, cutoff = reader.grid()
    F, charge, rho = (reader.table(count, field) for count, field in
                      ((nrho, "F(rho)"), (nr, "z(r)"), (nr, "rho(r)")))
    reader.finish("a funcfl file holds F(rho), z(r) and rho(r) of one element")
    return Funcfl(Z, mass, constant, lattice, drho, dr, cutoff, F, charge, rho, comment)


def write_funcfl(path: str | Path, content: Funcfl) -> Path:
    """Write a funcfl file (eV, Å) at full precision: reading it gives the same numbers to the last bit.

    Raises ``ValueError`` if the comment does not fit one line.
    """
    shared.check_comments((content.comment,))
    head = (f"{content.number} {content.mass_amu:.17g} {content.lattice_constant_A:.17g} {content.lattice}").rstrip()
    grid = (f"{len(content.embedding)} {content.drho:.17g} {len(content.density)} {content.dr_A:.17g} "
            f"{content.cutoff_A:.17g}")
    tables = [line for table in (content.embedding, content.charge, content.density) for line in shared.block(table)]
    return shared.write_lines(path, [content.comment, head, grid, *tables])


def mix_funcfl(files: Sequence[Funcfl], elements: Sequence[str] | None = None) -> Setfl:
    """The alloy (eV, Å) of one or more funcfl contents on a common grid, as LAMMPS makes it.

    ``elements`` names them (default: the symbols of their atomic numbers). Raises ``ValueError`` for no file, names
    that are not one each and distinct, an atomic number without symbol, or a common grid of fewer than 5 points.
    """
    names = tuple(elements) if elements is not None else tuple(_symbol(file.number) for file in files)
    if not files or len(names) != len(files) or len(set(names)) != len(names):
        raise ValueError(f"give one distinct name per file, got {names} for {len(files)} files")
    dr, drho = max(file.dr_A for file in files), max(file.drho for file in files)
    nr = _points(max((len(file.density) - 1) * file.dr_A for file in files), dr)
    nrho = _points(max((len(file.embedding) - 1) * file.drho for file in files), drho)
    r, rho = np.arange(nr) * dr, np.arange(nrho) * drho
    charge = [_resampled(file.charge, file.dr_A, r) for file in files]
    pair = [HARTREE_BOHR_EV_A * charge[a] * charge[b] for a in range(len(files)) for b in range(a + 1)]
    return Setfl(
        names, drho, dr, max(file.cutoff_A for file in files),
        np.stack([_resampled(file.embedding, file.drho, rho) for file in files]),
        np.stack([_resampled(file.density, file.dr_A, r) for file in files]), np.stack(pair),
        tuple(file.number for file in files), tuple(file.mass_amu for file in files),
        tuple(file.lattice_constant_A for file in files), tuple(file.lattice for file in files),
        (f"mixed from {len(files)} funcfl files", "", ""))


def load_funcfl(paths: str | Path | Sequence[str | Path], elements: Sequence[str] | None = None) -> TabulatedEAM:
    """The potential of one or several funcfl files, one per element (eV, Å), as LAMMPS' ``pair_style eam`` has it.

    ``elements`` names them (default: the symbols of their atomic numbers). Raises as ``read_funcfl``, and
    ``FuncflError`` for what ``mix_funcfl`` refuses.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [read_funcfl(path) for path in several]
    try:
        return TabulatedEAM.from_setfl(mix_funcfl(files, elements))
    except ValueError as error:
        raise FuncflError(f"{', '.join(map(str, several))}: {error}") from error


def _points(reach: float, spacing: float) -> int:
    # Half an interval guards the truncation against round-off.
    count = int(reach / spacing + 0.5)
    if count < 5:
        raise ValueError(f"the common grid has {count} points of spacing {spacing}: the spacings of the files are too "
                         "different")
    return count


def _resampled(table: np.ndarray, spacing: float, x: np.ndarray) -> np.ndarray:
    """Third-order Lagrange interpolation at x; the stencil stays inside the table, and x within a point of it."""
    n = len(table)
    at = x / spacing
    k = np.clip(at.astype(int), 1, n - 3)
    p = np.minimum(at - k, 2.0)
    weights = (-p * (p - 1) * (p - 2) / 6, (p * p - 1) * (p - 2) / 2, -p * (p + 1) * (p - 2) / 2, p * (p * p - 1) / 6)
    return np.sum([w * table[k + m - 1] for m, w in enumerate(weights)], axis=0)


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    if not 0 < number < len(chemical_symbols):
        raise ValueError(f"atomic number {number} has no symbol: name the element with `elements`")
    return chemical_symbols[number]
