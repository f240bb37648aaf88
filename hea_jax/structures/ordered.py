"""Lattices and ordered compounds: cells of the common Strukturbericht types with one symbol per sublattice.

Source: Hicks et al. 2021, Comput. Mater. Sci. 199, 110450 (AFLOW library of crystallographic prototypes).
"""

import dataclasses

import numpy as np

from hea_jax.structures.crystals import Crystal

_FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_CUBE = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_C15_B = ((0.625, 0.625, 0.625), (0.625, 0.875, 0.875), (0.875, 0.625, 0.875), (0.875, 0.875, 0.625))


@dataclasses.dataclass(frozen=True)
class Prototype:
    """A lattice with a basis: cell rows in units of a (third row times c/a), fractional basis, sublattice per atom."""

    cell: tuple[tuple[float, ...], ...]
    basis: tuple[tuple[float, ...], ...]
    sublattices: tuple[int, ...]
    c_over_a: float = 1.0

    @property
    def number_of_sublattices(self) -> int:
        """How many symbols the prototype takes."""
        return max(self.sublattices) + 1

    def volume_per_atom(self, c_over_a: float | None = None) -> float:
        """Volume per atom in units of a³."""
        ratio = self.c_over_a if c_over_a is None else c_over_a
        return float(abs(np.linalg.det(np.array(self.cell)))) * ratio / len(self.basis)


def _shifted(points, shift):
    """Points of a cubic cell moved by a vector."""
    return tuple(tuple(float(x) for x in (np.array(p) + shift) % 1.0) for p in points)


_HEXAGONAL = ((1.0, 0.0, 0.0), (-0.5, 0.5 * 3**0.5, 0.0), (0.0, 0.0, 1.0))
_A15_CHAINS = ((0.25, 0, 0.5), (0.75, 0, 0.5), (0.5, 0.25, 0), (0.5, 0.75, 0), (0, 0.5, 0.25), (0, 0.5, 0.75))
_EIGHTHS = tuple((i / 4, j / 4, k / 4) for i in (0, 2) for j in (0, 2) for k in (0, 2))
_BODY = _shifted(_EIGHTHS, (0.25, 0.25, 0.25))
PROTOTYPES = {
    "sc": Prototype(_CUBE, ((0, 0, 0),), (0,)),
    "bcc": Prototype(_CUBE, ((0, 0, 0), (0.5, 0.5, 0.5)), (0, 0)),
    "fcc": Prototype(_CUBE, _FCC, (0,) * 4),
    "fcc_primitive": Prototype(((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)), ((0, 0, 0),), (0,)),
    "bcc_primitive": Prototype(((-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5)), ((0, 0, 0),), (0,)),
    "hcp": Prototype(_HEXAGONAL, ((0, 0, 0), (1 / 3, 2 / 3, 0.5)), (0, 0), (8 / 3) ** 0.5),
    "diamond": Prototype(_CUBE, (*_FCC, *_shifted(_FCC, (0.25, 0.25, 0.25))), (0,) * 8),
    "B1": Prototype(_CUBE, (*_FCC, *_shifted(_FCC, (0.5, 0.5, 0.5))), (0,) * 4 + (1,) * 4),
    "B2": Prototype(_CUBE, ((0, 0, 0), (0.5, 0.5, 0.5)), (0, 1)),
    "B3": Prototype(_CUBE, (*_FCC, *_shifted(_FCC, (0.25, 0.25, 0.25))), (0,) * 4 + (1,) * 4),
    # Two interpenetrating diamond lattices on bcc sites.
    "B32": Prototype(_CUBE, (*_FCC, *_shifted(_FCC, (0.25, 0.25, 0.25)), *_shifted(_FCC, (0.5, 0.5, 0.5)),
                             *_shifted(_FCC, (0.75, 0.75, 0.75))), (0,) * 8 + (1,) * 8),
    # A₃B: the first symbol takes three of four sites.
    "D0_3": Prototype(_CUBE, (*_shifted(_FCC, (0.5, 0.5, 0.5)), *_BODY, *_FCC), (0,) * 12 + (1,) * 4),
    "L1_2": Prototype(_CUBE, (_FCC[1], _FCC[2], _FCC[3], _FCC[0]), (0, 0, 0, 1)),
    # Layers along c, in the four-atom cell.
    "L1_0": Prototype(_CUBE, (_FCC[0], _FCC[3], _FCC[1], _FCC[2]), (0, 0, 1, 1)),
    "A15": Prototype(_CUBE, (*_A15_CHAINS, (0, 0, 0), (0.5, 0.5, 0.5)), (0,) * 6 + (1,) * 2),
    # AB₂ Laves phase: the second symbol takes two of three sites.
    "C15": Prototype(_CUBE, (*_FCC, *_shifted(_FCC, (0.25, 0.25, 0.25)),
                             *(p for shift in _FCC for p in _shifted(_C15_B, shift))), (0,) * 8 + (1,) * 16),
}  # fmt: skip
"""Lattices and compounds by name; conventional cells unless the name says otherwise."""


def lattice_constant(prototype: Prototype, volume_per_atom_A3: float, c_over_a: float | None = None) -> float:
    """Lattice constant a (Å) at which the prototype has the given volume per atom (Å³)."""
    return float((volume_per_atom_A3 / prototype.volume_per_atom(c_over_a)) ** (1 / 3))


def ordered(prototype: Prototype, symbols: tuple[str, ...], lattice_constant_A: float, *,
            c_over_a: float | None = None) -> Crystal:
    """One cell of a prototype with one symbol per sublattice; a in Å, c/a ideal if left out.

    Raises ``ValueError`` for a wrong number of symbols or a non-positive lattice constant or ratio.
    """
    if len(symbols) != prototype.number_of_sublattices:
        raise ValueError(f"the prototype has {prototype.number_of_sublattices} sublattices, got symbols {symbols}")
    ratio = prototype.c_over_a if c_over_a is None else c_over_a
    if not (lattice_constant_A > 0 and ratio > 0):
        raise ValueError(f"lattice constant and c/a must be positive, got {lattice_constant_A} Å and {ratio}")
    cell = lattice_constant_A * np.array(prototype.cell, float) * np.array([1.0, 1.0, ratio])[:, None]
    chosen = tuple(symbols[index] for index in prototype.sublattices)
    return Crystal(chosen, np.array(prototype.basis, float) @ cell, cell)
