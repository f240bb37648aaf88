"""Linear solvers against dense answers, and their verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.core.krylov import CG, GMRES, MINRES, Dense, tree_dot


def matrix(n, kind, seed=0):
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = np.linspace(1.0, 50.0, n)
    if kind == "indefinite":
        values[::3] *= -1
    out = q @ np.diag(values) @ q.T
    return jnp.asarray(out + (0.3 * rng.normal(size=(n, n)) if kind == "general" else 0.0))


CASES = [
    (CG(rtol=1e-12), "definite"),
    (MINRES(rtol=1e-12), "indefinite"),
    (MINRES(rtol=1e-12), "definite"),
    (GMRES(rtol=1e-12), "general"),
    (Dense(), "general"),
]


@pytest.mark.parametrize(("solver", "kind"), CASES, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_solves_pytrees_with_a_preconditioner(solver, kind):
    a = matrix(12, kind)
    inverse_diagonal = 1.0 / (1.0 + jnp.arange(12.0)) if kind == "definite" else jnp.ones(12)
    b = {"p": jnp.arange(1.0, 5.0), "q": jnp.ones((2, 4))}
    flat = jnp.concatenate([b["p"], b["q"].ravel()])

    def split(v):
        return {"p": v[:4], "q": v[4:].reshape(2, 4)}

    def join(t):
        return jnp.concatenate([t["p"], t["q"].ravel()])

    found = jax.jit(
        lambda: solver.solve(lambda v: split(a @ join(v)), b, lambda r: split(inverse_diagonal * join(r)))
    )()
    assert bool(found.converged)
    np.testing.assert_allclose(join(found.value), np.linalg.solve(a, flat), rtol=1e-9, atol=1e-10)


def test_cg_counts_the_iterations_of_the_textbook():
    """n distinct eigenvalues need n iterations, and a perfect preconditioner one."""
    a = jnp.diag(jnp.array([1.0, 1.0, 4.0, 4.0, 9.0]))
    b = jnp.array([1.0, 2.0, -1.0, 0.5, 3.0])
    assert int(CG(rtol=1e-12).solve(lambda v: a @ v, b, lambda r: r).iterations) == 3
    assert int(CG(rtol=1e-12).solve(lambda v: a @ v, b, lambda r: r / jnp.diag(a)).iterations) == 1


@pytest.mark.parametrize("solver", [CG(), MINRES(), GMRES(), Dense()], ids=lambda s: type(s).__name__)
def test_zero_right_hand_side_costs_nothing_and_is_zero(solver):
    found = solver.solve(lambda v: 2 * v, jnp.zeros(5), lambda r: r)
    np.testing.assert_array_equal(found.value, np.zeros(5))
    assert bool(found.converged)
    assert int(found.iterations) <= 1


@pytest.mark.parametrize(
    "solver", [CG(max_steps=3), MINRES(max_steps=3), GMRES(max_steps=1, restart=2)], ids=lambda s: type(s).__name__
)
def test_running_out_of_iterations_is_said(solver):
    a = matrix(30, "definite")
    found = solver.solve(lambda v: a @ v, jnp.ones(30), lambda r: r)
    assert not bool(found.converged)
    assert float(found.residual) > 1e-6


def test_cg_and_dense_report_negative_curvature():
    a = jnp.diag(jnp.array([1.0, -2.0, 3.0]))
    for solver in (CG(), Dense(definite=True)):
        found = solver.solve(lambda v: a @ v, jnp.ones(3), lambda r: r)
        assert bool(found.negative_curvature)
        assert not bool(found.converged)
    assert bool(Dense().solve(lambda v: a @ v, jnp.ones(3), lambda r: r).converged)


def test_nan_is_never_converged():
    for solver in (CG(), MINRES(), GMRES(), Dense()):
        found = solver.solve(lambda v: v * jnp.nan, jnp.ones(3), lambda r: r)
        assert not bool(found.converged)


def test_singular_dense_system_is_not_converged():
    found = Dense().solve(lambda v: jnp.array([[1.0, 1.0], [1.0, 1.0]]) @ v, jnp.array([1.0, 2.0]), lambda r: r)
    assert not bool(found.converged)


def test_batch_lanes_are_independent():
    a = jnp.stack([jnp.eye(4), matrix(4, "definite", 1), matrix(4, "definite", 2)])
    b = jnp.stack([jnp.ones(4), jnp.zeros(4), jnp.arange(4.0)])
    found = jax.vmap(lambda m, v: CG(rtol=1e-12).solve(lambda u: m @ u, v, lambda r: r))(a, b)
    np.testing.assert_allclose(found.value, np.linalg.solve(a, b[..., None])[..., 0], atol=1e-9)
    assert found.iterations.tolist()[:2] == [1, 0]


def test_tree_dot():
    assert float(tree_dot({"a": jnp.ones(3), "b": 2 * jnp.ones(2)}, {"a": jnp.ones(3), "b": jnp.ones(2)})) == 7.0
