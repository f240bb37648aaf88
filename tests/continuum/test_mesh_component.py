"""A component as a problem: exact bars, equilibrium, tangents, gradients, refusals, other codes' finite strain."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_gradient
from mesh_helpers import sparse_solution, unit_mesh
from numpy.testing import assert_allclose

from hea_jax.continuum.laws import Hooke, IsotropicHooke, NeoHooke
from hea_jax.continuum.mesh import (
    Hex8,
    Jacobi,
    Quad4,
    Quad8,
    box,
    component_of,
    cooks_membrane,
    discretise,
    fixed_at,
    load_steps,
    loads_of,
    nearest_node,
    plate_with_hole,
    rectangle,
    solve_component,
    traction_forces,
    with_sets,
)
from hea_jax.core.condense import AbstractProblem
from hea_jax.core.results import RESULTS, NumericalFailure
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness
from hea_jax.records.law import AbstractHistoryLaw
from hea_jax.structures.rotations import random_rotations

ALPHA = jnp.asarray([1e-5, 2e-5, 3e-5, 0.0, 0.0, 1e-5])


def pulled_plate(element=None, counts=(4, 3)):
    """A quarter plate of a graded crystal with a temperature field, stretched on the right and pulled at the top."""
    mesh = plate_with_hole(1.0, (4.0, 3.0), counts, Quad4() if element is None else element)
    disc = discretise(mesh)
    rng = np.random.default_rng(0)
    scale = 1 + 0.2 * rng.uniform(-1, 1, disc.points)
    C = jnp.asarray(scale[..., None, None] * np.asarray(cubic_stiffness(2.46, 1.34, 0.287)))
    T = jnp.asarray(300 + 100 * rng.uniform(size=disc.points))
    law = Hooke(C, expansion=jnp.broadcast_to(ALPHA, (*disc.points, 6)))
    fixed = fixed_at(mesh, {"left": (0,), "bottom": (1,), "right": (0,)})
    component = component_of(mesh, law, fixed, varies=2, temperature_K=T)
    stretch = np.zeros(mesh.nodes.shape)
    stretch[np.asarray(mesh.node_sets["right"]), 0] = 0.01
    loads = loads_of(component, displacement=stretch, force=traction_forces(mesh, "top", jnp.asarray([0.0, 0.02])))
    return mesh, component, loads


def cook(n, force, element=None):
    """Cook's panel of a neo-Hookean solid, clamped left, dead vertical load on the right."""
    mesh = cooks_membrane((n, n), Quad4() if element is None else element)
    component = component_of(mesh, NeoHooke(jnp.asarray(5.0), jnp.asarray(2.0)), fixed_at(mesh, {"left": (0, 1)}))
    return mesh, component, loads_of(component, force=traction_forces(mesh, "right", jnp.asarray([0.0, force / 16])))


def test_direct_solution_and_balance():
    """Block Cholesky gives what SciPy's sparse LU gives; supports balance the loads; CG has nothing left to do."""
    mesh, component, loads = pulled_plate(Quad8())
    sol = solve_component(component, loads)
    state = sol.unwrap()
    # Thermal strain acts like the nodal forces −W_u at zero displacement.
    still = loads_of(component)
    forced = dataclasses.replace(loads, force=loads.force - component.residual(still, component.start())
                                 - component.reactions(still, component.start()))
    assert_allclose(state.displacement, sparse_solution(component, forced), rtol=1e-9, atol=1e-13)
    assert int(sol.stats["linear_iterations"]) <= 3
    forces, x = state.reactions + loads.force, mesh.nodes
    scale = float(jnp.max(jnp.abs(state.reactions)))
    assert_allclose(forces.sum(0), 0.0, atol=1e-10 * scale)
    assert_allclose(jnp.sum(x[:, 0] * forces[:, 1] - x[:, 1] * forces[:, 0]), 0.0, atol=1e-10 * scale)
    assert np.all(np.asarray(state.reactions)[~np.asarray(component.fixed)] == 0)
    assert scale > 1e-3


def test_jacobi_and_batches():
    """Another inverse, the same answer; a batch of loads under vmap; the field of an unloaded lane stays zero."""
    _, component, loads = pulled_plate()
    component = eqx.tree_at(lambda c: c.temperature_K, component, jnp.full_like(component.temperature_K, 300.0))
    rough = eqx.tree_at(lambda c: c.inverse, component, Jacobi(), is_leaf=lambda x: x is component.inverse)
    batch = eqx.filter_vmap(lambda f: solve_component(component, loads.scaled(f)))(jnp.asarray([0.0, 1.0, 2.0]))
    u = solve_component(rough, loads)
    assert int(u.stats["linear_iterations"]) > 10
    assert_allclose(batch.value.displacement[1], u.unwrap().displacement, rtol=1e-7, atol=1e-12)
    assert_allclose(batch.value.displacement[2], 2 * batch.value.displacement[1], rtol=1e-10, atol=1e-14)
    assert float(jnp.max(jnp.abs(batch.value.displacement[0]))) == 0.0


def test_operator_is_the_hessian():
    """Element matrices against autodiff of the energy, and the residual against differences, at finite strain."""
    law = NeoHooke(jnp.asarray(5.0), jnp.asarray(2.0))
    mesh = unit_mesh(Hex8(), 2, distortion=0.1)
    component = component_of(mesh, law, fixed_at(mesh, {"left": (0, 1, 2)}))
    rng = np.random.default_rng(2)
    y, v = (component.project(jnp.asarray(s * rng.normal(size=mesh.nodes.shape))) for s in (0.02, 1.0))
    loads = loads_of(component, displacement=0.01 * rng.normal(size=mesh.nodes.shape))
    fused = component.operator(loads, y)(v)
    assert_allclose(fused, component.project(AbstractProblem.operator(component, loads, y)(v)), atol=1e-11)
    h = 1e-5
    energy, residual = eqx.filter_jit(component.energy), eqx.filter_jit(component.residual)
    assert_allclose((residual(loads, y + h * v) - residual(loads, y - h * v)) / (2 * h), fused,
                    atol=1e-6 * float(jnp.max(jnp.abs(fused))))
    slope = (energy(loads, y + h * v) - energy(loads, y - h * v)) / (2 * h)
    assert_allclose(slope, jnp.sum(residual(loads, y) * v), rtol=1e-7)
    linear = component_of(mesh, Hooke(cubic_stiffness(2.46, 1.34, 0.287)), component.fixed)
    assert_allclose(linear.operator(loads, y)(v), linear.project(AbstractProblem.operator(linear, loads, y)(v)),
                    atol=1e-13)


def test_rigid_motion():
    """A rotation at finite strain and an infinitesimal one at small strain cost nothing and cause no forces."""
    mesh = unit_mesh(Hex8(), 2, distortion=0.1)
    free = np.zeros(mesh.nodes.shape, bool)
    Q = np.asarray(random_rotations(jax.random.key(3), 1)[0])
    turned = component_of(mesh, NeoHooke(jnp.asarray(5.0), jnp.asarray(2.0)), free)
    u = mesh.nodes @ Q.T - mesh.nodes + 1.0
    assert_allclose(turned.energy(loads_of(turned), u), 0.0, atol=1e-14)
    assert_allclose(turned.residual(loads_of(turned), u), 0.0, atol=1e-14)
    small = component_of(mesh, Hooke(cubic_stiffness(2.46, 1.34, 0.287)), free)
    W = Q - Q.T
    assert_allclose(small.residual(loads_of(small), mesh.nodes @ W.T + 1.0), 0.0, atol=1e-13)


def test_bar_of_springs():
    """C(x) constant per element along a bar without lateral strain: springs in series."""
    modulus = np.random.default_rng(4).uniform(1.0, 10.0, 6)
    mesh = box((12.0, 1.0, 1.0), (6, 1, 1))
    # Uniaxial strain feels K + 4G/3 = λ + 2G, here 7/6 of ``modulus``, with λ = 1/6.
    law = IsotropicHooke(jnp.asarray(modulus / 2), jnp.asarray(modulus / 2))
    everywhere = with_sets(mesh, {"all": np.arange(len(mesh.nodes))})
    component = component_of(mesh, law, fixed_at(everywhere, {"left": (0,), "all": (1, 2)}), varies=1)
    force = traction_forces(mesh, "right", jnp.asarray([0.3, 0.0, 0.0]))
    state = solve_component(component, loads_of(component, force=force)).unwrap()
    elongation = 0.3 * np.sum(2.0 / (7 / 6 * modulus))
    assert_allclose(state.displacement[np.asarray(mesh.node_sets["right"]), 0], elongation, rtol=1e-12)
    assert_allclose(state.stress[..., 0, 0], 0.3, rtol=1e-12)
    assert_allclose(state.stress[..., 1, 1], 0.3 / 7, rtol=1e-11)
    assert_allclose(state.energy, -0.5 * 0.3 * elongation, rtol=1e-12)


def test_free_thermal_expansion():
    """A uniformly heated crystal without constraint is stress-free; one held along x has the exact stress."""
    mesh = box((2.0, 1.0, 1.0), (2, 2, 2))
    law = Hooke(cubic_stiffness(246.0, 134.0, 28.7), expansion=jnp.asarray([1e-5, 1e-5, 1e-5, 0, 0, 0]))
    held = {"left": (0,), "bottom": (1,), "back": (2,)}
    for fixed, expected in ((held, 0.0), (held | {"right": (0,)}, None)):
        component = component_of(mesh, law, fixed_at(mesh, fixed), temperature_K=500.0)
        state = solve_component(component, loads_of(component)).unwrap()
        C = np.asarray(law.stiffness)
        young = C[0, 0] - 2 * C[0, 1] ** 2 / (C[0, 0] + C[0, 1])
        stress = -young * 1e-5 * 200 if expected is None else 0.0
        assert_allclose(state.stress[..., 0, 0], stress, rtol=1e-10, atol=1e-13)
        assert_allclose(state.stress[..., 1, 1], 0.0, atol=1e-13)
    # The free one (first loop) expands by α ΔT in every direction.
    component = component_of(mesh, law, fixed_at(mesh, held), temperature_K=jnp.full(8, 500.0))
    u = solve_component(component, loads_of(component)).unwrap().displacement
    assert_allclose(u, 2e-3 * mesh.nodes, atol=1e-13)


def test_gradients_of_a_plate():
    """Displacement, reaction and stress: derivatives in C(x), α(x), T(x), loads and node positions."""
    mesh, component, loads = pulled_plate()
    tip = nearest_node(mesh, (4.0, 3.0))
    hole = int(np.argmin(np.linalg.norm(np.asarray(mesh.nodes)[np.asarray(mesh.cells)].mean(1) - [0, 1], axis=1)))

    def outputs(tree):
        stiffness, expansion, temperature, loads_, nodes = tree
        moved = component_of(dataclasses.replace(mesh, nodes=nodes), Hooke(stiffness, expansion=1e-3 * expansion),
                             component.fixed, varies=2, temperature_K=300 + temperature, inverse=component.inverse)
        state = solve_component(moved, loads_).value
        return (30 * state.displacement[tip, 1] + jnp.sum(state.reactions[np.asarray(mesh.node_sets["left"]), 0])
                + state.stress[hole, 0, 0, 0])
    law = component.law
    tree = (law.stiffness, 1e3 * law.expansion, component.temperature_K - 300, loads, mesh.nodes)
    check_gradient(outputs, tree, rtol=1e-7, steps=(1e-3, 1e-4), name="plate")


def test_finite_strain_against_felupe():
    """felupe 11.3.0 (tensortrax 0.29.0): Cook's panel, 8×8 Quad4, plane strain, K = 5, G = 2, force 1.6."""
    mesh, component, loads = cook(8, 1.6)
    sol = load_steps(component, loads, steps=2, max_iterations=6)
    state = sol.unwrap()[-1].state
    tip, corner = nearest_node(mesh, (48, 52)), nearest_node(mesh, (48, 60))
    assert_allclose(state.displacement[np.array([tip, corner])], [[-2.71393453, 5.46610135], [-4.37260407, 5.4289629]],
                    atol=6e-9)
    assert_allclose(state.reactions.sum(0), [0, -1.6], atol=1e-10)
    assert int(sol.stats["cutbacks"]) == 0
    assert [s.factor for s in sol.value] == [0.5, 1.0]
    for step in sol.value:
        r = np.array(step.residuals)
        # Quadratic: the order of the last reduction, which ends above round-off.
        assert np.log(r[-1] / r[-2]) / np.log(r[-2] / r[-3]) > 1.9
        assert len(r) <= 5
        assert r[-1] > 1e-12
    again = solve_component(component, loads, start=state.displacement)
    assert_allclose(again.unwrap().displacement, state.displacement, atol=1e-12)
    assert int(again.stats["steps"]) <= 1


def test_cutback_and_failure():
    """A step that is too long is cut; one that cannot be made is a result, with what was reached as the value."""
    _, component, loads = cook(8, 20.0)
    seen = []
    sol = load_steps(component, loads, steps=1, max_iterations=6, watch=lambda s: seen.append(s.factor))
    assert int(sol.stats["cutbacks"]) > 0
    assert seen[-1] == 1.0
    assert sol.unwrap()[-1].factor == 1.0
    stopped = load_steps(component, loads.scaled(10.0), steps=1, max_iterations=6, smallest=0.6)
    assert stopped.value == ()
    assert int(stopped.stats["cutbacks"]) == 1
    with pytest.raises(NumericalFailure):
        stopped.unwrap()


def test_instability_and_missing_support():
    """A bar compressed beyond buckling and a floating panel are no minima, a folded start fails: they say so."""
    _, panel, loads = cook(8, 1.6)
    law = NeoHooke(*(jnp.asarray(v) for v in bulk_shear_from_young(1.0, 0.3)))
    bar = rectangle((20.0, 1.0), (8, 8), Quad4())
    held = component_of(bar, law, fixed_at(bar, {"left": (0, 1), "right": (0, 1)}))
    squeezed = bar.nodes * jnp.asarray([-0.15, 0.0])
    sol = solve_component(held, loads_of(held, displacement=squeezed), start=squeezed)
    assert bool(sol.result == RESULTS.negative_curvature)
    assert bool(jnp.all(jnp.isnan(sol.value.displacement)))
    floating = eqx.tree_at(lambda c: c.fixed, panel, jnp.zeros_like(panel.fixed))
    assert bool(solve_component(floating, loads, start=panel.start()).result != RESULTS.successful)
    folded = solve_component(held, loads_of(held), start=-2.0 * bar.nodes)
    assert bool(folded.result == RESULTS.non_finite)


@pytest.mark.slow
def test_finite_strain_gradient():
    """Tip displacement of a neo-Hookean panel: derivatives in K(x), G(x) per element and in the force."""
    mesh, component, loads = cook(3, 0.8)
    tip = nearest_node(mesh, (48, 60))
    ones = jnp.ones(len(mesh.cells))

    def deflection(tree):
        bulk, shear, force = tree
        field = component_of(mesh, NeoHooke(bulk, shear), component.fixed, varies=1)
        return solve_component(field, loads.scaled(force)).value.displacement[tip, 1]
    check_gradient(deflection, (5 * ones, 2 * ones, jnp.asarray(1.0)), rtol=1e-7, steps=(1e-3, 1e-4), name="panel")


def test_refused_input():
    class Flow(AbstractHistoryLaw):
        def initial_state(self):
            return 0.0

        def increment(self, strain, old_state, internal, dt_s):
            return 0.0

        def next_state(self, internal, old_state):
            return 0.0
    mesh = rectangle((1.0, 1.0), (2, 2), Quad4())
    fixed = fixed_at(mesh, {"left": (0, 1)})
    with pytest.raises(TypeError, match="elastic law"):
        component_of(mesh, Flow(), fixed)
    with pytest.raises(ValueError, match=r"leaf \.stiffness of the law has shape \(6, 6\)"):
        component_of(mesh, Hooke(jnp.eye(6)), fixed, varies=1)
    with pytest.raises(ValueError, match="neither the elements nor the Gauss points"):
        component_of(mesh, Hooke(jnp.eye(6)), fixed, temperature_K=jnp.ones(3))
    with pytest.raises(ValueError, match=r"fixed must be \(9, 2\)"):
        component_of(mesh, Hooke(jnp.eye(6)), fixed[:3])
    single = component_of(dataclasses.replace(mesh, nodes=mesh.nodes.astype(jnp.float32)), Hooke(jnp.eye(6)), fixed)
    with pytest.raises(TypeError, match="float64"):
        solve_component(single, loads_of(single))
    with pytest.raises(TypeError, match="outside of jit"):
        eqx.filter_jit(lambda m: component_of(m, Hooke(jnp.eye(6)), fixed).start())(mesh)
