"""Relaxation and relaxed elastic constants, against finite differences and exact symmetries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from alloy_fixtures import cells, sensible_potential

from hea_jax.atomistic.alloys import (
    cell_stiffness,
    cubic_constants,
    fractions_of,
    mixing_enthalpy,
    relax_cells,
    standard_error,
)
from hea_jax.atomistic.elasticity import born_constants, elastic_constants, non_affine_displacements
from hea_jax.atomistic.properties import energy, forces, stress
from hea_jax.atomistic.relaxation import AtomRelaxation, relax
from hea_jax.core.condense import condense
from hea_jax.core.krylov import CG
from hea_jax.core.minimise import Newton
from hea_jax.core.results import failure_message
from hea_jax.core.tensors import cubic_projection, to_mandel
from hea_jax.core.units import EV_PER_A3_TO_GPA


@pytest.fixture(scope="module")
def relaxed():
    potential, batch = sensible_potential(), cells(2)
    sol = relax_cells(potential, batch)
    assert failure_message(sol.result) == ""
    return potential, batch, sol.value


def lane(tree, i):
    return jax.tree.map(lambda a: a[i] if eqx.is_array(a) else a, tree)


def test_relaxed_cells_have_no_force_and_no_stress(relaxed):
    potential, batch, value = relaxed
    for i in range(2):
        atoms = lane(value.atoms, i)
        assert float(jnp.abs(forces(potential, atoms, batch.pairs)).max()) < 1e-8
        assert float(jnp.abs(stress(potential, atoms, batch.pairs)).max()) * EV_PER_A3_TO_GPA < 1e-8
        np.testing.assert_allclose(
            energy(potential, atoms, batch.pairs) / atoms.number, value.energies_eV[i], rtol=1e-12
        )
    np.testing.assert_allclose(jnp.linalg.det(value.atoms.cell) / 27, value.lattice_constants_A**3, rtol=1e-12)


def test_relaxation_under_stress_reaches_that_stress():
    potential, batch = sensible_potential(), cells(1)
    wanted = jnp.array([0.01, -0.004, 0.006, 0.003, 0.0, -0.002])
    sol = relax(potential, lane(batch.atoms, 0), batch.pairs, stress_eV_per_A3=wanted)
    _, atoms = sol.unwrap()
    # The applied stress is work-conjugate to the symmetric stretch F of the start: P = σ₀ there, σ = P Fᵀ/J here.
    F = (jnp.linalg.inv(lane(batch.atoms, 0).cell) @ atoms.cell).T
    sigma = stress(potential, atoms, batch.pairs)
    nominal = jnp.linalg.det(F) * sigma @ jnp.linalg.inv(F).T
    np.testing.assert_allclose(to_mandel(0.5 * (nominal + nominal.T)), wanted, atol=1e-9)


def test_relaxed_constants_against_relaxed_finite_differences(relaxed):
    """Second differences of the relaxed energy, each strained state relaxed anew: within 0.01 GPa."""
    potential, batch, value = relaxed
    atoms = lane(value.atoms, 0)
    C = elastic_constants(potential, atoms, batch.pairs).unwrap()
    problem = AtomRelaxation(potential, atoms, batch.pairs)

    @jax.jit
    def relaxed_stress(x):
        sol = condense(problem, x, jnp.zeros_like(atoms.positions), solver=Newton(rtol=0.0, atol=1e-11))
        return jax.grad(lambda x_: problem.energy(x_, sol.value[1]))(x) / atoms.volume

    h = 2e-4
    columns = [(relaxed_stress(h * e) - relaxed_stress(-h * e)) / (2 * h) for e in jnp.eye(6)]
    assert float(jnp.abs(jnp.stack(columns) * EV_PER_A3_TO_GPA - C).max()) < 0.01
    np.testing.assert_allclose(C, C.T, atol=1e-9)


def test_relaxation_softens_every_mode(relaxed):
    potential, batch, value = relaxed
    atoms = lane(value.atoms, 0)
    softening = (
        born_constants(potential, atoms, batch.pairs) - elastic_constants(potential, atoms, batch.pairs).unwrap()
    )
    eigenvalues = np.linalg.eigvalsh(softening)
    assert eigenvalues.min() > -1e-9
    assert eigenvalues.max() > 0.1


def test_pure_crystal_has_no_non_affine_part_and_cubic_symmetry():
    potential, batch = sensible_potential(), cells(1, composition=[0.0, 1.0, 0.0, 0.0])
    value = relax_cells(potential, batch).unwrap()
    atoms = lane(value.atoms, 0)
    C = elastic_constants(potential, atoms, batch.pairs).unwrap()
    np.testing.assert_allclose(C, born_constants(potential, atoms, batch.pairs), atol=1e-6)
    c11, c12, c44 = cubic_projection(C)
    np.testing.assert_allclose(C[0, 0], c11, rtol=1e-10)
    np.testing.assert_allclose([C[0, 1], C[3, 3]], [c12, 2 * c44], rtol=1e-10)


def test_non_affine_displacements_restore_equilibrium(relaxed):
    """Forces of a strained cell vanish to first order only with the non-affine shifts."""
    potential, batch, value = relaxed
    atoms = lane(value.atoms, 0)
    shifts = non_affine_displacements(potential, atoms, batch.pairs)
    problem, h = AtomRelaxation(potential, atoms, batch.pairs), 1e-4
    x = jnp.zeros(6).at[3].set(h)
    still = jax.grad(problem.energy, argnums=1)(x, jnp.zeros_like(atoms.positions))
    moved = jax.grad(problem.energy, argnums=1)(x, h * shifts[3])
    assert float(jnp.linalg.norm(moved)) < 0.01 * float(jnp.linalg.norm(still))


@pytest.mark.slow
def test_gradient_of_the_constants_in_the_parameters():
    """d(C11, C12, C44)/dθ with everything re-relaxed, against central differences."""
    potential, batch = sensible_potential(), cells(2)
    run = eqx.filter_jit(lambda p: jnp.dot(cubic_constants(p, batch), jnp.array([1.0, -0.5, 2.0])))
    gradient = eqx.filter_jit(
        eqx.filter_grad(lambda p: jnp.dot(cubic_constants(p, batch), jnp.array([1.0, -0.5, 2.0])))
    )(potential)
    rng = np.random.default_rng(0)
    for field in ("pair", "density", "embedding_root"):
        block = getattr(potential, field)
        direction = jnp.asarray(rng.normal(size=block.shape)) * jnp.sqrt(jnp.mean(block**2)) / block.size**0.5
        h = 3e-6
        ends = [
            run(eqx.tree_at(lambda p, f=field: getattr(p, f), potential, block + s * h * direction)) for s in (1, -1)
        ]
        slope = float(jnp.sum(getattr(gradient, field) * direction))
        assert abs(slope) > 1e-3
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * h), slope, rtol=1e-6, err_msg=field)


def test_a_failing_cell_is_reported_and_makes_the_mean_nan():
    potential, batch = sensible_potential(), cells(2)
    starved = CG(rtol=1e-10, max_steps=2, probe=0)
    sol = relax_cells(potential, batch)
    assert "tangent" in failure_message(cell_stiffness(potential, sol.value.atoms, batch, linear=starved).result)
    assert not np.isfinite(cubic_constants(potential, batch, solver=Newton(rtol=0.0, atol=1e-9, max_steps=1))).any()


def test_motion_beyond_the_skin_is_reported():
    potential, batch = sensible_potential(), cells(1, lattice=3.0)
    assert "skin" in failure_message(relax_cells(potential, batch).result)


def test_unrelaxed_atoms_are_refused():
    potential, batch = sensible_potential(), cells(1)
    sol = elastic_constants(potential, lane(batch.atoms, 0), batch.pairs)
    assert "ran out of steps" in failure_message(sol.result)


def test_float32_is_refused(relaxed):
    potential, batch, value = relaxed
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, lane(value.atoms, 0))
    with pytest.raises(TypeError, match="float64"):
        elastic_constants(potential, single, batch.pairs)


def test_standard_error_and_mixing_enthalpy():
    samples = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
    np.testing.assert_allclose(standard_error(samples), np.std(samples, axis=0, ddof=1) / 2, rtol=1e-12)
    assert np.isnan(standard_error(samples[:1])).all()
    batch = cells(2, repeats=(2, 2, 2))
    np.testing.assert_allclose(fractions_of(batch.atoms), 0.25)
    np.testing.assert_allclose(
        mixing_enthalpy(jnp.array([-5.0]), jnp.array([[0.5, 0.5]]), jnp.array([-4.0, -5.0])), [-0.5]
    )
