"""The verb of the mesoscale: equal steps of an equation by a stepper, and checks of a set-up.

Source: a gradient flow loses energy at every instant (Allen & Cahn 1979; Cahn & Hilliard 1958), so must its scheme.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.results import RESULTS, Solution, failure_if
from hea_jax.mesoscale.equations import AbstractEquation
from hea_jax.mesoscale.steppers import AbstractStepper


def evolve(equation: AbstractEquation, stepper: AbstractStepper, fields: Float[Array, "*fields"], *, dt_s, steps: int,
           estimate: bool = False) -> Solution:
    """``Solution(fields after steps · dt_s)``: equal steps ``dt_s`` (s) in one loop, usable under jit, vmap and grad.

    The stabilisation follows from the spectrum of the bulk Hessian over ``fields`` at the start. Memory of a reverse
    gradient: one spectrum per step. Stats: ``energy_start``, ``energy`` (GPa nm^d), ``conserved`` (m,), and with
    ``estimate`` also ``error`` (), the largest difference between one step and two half steps at the end.

    Result: ``energy_rose`` (above rounding), ``non_finite``. Raises ``TypeError`` where the precision of the equation
    is not that of the fields (see ``with_precision``).
    """
    _check_precision(equation, fields)
    return _evolve(equation, stepper, fields, jnp.asarray(dt_s, fields.dtype), steps, estimate)


@eqx.filter_jit
def _evolve(equation, stepper, fields, dt, steps: int, estimate: bool) -> Solution:
    grid, symbol = equation.grid, equation.symbol(fields, stepper.stabilisation)
    tables = stepper.prepare(symbol, dt)

    def one(spectrum, _):
        return stepper.step(equation.rate, tables, dt, spectrum), None

    spectrum, _ = jax.lax.scan(jax.checkpoint(one), grid.transform(fields), None, length=steps)
    new = grid.inverse(spectrum)
    before, after = equation.energy(fields), equation.energy(new)
    result = failure_if(after > before + equation.energy_noise(fields), RESULTS.energy_rose)
    finite = jnp.all(jnp.isfinite(new)) & jnp.isfinite(after)
    result = failure_if(~finite, RESULTS.non_finite, result)
    stats: dict[str, Any] = {"energy_start": before, "energy": after, "conserved": equation.conserved(new)}
    if estimate:
        stats["error"] = _local_error(equation, stepper, tables, dt, spectrum, stepper.prepare(symbol, dt / 2))
    return Solution(new, result, stats)


def _local_error(equation, stepper, tables, dt, spectrum, halved):
    whole = stepper.step(equation.rate, tables, dt, spectrum)
    half = spectrum
    for _ in range(2):
        half = stepper.step(equation.rate, halved, dt / 2, half)
    return jnp.max(jnp.abs(equation.grid.inverse(whole - half)))


def _check_precision(equation, fields):
    wrong = {str(leaf.dtype) for leaf in jax.tree.leaves(equation) if eqx.is_inexact_array(leaf)
             and leaf.dtype != fields.dtype}
    if wrong:
        raise TypeError(f"the fields are {fields.dtype}, but the equation holds {', '.join(sorted(wrong))}: convert it "
                        "with `with_precision(equation, fields.dtype)`")


def with_precision(tree, dtype):
    """The same pytree with every floating-point array in ``dtype`` (jnp.float32 or jnp.float64)."""
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)


LEAST_POINTS = 5.0


@eqx.filter_jit
def check_resolution(equation: AbstractEquation, fields: Float[Array, "*fields"]) -> Solution:
    """``Solution(points)``: grid points () in the 5–95% width of an equilibrium interface between values in ``fields``.

    Infinite where no interface forms (a stable solution). Result: ``interface_unresolved`` below 5 points.
    """
    points = equation.interface_width_nm(fields) / jnp.max(equation.grid.voxel_nm)
    return Solution(points, failure_if(points < LEAST_POINTS, RESULTS.interface_unresolved), {})
