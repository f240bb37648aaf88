"""The closed-form fit of the linear body-ordered potential."""

from hea_jax.atomistic.fitting.linear.design import NormalEquations, normal_equations
from hea_jax.atomistic.fitting.linear.prior import ChemicalPrior
from hea_jax.atomistic.fitting.linear.solve import LinearModel, LinearSolution, solve

__all__ = ["ChemicalPrior", "LinearModel", "LinearSolution", "NormalEquations", "normal_equations", "solve"]
