"""A chunk of a trajectory as one compiled scan, with samples and the verdict on its neighbour table.

Source: Verlet 1967 (tables with a skin); Allen & Tildesley 2017, ch. 3 and 5.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hea_jax.atomistic.ensembles.integrators import AbstractEnsemble
from hea_jax.atomistic.ensembles.state import MDState, as_dtype, kinetic_energy, pressure_GPa, temperature
from hea_jax.atomistic.force_field import force_field
from hea_jax.atomistic.neighbours import carried_along, skin_used
from hea_jax.core.results import RESULTS, Solution, failure_if
from hea_jax.core.types import Positions
from hea_jax.records import AbstractPotential, Atoms, Neighbours

Series = Float[Array, "*batch sample"]


class Samples(eqx.Module):
    """What was read off the trajectory, one entry per ``every`` steps: step number; potential and kinetic energy (eV),
    kinetic temperature (K), pressure with its kinetic part (GPa), volume (Å³), and the mean-square displacement from
    ``origin`` less that of the centre (Å²; zero without an origin)."""

    step: Int[Array, "*batch sample"]
    potential_energy_eV: Series
    kinetic_energy_eV: Series
    temperature_K: Series
    pressure_GPa: Series
    volume_A3: Series
    msd_A2: Series


class Chunk(eqx.Module):
    """``state`` after the last step, ``samples`` on the way, and ``mean_positions`` (atom, 3): the average over the
    steps, scaled to the last cell (Å)."""

    state: MDState
    samples: Samples
    mean_positions: Positions


def simulate(potential: AbstractPotential, ensemble: AbstractEnsemble, state: MDState, pairs: Neighbours, *,
             dt_fs, steps: int, every: int, reference: Atoms | None = None, origin: Positions | None = None
             ) -> Solution:
    """``Solution(Chunk)`` after ``steps`` steps of ``dt_fs`` (fs), sampled every ``every`` steps.

    Usable under ``jit`` (``steps`` and ``every`` static), ``vmap`` (over states, tables, ensembles) and ``grad``.
    ``reference``: the configuration that ``pairs`` was built for (default: that of ``state``); ``origin``: positions
    (Å) from which displacements are measured.

    Result ``neighbour_skin_exceeded`` if at any step a pair within the cut-off may have been missed: the chunk is then
    worthless, repeat it from its start with a new table (``run_dynamics`` does). ``non_finite`` if the last state is.
    ``stats``: ``skin_used_A``, the largest use of the skin. Raises ``ValueError`` unless ``every`` divides ``steps``.
    """
    if every < 1 or steps < 1 or steps % every:
        raise ValueError(f"every must divide steps (a chunk ends with a sample), got steps={steps}, every={every}")
    field = force_field(potential, state.atoms, pairs)
    dt = as_dtype(dt_fs, state.atoms.positions)
    # The verdict on the table has no derivative, and its norms none at zero displacement.
    start = jax.lax.stop_gradient(state.atoms)
    mapped, stretch = carried_along(start if reference is None else jax.lax.stop_gradient(reference), start.cell)
    dof = ensemble.degrees_of_freedom(state.atoms.number)

    def step(carry, _):
        now, used, moved = carry
        now = ensemble.step(now, field, dt)
        # Ensembles scale the cell: the map from the reference scales along, and needs no decomposition.
        atoms = jax.lax.stop_gradient(now.atoms)
        scale = jnp.cbrt(atoms.volume / start.volume)
        used_now = skin_used(mapped * scale, stretch * scale, atoms.positions, pairs)
        # jnp.maximum keeps a NaN.
        moved = moved + (now.atoms.positions * (1.0 / scale) - state.atoms.positions)
        return (now, jnp.maximum(used, used_now), moved), None

    def sample(carry, _):
        carry, _ = jax.lax.scan(step, carry, None, length=every)
        now = carry[0]
        E = field.evaluate(now.atoms.positions, now.atoms.cell).energy
        displacement = jnp.zeros_like(now.forces) if origin is None else now.atoms.positions - origin
        # A thermostat moves the centre of mass too: that is no diffusion.
        displacement = displacement - jnp.mean(displacement, axis=0)
        row = Samples(now.step, E, kinetic_energy(now), temperature(now, dof), pressure_GPa(now), now.atoms.volume,
                      jnp.mean(jnp.sum(displacement**2, axis=-1)))
        return carry, row

    used = skin_used(mapped, stretch, start.positions, pairs)
    carry = state, used, jnp.zeros_like(state.forces)
    (last, used, moved), samples = jax.lax.scan(sample, carry, None, length=steps // every)
    mean = (state.atoms.positions + moved / steps) * jnp.cbrt(last.atoms.volume / state.atoms.volume)
    finite = jnp.all(jnp.isfinite(last.atoms.positions)) & jnp.all(jnp.isfinite(last.momenta))
    # Round-off of an unchanged configuration must not read as a loss.
    result = failure_if(~(used <= pairs.skin + 1e-9), RESULTS.neighbour_skin_exceeded)
    result = failure_if(~finite, RESULTS.non_finite, result)
    return Solution(Chunk(last, samples, mean), result, {"skin_used_A": used})
