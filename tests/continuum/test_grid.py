"""The fused stencil against autodiff of the energy, Gauss quadrature, and the properties that CG relies on."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.continuum.boundary import KinematicUniform, Periodic, StaticUniform
from hea_jax.continuum.grid import HEX8, HEX8R
from hea_jax.continuum.laws import Hooke, IsotropicHooke
from hea_jax.continuum.rve import RVE, linear_problem
from hea_jax.core.tensors import to_mandel

RNG = np.random.default_rng(0)
_A = RNG.normal(size=(3, 6, 6))
GENERIC = jnp.asarray(_A @ _A.transpose(0, 2, 1) + np.eye(6))
VOXEL = jnp.array([1.0, 0.7, 1.3])
BOUNDARIES = [Periodic(), KinematicUniform(), StaticUniform()]
GRIDS = [(4, 4, 4), (3, 4, 5), (2, 3, 6)]


def problem_on(grid, boundary, quadrature, *, eigenstrain=True):
    rng = np.random.default_rng(1)
    law = Hooke(GENERIC, jnp.asarray(rng.normal(size=(3, 6))) if eigenstrain else None)
    return linear_problem(RVE(rng.integers(0, 3, size=grid), VOXEL, quadrature), law, boundary)


CASES = [(g, b, q) for g, b, q in itertools.product(GRIDS, BOUNDARIES, [HEX8(), HEX8R()])
         if not (isinstance(b, StaticUniform) and isinstance(q, HEX8R))]


@eqx.filter_jit
def evaluated(problem, x, y, v, w):
    """Every hook, its autodiff counterpart, and P A P + (I − P) as matrices (compiled once per case)."""
    gradient = jax.grad(lambda y_: problem.energy(x, y_))
    operator, precondition = problem.operator(x, y), problem.preconditioner(x, y)

    def matrix(f):
        def column(e):
            pe = problem.project(e.reshape(y.shape))
            return (problem.project(f(pe)) + e.reshape(y.shape) - pe).ravel()
        return jax.vmap(column)(jnp.eye(y.size))
    pv, pw = problem.project(v), problem.project(w)
    return {
        "residual": problem.residual(x, y), "gradient": gradient(y), "operator": operator(v),
        "hessian": jax.linearize(gradient, y)[1](v), "stress": problem.stress(x, y),
        "slope": jax.grad(problem.energy)(x, y), "pv": pv, "ppv": problem.project(pv),
        "v.pw": jnp.vdot(v, pw), "pv.w": jnp.vdot(pv, w), "v.Kw": jnp.vdot(v, operator(w)),
        "w.Kv": jnp.vdot(w, operator(v)), "v.Gw": jnp.vdot(pv, precondition(pw)),
        "w.Gv": jnp.vdot(pw, precondition(pv)),
        "K": matrix(operator), "G": matrix(precondition),
    }


@pytest.mark.parametrize(("grid", "boundary", "quadrature"), CASES, ids=str)
def test_stencil_projection_and_preconditioner(grid, boundary, quadrature):
    problem = problem_on(grid, boundary, quadrature)
    rng = np.random.default_rng(2)
    x, y, v, w = (jnp.asarray(rng.normal(size=s)) for s in [(6,), *[problem.start().shape] * 3])
    f = evaluated(problem, x, y, v, w)
    for own, reference in (("residual", "gradient"), ("operator", "hessian"), ("stress", "slope"), ("ppv", "pv")):
        np.testing.assert_allclose(f[own], f[reference], atol=1e-12, err_msg=own)
    # Projection orthogonal; operator and preconditioner symmetric.
    for a, b in (("v.pw", "pv.w"), ("v.Kw", "w.Kv"), ("v.Gw", "w.Gv")):
        np.testing.assert_allclose(f[a], f[b], rtol=1e-9, atol=1e-9, err_msg=a)
    # Positive definite on the range of the projection: every null mode is projected out.
    for name in ("K", "G"):
        matrix = np.asarray(f[name])
        assert np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[0] > 1e-6, name


def test_projection_removes_only_null_modes_and_constraints():
    """A projected-out periodic displacement has no energy."""
    problem = problem_on((4, 4, 6), Periodic(), HEX8R(), eigenstrain=False)
    y = jnp.asarray(np.random.default_rng(5).normal(size=problem.start().shape))
    assert problem.energy(jnp.zeros(6), y - problem.project(y)) < 1e-25
    assert jnp.linalg.norm(y - problem.project(y)) > 0.1


def test_modal_form_equals_gauss_quadrature():
    """One element with generic corner displacements against 2×2×2 Gauss points."""
    problem = problem_on((1, 1, 1), StaticUniform(), HEX8(), eigenstrain=False)
    u = np.random.default_rng(3).normal(size=(3, 2, 2, 2))
    C = np.asarray(GENERIC[np.random.default_rng(1).integers(0, 3, size=(1, 1, 1))[0, 0, 0]])
    point, h, total = 0.5 / np.sqrt(3), np.asarray(VOXEL), 0.0
    for xi in itertools.product((-point, point), repeat=3):
        shape = [np.array([0.5 - x, 0.5 + x]) for x in xi]
        slope = [np.array([-1.0, 1.0]) / h[d] for d in range(3)]
        columns = []
        for d in range(3):
            f = [slope[a] if a == d else shape[a] for a in range(3)]
            columns.append(np.einsum("cijk,i,j,k->c", u, *f))
        strain = np.asarray(to_mandel(jnp.asarray(np.stack(columns, axis=1))))
        total += 0.5 * strain @ C @ strain / 8
    np.testing.assert_allclose(problem.energy(jnp.zeros(6), jnp.asarray(u)), total, rtol=1e-13)


def test_isotropic_kernel_equals_the_general_one():
    K, G = jnp.array([1.0, 8.0]), jnp.array([0.5, 3.0])
    iso = IsotropicHooke(K, G, jnp.array([0.0, 0.01]))
    general = Hooke(iso.stiffness_matrix(), iso.free_strain(None))
    rve = RVE(np.random.default_rng(4).integers(0, 2, size=(3, 4, 2)), VOXEL)
    a, b = (linear_problem(rve, law, Periodic()) for law in (iso, general))
    rng = np.random.default_rng(6)
    x, y = jnp.asarray(rng.normal(size=6)), jnp.asarray(rng.normal(size=a.start().shape))
    np.testing.assert_allclose(a.energy(x, y), b.energy(x, y), rtol=1e-13)
    np.testing.assert_allclose(a.residual(x, y), b.residual(x, y), atol=1e-13)
    np.testing.assert_allclose(a.operator(x, y)(y), b.operator(x, y)(y), atol=1e-13)


def test_bad_input_is_refused():
    good = RVE(np.zeros((2, 2, 2), int), VOXEL)
    law = IsotropicHooke(jnp.ones(1), jnp.ones(1))
    with pytest.raises(ValueError, match="two voxels"):
        linear_problem(RVE(np.zeros((1, 2, 2), int), VOXEL), law, KinematicUniform())
    with pytest.raises(ValueError, match="alternating rotations"):
        linear_problem(RVE(good.phases, VOXEL, HEX8R()), law, StaticUniform())
    with pytest.raises(ValueError, match="phase axis"):
        linear_problem(good, IsotropicHooke(jnp.ones(()), jnp.ones(())), Periodic())
    with pytest.raises(ValueError, match="integers"):
        RVE(np.zeros((2, 2, 2)), VOXEL)
    with pytest.raises(ValueError, match="three edge lengths"):
        RVE(np.zeros((2, 2, 2), int), jnp.ones(2))
