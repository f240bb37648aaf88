"""Parameter uncertainty: nominal coverage where the model is right, honest coverage where it is wrong."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.fitting import FitWeights, Ridge, flatten, initial_parameters, make_prior, pack
from hea_jax.atomistic.fitting.reduced import ScaledObjective
from hea_jax.atomistic.fitting.uncertainty import (
    HIGHEST_TEMPERATURE,
    calibrated,
    ensemble,
    gauss_newton,
    laplace,
    member,
    row_labels,
)
from hea_jax.electronic import shipped_dataset
from hea_jax.records import AbstractPotential

DEGREE, NOISE = 4, 0.1


def design(x):
    return np.stack([np.polynomial.legendre.legval(x, np.eye(DEGREE)[k]) for k in range(DEGREE)], axis=1)


def fitted(x, y, sigma, prior=10.0):
    """Ridge fit in units of sigma: posterior, rows, residuals."""
    J = design(x) / sigma
    P = np.full(DEGREE, prior**-2.0)
    mean = np.linalg.solve(J.T @ J + np.diag(P), J.T @ (y / sigma))
    return laplace(mean, J.T @ J, P), J, J @ mean - y / sigma


def test_well_specified_fit_covers_its_true_parameters_at_the_nominal_rate():
    """With the noise declared, T stays 1 and intervals of 68% hold the truth in 68% of 400 repetitions."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=DEGREE)
    inside, temperatures = [], []
    for _ in range(100):
        x = rng.uniform(-1, 1, 60)
        posterior, rows, r = fitted(x, design(x) @ truth + NOISE * rng.normal(size=60), NOISE)
        posterior, found = calibrated(posterior, rows, r, ["all"] * 60, noise=1.0, coverage=0.6)
        temperatures.append(found.temperature)
        deviation = np.sqrt(np.diag(np.asarray(posterior.covariance())))
        inside += (np.abs(np.asarray(posterior.mean) - truth) <= deviation).tolist()
    # Binomial standard error of 400 draws: 0.023.
    assert np.mean(inside) == pytest.approx(0.683, abs=0.08)
    assert np.median(temperatures) == 1.0


def test_misspecified_fit_covers_the_truth_only_when_tempered():
    """A cubic fitted to a sine without noise: the untempered spread shrinks with the data, the errors do not."""
    rng = np.random.default_rng(1)
    truth = lambda x: np.sin(6 * x)
    x, unseen = rng.uniform(-1, 1, 3000), rng.uniform(-1, 1, 500)
    plain, rows, r = fitted(x, truth(x), 0.05)
    groups = np.where(x < 0, "left", "right").tolist()
    posterior, found = calibrated(plain, rows, r, groups)
    error = np.abs(design(unseen) @ np.asarray(plain.mean) - truth(unseen))
    share = lambda p: np.mean(error <= np.asarray(p.spread(jnp.asarray(design(unseen)))))
    assert share(plain) < 0.15
    assert 0.6 < share(posterior) < 0.9
    assert found.temperature > 100
    assert min(found.covered.values()) >= 0.683
    assert max(found.covered_untempered.values()) < 0.15


def test_what_data_do_not_determine_keeps_its_prior_at_any_temperature():
    J = np.diag([100.0, 10.0, 0.0])
    posterior = laplace(np.zeros(3), J.T @ J, np.array([1.0, 1.0, 4.0]))
    for T in (1.0, 50.0, HIGHEST_TEMPERATURE):
        assert float(posterior.at(T).covariance()[2, 2]) == pytest.approx(0.25)
    np.testing.assert_allclose(np.asarray(posterior.covariance())[:2, :2], np.diag([1 / 10001, 1 / 101]), rtol=1e-12)
    assert float(posterior.effective_parameters) == pytest.approx(10000 / 10001 + 100 / 101)


def test_covariance_is_that_of_the_samples_and_of_a_correlated_prior():
    rng = np.random.default_rng(3)
    A, B = rng.normal(size=(6, 4)), rng.normal(size=(4, 4))
    P = B @ B.T + np.eye(4)
    posterior = laplace(np.arange(4.0), A.T @ A, P)
    np.testing.assert_allclose(posterior.covariance(), np.linalg.inv(A.T @ A + P), rtol=1e-10)
    drawn = np.asarray(posterior.samples(jax.random.key(0), 20000))
    np.testing.assert_allclose(drawn.mean(axis=0), np.arange(4.0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), posterior.covariance(), atol=0.02)


def test_group_that_the_prior_cannot_cover_is_reported_and_does_not_decide():
    x = np.linspace(-1, 1, 80)
    posterior, rows, r = fitted(x, design(x) @ np.ones(DEGREE), 1.0, prior=1e-3)
    far = np.where(np.arange(80) < 40, 0.0, 1e9)
    tempered, found = calibrated(posterior, rows, r * 0 + far, ["near"] * 40 + ["far"] * 40)
    assert found.of_groups == {"near": 1.0, "far": float("inf")}
    assert float(tempered.temperature) == 1.0
    assert found.covered["far"] == 0.0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        laplace(np.zeros(2), np.eye(2), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="finite"):
        laplace(np.array([np.nan, 0.0]), np.eye(2), np.ones(2))


def test_ensemble_of_an_embedded_atom_potential():
    """The Jacobian is that of the residuals, and draws are potentials that vmap accepts."""
    data = shipped_dataset()
    data = data.select([n for n, g in enumerate(data.groups) if g in ("b2", "sc")])
    start = initial_parameters(data.elements, pair_functions=4, density_functions=3)
    prior = make_prior(start, Ridge())
    packed = pack(data.frames, data.groups, start.potential, FitWeights())
    objective = ScaledObjective(packed, prior)
    z = objective.scaled(start) + 0.01
    r, J = gauss_newton(objective, z)
    labels = row_labels(objective, data.groups)
    assert len(labels) == len(r) == len(J)
    assert {"b2, energies", "sc, forces", "b2, stresses"} <= set(labels)
    direction = np.random.default_rng(0).normal(size=z.size)
    step = lambda h: np.asarray(gauss_newton(objective, z + h * direction)[0])
    np.testing.assert_allclose(J @ direction, (step(1e-5) - step(-1e-5)) / 2e-5, rtol=1e-5, atol=1e-4)
    posterior, _ = calibrated(laplace(z, J.T @ J, np.ones(z.size)), J, r, labels)
    potentials = ensemble(posterior, jax.random.key(1), 3, lambda v: objective.parameters(v).potential)
    assert isinstance(member(potentials, 1), AbstractPotential)
    at_one = eqx.filter_vmap(lambda p: p.embedding(jnp.ones(4), jnp.arange(4)))(potentials)
    expected = member(potentials, 2).embedding(jnp.ones(4), jnp.arange(4))
    np.testing.assert_allclose(at_one[2], expected, rtol=1e-12)
    assert float(jnp.std(at_one)) > 0
    assert flatten(start)[0].size == z.size
