"""Trilinear hexahedra on a regular grid, matrix-free, in modal form.

Per element the eight corner displacements are Walsh–Hadamard transformed by three separable mean/difference
passes into coefficients a_S, S a subset of the axes. With local coordinates in [−½, ½] the displacement
gradient is a polynomial in the products P ∈ {1, x, y, z, yz, xz, xy}, orthogonal over the element with weight
12^−|P|: its column d of mode P is a_{P∪{d}}/h_d for d ∉ P. Stress is taken per mode and the passes are
transposed. For moduli constant in a voxel this equals 2×2×2 Gauss quadrature to round-off; the mode 1 alone is
reduced integration (Willot's rotated scheme).

Nodal arrays are (3, n+1, ...) for n elements per axis. The stencil maps the nodes of a block with one halo
layer of elements to its interior nodes, so that no pass needs padding.

Sources: Flanagan & Belytschko 1981 (modes of the eight-node hexahedron); Willot 2015 (rotated scheme);
Leute et al. 2022 (finite elements with a discrete Green operator).
"""

import abc
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.continuum.stiffness import AbstractStiffnessField, Components, add

Subset = tuple[int, ...]
Gradient = Sequence[Array | None]
"""∂u/∂x, ∂u/∂y, ∂u/∂z of one mode, each (3, *element) or ``None`` where identically zero."""

TRACTION_ROWS = ((0, 5, 4), (5, 1, 3), (4, 3, 2))
"""Stress components of the traction on the face normal to each axis."""


class AbstractQuadrature(eqx.Module):
    """Which modes of the element carry energy."""

    @property
    @abc.abstractmethod
    def modes(self) -> tuple[Subset, ...]:
        """Axes in the product P of each mode of the displacement gradient."""

    @property
    def hourglasses(self) -> bool:
        """Whether displacements that alternate along two axes carry no energy."""
        return len(self.modes) == 1


class HEX8(AbstractQuadrature):
    """Full integration (2×2×2 Gauss)."""

    @property
    def modes(self):
        return (), (0,), (1,), (2,), (1, 2), (0, 2), (0, 1)


class HEX8R(AbstractQuadrature):
    """Reduced integration (one Gauss point), without hourglass control: Willot's rotated scheme.

    Displacements that alternate along two axes carry no energy; boundary conditions project them out.
    """

    @property
    def modes(self):
        return ((),)


def weight(mode: Subset) -> float:
    """Mean over the element of the squared mode polynomial."""
    return 12.0 ** -len(mode)


def _sum(a: Array | None, b: Array) -> Array:
    return b if a is None else a + b


def join(mode: Subset, axis: int) -> Subset:
    """P ∪ {d}."""
    return tuple(sorted((*mode, axis)))


def gradients(coefficients: Mapping[Subset, Array], mode: Subset, voxel) -> list[Array | None]:
    """Columns of the displacement gradient in one mode; ``voxel`` (3,) edge lengths."""
    return [None if d in mode else coefficients[join(mode, d)] / voxel[d] for d in range(3)]


def strain_of_gradient(g: Gradient) -> list[Array | None]:
    """Engineering strain components of a displacement gradient given by columns."""
    def at(component, axis):
        column = g[axis]
        return None if column is None else column[component]
    return [at(0, 0), at(1, 1), at(2, 2), add(at(2, 1), at(1, 2)), add(at(2, 0), at(0, 2)), add(at(1, 0), at(0, 1))]


def coefficients_of(u: Float[Array, "3 *node"]) -> dict[Subset, Array]:
    """Modal coefficients a_S (3, *element) of nodal displacements (3, *node), S ≠ ∅."""
    passes: dict[Subset, Array] = {(): u}
    for axis in (2, 1, 0):
        halved = {}
        for subset, a in passes.items():
            n = a.shape[axis + 1]
            low = jax.lax.slice_in_dim(a, 0, n - 1, axis=axis + 1)
            high = jax.lax.slice_in_dim(a, 1, n, axis=axis + 1)
            if axis > 0 or subset:
                halved[subset] = 0.5 * (low + high)
            halved[(axis, *subset)] = high - low
        passes = halved
    return passes


def forces_of(coefficients: Mapping[Subset, Array]) -> Array:
    """Transpose of ``coefficients_of`` onto the interior nodes: (*element,) duals b_S → (*node,), n − 1 per axis."""
    passes = dict(coefficients)
    for axis in (0, 1, 2):
        joined = {}
        for subset in {tuple(d for d in s if d != axis) for s in passes}:
            low, high = _ends(passes.get(subset), passes.get(join(subset, axis)))
            n = low.shape[axis]
            joined[subset] = (jax.lax.slice_in_dim(low, 1, n, axis=axis)
                              + jax.lax.slice_in_dim(high, 0, n - 1, axis=axis))
        passes = joined
    return passes[()]


def _ends(mean: Array | None, difference: Array | None) -> tuple[Array, Array]:
    """What an element gives to the lower and to the upper node of an axis; one of the two duals may be absent."""
    if mean is None:
        return -difference, difference  # pyright: ignore[reportOptionalOperand, reportReturnType]
    half = 0.5 * mean
    return (half, half) if difference is None else (half - difference, half + difference)


def mode_stresses(material: AbstractStiffnessField, quadrature: AbstractQuadrature, voxel,
                  u: Float[Array, "3 *node"], offset: Components) -> list[tuple[Subset, Components, Components]]:
    """(mode, engineering strain, stress in GPa) of every mode; ``offset`` is added to the strain of mode 1."""
    coefficients = coefficients_of(u)
    out = []
    for mode in quadrature.modes:
        strain = strain_of_gradient(gradients(coefficients, mode, voxel))
        if not mode:
            strain = [add(a, b) for a, b in zip(strain, offset, strict=True)]
        rows = sorted({r for d in range(3) if d not in mode for r in TRACTION_ROWS[d]})
        out.append((mode, strain, material.stress(strain, rows)))
    return out


NO_OFFSET: Components = (None,) * 6


def stencil(material: AbstractStiffnessField, quadrature: AbstractQuadrature, voxel, u: Float[Array, "3 *node"],
            offset: Components = NO_OFFSET) -> Array:
    """Internal nodal forces per element volume, Bᵀ C (B u + offset) (GPa per length), on the interior nodes.

    ``u`` (3, n+2, ...) nodal displacements, moduli on the n+1 elements between them → (3, n, ...).
    """
    duals: dict[tuple[Subset, int], Array] = {}
    for mode, _, stress in mode_stresses(material, quadrature, voxel, u, offset):
        for d in range(3):
            if d not in mode:
                for component, row in enumerate(TRACTION_ROWS[d]):
                    key = join(mode, d), component
                    traction = stress[row]
                    if traction is not None:
                        duals[key] = _sum(duals.get(key), (weight(mode) / voxel[d]) * traction)
    stacked = {s: jnp.stack([duals[s, c] for c in range(3)]) for s in sorted({s for s, _ in duals})}
    # A loop over components, not an unrolled sum: XLA on CPU would otherwise fuse all passes into one expression
    # and evaluate every stress eight times (3.5 against 12 ms at 32³).
    return jax.lax.map(forces_of, stacked)


def mode_symbols(quadrature: AbstractQuadrature, angles: Sequence[Array], voxel) -> list[tuple[float, Gradient]]:
    """(weight, real symbols of ∂x, ∂y, ∂z) of every mode for plane waves of ``angles`` q per axis (broadcastable).

    A common phase per mode is dropped. Angles of exactly π must be passed as such: cos(π/2) is taken as 0.
    """
    sine = [2 * jnp.sin(q / 2) for q in angles]
    cosine = [jnp.where(jnp.abs(q) == jnp.pi, 0.0, jnp.cos(q / 2)) for q in angles]
    def coefficient(subset):
        out = 1.0
        for d in range(3):
            out = out * (sine[d] if d in subset else cosine[d])
        return out
    return [(weight(mode), [None if d in mode else coefficient(join(mode, d)) / voxel[d] for d in range(3)])
            for mode in quadrature.modes]
