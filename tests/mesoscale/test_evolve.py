"""Steppers and runs: dispersion, amplification, orders, gradients, rejected steps, restarts."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import check_gradient, check_transforms

from hea_jax.core.results import RESULTS, NumericalFailure, failure_message
from hea_jax.core.units import BOLTZMANN_EV_PER_K, EV_PER_A3_TO_GPA
from hea_jax.mesoscale.benchmarks import bm1, bm1_initial, bm1a_reference
from hea_jax.mesoscale.bulk import Binary, Polynomial, RegularSolution
from hea_jax.mesoscale.driver import AdaptiveStep, FixedStep, run_evolution
from hea_jax.mesoscale.energy import FreeEnergy
from hea_jax.mesoscale.equations import AbstractEquation, CahnHilliard, multicomponent
from hea_jax.mesoscale.evolve import check_resolution, evolve, with_precision
from hea_jax.mesoscale.grid import grid_of
from hea_jax.mesoscale.mobility import Darken, Frozen
from hea_jax.mesoscale.steppers import DELTA, ETDRK4, GAMMA, IMEXRK2, SemiImplicit
from hea_jax.mesoscale.symbols import Coupled

STEPPERS = {"semi-implicit": SemiImplicit(), "IMEXRK2": IMEXRK2(), "ETDRK4": ETDRK4()}


def noisy(grid, amplitude, seed=0):
    """A random field around 1/2."""
    return 0.5 + amplitude * jax.random.uniform(jax.random.key(seed), grid.sizes, minval=-1)


def test_dispersion_of_cahn_hilliard():
    grid = grid_of((64,))
    start = 0.5 + 1e-6 * (noisy(grid, 1.0) - 0.5)
    end = evolve(bm1(grid), ETDRK4(), start, dt_s=0.02, steps=50).value
    modes = slice(1, 9)
    growth = np.log(np.abs(grid.transform(end)[modes] / grid.transform(start)[modes]))
    k = 2 * np.pi * np.arange(1, 9) / 64
    np.testing.assert_allclose(growth, -5 * k**2 * (-0.8 + 2 * k**2), atol=2e-6)
    assert np.all((growth > 0) == (k < 0.63246))


def phi(order, z):
    """φ_order(z) by its series."""
    return sum(z**n / math.factorial(n + order) for n in range(80))


def amplification(name, whole, stiff, dt):
    """What each scheme multiplies a mode with: rate ``whole``, implicit part ``stiff``."""
    z, n = stiff * dt, (whole - stiff) * dt
    if name == "semi-implicit":
        return 1 + dt * whole / (1 - z)
    if name == "IMEXRK2":
        middle = (1 + GAMMA * n) / (1 - GAMMA * z)
        return (1 + DELTA * n + (1 - DELTA) * n * middle + (1 - GAMMA) * z * middle) / (1 - GAMMA * z)
    half, q = np.exp(z / 2), phi(1, z / 2) / 2
    a = half + q * n
    b = half + q * n * a
    c = half * a + q * n * (2 * b - 1)
    p1, p2, p3 = (phi(i, z) for i in (1, 2, 3))
    return np.exp(z) + n * ((p1 - 3 * p2 + 4 * p3) + 2 * (p2 - 2 * p3) * (a + b) + (4 * p3 - p2) * c)


@pytest.mark.parametrize("name", STEPPERS)
def test_amplification_factor(name):
    grid, dt, M, kappa, curvature = grid_of((32,)), 0.3, 1.5, 0.8, -0.7
    F = FreeEnergy(grid, Polynomial(jnp.array([0.1, 0.0, curvature / 2])), jnp.asarray(kappa))
    equation, start = CahnHilliard(F, jnp.asarray(M)), noisy(grid, 0.3)
    end = evolve(equation, STEPPERS[name], start, dt_s=dt, steps=1).value
    factor = grid.transform(end)[:8] / grid.transform(start)[:8]
    for m in range(8):
        k2 = (2 * np.pi * m / 32) ** 2
        whole, stiff = -M * k2 * (curvature + kappa * k2), -M * k2 * (abs(curvature) + kappa * k2)
        np.testing.assert_allclose(factor[m], amplification(name, whole, stiff, dt), atol=1e-12)


@pytest.mark.parametrize(("name", "order"), [("semi-implicit", 1), ("IMEXRK2", 2), ("ETDRK4", 4)])
def test_order_of_accuracy(name, order):
    # A coarse grid: ETDRK4 shows its order where |Λ| dt is moderate.
    grid = grid_of((16,), 4.0)
    x, = grid.coordinates()
    start = 0.5 + 0.1 * jnp.cos(2 * np.pi * x / 64) + 0.05 * jnp.sin(6 * np.pi * x / 64)
    ends = [evolve(bm1(grid), STEPPERS[name], start, dt_s=2.0 / n, steps=n).value for n in (40, 80, 160)]
    errors = [float(jnp.linalg.norm(a - b)) for a, b in itertools.pairwise(ends)]
    assert STEPPERS[name].order == order
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.2


def alloy(parameters, grid, *, frozen=True):
    """A ternary from (κ, Ω above the diagonal in eV, D)."""
    kappa, omega, D = parameters
    upper = jnp.zeros((3, 3)).at[jnp.triu_indices(3, 1)].set(omega)
    T, volume = jnp.asarray(1000.0), jnp.asarray(16.0)
    mobility = Darken(D, T, volume)
    mobility = Frozen(mobility, jnp.array([0.3, 0.3, 0.4])) if frozen else mobility
    return multicomponent(grid, RegularSolution(upper + upper.T, T, volume), kappa, mobility)


PARAMETERS = (jnp.array([0.5, 0.3, 0.7]), jnp.array([0.05, -0.1, 0.35]), jnp.array([1.0, 0.3, 0.1]))


def ternary_exponents(k, parameters=PARAMETERS):
    """Eigenvalues of −k² L (H + κ k²) from closed forms of H and of Darken's L."""
    kappa, (o12, o13, o23), D = (np.asarray(p) for p in parameters)
    c, kT = np.array([0.3, 0.3, 0.4]), BOLTZMANN_EV_PER_K * 1000
    H = kT * (np.diag(1 / c[:2]) + 1 / c[2]) + np.array([[-2 * o13, o12 - o13 - o23], [o12 - o13 - o23, -2 * o23]])
    H = H * EV_PER_A3_TO_GPA / 16
    M = D * c / (kT * EV_PER_A3_TO_GPA / 16)
    frame = np.eye(3) - c[:, None]
    L = (frame @ np.diag(M) @ frame.T)[:2, :2]
    return np.sort(np.linalg.eigvals(-(k**2) * L @ (H + k**2 * (np.diag(kappa[:2]) + kappa[2]))).real)


@pytest.mark.parametrize("frozen", [True, False])
def test_dispersion_of_a_ternary(frozen):
    grid, m, time = grid_of((24,)), 2, 0.5
    x, = grid.coordinates()
    k = 2 * np.pi * m / 24
    wave = 1e-7 * jnp.cos(k * x)
    equation, mean = alloy(PARAMETERS, grid, frozen=frozen), jnp.array([0.3, 0.3])[:, None]
    ends = [evolve(equation, IMEXRK2(), mean + wave * e[:, None], dt_s=time / 100, steps=100).value
            for e in jnp.eye(2)]
    propagator = np.stack([grid.transform(e)[:, m].real for e in ends], axis=1) / (1e-7 * 12)
    np.testing.assert_allclose(np.sort(np.log(np.linalg.eigvals(propagator)).real) / time, ternary_exponents(k),
                               rtol=1e-4)
    assert ternary_exponents(k)[0] < 0 < ternary_exponents(k)[1]


def test_gradients_through_200_steps():
    grid = grid_of((12,), 2.0)
    noise = jax.random.uniform(jax.random.key(3), (2, 12), minval=-0.05, maxval=0.05)

    def loss(parameters):
        end = evolve(alloy(parameters, grid), SemiImplicit(), 0.3 + noise, dt_s=0.1, steps=200).value
        return jnp.sum((end - 0.3) ** 2) * 100
    check_gradient(loss, PARAMETERS, rtol=1e-6, steps=(1e-4, 3e-5), seeds=(0, 1), name="alloy")
    check_transforms(loss, PARAMETERS, name="alloy")


def test_single_precision():
    grid = grid_of((32, 16))
    equation, start = bm1(grid), noisy(grid, 0.05)
    exact = evolve(equation, IMEXRK2(), start, dt_s=0.05, steps=100)
    single = evolve(with_precision(equation, jnp.float32), IMEXRK2(), start.astype(jnp.float32), dt_s=0.05, steps=100)
    assert single.value.dtype == jnp.float32
    assert not failure_message(single.result)
    error = np.abs(single.value - exact.value).max()
    assert 0 < error < 1e-4
    np.testing.assert_allclose(single.stats["energy"], exact.stats["energy"], rtol=1e-4)
    with pytest.raises(TypeError, match="with_precision"):
        evolve(equation, IMEXRK2(), start.astype(jnp.float32), dt_s=0.05, steps=1)


def test_a_run_loses_energy_keeps_mass_and_restarts_bitwise():
    grid, states = grid_of((32, 32)), []
    equation, start = bm1(grid), noisy(grid, 0.02)
    options = {"t_end_s": 30.0, "chunk": 10, "control": AdaptiveStep(tolerance=1e-4, largest_s=0.5)}
    whole = run_evolution(equation, IMEXRK2(), start, dt_s=0.02, on_chunk=lambda s, _: states.append(s), **options)
    history = whole.unwrap().history
    assert np.all(np.diff(history.energy) < 0)
    assert np.abs(history.conserved - history.conserved[0]).max() <= 1e-12
    assert history.t_s[-1] == 30.0
    assert history.dt_s[2:-1].max() > 4 * history.dt_s[1]
    assert len(states) == len(history.t_s) - 1 > 6
    middle = states[3]
    again = run_evolution(equation, IMEXRK2(), middle.fields, dt_s=middle.dt_s, t_start_s=middle.t_s, **options)
    np.testing.assert_array_equal(again.value.fields, whole.value.fields)
    np.testing.assert_array_equal(again.value.history.energy[1:], history.energy[5:])


def test_a_step_that_raises_the_energy_is_rejected():
    grid = grid_of((32,))
    x, = grid.coordinates()
    start = 0.5 + 0.15 * jnp.cos(2 * np.pi * x / 32)
    options = {"dt_s": 4.0, "t_end_s": 40.0, "chunk": 5}
    weak = SemiImplicit(stabilisation=0.0)
    sol = run_evolution(bm1(grid), weak, start, **options)
    assert int(sol.stats["rejected"]) > 0
    assert np.all(np.diff(sol.unwrap().history.energy) <= 0)
    refused = run_evolution(bm1(grid), weak, start, control=FixedStep(max_halvings=0), **options)
    assert bool(refused.result == RESULTS.energy_rose)
    assert refused.value.state.t_s == refused.value.history.t_s[-1] < 40
    np.testing.assert_allclose(bm1(grid).energy(refused.value.fields), refused.value.history.energy[-1], rtol=1e-12)
    assert np.all(np.diff(refused.value.history.energy) <= 0)
    stable = run_evolution(bm1(grid), SemiImplicit(), start, **options)
    assert int(stable.stats["rejected"]) == 0


def test_non_finite_fields_are_caught():
    T, grid = 1000.0, grid_of((16,))
    omega = 3 * BOLTZMANN_EV_PER_K * T
    solution = RegularSolution(jnp.array([[0, omega], [omega, 0]]), jnp.asarray(T), jnp.asarray(16.0))
    equation = CahnHilliard(FreeEnergy(grid, Binary(solution), jnp.asarray(0.1)), jnp.asarray(1.0))
    options = {"dt_s": 50.0, "t_end_s": 100.0, "chunk": 2, "control": FixedStep(max_halvings=0)}
    bad = run_evolution(equation, SemiImplicit(), noisy(grid, 0.8), **options)
    assert bool(bad.result == RESULTS.non_finite)
    assert "NaN" in failure_message(bad.result)
    with pytest.raises(NumericalFailure, match="NaN"):
        bad.unwrap()
    burst = run_evolution(equation, SemiImplicit(stabilisation=0.0), noisy(grid, 0.45), **options)
    assert bool(burst.result == RESULTS.non_finite)
    assert len(burst.value.history.t_s) == 1


class Leaky(AbstractEquation):
    """Cahn–Hilliard that loses mass."""

    inner: CahnHilliard

    @property
    def grid(self):
        return self.inner.grid

    def energy(self, fields):
        return self.inner.energy(fields)

    def energy_noise(self, fields):
        return self.inner.energy_noise(fields) + 1e3

    def rate(self, spectrum):
        return self.inner.rate(spectrum) - 1e-3 * spectrum

    def symbol(self, fields, stabilisation):
        return self.inner.symbol(fields, stabilisation)

    def conserved(self, fields):
        return self.inner.conserved(fields)

    def interface_width_nm(self, fields):
        return self.inner.interface_width_nm(fields)


def test_lost_mass_is_an_error():
    grid = grid_of((32,))
    with pytest.raises(NumericalFailure, match="drifted"):
        run_evolution(Leaky(bm1(grid)), SemiImplicit(), noisy(grid, 0.02), dt_s=0.01, t_end_s=0.1, chunk=5)


def test_flat_interface():
    grid = grid_of((96,), 0.75)
    x, = grid.coordinates()
    away = jnp.abs(x - 36.0) - 18.0
    equation = bm1(grid)
    sol = run_evolution(equation, IMEXRK2(), 0.5 + 0.2 * jnp.tanh(away / 3.5), dt_s=0.2, t_end_s=200.0, chunk=100)
    c = sol.unwrap().fields
    np.testing.assert_allclose(equation.energy(c) / 2, 0.0477028, atol=1e-6)
    np.testing.assert_allclose(c, 0.5 + 0.2 * jnp.tanh(away / 5**0.5), atol=2e-4)


def test_resolution_check():
    wells = jnp.linspace(0.3, 0.7, 50)
    fine = check_resolution(bm1(grid_of((50,), 1.0)), wells)
    np.testing.assert_allclose(fine.unwrap(), 2.94444 * 5**0.5, rtol=1e-3)
    assert bool(check_resolution(bm1(grid_of((50,), 1.5)), wells).result == RESULTS.interface_unresolved)
    mixing = (PARAMETERS[0], -jnp.abs(PARAMETERS[1]), PARAMETERS[2])
    assert np.isinf(check_resolution(alloy(mixing, grid_of((50,))), jnp.full((2, 50), 0.3)).unwrap())
    with pytest.raises(TypeError, match="IMEXRK2"):
        evolve(alloy(mixing, grid_of((50,))), ETDRK4(), jnp.full((2, 50), 0.3), dt_s=0.1, steps=1)


def test_vmap_over_parameters():
    grid = grid_of((16,))
    x, = grid.coordinates()
    start = 0.5 + 0.05 * jnp.cos(2 * np.pi * x / 16)
    kappas = jnp.array([1.0, 2.0, 3.0])

    def run(kappa):
        equation = eqx.tree_at(lambda e: e.free_energy.kappa, bm1(grid), kappa)
        return evolve(equation, ETDRK4(), start, dt_s=0.1, steps=10)
    batch = eqx.filter_vmap(run)(kappas)
    for i, kappa in enumerate(kappas):
        np.testing.assert_allclose(batch.value[i], run(kappa).value, atol=1e-14)
    assert not failure_message(batch.result)


@pytest.mark.slow
def test_pfhub_1a():
    grid, reference = grid_of((200, 200)), bm1a_reference()
    sol = run_evolution(bm1(grid), IMEXRK2(), bm1_initial(grid), dt_s=0.05, t_end_s=20.0, chunk=20)
    history = sol.unwrap().history
    for t, total in zip(reference["time"][:7], reference["total"][:7], strict=True):
        np.testing.assert_allclose(history.energy[np.argmin(np.abs(history.t_s - t))], total, rtol=5e-3)


def test_resolvent_of_coupled_fields_is_an_inverse():
    """Also with a zero on the diagonal, where elimination needs another pivot."""
    values = np.random.default_rng(0).normal(size=(4, 4, 3, 5))
    values[0, 0] = 2.0
    found = np.moveaxis(np.asarray(Coupled(jnp.asarray(values)).resolvent(jnp.asarray(0.5)).values), (0, 1), (-2, -1))
    exact = np.linalg.inv(np.eye(4) - 0.5 * np.moveaxis(values, (0, 1), (-2, -1)))
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-10)
