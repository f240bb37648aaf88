"""Calibration on a linear-quadratic problem with a closed-form answer, and the finite-difference check itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.calibration.gauss_newton import Target, calibrate
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.core.results import failure_message

A = jnp.asarray(np.random.default_rng(0).normal(size=(30, 5)))
B = jnp.asarray(np.random.default_rng(1).normal(size=30))
G = jnp.array([1.0, -2.0, 0.5, 0.0, 3.0])


def residuals(theta):
    return A @ theta - B


@jax.jit
def linear_observable(theta):
    return jax.value_and_grad(lambda t: G @ t)(theta)


@pytest.mark.parametrize("weight", [0.5, 50.0])
def test_linear_case_is_the_weighted_least_squares_solution(weight):
    target = Target(2.0, 0.3)
    start = jnp.linalg.lstsq(A, B)[0]
    point = calibrate(residuals, linear_observable, start, target, weight=weight, rtol=1e-12).unwrap()
    rows = jnp.concatenate([A, np.sqrt(weight) / 0.3 * G[None]])
    exact = jnp.linalg.lstsq(rows, jnp.append(B, np.sqrt(weight) / 0.3 * 2.0))[0]
    np.testing.assert_allclose(point.parameters, exact, rtol=1e-6)
    np.testing.assert_allclose(point.error, G @ exact - 2.0, rtol=1e-5)


def test_nonlinear_observable_reaches_a_stationary_point():
    def value(t):
        return jnp.sum(jnp.sin(t) ** 2) + t[0] * t[1]

    def loss(t):
        return 0.5 * jnp.sum(residuals(t) ** 2) + 0.5 * 20.0 * ((value(t) - 1.5) / 0.5) ** 2

    start = jnp.linalg.lstsq(A, B)[0]
    point = calibrate(
        residuals, jax.jit(jax.value_and_grad(value)), start, Target(1.5, 0.5), weight=20.0, max_steps=60, rtol=1e-14
    ).unwrap()
    assert float(jnp.linalg.norm(jax.grad(loss)(point.parameters))) < 1e-4 * float(
        jnp.linalg.norm(jax.grad(loss)(start))
    )
    assert abs(point.error) < abs(float(value(start)) - 1.5)


def test_failures_are_said():
    bad = calibrate(residuals, lambda t: (jnp.nan, t), jnp.zeros(5), Target(1.0, 1.0), weight=1.0)
    assert "NaN" in failure_message(bad.result)
    short = calibrate(residuals, linear_observable, jnp.ones(5), Target(2.0, 1.0), weight=1.0, max_steps=1)
    assert failure_message(short.result) != ""
    with pytest.raises(ValueError, match="positive"):
        Target(1.0, 0.0)


class Pair(eqx.Module):
    a: jax.Array
    b: jax.Array
    n: int = eqx.field(static=True, default=3)


def moduli(p):
    return jnp.stack([jnp.sum(p.a**3) + jnp.sum(p.b), jnp.prod(p.b)])


def test_direction_check_passes_a_right_gradient_and_catches_a_wrong_one():
    point = Pair(jnp.array([1.0, 2.0]), jnp.array([0.5, 1.5, 2.5]))
    gradient = jax.jacrev(moduli)(point)
    rows = [
        check_direction(name, moduli, point, gradient, d) for name, d in parameter_directions(point, random=3).items()
    ]
    assert [r.name for r in rows] == ["a", "b", "random 1", "random 2", "random 3"]
    assert rows[1].worst < 1e-7
    assert all(r.worst < 1e-7 for r in rows[2:])
    # The product does not depend on block a: the check must say that this direction proves nothing.
    assert rows[0].weakest < 1e-12
    wrong = jax.tree.map(lambda g: 1.001 * g, gradient)
    assert check_direction("b", moduli, point, wrong, parameter_directions(point, random=0)["b"]).worst > 5e-4
