"""Effective stiffness against exact solutions and other codes, and its derivatives."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.continuum.boundary import KinematicUniform, Periodic, StaticUniform
from hea_jax.continuum.bounds import phase_fractions, placement, reuss, voigt
from hea_jax.continuum.grid import HEX8, HEX8R
from hea_jax.continuum.hill_mandel import hill_mandel
from hea_jax.continuum.homogenise import effective_stiffness, homogenize
from hea_jax.continuum.laws import Hooke, IsotropicHooke, rotated
from hea_jax.continuum.rve import RVE, linear_problem, rve_of
from hea_jax.core import CG, RESULTS, NumericalFailure, Quadratic, tangent
from hea_jax.core.tensors import (
    bulk_shear_from_young,
    cubic_stiffness,
    isotropic_projection,
    isotropic_stiffness,
    voigt_from_mandel,
)
from hea_jax.structures.composites import checkerboard, cubic_sphere, laminate
from hea_jax.structures.polycrystal import voronoi_polycrystal
from hea_jax.structures.rotations import matrix_of_quaternion

TIGHT = CG(rtol=1e-12, probe=0)
REFERENCE = CG(rtol=1e-6, probe=0)
BOUNDARIES = [KinematicUniform(), Periodic(), StaticUniform()]


def two_phase(contrast):
    """E = 1 and ``contrast``, ν = .3 (GPa)."""
    K, G = bulk_shear_from_young(jnp.array([1.0, contrast]), 0.3)
    return IsotropicHooke(K, G)


def random_rve(grid, phases, *, voxel=(1.0, 0.7, 1.3), quadrature=None, seed=0):
    field = np.random.default_rng(seed).integers(0, phases, size=grid)
    return RVE(field, jnp.asarray(voxel), HEX8() if quadrature is None else quadrature)


def random_law(phases, seed=0):
    a = np.random.default_rng(seed).normal(size=(phases, 6, 6))
    return Hooke(jnp.asarray(a @ a.transpose(0, 2, 1) + 2 * np.eye(6)))


@pytest.mark.parametrize("quadrature", [HEX8(), HEX8R()], ids=str)
@pytest.mark.parametrize("grid", [(2, 2, 4), (1, 3, 6)], ids=str)
def test_laminate_is_exact(grid, quadrature):
    C = effective_stiffness(rve_of(laminate(grid), quadrature=quadrature), two_phase(10.0), linear=TIGHT).unwrap()
    C = voigt_from_mandel(C)
    found = [C[0, 0], C[0, 1], C[0, 2], C[2, 2], C[3, 3], C[5, 5]]
    np.testing.assert_allclose(found, [6.493506, 2.262737, 1.048951, 2.447552, 0.699301, 2.115385], atol=5e-7)


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=str)
def test_homogeneous_body_returns_its_own_stiffness(boundary):
    law = random_law(1)
    C = effective_stiffness(random_rve((3, 2, 4), 1), law, boundary=boundary).unwrap()
    np.testing.assert_allclose(C, law.stiffness[0], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("contrast", "moduli", "iterations"), [
    (10.0, (1.931655, 0.728431, 0.53511), (16, 17)), (1000.0, (2.146627, 0.735555, 0.58120), (26, 27))])
def test_sphere_of_fans(contrast, moduli, iterations):
    """FANS: 32³, HEX8; iterations at ‖r‖₂/‖r₀‖₂ ≤ 1e-6, reference (min+max)/2."""
    sol = effective_stiffness(rve_of(cubic_sphere((32,) * 3)), two_phase(contrast), linear=REFERENCE)
    C = voigt_from_mandel(sol.unwrap())
    np.testing.assert_allclose([C[0, 0], C[0, 1]], moduli[:2], atol=1.5e-6)
    np.testing.assert_allclose(C[3, 3], moduli[2], atol=1e-5)
    assert sol.stats["linear_iterations"].tolist() == [iterations[0]] * 3 + [iterations[1]] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("contrast", "moduli", "iterations"), [
    (10.0, (1.885040, 0.721114), 17), (1000.0, (2.062778, 0.730380), 34)])
def test_sphere_of_willot(contrast, moduli, iterations):
    """HEX8R 33³ of three codes; their sphere holds the voxel centres with r < 12 voxels (radius .363 L)."""
    rve = rve_of(cubic_sphere((33,) * 3, radius=0.363), quadrature=HEX8R())
    sol = effective_stiffness(rve, two_phase(contrast), linear=REFERENCE)
    C = voigt_from_mandel(sol.unwrap())
    np.testing.assert_allclose([C[0, 0], C[0, 1]], moduli, atol=1.5e-6)
    assert sol.stats["linear_iterations"].tolist()[:3] == [iterations] * 3


def test_boundary_conditions_are_nested():
    rve, law = rve_of(cubic_sphere((16,) * 3)), two_phase(10.0)
    C = [effective_stiffness(rve, law, boundary=b).unwrap() for b in BOUNDARIES]
    c11 = [voigt_from_mandel(c)[0, 0] for c in C]
    np.testing.assert_allclose(c11, [2.000676, 1.97452, 1.832340], atol=2e-6)
    for upper, lower in itertools.pairwise(C):
        assert np.linalg.eigvalsh(upper - lower)[0] > 0


@pytest.mark.parametrize("grid", [(3, 4, 5), (4, 2, 3)], ids=str)
def test_nesting_holds_as_quadratic_forms_for_any_anisotropy(grid):
    rve, law = random_rve(grid, 3), random_law(3)
    C = [effective_stiffness(rve, law, boundary=b, linear=TIGHT).unwrap() for b in BOUNDARIES]
    fractions = phase_fractions(rve.phases, 3)
    C = [voigt(law.stiffness, fractions), *C, reuss(law.stiffness, fractions)]
    for upper, lower in itertools.pairwise(C):
        assert np.linalg.eigvalsh(upper - lower)[0] > 0


@pytest.mark.parametrize("quadrature", [HEX8(), HEX8R()], ids=str)
@pytest.mark.parametrize("boundary", BOUNDARIES, ids=str)
def test_hill_mandel(boundary, quadrature):
    if isinstance(boundary, StaticUniform) and isinstance(quadrature, HEX8R):
        pytest.skip("refused: alternating rotations")
    rve, law = random_rve((5, 4, 3), 3, quadrature=quadrature), random_law(3)
    strain = jnp.array([0.01, -0.02, 0.005, 0.01, 0.0, 0.03])
    sol = homogenize(rve, law, strain, boundary=boundary, linear=TIGHT)
    answer = sol.unwrap()
    check = hill_mandel(rve, law, strain, answer.displacement, boundary=boundary)
    assert check.relative < 1e-10
    np.testing.assert_allclose(check.volume, strain @ answer.stress, rtol=1e-10)
    # It can fail: an arbitrary displacement is not in equilibrium.
    assert hill_mandel(rve, law, strain, 1.5 * answer.displacement, boundary=boundary).relative > 1e-6


def test_fields_and_energy_of_one_load_are_consistent():
    rve, law = random_rve((4, 3, 5), 3), random_law(3)
    strain = jnp.array([0.01, -0.02, 0.005, 0.01, 0.0, 0.03])
    answer = homogenize(rve, law, strain, linear=TIGHT).unwrap()
    C = effective_stiffness(rve, law, linear=TIGHT).unwrap()
    np.testing.assert_allclose(answer.stress, C @ strain, rtol=1e-10)
    np.testing.assert_allclose(answer.energy, 0.5 * strain @ C @ strain, rtol=1e-10)
    np.testing.assert_allclose(jnp.mean(answer.strain_field, axis=(1, 2, 3)), strain, atol=1e-15)
    np.testing.assert_allclose(jnp.mean(answer.stress_field, axis=(1, 2, 3)), answer.stress, atol=1e-14)


def test_free_thermal_expansion_of_a_homogeneous_body_is_stress_free():
    expansion = jnp.array([[1e-5, 1e-5, 1e-5, 0, 0, 0]])
    law = Hooke(random_law(1).stiffness, None, expansion)
    answer = homogenize(random_rve((3, 3, 3), 1), law, 100 * expansion[0], temperature_K=400.0).unwrap()
    np.testing.assert_allclose(answer.stress, 0, atol=1e-15)
    held = homogenize(random_rve((3, 3, 3), 1), law, jnp.zeros(6), temperature_K=400.0).unwrap()
    np.testing.assert_allclose(held.stress, -100 * law.stiffness[0] @ expansion[0], rtol=1e-12)


def test_levin_relation_for_two_phase_eigenstrain():
    """Effective eigenstress of two phases follows from C̄ alone (Levin 1967)."""
    rve, law = rve_of(cubic_sphere((6,) * 3)), two_phase(10.0)
    C1, C2 = law.stiffness_matrix()
    free = jnp.array([0.01, 0.01, 0.01, 0, 0, 0])
    general = Hooke(law.stiffness_matrix(), jnp.stack([jnp.zeros(6), free]))
    stress = homogenize(rve, general, jnp.zeros(6), linear=TIGHT).unwrap().stress
    C = effective_stiffness(rve, law, linear=TIGHT).unwrap()
    # ⟨B₂ᵀ C₂ ε*⟩ with the strain concentration of phase 2, f₂A₂ = (C₂ − C₁)⁻¹ (C̄ − C₁).
    concentration = jnp.linalg.solve(C2 - C1, C - C1)
    np.testing.assert_allclose(stress, -concentration.T @ C2 @ free, rtol=1e-9, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", [cubic_sphere((32,) * 3, radius=0.4924), checkerboard((32,) * 3)],
                         ids=["sphere", "checkerboard"])
def test_hill_equal_shear_modulus(geometry):
    """With equal G the bulk modulus depends on the fractions alone (Hill 1963): K = 2.536585 at f = ½ and G = 1."""
    f = float(jnp.mean(geometry.phases))
    exact = 1 / ((1 - f) / (1 + 4 / 3) + f / (10 + 4 / 3)) - 4 / 3
    law = IsotropicHooke(jnp.array([1.0, 10.0]), jnp.ones(2))
    C = effective_stiffness(rve_of(geometry), law).unwrap()
    K = isotropic_projection(C)[0]
    np.testing.assert_allclose(K, exact, rtol=0.02)
    if f == 0.5:
        np.testing.assert_allclose(exact, 2.536585, atol=1e-6)


def test_hill_equal_shear_converges_with_the_grid():
    law, errors = IsotropicHooke(jnp.array([1.0, 10.0]), jnp.ones(2)), []
    for n in (4, 8, 16):
        C = effective_stiffness(rve_of(checkerboard((n,) * 3)), law).unwrap()
        errors.append(float(isotropic_projection(C)[0]) - 2.536585)
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.4 * errors[0]


def test_polycrystal_lies_within_bounds():
    structure = voronoi_polycrystal(jax.random.key(0), grains=20, grid=(12, 12, 12))
    law = rotated(Hooke(cubic_stiffness(168.4, 121.4, 75.4)), structure.rotations)
    C = effective_stiffness(rve_of(structure), law).unwrap()
    fractions = phase_fractions(structure.phases, 20)
    place = placement(C, reuss(law.stiffness, fractions), voigt(law.stiffness, fractions))
    assert bool(place.inside)
    assert 0 < place.shear_position < 1
    K, _ = isotropic_projection(C)
    np.testing.assert_allclose(K, (168.4 + 2 * 121.4) / 3, rtol=1e-9)


def both_routes(boundary):
    """t ↦ C̄ of moved moduli, by the stationary form and by ``core.tangent``."""
    rve, law = random_rve((3, 2, 4), 2), random_law(2)
    direction = random_law(2, seed=7).stiffness

    def fast(t):
        return effective_stiffness(rve, Hooke(law.stiffness + t * direction), boundary=boundary, linear=TIGHT).value

    def generic(t):
        problem = linear_problem(rve, Hooke(law.stiffness + t * direction), boundary)
        return tangent(problem, jnp.zeros(6), problem.start(), solver=Quadratic(), linear=TIGHT).value[2]
    return fast, generic


@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES, ids=str)
def test_generic_route_agrees_in_value_and_slope(boundary):
    fast, generic = both_routes(boundary)
    found, expected = (jax.jit(lambda t, f=f: jax.jvp(f, (t,), (1.0,)))(0.0) for f in (fast, generic))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_generic_route_agrees_in_second_derivative():
    fast, generic = both_routes(Periodic())
    found, expected = (jax.jit(jax.jacfwd(jax.jacfwd(f)))(0.0) for f in (fast, generic))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_second_derivative_against_finite_differences():
    rve, law = random_rve((3, 2, 4), 2), two_phase(10.0)

    def modulus(bulk):
        moved = IsotropicHooke(bulk, law.shear)
        return effective_stiffness(rve, moved, linear=TIGHT).value[0, 1]
    slope = jax.jit(jax.grad(modulus))
    hessian = jax.jit(jax.jacfwd(jax.grad(modulus)))(law.bulk)
    h = 1e-5
    differences = jnp.stack([(slope(law.bulk + h * e) - slope(law.bulk - h * e)) / (2 * h) for e in jnp.eye(2)])
    np.testing.assert_allclose(hessian, differences, rtol=1e-6, atol=1e-9)
    assert float(jnp.min(jnp.abs(hessian))) > 1e-6


@pytest.mark.slow
def test_gradient_in_moduli_rotations_and_voxel_lengths():
    """Reverse mode against central differences, block by block."""
    rve = random_rve((3, 4, 2), 4)
    rng = np.random.default_rng(3)
    at = {"moduli": jnp.array([168.4, 121.4, 75.4]), "rotations": jnp.asarray(rng.normal(size=(4, 4))),
          "voxel lengths": rve.voxel}

    def modulus(tree):
        law = rotated(Hooke(cubic_stiffness(*tree["moduli"])), matrix_of_quaternion(tree["rotations"]))
        moved = eqx.tree_at(lambda r: r.voxel, rve, tree["voxel lengths"])
        C = effective_stiffness(moved, law, linear=TIGHT).value
        return C[0, 1] + 0.3 * C[3, 4] + 0.1 * C[5, 5]
    value, gradient = jax.jit(modulus), jax.jit(jax.grad(modulus))(at)
    for name, part in at.items():
        direction = jnp.asarray(rng.normal(size=part.shape))
        h = 1e-5 * float(jnp.linalg.norm(part))
        ends = [float(value({**at, name: part + s * h * direction})) for s in (1, -1)]
        difference, slope = (ends[0] - ends[1]) / (2 * h), float(jnp.vdot(gradient[name], direction))
        assert abs(slope) > 1e-2, name
        np.testing.assert_allclose(slope, difference, rtol=1e-6, err_msg=name)


def test_batch_of_rves():
    """Lanes of a ``vmap`` over phases and moduli equal single calls."""
    fields = jnp.asarray(np.random.default_rng(9).integers(0, 2, size=(3, 4, 3, 2)))
    shear = jnp.array([[1.0, 2.0], [1.0, 30.0], [1.0, 1.0]])

    def stiffness(phases, g):
        return effective_stiffness(RVE(phases, jnp.ones(3)), IsotropicHooke(2 * g, g), linear=TIGHT)
    batch = jax.vmap(stiffness)(fields, shear)
    for lane in range(3):
        np.testing.assert_allclose(batch.value[lane], stiffness(fields[lane], shear[lane]).value, rtol=1e-9, atol=1e-10)


def test_running_out_of_iterations_gives_nan_and_says_so():
    rve = random_rve((4, 4, 4), 2)
    shear = jnp.array([[1.0, 1.0], [1.0, 1000.0]])

    def stiffness(g):
        return effective_stiffness(rve, IsotropicHooke(2 * g, g), linear=CG(rtol=1e-8, max_steps=3, probe=0))
    sol = jax.vmap(stiffness)(shear)
    assert (sol.result == RESULTS.linear_max_steps).tolist() == [False, True]
    assert jnp.all(jnp.isfinite(sol.value[0]))
    assert jnp.all(jnp.isnan(sol.value[1]))
    slope = jax.grad(lambda g: stiffness(g).value[0, 0])(shear[1])
    assert jnp.all(jnp.isnan(slope))
    with pytest.raises(NumericalFailure, match="max_steps"):
        sol.unwrap()
    one = homogenize(rve, IsotropicHooke(2 * shear[1], shear[1]), jnp.ones(6), linear=CG(max_steps=2, probe=0))
    assert one.result == RESULTS.linear_max_steps
    assert jnp.isnan(one.value.energy)


def test_indefinite_moduli_are_reported():
    sol = effective_stiffness(random_rve((4, 4, 4), 2), IsotropicHooke(jnp.array([1.0, 1.0]), jnp.array([1.0, -3.0])))
    assert sol.result != RESULTS.successful
    assert jnp.all(jnp.isnan(sol.value))


def test_single_precision_is_refused():
    law = IsotropicHooke(jnp.ones(1, jnp.float32), jnp.ones(1, jnp.float32))
    with pytest.raises(TypeError, match="float64"):
        effective_stiffness(random_rve((2, 2, 2), 1), law)


def test_iterations_do_not_grow_with_the_grid():
    law, iterations = two_phase(10.0), []
    for n in (8, 16):
        sol = effective_stiffness(rve_of(cubic_sphere((n,) * 3)), law, linear=REFERENCE)
        iterations.append(int(jnp.max(sol.stats["linear_iterations"])))
    assert abs(iterations[1] - iterations[0]) <= 3


def test_loads_one_by_one_equal_loads_together():
    rve, law = random_rve((3, 4, 5), 3), random_law(3)
    a, b = (effective_stiffness(rve, law, linear=TIGHT, together=t).unwrap() for t in (6, 1))
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_one_layer_is_plane_strain():
    """A periodic single layer equals the same columns repeated."""
    thin = random_rve((4, 5, 1), 2)
    thick = RVE(jnp.repeat(thin.phases, 3, axis=2), thin.voxel)
    law = two_phase(10.0)
    a, b = (effective_stiffness(r, law, linear=TIGHT).unwrap() for r in (thin, thick))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_isotropic_and_general_law_agree():
    rve, law = random_rve((3, 4, 5), 2), two_phase(10.0)
    general = Hooke(jax.vmap(isotropic_stiffness)(law.bulk, law.shear))
    a, b = (effective_stiffness(rve, l, linear=TIGHT).unwrap() for l in (law, general))
    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
