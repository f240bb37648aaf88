"""Grains → component: C_eff(x, T) of a microstructure, and the law of every point of a component.

C_eff of a polycrystal is a function of the three cubic constants alone; temperature and composition enter through
them. Its derivative in the cubic constants costs no further solve (``continuum.effective_stiffness``) and gives both
the composition dependence and the part of the standard error that comes from the atoms.

Sources: Hill 1952 (polycrystal moduli); Huet 1990 (apparent moduli of several windows); JCGM 100:2008 (propagation of
uncertainty); Duhamel–Neumann (thermal strain).
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.continuum.boundary import AbstractBoundary
from hea_jax.continuum.laws.hooke import Hooke
from hea_jax.continuum.rve import rve_of
from hea_jax.core.krylov import CG
from hea_jax.core.results import Solution, first_failure
from hea_jax.hierarchical.upscaling import RVE_LINEAR, Polycrystal, polycrystal_stiffness
from hea_jax.records import AtomisticProperties, EffectiveProperties, Microstructure


@eqx.filter_jit
def stiffness_and_slope(cubic_GPa: Float[Array, "3"], polycrystal: Polycrystal, *,
                        boundary: AbstractBoundary | None = None, linear: CG = RVE_LINEAR) -> Solution:
    """``Solution((C̄, ∂C̄/∂(C11, C12, C44)))`` of one polycrystal: (6, 6) Mandel in GPa, and (6, 6, 3)."""
    def value(cubic):
        sol = polycrystal_stiffness(cubic, polycrystal, boundary=boundary, linear=linear)
        return sol.value, sol
    slope, sol = jax.jacfwd(value, has_aux=True)(cubic_GPa)
    return Solution((sol.value, slope), sol.result, sol.stats)


@eqx.filter_jit
def _over_temperatures(constants_GPa, polycrystal, boundary, linear):
    return jax.vmap(lambda c: stiffness_and_slope(c, polycrystal, boundary=boundary, linear=linear))(constants_GPa)


def effective_properties(properties: AtomisticProperties, microstructures: Sequence[Microstructure], *,
                         boundary: AbstractBoundary | None = None, linear: CG = RVE_LINEAR) -> Solution:
    """``Solution(EffectiveProperties)``: C_eff at every temperature, averaged over the microstructures.

    Standard errors: scatter over the microstructures, and the errors of C11, C12, C44 by the delta method (from the
    same cells, hence as fully correlated). The composition
    field is that of the first microstructure. Differentiable in the properties. Raises ``ValueError`` for a
    microstructure without composition. Results as for ``effective_stiffness``.
    """
    first = microstructures[0]
    field, stderr, voxel = first.composition, first.composition_stderr, first.composition_voxel_nm
    if field is None or stderr is None or voxel is None:
        raise ValueError("the microstructure carries no composition: take one from the phase field, or fill "
                         "`composition`, `composition_stderr` and `composition_voxel_nm`")
    grains = [Polycrystal(rve_of(m), m.rotations) for m in microstructures]
    # All temperatures of a microstructure at once: one program, and second derivatives stay right (no loop).
    solved = [_over_temperatures(properties.elastic_constants_GPa, g, boundary, linear) for g in grains]
    C = jnp.stack([sol.value[0] for sol in solved], axis=1)
    J = jnp.mean(jnp.stack([sol.value[1] for sol in solved]), axis=0)
    results = [jax.tree.map(lambda leaf, t=t: leaf[t], sol.result) for sol in solved for t in range(len(C))]
    number = len(microstructures)
    scatter = jnp.std(C, axis=1, ddof=1) / number**0.5 if number > 1 else jnp.full_like(C[:, 0], jnp.nan)
    # C11, C12 and C44 come from the same cells: their errors count as fully correlated.
    atomic = jnp.abs(jnp.einsum("tijk,tk->tij", J, properties.elastic_constants_stderr_GPa))
    strain, strain_error = thermal_strain(properties)
    length = jnp.min(jnp.asarray(first.phases.shape) * first.voxel_nm)
    record = EffectiveProperties(
        temperatures_K=properties.temperatures_K,
        stiffness_GPa=jnp.mean(C, axis=1),
        stiffness_stderr_GPa=jnp.sqrt(scatter**2 + atomic**2),
        stiffness_slopes_GPa=jnp.einsum("ijk,ke->ije", J[0], properties.elastic_slopes_GPa),
        stiffness_slopes_stderr_GPa=jnp.abs(jnp.einsum("ijk,ke->ije", J[0], properties.elastic_slopes_stderr_GPa)),
        thermal_strain=strain,
        thermal_strain_stderr=strain_error,
        mean_composition=properties.composition,
        composition=field,
        composition_stderr=stderr,
        composition_voxel_nm=voxel,
        rve_length_nm=length,
    )
    return Solution(record, first_failure(*results), {"realisations_GPa": C})


def thermal_strain(properties: AtomisticProperties) -> tuple[Float[Array, "t"], Float[Array, "t"]]:
    """a(T)/a(T₀) − 1 and its standard error, T₀ the first temperature."""
    a, error = properties.lattice_constants_A, properties.lattice_constants_stderr_A
    relative = jnp.sqrt((error / a) ** 2 + (error[0] / a[0]) ** 2)
    # The strain at T₀ is zero by definition.
    return a / a[0] - 1, (a / a[0] * relative).at[0].set(0.0)


def periodic_sample(field: Float[Array, "c n1 n2"], voxel_nm: Float[Array, "2"],
                    points_nm: Float[Array, "*point 2"]) -> Float[Array, "*point c"]:
    """Bilinear interpolation of a periodic field of voxel means at points (nm); differentiable in both."""
    s = points_nm / voxel_nm - 0.5
    low = jnp.floor(s)
    w = s - low
    i, j = (low[..., d].astype(int) for d in range(2))
    n1, n2 = field.shape[1:]
    total = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            share = jnp.abs(1 - di - w[..., 0]) * jnp.abs(1 - dj - w[..., 1])
            total = total + share * field[:, (i + di) % n1, (j + dj) % n2]
    return jnp.moveaxis(jnp.asarray(total), 0, -1)


def component_law(effective: EffectiveProperties, points_nm: Float[Array, "*point 2"],
                  temperature_K: Float[Array, "*point"]) -> Hooke:
    """The law of every point of a component: ``Hooke`` with stiffness and thermal strain (leading axes *point).

    C(x, T) = C_eff(T) + slopes·(c(x) − mean), linear between the temperatures of the record. The composition field is
    repeated periodically over the component. Between temperatures only: outside, the result is NaN, not clamped.
    """
    T = effective.temperatures_K
    inside = (temperature_K >= T[0]) & (temperature_K <= T[-1])
    k = jnp.clip(jnp.searchsorted(T, temperature_K, side="right") - 1, 0, max(len(T) - 2, 0))
    above = jnp.minimum(k + 1, len(T) - 1)
    w = (temperature_K - T[k]) / jnp.where(above > k, T[above] - T[k], 1.0)
    w = jnp.where(inside, w, jnp.nan)

    def between(values):
        share = w.reshape(w.shape + (1,) * (values.ndim - 1))
        return (1 - share) * values[k] + share * values[above]

    c = periodic_sample(effective.composition, effective.composition_voxel_nm, points_nm)
    change = jnp.einsum("ije,...e->...ij", effective.stiffness_slopes_GPa, c - effective.mean_composition)
    hydrostatic = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    return Hooke(between(effective.stiffness_GPa) + change, between(effective.thermal_strain)[..., None] * hydrostatic)
