"""The command line: help, dry runs, exit codes, and the settings it makes before JAX is used."""

import os
import subprocess
import sys
from pathlib import Path

import fake_chain
import pytest

from hea_jax.app import cli
from hea_jax.app.runs import Number, Stage, StageResult, Verdict

CONFIG = str(Path(__file__).parents[2] / "configs" / "nbmotaw.yaml")


def first(config, inputs, context):
    """The first stage of the fake chain on the real configuration."""
    return fake_chain.first(fake_chain.FakeConfig(), inputs, context)


@pytest.fixture
def fake_study(monkeypatch):
    """A study of one cheap stage."""
    monkeypatch.setattr("hea_jax.app.study.stages", lambda: (Stage("first", first, config=("seed", "rve")),))


@pytest.mark.parametrize("arguments", [[], ["run"], ["verify"], ["info"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    words = {"run": ["--set", "--dry-run", "--out", "repeated"], "verify": ["--scale", "--json", "--list"]}
    for word in words.get(arguments[0], ["--config"]) if arguments else ["run", "verify", "info"]:
        assert word in printed


@pytest.mark.parametrize("arguments", [["walk"], ["run"], ["run", CONFIG, "--unknown"]])
def test_a_wrong_command_line_is_2(arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_a_wrong_configuration_is_2_and_starts_nothing(tmp_path, capsys):
    assert cli.main(["run", CONFIG, "--out", str(tmp_path / "run"), "--set", "rve.n_grain=3"]) == 2
    assert "--set rve.n_grain=3: rve.n_grain: no such field\n    remedy: did you mean" in capsys.readouterr().err
    assert cli.main(["run", str(tmp_path / "absent.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_dry_run_run_and_dry_run_again(fake_study, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["run", CONFIG, "--out", str(folder), "--set", "rve.n_grains=21", "--set", "seed=7"]
    assert cli.main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "n_grains: 21" in printed
    assert "seed: 7" in printed
    assert "to compute" in printed
    assert not folder.exists()
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "[1/1] first: started\nfirst: done in" in printed
    assert str(folder / "report.html") in printed
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "done," in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert "first: in the run folder already" in capsys.readouterr().out


def test_checks_that_are_not_met_are_told_and_are_no_failure(tmp_path, monkeypatch, capsys):
    def judged(config, inputs, context):
        verdicts = [Verdict("stable", False, "C' = -1 GPa"), Verdict("converged", True, "1e-9")]
        return StageResult({}, {"length": Number(1.0, "Å")}, verdicts)

    monkeypatch.setattr("hea_jax.app.study.stages", lambda: (Stage("first", judged),))
    assert cli.main(["run", CONFIG, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "NOT MET  first: stable: C' = -1 GPa", "1 of 2 checks met, 1 numbers", f"report: {tmp_path / 'report.html'}",
        f"summary: {tmp_path / 'summary.json'}"]  # fmt: skip


def test_the_run_folder_is_named_after_the_study(fake_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", CONFIG]) == 0
    assert (tmp_path / "runs" / "nbmotaw" / "summary.json").is_file()


def test_a_failed_stage_is_1_and_an_interruption_130(tmp_path, monkeypatch, capsys):
    def stages_raising(error):
        def stage(config, inputs, context):
            raise error

        monkeypatch.setattr("hea_jax.app.study.stages", lambda: (Stage("first", stage),))

    stages_raising(ArithmeticError("det F <= 0"))
    assert cli.main(["run", CONFIG, "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "stage first failed: ArithmeticError: det F <= 0" in message
    assert str(tmp_path / "failure.txt") in message
    stages_raising(KeyboardInterrupt())
    assert cli.main(["run", CONFIG, "--out", str(tmp_path)]) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_a_file_in_the_way_is_2(fake_study, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    assert cli.main(["run", CONFIG, "--out", str(tmp_path / "run")]) == 2
    assert "run" in capsys.readouterr().err


def test_info(capsys):
    assert cli.main(["info"]) == 0
    assert "jaxlib" in capsys.readouterr().out
    assert cli.main(["info", "--config"]) == 0
    assert "fit.weights.force_scale_eV_per_A" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["HEA_JAX_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"])
def test_the_entry_point_sets_double_precision_and_the_cache(tmp_path, variable):
    code = (
        "import sys\nfrom hea_jax.app import cli\nassert 'jax' not in sys.modules\n"
        "assert cli.main(['info']) == 0\nimport jax\nassert jax.config.jax_enable_x64\n"
        "print(jax.config.jax_compilation_cache_dir)"
    )
    drop = ("HEA_JAX_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "JAX_ENABLE_X64")
    environment = {k: v for k, v in os.environ.items() if k not in drop} | {variable: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    expected = tmp_path / "hea_jax" / "compiled" if variable == "XDG_CACHE_HOME" else tmp_path
    assert done.stdout.splitlines()[-1] == str(expected)


def test_python_m():
    done = subprocess.run([sys.executable, "-m", "hea_jax", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: hea-jax")
