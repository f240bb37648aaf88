"""A component as one energy: W(x, u) = ∫ ψ(∇u) dV − f·u, x the loads, u the nodal displacements.

Prescribed displacements and forces are the coarse variables, so that the reactions are ∂W̄/∂x by the envelope
rule, and every output has derivatives in the law, the temperature, the nodes and the loads.
Lengths in the mesh's unit (nm by habit), moduli and stresses in GPa, forces in GPa·length² (nN for nm).

Sources: Hughes 1987, ch. 2–4; Simo & Hughes 1998 (finite strain); Duhamel–Neumann (thermal strain, in the law).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hea_jax.continuum.laws.hooke import AbstractLinearLaw
from hea_jax.continuum.mesh.discretisation import (
    Discretisation,
    apply_stiffness,
    displacement_gradients,
    element_stiffness,
    embedded,
)
from hea_jax.continuum.mesh.factor import AbstractInverse, block_cholesky
from hea_jax.continuum.mesh.meshes import Mesh, discretise
from hea_jax.core.condense import AbstractProblem
from hea_jax.core.tensors import BASIS, to_mandel
from hea_jax.records.law import AbstractFiniteStrainLaw, AbstractLaw, AbstractSmallStrainLaw


class Loads(eqx.Module):
    """Prescribed ``displacement`` (node, dim), read only where the component is fixed (length), and nodal ``force``
    (node, dim) (GPa·length²), dead loads."""

    displacement: Float[Array, "node dim"]
    force: Float[Array, "node dim"]

    def scaled(self, factor) -> "Loads":
        """The loads times a factor ()."""
        return Loads(factor * self.displacement, factor * self.force)


class Component(AbstractProblem):
    """W(x, y) (GPa·length³) of ``Loads`` x and nodal displacements y (node, dim), read only where not ``fixed``.

    Every array leaf of ``law`` carries the ``varies`` leading axes: 0 none, 1 (element,), 2 (element, gauss).
    ``temperature_K`` (element, gauss) and ``composition`` (element, gauss, species) or ``None`` are handed to the law.
    ``operator`` multiplies by element matrices, checked against autodiff of ``energy`` in the tests.
    """

    disc: Discretisation
    law: AbstractLaw
    fixed: Bool[Array, "node dim"]
    temperature_K: Float[Array, "element gauss"] | None
    composition: Float[Array, "element gauss species"] | None
    inverse: AbstractInverse
    varies: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.law, AbstractSmallStrainLaw | AbstractFiniteStrainLaw):
            raise TypeError(f"a component needs an elastic law of small or finite strain, no {type(self.law).__name__}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.law):
            if eqx.is_array(leaf) and leaf.shape[: self.varies] != self.disc.points[: self.varies]:
                raise ValueError(f"leaf {jax.tree_util.keystr(path)} of the law has shape {leaf.shape}: with varies="
                                 f"{self.varies} it must begin with {self.disc.points[: self.varies]}")

    @property
    def linear(self) -> bool:
        """Whether W is quadratic in the displacements."""
        return isinstance(self.law, AbstractLinearLaw)

    def start(self) -> Float[Array, "node dim"]:
        """The undeformed state."""
        return jnp.zeros(self.fixed.shape, self.disc.weights.dtype)

    def with_law(self, law: AbstractLaw) -> "Component":
        """The same component of another law (same ``varies``); usable under ``jit`` and ``grad``."""
        return Component(self.disc, law, self.fixed, self.temperature_K, self.composition, self.inverse, self.varies)

    def displacement(self, x: Loads, y: Array) -> Float[Array, "node dim"]:
        """All nodal displacements: prescribed ones from the loads, the others from y."""
        return jnp.where(self.fixed, x.displacement, y)

    def energy(self, x, y):
        u = self.displacement(x, y)
        psi = self._at_points(_density, displacement_gradients(self.disc, u))
        return jnp.sum(self.disc.weights * psi) - jnp.sum(x.force * u)

    def project(self, y):
        return jnp.where(self.fixed, 0.0, y)

    def operator(self, x, y):
        K = self.element_matrices(x, y)
        return lambda v: self.project(apply_stiffness(self.disc, K, self.project(v)))

    def preconditioner(self, x, y):
        prepared = self.prepared(x, y)
        return lambda r: self.inverse.apply(prepared, r)

    def prepared(self, x: Loads, y: Array) -> Any:
        """The (approximate) inverse of the tangent at (x, y), factorised."""
        return self.inverse.prepare(self.disc, self.element_matrices(x, y), ~self.fixed)

    def element_matrices(self, x: Loads, y: Array) -> Array:
        """Tangent matrices K (element, a, dim, a, dim) in GPa·length at (x, y)."""
        return element_stiffness(self.disc, self.moduli(x, y))

    def moduli(self, x: Loads, y: Array) -> Array:
        """Tangent moduli A_iJkL = ∂²ψ/∂H_iJ∂H_kL in the plane (or space), (element, gauss, dim, dim, dim, dim), GPa."""
        if isinstance(self.law, AbstractLinearLaw):
            return self._hooke()
        return self._at_points(jax.hessian(_density, argnums=1),
                               displacement_gradients(self.disc, self.displacement(x, y)))

    def stress(self, x: Loads, y: Array) -> Float[Array, "element gauss 3 3"]:
        """σ (small strain) or the first Piola–Kirchhoff stress P (finite strain) at the Gauss points, GPa; with the
        component normal to the plane."""
        H = embedded(displacement_gradients(self.disc, self.displacement(x, y)))
        return self._at_points(jax.grad(_density, argnums=1), H)

    def reactions(self, x: Loads, y: Array) -> Float[Array, "node dim"]:
        """Forces of the supports on the component (GPa·length²), zero at free components."""
        return jax.grad(lambda d: self.energy(Loads(d, x.force), y))(x.displacement)

    def _at_points(self, fn, H):
        """``fn(law, H, T, c)`` at every Gauss point."""
        arrays, static = eqx.partition(self.law, eqx.is_array)

        def point(leaves, *state):
            return fn(eqx.combine(leaves, static), *state)
        gauss = jax.vmap(point, in_axes=(0 if self.varies > 1 else None, 0, 0, 0))
        element = jax.vmap(gauss, in_axes=(0 if self.varies > 0 else None, 0, 0, 0))
        return element(arrays, H, self.temperature_K, self.composition)

    def _hooke(self):
        """The moduli of a linear law without a derivative."""
        arrays, static = eqx.partition(self.law, eqx.is_array)
        matrix = lambda leaves: eqx.combine(leaves, static).stiffness_matrix()
        for _ in range(self.varies):
            matrix = jax.vmap(matrix)
        d = self.disc.dim
        basis = BASIS[:, :d, :d]
        C = matrix(arrays)
        # The energy sees the symmetric part only; so must its Hessian, or derivatives in C would be wrong.
        C = 0.5 * (C + jnp.swapaxes(C, -1, -2))
        A = jnp.einsum("mij,...mn,nkl->...ijkl", basis, C, basis)
        A = A.reshape(*A.shape[: self.varies], *[1] * (2 - self.varies), d, d, d, d)
        return jnp.broadcast_to(A, (*self.disc.points, d, d, d, d))


def component_of(mesh: Mesh | Discretisation, law: AbstractLaw, fixed: Bool[Array | np.ndarray, "node dim"], *,
                 varies: int = 0, temperature_K=None, composition=None,
                 inverse: AbstractInverse | None = None) -> Component:
    """The problem of a component: ``law`` with ``varies`` leading axes on its leaves (a law per phase p of every
    element: ``jax.tree.map(lambda a: a[p], law)`` and ``varies=1``), ``fixed`` as from ``fixed_at``.

    ``temperature_K`` in K: (), (element,) or (element, gauss); ``composition`` (species,), (element, species) or
    (element, gauss, species). ``inverse`` defaults to ``block_cholesky``, which needs concrete cells (host-side).
    Raises ``ValueError`` for shapes that do not fit or a component without a support, ``TypeError`` for other laws.
    """
    disc = mesh if isinstance(mesh, Discretisation) else discretise(mesh)
    if np.shape(fixed) != (disc.n_nodes, disc.dim):
        raise ValueError(f"fixed must be ({disc.n_nodes}, {disc.dim}), got shape {np.shape(fixed)}")
    law = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, law)
    temperature = None if temperature_K is None else _on_points(temperature_K, disc, 0)
    composition = None if composition is None else _on_points(composition, disc, 1)
    inverse = block_cholesky(disc.cells, disc.n_nodes) if inverse is None else inverse
    return Component(disc, law, jnp.asarray(fixed), temperature, composition, inverse, varies)


def loads_of(component: Component, *, displacement: Any = 0.0, force: Any = 0.0) -> Loads:
    """Loads from anything that broadcasts to (node, dim): ``displacement`` in the mesh's length unit, ``force`` in
    GPa·length²; sums of ``traction_forces`` and ``assemble_body_force`` belong in ``force``."""
    zero = component.start()
    return Loads(zero + displacement, zero + force)


def _density(law, H, temperature, composition):
    """ψ of a displacement gradient (dim, dim) at one point."""
    H = embedded(H)
    strain = jnp.eye(3, dtype=H.dtype) + H if isinstance(law, AbstractFiniteStrainLaw) else to_mandel(H)
    return law.helmholtz(strain, temperature, composition)


def _on_points(value, disc, components):
    value = jnp.asarray(value, disc.weights.dtype)
    leading = value.ndim - components
    if leading not in (0, 1, 2) or value.shape[:leading] != disc.points[:leading]:
        raise ValueError(f"a field of shape {value.shape} fits neither the elements nor the Gauss points {disc.points}")
    tail = value.shape[leading:]
    value = value.reshape(*value.shape[:leading], *[1] * (2 - leading), *tail)
    return jnp.broadcast_to(value, (*disc.points, *tail))
