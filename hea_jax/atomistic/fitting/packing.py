"""All reference frames as one static structure on which a learnable EAM is linear algebra.

With positions fixed, pair energies, forces and stresses are linear in the pair coefficients, and densities and
their gradients are linear in the density polynomials. ``pack`` computes those features once on the host; a
prediction for every frame is then a few dense contractions (``predict``), hundreds of times cheaper than
evaluating the potential, and equal to it (tested).

Source: Ercolessi & Adams 1994 (force matching); Daw & Baskes 1984 (the energy).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials.eam_learnable import (
    LearnableEAM,
    cut_polynomial,
    monomials,
    pair_of_species,
    scaled_distance,
)
from hea_jax.core.results import require_x64
from hea_jax.core.tensors import COLUMNS, ROWS, WEIGHTS
from hea_jax.records import ReferenceData


@dataclasses.dataclass(frozen=True)
class FitWeights:
    """Expected errors that scale the residuals: a smaller number weighs more.

    ``energy_eV`` per atom, ``force_eV_per_A`` per component, ``stress_eV`` is stress × volume per atom (0.1 eV is about
    1 GPa here); ``group_factors`` multiplies the (energy, force, stress) residuals of a group.
    """

    energy_eV: float = 0.003
    force_eV_per_A: float = 0.1
    stress_eV: float = 0.06
    group_factors: tuple[tuple[str, tuple[float, float, float]], ...] = ()

    def factors(self, group: str) -> tuple[float, float, float]:
        """(energy, force, stress) multipliers of a group; 1 where none is given."""
        return dict(self.group_factors).get(group, (1.0, 1.0, 1.0))


class PackedFrames(eqx.Module):
    """Features, targets and weights of a set of frames for one radial basis (see module text).

    P pairs of species × K pair functions, B species × M density monomials; ``partner`` (atom, m) lists the distinct
    atoms of the same frame. Stresses are Mandel 6-vectors (eV/Å³); a frame whose cell holds no volume has none: its
    stress rows are zero and its ``volume`` is 1.
    """

    pair_energy: Float[Array, "frame PK"]
    pair_force: Float[Array, "atom 3 PK"]
    pair_stress: Float[Array, "frame 6 PK"]
    density: Float[Array, "atom B M"]
    density_force: Float[Array, "atom m M 3"]
    density_virial: Float[Array, "atom BM 6"]
    partner: Int[Array, "atom m"]
    species: Int[Array, "atom"]
    frame: Int[Array, "atom"]
    counts: Float[Array, "frame B"]
    volume: Float[Array, "frame"]
    core_energy: Float[Array, "frame"]
    core_force: Float[Array, "atom 3"]
    core_stress: Float[Array, "frame 6"]
    energy_target: Float[Array, "frame"]
    force_target: Float[Array, "atom 3"]
    stress_target: Float[Array, "frame 6"]
    energy_weight: Float[Array, "frame"]
    force_weight: Float[Array, "atom"]
    stress_weight: Float[Array, "frame"]


class FitParameters(eqx.Module):
    """What a fit determines: the potential and the energy offsets of its elements (eV per atom).

    Offsets are separate since a tabulated EAM cannot hold them; they never touch forces or stresses.
    """

    potential: LearnableEAM
    offsets_eV: Float[Array, "element"]


def pack(frames: tuple[ReferenceData, ...], groups: tuple[str, ...], potential: LearnableEAM,
         weights: FitWeights) -> PackedFrames:
    """Pack ``frames`` for potentials with the radial basis of ``potential`` (host-side; float64 needed)."""
    require_x64([f.forces_eV_per_A for f in frames])
    edges = [_edges(f.atoms, potential.cutoff) for f in frames]
    # One call for all frames: every other shape would compile anew.
    values = _basis(potential, np.concatenate([r for *_, r in edges]))
    cuts = np.cumsum([len(r) for *_, r in edges])[:-1]
    split = zip(*(np.split(value, cuts) for value in values), strict=True)
    parts = [_frame_features(f, potential, e, v) for f, e, v in zip(frames, edges, split, strict=True)]
    widest = max(part["partner"].shape[1] for part in parts)
    start = np.cumsum([0] + [f.atoms.number for f in frames])
    for n, part in enumerate(parts):
        extra = widest - part["partner"].shape[1]
        part["partner"] = np.pad(part["partner"] + start[n], ((0, 0), (0, extra)))
        part["density_force"] = np.pad(part["density_force"], ((0, 0), (0, extra), (0, 0), (0, 0)))
        factor = weights.factors(groups[n])
        part["energy_weight"] = np.array([factor[0] / weights.energy_eV])
        part["force_weight"] = np.full(frames[n].atoms.number, factor[1] / weights.force_eV_per_A)
        known = np.isfinite(part["stress_target"]).all() and _has_volume(frames[n].atoms)
        per_atom = part["volume"][0] / frames[n].atoms.number
        part["stress_weight"] = np.array([factor[2] * per_atom / weights.stress_eV if known else 0.0])
        part["stress_target"] = np.where(known, part["stress_target"], 0.0)
        part["frame"] = np.full(frames[n].atoms.number, n)
    return PackedFrames(**{key: jnp.asarray(np.concatenate([part[key] for part in parts])) for key in parts[0]})


def _edges(atoms, cutoff):
    """Directed pairs of one frame: i, j (edge,), vectors D (edge, 3) and lengths r (edge,) in Å."""
    pairs = neighbour_table(atoms, cutoff)
    mask = np.asarray(pairs.mask)
    i, j = np.nonzero(mask)[0], np.asarray(pairs.index)[mask]
    x, cell = np.asarray(atoms.positions), np.asarray(atoms.cell)
    D = x[j] + np.asarray(pairs.shift)[mask] @ cell - x[i]
    return i, j, D, np.linalg.norm(D, axis=1)


def _basis(potential, distances):
    """Pair functions (edge, K), density monomials (edge, M) and core (edge,), each followed by its r-derivative."""
    # Padded to a multiple, so that sets of nearly the same size share a compilation.
    padded = np.concatenate([distances, np.full(-len(distances) % 8192, potential.cutoff + 1.0)])
    values, slopes = _functions(potential, jnp.asarray(padded))
    return [np.asarray(x)[:len(distances)] for pair in zip(values, slopes, strict=True) for x in pair]


@eqx.filter_jit
def _functions(potential, r):
    """Columns and core at r, and their derivatives; a unit table gives the basis functions one by one."""
    K, M = potential.pair.shape[1], 2 * potential.density.shape[1] - 1

    def all_of(r_):
        t = scaled_distance(r_, potential.cutoff, potential.inner_A)
        columns = tuple(jax.vmap(lambda column: cut_polynomial(0, column[:, None], jnp.zeros(t.shape, int), t),
                                 in_axes=1, out_axes=1)(table)
                        for table in (jnp.asarray(monomials(K).T / 16.0), jnp.eye(M)))
        return (*columns, potential.core(r_))

    return jax.jvp(all_of, (r,), (jnp.ones_like(r),))


def _has_volume(atoms):
    """Whether the cell holds a volume; a molecule without a cell has no stress."""
    return float(atoms.volume) > 1e-8


def _frame_features(frame, potential, edges, basis):
    atoms, n = frame.atoms, frame.atoms.number
    i, j, D, r = edges
    pair, d_pair, density, d_density, core, d_core = basis
    species, B = np.asarray(atoms.species), len(potential.elements)
    solid = _has_volume(atoms)
    unit, volume = D / r[:, None], float(atoms.volume) if solid else 1.0
    dyad = (D[:, ROWS] * unit[:, COLUMNS]) * WEIGHTS * float(solid)
    P, K, M = potential.pair.shape[0], pair.shape[1], density.shape[1]
    kind = pair_of_species(B)[species[i], species[j]]

    def gather(rows, count, values):
        out = np.zeros((count, *values.shape[1:]))
        np.add.at(out, rows, values)
        return out

    by_kind = gather(kind, P, pair)
    force = gather(i * P + kind, n * P, d_pair[:, None, :] * unit[:, :, None]).reshape(n, P, 3, K)
    stress = gather(kind, P, 0.5 * d_pair[:, None, :] * dyad[:, :, None]) / volume
    return {
        "pair_energy": 0.5 * by_kind.reshape(1, P * K),
        "pair_force": np.moveaxis(force, 2, 1).reshape(n, 3, P * K),
        "pair_stress": np.moveaxis(stress, 1, 0).reshape(1, 6, P * K),
        "density": gather(i * B + species[j], n * B, density).reshape(n, B, M),
        "density_force": gather(i * n + j, n * n, d_density[:, :, None] * unit[:, None, :]).reshape(n, n, M, 3),
        "density_virial": gather(i * B + species[j], n * B, d_density[:, :, None] * dyad[:, None, :]
                                 ).reshape(n, B * M, 6),
        "partner": np.broadcast_to(np.arange(n), (n, n)),
        "species": species,
        "counts": np.bincount(species, minlength=B)[None].astype(float),
        "volume": np.array([volume]),
        "core_energy": np.array([0.5 * core.sum()]),
        "core_force": gather(i, n, d_core[:, None] * unit),
        "core_stress": (0.5 * d_core @ dyad / volume)[None],
        "energy_target": np.asarray(frame.free_energy_eV)[None],
        "force_target": np.asarray(frame.forces_eV_per_A),
        "stress_target": (np.asarray(frame.stress_eV_per_A3)[ROWS, COLUMNS] * WEIGHTS)[None],
    }


def predict(parameters: FitParameters, packed: PackedFrames
            ) -> tuple[Float[Array, "frame"], Float[Array, "atom 3"], Float[Array, "frame 6"]]:
    """Energies (eV, offsets included), forces (eV/Å) and Mandel stresses (eV/Å³) of all packed frames."""
    potential = parameters.potential
    c = potential.pair.ravel()
    q = potential.polynomials()[1].T
    rho = jnp.einsum("abm,bm->a", packed.density, q)
    F, dF = jax.jvp(lambda d: potential.embedding(d, packed.species), (rho,), (jnp.ones_like(rho),))
    frames = packed.counts.shape[0]
    summed = lambda values: jax.ops.segment_sum(values, packed.frame, frames, indices_are_sorted=True)
    energy = packed.pair_energy @ c + packed.core_energy + summed(F) + packed.counts @ parameters.offsets_eV
    own = dF[:, None, None] * q[packed.species[packed.partner]]
    other = dF[packed.partner][..., None] * q[packed.species][:, None, :]
    forces = packed.pair_force @ c + packed.core_force + jnp.einsum("amn,amnc->ac", own + other, packed.density_force)
    virial = dF[:, None] * jnp.einsum("aks,k->as", packed.density_virial, q.ravel())
    stress = packed.pair_stress @ c + packed.core_stress + summed(virial) / packed.volume[:, None]
    return energy, forces, stress


def data_residuals(parameters: FitParameters, packed: PackedFrames) -> Float[Array, "row"]:
    """Weighted residuals (dimensionless): energy per atom, force components, stress × volume per atom."""
    energy, forces, stress = predict(parameters, packed)
    per_atom = jnp.sum(packed.counts, axis=1)
    return jnp.concatenate([
        packed.energy_weight * (energy - packed.energy_target) / per_atom,
        (packed.force_weight[:, None] * (forces - packed.force_target)).ravel(),
        (packed.stress_weight[:, None] * (stress - packed.stress_target)).ravel(),
    ])
