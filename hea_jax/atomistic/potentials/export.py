"""An EAM as a LAMMPS ``eam.alloy`` table.

For a learnable EAM the default grids are fine enough for 1e-6 eV/atom on strained and displaced alloys (tested).
Densities are tabulated up to that of a close-packed crystal of the densest species at nearest-neighbour distance
``closest_A``, with a margin; LAMMPS continues F as a straight line beyond. Energy offsets per species cannot be in the
table (an EAM atom alone has F(0) = 0): they stand in the third comment line.

Source: Daw, Foiles & Baskes 1993 (the format).
"""

from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.potentials.eam import AbstractEAM
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair
from hea_jax.atomistic.potentials.setfl import Setfl, write_setfl
from hea_jax.core.results import require_x64

DENSITY_MARGIN = 1.2
"""Factor on the largest density expected, beyond which F is a straight line."""


def to_setfl(potential: AbstractEAM, *, n_r: int = 5001, n_rho: int = 10001, closest_A: float | None = None,
             offsets_eV=None, masses_amu: Mapping[str, float] | None = None, provenance: str = "",
             path: str | Path | None = None) -> Setfl:
    """Tabulate a potential (eV, Å) at ``n_r`` distances and ``n_rho`` densities; write it if ``path`` is given.

    ``closest_A`` is the nearest-neighbour distance down to which densities are covered (default 1.2 ``inner_A`` for a
    ``LearnableEAM``, to be given for others); ``offsets_eV`` (element,) per species and ``provenance`` go to the
    comment lines. ``masses_amu`` gives the mass of species that are no chemical symbols (the average atom): they get
    the atomic number 0.

    Raises ``ValueError`` for too few points, a bad or missing ``closest_A``, a species whose mass is not known, a
    potential with a density per ordered pair (``eam.alloy`` cannot hold it), or float32 parameters.
    """
    require_x64(*jax.tree.leaves(eqx.filter(potential, eqx.is_inexact_array))[:1])
    if isinstance(potential, FinnisSinclair):
        raise ValueError("eam.alloy has one density per element, this potential one per ordered pair: use `write_fs`")
    if n_r < 100 or n_rho < 100:
        raise ValueError(f"n_r and n_rho must be at least 100 for a usable table, got {n_r} and {n_rho}")
    closest = _closest(potential, closest_A)
    n = len(potential.elements)
    r = np.linspace(0.0, potential.cutoff, n_r)
    rho_max = DENSITY_MARGIN * largest_density(potential, closest)
    F = np.asarray(_embedding(potential, jnp.linspace(0.0, rho_max, n_rho))).T
    phi, density = (np.array(table) for table in _radial(potential, jnp.asarray(r)))
    if not np.isfinite(phi[0]).all():
        # φ may diverge at r = 0, where r φ is finite.
        tiny = 1e-6 * r[1]
        phi[0], density[0] = (np.asarray(table)[0] for table in _radial(potential, jnp.array([tiny])))
        r = np.concatenate([[tiny], r[1:]])
    z = np.stack([r * phi[:, a, b] for a in range(n) for b in range(a + 1)])
    numbers, masses = _element_facts(potential.elements, masses_amu or {})
    comments = _comments(potential, rho_max, closest, offsets_eV, provenance)
    spacings = rho_max / (n_rho - 1), potential.cutoff / (n_r - 1)
    setfl = Setfl(potential.elements, *spacings, potential.cutoff, F, density.T.copy(), z, numbers, masses, (0.0,) * n,
                  ("bcc",) * n, comments)
    if path is not None:
        write_setfl(path, setfl)
    return setfl


def _closest(potential, closest_A):
    if closest_A is None and not isinstance(potential, LearnableEAM):
        raise ValueError(f"give closest_A (Å), the distance of the nearest neighbours that a table of "
                         f"{type(potential).__name__} must cover")
    closest = 1.2 * potential.inner_A if closest_A is None else float(closest_A)
    if not 0.0 < closest < potential.cutoff:
        raise ValueError(f"closest_A must lie between 0 and the cut-off {potential.cutoff} Å, got {closest}")
    return closest


def largest_density(potential: AbstractEAM, closest_A: float) -> float:
    """Density at an atom of an fcc crystal with neighbours at ``closest_A`` (Å), of the densest species there."""
    half = closest_A / 2**0.5
    reach = int(np.ceil(potential.cutoff / half)) + 1
    grid = np.stack(np.meshgrid(*(np.arange(-reach, reach + 1),) * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = grid[(grid.sum(axis=1) % 2 == 0) & (grid != 0).any(axis=1)]
    r = jnp.asarray(np.linalg.norm(sites, axis=1) * half)
    return float(jnp.max(jnp.sum(_radial(potential, r)[1], axis=0)))


@eqx.filter_jit
def _radial(potential, r):
    """φ_ab (n, element, element) and ρ_b (n, element) at the distances r (n,)."""
    n = len(potential.elements)
    a, b = (jnp.broadcast_to(jnp.asarray(index.ravel()), (len(r), n * n)) for index in np.indices((n, n)))
    phi, rho_ab, _ = potential.radial(jnp.broadcast_to(r[:, None], a.shape), a, b)
    return phi.reshape(-1, n, n), rho_ab.reshape(-1, n, n)[:, 0]


@eqx.filter_jit
def _embedding(potential, rho):
    """F_a(ρ), (n, element), in eV."""
    n = len(potential.elements)
    return potential.embedding(jnp.broadcast_to(rho[:, None], (len(rho), n)),
                               jnp.broadcast_to(jnp.arange(n), (len(rho), n)))


def _element_facts(elements, masses_amu):
    from ase.data import atomic_masses, atomic_numbers

    unknown = [element for element in elements if element not in atomic_numbers and element not in masses_amu]
    if unknown:
        raise ValueError(f"no atomic number for {unknown}: elements must be chemical symbols to be exported, or their "
                         "masses be given (masses_amu)")
    numbers = tuple(int(atomic_numbers.get(element, 0)) for element in elements)
    return numbers, tuple(float(masses_amu.get(element, atomic_masses[Z]))
                          for element, Z in zip(elements, numbers, strict=True))


def _comments(potential, rho_max, closest, offsets_eV, provenance):
    """The three comment lines. ``UNITS: metal`` in the first lets LAMMPS refuse the file under other units."""
    n = len(potential.elements)
    offsets = np.zeros(n) if offsets_eV is None else np.asarray(offsets_eV, float)
    if offsets.shape != (n,):
        raise ValueError(f"offsets_eV must have one entry per element {potential.elements}, got shape {offsets.shape}")
    listed = ", ".join(f"{element} {offset:.10g}" for element, offset in zip(potential.elements, offsets, strict=True))
    return (
        " ".join(f"hea_jax {type(potential).__name__} UNITS: metal {provenance or 'no provenance given'}".split()),
        f"densities to {rho_max:.6g} = {DENSITY_MARGIN} x fcc with neighbours at {closest:.4g} A, F linear beyond"
        + (f"; core below {potential.inner_A:g} A" if isinstance(potential, LearnableEAM) else ""),
        f"add per atom, eV (not in the tables): {listed}",
    )
