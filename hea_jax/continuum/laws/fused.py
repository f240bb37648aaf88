"""Finite-strain laws that offer their tangent in closed form.

Components come first (9 = 3i + j of F_ij), points after them. A symmetric 9×9 tangent is packed into its upper
triangle, row by row (45 components).

Source: Ogden 1997, ch. 6 (first elasticity tensor ∂²ψ/∂F∂F and its major symmetry).
"""

import abc

import numpy as np
from jaxtyping import Array, Float

from hea_jax.records.law import AbstractFiniteStrainLaw

ROWS9, COLUMNS9 = np.triu_indices(9)
PACKED9 = np.zeros((9, 9), int)
PACKED9[ROWS9, COLUMNS9] = np.arange(45)
PACKED9[COLUMNS9, ROWS9] = np.arange(45)
"""PACKED9[a, b]: where component (a, b) of a symmetric 9×9 matrix is stored."""


class AbstractFusedLaw(AbstractFiniteStrainLaw):
    """A law with its tangent in closed form: a measured speed-up, tested against autodiff of ``helmholtz``."""

    @abc.abstractmethod
    def packed_tangent(self, F: Float[Array, "9 gauss *point"]) -> Float[Array, "45 gauss *point"]:
        """∂²ψ/∂F² in GPa at every point, packed; the law's leaves carry ``*point`` as trailing axes."""
