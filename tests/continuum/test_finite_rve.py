"""RVEs at finite strain against exact laminates, one material point, the linear RVE and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.app.verify.fe2 import FINITE, LAYERS, TWO_PHASES, laminate_stress
from hea_jax.continuum.finite_rve import finite_problem, finite_tangent, homogenize_finite, plane_strain
from hea_jax.continuum.gauss import acoustic_inverse
from hea_jax.continuum.grid import HEX8, HEX8R
from hea_jax.continuum.homogenise import effective_stiffness
from hea_jax.continuum.laws import CubicNeoHooke, Hooke, NeoHooke, crystal, grains
from hea_jax.continuum.rve import RVE
from hea_jax.core.results import RESULTS, NumericalFailure
from hea_jax.core.tensors import BASIS, cubic_stiffness, rotate_stiffness
from hea_jax.structures.rotations import random_rotations

CONSTANTS = (376.0, 196.0, 110.0)
ROTATIONS = random_rotations(jax.random.key(0), 3)
LAW = grains(crystal(*CONSTANTS), ROTATIONS)
VOXEL = jnp.array([1.0, 1.2, 0.9])
PLANE = FINITE.at[2].set(jnp.array([0.0, 0, 1])).at[:, 2].set(jnp.array([0.0, 0, 1]))


def rve_of_grid(grid, quadrature):
    return RVE(jnp.asarray(np.random.default_rng(1).integers(0, 3, grid)), VOXEL, quadrature)


RVE_EVEN = rve_of_grid((4, 3, 2), HEX8R())


@pytest.fixture(scope="module")
def answers():
    """Eight mean gradients in one batch: F, QF, F ± three small steps."""
    Q = random_rotations(jax.random.key(9), 1)[0]
    steps = 1e-5 * jnp.asarray(np.random.default_rng(2).normal(size=(3, 3, 3)))
    F = jnp.concatenate([jnp.stack([FINITE, Q @ FINITE]), FINITE + steps, FINITE - steps])
    sol = eqx.filter_vmap(lambda f: homogenize_finite(RVE_EVEN, LAW, f))(F)
    return F, Q, steps, sol.unwrap()


def test_cubic_law_has_the_cubic_tangent_and_the_isotropic_limit():
    one = jax.tree.map(lambda leaf: leaf[1], LAW)
    tangent = jax.hessian(lambda F: one.helmholtz(F, 300.0, None))(jnp.eye(3))
    C = jnp.einsum("mij,ijkl,nkl->mn", BASIS, tangent, BASIS)
    np.testing.assert_allclose(C, rotate_stiffness(cubic_stiffness(*CONSTANTS), ROTATIONS[1]), atol=1e-10)
    isotropic = CubicNeoHooke(*jnp.array([8.0, 4.0, 2.0]), ROTATIONS[0])
    neo_hooke = NeoHooke(jnp.asarray(16 / 3), jnp.asarray(2.0))
    np.testing.assert_allclose(isotropic.helmholtz(FINITE, 0, None), neo_hooke.helmholtz(FINITE, 0, None), rtol=1e-12)


@pytest.mark.parametrize("quadrature", [HEX8R(), HEX8()], ids=["HEX8R", "HEX8"])
@pytest.mark.parametrize("grid", [(4, 3, 2), (5, 1, 3)], ids=str)
def test_stencils_are_the_derivatives_of_the_energy(grid, quadrature):
    rng, problem = np.random.default_rng(0), finite_problem(rve_of_grid(grid, quadrature), LAW)
    x = FINITE.reshape(9)
    y, v = (jnp.asarray(s * rng.normal(size=(3, *grid))) for s in (0.03, 1.0))

    @jax.jit
    def both(problem, x, y, v):
        gradient = jax.grad(problem.energy, argnums=1)
        slope = jax.jvp(lambda z: gradient(x, z), (y,), (v,))[1]
        return problem.residual(x, y), gradient(x, y), problem.operator(x, y)(v), slope
    residual, gradient, operator, slope = both(problem, x, y, v)
    np.testing.assert_allclose(residual, gradient, atol=1e-14 * CONSTANTS[0])
    np.testing.assert_allclose(operator, slope, atol=1e-14 * CONSTANTS[0])


def test_homogeneous_preconditioner_is_the_inverse():
    """For one homogeneous phase without fluctuation, preconditioner and operator cancel on admissible fluctuations."""
    problem = finite_problem(RVE(jnp.zeros((4, 3, 2), int), VOXEL, HEX8R()), jax.tree.map(lambda a: a[:1], LAW))
    v = problem.project(jnp.asarray(np.random.default_rng(3).normal(size=(3, 4, 3, 2))))

    @jax.jit
    def there_and_back(problem, x, v):
        return problem.preconditioner(x, problem.start())(problem.operator(x, problem.start())(v))
    np.testing.assert_allclose(there_and_back(problem, FINITE.reshape(9), v), v, atol=1e-12)


def test_preconditioner_stays_definite_where_the_tangent_is_not():
    symbol = acoustic_inverse((4, 3, 2), VOXEL, HEX8(), -jnp.eye(9))
    assert float(jnp.min(symbol[:3])) >= 0
    assert float(jnp.max(symbol[:3])) > 0


def test_laminate_is_exact():
    P = homogenize_finite(LAYERS, TWO_PHASES, FINITE).unwrap().stress
    exact = laminate_stress(FINITE, TWO_PHASES.bulk, TWO_PHASES.shear)
    np.testing.assert_allclose(P, exact, atol=1e-10)
    middle = 0.5 * (TWO_PHASES.bulk[0] + TWO_PHASES.bulk[1])
    assert np.max(np.abs(P - laminate_stress(FINITE, [middle] * 2, [TWO_PHASES.shear.mean()] * 2))) > 0.1


def test_hill_mandel_and_objectivity(answers):
    F, Q, _, out = answers
    power = jnp.mean(jnp.sum(out.stress_field[0] * out.gradient_field[0], axis=(0, 1)))
    np.testing.assert_allclose(power, jnp.sum(out.stress[0] * F[0]), rtol=1e-10)
    np.testing.assert_allclose(jnp.mean(out.gradient_field[0], axis=(2, 3, 4)), F[0], atol=1e-13)
    np.testing.assert_allclose(out.energy[1], out.energy[0], rtol=1e-11)
    np.testing.assert_allclose(out.stress[1], Q @ out.stress[0], atol=1e-7)
    assert float(jnp.max(jnp.abs(out.fluctuation))) > 1e-3


@pytest.mark.slow
def test_tangent_against_differences_and_its_plane_part(answers):
    _, _, steps, out = answers
    energy, P, A, _ = finite_tangent(RVE_EVEN, LAW, FINITE).unwrap()
    np.testing.assert_allclose(energy, out.energy[0], rtol=1e-12)
    np.testing.assert_allclose(P, out.stress[0], atol=1e-8)
    differences = 0.5 * (out.stress[2:5] - out.stress[5:8])
    expected = jnp.einsum("ijkl,nkl->nij", A, steps)
    np.testing.assert_allclose(differences, expected, atol=1e-6 * float(jnp.max(jnp.abs(expected))))
    full = finite_tangent(RVE_EVEN, LAW, PLANE).unwrap()[2]
    plane = finite_tangent(RVE_EVEN, LAW, PLANE, mean=plane_strain()).unwrap()[2]
    np.testing.assert_allclose(plane[:2, :2, :2, :2], full[:2, :2, :2, :2], atol=1e-8)


@pytest.mark.slow
def test_small_strain_limit_is_the_linear_rve():
    A = finite_tangent(RVE_EVEN, LAW, jnp.eye(3)).unwrap()[2]
    C = jnp.einsum("mij,ijkl,nkl->mn", BASIS, A, BASIS)
    linear = Hooke(rotate_stiffness(cubic_stiffness(*CONSTANTS), ROTATIONS))
    np.testing.assert_allclose(C, effective_stiffness(RVE_EVEN, linear).unwrap(), rtol=1e-8, atol=1e-6)


def test_homogeneous_body_is_one_point_and_folding_is_reported():
    same = grains(crystal(*CONSTANTS), jnp.broadcast_to(ROTATIONS[0], (3, 3, 3)))
    one = jax.tree.map(lambda leaf: leaf[0], same)
    folded = jnp.diag(jnp.array([1.0, 1.0, -0.5]))
    sol = eqx.filter_vmap(lambda f: homogenize_finite(RVE_EVEN, same, f))(jnp.stack([FINITE, folded, *[FINITE] * 6]))
    np.testing.assert_allclose(sol.value.stress[0], jax.grad(lambda F: one.helmholtz(F, 0.0, None))(FINITE), atol=1e-10)
    np.testing.assert_allclose(sol.value.fluctuation[0], 0, atol=1e-12)
    assert np.isnan(sol.value.energy[1])
    assert list(np.asarray(sol.result == RESULTS.folded_element)) == [False, True, *[False] * 6]
    with pytest.raises(NumericalFailure, match="det F"):
        sol.unwrap()


def test_law_without_phases_is_refused():
    with pytest.raises(ValueError, match="phase axis"):
        finite_problem(RVE_EVEN, crystal(*CONSTANTS))
