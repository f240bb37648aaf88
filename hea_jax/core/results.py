"""How a computation that may fail numerically says so: ``Solution(value, result, stats)``.

``result`` is a member of ``RESULTS`` whose text says what to do. It is an array underneath, so it
passes through ``jit`` and ``vmap`` (one code per lane).
"""

from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

V = TypeVar("V")


class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """Result codes of every verb of the package; the text is the advice given to the user."""

    successful = ""
    newton_max_steps = (
        "The minimisation over the fine variables ran out of steps: raise `max_steps`, loosen `rtol`, "
        "or start from a closer `y0` (cut the load step)."
    )
    linear_max_steps = (
        "A linear solve ran out of iterations: raise the linear solver's `max_steps`, or give the problem "
        "a better `preconditioner`."
    )
    negative_curvature = (
        "Negative curvature: the state is not a minimum (an instability, a saddle point, or a null space "
        "missing from `project`). Implicit derivatives are invalid here: perturb `y0`, cut the load step, "
        "or use `MINRES()`/`GMRES()` if a saddle point is meant."
    )
    non_finite = (
        "A NaN or infinity appeared during the solve: check the input fields and parameters, or cut the load step."
    )
    line_search_failed = (
        "No step along the Newton direction lowers the energy: the gradient and the energy disagree, or the "
        "tolerance is below round-off; loosen `rtol`/`atol` or use float64."
    )
    tangent_not_converged = (
        "A tangent (implicit derivative) solve did not converge and was set to NaN: raise `max_steps` of the "
        "linear solver, or check the stability of the state."
    )
    neighbour_overflow = "Neighbour table full: rebuild it with a larger `capacity`."
    neighbour_skin_exceeded = (
        "Atoms moved farther than the neighbour table's skin allows: rebuild the table with a larger `skin`."
    )
    folded_element = "det F <= 0 at a quadrature point: cut the load step, or refine the mesh where it folds."
    energy_rose = (
        "The free energy rose: the time step is too long or the stabilisation too weak; use a smaller `dt`, or raise "
        "the stabilisation to the largest curvature of the bulk energy."
    )
    interface_unresolved = (
        "An interface has fewer than 5 grid points: refine the grid, or choose a wider diffuse interface."
    )
    fit_not_converged = "The fit stopped above its gradient tolerance: raise the number of steps."


class NumericalFailure(RuntimeError):
    """Raised by ``Solution.unwrap`` when a result is not successful."""


class Solution(eqx.Module, Generic[V]):
    """A value with the verdict on how it was obtained.

    ``value`` is the answer (never silently half-converged), ``result`` a ``RESULTS`` member (batched
    under ``vmap``), ``stats`` counters and residuals, all arrays.
    """

    value: V
    result: Any
    stats: dict[str, Any]

    def unwrap(self) -> V:
        """Return ``value``, or raise ``NumericalFailure`` with the advice if any lane failed.

        Host-side: call it outside ``jit``. Inside a trace, look at ``result`` instead.
        """
        message = failure_message(self.result)
        if message:
            raise NumericalFailure(message)
        return self.value


def succeeded(result) -> jax.Array:
    """Boolean array (lane shape): whether each lane's result is ``RESULTS.successful``."""
    return result == RESULTS.successful


def failure_message(result) -> str:
    """Text of the failures in ``result`` (all lanes), empty if every lane succeeded."""
    codes = np.atleast_1d(np.asarray(result._value))
    good = int(np.asarray(RESULTS.successful._value))
    bad = np.flatnonzero(codes.ravel() != good)
    if bad.size == 0:
        return ""
    texts = {RESULTS._index_to_message[int(code)] for code in codes.ravel()[bad]}
    lanes = "" if codes.size == 1 else f"{bad.size} of {codes.size} lanes (first: {bad[:5].tolist()}): "
    return lanes + " / ".join(sorted(texts))


def first_failure(*results):
    """The first unsuccessful of several results (lane by lane); successful if all are."""
    out = results[-1]
    for result in reversed(results[:-1]):
        out = RESULTS.where(result != RESULTS.successful, result, out)
    return out


def failure_if(predicate, failure, otherwise=RESULTS.successful):
    """``failure`` where ``predicate`` (boolean array ()) holds, ``otherwise`` elsewhere."""
    return RESULTS.where(jnp.asarray(predicate), failure, otherwise)


def require_x64(*arrays) -> None:
    """Raise ``TypeError`` unless every floating-point array is float64 (looks at dtypes, not at the global flag)."""
    for leaf in jax.tree.leaves(arrays):
        if eqx.is_inexact_array(leaf) and leaf.dtype != jnp.float64:
            raise TypeError(
                f"this computation needs float64, got {leaf.dtype} of shape {leaf.shape}: build the inputs after "
                "`jax.config.update('jax_enable_x64', True)`"
            )
