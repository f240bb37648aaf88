"""Load stepping of FE²: Newton on the macroscopic displacements, with cut-back, records and restart (a host driver).

Sources: Feyel & Chaboche 2000 (FE²); Crisfield 1991, ch. 9 (load increments and cut-backs).
"""

import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array, Bool, Float

from hea_jax.concurrent.fe2 import Fluctuations, PointResponses, fe2_response, mean_of, no_fluctuation
from hea_jax.continuum.finite_rve import force_unit
from hea_jax.continuum.force_newton import ForceNewton
from hea_jax.continuum.mesh.discretisation import (
    Discretisation,
    assemble_forces,
    deformation_gradients,
    element_stiffness,
    stiffness_entries,
)
from hea_jax.continuum.rve import RVE
from hea_jax.core.krylov import CG
from hea_jax.core.results import RESULTS, Solution, failure_if, require_x64, succeeded
from hea_jax.core.types import Scalar
from hea_jax.records.law import AbstractFiniteStrainLaw


class MacroLoad(eqx.Module):
    """At load factor 1: ``displacement`` (node, dim) where ``fixed``, dead nodal ``force`` (node, dim) elsewhere
    (GPa·length² of the mesh); both grow with the factor."""

    fixed: Bool[Array, "node dim"]
    displacement: Float[Array, "node dim"]
    force: Float[Array, "node dim"]


class FE2State(eqx.Module):
    """Where a run stands; save it, hand it back to ``solve_fe2`` and the run goes on: nodal ``u`` (node, dim) in the
    unit of the mesh, all ``fluctuation`` fields, load ``factor``."""

    u: Float[Array, "node dim"]
    fluctuation: Fluctuations
    factor: Scalar


class FE2Answer(eqx.Module):
    """The ``state`` at the last converged load, ``response`` of every point there, stored ``energy`` () in GPa·length³,
    nodal ``force`` (node, dim) in GPa·length² that the body exerts (the reactions, where fixed)."""

    state: FE2State
    response: PointResponses
    energy: Scalar
    force: Float[Array, "node dim"]


class _Point(eqx.Module):
    """A macroscopic iterate: displacements, response, internal force and the verdict of every RVE."""

    u: Array
    response: PointResponses
    force: Array
    result: object
    stats: dict


def solve_fe2(disc: Discretisation, rve: RVE, law: AbstractFiniteStrainLaw, load: MacroLoad, *, steps: int = 3,
              state: FE2State | None = None, rtol: float = 1e-8, max_steps: int = 12, max_cuts: int = 5,
              micro_tolerance: float = 1e-9, on_step: Callable[[FE2State], None] | None = None, **options) -> Solution:
    """``Solution(FE2Answer)`` at load factor 1, in ``steps`` increments from ``state`` (default: the unloaded body).

    Every RVE is relaxed to a force imbalance of ``micro_tolerance`` times its stiffness; the macroscopic residual to
    ``rtol`` of the load (the larger of applied and internal forces). An increment that fails is halved, at most
    ``max_cuts`` times in a row. ``on_step`` gets the state after each (checkpoints). ``options`` (``phases``,
    ``batch_size``, ``linear``) go to ``fe2_response``. Lengths in any one unit, moduli in GPa.

    Stats, one entry per macroscopic evaluation: ``load_step``, ``factor``, ``residual`` (relative), ``micro_steps`` and
    ``micro_iterations`` (largest over points), ``seconds``. If it fails, value holds the last converged state, result
    those of the points (the message names them) or ``newton_max_steps``. Raises ``TypeError`` unless in float64.
    """
    require_x64(disc, rve, law)
    evaluate = _evaluator(disc, rve, law, micro_tolerance, options)
    if state is None:
        state = FE2State(jnp.zeros(load.force.shape), no_fluctuation(disc, rve), jnp.zeros(()))
    records: list[dict] = []
    at = evaluate(state.u, state.fluctuation)
    result, factor, increment = at.result, float(state.factor), (1.0 - float(state.factor)) / steps
    load_step, cuts = 0, 0 if bool(jnp.all(succeeded(at.result))) else max_cuts + 1
    while factor < 1.0 and cuts <= max_cuts:
        target = 1.0 if factor + 1.001 * increment >= 1.0 else factor + increment
        new, result = _newton(disc, load, at, target, evaluate, records, rtol=rtol, max_steps=max_steps,
                              load_step=load_step)
        load_step += 1
        if bool(jnp.all(succeeded(result))):
            at, factor, cuts = new, target, 0
            state = FE2State(at.u, at.response.fluctuation, jnp.asarray(factor))
            if on_step is not None:
                on_step(state)
        else:
            increment, cuts = 0.5 * increment, cuts + 1
    energy = jnp.sum(disc.weights.ravel() * at.response.energy)
    stats = {key: np.array([record[key] for record in records]) for key in (records[0] if records else ())}
    return Solution(FE2Answer(state, at.response, energy, at.force), result, stats)


def observed_order(residuals, *, floor: float = 1e-11) -> float:
    """Order p of an iteration, r_{k+1} ~ r_k^p: the slope of log r_{k+1} over log r_k in its last (at most three) steps
    whose residuals (relative, of one load step) are above ``floor``; the tolerance of the micro solves sets how low
    residuals mean anything. NaN if fewer than three residuals are left."""
    r = np.log([r for r in np.asarray(residuals, float) if r > floor])[-4:]
    return float(np.polyfit(r[:-1], r[1:], 1)[0]) if r.size > 2 else float("nan")


def _evaluator(disc, rve, law, micro_tolerance, options):
    mean = mean_of(disc)
    # A power of two, so that the compiled program is found again for moduli that differ a little.
    atol = 2.0 ** float(np.round(np.log2(micro_tolerance * float(force_unit(rve, law)))))
    options = {"linear": CG(rtol=1e-6, probe=0), "solver": ForceNewton(rtol=0.0, atol=atol), **options}

    def evaluate(u, fluctuation):
        F = deformation_gradients(disc, u).reshape(-1, 3, 3)
        sol = jax.block_until_ready(fe2_response(rve, law, F, fluctuation, mean=mean, **options))
        force = assemble_forces(disc, sol.value.stress.reshape(*disc.points, 3, 3))
        return _Point(u, sol.value, force, sol.result, sol.stats)
    return evaluate


def _newton(disc, load, at, factor, evaluate, records, *, rtol, max_steps, load_step):
    """Equilibrium at a load factor from a converged neighbour: (iterate, result)."""
    shift = jnp.where(load.fixed, factor * load.displacement - at.u, 0.0)
    result = failure_if(True, RESULTS.newton_max_steps)
    for _ in range(max_steps):
        started = time.perf_counter()
        step = _linear_step(disc, load, at, factor, shift)
        new = evaluate(at.u + step, at.response.fluctuation)
        relative = _relative_residual(load, new, factor)
        records.append({"load_step": load_step, "factor": factor, "residual": relative,
                        "micro_steps": int(jnp.max(new.stats["steps"])),
                        "micro_iterations": int(jnp.max(new.stats["linear_iterations"])),
                        "seconds": time.perf_counter() - started})
        if not bool(jnp.all(succeeded(new.result))):
            return new, new.result
        at, shift = new, jnp.zeros_like(shift)
        if relative <= rtol:
            return at, RESULTS.successful
    return at, result


def _linear_step(disc, load, at, factor, shift):
    """Displacement increment of one Newton step, with the prescribed part ``shift``."""
    K = element_stiffness(disc, at.response.tangent.reshape(*disc.points, 3, 3, 3, 3))
    values, rows, columns = (np.asarray(a) for a in stiffness_entries(disc, K))
    size = at.u.size
    matrix = scipy.sparse.coo_matrix((values, (rows, columns)), shape=(size, size)).tocsr()
    free = np.flatnonzero(~np.asarray(load.fixed).ravel())
    out = np.array(shift, float).ravel()
    rhs = np.asarray(factor * load.force - at.force).ravel() - matrix @ out
    out[free] = scipy.sparse.linalg.spsolve(matrix[free][:, free].tocsc(), rhs[free])
    return jnp.asarray(out.reshape(at.u.shape))


def _relative_residual(load, at, factor) -> float:
    out_of_balance = jnp.where(load.fixed, 0.0, factor * load.force - at.force)
    scale = jnp.maximum(jnp.linalg.norm(factor * load.force), jnp.linalg.norm(at.force))
    return float(jnp.linalg.norm(out_of_balance) / jnp.where(scale > 0, scale, 1.0))
