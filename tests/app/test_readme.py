"""What README and the scripts promise exists."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from hea_jax.app import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = ["scripts/quickstart", "scripts/test", "scripts/environment.bash", ".ci/run"]
COMMANDS = re.findall(r"^hea-jax ([^#\n]+)", README, re.MULTILINE)


def test_the_first_commands_are_scripts_that_can_be_executed():
    first = re.search(r"```bash\n(.*?)```", README, re.DOTALL)
    assert first
    commands = [line.split()[0] for line in first[1].splitlines()]
    assert commands == ["scripts/quickstart", "scripts/test"]
    assert all(os.access(ROOT / command, os.X_OK) for command in commands)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_valid_bash(script):
    assert subprocess.run(["bash", "-n", str(ROOT / script)], check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_are_understood(command, monkeypatch):
    seen = []
    for name in ("_run", "_dft", "_fit", "_verify", "_info"):
        monkeypatch.setattr(cli, name, lambda parsed: seen.append(parsed) or 0)
    assert cli.main(command.split()) == 0
    if command.split()[0] in ("run", "dft", "fit"):
        assert (ROOT / seen[0].config).is_file()


def test_links_and_paths_of_the_readme_exist():
    assert len(COMMANDS) >= 6
    assert "@@" not in README
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:configs|tests|scripts)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["dev"]]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=!\[; ]", item)[0]).lower() for item in wanted}
    assert names - pinned == set()


def test_workflow_runs_the_same_command_on_both_pythons():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["tests"]
    assert {item["python"] for item in job["strategy"]["matrix"]["include"]} == {"3.11", "3.12"}
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])


def test_a_script_without_a_python_says_what_to_do(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HEA_JAX_VENV": str(tmp_path / "venv"), "HEA_JAX_PYTHON": "/bin/false"}
    done = subprocess.run([ROOT / "scripts/quickstart"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no Python >= 3.11" in done.stderr
    assert sys.version_info >= (3, 11)


def test_no_source_is_ignored_by_git():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = [str(path) for path in (ROOT / "hea_jax").rglob("*") if path.suffix in (".py", ".css", ".extxyz")]
    done = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""
