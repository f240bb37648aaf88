"""``hea-jax fit``: end to end on a small configuration, killed and resumed, wrong input, files that LAMMPS runs."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hea_jax.app import cli
from hea_jax.app.config.problems import ConfigError
from hea_jax.app.fit.data import fit_weights, load_data, split_of
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.lammps_input import run_input
from hea_jax.app.fit.load import load_fit
from hea_jax.app.fit.models import Target
from hea_jax.app.fit.targets import built
from hea_jax.app.runs import load_tree, without_timings
from hea_jax.atomistic.fitting.uncertainty import member
from hea_jax.atomistic.lammps import lammps_available
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import load_eam, load_potential
from hea_jax.atomistic.properties import energy
from hea_jax.electronic import DatasetError, shipped_dataset
from hea_jax.records import AbstractPotential

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = CONFIGS / "fit_small.yaml"
QUICK = ("optimiser.patience=3", "targets=[]", "sanity.run=false", "uncertainty.run=false", "checks.run=false")


def fit(folder, *overrides, config=SMALL):
    """Run the command in this process; its exit code."""
    sets = [word for text in overrides for word in ("--set", text)]
    return cli.main(["fit", str(config), "--out", str(folder), *sets])


def summary(folder):
    return without_timings(json.loads((folder / "summary.json").read_text()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small fit without the dear checks."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    assert fit(folder, *QUICK) == 0
    return folder


def test_results_are_in_the_run_folder(finished):
    names = {"potential.json", "potential.eam.alloy", "in.lammps", "structure.data", "errors.csv", "errors.json",
             "summary.json", "report.html", "config.json"}
    assert names <= {path.name for path in finished.iterdir()}
    numbers = summary(finished)["numbers"]
    assert numbers["errors.train_energy_mae"]["unit"] == "meV/atom"
    assert numbers["fit.validation_loss"]["value"] > 0
    page = (finished / "report.html").read_text()
    for text in ("Errors of the potential", "learning", "in.lammps", "data:image/png"):
        assert text in page


def test_error_table_is_that_of_the_exported_potential(finished):
    """Errors of one group recomputed frame by frame from the file, by another route."""
    rows = list(csv.DictReader((finished / "errors.csv").open()))
    assert json.loads((finished / "errors.json").read_text())[0]["group"] == rows[0]["group"]
    assert {row["part"] for row in rows} == {"train", "validation", "test"}
    potential, config = load_potential(finished / "potential.json"), load_fit(SMALL)
    data = load_data(config, SMALL.parent)
    split = split_of(data, config.split, config.seed)
    offsets = np.array(json.loads((finished / "potential.json").read_text())["offsets_eV"])[0]
    errors = []
    for n in split.train:
        if data.dataset.groups[n] == "b2":
            frame = data.dataset.frames[n]
            ours = float(energy(potential, frame.atoms, neighbour_table(frame.atoms, potential.cutoff)))
            ours += offsets[np.asarray(frame.atoms.species)].sum()
            errors.append(1e3 * (ours - float(frame.free_energy_eV)) / frame.atoms.number)
    row = next(r for r in rows if r["part"] == "train" and r["group"] == "b2")
    assert int(row["frames"]) == len(errors)
    assert float(row["energy_mae_meV"]) == pytest.approx(np.mean(np.abs(errors)), rel=1e-8)
    assert float(row["energy_rmse_meV"]) == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-8)
    assert float(row["energy_max_meV"]) == pytest.approx(np.max(np.abs(errors)), rel=1e-8)


def test_lammps_runs_the_input_and_agrees(finished):
    available, reason = lammps_available()
    assert available, reason
    first, last = run_input(finished)
    import ase.io

    atoms: Any = ase.io.read(finished / "structure.data", format="lammps-data", atom_style="atomic", units="metal")
    assert np.isfinite(last)
    assert last != first
    table = load_eam(finished / "potential.eam.alloy")
    from hea_jax.structures.crystals import Crystal

    cell = Crystal(tuple(atoms.get_chemical_symbols()), atoms.positions, atoms.cell.array).to_atoms(table.elements)
    ours = float(energy(table, cell, neighbour_table(cell, table.cutoff)))
    assert first == pytest.approx(ours, abs=1e-8 * cell.number)


BLOCKS = ("optimiser={gauss_newton_steps: 40}", "split.fractions=[0.85, 0.15, 0.0]")


def test_gauss_newton_over_blocks_finds_the_same_fit_and_goes_on_from_a_kept_step(tmp_path, monkeypatch, capsys):
    """The way for thousands of frames, on few: the loss of the other optimisers, and the same after an interruption."""
    from hea_jax.app.fit import stage_eam_blocks

    assert fit(tmp_path / "whole", *QUICK, *BLOCKS) == 0
    assert fit(tmp_path / "newton", *QUICK, BLOCKS[1], "optimiser.patience=0") == 0
    ours, theirs = (summary(tmp_path / name)["numbers"]["fit.training_loss"]["value"] for name in ("whole", "newton"))
    assert ours == pytest.approx(theirs, rel=0.02)

    real, seen = stage_eam_blocks.mean_square, []

    def interrupted(*arguments):
        seen.append(arguments)
        if len(seen) > 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stage_eam_blocks, "mean_square", interrupted)
    assert fit(tmp_path / "cut", *QUICK, *BLOCKS) == 130
    monkeypatch.setattr(stage_eam_blocks, "mean_square", real)
    assert fit(tmp_path / "cut", *QUICK, *BLOCKS) == 0
    numbers = [summary(tmp_path / name)["numbers"] for name in ("whole", "cut")]
    assert numbers[0]["fit.training_loss"] == numbers[1]["fit.training_loss"]
    assert numbers[0]["fit.validation_loss"] == numbers[1]["fit.validation_loss"]
    capsys.readouterr()
    assert fit(tmp_path / "refused", *BLOCKS, "uncertainty.run=true", "optimiser.huber=1.0") == 2
    said = capsys.readouterr().err
    assert "optimiser.huber, targets, uncertainty.run" in said
    assert "gauss_newton_steps to 0" in said


def test_running_again_computes_nothing(finished, capsys):
    before = summary(finished)
    assert fit(finished, *QUICK) == 0
    assert capsys.readouterr().out.count("in the run folder already") == 7
    assert summary(finished) == before


def killed_after(folder, pattern, *overrides, number=1):
    """Start the command in a process of its own and kill it (SIGKILL) after ``number`` checkpoints match."""
    sets = [word for text in overrides for word in ("--set", text)]
    command = [sys.executable, "-m", "hea_jax", "fit", str(SMALL), "--out", str(folder), *sets]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        seen = set()
        while process.poll() is None:
            seen |= {(p, p.stat().st_mtime_ns) for p in folder.glob(pattern)}
            if len(seen) >= number:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        process.wait()
        return process.returncode


def test_killed_in_the_middle_it_goes_on_to_the_same_result(finished, tmp_path):
    folder = tmp_path / "killed"
    assert killed_after(folder, "checkpoints/fit-*/training.h5", *QUICK, number=3) == -signal.SIGKILL
    assert not (folder / "stages" / "fit").exists()
    assert fit(folder, *QUICK) == 0
    assert summary(folder) == summary(finished)
    assert (folder / "potential.json").read_bytes() == (finished / "potential.json").read_bytes()


@pytest.mark.slow
def test_everything_on(tmp_path):
    """Targets, sanity, uncertainty and Huber's loss; the target moves the fit to it."""
    folder = tmp_path / "all"
    assert fit(folder, "optimiser.patience=0", "optimiser.huber=2.0", "sanity.phonon_alloy=[1, 1, 1]") == 0
    found = summary(folder)
    numbers, verdicts = found["numbers"], {v["name"]: v for v in found["verdicts"]}
    off = [abs(numbers[name]["value"] - 3.186) for name in ("fit.target_0_before", "targets.target_0")]
    assert off[1] < min(off[0], 0.005)
    assert verdicts["data are sound"]["passed"]
    assert {"dimer Mo-W", "Bain path of W", "phonons of W are real", "survives hot dynamics"} <= set(verdicts)
    assert 0 <= numbers["fit.downweighted_share"]["value"] < 1
    assert numbers["uncertainty.temperature"]["value"] >= 1
    assert numbers["uncertainty.lattice_constant_W"]["uncertainty"] > 0
    potentials = load_tree(folder / "ensemble.h5")
    assert potentials.pair.shape[0] == 3
    assert isinstance(member(potentials, 1), AbstractPotential)


@pytest.mark.slow
def test_linear_potential_end_to_end_chooses_its_prior_and_resumes(tmp_path):
    model = ("elements=[Nb, Mo, Ta, W]", "data=[{source: gpaw_nbmotaw, groups: [eos_bcc, b2, alloy8]}]", "weights={}",
             "learnable_eam=null", "body_ordered={pair_radial: 4, three_radial: 2, three_l: 2, four_radial: 0}",
             "body_ordered.prior.scales_eV_per_A=[0.03, 0.3]", "sanity.run=false",
             "targets=[{kind: energy_difference, composition: {Mo: 0.5, W: 0.5}, lattice: B2, value: -80, "
             "tolerance: 0.01}, {kind: C44, composition: {W: 1}, value: 143, tolerance: 0.2}, "
             "{kind: lattice_constant, composition: {W: 1}, value: 3.2, tolerance: 0.0001, weight: 100}]")
    folder = tmp_path / "linear"
    assert killed_after(folder, "checkpoints/fit-*/train_*.h5", *model) == -signal.SIGKILL
    assert fit(folder, *model) == 0
    numbers = summary(folder)["numbers"]
    assert numbers["fit.prior_scale"]["value"] in (0.03, 0.3)
    assert numbers["targets.target_0"]["value"] == pytest.approx(-80, abs=0.5)
    assert {v["name"]: v["passed"] for v in summary(folder)["verdicts"]}["PACE agrees"]
    # What relaxes is not linear in the coefficients: linearised again until it holds.
    for n, value, tolerance in ((1, 143, 0.2), (2, 3.2, 1e-4)):
        assert abs(numbers[f"fit.target_{n}_before"]["value"] - value) > 10 * tolerance
        assert numbers[f"targets.target_{n}"]["value"] == pytest.approx(value, abs=tolerance)
    assert numbers["errors.train_energy_mae"]["value"] < 20
    other = tmp_path / "undisturbed"
    assert fit(other, *model) == 0
    assert summary(other) == summary(folder)


@pytest.mark.parametrize(("overrides", "message"), [
    (("learnable_eam.cutof_A=5",), r"learnable_eam.cutof_A: no such field\n.*did you mean `cutoff_A`"),
    (("learnable_eam=null",), "no model is given"),
    (("body_ordered={}",), "both models are given"),
    (("split={policy: leave_pair_out}",), "needs `pair`"),
    (("split.fractions=[0.5, 0.1, 0.1]",), "do not sum to 1"),
    (("data=[{source: nowhere.xyz}]",), r"data\[0\].source: no file 'nowhere.xyz'.*\n.*put the file there"),
    (("data=[{sorce: gpaw_nbmotaw}]",), r"data\[0\].sorce: no such field\n.*did you mean `source`"),
    (("targets=[{kind: C11, value: 1, tolerance: -1, composition: {W: 1}}]",), r"targets\[0\].tolerance"),
    (("targets=[{kind: C11, value: 1, tolerance: 1, composition: {Fe: 1}}]",), "Fe is not among the elements"),
    (("offsets.table_eV={W: -1}",), "has no Mo"),
])  # fmt: skip
def test_wrong_configurations_name_place_and_remedy(overrides, message):
    with pytest.raises(ConfigError) as caught:
        load_fit(SMALL, overrides)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert "remedy:" in str(caught.value)


@pytest.mark.parametrize(("override", "message"), [
    ("data=[{source: gpaw_nbmotaw, groups: [eos]}]", "has no group eos: it has"),
    ("weights.groups={surface: {energy: 2}}", "names surface, which no source has"),
    ("split={policy: names, test_names: [nobody]}", "no frame is called nobody"),
    ("elements=[Mo, W, Fe]", "no frame holds Fe"),
    ("offsets.table_eV={Mo: -1, W: -2, Fe: -3}", "offsets.table_eV gives Fe, of which there are no data"),
    ("targets=[{kind: stacking_fault, plane: '123', composition: {W: 1}, value: 1, tolerance: 1}]",
     "no plane bcc '123'"),
])  # fmt: skip
def test_data_that_do_not_fit_the_configuration_are_refused(tmp_path, capsys, override, message):
    assert fit(tmp_path / "run", override) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_data_that_are_wrong_stop_the_fit(tmp_path, capsys):
    """One group with a shifted energy reference: named, exit code 2; refuse_errors: false would go on."""
    from hea_jax.electronic import GPAW_NBMOTAW, write_dataset

    data = shipped_dataset()
    frames = tuple(f if g != "b2" else type(f)(f.atoms, f.free_energy_eV + 5.0 * f.atoms.number, f.forces_eV_per_A,
                   f.stress_eV_per_A3) for f, g in zip(data.frames, data.groups, strict=True))  # fmt: skip
    write_dataset(type(data)(frames, data.groups, data.names, data.elements), tmp_path / "wrong.extxyz", GPAW_NBMOTAW)
    source = f"data=[{{source: {tmp_path / 'wrong.extxyz'}}}]"
    assert fit(tmp_path / "run", source, "targets=[]") == 2
    assert re.search(r"group b2: energies \+(4\.9|5\.0)", capsys.readouterr().err)


def test_dry_run_computes_nothing(tmp_path, capsys):
    assert cli.main(["fit", str(SMALL), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for text in ("29 parameters", "elastic_bcc", "to compute"):
        assert text in printed
    assert not (tmp_path / "run").exists()


def test_two_sources_are_joined_with_their_own_labels_and_weights(tmp_path):
    config = load_fit(SMALL, ("data=[{source: gpaw_nbmotaw, groups: [eos_bcc]}, {source: gpaw_nbmotaw, groups: [b2, "
                              "eos_bcc], weight: 2.0}]", "weights={}", "split.policy=random"))
    data = load_data(config, SMALL.parent)
    assert set(np.unique(data.source)) == {0, 1}
    assert {g.split("/")[-1] for g in data.dataset.groups} == {"eos_bcc", "b2"}
    assert len(set(data.dataset.names)) == len(data.dataset)
    weights = fit_weights(data, config.weights, config.data, np.arange(len(data.dataset)))
    assert weights.factors("b2")[0] == pytest.approx(2 * weights.factors(data.dataset.groups[0])[0])


def test_policies_split_as_they_say():
    data = load_data(load_fit(SMALL), SMALL.parent)
    for text, check in (
        ("{policy: leave_pair_out, pair: [Mo, W], cut_families: true}",
         lambda s: {data.dataset.groups[n] for n in s.test} == {"b2"}),
        ("{policy: leave_group_out, groups: [elastic_bcc], cut_families: true}",
         lambda s: {data.dataset.groups[n] for n in s.test} == {"elastic_bcc"}),
    ):  # fmt: skip
        split = split_of(data, load_fit(SMALL, (f"split={text}",)).split, 0)
        assert check(split)
        assert len(split.validation)
    with pytest.raises(DatasetError, match="not in the dataset"):
        split_of(data, load_fit(SMALL, ("split={policy: leave_pair_out, pair: [Mo, Fe]}",)).split, 0)


@pytest.mark.parametrize("name", ["fit_nbmotaw_eam.yaml", "fit_small.yaml"])
def test_shipped_configurations_load(name):
    assert load_fit(CONFIGS / name).name


def test_configuration_with_data_from_elsewhere_says_where_they_come_from(tmp_path):
    text = (CONFIGS / "fit_li2020.yaml").read_text().replace("../../shared", "nowhere")
    (tmp_path / "fit.yaml").write_text(text)
    with pytest.raises(ConfigError, match="put the file there"):
        load_fit(tmp_path / "fit.yaml")


def test_fields_are_listed(capsys):
    assert cli.main(["info", "--fit"]) == 0
    printed = capsys.readouterr().out
    for text in ("optimiser.patience", "targets, each entry", "uncertainty.coverage"):
        assert text in printed


class Quiet:
    """A stage's context that keeps nothing."""

    resolve = staticmethod(lambda path: CONFIGS / path)
    restore = checkpoint = progress = staticmethod(lambda *words: None)


TABLE = "offsets.table_eV={Mo: -3.0, W: -5.0}"
PAIRS = ("learnable_eam=null", "body_ordered={pair_radial: 3, three_radial: 0, four_radial: 0}", "weights={}")


def test_given_offsets_are_held_in_the_linear_fit():
    from hea_jax.app.fit.stage_linear import run_linear

    data = "data=[{source: gpaw_nbmotaw, groups: [b2, vacancy15]}]"
    config = load_fit(SMALL, (*QUICK, *PAIRS, data, TABLE))
    assert run_linear(config, {}, Quiet()).record.offsets_eV == pytest.approx(np.zeros((1, 2)), abs=1e-4)
    free = run_linear(load_fit(SMALL, (*QUICK, *PAIRS, data)), {}, Quiet()).record.offsets_eV
    assert np.abs(free).min() > 0.1


def test_given_offsets_are_held_over_blocks():
    from hea_jax.app.fit.stage_eam_blocks import run_blocks

    config = load_fit(SMALL, (*QUICK, "data=[{source: gpaw_nbmotaw, groups: [b2, eos_bcc]}]", "weights={}", TABLE,
                              "optimiser={gauss_newton_steps: 2}"))
    assert run_blocks(config, {}, Quiet()).record.offsets_eV == pytest.approx(np.zeros((1, 2)), abs=1e-4)


@pytest.fixture(scope="module")
def cut_short():
    """(configuration, result) of an EAM fit that runs out of steps everywhere, with Huber's loss and a target."""
    from hea_jax.app.fit import eam_ending
    from hea_jax.app.fit.stage_eam import run_eam

    target = ("targets=[{kind: energy_difference, composition: {Mo: 0.5, W: 0.5}, lattice: B2, value: -300, "
              "tolerance: 0.001}]")
    config = load_fit(SMALL, (target, "optimiser={adam_steps: 2, lbfgs_steps: 0, newton_steps: 0, huber: 0.5, "
                              "target_steps: 1}", "data=[{source: gpaw_nbmotaw, groups: [b2, eos_bcc]}]", "weights={}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eam_ending, "ROUNDS", 1)
        return config, run_eam(config, {}, Quiet())


def test_every_step_of_an_eam_fit_that_ran_out_is_named(cut_short):
    verdict = cut_short[1].verdicts[0]
    assert not verdict.passed
    for text in ("raise the number of steps", "Huber's loss still changes", "`optimiser.target_steps`"):
        assert text in verdict.text


def test_losses_and_gradient_of_an_eam_fit_are_those_of_what_is_handed_out(cut_short):
    """Recomputed at the exported parameters; the history ends before Huber's loss and the target."""
    from hea_jax.app.fit.eam_problem import eam_problem
    from hea_jax.atomistic.fitting.packing import data_residuals
    from hea_jax.atomistic.fitting.reduced import ScaledObjective

    config, result = cut_short
    problem = eam_problem(config, inputs_of(config, Quiet.resolve))
    for name, packed in (("training_loss", problem.packed), ("validation_loss", problem.validation)):
        assert packed is not None
        r = data_residuals(ScaledObjective(packed, problem.prior).parameters(result.record.extra["z"]), packed)
        assert result.numbers[name].value == pytest.approx(float(np.mean(np.square(r))), rel=1e-9)
    last = result.record.history[-1]
    assert result.numbers["training_loss"].value != pytest.approx(last[2], rel=1e-3)


def test_uncertainty_of_an_eam_knows_its_targets(cut_short):
    from hea_jax.app.fit.stage_uncertainty import _of_eam

    config, result = cut_short
    posterior, _, _ = _of_eam(config, inputs_of(config, Quiet.resolve), result.record)
    assert (np.asarray(posterior.at(1.0).spread(result.record.extra["target_rows"])) <= 1.0).all()


@pytest.mark.parametrize("override", ["optimiser.huber=1.0", "targets=[{kind: C11, composition: {W: 1}, value: 500, "
                                      "tolerance: 5}]"])  # fmt: skip
def test_early_stopping_is_refused_where_later_steps_undo_it(tmp_path, capsys, override):
    assert fit(tmp_path / "run", *QUICK, override) == 2
    assert "set optimiser.patience to 0" in capsys.readouterr().err


@pytest.mark.parametrize(("fields", "message"), [
    ({"kind": "lattice_constant", "lattice": "hcp"}, "cubic crystal, which hcp is not"),
    ({"kind": "C44", "lattice": "hcp"}, "cubic crystal, which hcp is not"),
    ({"kind": "lattice_constant", "value": -3.2}, "`value` -3.2 Å is no lattice constant"),
    ({"kind": "vacancy", "lattice": "sc", "repeats": (1, 1, 1)}, "give 2 or more along every axis"),
])  # fmt: skip
def test_targets_that_their_structure_does_not_have_are_refused(fields, message):
    target = Target(**{"value": 3.0, "tolerance": 0.1, "composition": {"W": 1.0}} | fields)
    with pytest.raises(DatasetError, match=re.escape(message)):
        built(target, ("Mo", "W"), 4.5, None, {"W": 3.2})


def test_a_linear_fit_refuses_data_in_which_no_function_gives_a_force(tmp_path, capsys):
    assert fit(tmp_path / "run", *QUICK, "learnable_eam=null", "body_ordered={}") == 2
    assert "perfect lattices, on whose atoms no function gives a force" in capsys.readouterr().err


def test_only_a_matrix_that_is_not_definite_is_blamed_on_the_prior():
    from hea_jax.app.fit.stage_linear import _blank, _solved, model_of, prior_at

    config = load_fit(SMALL, (*QUICK, *PAIRS))
    template = model_of(config.body_ordered).template(("Mo", "W"))
    blank = _blank(template, [], 0, species=np.arange(2))
    with pytest.raises(ValueError, match=r"displaced structures to the data$"):
        _solved([blank], template, prior_at(config, 0.1))
    bad = type(blank)(**{**vars(blank), "gram": -1e9 * np.eye(len(blank.gram)), "force_square": np.ones_like(
        blank.force_square), "force_rows": 1})  # fmt: skip
    with pytest.raises(ValueError, match=r"lower `body_ordered.prior.scales_eV_per_A`"):
        _solved([bad], template, prior_at(config, 0.1))
