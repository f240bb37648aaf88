"""A coarse linear model of a dataset, to compare what no pair of frames can: energies between groups, units of forces
and of stress.

Energies are sums of radial functions per pair of elements and of square roots of densities per element, whose
coefficients enter linearly. The model is only as good as needed to tell 0.3 eV/atom and a factor of 1.5 from none.

Source: Finnis & Sinclair 1984 (square root of a density); Huber 1964 (robust least squares).
"""

import dataclasses

import numpy as np

from hea_jax.electronic.families import is_crystal
from hea_jax.electronic.neighbours import neighbour_pairs

CUTOFF_A, CENTRES_A, WIDTH_A = 5.5, np.linspace(2.0, 5.0, 6), 0.6
DECAYS_A, POWERS = (0.4, 0.8, 1.6), (0.25, 0.5, 1.5)
ENERGY_SCALE_EV, FORCE_SCALE_EV_PER_A, STRESS_SCALE_EV = 0.03, 0.3, 0.2
"""Expected errors of the model: energy per atom, force component, stress × volume per atom."""
FAR_OFF_EV = 0.5
"""Energies per atom of a group this far off are not those of the others."""
MEANINGLESS_EV = 3.0
"""This far off, even their differences within the group are not taken (another unit)."""


@dataclasses.dataclass(frozen=True)
class Features:
    """Linear features of some frames: ``energy`` (frame, p) per atom, ``virial`` (frame, 6, p) V·σ per atom,
    ``forces`` list of (3·atom, p); their coefficients have unit eV."""

    energy: np.ndarray
    virial: np.ndarray
    forces: list[np.ndarray]


def features(frames, number_of_elements) -> Features:
    """Features of crystal frames (host frames), of energies per atom, V·σ per atom and forces."""
    rows = [_features_of(frame.atoms, number_of_elements) for frame in frames]
    return Features(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), [r[2] for r in rows])


def _cut(r):
    """A smooth cut-off and its derivative."""
    x = np.clip(r / CUTOFF_A, 0.0, 1.0)
    return (1 - x**2) ** 3, -6 * x * (1 - x**2) ** 2 / CUTOFF_A


def _radial(r):
    """Gaussians under the cut-off, (pair, k), and their derivatives."""
    fc, dfc = _cut(r)
    d = r[:, None] - CENTRES_A
    g = np.exp(-0.5 * (d / WIDTH_A) ** 2)
    return g * fc[:, None], -d / WIDTH_A**2 * g * fc[:, None] + g * dfc[:, None]


def _features_of(atoms, number):
    i, j, vectors = neighbour_pairs(atoms, CUTOFF_A)
    N, species = atoms.number, np.asarray(atoms.species)
    r = np.linalg.norm(vectors, axis=1)
    unit = vectors / r[:, None]
    value, slope = _radial(r)
    a, b = np.minimum(species[i], species[j]), np.maximum(species[i], species[j])
    kind = (a * number - a * (a - 1) // 2 + (b - a)).astype(int)
    kinds, K = number * (number + 1) // 2, len(CENTRES_A)
    size = kinds * K + number * len(DECAYS_A) * len(POWERS)
    energy, virial, forces = np.zeros(size), np.zeros((6, size)), np.zeros((N, 3, size))
    bond = np.stack([vectors[:, m] * unit[:, n] for m, n in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=1)
    for t in np.unique(kind):
        mine, columns = kind == t, slice(t * K, (t + 1) * K)
        energy[columns] = 0.5 * value[mine].sum(axis=0)
        virial[:, columns] = 0.5 * bond[mine].T @ slope[mine]
        np.add.at(forces[:, :, columns], i[mine], unit[mine, :, None] * slope[mine, None, :])
    fc, dfc = _cut(r)
    for d, decay in enumerate(DECAYS_A):
        decayed = np.exp(-(r - 2.8) / decay)
        rho = np.bincount(i, decayed * fc, N) + 1e-12
        change = decayed * (dfc - fc / decay)
        for q, power in enumerate(POWERS):
            weight = power * rho ** (power - 1)
            for s in np.unique(species):
                column = kinds * K + (s * len(DECAYS_A) + d) * len(POWERS) + q
                own, other = np.where(species[i] == s, weight[i], 0.0), np.where(species[j] == s, weight[j], 0.0)
                energy[column] = (rho[species == s] ** power).sum()
                virial[:, column] = bond.T @ (own * change)
                np.add.at(forces[:, :, column], i, unit * ((own + other) * change)[:, None])
    return energy / N, virial / N, forces.reshape(3 * N, size)


def sample(frames, groups, *, per_group: int = 40) -> np.ndarray:
    """Indices of at most ``per_group`` usable crystal frames of each group, evenly spread in the order of the file;
    usable are those without atoms much closer, or cells much larger, than the median of the set."""
    density = np.array([abs(np.linalg.det(f.atoms.cell)) / f.atoms.number if is_crystal(f) else np.nan for f in frames])
    middle = np.nanmedian(density) if np.isfinite(density).any() else np.nan
    usable = (density > 0.6 * middle) & (density < 2.5 * middle)
    chosen = []
    for group in dict.fromkeys(groups):
        mine = np.flatnonzero(usable & (np.array(groups) == group))
        chosen.append(mine[np.unique(np.linspace(0, len(mine) - 1, min(per_group, len(mine))).astype(int))])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)


def robust_solve(A, y, *, ridge=1e-3, rounds=15, limit=2.0):
    """Coefficients of ridge least squares with Huber weights: residuals beyond ``limit`` (units of y) pull linearly."""
    weight = np.ones(len(y))
    x = np.zeros(A.shape[1])
    for _ in range(rounds):
        W = A * weight[:, None]
        x = np.linalg.solve(A.T @ W + ridge * np.eye(A.shape[1]), W.T @ y)
        weight = 1.0 / np.maximum(1.0, np.abs(y - A @ x) / limit)
    return x


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the coarse model says of the sampled ``frames`` (indices): energies ``per_atom_eV`` as given and
    ``expected_eV`` by forces, stress and one offset per element; ``atoms`` their sizes; per group the median difference
    (eV/atom) and its sampled frames; the slope and correlation of forces against a model of energies and stress; V·σ
    per atom (frame, 6; eV; xx yy zz yz xz xy) as given, ``virial``, and as models without any stress have it:
    ``modelled_virial`` from energies and forces, ``blind_virial`` from energies alone; ``volumes`` (frame,) of the
    cells in Å³."""

    frames: np.ndarray
    per_atom_eV: np.ndarray
    expected_eV: np.ndarray
    atoms: np.ndarray
    group_offsets: dict[str, tuple[float, np.ndarray]]
    force_slope: float
    force_correlation: float
    virial: np.ndarray
    modelled_virial: np.ndarray
    blind_virial: np.ndarray
    volumes: np.ndarray


def fit_reference(dataset, frames) -> Reference | None:
    """Fit the coarse model to (host) frames of a dataset; None when fewer than 8 crystal frames can be used.

    The group furthest off is left out of the reference, one after the other, so that it does not bend that of others.
    """
    chosen = sample(frames, dataset.groups, per_group=24)
    if len(chosen) < 8:
        return None
    part, groups = [frames[n] for n in chosen], np.array([dataset.groups[n] for n in chosen])
    X, target = features(part, len(dataset.elements)), _targets(part, len(dataset.elements))
    # An offset of each group's own: the model takes energy differences within groups, never between them.
    level = np.hstack([target.share, 0.3 * (groups[:, None] == np.unique(groups))])
    kept, rank = np.ones(len(chosen), bool), np.linalg.matrix_rank(target.share, tol=1e-8)
    trusted = kept
    while True:
        coefficients = _solve(X, target, level, trusted, with_forces=True)
        rest = target.energy - X.energy @ coefficients
        offsets = _element_offsets(target.share[kept], rest[kept], groups[kept])
        off = rest - target.share @ offsets
        middle = {g: abs(float(np.median(off[groups == g]))) for g in np.unique(groups[kept])}
        worst = max(middle, key=lambda g: middle[g])
        if middle[worst] > MEANINGLESS_EV:
            trusted = trusted & (groups != worst)
        fewer = kept & (groups != worst)
        if middle[worst] < FAR_OFF_EV or np.linalg.matrix_rank(target.share[fewer], tol=1e-8) < rank:
            break
        kept = fewer
    by_group = {str(g): (float(np.median(off[groups == g])), chosen[groups == g]) for g in dict.fromkeys(groups)}
    blind = _solve(X, target, level, trusted, with_forces=False)
    slope, correlation = _line(np.concatenate(X.forces) @ blind, np.concatenate(target.forces))
    # A stress in another unit spoils what is trusted: these models take all energies.
    modelled, energies_only = (
        X.virial @ _solve(X, target, level, np.ones(len(chosen), bool), with_forces=forces, with_stress=False)
        for forces in (True, False))
    return Reference(chosen, target.energy, target.energy - off, target.atoms, by_group, slope, correlation,
                     target.virial, modelled, energies_only, np.array([abs(np.linalg.det(f.atoms.cell)) for f in part]))


@dataclasses.dataclass(frozen=True)
class _Targets:
    energy: np.ndarray
    virial: np.ndarray
    forces: list[np.ndarray]
    share: np.ndarray
    atoms: np.ndarray


def _targets(frames, number):
    atoms = np.array([f.atoms.number for f in frames])
    volume = np.array([abs(np.linalg.det(f.atoms.cell)) for f in frames]) / atoms
    stress = np.array([f.stress_eV_per_A3[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] for f in frames])
    energy = np.array([float(f.free_energy_eV) for f in frames]) / atoms
    share = np.array([np.bincount(f.atoms.species, minlength=number) for f in frames]) / atoms[:, None]
    return _Targets(energy, stress * volume[:, None], [f.forces_eV_per_A.ravel() for f in frames], share, atoms)


def _solve(X, target, level, kept, *, with_forces, with_stress=True):
    """Coefficients of the features, from energies (of ``kept`` frames) up to offsets, stress, some forces."""
    size = X.energy.shape[1]
    virial = X.virial.reshape(-1, size)
    known = np.flatnonzero(np.isfinite(target.virial.ravel()) & with_stress)
    F, f = np.concatenate(X.forces), np.concatenate(target.forces)
    moving = np.flatnonzero(np.abs(f) > 1e-3) if with_forces else np.zeros(0, int)
    if len(moving):
        moving = moving[np.unique(np.linspace(0, len(moving) - 1, min(3000, len(moving))).astype(int))]
    none = lambda rows: np.zeros((rows, level.shape[1]))
    A = np.concatenate([np.hstack([X.energy, level])[kept] / ENERGY_SCALE_EV,
                        np.hstack([virial[known], none(len(known))]) / STRESS_SCALE_EV,
                        np.hstack([F[moving], none(len(moving))]) / FORCE_SCALE_EV_PER_A])
    y = np.concatenate([(target.energy - np.median(target.energy[kept]))[kept] / ENERGY_SCALE_EV,
                        target.virial.ravel()[known] / STRESS_SCALE_EV, f[moving] / FORCE_SCALE_EV_PER_A])
    return robust_solve(A, y, ridge=1e-2, rounds=8)[:size]


def _element_offsets(share, rest, groups):
    """Offsets per element that put most groups, each as a whole, near zero."""
    count = np.array([np.sum(groups == g) for g in groups])
    weight, offsets = np.ones(len(rest)), np.zeros(share.shape[1])
    for _ in range(60):
        root = np.sqrt(weight / count)[:, None]
        offsets = np.linalg.lstsq(share * root, rest * root[:, 0], rcond=1e-10)[0]
        off = rest - share @ offsets
        middle = {g: max(abs(float(np.median(off[groups == g]))), 0.01) for g in np.unique(groups)}
        weight = np.array([1 / middle[g] for g in groups])
    return offsets


def _line(x, y):
    """Slope through the origin and correlation of y against x, of the components that say something."""
    telling = (np.abs(x) > 0.02) | (np.abs(y) > 0.02)
    x, y = x[telling], y[telling]
    if len(x) < 30 or not np.any(x) or not np.any(y):
        return np.nan, 0.0
    x, y = (np.clip(z, -bound, bound) for z in (x, y) for bound in [np.quantile(np.abs(z), 0.98)])
    correlation = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    # The ratio of sizes: an ordinary slope would fall with the noise of the model.
    return float(np.sqrt((y @ y) / (x @ x))), correlation
