"""Splits and weights that no fit can use are refused before one begins, with field and remedy; frames without stress.

The commands run in this process; ``--dry-run`` must say what a fit would.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.app import cli
from hea_jax.app.config.problems import ConfigError
from hea_jax.app.fit.data import fit_weights, load_data, split_of
from hea_jax.app.fit.load import load_fit
from hea_jax.atomistic.fitting import FitParameters, FitWeights, data_residuals, initial_parameters, pack, predict
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.properties import energy
from hea_jax.electronic import GPAW_NBMOTAW, DatasetError, shipped_dataset, write_dataset

SMALL = Path(__file__).parents[2] / "configs" / "fit_small.yaml"
GROUPS = ("eos_bcc", "elastic_bcc", "b2")


@pytest.fixture(scope="module")
def data():
    """The data of the small fit."""
    return load_data(load_fit(SMALL), SMALL.parent)


def section(text):
    return load_fit(SMALL, (f"split={text}",)).split


def names_of(data, count):
    return ", ".join(data.dataset.names[:count])


def test_a_name_in_two_lists(data):
    name = data.dataset.names[0]
    for text in (f"{{policy: names, test_names: [{name}], validation_names: [{name}]}}",
                 f"{{policy: names, test_names: [{name}, {name}]}}"):
        with pytest.raises(DatasetError, match=rf"split.validation_names and split.test_names name {name} more than"):
            split_of(data, section(text), 0)


@pytest.mark.parametrize(("text", "message"), [
    ("{{policy: names, test_names: [{all}]}}", r"no frame is left for training \(0 train.*split.test_names"),
    ("{{policy: leave_group_out, groups: [eos_bcc, elastic_bcc, b2]}}",
     "split.groups names every group .*none is left for training"),
    ("{{policy: random, always_train: [eos_bcc, elastic_bcc, b2]}}",
     r"no frame is left for validation and test .*split.fractions.*split.always_train"),
    ("{{policy: leave_group_out, groups: [b2], always_train: [b2], cut_families: true}}",
     r"no frame is left for test .*split.groups.*split.always_train"),
    ("{{policy: names, test_names: [{one}], always_train: [eos_bcc, elastic_bcc, b2]}}",
     r"no frame is left for test .*split.test_names"),
])
def test_impossible_splits(data, text, message):
    text = text.format(all=names_of(data, len(data.dataset)), one=names_of(data, 1))
    with pytest.raises(DatasetError, match=message):
        split_of(data, section(text), 0)


def test_nothing_held_out_where_nothing_was_asked_for(data):
    split = split_of(data, section("{policy: random, fractions: [1, 0, 0]}"), 0)
    assert (len(split.train), len(split.validation), len(split.test)) == (len(data.dataset), 0, 0)


def test_a_source_that_does_not_train():
    sources = "data=[{source: gpaw_nbmotaw, groups: [eos_bcc]}, {source: gpaw_nbmotaw, groups: [b2]}]"
    config = load_fit(SMALL, (sources, "split={policy: leave_group_out, groups: [b2], cut_families: true}",
                              "weights.groups={}"))
    data = load_data(config, SMALL.parent)
    with pytest.raises(DatasetError, match=r"no frame of data\[1\] \(gpaw_nbmotaw\) trains .*leave the source out"):
        split_of(data, config.split, 0)


def test_factors_that_leave_nothing(data):
    zero = "{energy: 0, force: 0, stress: 0}"
    train = np.arange(len(data.dataset))
    all_zero = load_fit(SMALL, ("weights.groups={" + ", ".join(f"{g}: {zero}" for g in GROUPS) + "}",))
    with pytest.raises(DatasetError, match=r"weights.groups gives .* the factor 0.* give at least one"):
        fit_weights(data, all_zero.weights, all_zero.data, train)
    # What is not trained does not count.
    some = load_fit(SMALL, (f"weights.groups={{eos_bcc: {zero}, b2: {zero}}}",))
    assert fit_weights(data, some.weights, some.data, train).factors("elastic_bcc")[0] > 0
    with pytest.raises(DatasetError, match="factor 0"):
        fit_weights(data, some.weights, some.data, np.flatnonzero(np.array(data.dataset.groups) != "elastic_bcc"))


@pytest.mark.parametrize("text", [
    "split={policy: leave_group_out, groups: [eos_bcc, elastic_bcc, b2]}",
    "split={policy: random, always_train: [eos_bcc, elastic_bcc, b2]}",
])
def test_a_dry_run_says_so(tmp_path, capsys, text):
    assert cli.main(["fit", str(SMALL), "--out", str(tmp_path / "run"), "--dry-run", "--set", text]) == 2
    said = capsys.readouterr().err
    assert "split." in said
    assert "Traceback" not in said


def test_declared_keys_of_the_stress(tmp_path):
    shipped = shipped_dataset()
    part = shipped.select([n for n, g in enumerate(shipped.groups) if g in GROUPS])
    frames = list(part.frames)
    frames[0] = dataclasses.replace(frames[0], stress_eV_per_A3=jnp.full((3, 3), jnp.nan))
    part = dataclasses.replace(part, frames=tuple(frames))
    write_dataset(part, tmp_path / "set.extxyz", dataclasses.replace(GPAW_NBMOTAW, stress_optional=True))
    keys = "energy: free_energy_eV, forces: forces_eV_per_A, group: group, name: name"
    read = lambda more: load_data(load_fit(SMALL, (
        f"data=[{{source: {tmp_path / 'set.extxyz'}, declared_keys: {{{keys}, {more}}}}}]",
        "elements=[Nb, Mo, Ta, W]")), tmp_path)
    with pytest.raises(DatasetError, match="stress_optional: true"):
        read("stress: stress_eV_per_A3")
    data = read("stress: stress_eV_per_A3, stress_optional: true, voigt_order: vasp").dataset
    np.testing.assert_allclose(data.frames[1].stress_eV_per_A3, part.frames[1].stress_eV_per_A3, rtol=1e-12)
    assert np.isnan(data.frames[0].stress_eV_per_A3).all()
    for more, message in (("stress: a, virial: b", "both `stress` and `virial`"), ("voigt_order: xx", "voigt_order"),
                          ("stress_optional: true", "no stress is declared")):
        with pytest.raises(ConfigError, match=message):
            read(more)


def test_a_molecule_without_a_cell_is_packed_without_nan():
    """Its energy is that of the potential, its stress rows are zero, and no residual is NaN."""
    shipped = shipped_dataset()
    solid = shipped.frames[shipped.names.index("eos_bcc-W-1.0")]
    atoms = dataclasses.replace(solid.atoms, cell=jnp.zeros((3, 3)), pbc=(False, False, False))
    molecules = [dataclasses.replace(solid, atoms=atoms, stress_eV_per_A3=jnp.full((3, 3), value))
                 for value in (jnp.nan, 0.0)]
    template = initial_parameters(shipped.elements, pair_functions=6, density_functions=3).potential
    packed = pack((solid, *molecules), ("a", "b", "b"), template, FitWeights())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(packed))
    assert packed.stress_weight[0] > 0
    np.testing.assert_array_equal(packed.stress_weight[1:], 0.0)
    parameters = FitParameters(template, jnp.array([-3.0, -2.0, -4.0, -5.0]))
    E, _, S = predict(parameters, packed)
    np.testing.assert_array_equal(S[1:], 0.0)
    offset = float(packed.counts[1] @ parameters.offsets_eV)
    pairs = neighbour_table(atoms, template.cutoff)
    np.testing.assert_allclose(E[1] - offset, energy(template, atoms, pairs), rtol=1e-10)
    assert bool(jnp.isfinite(data_residuals(parameters, packed)).all())
