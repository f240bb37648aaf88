"""Universal screened Coulomb repulsion of nuclei, and the sum of several potentials.

    φ_ab(r) = k Z_a Z_b / r · Σ_m c_m exp(−d_m r / a_ab),   a_ab = 0.46850 Å / (Z_a^0.23 + Z_b^0.23)

It ends at an outer radius through one of two tapers: ``LammpsTaper`` (LAMMPS' own, C²) or ``SmoothTaper`` (C³).

Sources: Ziegler, Biersack & Littmark 1985; LAMMPS manual, ``pair_style zbl``.
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.atomistic.potentials.pair import switch
from hea_jax.records import AbstractPotential, Atoms, Neighbours, pair_vectors

COULOMB_EV_A = 14.399645
"""e²/4πε₀ (eV·Å) to the digits that LAMMPS has, so that the two agree to round-off (CODATA 2022: 14.3996454)."""
WEIGHTS = (0.02817, 0.28022, 0.50986, 0.18175)
DECAYS = (0.20162, 0.40290, 0.94229, 3.19980)
SCREENING_LENGTH_A, SCREENING_POWER = 0.46850, 0.23


def screened_coulomb(r: Float[Array, "*n"], Z_a: Float[Array, "*n"], Z_b: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The universal repulsion (eV) of nuclei of charge Z_a and Z_b at distance r (Å), not tapered."""
    x = r * (Z_a**SCREENING_POWER + Z_b**SCREENING_POWER) / SCREENING_LENGTH_A
    screening = sum(c * jnp.exp(-d * x) for c, d in zip(WEIGHTS, DECAYS, strict=True))
    return COULOMB_EV_A * Z_a * Z_b / r * screening


class AbstractTaper(eqx.Module):
    """How a repulsion ends: untouched (up to a constant) below ``inner_A``, zero from ``outer_A`` on (Å, static)."""

    inner_A: eqx.AbstractVar[float]
    outer_A: eqx.AbstractVar[float]

    @abc.abstractmethod
    def __call__(self, r: Float[Array, "*n"], Z_a: Float[Array, "*n"], Z_b: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The tapered repulsion (eV) at distances r (Å)."""


class LammpsTaper(AbstractTaper):
    """φ + S, with S = C below ``inner_A`` and A/3 (r − r₁)³ + B/4 (r − r₁)⁴ + C between, as LAMMPS has it.

    A, B, C are such that φ + S and its first two derivatives vanish at ``outer_A``; the third jumps there and at
    ``inner_A``. Below ``inner_A`` energies are shifted by C, forces are those of the bare repulsion.
    """

    inner_A: float = eqx.field(static=True)
    outer_A: float = eqx.field(static=True)

    def __check_init__(self):
        _check_radii(self.inner_A, self.outer_A)

    def __call__(self, r, Z_a, Z_b):
        bare = lambda x: screened_coulomb(x, Z_a, Z_b)
        slope = lambda x: jax.jvp(bare, (x,), (jnp.ones_like(x),))[1]
        end = jnp.full(jnp.broadcast_shapes(jnp.shape(Z_a), jnp.shape(Z_b)), self.outer_A, r.dtype)
        E, dE = bare(end), slope(end)
        d2E = jax.jvp(slope, (end,), (jnp.ones_like(end),))[1]
        width = self.outer_A - self.inner_A
        A = (-3.0 * dE + width * d2E) / width**2
        B = (2.0 * dE - width * d2E) / width**3
        C = -E + width * dE / 2.0 - width**2 * d2E / 12.0
        t = jnp.maximum(r - self.inner_A, 0.0)
        return jnp.where(r < self.outer_A, bare(r) + t**3 * (A / 3.0 + B / 4.0 * t) + C, 0.0)


class SmoothTaper(AbstractTaper):
    """φ · f with f falling from 1 at ``inner_A`` to 0 at ``outer_A``; the first three derivatives vanish there (C³).

    Below ``inner_A`` energies and forces are those of the bare repulsion.
    """

    inner_A: float = eqx.field(static=True)
    outer_A: float = eqx.field(static=True)

    def __check_init__(self):
        _check_radii(self.inner_A, self.outer_A)

    def __call__(self, r, Z_a, Z_b):
        return screened_coulomb(r, Z_a, Z_b) * switch(r, self.inner_A, self.outer_A)


class ZBL(AbstractPotential):
    """Universal repulsion between all pairs; build it with ``ZBL.of(elements, taper)``.

    Leaf: ``charge`` (element,), the nuclear charges Z. Static: ``elements``. ``cutoff`` (Å) is the taper's end.
    """

    charge: Float[Array, "element"]
    taper: AbstractTaper
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)

    @classmethod
    def of(cls, elements: Sequence[str], taper: AbstractTaper) -> "ZBL":
        """The repulsion of these elements (eV, Å); raises ``ValueError`` for what is no chemical symbol."""
        return cls(charge=jnp.asarray(_atomic_numbers(elements), float), taper=taper, elements=tuple(elements),
                   cutoff=float(taper.outer_A))

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV); half of each bond goes to either end."""
        r = jnp.linalg.norm(pair_vectors(atoms, pairs), axis=-1)
        phi = self.taper(r, self.charge[atoms.species][:, None], self.charge[atoms.species[pairs.index]])
        return 0.5 * jnp.sum(phi, axis=-1)


class Overlay(AbstractPotential):
    """The sum of potentials that know the same elements in the same order; build it with ``Overlay.of``.

    ``cutoff`` (Å) is the largest of theirs. Each part must vanish beyond its own cut-off, as every potential does.
    """

    parts: tuple[AbstractPotential, ...]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)

    @classmethod
    def of(cls, *parts: AbstractPotential) -> "Overlay":
        """The sum of ``parts`` (eV, Å); raises ``ValueError`` for none, or for elements that differ."""
        if not parts:
            raise ValueError("give at least one potential")
        different = [part.elements for part in parts if part.elements != parts[0].elements]
        if different:
            raise ValueError(f"potentials must know the same elements in the same order, got {parts[0].elements} and "
                             f"{different[0]}")
        return cls(parts=tuple(parts), elements=parts[0].elements, cutoff=max(float(part.cutoff) for part in parts))

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV), the sum over the parts."""
        return sum((part.atomic_energies(atoms, pairs) for part in self.parts[1:]),
                   start=self.parts[0].atomic_energies(atoms, pairs))


def _check_radii(inner_A: float, outer_A: float) -> None:
    if not 0.0 < inner_A < outer_A:
        raise ValueError(f"radii must satisfy 0 < inner_A < outer_A (Å), got {inner_A} and {outer_A}")


def _atomic_numbers(elements: Sequence[str]) -> list[int]:
    from ase.data import atomic_numbers

    unknown = [element for element in elements if atomic_numbers.get(element, 0) == 0]
    if unknown:
        raise ValueError(f"no atomic number for {unknown}: elements must be chemical symbols")
    return [int(atomic_numbers[element]) for element in elements]
