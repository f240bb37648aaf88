"""Fitting: packed features equal the potential, the loss is what it says, a fit converges and generalises."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.fitting import (
    BlockSettings,
    FitModel,
    FitParameters,
    FitSettings,
    FitWeights,
    Ridge,
    data_residuals,
    error_table,
    fit,
    fit_blocks,
    fit_dataset,
    flatten,
    format_table,
    held_out_split,
    initial_parameters,
    loss,
    make_prior,
    pack,
    pack_blocks,
    predict,
    prepare_fit,
    residuals,
)
from hea_jax.atomistic.fitting.gauss_newton import BlockState, mean_square
from hea_jax.atomistic.fitting.reduced import ScaledObjective, reduce_linear
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.core import RESULTS
from hea_jax.core.tensors import from_mandel
from hea_jax.electronic import Dataset, shipped_dataset
from hea_jax.records import ReferenceData
from tests.atomistic import potential_conformance as kit
from tests.helpers import check_gradient

OFFSETS = jnp.array([-3.0, -2.0, -4.0, -5.0])


def synthetic_frames(potential, count, seed=0, noise=0.12):
    """Frames whose answers come from a known potential plus offsets."""
    frames = []
    for n in range(count):
        shape = [(1, 1, 1), (2, 1, 1), (1, 2, 2)][n % 3]
        atoms = kit.random_alloy(shape, a=3.1 + 0.3 * ((n * 7) % 10) / 10, noise=noise, strain=0.04, seed=seed + n)
        E, F, S = energy_forces_stress(potential, atoms, neighbour_table(atoms, potential.cutoff, capacity=130))
        frames.append(ReferenceData(atoms, E + jnp.sum(OFFSETS[atoms.species]), F, S))
    return tuple(frames)


@pytest.fixture(scope="module")
def truth():
    return kit.learnable_eam(pair_functions=6, density_functions=3)


@pytest.fixture(scope="module")
def frames(truth):
    return synthetic_frames(truth, 9)


@pytest.fixture(scope="module")
def packed(truth, frames):
    return pack(frames, ("a", "b", "a") * 3, truth, FitWeights(group_factors=(("b", (2.0, 0.5, 1.0)),)))


def test_packed_prediction_equals_the_potential(truth, frames, packed):
    E, F, S = predict(FitParameters(truth, OFFSETS), packed)
    start = 0
    for n, frame in enumerate(frames):
        stop = start + frame.atoms.number
        np.testing.assert_allclose(E[n], frame.free_energy_eV, rtol=1e-13)
        np.testing.assert_allclose(F[start:stop], frame.forces_eV_per_A, atol=1e-11)
        np.testing.assert_allclose(from_mandel(S[n]), frame.stress_eV_per_A3, atol=1e-12)
        start = stop
    np.testing.assert_allclose(data_residuals(FitParameters(truth, OFFSETS), packed), 0, atol=1e-7)


def test_residuals_carry_the_declared_weights(truth, frames, packed):
    shifted = eqx.tree_at(lambda p: p.offsets_eV, FitParameters(truth, OFFSETS), OFFSETS + 0.003)
    r = data_residuals(shifted, packed)
    np.testing.assert_allclose(r[:9], [1.0, 2.0, 1.0] * 3, rtol=1e-6)
    np.testing.assert_allclose(packed.force_weight[jnp.array([0, 2])], [10.0, 5.0])


def test_frames_without_stress_do_not_count_it(truth, frames):
    bare = eqx.tree_at(lambda f: f.stress_eV_per_A3, frames[0], jnp.full((3, 3), jnp.nan))
    part = pack((bare, frames[1]), ("a", "a"), truth, FitWeights())
    assert float(part.stress_weight[0]) == 0.0
    assert bool(jnp.all(jnp.isfinite(data_residuals(FitParameters(truth, OFFSETS), part))))


def test_loss_is_half_the_square_of_the_residuals_and_differentiable(truth, packed):
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3, offsets_eV=OFFSETS)
    prior = make_prior(start, Ridge())
    at = FitParameters(truth, OFFSETS)
    r = residuals(at, packed, prior)
    np.testing.assert_allclose(loss(at, packed, prior), 0.5 * r @ r, rtol=1e-14)
    # One ridge row per parameter: none is left without a prior.
    assert r.size - data_residuals(at, packed).size == flatten(at)[0].size
    check_gradient(lambda p: loss(p, packed, prior), at, rtol=1e-6, name="loss")


def test_parameters_flatten_and_come_back(truth):
    at = FitParameters(truth, OFFSETS)
    vector, back = flatten(at)
    for a, b in zip(jax.tree.leaves(at), jax.tree.leaves(back(vector)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_reduced_loss_is_the_minimum_over_the_linear_parameters(truth, packed):
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3, offsets_eV=OFFSETS)
    objective = ScaledObjective(packed, make_prior(start, Ridge()))
    reduced = reduce_linear(objective)
    *_, place = reduced.positions()
    density = jnp.asarray(np.random.default_rng(0).normal(0, 0.05, len(place)))
    z = reduced.complete(density)
    np.testing.assert_array_equal(z[place], density)
    gradient = jax.grad(objective.loss)(z)
    linear = np.setdiff1d(np.arange(z.size), place)
    assert float(jnp.max(jnp.abs(gradient[linear]))) < 1e-7 * float(jnp.max(jnp.abs(gradient[place])))
    np.testing.assert_allclose(jax.grad(reduced.__call__)(density), gradient[place], rtol=1e-6, atol=1e-6)
    h, v = 1e-4, jnp.ones(len(place))
    slope = (reduced(density + h * v) - reduced(density - h * v)) / (2 * h)
    np.testing.assert_allclose(slope, gradient[place] @ v, rtol=1e-4)


def test_fit_recovers_a_known_potential(truth):
    """From a distant start, on noise-free data, to errors far below DFT's, also on frames not seen."""
    train, test = synthetic_frames(truth, 30), synthetic_frames(truth, 6, seed=500)
    weights = FitWeights()
    training, unseen = (pack(part, ("a",) * len(part), truth, weights) for part in (train, test))
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3, offsets_eV=OFFSETS)
    seen = []
    solution = fit(start, training, make_prior(start, Ridge()), report=lambda step, value: seen.append((step, value)),
                   settings=FitSettings(adam_steps=50, lbfgs_steps=150))
    assert bool(solution.result == RESULTS.successful)
    assert float(solution.stats["relative_gradient"]) <= 1e-11
    assert float(solution.stats["lowest_curvature"]) > 0
    assert [s for s, _ in seen] == sorted({s for s, _ in seen})
    assert seen[-1][1] <= seen[0][1]
    rows = error_table(solution.value, unseen, ("a",) * len(test))
    assert rows[-1].group == "all"
    assert rows[-1].energy_mae_meV < 5.0
    assert rows[-1].force_mae_eV_per_A < 0.05
    assert "meV/atom" in format_table(rows)
    # Going on from the answer changes nothing.
    again = fit(solution.value, training, make_prior(start, Ridge()),
                settings=FitSettings(adam_steps=0, lbfgs_steps=0, newton_steps=2))
    np.testing.assert_allclose(again.stats["loss"], solution.stats["loss"], rtol=1e-10)


def test_blocks_hold_every_frame_once_by_size(truth, frames):
    blocks = pack_blocks(frames, ("a",) * 9, truth, FitWeights(), rare=3)
    assert sorted(np.concatenate(blocks.indices).tolist()) == list(range(9))
    sizes = [{frames[n].atoms.number for n in part} for part in blocks.indices]
    assert sizes == [{2}, {4}, {8}]
    assert [b.density_force.shape[1] for b in blocks.packed] == [2, 4, 8]
    # Sizes that are rare share a block.
    assert len(pack_blocks(frames, ("a",) * 9, truth, FitWeights()).packed) == 1
    for part, packed_part in zip(blocks.indices, blocks.packed, strict=True):
        np.testing.assert_array_equal(packed_part.energy_target, [frames[n].free_energy_eV for n in part])


def test_fit_over_blocks_finds_the_minimum_of_the_same_loss(truth):
    """The gradient of the loss of all frames in one piece vanishes where the fit over blocks ends."""
    frames = synthetic_frames(truth, 24)
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3, embedding_terms=4,
                               offsets_eV=OFFSETS)
    prior, seen = make_prior(start, Ridge()), []
    blocks = pack_blocks(frames, ("a",) * 24, start.potential, FitWeights(), rare=3)
    solution = fit_blocks(start, blocks, prior, settings=BlockSettings(steps=80, loss_rtol=1e-9),
                          report=lambda step, value: seen.append(value))
    assert bool(solution.result == RESULTS.successful)
    assert seen == sorted(seen, reverse=True)
    whole = pack(frames, ("a",) * 24, start.potential, FitWeights())
    objective = ScaledObjective(whole, prior)
    value, gradient = jax.value_and_grad(objective.loss)(objective.scaled(solution.value))
    np.testing.assert_allclose(value, solution.stats["loss"], rtol=1e-9)
    assert float(jnp.linalg.norm(gradient)) < 1e-4 * float(solution.stats["start_gradient_norm"])
    rows = error_table(solution.value, whole, ("a",) * 24)
    assert rows[-1].energy_mae_meV < 5.0
    assert rows[-1].force_mae_eV_per_A < 0.05
    kept = []
    stopped = fit_blocks(start, blocks, prior, settings=BlockSettings(steps=3), keep=kept.append)
    assert bool(stopped.result == RESULTS.fit_not_converged)
    # From a kept state on, also one that went through a file of plain arrays, steps are those of an undisturbed fit.
    again = fit_blocks(BlockState.of(kept[0].arrays()), blocks, prior, settings=BlockSettings(steps=3))
    np.testing.assert_array_equal(flatten(again.value)[0], flatten(stopped.value)[0])
    rows = data_residuals(stopped.value, whole)
    np.testing.assert_allclose(mean_square(blocks, prior, kept[-1].z), jnp.mean(rows**2), rtol=1e-12)


def test_fit_that_stops_early_says_so(truth, packed):
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3)
    solution = fit(start, packed, make_prior(start, Ridge()),
                   settings=FitSettings(adam_steps=2, lbfgs_steps=2, newton_steps=0))
    assert bool(solution.result == RESULTS.fit_not_converged)


def test_single_precision_is_refused(truth, packed):
    start = initial_parameters(kit.ELEMENTS, pair_functions=6, density_functions=3)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), start)
    with pytest.raises(TypeError, match="float64"):
        fit(single, packed, make_prior(start, Ridge()))


def test_held_out_split_is_stable_as_the_set_grows():
    groups = ("a",) * 40 + ("b",) * 3 + ("c",) * 10
    names = tuple(f"frame-{n}" for n in range(53))
    inside, outside = held_out_split(groups, names)
    assert sorted([*inside, *outside]) == list(range(53))
    assert not set(outside) & set(range(40, 43))
    assert 0.05 < len(outside) / 50 < 0.35
    grown_inside, grown_outside = held_out_split((*groups, *("a",) * 20), (*names, *(f"new-{n}" for n in range(20))))
    assert set(outside) == {n for n in grown_outside if n < 53}
    assert set(inside) == {n for n in grown_inside if n < 53}
    assert set(held_out_split(groups, names, salt="other")[1]) != set(outside)
    assert set(held_out_split(groups, names, always_train=("c",))[1]) == {n for n in outside if n < 40}
    assert any(n >= 43 for n in outside)


def test_preparation_of_the_shipped_set():
    data = shipped_dataset()
    start, prior, training, held_out, inside, outside = prepare_fit(data)
    assert held_out is not None
    assert training.counts.shape[0] == len(inside)
    assert held_out.counts.shape[0] == len(outside)
    assert len(inside) + len(outside) == len(data)
    assert {data.groups[i] for i in inside} == set(data.groups)
    # An element has one frame per strain: without it, its elastic constants are anything.
    assert "elastic_bcc" not in {data.groups[i] for i in outside}
    assert bool(jnp.all(jnp.isfinite(residuals(start, training, prior))))


def _elastic(data, element, stress_of):
    """(C′, C44) in GPa from stresses of the set's strained cells; differences cancel the even terms."""
    at = lambda name: stress_of(data.frames[data.names.index(name)]) * 160.2176634
    up, down = (at(f"elastic12-{element}-tet-{g}") for g in ("0.03", "-0.03"))
    shear = [at(f"elastic12-{element}-shear-{g}")[0, 1] / float(g) for g in ("0.03", "0.06")]
    return ((up - down)[0, 0] - (up - down)[1, 1]) / 0.06 / 3.0, (4 * shear[0] - shear[1]) / 3.0


@pytest.mark.slow
def test_fit_of_the_shipped_set_is_fit_for_use():
    """Converged; errors as promised; C′ and C44 of the elements as in DFT on the same strains."""
    data: Dataset = shipped_dataset()
    study = fit_dataset(data)
    assert bool(study.solution.result == RESULTS.successful)
    total = study.training_errors[-1]
    assert total.energy_mae_meV < 12.0
    assert total.force_mae_eV_per_A < 0.20
    assert study.held_out_errors[-1].energy_mae_meV < 60.0
    potential = study.parameters.potential
    table = lambda atoms: neighbour_table(atoms, potential.cutoff, capacity=140)
    model = eqx.filter_jit(lambda p, a, n: energy_forces_stress(p, a, n)[2])
    for element in data.elements:
        reference = _elastic(data, element, lambda f: np.asarray(f.stress_eV_per_A3))
        ours = _elastic(data, element, lambda f: np.asarray(model(potential, f.atoms, table(f.atoms))))
        np.testing.assert_allclose(ours, reference, atol=25.0, err_msg=f"C', C44 of {element}")
        assert min(ours) > 5.0
    assert FitModel().cutoff_A == potential.cutoff
