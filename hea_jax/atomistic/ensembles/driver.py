"""Host driver: long trajectories in chunks, with neighbour tables that are rebuilt and never lose a pair.

A chunk whose table may have missed a pair is thrown away and repeated from its start, with a new table and the same
random numbers (they follow from key and step); tables that are too narrow grow. So the trajectory is that of a
table that always was complete.

Source: Verlet 1967 (tables with a skin); Schoenholz & Cubuk 2020 (repeating a chunk after an overflow).
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.ensembles.integrators import AbstractEnsemble
from hea_jax.atomistic.ensembles.simulate import Samples, simulate
from hea_jax.atomistic.ensembles.state import MDState
from hea_jax.atomistic.neighbours import carried_along, neighbour_table, skin_used, widened
from hea_jax.core.results import Solution, failure_message
from hea_jax.core.types import Positions
from hea_jax.records import AbstractPotential, Atoms, Neighbours

SKIN_GROWTH = 1.25
"""Factor on the skin when a table did not last for a chunk."""
STALE = 0.9
"""Fraction of the skin used at the start of a chunk above which the table is to blame, not its skin."""
VIBRATION = 2.5
"""Σ|x_end − x_start|² / Σ|x_end − x_mean|² over a chunk: 2 for vibration about a site, 3 for diffusion, 4 for drift."""
WORTHWHILE = 0.8
"""A table about mean positions is built if it uses less than this fraction of the skin used with the old one."""
CAPACITY_MARGIN = 1.04
"""Factor on the width of a table that had to grow, so that the next one rarely has to (each width is compiled)."""


class Progress(eqx.Module):
    """A trajectory between two chunks: all that is needed to go on bit for bit (save it as a pytree).

    ``state``; ``reference``: the configuration for which the neighbour table was built, ``skin_A`` and ``capacity`` of
    that table (the order of a sum depends on them); ``origin``: positions (Å) from which displacements are measured.
    """

    state: MDState
    reference: Atoms
    origin: Positions
    skin_A: float
    capacity: int


class Trajectory(eqx.Module):
    """``progress`` after the last good chunk (its ``state`` is the last state) and all ``samples`` of this call, arrays
    (sample,) or (lane, sample); None if there was no good chunk."""

    progress: Progress
    samples: Samples | None


def run_dynamics(potential: AbstractPotential, ensemble: AbstractEnsemble, start: MDState | Progress, *, dt_fs: float,
                 steps: int, every: int, chunk: int = 500, skin_A: float = 1.2, rebuild_fraction: float = 0.5,
                 max_retries: int = 4, on_chunk: Callable[[Progress, Samples], None] | None = None) -> Solution:
    """Host driver: ``Solution(Trajectory)`` after ``steps`` steps of ``dt_fs`` (fs), sampled every ``every`` steps.

    ``start`` is a state (as in ``initial_state``: its table is built about its positions), or the ``Progress`` of an
    earlier run, to go on with it or with another ensemble (it brings its skin and reference). A leading axis on its
    arrays, and on any field of ``ensemble``, is a batch of independent trajectories. ``chunk`` steps run compiled
    between visits of the host; ``on_chunk(progress, samples)`` is called after each. When more than
    ``rebuild_fraction`` of the skin (``skin_A``, Å) was used in a chunk, a new table is built where it would be
    better: about the last positions, or in a crystal the mean ones.

    Result: that of the last chunk, after ``max_retries`` repetitions with growing skins if it failed; the value then
    ends before that chunk. ``stats``: ``rebuilds``, ``reruns``, ``growths`` of the capacity, ``capacity``, ``skin_A``.
    Raises ``ValueError`` unless ``every`` divides ``chunk`` and ``chunk`` divides ``steps``.
    """
    if chunk < 1 or steps % chunk or chunk % every:
        raise ValueError(f"every must divide chunk and chunk steps, got {every}, {chunk}, {steps}")
    now = start if isinstance(start, Progress) else begin(start, skin_A)
    counts = {"rebuilds": 0, "reruns": 0, "growths": 0}
    now, pairs = _table(potential, now, counts)
    series: list[Samples] = []
    result = None
    for _ in range(steps // chunk):
        sol = _advance(potential, ensemble, now, pairs, jnp.asarray(dt_fs), steps=chunk, every=every)
        retries = 0
        while failure_message(sol.result) and retries < max_retries:
            now, pairs = _renewed(potential, now, pairs, counts)
            sol = _advance(potential, ensemble, now, pairs, jnp.asarray(dt_fs), steps=chunk, every=every)
            retries, counts["reruns"] = retries + 1, counts["reruns"] + 1
        result = sol.result
        if failure_message(result):
            break
        reference = _next_reference(now, sol, pairs, rebuild_fraction)
        now = eqx.tree_at(lambda p: p.state, now, sol.value.state)
        series.append(jax.tree.map(np.asarray, sol.value.samples))
        if reference is not None:
            now, pairs = _table(potential, _referring(now, reference), counts)
        if on_chunk is not None:
            on_chunk(now, series[-1])
    samples = jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *series) if series else None
    return Solution(Trajectory(now, samples), result, {**counts, "capacity": now.capacity, "skin_A": now.skin_A})


def begin(state: MDState, skin_A: float) -> Progress:
    """The progress of a trajectory that has not begun; its table will have ``skin_A`` (Å)."""
    return Progress(state, state.atoms, state.atoms.positions, float(skin_A), 0)


@eqx.filter_jit
def _advance(potential, ensemble, now, pairs, dt, *, steps, every):
    """One chunk of ``simulate``; batched if the state has a leading axis."""
    def one(ensemble, state, pairs, reference, origin):
        return simulate(potential, ensemble, state, pairs, dt_fs=dt, steps=steps, every=every, reference=reference,
                        origin=origin)

    arguments = now.state, pairs, now.reference, now.origin
    if now.origin.ndim == 2:
        return one(ensemble, *arguments)
    own = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, ensemble)
    return jax.vmap(one, in_axes=(own, 0, 0, 0, 0))(ensemble, *arguments)


def _referring(now: Progress, reference: Atoms) -> Progress:
    return eqx.tree_at(lambda p: p.reference, now, reference)


def _renewed(potential, now, pairs, counts):
    """A table for a chunk that failed: about the state at its start if that had used up the old one, else a larger
    skin (about mean positions, a crystal's table stays the best one for long)."""
    stale = float(jnp.max(_used(now.reference, now.state.atoms, pairs))) > STALE * now.skin_A
    wider = eqx.tree_at(lambda p: p.skin_A, now, now.skin_A * SKIN_GROWTH)
    return _table(potential, _referring(now, now.state.atoms) if stale else wider, counts)


def _next_reference(now, sol, pairs, rebuild_fraction) -> Atoms | None:
    """For which configuration to build the next table; None while the present one is good enough.

    Atoms that vibrate stay closest to their mean positions, atoms that diffuse to their last ones.
    """
    if float(jnp.max(sol.stats["skin_used_A"])) <= rebuild_fraction * now.skin_A:
        return None
    last, mean = sol.value.state.atoms, sol.value.mean_positions
    travelled = jnp.sum((last.positions - now.state.atoms.positions) ** 2)
    if float(travelled) > VIBRATION * float(jnp.sum((last.positions - mean) ** 2)):
        return last
    centred = eqx.tree_at(lambda a: a.positions, last, mean)
    better = jnp.max(_used(centred, last, pairs)) < WORTHWHILE * jnp.max(_used(now.reference, last, pairs))
    return centred if bool(better) else None


@eqx.filter_jit
def _used(reference, atoms, pairs):
    """Skin (Å) used by ``atoms`` if the table is that of ``reference``; one number per lane."""
    def one(reference, atoms, pairs):
        return skin_used(*carried_along(reference, atoms.cell), atoms.positions, pairs)

    return (jax.vmap(one) if atoms.positions.ndim == 3 else one)(reference, atoms, pairs)


def _table(potential, now: Progress, counts) -> tuple[Progress, Neighbours]:
    """The table for ``now.reference``, never narrower than ``now.capacity``; that grows where it must."""
    pairs = neighbour_table(now.reference, potential.cutoff, skin=now.skin_A)
    counts["rebuilds"] += 1
    width = pairs.index.shape[-1]
    if width > now.capacity:
        # The first width is the right one for a crystal.
        margin = CAPACITY_MARGIN if now.capacity else 1.0
        counts["growths"] += int(now.capacity > 0)
        now = eqx.tree_at(lambda p: p.capacity, now, math.ceil(margin * width))
    return now, widened(pairs, now.capacity)
