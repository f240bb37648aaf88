"""The shape vocabulary of the package: every named array shape, defined once.

Names read as in the field; the axes are checked by jaxtyping (and beartype in the tests).
``*grid`` stands for two or three grid axes, ``*batch`` for any leading batch.
"""

from collections.abc import Callable
from typing import TypeVar

from jaxtyping import Array, Bool, Float, Int, PyTree

Scalar = Float[Array, ""]
"""A floating-point number as an array of shape ()."""

Positions = Float[Array, "atom 3"]
"""Cartesian positions of atoms (Å)."""

Cell = Float[Array, "3 3"]
"""Row-vector cell (Å): ``cell[i]`` is the i-th lattice vector."""

Species = Int[Array, "atom"]
"""Index of each atom's species into a list of element symbols."""

Tensor33 = Float[Array, "3 3"]
"""A second-order tensor (F, P, σ, ε) in Cartesian components."""

Mandel6 = Float[Array, "6"]
"""A symmetric second-order tensor in Mandel notation, order xx yy zz yz xz xy."""

Stiffness66 = Float[Array, "6 6"]
"""A fourth-order tensor with minor symmetries in Mandel notation (GPa for stiffness)."""

MandelField = Float[Array, "6 *grid"]
"""A Mandel 6-vector in every voxel, component axis first."""

StiffnessField = Float[Array, "6 6 *grid"]
"""A Mandel 6×6 stiffness in every voxel, component axes first (GPa)."""

Displacements = Float[Array, "3 *grid"]
"""Nodal displacements on a structured grid, component axis first (length unit of the voxel)."""

Phases = Int[Array, "*grid"]
"""Index of the phase (or grain) in every voxel."""

Flag = Bool[Array, ""]
Count = Int[Array, ""]

Tree = PyTree[Array]
T = TypeVar("T")
LinearMap = Callable[[T], T]
"""A linear map of a pytree onto one of the same structure."""
