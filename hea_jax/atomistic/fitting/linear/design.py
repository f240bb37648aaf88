"""Rows of the linear fit: energies, forces and stresses of frames as linear functions of the coefficients.

With E = Σ_f c_sf Σ_{i of s} B_f(i), a frame gives one row for its energy, 3N for its forces (the derivatives of the
summed invariants along every displacement) and six for its stress. The rows of a group of frames are condensed at once
into normal equations, of the elements that occur in it only.

Source: Ercolessi & Adams 1994 (force matching); Drautz 2019 (the linear model).
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from hea_jax.atomistic.fitting.packing import FitWeights
from hea_jax.atomistic.neighbours import neighbour_table, widened
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.core.results import require_x64
from hea_jax.core.tensors import COLUMNS, ROWS, WEIGHTS, from_mandel
from hea_jax.records import AbstractPotential, Atoms, Neighbours, ReferenceData

BATCH_VALUES = 3.0e7
"""Numbers that the rows of one batch of frames may hold (a quarter of a gigabyte)."""


@dataclasses.dataclass(frozen=True, eq=False)
class NormalEquations:
    """Xᵀ W X and Xᵀ W y of a group of frames, weights included (dimensionless residuals).

    ``species`` (present,): numbers of the elements that occur; unknowns are their coefficients, one element after the
    other, then their offsets (eV) of data source ``source``. ``gram`` (unknown, unknown); ``rhs`` (unknown,);
    ``target_square`` Σ w² y²; ``rows`` their number; ``force_square`` (present, function): Σ of squared force rows
    without weights (eV²/Å² per coefficient²), over ``force_rows`` components.
    """

    species: np.ndarray
    gram: np.ndarray
    rhs: np.ndarray
    target_square: float
    rows: int
    force_square: np.ndarray
    force_rows: int
    source: int = 0

    def save(self, path: str | Path) -> None:
        """Write to a NumPy file, completely or not at all."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as stream:
            np.savez(stream, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "NormalEquations":
        """Read what ``save`` wrote; raises ``ValueError`` naming the file if it is no such file."""
        try:
            with np.load(path, allow_pickle=False) as content:
                values = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: not a file of normal equations ({error}): delete it and fit again") from error
        for name, kind in (("target_square", float), ("rows", int), ("force_rows", int), ("source", int)):
            values[name] = kind(values[name])
        return cls(**values)


def normal_equations(template: BodyOrdered, frames: Sequence[ReferenceData], weights: FitWeights, *, group: str = "",
                     source: int = 0, baseline: AbstractPotential | None = None,
                     report: Callable[[int, int], None] = lambda done, total: None) -> NormalEquations:
    """The normal equations of a group of frames (float64).

    ``template`` gives the functions (its coefficients are not used); ``baseline`` is a fixed potential whose energy is
    taken off the data first. ``report(done, total)`` is called with numbers of frames. Frames without a stress (NaN)
    give none. Raises ``ValueError`` for no frames, or elements that differ from the template's.
    """
    if not frames:
        raise ValueError("no frames: give at least one")
    require_x64(jnp.asarray(frames[0].forces_eV_per_A))
    for frame in frames:
        if frame.atoms.elements != template.elements:
            raise ValueError(f"a frame indexes {frame.atoms.elements}, the potential {template.elements}: load the "
                             "data with `elements` of the potential")
    species = np.unique(np.concatenate([np.asarray(frame.atoms.species) for frame in frames]))
    F, P = template.coefficients.shape[1], len(species)
    gram, rhs = _Gram(P * F + P), np.zeros(P * F + P)
    squares, target_square, rows, force_rows, done = np.zeros((P, F)), 0.0, 0, 0, 0
    for chunk in _batches(frames, template):
        X = np.asarray(_rows(template, *_stacked(chunk, template.cutoff)))[:, :, species]
        for frame, x in zip(chunk, X, strict=False):
            values, y, n_force = _weighted(frame, x.reshape(x.shape[0], P * F), species, weights.factors(group),
                                           weights, baseline)
            gram.add(values)
            rhs += values.T @ y
            target_square += float(y @ y)
            rows += len(y)
            squares += np.sum(x[1 : 1 + n_force] ** 2, axis=0)
            force_rows += n_force
        done += len(chunk)
        report(done, len(frames))
    return NormalEquations(species, gram.whole(), rhs, target_square, rows, squares, force_rows, source)


class _Gram:
    """Xᵀ X of rows that come frame by frame: one symmetric update for many rows, in place."""

    ROWS = 512

    def __init__(self, size: int):
        self.matrix, self.waiting = np.zeros((size, size), order="F"), []
        (self.update,) = scipy.linalg.get_blas_funcs(("syrk",), (self.matrix,))

    def add(self, values: np.ndarray) -> None:
        """Rows (row, unknown) of one frame."""
        self.waiting.append(values)
        if sum(map(len, self.waiting)) >= self.ROWS:
            self.flush()

    def flush(self) -> None:
        """Add what waits to the lower triangle."""
        if self.waiting:
            rows = np.concatenate(self.waiting)
            self.matrix = self.update(1.0, rows.T, beta=1.0, c=self.matrix, lower=1, overwrite_c=1)
            self.waiting = []

    def whole(self) -> np.ndarray:
        """The symmetric matrix (unknown, unknown)."""
        self.flush()
        return np.tril(self.matrix) + np.tril(self.matrix, -1).T


def _batches(frames, template):
    """Runs of frames of one (padded) size, small enough for memory."""
    sized: dict[int, list] = {}
    for frame in frames:
        sized.setdefault(_padded(frame.atoms.number), []).append(frame)
    for number, same in sized.items():
        each = (3 * number + 7) * template.coefficients.size
        count = int(max(1, min(16, BATCH_VALUES // each)))
        for start in range(0, len(same), count):
            yield same[start : start + count]


def _padded(number: int) -> int:
    """Numbers of atoms are rounded up, so that few sizes are compiled."""
    step = 1 if number <= 2 else 4 if number <= 16 else 8
    return -(-number // step) * step


def _stacked(chunk, cutoff):
    """Frames as one batch: atoms padded with lone ones, neighbour tables of one width."""
    number = _padded(chunk[0].atoms.number)
    tables = [neighbour_table(frame.atoms, cutoff) for frame in chunk]
    width = -(-max(table.index.shape[1] for table in tables) // 8) * 8
    padded = [(_pad_atoms(frame.atoms, number), _pad_table(widened(table, width), number))
              for frame, table in zip(chunk, tables, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *padded)


def _pad_atoms(atoms: Atoms, number: int) -> Atoms:
    extra = number - atoms.number
    return Atoms(jnp.pad(jnp.asarray(atoms.positions), ((0, extra), (0, 0))), jnp.asarray(atoms.cell),
                 jnp.pad(jnp.asarray(atoms.species), (0, extra)), atoms.elements)


def _pad_table(pairs: Neighbours, number: int) -> Neighbours:
    extra = number - pairs.index.shape[0]
    rows = ((0, extra), (0, 0))
    return Neighbours(jnp.pad(pairs.index, rows), jnp.pad(pairs.shift, (*rows, (0, 0))), jnp.pad(pairs.mask, rows),
                      pairs.cutoff, pairs.skin)


@eqx.filter_jit
def _rows(template, atoms, pairs) -> Float[Array, "frame row element function"]:
    """Per frame: summed invariants, then their derivatives along 3N displacements and six unit Mandel strains."""
    return jax.lax.map(lambda one: _frame_rows(template, *one), (atoms, pairs))


def _frame_rows(template, atoms, pairs):
    n, elements = atoms.number, len(template.elements)
    one_hot = (atoms.species[:, None] == jnp.arange(elements)).astype(atoms.positions.dtype)

    def summed(u, strain):
        moved = atoms.displaced(u).deformed(jnp.eye(3, dtype=u.dtype) + strain)
        return one_hot.T @ template.functions(moved, pairs)

    zero_u, zero_e = jnp.zeros((n, 3)), jnp.zeros((3, 3))
    value, slope = jax.linearize(summed, zero_u, zero_e)
    # A Mandel component of the stress is the derivative along a unit Mandel strain.
    along = jax.vmap(from_mandel)(jnp.eye(6))
    u = jnp.concatenate([jnp.eye(3 * n).reshape(3 * n, n, 3), jnp.zeros((6, n, 3))])
    e = jnp.concatenate([jnp.zeros((3 * n, 3, 3)), along])
    return jnp.concatenate([value[None], jax.lax.map(lambda d: slope(*d), (u, e), batch_size=min(20, 3 * n + 6))])


def _weighted(frame, x, species, factors, weights, baseline):
    """Weighted rows (row, unknown), targets, and the number of force rows; padding and unknown stresses left out."""
    atoms = frame.atoms
    n, volume = atoms.number, float(atoms.volume)
    energy, forces = float(frame.free_energy_eV), np.asarray(frame.forces_eV_per_A)
    stress = np.asarray(frame.stress_eV_per_A3)
    if baseline is not None:
        E, f, s = energy_forces_stress(baseline, atoms, neighbour_table(atoms, baseline.cutoff))
        energy, forces, stress = energy - float(E), forces - np.asarray(f), stress - np.asarray(s)
    counts = np.array([np.sum(np.asarray(atoms.species) == s) for s in species], float)
    kinds = [(factors[0] / (weights.energy_eV * n), x[:1], counts[None], np.array([energy])),
             (factors[1] / weights.force_eV_per_A, -x[1 : 1 + 3 * n], np.zeros((3 * n, len(species))), forces.ravel())]
    if np.isfinite(stress).all():
        mandel = stress[ROWS, COLUMNS] * WEIGHTS * volume
        kinds.append((factors[2] / (weights.stress_eV * n), x[-6:], np.zeros((6, len(species))), mandel))
    X = np.concatenate([w * np.concatenate([rows, offsets], axis=1) for w, rows, offsets, _ in kinds])
    return X, np.concatenate([w * y for w, _, _, y in kinds]), 3 * n
