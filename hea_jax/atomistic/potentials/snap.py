"""SNAP, the spectral neighbour analysis potential, evaluated from its files.

    E_i = β₀ + Σ_b β_b B_b(i) + ½ Σ_bb′ α_bb′ B_b B_b′,

with the bispectrum B of the density of neighbours on the 3-sphere: neighbour j enters with weight w_j f_c(r), at the
angle θ₀ = π r_fac0 (r − r_min0)/(r_cut − r_min0), r_cut = (R_i + R_j) r_cutfac. The quadratic part is optional, and the
density may be resolved by element (Cusentino et al. 2020).

Sources: Thompson, Swiler, Trott, Foiles & Tucker 2015; Wood & Thompson 2018 (quadratic); Cusentino, Wood &
Thompson 2020 (by element); LAMMPS manual, ``pair_style snap`` (options and their defaults).
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.potentials.snap_algebra import (
    bispectrum,
    bispectrum_tables,
    full_harmonics,
    half_harmonics,
    triples,
)
from hea_jax.atomistic.potentials.snap_files import (
    SnapCoefficients,
    SnapError,
    SnapParameters,
    read_snap_coefficients,
    read_snap_parameters,
)
from hea_jax.atomistic.potentials.table_file import LARGEST_CUTOFF_A
from hea_jax.records import AbstractPotential, Atoms, Neighbours, pair_vectors

BLOCK = 16
"""Atoms evaluated at a time: bounds the memory of forces, whose backward pass keeps the harmonics of one block."""


class SNAP(AbstractPotential):
    """A SNAP potential (eV, Å); make it with ``load_snap`` or ``snap_from``.

    Leaves: ``coefficients`` (element, m) in eV: β₀, β, and for a quadratic one the upper triangle of α, row by row;
    ``radius`` R and ``weight`` w per element; ``inner_A`` (2, element), middle and half-width of the inner switch.
    ``rcutfac`` (Å per unit of R), ``rfac0``, ``rmin0_A`` are leaves too. The energy is NaN once radii reach beyond
    ``cutoff``, for which the neighbour tables are built.

    Static: ``twojmax`` = 2J; ``channel`` per element, the density that its atoms belong to, of ``channels`` in all.
    """

    coefficients: Float[Array, "element m"]
    radius: Float[Array, "element"]
    weight: Float[Array, "element"]
    inner_A: Float[Array, "2 element"] | None
    rcutfac: Float[Array, ""]
    rfac0: Float[Array, ""]
    rmin0_A: Float[Array, ""]
    elements: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    twojmax: int = eqx.field(static=True)
    channel: tuple[int, ...] = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    switched: bool = eqx.field(static=True)
    subtract_isolated: bool = eqx.field(static=True)
    quadratic: bool = eqx.field(static=True)
    normalised: bool = eqx.field(static=True)
    self_in_all: bool = eqx.field(static=True)

    def atomic_energies(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom"]:
        """Energy of each atom (eV)."""
        B = self.bispectrum(atoms, pairs)
        linear = B.shape[-1]
        beta = self.coefficients[atoms.species]
        E = beta[:, 0] + jnp.sum(beta[:, 1 : linear + 1] * B, axis=-1)
        if self.quadratic:
            # Upper triangle, row by row; the diagonal is halved as in ½ B·α·B.
            row, column = np.triu_indices(linear)
            half = jnp.asarray(np.where(row == column, 0.5, 1.0), E.dtype)
            E = E + jnp.sum(beta[:, linear + 1 :] * half * B[:, row] * B[:, column], axis=-1)
        reach = 2.0 * jnp.max(self.radius) * self.rcutfac
        # A factor, so that derivatives are NaN too.
        return E * jnp.where(reach <= self.cutoff * (1.0 + 1e-6), 1.0, jnp.nan)

    def bispectrum(self, atoms: Atoms, pairs: Neighbours) -> Float[Array, "atom b"]:
        """The components B (dimensionless) of each atom, the isolated atom's subtracted if the file says so."""
        vectors = pair_vectors(atoms, pairs)
        kinds = atoms.species[pairs.index]
        n = vectors.shape[0]
        if n <= BLOCK:
            return self.block_bispectrum(vectors, kinds, atoms.species)
        blocks = -(-n // BLOCK)
        # Rows that fill up the last block have no neighbours within reach.
        extra = blocks * BLOCK - n
        fill = lambda x, value=0.0: jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1), constant_values=value)
        parts = (fill(vectors, 2.0 * self.cutoff), fill(kinds), fill(atoms.species))
        split = jax.tree.map(lambda x: x.reshape(blocks, BLOCK, *x.shape[1:]), parts)
        # Without a checkpoint the backward pass would keep the harmonics of all pairs.
        block = jax.checkpoint(lambda part: self.block_bispectrum(*part))
        return jax.lax.map(block, split).reshape(blocks * BLOCK, -1)[:n]

    def block_bispectrum(self, vectors: Float[Array, "atom k 3"], kinds: Int[Array, "atom k"],
                         species: Int[Array, "atom"]) -> Float[Array, "atom b"]:
        """The components of a few atoms from pair vectors (Å) and the species of both ends."""
        a, b, weight = self.cayley_klein(vectors, kinds, species)
        own, theirs = (jnp.asarray(self.channel)[kind] for kind in (species, kinds))
        levels = half_harmonics(a, b, weight, self.twojmax)
        counted = lambda x, c: x if self.channels == 1 else jnp.where(theirs == c, x, 0.0)
        summed = [full_harmonics([(jnp.sum(counted(re, c), -1), jnp.sum(counted(im, c), -1)) for re, im in levels])
                  for c in range(self.channels)]
        re, im = (jnp.stack([parts[m] for parts in summed]) for m in (0, 1))
        diagonal = np.concatenate([np.eye(j + 1).ravel() for j in range(self.twojmax + 1)])
        present = jnp.ones((self.channels, len(species)), bool) if self.self_in_all else (
            own == jnp.arange(self.channels)[:, None])
        re = re + jnp.asarray(diagonal, re.dtype)[:, None] * present[:, None, :]
        B = bispectrum((re, im), bispectrum_tables(self.twojmax), self.normalised)
        if self.subtract_isolated:
            B = B - self.isolated(present)
        return jnp.moveaxis(B, -1, 0).reshape(len(species), -1)

    def isolated(self, present) -> Float[Array, "channel channel channel b atom"]:
        """The components of an atom alone, whose own channels are ``present`` (channel, atom), dimensionless."""
        degree = np.array(triples(self.twojmax))[:, 2] + 1.0
        value = jnp.asarray(np.ones_like(degree) if self.normalised else degree, self.weight.dtype)
        alone = present[:, None, None] & present[None, :, None] & present[None, None, :]
        return value[:, None] * alone[..., None, :]

    def cayley_klein(self, vectors, kinds, species):
        """((Re a, Im a), (Re b, Im b), weight · switch) of each pair (Å); the weight is zero beyond its cut-off."""
        reach = (self.radius[species][:, None] + self.radius[kinds]) * self.rcutfac
        square = jnp.sum(vectors**2, axis=-1)
        # Values inside the cut-off stand in beyond it, so that no derivative meets an angle of π or a distance of 0.
        inside = (square < reach**2) & (square > 1e-20)
        x, y, z = (jnp.where(inside, vectors[..., m], (0.0, 0.0, 1.0)[m]) for m in range(3))
        r = jnp.sqrt(x * x + y * y + z * z)
        span = reach - self.rmin0_A
        phase = jnp.pi * (r - self.rmin0_A) / span
        sine, cosine = jnp.sin(self.rfac0 * phase), jnp.cos(self.rfac0 * phase)
        # Below rmin0 the angle is negative, which turns both parameters around.
        sign = jnp.where(sine < 0, -1.0, 1.0)
        sine_r = sign * sine / r
        factor = self.weight[kinds] * inside
        if self.switched:
            factor = factor * jnp.where(r > self.rmin0_A, 0.5 * (jnp.cos(phase) + 1.0), 1.0)
        if self.inner_A is not None:
            middle, width = (0.5 * (row[species][:, None] + row[kinds]) for row in self.inner_A)
            depth = jnp.clip((r - middle) / width, -1.0, 1.0)
            factor = factor * 0.5 * (1.0 + jnp.sin(0.5 * jnp.pi * depth))
        return (sign * cosine, -z * sine_r), (y * sine_r, -x * sine_r), factor


def load_snap(coefficients: str | Path, parameters: str | Path, *, elements: tuple[str, ...] | None = None) -> SNAP:
    """The SNAP potential of a ``.snapcoeff`` and a ``.snapparam`` file (eV, Å), float64 where that is switched on.

    ``elements``: which of the file's elements, in which order (default: all, as in the file).
    Raises ``FileNotFoundError`` or ``SnapError`` naming file, field and remedy.
    """
    try:
        return snap_from(read_snap_coefficients(coefficients), read_snap_parameters(parameters), elements=elements)
    except SnapError as error:
        if str(coefficients) in str(error) or str(parameters) in str(error):
            raise
        raise SnapError(f"{coefficients} with {parameters}: {error}") from error


def snap_from(coefficients: SnapCoefficients, parameters: SnapParameters, *, elements: tuple[str, ...] | None = None
              ) -> SNAP:
    """The potential (eV, Å) of the two files' content; raises ``SnapError`` where they contradict each other."""
    content, p = coefficients, parameters
    chosen = content.elements if elements is None else tuple(elements)
    absent = [symbol for symbol in chosen if symbol not in content.elements]
    if absent or not chosen or len(set(chosen)) != len(chosen):
        raise SnapError(f"elements {chosen} must be distinct and among {', '.join(content.elements)}: correct them")
    rows = np.array([content.elements.index(symbol) for symbol in chosen])
    channels = len(content.elements) if p.chemflag else 1
    linear = len(triples(p.twojmax)) * channels**3
    expected = 1 + linear + (linear * (linear + 1) // 2 if p.quadraticflag else 0)
    if content.coefficients.shape[1] != expected:
        raise SnapError(f"twojmax {p.twojmax}{' with chemflag' * p.chemflag}{' and quadraticflag' * p.quadraticflag} "
                        f"needs {expected} coefficients per element, the coefficient file has "
                        f"{content.coefficients.shape[1]}: the two files do not belong together")
    inner = None
    if p.switchinnerflag:
        if {len(p.sinner), len(p.dinner)} != {len(content.elements)}:
            raise SnapError(f"sinner and dinner need one value for each of {', '.join(content.elements)}: add them")
        inner = jnp.asarray(np.array([p.sinner, p.dinner])[:, rows])
    cutoff = 2.0 * p.rcutfac * float(content.radii[rows].max())
    if not (cutoff <= LARGEST_CUTOFF_A and 2.0 * p.rcutfac * float(content.radii[rows].min()) > p.rmin0):
        raise SnapError(f"the cut-off of the smallest radius must exceed rmin0 ({p.rmin0:g} Å), and the largest "
                        f"({cutoff:g} Å) be at most {LARGEST_CUTOFF_A:g} Å: correct radii, rcutfac or rmin0")
    return SNAP(
        coefficients=jnp.asarray(content.coefficients[rows]), radius=jnp.asarray(content.radii[rows]),
        weight=jnp.asarray(content.weights[rows]), inner_A=inner, rcutfac=jnp.asarray(p.rcutfac),
        rfac0=jnp.asarray(p.rfac0), rmin0_A=jnp.asarray(p.rmin0), elements=chosen, cutoff=cutoff, twojmax=p.twojmax,
        channel=tuple(int(row) if p.chemflag else 0 for row in rows), channels=channels, switched=p.switchflag,
        subtract_isolated=p.bzeroflag, quadratic=p.quadraticflag, normalised=p.bnormflag, self_in_all=p.wselfallflag)
