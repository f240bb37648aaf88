"""``condense``: every derivative rule, against problems whose answer is known by another route."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_gradient

from hea_jax.core import (
    CG,
    GMRES,
    MINRES,
    RESULTS,
    AbstractProblem,
    AbstractResidualProblem,
    Dense,
    Newton,
    NumericalFailure,
    Quadratic,
    condense,
    failure_message,
    tangent,
)

TIGHT = Newton(rtol=1e-13, atol=1e-14)
X = jnp.array([0.3, 0.5])
K = jnp.array([1.0, 2.0, 3.0])


class Quartic(AbstractProblem):
    """A smooth convex problem in y with every kind of coupling to x and to a parameter k."""

    k: jax.Array

    def energy(self, x, y):
        coupling = jnp.sin(jnp.sum(x)) * jnp.arange(1.0, 4.0)
        return (0.5 * jnp.sum(self.k * (y - coupling) ** 2) + 0.1 * jnp.sum(y**4) + jnp.sum(x**2) * y[0] * y[1]
                + 0.3 * jnp.sum((x @ x) * x))


def by_unrolled_newton(problem, x, y0, steps=12):
    """y* with plain Newton through which autodiff differentiates step by step: an independent route."""
    def step(y, _):
        hessian = jax.hessian(lambda y_: problem.energy(x, y_))(y)
        return y - jnp.linalg.solve(hessian, jax.grad(lambda y_: problem.energy(x, y_))(y)), None
    return jax.lax.scan(step, y0, None, length=steps)[0]


def unrolled_energy(k, x):
    problem = Quartic(k)
    return problem.energy(x, by_unrolled_newton(problem, x, jnp.zeros(3)))


def condensed_energy(k, x, linear=CG(rtol=1e-13)):  # noqa: B008
    return condense(Quartic(k), x, jnp.zeros(3), solver=TIGHT, linear=linear).value[0]


SOLVERS = [CG(rtol=1e-13), MINRES(rtol=1e-13), GMRES(rtol=1e-13), Dense(), Dense(definite=True)]


@pytest.mark.parametrize("linear", SOLVERS, ids=lambda s: type(s).__name__ + str(s.definite))
def test_first_and_second_derivative_in_x(linear):
    for derivative in (jax.grad, jax.hessian, lambda f: jax.jacrev(jax.jacfwd(f)), lambda f: jax.jacrev(jax.grad(f))):
        ours = jax.jit(derivative(lambda x: condensed_energy(K, x, linear)))(X)
        theirs = jax.jit(derivative(lambda x: unrolled_energy(K, x)))(X)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("linear", SOLVERS, ids=lambda s: type(s).__name__ + str(s.definite))
def test_derivative_of_the_tangent_in_theta(linear):
    def stiffness(energy):
        return lambda k: jnp.sum(jnp.array([[1.0, 2.0], [2.0, -3.0]]) * jax.hessian(lambda x: energy(k, x))(X))
    ours = jax.jit(jax.grad(stiffness(lambda k, x: condensed_energy(k, x, linear))))(K)
    np.testing.assert_allclose(ours, jax.jit(jax.grad(stiffness(unrolled_energy)))(K), rtol=1e-8, atol=1e-10)


def test_gradient_of_theta_and_mixed_by_finite_differences():
    check_gradient(lambda k: condensed_energy(k, X), K, rtol=1e-8, name="dW/dθ")
    check_gradient(lambda k: jnp.sum(jax.grad(condensed_energy, argnums=1)(k, X) * X), K, rtol=1e-7, name="dσ/dθ")


def test_tangent_verb_agrees_and_reports():
    sol = tangent(Quartic(K), X, jnp.zeros(3), solver=TIGHT, linear=CG(rtol=1e-13))
    energy, stress, stiffness, y = sol.unwrap()
    np.testing.assert_allclose(energy, unrolled_energy(K, X), rtol=1e-12)
    np.testing.assert_allclose(stress, jax.grad(unrolled_energy, argnums=1)(K, X), rtol=1e-10)
    np.testing.assert_allclose(stiffness, jax.hessian(unrolled_energy, argnums=1)(K, X), rtol=1e-9)
    np.testing.assert_allclose(y, by_unrolled_newton(Quartic(K), X, jnp.zeros(3)), rtol=1e-10)


def test_stop_gradient_on_y_is_the_trap_it_is_said_to_be():
    """σ̄ stays right and C̄ goes wrong: what the rules guard against is real on this problem."""
    def frozen(x):
        y = jax.lax.stop_gradient(condense(Quartic(K), x, jnp.zeros(3), solver=TIGHT).value[1])
        return Quartic(K).energy(x, y)
    np.testing.assert_allclose(jax.grad(frozen)(X), jax.grad(unrolled_energy, argnums=1)(K, X), rtol=1e-8)
    assert np.abs(jax.hessian(frozen)(X) - jax.hessian(unrolled_energy, argnums=1)(K, X)).max() > 1e-2


def test_y0_carries_no_derivative():
    gradient = jax.grad(lambda y0: jnp.sum(condense(Quartic(K), X, y0).value[1]))(jnp.full(3, 0.1))
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_gradient_through_two_steps_of_history():
    class Step(AbstractProblem):
        k: jax.Array
        old: jax.Array

        def energy(self, x, y):
            return Quartic(self.k).energy(x, y) + 0.7 * jnp.sum((y - self.old) ** 2 * (1 + 0.2 * y**2))

    def two_steps(k, solve):
        first = solve(Step(k, jnp.zeros(3)), X)
        return jnp.sum(solve(Step(k, first), 1.4 * X) * jnp.array([1.0, -2.0, 0.5]))

    def ours(k):
        return two_steps(k, lambda p, x: condense(p, x, jnp.zeros(3), solver=TIGHT).value[1])

    def theirs(k):
        return two_steps(k, lambda p, x: by_unrolled_newton(p, x, jnp.zeros(3)))

    reference = jax.jit(jax.grad(theirs))(K)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(K), reference, rtol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(ours))(K), reference, rtol=1e-8)
    check_gradient(ours, K, rtol=1e-7, name="history")


class Chain(AbstractProblem):
    """Springs between the atoms of a ring: y → y + constant costs nothing, ``project`` removes it."""

    k: jax.Array

    def energy(self, x, y):
        stretch = jnp.roll(y, -1) - y + x[0] * jnp.cos(jnp.arange(y.size)) + x[1]
        return jnp.sum(self.k * (0.5 * stretch**2 + 0.05 * stretch**4))

    def project(self, y):
        return y - jnp.mean(y)


@pytest.mark.parametrize("linear", [CG(rtol=1e-13), MINRES(rtol=1e-13), Dense()], ids=lambda s: type(s).__name__)
def test_unprojected_cotangent(linear):
    """A cotangent with a component along the null space (a translation) must not blow up."""
    k = 1.0 + 0.1 * jnp.arange(7.0)

    def outcome(k_):
        y = condense(Chain(k_), X, jnp.zeros(7), solver=TIGHT, linear=linear).value[1]
        return 1e3 * jnp.sum(y) + jnp.sum(y * jnp.arange(7.0))

    gradient = jax.jit(jax.grad(outcome))(k)
    assert np.abs(gradient).max() < 1e3
    check_gradient(outcome, k, rtol=1e-6, name="translation")


class Swirl(AbstractResidualProblem):
    """A residual that is no gradient: its Jacobian is not symmetric."""

    a: jax.Array

    def residual(self, x, y):
        return self.a @ y + 0.1 * jnp.sin(y) * y[::-1] - x[0] * jnp.array([1.0, 2.0, 0.5]) - x[1] ** 2

    def preconditioner(self, x, y):
        return lambda r: jnp.array([[0.5, 0.1, 0.0], [0.0, 0.4, 0.0], [0.2, 0.0, 0.3]]) @ r


@pytest.mark.parametrize("linear", [GMRES(rtol=1e-13), Dense()], ids=lambda s: type(s).__name__)
def test_non_symmetric_transpose(linear):
    a = jnp.array([[3.0, 1.0, -0.5], [-1.0, 2.5, 0.3], [0.8, -0.6, 4.0]])

    def outcome(a_):
        value, y = condense(Swirl(a_), X, jnp.zeros(3), solver=TIGHT, linear=linear).value
        assert value is None
        return jnp.sum(y * jnp.array([1.0, -1.0, 2.0]))

    check_gradient(outcome, a, rtol=1e-7, name="non-symmetric")


class Saddle(AbstractProblem):
    """Lagrange multiplier: min ½ yᵀKy − xᵀy subject to g·y = x₀, as a saddle point in (y, λ)."""

    k: jax.Array

    def energy(self, x, y):
        u, multiplier = y
        return 0.5 * jnp.sum(self.k * u**2) + 0.1 * jnp.sum(u**4) - x[1] * u[0] + multiplier * (jnp.sum(u) - x[0])


@pytest.mark.parametrize("linear", [MINRES(rtol=1e-13), Dense(symmetric=True), GMRES(rtol=1e-13)],
                         ids=lambda s: type(s).__name__)
def test_saddle_point_with_multiplier(linear):
    def value(k, x):
        return condense(Saddle(k), x, (jnp.zeros(3), jnp.array(0.0)), solver=TIGHT, linear=linear)
    sol = value(K, X)
    assert failure_message(sol.result) == ""
    u, multiplier = sol.value[1]
    np.testing.assert_allclose(jnp.sum(u), X[0], atol=1e-12)
    # ∂W̄/∂x₀ = −λ: the envelope theorem gives the multiplier its meaning.
    np.testing.assert_allclose(jax.grad(lambda x: value(K, x).value[0])(X)[0], -multiplier, rtol=1e-12)
    check_gradient(lambda k: value(k, X).value[1][1], K, rtol=1e-7, name="multiplier")


class Inner(AbstractProblem):
    """A material point with a slip-like internal variable."""

    k: jax.Array

    def energy(self, x, y):
        return 0.5 * self.k[0] * (x - y) ** 2 + 0.5 * self.k[1] * y**2 + 0.1 * y**4


class Middle(AbstractProblem):
    """Two material points in series: fine displacement between them; each condenses an ``Inner``."""

    k: jax.Array

    def energy(self, x, y):
        def point(strain):
            return condense(Inner(self.k), strain, jnp.array(0.0), solver=TIGHT, linear=Dense()).value[0]
        return point(x + y) + 2.0 * point(0.5 * x - y) + 0.05 * y**2


class Outer(AbstractProblem):
    """Two elements in series: FE² over RVE over slips."""

    k: jax.Array

    def energy(self, x, y):
        def element(strain):
            return condense(Middle(self.k), strain, jnp.array(0.0), solver=TIGHT, linear=CG(rtol=1e-13)).value[0]
        return element(x[0] + y[0]) + element(x[1] - y[0]) + 0.1 * y[0] ** 4


def test_nesting_three_levels():
    def flat(k, x):
        """The same energy minimised over all fine variables at once."""
        def total(z):
            y, m1, m2, s = z[0], z[1], z[2], z[3:]
            e1, e2 = x[0] + y, x[1] - y
            points = [(1.0, e1 + m1), (2.0, 0.5 * e1 - m1), (1.0, e2 + m2), (2.0, 0.5 * e2 - m2)]
            inner = sum(w * Inner(k).energy(e, s[i]) for i, (w, e) in enumerate(points))
            return inner + 0.05 * m1**2 + 0.05 * m2**2 + 0.1 * y**4

        def step(z, _):
            return z - jnp.linalg.solve(jax.hessian(total)(z), jax.grad(total)(z)), None
        return total(jax.lax.scan(step, jnp.zeros(7), None, length=12)[0])

    def nested(k, x):
        return condense(Outer(k), x, jnp.zeros(1), solver=TIGHT, linear=CG(rtol=1e-13)).value[0]

    k = jnp.array([2.0, 1.5])
    np.testing.assert_allclose(jax.jit(nested)(k, X), jax.jit(flat)(k, X), rtol=1e-11)
    np.testing.assert_allclose(jax.jit(jax.grad(nested, 1))(k, X), jax.jit(jax.grad(flat, 1))(k, X), rtol=1e-8)
    np.testing.assert_allclose(jax.jit(jax.hessian(nested, 1))(k, X), jax.jit(jax.hessian(flat, 1))(k, X), rtol=1e-7)
    mixed = jax.jit(jax.jacrev(jax.grad(nested, 1), 0))(k, X)
    np.testing.assert_allclose(mixed, jax.jit(jax.jacfwd(jax.grad(flat, 1), 0))(k, X), rtol=1e-7)


def test_batch_with_one_failing_lane():
    """One lane cannot converge; the others are exact, the failing one is NaN with its reason."""
    ks = jnp.stack([K, jnp.array([1.0, 1e9, 1e-3]), 2 * K])
    starved = CG(rtol=1e-13, max_steps=1, probe=0)
    good = jnp.array([1.0, 1.0, 1.0])
    batch = jnp.stack([good, ks[1], 2 * good])

    class Plain(AbstractProblem):
        k: jax.Array

        def energy(self, x, y):
            return 0.5 * jnp.sum(self.k * y**2) - jnp.sum(y) * jnp.sum(x)

    def run(k):
        return tangent(Plain(k), X, jnp.zeros(3), solver=Quadratic(), linear=starved)

    sol = jax.jit(jax.vmap(run))(batch)
    hessian = sol.value[2]
    assert np.all(np.isnan(hessian[1]))
    for lane, k in ((0, good), (2, 2 * good)):
        np.testing.assert_allclose(hessian[lane], -jnp.sum(1 / k) * np.ones((2, 2)), rtol=1e-12)
    ok = np.asarray(sol.result == RESULTS.successful)
    np.testing.assert_array_equal(ok, [True, False, True])
    with pytest.raises(NumericalFailure, match="1 of 3 lanes"):
        sol.unwrap()


def test_starved_tangent_alone_is_nan_and_says_so():
    """The state converges, the tangent solve does not: C̄ is NaN, never half-converged."""
    class Stiff(AbstractProblem):
        k: jax.Array

        def energy(self, x, y):
            return 0.5 * jnp.sum(self.k * (y - jnp.sin(x[0] * jnp.arange(y.size))) ** 2)

    k = jnp.logspace(0, 4, 30)
    sol = tangent(Stiff(k), jnp.zeros(1), jnp.zeros(30), linear=CG(rtol=1e-12, max_steps=3, probe=0))
    assert np.all(np.isnan(sol.value[2]))
    assert "tangent" in failure_message(sol.result)


@pytest.mark.parametrize("linear", [CG(), Dense(definite=True)], ids=lambda s: type(s).__name__)
def test_negative_curvature_is_detected_even_at_a_stationary_start(linear):
    class DoubleWell(AbstractProblem):
        depth: jax.Array

        def energy(self, x, y):
            return jnp.sum((y**2 - self.depth) ** 2) + x[0] * y[0]

    at_saddle = condense(DoubleWell(jnp.array(1.0)), jnp.zeros(2), jnp.zeros(3), linear=linear)
    assert "Negative curvature" in failure_message(at_saddle.result)
    at_minimum = condense(DoubleWell(jnp.array(1.0)), jnp.zeros(2), jnp.full(3, 0.9), linear=linear)
    assert failure_message(at_minimum.result) == ""


def test_failures_have_their_own_names():
    nan = condense(Quartic(K * jnp.nan), X, jnp.zeros(3))
    assert "NaN" in failure_message(nan.result)
    short = condense(Quartic(K), X, jnp.full(3, 30.0), solver=Newton(max_steps=1))
    assert "ran out of steps" in failure_message(short.result)

    class Rootless(AbstractResidualProblem):
        def residual(self, x, y):
            return y**2 + 1.0

    none = condense(Rootless(), X, jnp.array([0.7]), linear=Dense())
    assert failure_message(none.result) != ""


def test_vmap_equals_loop_and_jit_equals_eager():
    xs = jnp.linspace(-1, 1, 10).reshape(5, 2)
    batched = jax.jit(jax.vmap(lambda x: condense(Quartic(K), x, jnp.zeros(3), solver=TIGHT).value))(xs)
    for i, x in enumerate(xs):
        value, y = condense(Quartic(K), x, jnp.zeros(3), solver=TIGHT).value
        np.testing.assert_allclose(batched[0][i], value, rtol=1e-13)
        np.testing.assert_allclose(batched[1][i], y, rtol=1e-9, atol=1e-12)


def test_pytrees_with_integer_leaves_and_operator_hook():
    """Integer leaves pass every rule; a fused ``operator`` and a preconditioner reach tangent and adjoint."""
    class Gathered(AbstractProblem):
        k: jax.Array
        phase: jax.Array

        def energy(self, x, y):
            return 0.5 * jnp.sum(self.k[self.phase] * (y["u"] - x[0] * jnp.arange(4.0)) ** 2)

        def operator(self, x, y):
            return lambda v: {"u": self.k[self.phase] * v["u"]}

        def preconditioner(self, x, y):
            return lambda r: {"u": r["u"] / self.k[self.phase]}

    phase = jnp.array([0, 1, 1, 0])

    def outcome(k):
        sol = condense(Gathered(k, phase), X, {"u": jnp.zeros(4)}, solver=TIGHT)
        return jnp.sum(sol.value[1]["u"] ** 2) + sol.value[0]

    gradient = jax.grad(outcome)(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)
    sol = condense(Gathered(jnp.array([1.0, 3.0]), phase), X, {"u": jnp.zeros(4)}, solver=Quadratic())
    assert int(sol.stats["linear_iterations"]) == 1
    assert eqx.is_array(sol.stats["residual"])
