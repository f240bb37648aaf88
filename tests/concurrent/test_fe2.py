"""FE² against single-scale elements, the exact laminate, finite differences, and its own energy form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.app.verify.fe2 import laminate_stress, membrane
from hea_jax.concurrent.fe2 import FE2Energy, fe2_response, mean_of, no_fluctuation
from hea_jax.concurrent.fe2_difference import homogenised_difference
from hea_jax.concurrent.fe2_driver import MacroLoad, observed_order, solve_fe2
from hea_jax.continuum.finite_rve import finite_problem
from hea_jax.continuum.force_newton import ForceNewton
from hea_jax.continuum.grid import HEX8R
from hea_jax.continuum.laws import NeoHooke
from hea_jax.continuum.mesh.component import component_of, loads_of
from hea_jax.continuum.mesh.discretisation import assemble_forces, assemble_stiffness, deformation_gradients
from hea_jax.continuum.mesh.elements import Quad4
from hea_jax.continuum.mesh.generators import rectangle
from hea_jax.continuum.mesh.meshes import discretise
from hea_jax.continuum.mesh.solve import solve_component
from hea_jax.continuum.rve import RVE
from hea_jax.core.condense import condense
from hea_jax.core.krylov import CG, Dense
from hea_jax.core.minimise import Newton
from hea_jax.core.results import RESULTS, NumericalFailure

LAYERS = RVE(jnp.array([0, 0, 1, 1]).reshape(4, 1, 1), jnp.ones(3), HEX8R())
STIFF_AND_SOFT = NeoHooke(jnp.array([1.0, 8.0]), jnp.array([0.5, 4.0]))
UNIFORM = NeoHooke(jnp.full(2, 2.0), jnp.full(2, 1.0))
# One solver for all, so that one program serves the whole file.
OPTIONS = {"solver": ForceNewton(rtol=0.0, atol=2.0**-36), "linear": CG(rtol=1e-8, probe=0)}
MESH, DISC, LOAD = membrane(2, 0.08)


def response(law, F, y=None, **options):
    start = no_fluctuation(DISC, LAYERS) if y is None else y
    return fe2_response(LAYERS, law, F, start, mean=mean_of(DISC), **OPTIONS, **options)


def at_displacements(law, u):
    F = deformation_gradients(DISC, u).reshape(-1, 3, 3)
    out = response(law, F).unwrap()
    return F, out, assemble_forces(DISC, out.stress.reshape(*DISC.points, 3, 3))


def random_displacements(scale=1.5):
    return jnp.asarray(scale * np.random.default_rng(0).normal(size=(DISC.n_nodes, 2)))


def test_points_are_exact_laminates_and_the_stiffness_is_that_of_the_forces():
    u = random_displacements()
    F, out, _ = at_displacements(STIFF_AND_SOFT, u)
    exact = [laminate_stress(f, STIFF_AND_SOFT.bulk, STIFF_AND_SOFT.shear, axis=0) for f in F]
    np.testing.assert_allclose(out.stress, np.stack(exact), atol=1e-9)
    v, step = random_displacements(1.0)[::-1], 1e-5
    ahead, behind = (at_displacements(STIFF_AND_SOFT, u + s * step * v)[2] for s in (1, -1))
    K = assemble_stiffness(DISC, out.tangent.reshape(*DISC.points, 3, 3, 3, 3))
    expected = (K @ v.ravel()).reshape(v.shape)
    np.testing.assert_allclose((ahead - behind) / (2 * step), expected, atol=1e-6 * float(jnp.max(jnp.abs(expected))))


def test_patch():
    """Affine displacements are in equilibrium inside of the mesh, whatever the RVE."""
    nodes = jnp.asarray(MESH.nodes)
    _, out, force = at_displacements(STIFF_AND_SOFT, nodes @ jnp.array([[0.2, 0.1], [-0.05, -0.1]]))
    inside = [n for n in range(DISC.n_nodes) if np.sum(np.asarray(DISC.cells) == n) == 4]
    assert len(inside) == 1
    assert float(jnp.max(jnp.abs(force))) > 1.0
    np.testing.assert_allclose(force[np.array(inside)], 0, atol=1e-9)
    np.testing.assert_allclose(out.stress - out.stress[:1], 0, atol=1e-9)


def test_homogeneous_points_reproduce_the_single_scale_membrane():
    sol = solve_fe2(DISC, LAYERS, UNIFORM, LOAD, steps=2, rtol=1e-11, **OPTIONS)
    answer = sol.unwrap()
    one = component_of(MESH, jax.tree.map(lambda leaf: leaf[0], UNIFORM), LOAD.fixed)
    direct = solve_component(one, loads_of(one, force=LOAD.force)).unwrap()
    size = float(jnp.max(jnp.abs(direct.displacement)))
    assert size > 5.0
    np.testing.assert_allclose(answer.state.u, direct.displacement, atol=1e-9 * size)
    P = answer.response.stress.reshape(*DISC.points, 3, 3)
    np.testing.assert_allclose(P[..., :2, :2], direct.stress[..., :2, :2], atol=1e-9)
    np.testing.assert_allclose(jnp.where(LOAD.fixed, 0.0, answer.force - LOAD.force), 0, atol=1e-9)


def test_newton_is_quadratic_and_a_run_can_be_resumed():
    once = solve_fe2(DISC, LAYERS, STIFF_AND_SOFT, LOAD, steps=1, rtol=1e-9, **OPTIONS)
    assert observed_order(once.stats["residual"]) >= 1.8
    states = []
    whole = solve_fe2(DISC, LAYERS, STIFF_AND_SOFT, LOAD, steps=3, rtol=1e-9, on_step=states.append, **OPTIONS).unwrap()
    assert [round(float(s.factor), 3) for s in states] == [0.333, 0.667, 1.0]
    resumed = solve_fe2(DISC, LAYERS, STIFF_AND_SOFT, LOAD, steps=1, rtol=1e-9, state=states[1], **OPTIONS).unwrap()
    np.testing.assert_allclose(resumed.state.u, whole.state.u, atol=1e-6)
    np.testing.assert_allclose(whole.state.u, once.unwrap().state.u, atol=1e-6)


@pytest.mark.slow
def test_difference_from_the_homogenised_law():
    """None for homogeneous points; the laminate is anisotropic, so a plain solid is some per cent off."""
    quiet = MacroLoad(LOAD.fixed, LOAD.displacement, 0.2 * LOAD.force)
    for law, far in ((UNIFORM, False), (STIFF_AND_SOFT, True)):
        answer = solve_fe2(DISC, LAYERS, law, quiet, steps=1, **OPTIONS).unwrap()
        difference = homogenised_difference(DISC, LAYERS, law, quiet, answer, steps=1).unwrap()
        assert (float(difference.displacement) > 0.01) is far
        assert (abs(float(difference.energy)) > 0.01) is far
        if not far:
            np.testing.assert_allclose([difference.bulk, difference.shear], [2.0, 1.0], rtol=1e-9)
            np.testing.assert_allclose([difference.displacement, difference.energy], 0, atol=1e-7)


def test_observed_order():
    r = [0.1]
    for _ in range(3):
        r.append(0.5 * r[-1] ** 2)
    assert observed_order([3.0, *r], floor=1e-12) == pytest.approx(2.0)
    assert observed_order(0.5 ** np.arange(6)) == pytest.approx(1.0)
    assert observed_order([1.0, 0.1, 1e-3, 1e-13]) == pytest.approx(2.0)
    assert np.isnan(observed_order([1.0, 0.1, 1e-13]))


def test_a_failing_point_is_named_and_the_load_is_cut():
    F = jnp.broadcast_to(jnp.eye(3), (16, 3, 3)).at[5, 0, 0].set(-0.5)
    sol = response(STIFF_AND_SOFT, F)
    assert list(np.flatnonzero(np.asarray(sol.result != RESULTS.successful))) == [5]
    assert bool(jnp.all(jnp.isnan(sol.value.stress[5])) & jnp.all(jnp.isfinite(sol.value.stress[6])))
    with pytest.raises(NumericalFailure, match=r"1 of 16 lanes \(first: \[5\]\).*det F"):
        sol.unwrap()
    # Pushed together by more than its length, the membrane folds however the load is cut.
    right = jnp.asarray(MESH.nodes)[:, :1] == 48.0
    crushed = MacroLoad(LOAD.fixed | right, jnp.where(right, jnp.array([-60.0, 0.0]), 0.0), jnp.zeros_like(LOAD.force))
    sol = solve_fe2(DISC, LAYERS, STIFF_AND_SOFT, crushed, steps=1, max_cuts=1, **OPTIONS)
    factors = sol.stats["factor"]
    assert factors[0] == 1.0
    assert len(set(factors)) > 2
    assert float(sol.value.state.factor) < 1.0
    with pytest.raises(NumericalFailure):
        sol.unwrap()


@pytest.mark.slow
def test_a_batch_is_a_loop_over_points_each_with_its_own_voxels():
    F = deformation_gradients(DISC, random_displacements()).reshape(-1, 3, 3)
    phases = jnp.stack([jnp.roll(LAYERS.phases, k % 3, axis=0) for k in range(16)]).at[3].set(0)
    together = response(STIFF_AND_SOFT, F, phases=phases).unwrap()
    chunks = response(STIFF_AND_SOFT, F, phases=phases, batch_size=5).unwrap()
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(chunks), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    plain = response(STIFF_AND_SOFT, F).unwrap()
    # A shift of the layers changes nothing but the fluctuation; a point without the second phase is another material.
    others = np.arange(16) != 3
    np.testing.assert_allclose(together.stress[others], plain.stress[others], atol=1e-9)
    assert float(jnp.max(jnp.abs(together.stress[3] - plain.stress[3]))) > 0.01


@pytest.mark.slow
def test_nested_energy_carries_gradients_to_micro_parameters():
    """One macroscopic element over laminates: tip displacement, its slope in micro shear moduli, and the driver."""
    mesh = rectangle((1.0, 1.0), (1, 1), Quad4())
    disc, rve = discretise(mesh), RVE(jnp.array([0, 1]).reshape(2, 1, 1), jnp.ones(3), HEX8R())
    left = jnp.asarray(mesh.nodes)[:, :1] == 0.0
    fixed = left | jnp.zeros((4, 2), bool)
    force = jnp.where(left, 0.0, jnp.array([0.02, 0.1]))
    solver = Newton(rtol=0.0, atol=1e-12)

    @eqx.filter_jit
    def tip(law):
        macro = FE2Energy(disc, finite_problem(rve, law, mean_of(disc)), fixed, jnp.zeros((4, 2)), force,
                          solver=ForceNewton(rtol=0.0, atol=1e-14), linear=CG(rtol=1e-12, probe=0))
        sol = condense(macro, jnp.asarray(1.0), jnp.zeros((4, 2)), solver=solver, linear=Dense(symmetric=True))
        return macro.displacements(jnp.asarray(1.0), sol.value[1])[-1, 1]

    driver = solve_fe2(disc, rve, STIFF_AND_SOFT, MacroLoad(fixed, jnp.zeros((4, 2)), force), steps=1, rtol=1e-9,
                       micro_tolerance=1e-12).unwrap()
    value = float(tip(STIFF_AND_SOFT))
    assert value > 0.05
    np.testing.assert_allclose(driver.state.u[-1, 1], value, rtol=1e-8)
    slope = eqx.filter_grad(tip)(STIFF_AND_SOFT).shear
    for phase in range(2):
        moved = [NeoHooke(STIFF_AND_SOFT.bulk, STIFF_AND_SOFT.shear.at[phase].add(s)) for s in (1e-4, -1e-4)]
        difference = float(tip(moved[0]) - tip(moved[1])) / 2e-4
        assert abs(difference) > 1e-4
        np.testing.assert_allclose(float(slope[phase]), difference, rtol=1e-5)
