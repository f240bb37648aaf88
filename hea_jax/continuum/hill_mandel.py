"""The Hill–Mandel condition, checked by two independent sums.

Source: Hill 1963; Mandel 1972.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from hea_jax.continuum.boundary import AbstractBoundary, StaticUniform
from hea_jax.continuum.grid import stencil, weight
from hea_jax.continuum.laws.hooke import AbstractLinearLaw
from hea_jax.continuum.rve import RVE, linear_problem
from hea_jax.continuum.stiffness import strain_components
from hea_jax.core.tensors import from_mandel
from hea_jax.core.types import Displacements, Mandel6, Scalar


class HillMandel(eqx.Module):
    """Mean power density in GPa: ``volume`` ⟨σ:ε⟩ by quadrature, ``surface`` Σ f·u/V over boundary nodes,
    ``relative`` |difference|/|volume|; all ()."""

    volume: Scalar
    surface: Scalar
    relative: Scalar


@eqx.filter_jit
def hill_mandel(rve: RVE, law: AbstractLinearLaw, strain: Mandel6, displacement: Displacements, *,
                boundary: AbstractBoundary) -> HillMandel:
    """Compare ⟨σ:ε⟩ with the work of boundary nodal forces on boundary displacements.

    ``strain`` (6,) Mandel and ``displacement`` the fluctuation that ``homogenize`` returned for ``boundary``, in the
    unit of the voxel lengths. The
    forces are those of the body cut free, so interior nodes contribute nothing only if they are in equilibrium.
    Eigenstrains are left out.
    """
    problem = linear_problem(rve, law, boundary, eigenstrain=False)
    volume = jnp.zeros(())
    for mode, e, s in problem.modes(strain, displacement):
        # `zip` of components: a stress is computed wherever the strain does not vanish identically.
        products = [jnp.sum(a * b) for a, b in zip(e, s, strict=True) if a is not None and b is not None]
        volume = volume + weight(mode) * sum(products)
    volume = volume / problem.voxels

    free = StaticUniform()
    u = boundary.nodal(displacement)
    offset = [c * jnp.ones((1, *rve.grid)) for c in strain_components(strain)]
    offset = [free.elements(o)[0] for o in offset]
    material = problem.material.mapped(free.elements)
    forces = stencil(material, rve.quadrature, rve.voxel, free.with_halo(u), offset) / problem.voxels
    positions = jnp.stack(jnp.meshgrid(*(jnp.arange(n + 1) * rve.voxel[d] for d, n in enumerate(rve.grid)),
                                       indexing="ij"))
    E = from_mandel(strain)
    total = u + jnp.stack([sum(E[i, j] * positions[j] for j in range(3)) for i in range(3)])
    inside = np.zeros(tuple(n + 1 for n in rve.grid), bool)
    inside[1:-1, 1:-1, 1:-1] = True
    surface = jnp.sum(jnp.where(inside, 0.0, jnp.sum(forces * total, axis=0)))
    return HillMandel(volume, surface, jnp.abs(surface - volume) / jnp.abs(volume))
