"""Physical targets of a linear fit: rows linearised at the last solution, solved again until they hold.

A target is one row more, weighted by its tolerance: its slope by the coefficients (implicit differentiation where
something relaxes), and the value that the solution lacks. For targets that are linear themselves the first round is
exact; for the others this is the Gauss–Newton method, whose other rows are those of the data.

Source: Nocedal & Wright 2006, chapter 10.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

from hea_jax.app.fit.targets import all_built
from hea_jax.atomistic.fitting.linear import LinearSolution, NormalEquations
from hea_jax.atomistic.fitting.linear.crystal_rows import value_and_row
from hea_jax.atomistic.fitting.targets import observe
from hea_jax.atomistic.potentials import Overlay
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.records import AbstractPotential

SETTLED = 0.05
"""Tolerances by which a target may differ from its linearisation at the end."""


def with_core(potential: BodyOrdered, core: AbstractPotential | None) -> AbstractPotential:
    """The fitted part and the core that was taken off the data."""
    return potential if core is None else Overlay.of(potential, core)


def fitted_to_targets(config, given, context, core, first: LinearSolution,
                      solve_with: Callable[[NormalEquations], LinearSolution]
                      ) -> tuple[LinearSolution, list[tuple[float, float]]]:
    """The solution with all targets of the configuration, and every target (before, after), in its unit.

    Raises ``ValueError`` naming a target that has no value at a solution (its structure is not stable there).
    """
    targets = all_built(config, given.data, first.potential.cutoff)
    wanted, tolerance, scale = (np.array([getattr(section, name) for section in config.targets])
                                for name in ("value", "tolerance", "scale"))
    solution, before, expected = first, np.empty(0), np.full(len(targets), np.nan)
    steps = config.optimiser.target_steps
    for step in range(steps + 1):
        values, slopes = _observed(targets, config.targets, solution.potential, core, context, (step, steps))
        before = before if step else values
        if step == steps or np.all(np.abs(values - expected) <= SETTLED * tolerance):
            break
        here = np.asarray(solution.potential.coefficients).ravel()
        context.progress("physical targets: solving", step + 1, steps)
        solution = solve_with(_equations(slopes, wanted - values + slopes @ here, scale, first.potential))
        expected = values + slopes @ (np.asarray(solution.potential.coefficients).ravel() - here)
    return solution, list(zip(before.tolist(), values.tolist(), strict=True))


def _observed(targets, sections, potential, core, context, progress) -> tuple[np.ndarray, np.ndarray]:
    """Values (target,) and slopes (target, element · function) at a solution."""
    values, slopes = [], []
    for target, section in zip(targets, sections, strict=True):
        context.progress(f"physical targets: {section.label}", *progress)
        value, slope = (value_and_row if _in_closed_form(section) else _by_autodiff)(target, potential, core)
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            raise ValueError(f"target {section.label} has no value at the fit (its structure is not stable there): "
                             "leave it out, or give the data of its neighbourhood more weight")
        values.append(float(value))
        slopes.append(np.asarray(slope).ravel())
    return np.array(values), np.array(slopes)


def _in_closed_form(section) -> bool:
    """Whether nothing but the lattice constant of one element relaxes."""
    rigid = len(section.composition) == 1 and section.lattice in ("sc", "bcc", "fcc")
    return rigid and section.kind in ("lattice_constant", "C11", "C12", "C44")


@eqx.filter_jit
def _by_autodiff(target, potential, core):
    def number(coefficients):
        return observe(target, with_core(eqx.tree_at(lambda p: p.coefficients, potential, coefficients), core))

    return jax.value_and_grad(number)(potential.coefficients)


def _equations(slopes, y, scale, template) -> NormalEquations:
    """One row per target, of all elements."""
    S, F = template.coefficients.shape
    X = np.concatenate([slopes / scale[:, None], np.zeros((len(scale), S))], axis=1)
    y = y / scale
    return NormalEquations(np.arange(S), X.T @ X, X.T @ y, float(y @ y), len(y), np.zeros((S, F)), 0)
