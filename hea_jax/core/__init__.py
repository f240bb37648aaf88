"""Mathematics without physics: condensation, linear solvers, tensors, units, results."""

from hea_jax.core.condense import (
    AbstractProblem,
    AbstractResidualProblem,
    condense,
    condensed_hessian,
    tangent,
)
from hea_jax.core.krylov import CG, GMRES, MINRES, Dense
from hea_jax.core.minimise import Newton, Quadratic, Stationary
from hea_jax.core.results import RESULTS, NumericalFailure, Solution, failure_message, require_x64

__all__ = [
    "CG",
    "GMRES",
    "MINRES",
    "RESULTS",
    "AbstractProblem",
    "AbstractResidualProblem",
    "Dense",
    "Newton",
    "NumericalFailure",
    "Quadratic",
    "Solution",
    "Stationary",
    "condense",
    "condensed_hessian",
    "failure_message",
    "require_x64",
    "tangent",
]
