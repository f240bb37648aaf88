"""Fields of linear moduli on a voxel grid, in the form that the fused stencil eats.

Inside the kernels, and only there, strains are engineering (γ = 2ε) and stresses plain components, order
xx yy zz yz xz xy, each an array over voxels or ``None`` where it vanishes identically.

Source: Nye 1957 (Voigt matrix of the moduli).
"""

import abc
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hea_jax.core.tensors import WEIGHTS

UPPER_ROWS, UPPER_COLUMNS = np.triu_indices(6)
_PACKED = np.zeros((6, 6), int)
_PACKED[UPPER_ROWS, UPPER_COLUMNS] = np.arange(21)
_PACKED[UPPER_COLUMNS, UPPER_ROWS] = np.arange(21)

Components = Sequence[Array | None]
"""Six kernel components (engineering strain or stress), ``None`` where identically zero."""


def add(a, b):
    """Sum of two kernel components, either of which may be ``None`` (zero)."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def strain_components(mandel: Array) -> list[Array]:
    """Engineering strain components of Mandel strains (6, ...)."""
    return [mandel[i] * float(WEIGHTS[i]) for i in range(6)]


class AbstractStiffnessField(eqx.Module):
    """Moduli in every voxel (GPa)."""

    @abc.abstractmethod
    def stress(self, strain: Components, rows: Sequence[int]) -> list[Array | None]:
        """Stress components ``rows`` (GPa) of engineering strains; the others are ``None``."""

    def mapped(self, function: Callable[[Array], Array]) -> "AbstractStiffnessField":
        """The same moduli after ``function`` on the voxel axes of every array (halo, slab)."""
        return jax.tree.map(function, self)


class AnisotropicField(AbstractStiffnessField):
    """Any elastic symmetry: ``packed`` (21, *grid), upper triangle of the Voigt matrix, row by row (GPa)."""

    packed: Float[Array, "21 *grid"]

    def stress(self, strain, rows):
        out: list[Array | None] = [None] * 6
        for i in rows:
            for j in range(6):
                own = strain[j]
                if own is not None:
                    out[i] = add(out[i], self.packed[int(_PACKED[i, j])] * own)
        return out


class IsotropicField(AbstractStiffnessField):
    """Isotropic moduli: ``lame`` λ and ``shear`` µ, each (1, *grid) (GPa); a third of the work of the general field."""

    lame: Float[Array, "1 *grid"]
    shear: Float[Array, "1 *grid"]

    def stress(self, strain, rows):
        lame, shear = self.lame[0], self.shear[0]
        trace = add(add(strain[0], strain[1]), strain[2])
        pressure = None if trace is None else lame * trace
        out: list[Array | None] = [None] * 6
        for i in rows:
            own = strain[i]
            if i < 3:
                out[i] = add(pressure, None if own is None else 2 * shear * own)
            elif own is not None:
                out[i] = shear * own
        return out


def packed_voigt(stiffness: Float[Array, "*batch 6 6"]) -> Float[Array, "21 *batch"]:
    """Packed Voigt triangle of Mandel stiffnesses (symmetric part), component axis first (GPa)."""
    voigt = stiffness / np.outer(WEIGHTS, WEIGHTS)
    symmetric = 0.5 * (voigt + jnp.swapaxes(voigt, -1, -2))
    return jnp.moveaxis(symmetric[..., UPPER_ROWS, UPPER_COLUMNS], -1, 0)
