"""``hea-jax verify``: what passes, what fails, what is skipped, and the rows it writes."""

import json
import math
import sys
import time
import types

import pytest

from hea_jax.app import cli
from hea_jax.app.verify import SCALES, Case, Check, Skip, runner

KEYS = ["scale", "case", "computed", "reference", "unit", "tolerance", "passed", "source", "seconds"]


def check(computed, reference=1.0, tolerance=0.1):
    """A check of a made-up number."""
    return Check("number", computed, reference, "GPa", tolerance, "somebody 2020")


@pytest.mark.parametrize(
    ("computed", "reference", "tolerance", "passed"),
    [(1.0, 1.0, 0.0, True), (1.1, 1.0, 0.125, True), (1.5, 1.0, 0.125, False), (-1.0, 1.0, 0.5, False),
     (math.nan, 1.0, 1.0, False), (1.0, math.nan, 1.0, False), (1.0, 1.0, math.nan, False),
     (math.inf, math.inf, 1, False), (math.inf, 1.0, 1e300, False)],
)  # fmt: skip
def test_a_check_passes_within_its_tolerance(computed, reference, tolerance, passed):
    assert check(computed, reference, tolerance).passed is passed


def test_a_case_has_a_known_scale():
    with pytest.raises(ValueError, match="scale 'nano' is none of electronic"):
        Case("nano", "x", list)


def skips():
    """A case without its peer."""
    raise Skip("LAMMPS is not installed")


def breaks():
    """A case with a bug."""
    raise ZeroDivisionError("by zero")


def slow():
    """A case that takes a moment."""
    time.sleep(0.05)
    return [check(1.05), check(2.0)]


CASES = [
    Case("continuum", "slow", slow), Case("atomistic", "skips", skips), Case("continuum", "breaks", breaks),
    Case("continuum", "empty", list), Case("hierarchical", "nan", lambda: [check(math.nan)]),
]  # fmt: skip


@pytest.fixture
def fake_cases(monkeypatch):
    """Put the cases above in the place of the real ones."""
    module = types.ModuleType("fake")
    module.cases = lambda: list(CASES)
    monkeypatch.setitem(sys.modules, "hea_jax.app.verify.fake", module)
    monkeypatch.setattr(runner, "MODULES", ("fake",))


def test_rows(fake_cases):
    cases = runner.collect()
    assert [case.scale for case in cases] == sorted((c.scale for c in CASES), key=SCALES.index)
    rows = {case.name: runner.run_case(case) for case in cases}
    assert [row["passed"] for row in rows["slow"]] == [True, False]
    assert all(list(row) == KEYS and row["seconds"] >= 0.05 for row in rows["slow"])
    assert (rows["skips"][0]["passed"], rows["skips"][0]["skipped"]) == (None, "LAMMPS is not installed")
    assert (rows["breaks"][0]["passed"], rows["breaks"][0]["error"]) == (False, "ZeroDivisionError: by zero")
    assert (rows["empty"][0]["passed"], rows["empty"][0]["error"]) == (False, "ValueError: the case gave no check")
    assert (rows["nan"][0]["passed"], rows["nan"][0]["computed"]) == (False, None)


def test_command_writes_json_and_says_whether_anything_failed(fake_cases, tmp_path, capsys):
    assert cli.main(["verify", "--json", str(tmp_path / "new" / "rows.json")]) == 1
    rows = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert [row["case"] for row in rows] == ["skips", "number", "number", "breaks", "empty", "number"]
    assert all(set(KEYS) <= set(row) for row in rows)
    printed = capsys.readouterr().out
    assert "1 passed, 4 failed, 1 skipped" in printed
    assert "LAMMPS is not installed" in printed


def test_one_scale(fake_cases, capsys):
    assert cli.main(["verify", "--scale", "atomistic"]) == 0
    assert "0 passed, 0 failed, 1 skipped" in capsys.readouterr().out
    assert cli.main(["verify", "--scale", "uncertainty"]) == 0
    assert "no case of the uncertainty scale" in capsys.readouterr().out
    assert cli.main(["verify", "--scale", "nano"]) == 2
    assert "the scales are electronic" in capsys.readouterr().err


def test_list_runs_nothing(fake_cases, capsys):
    assert cli.main(["verify", "--list"]) == 0
    assert capsys.readouterr().out.split() == [w for c in runner.collect() for w in (c.scale, c.name)]


def test_names_are_unique(fake_cases, monkeypatch):
    monkeypatch.setattr(runner, "MODULES", ("fake", "fake"))
    with pytest.raises(ValueError, match="two cases are called"):
        runner.collect()


def test_a_missing_module_is_an_error(monkeypatch):
    monkeypatch.setattr(runner, "MODULES", ("absent",))
    with pytest.raises(ModuleNotFoundError):
        runner.collect()


def test_real_cases_are_well_formed():
    for case in runner.collect():
        assert case.scale in SCALES
        assert case.name
