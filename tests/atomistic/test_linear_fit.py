"""The closed-form fit: a known potential comes back, groups add up, the prior says what it says."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.fitting import FitWeights
from hea_jax.atomistic.fitting.linear import (
    ChemicalPrior,
    LinearModel,
    NormalEquations,
    normal_equations,
    solve,
)
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import ZBL, LammpsTaper
from hea_jax.atomistic.potentials.body_ordered import Truncation
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.records import ReferenceData
from tests.atomistic import potential_conformance as kit

ELEMENTS = ("Nb", "Ta", "W")
MODEL = LinearModel(Truncation(3, 2, 1, 2, 1, 1, 1), cutoff_A=4.2)
WEIGHTS = FitWeights(energy_eV=0.01, force_eV_per_A=0.1, stress_eV=0.1)
OFFSETS = np.array([1.0, -2.0, 3.0])
FLAT = ChemicalPrior(scale=1e3, channel=(1.0,), centre=(1.0,), angular=1e3)

evaluate = eqx.filter_jit(energy_forces_stress)


def table(atoms):
    return neighbour_table(atoms, MODEL.cutoff_A, capacity=40)


def reference(potential, atoms, *, baseline=None):
    """What ``potential`` (plus offsets) says of a structure, as data."""
    E, F, S = evaluate(potential, atoms, table(atoms))
    if baseline is not None:
        more = energy_forces_stress(baseline, atoms, table(atoms))
        E, F, S = E + more[0], F + more[1], S + more[2]
    return ReferenceData(atoms, E + float(OFFSETS[np.asarray(atoms.species)].sum()), F, S)


def structures(count, *, kinds=(0, 1, 2), seed=0):
    """Displaced cells of 16 atoms of the given elements."""
    out = []
    for n in range(count):
        atoms = kit.random_alloy((2, 2, 2), seed=seed + n, noise=0.15, elements=ELEMENTS)
        species = np.random.default_rng(seed + n).choice(kinds, 16).astype(np.int32)
        out.append(eqx.tree_at(lambda a: a.species, atoms, jnp.asarray(species)))
    return out


@pytest.fixture(scope="module")
def truth():
    template = MODEL.template(ELEMENTS)
    coefficients = np.random.default_rng(1).normal(size=template.coefficients.shape)
    return eqx.tree_at(lambda p: p.coefficients, template, jnp.asarray(coefficients))


@pytest.fixture(scope="module")
def data(truth):
    return [reference(truth, atoms) for atoms in structures(20)]


@pytest.fixture(scope="module")
def equations(data):
    return normal_equations(MODEL.template(ELEMENTS), data, WEIGHTS)


def worst(potential, offsets, frames):
    """Largest error of energies per atom (eV) and forces (eV/Å)."""
    out = []
    for frame in frames:
        E, F, _ = evaluate(potential, frame.atoms, table(frame.atoms))
        total = float(E) + offsets[np.asarray(frame.atoms.species)].sum()
        out.append([abs(total - float(frame.free_energy_eV)) / frame.atoms.number,
                    float(jnp.max(jnp.abs(F - frame.forces_eV_per_A)))])
    return np.max(out, axis=0)


def test_a_known_potential_comes_back(truth, equations):
    solution = solve([equations], MODEL.template(ELEMENTS), FLAT)
    new = [reference(truth, atoms) for atoms in structures(4, seed=100)]
    energy, force = worst(solution.potential, solution.offsets_eV[0], new)
    assert energy < 1e-5
    assert force < 1e-4
    assert solution.noise < 1e-2


def test_rows_are_energies_forces_and_stresses(truth, data, equations):
    """At the truth the residuals vanish: cᵀ G c − 2 cᵀ b + yᵀ y = 0, a check of every row's sign and unit."""
    unknowns = np.concatenate([np.asarray(truth.coefficients).ravel(), OFFSETS])
    misfit = unknowns @ equations.gram @ unknowns - 2 * unknowns @ equations.rhs + equations.target_square
    assert abs(misfit) < 1e-9 * equations.target_square
    assert equations.rows == len(data) * (1 + 48 + 6)


def test_groups_add_up_and_survive_the_disk(data, equations, tmp_path):
    template = MODEL.template(ELEMENTS)
    parts = [normal_equations(template, data[:8], WEIGHTS), normal_equations(template, data[8:], WEIGHTS)]
    paths = [tmp_path / f"{n}.npz" for n in range(2)]
    for part, path in zip(parts, paths, strict=True):
        part.save(path)
    prior = ChemicalPrior()
    whole = solve([equations], template, prior)
    pieces = solve([NormalEquations.load(path) for path in paths], template, prior)
    np.testing.assert_allclose(pieces.potential.coefficients, whole.potential.coefficients, rtol=1e-6, atol=1e-9)
    assert pieces.log_evidence == pytest.approx(whole.log_evidence, rel=1e-9)
    paths[0].write_bytes(b"not a file")
    with pytest.raises(ValueError, match=r"0\.npz: not a file of normal equations"):
        NormalEquations.load(paths[0])


def test_a_source_has_its_own_offsets(truth, data, equations):
    """A second source whose energies differ by a constant per element changes offsets, not the potential."""
    shift = np.array([0.5, 0.25, -0.125])
    moved = [eqx.tree_at(lambda f: f.free_energy_eV, f, f.free_energy_eV + shift[np.asarray(f.atoms.species)].sum())
             for f in data[:10]]
    template = MODEL.template(ELEMENTS)
    both = solve([equations, normal_equations(template, moved, WEIGHTS, source=1)], template, FLAT)
    np.testing.assert_allclose(both.offsets_eV[1] - both.offsets_eV[0], shift, atol=1e-5)


def test_a_baseline_is_taken_off(truth, equations):
    core = ZBL.of(ELEMENTS, LammpsTaper(1.5, 3.0))
    frames = [reference(truth, atoms, baseline=core) for atoms in structures(20)]
    other = normal_equations(MODEL.template(ELEMENTS), frames, WEIGHTS, baseline=core)
    np.testing.assert_allclose(other.rhs, equations.rhs, rtol=1e-9, atol=1e-8 * np.abs(equations.rhs).max())


def test_frames_without_stress_give_none(data):
    blank = eqx.tree_at(lambda f: f.stress_eV_per_A3, data[0], jnp.full((3, 3), jnp.nan))
    assert normal_equations(MODEL.template(ELEMENTS), [blank], WEIGHTS).rows == 1 + 48


def test_elements_never_seen_together_follow_from_the_rest():
    """A truth that is blind to elements, learned from binaries only: the chemical prior predicts a ternary, a flat one
    sets what no binary shows (three different elements meeting) to zero and fails."""
    template = LinearModel(Truncation(3, 1, 1, 3, 0, 0, 1), MODEL.cutoff_A).template(ELEMENTS)
    blind = np.zeros(template.coefficients.shape)
    # Two-body functions alike for all elements; three-body ones (six pairs of channels per l) of the blind channel.
    blind[:, :9] = np.tile([1.0, -0.5, 0.3], 3)
    blind[:, [9, 15]] = [1.0, -0.7]
    truth = eqx.tree_at(lambda p: p.coefficients, template, jnp.asarray(blind))
    binaries = [reference(truth, atoms) for n, kinds in enumerate(((0, 1), (0, 2), (1, 2)))
                for atoms in structures(6, kinds=kinds, seed=50 * n)]
    ternaries = [reference(truth, atoms) for atoms in structures(4, seed=400)]
    equations = [normal_equations(template, binaries, WEIGHTS)]
    errors = {}
    for name, prior in (("chemical", ChemicalPrior(scale=10.0, channel=(1.0, 0.01), centre=(1.0, 0.01))),
                        ("flat", ChemicalPrior(scale=10.0, channel=(1.0,), centre=(1.0,)))):
        solution = solve(equations, template, prior)
        assert worst(solution.potential, solution.offsets_eV[0], binaries)[1] < 0.01
        errors[name] = worst(solution.potential, solution.offsets_eV[0], ternaries)[1]
    assert errors["chemical"] < 0.02
    assert errors["flat"] > 10 * errors["chemical"]


def test_the_prior_is_the_covariance_it_describes():
    """Its precision against a dense inverse built by definition, and its determinant."""
    potential = MODEL.template(ELEMENTS)
    S, F = potential.coefficients.shape
    prior = ChemicalPrior(scale=0.3, channel=(1.0, 0.4), centre=(1.0, 0.5, 0.2), angular=2.0, four_body=0.7)
    rms = np.random.default_rng(0).uniform(0.5, 2.0, F)
    rms[: S * 3] = np.tile(rms[:3], S)
    matrix = np.zeros((S * F + S,) * 2)
    log_det = prior.add_precision(matrix, potential, rms)
    W = np.asarray(potential.channels)
    # Covariance: differences between centres (and neighbours) are orthogonal, with the given deviations.
    centre = W.T @ np.diag(np.array([1.0, 0.5, 0.2]) ** 2) @ W
    element = W.T @ np.diag(np.array([1.0, 0.4, 0.4]) ** 2) @ W
    sigma = 0.3 * prior.relative(potential) / rms
    functions = np.diag(sigma**2)
    functions[: S * 3, : S * 3] = np.kron(element, np.diag(sigma[:3] ** 2))
    covariance = np.kron(centre, functions)
    np.testing.assert_allclose(matrix[: S * F, : S * F] @ covariance, np.eye(S * F), atol=1e-9)
    assert log_det == pytest.approx(-np.linalg.slogdet(covariance)[1], rel=1e-10)


def test_samples_have_the_posterior_covariance(equations):
    solution = solve([equations], MODEL.template(ELEMENTS), ChemicalPrior(scale=1.0))
    draws = solution.sample(0, 4000).reshape(4000, -1)
    covariance = solution.noise**2 * np.linalg.inv(solution.factor @ solution.factor.T)
    count = draws.shape[1]
    np.testing.assert_allclose(np.var(draws, axis=0), np.diag(covariance)[:count], rtol=0.15)
    np.testing.assert_allclose(draws.mean(axis=0), np.asarray(solution.potential.coefficients).ravel(),
                               atol=6 * np.sqrt(np.max(np.diag(covariance)) / 4000))


def test_bad_input_is_refused(data):
    template = MODEL.template(ELEMENTS)
    with pytest.raises(ValueError, match="no frames"):
        normal_equations(template, [], WEIGHTS)
    with pytest.raises(ValueError, match="load the data"):
        normal_equations(MODEL.template(("W", "Ta", "Nb")), data[:1], WEIGHTS)
    with pytest.raises(ValueError, match="scale must be positive"):
        ChemicalPrior(scale=0.0)
    with pytest.raises(ValueError, match="inner_A"):
        LinearModel(cutoff_A=1.0).template(ELEMENTS)
