"""The representative volume element: voxels, and the linear elastic problem on them.

Source: Hill 1963 (RVE); Ladecký et al. 2023 (displacement-based finite elements on regular grids).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hea_jax.continuum.boundary import AbstractBoundary, Grid
from hea_jax.continuum.grid import HEX8, AbstractQuadrature, mode_stresses, stencil, weight
from hea_jax.continuum.laws.hooke import AbstractLinearLaw, reference_moduli
from hea_jax.continuum.stiffness import AbstractStiffnessField, strain_components
from hea_jax.core.condense import AbstractProblem
from hea_jax.core.tensors import WEIGHTS
from hea_jax.core.types import Displacements, Mandel6, MandelField, Scalar
from hea_jax.records.scales import Microstructure


class RVE(eqx.Module):
    """Voxels of a representative volume: ``phases`` (n₁, n₂, n₃) index into the phase axis of a law, ``voxel`` (3,)
    edge lengths (any one unit, nm by habit), ``quadrature`` of the trilinear element."""

    phases: Int[Array, "n1 n2 n3"] = eqx.field(converter=jnp.asarray)
    voxel: Float[Array, "3"] = eqx.field(converter=jnp.asarray)
    quadrature: AbstractQuadrature = HEX8()

    def __check_init__(self):
        if self.phases.ndim != 3 or not jnp.issubdtype(self.phases.dtype, jnp.integer):
            raise ValueError(f"phases must be integers (n1, n2, n3), got {self.phases.dtype} {self.phases.shape}")
        if self.voxel.shape != (3,):
            raise ValueError(f"voxel must hold three edge lengths, got shape {self.voxel.shape}")

    @property
    def grid(self) -> Grid:
        """Voxels per axis."""
        n1, n2, n3 = self.phases.shape[-3:]
        return n1, n2, n3


def rve_of(microstructure: Microstructure, *, quadrature: AbstractQuadrature | None = None) -> RVE:
    """The RVE of a microstructure record (lengths in nm)."""
    return RVE(microstructure.phases, microstructure.voxel_nm, HEX8() if quadrature is None else quadrature)


class LinearRVE(AbstractProblem):
    """W(x, y) = mean elastic energy density (GPa) of strain x + ∇ˢy; x (6,) Mandel, y (3, *unknown) fluctuations
    in the length unit of ``voxel``.

    ``residual`` and ``operator`` are the fused stencil, a measured speed-up over autodiff of ``energy``, checked
    against it in the tests. ``inverse`` is the preconditioner's symbol and takes no derivative.
    """

    material: AbstractStiffnessField
    free_strain: MandelField | None
    voxel: Float[Array, "3"]
    inverse: Float[Array, "component *mode"]
    grid: Grid = eqx.field(static=True)
    quadrature: AbstractQuadrature
    boundary: AbstractBoundary

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.grid))

    def start(self) -> Displacements:
        """The zero fluctuation."""
        return jnp.zeros((3, *self.boundary.unknowns(self.grid)), self.voxel.dtype)

    def modes(self, x: Mandel6, y: Displacements):
        """(mode, engineering strain, stress) of every element mode, on the voxels."""
        return mode_stresses(self.material, self.quadrature, self.voxel, self.boundary.nodal(y), self._applied(x))

    def energy(self, x, y):
        total = jnp.zeros((), self.voxel.dtype)
        for mode, strain, stress in self.modes(x, y):
            for e, s in zip(strain, stress, strict=True):
                if e is not None and s is not None:
                    total = total + 0.5 * weight(mode) * jnp.sum(e * s)
        return total / self.voxels

    def stress(self, x: Mandel6, y: Displacements) -> Mandel6:
        """⟨σ⟩ (6,) Mandel, GPa."""
        return jnp.mean(self.stress_field(x, y), axis=(1, 2, 3))

    def stress_field(self, x: Mandel6, y: Displacements) -> MandelField:
        """Voxel means of σ, Mandel (6, *grid), GPa."""
        _, _, stress = self.modes(x, y)[0]
        return jnp.stack([s * float(w) for s, w in zip(stress, WEIGHTS, strict=True) if s is not None])

    def strain_field(self, x: Mandel6, y: Displacements) -> MandelField:
        """Voxel means of the total strain ε, Mandel (6, *grid)."""
        _, strain, _ = mode_stresses(self.material, self.quadrature, self.voxel, self.boundary.nodal(y),
                                     strain_components(x))[0]
        return jnp.stack([e / float(w) for e, w in zip(strain, WEIGHTS, strict=True) if e is not None])

    def residual(self, x, y):
        offset = self._applied(x)
        if self.free_strain is not None:
            offset = [self.boundary.elements(o[None])[0] for o in offset]
        return self._forces(self.boundary.with_halo(y), offset)

    def operator(self, x, y):
        padded = self.material.mapped(self.boundary.elements)
        return lambda v: stencil(padded, self.quadrature, self.voxel, self.boundary.with_halo(v)) / self.voxels

    def project(self, y):
        return self.boundary.project(y, self.quadrature)

    def preconditioner(self, x, y):
        return lambda r: self.voxels * self.boundary.apply_inverse(self.inverse, r)

    def _applied(self, x):
        strain = x if self.free_strain is None else x[:, None, None, None] - self.free_strain
        return strain_components(strain)

    def _forces(self, u, offset):
        padded = self.material.mapped(self.boundary.elements)
        return stencil(padded, self.quadrature, self.voxel, u, offset) / self.voxels


def linear_problem(rve: RVE, law: AbstractLinearLaw, boundary: AbstractBoundary, *,
                   temperature_K: Scalar | float | None = None, eigenstrain: bool = True) -> LinearRVE:
    """The problem that ``condense`` minimises: moduli gathered into voxels, preconditioner set up.

    ``law`` has a leading phase axis. ``temperature_K`` matters only for thermal expansion (default: none);
    ``eigenstrain=False`` leaves stress-free strains out.
    Raises ``ValueError`` if the law has no phase axis, the boundary condition no unknowns on this grid, or the
    element hourglasses under it.
    """
    stiffness = law.stiffness_matrix()
    if stiffness.ndim != 3:
        raise ValueError(f"the law of an RVE needs one leading phase axis, got stiffness of shape {stiffness.shape}")
    boundary.unknowns(rve.grid)
    boundary.check(rve.quadrature)
    free = law.free_strain(temperature_K) if eigenstrain else None
    free = None if free is None else jnp.moveaxis(free, -1, 0)[:, rve.phases]
    bulk, shear = jax.lax.stop_gradient(reference_moduli(jax.lax.stop_gradient(stiffness)))
    voxel = rve.voxel
    inverse = boundary.inverse_symbol(rve.grid, jax.lax.stop_gradient(voxel), rve.quadrature, bulk, shear)
    return LinearRVE(law.stiffness_field(rve.phases), free, voxel, jax.lax.stop_gradient(inverse), rve.grid,
                     rve.quadrature, boundary)
