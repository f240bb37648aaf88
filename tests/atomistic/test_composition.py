"""Properties over composition and at the lattice constant of a temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.alloys import alloy_cells, quasi_static_stiffness, relax_cells
from hea_jax.atomistic.composition import affine_design, affine_fit, enriched_compositions, pair_interactions
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.atomistic.properties import stress
from hea_jax.core.tensors import cubic_projection
from hea_jax.core.units import EV_PER_A3_TO_GPA

EQUIMOLAR = np.full(4, 0.25)


def test_enriched_compositions_are_exact_and_span_all_changes():
    c = enriched_compositions(EQUIMOLAR, 128)
    np.testing.assert_allclose(c.sum(axis=1), 1.0)
    np.testing.assert_allclose(c * 128, np.round(c * 128), atol=1e-9)
    assert np.linalg.matrix_rank(c - EQUIMOLAR, tol=1e-9) == 3
    assert (np.argmax(c, axis=1) == np.arange(4)).all()
    binary = enriched_compositions([0.5, 0.0, 0.5, 0.0], 128)
    assert binary.shape == (2, 4)
    assert (binary[:, [1, 3]] == 0).all()
    with pytest.raises(ValueError, match="one element only"):
        enriched_compositions([1.0, 0.0], 128)
    with pytest.raises(ValueError, match="too few to give"):
        enriched_compositions([0.96875, 0.03125], 128, step=0.2)


def test_affine_fit_finds_a_plane_and_its_scatter():
    rng = np.random.default_rng(0)
    c = np.concatenate([np.tile(EQUIMOLAR, (400, 1)), np.repeat(enriched_compositions(EQUIMOLAR, 128), 400, axis=0)])
    slopes = np.array([[3.0, -1.0, -4.0, 2.0], [1.0, 1.0, -1.0, -1.0]])
    exact = np.array([100.0, 50.0]) + (c - EQUIMOLAR) @ slopes.T
    design = affine_design(c, EQUIMOLAR)
    found = affine_fit(design, jnp.asarray(exact))
    np.testing.assert_allclose(found.value, [100.0, 50.0], rtol=1e-12)
    np.testing.assert_allclose(found.slopes, slopes, atol=1e-9)
    np.testing.assert_allclose(found.slopes_stderr, 0.0, atol=1e-9)
    samples = [affine_fit(design, jnp.asarray(exact + rng.normal(size=exact.shape))) for _ in range(60)]
    spread = np.std([s.slopes for s in samples], axis=0)
    np.testing.assert_allclose(spread, samples[0].slopes_stderr, rtol=0.35)
    with pytest.raises(ValueError, match="cannot fit a plane"):
        affine_design(c[400::400], EQUIMOLAR)


def test_pair_interactions_come_back_and_carry_their_errors():
    rng = np.random.default_rng(1)
    omega = rng.normal(size=(4, 4)) * 0.1
    omega = omega + omega.T
    np.fill_diagonal(omega, 0.0)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    c = np.array([[0.5 * ((k == i) + (k == j)) for k in range(4)] for i, j in pairs] + [[0.25] * 4])
    H = 0.5 * np.einsum("ni,ij,nj->n", c, omega, c)
    found, errors = pair_interactions(c, jnp.asarray(H), jnp.full(7, 0.001))
    np.testing.assert_allclose(found, omega, atol=1e-10)
    np.testing.assert_allclose(errors[0, 1], 0.004, rtol=0.1)  # a 50:50 binary alone would give 4 times its error
    bent, larger = pair_interactions(c, jnp.asarray(H).at[-1].add(0.02), jnp.full(7, 0.001))
    assert float(larger[0, 1]) > 5 * float(errors[0, 1])
    assert not np.allclose(bent, omega, atol=1e-4)
    ternary, zero = pair_interactions(c[:3, :3], jnp.asarray(H[:3]), jnp.full(3, 0.001))
    assert ternary.shape == zero.shape == (3, 3)
    with pytest.raises(ValueError, match=r"no composition contains the pairs of elements \[\(0, 1\)\]"):
        pair_interactions(c[1:6], jnp.asarray(H[1:6]), jnp.full(5, 0.001))
    with pytest.raises(ValueError, match="do not determine"):
        pair_interactions(c[-1:], jnp.asarray(H[-1:]), jnp.full(1, 0.001))


def test_quasi_static_constants_agree_with_the_slope_of_the_pressure():
    """Under a reference pressure p the constants of thermodynamics give K = (C11 + 2 C12 + p)/3 (Wallace 1972)."""
    potential = shipped_potential()
    cells = alloy_cells(jax.random.key(0), [[0.25] * 4] * 2, potential.elements, lattice_constant_A=3.24,
                        repeats=(2, 2, 2), cutoff_A=potential.cutoff, skin_A=0.8)
    relaxed = relax_cells(potential, cells).unwrap().atoms
    stretch = 1.01
    C = quasi_static_stiffness(potential, relaxed, cells, jnp.full(2, stretch)).unwrap()

    # Bulk modulus of one cell by central differences of the trace of the stress, the atoms relaxed at every volume.
    from hea_jax.atomistic.relaxation import LINEAR, RELAX, AtomRelaxation
    from hea_jax.core.condense import condense

    @jax.jit
    def pressure(s):
        def one(atoms):
            wide = atoms.deformed(s * jnp.eye(3))
            still = jnp.zeros_like(wide.positions)
            u = condense(AtomRelaxation(potential, wide, cells.pairs), jnp.zeros(6), still, solver=RELAX,
                         linear=LINEAR).value[1]
            return -jnp.trace(stress(potential, wide.displaced(u), cells.pairs)) / 3 * EV_PER_A3_TO_GPA
        return jax.vmap(one)(relaxed)

    h = 1e-4
    K = -stretch * (pressure(stretch + h) - pressure(stretch - h)) / (2 * h) / 3
    hydrostatic = jnp.einsum("cij->c", C[:, :3, :3]) / 9
    np.testing.assert_allclose(hydrostatic + pressure(stretch) / 3, K, rtol=1e-6)
    assert float(jnp.abs(pressure(stretch)).min()) > 5.0
    rest = quasi_static_stiffness(potential, relaxed, cells, jnp.ones(2)).unwrap()
    assert (cubic_projection(rest) - cubic_projection(C))[:, 0].min() > 10.0
