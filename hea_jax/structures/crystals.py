"""Crystals as plain double-precision arrays: what structure generators build and what electronic-structure codes take.

Host-side and independent of JAX's precision; ``Crystal.to_atoms`` gives the record of the atomistic scale. Random
choices are drawn from a generator that is seeded by the structure's name, so a name is enough to build it again.

Source: Born & Huang 1954, §11 (homogeneous strain of a lattice).
"""

import dataclasses
import zlib

import jax.numpy as jnp
import numpy as np

from hea_jax.records import Atoms

_EPSILON = 1e-7
"""Fractional coordinates from −1e-7 to 1 − 1e-7 count as inside the cell."""


@dataclasses.dataclass(frozen=True)
class Crystal:
    """Chemical ``symbols`` (atom,), ``positions`` (atom, 3) in Å and a periodic ``cell`` (3, 3), rows in Å."""

    symbols: tuple[str, ...]
    positions: np.ndarray
    cell: np.ndarray

    def __post_init__(self):
        if self.positions.shape != (len(self.symbols), 3) or self.cell.shape != (3, 3):
            raise ValueError(f"{len(self.symbols)} symbols need positions (n, 3) and a cell (3, 3), got "
                             f"{self.positions.shape} and {self.cell.shape}")

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def volume(self) -> float:
        """Volume of the cell in Å³."""
        return float(abs(np.linalg.det(self.cell)))

    def to_atoms(self, elements: tuple[str, ...] | None = None) -> Atoms:
        """The record of the atomistic scale; ``elements`` fixes the species order (default: by appearance)."""
        order = tuple(dict.fromkeys(self.symbols)) if elements is None else elements
        unknown = sorted(set(self.symbols) - set(order))
        if unknown:
            raise ValueError(f"elements {unknown} are not among {order}: extend `elements`")
        species = np.array([order.index(s) for s in self.symbols], np.int32)
        return Atoms(jnp.asarray(self.positions), jnp.asarray(self.cell), jnp.asarray(species), order)


def generator_of(name: str) -> np.random.Generator:
    """The random generator of a structure: seeded by the CRC-32 of its name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def repeated(crystal: Crystal, repeats: tuple[int, int, int]) -> Crystal:
    """The crystal repeated along its three cell vectors; the last axis runs fastest."""
    if min(repeats) < 1:
        raise ValueError(f"repeats must be at least 1 along every axis, got {repeats}")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), -1).reshape(-1, 1, 3)
    positions = (crystal.positions + corners @ crystal.cell).reshape(-1, 3)
    return Crystal(crystal.symbols * int(np.prod(repeats)), positions, crystal.cell * np.array(repeats)[:, None])


def relabelled(crystal: Crystal, symbols) -> Crystal:
    """The crystal with other chemical symbols (atom,)."""
    return dataclasses.replace(crystal, symbols=tuple(str(s) for s in symbols))


def strained(crystal: Crystal, strain) -> Crystal:
    """The crystal under a small-strain matrix e (3, 3): cell A (1 + e), atoms move with it."""
    stretch = np.eye(3) + np.asarray(strain, float)
    if np.linalg.det(stretch) <= 0:
        raise ValueError(f"strain {np.asarray(strain).tolist()} turns the cell inside out: use smaller strains")
    return dataclasses.replace(crystal, positions=crystal.positions @ stretch, cell=crystal.cell @ stretch)


def displaced(crystal: Crystal, displacement) -> Crystal:
    """The crystal with displacements (atom, 3) in Å added."""
    return dataclasses.replace(crystal, positions=crystal.positions + displacement)


def without(crystal: Crystal, site: int) -> Crystal:
    """The crystal with a vacancy at atom ``site``; raises ``ValueError`` where there is no such atom."""
    if not 0 <= site < len(crystal):
        raise ValueError(f"no atom {site} in a cell of {len(crystal)}: choose 0 to {len(crystal) - 1}")
    keep = np.arange(len(crystal)) != site
    symbols = tuple(s for s, kept in zip(crystal.symbols, keep, strict=True) if kept)
    return Crystal(symbols, crystal.positions[keep], crystal.cell)


def wrapped(crystal: Crystal) -> Crystal:
    """The crystal with every atom inside the cell."""
    fractions = crystal.positions @ np.linalg.inv(crystal.cell)
    return dataclasses.replace(crystal, positions=((fractions + _EPSILON) % 1.0 - _EPSILON) @ crystal.cell)


def tetragonal(amount: float) -> np.ndarray:
    """Strain matrix diag(g, −g/2, −g/2): probes C′ of a cubic crystal."""
    return np.diag([amount, -amount / 2, -amount / 2])


def shear(amount: float) -> np.ndarray:
    """Strain matrix of the engineering shear γ_xy = ``amount``: probes C44 of a cubic crystal."""
    out = np.zeros((3, 3))
    out[0, 1] = out[1, 0] = amount / 2
    return out


def uniaxial(amount: float) -> np.ndarray:
    """Strain matrix diag(g, 0, 0): probes C11 of a cubic crystal."""
    return np.diag([amount, 0.0, 0.0])


def random_strain(generator: np.random.Generator, scale: float) -> np.ndarray:
    """A symmetric strain matrix: nine normal numbers of standard deviation ``scale``, symmetrised."""
    e = generator.normal(0, scale, (3, 3))
    return (e + e.T) / 2


def closest_distance(crystal: Crystal) -> float:
    """Shortest distance (Å) between two atoms or periodic images."""
    # No closest pair is farther apart than the shortest cell vector.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)
    bound = np.linalg.norm(crystal.cell, axis=1).min()
    reach = np.ceil(bound / heights).astype(int) + 1
    images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3)
    inside = wrapped(crystal).positions
    difference = inside[None, :, None] - inside[:, None, None] + images @ crystal.cell
    distance = np.linalg.norm(difference, axis=-1)
    itself = np.eye(len(crystal), dtype=bool)[..., None] & ~images.any(axis=1)
    return float(distance[~itself].min())
