"""Run folders: what is computed again and what is not, what is refused, what is written."""

import json

import fake_chain
import jax
import numpy as np
import pytest
from fake_chain import STAGES, FakeConfig, Section

from hea_jax.app.runs import Number, Stage, StageFailed, StageResult, plan, run_chain, without_timings
from hea_jax.app.runs.programs import release_programs


def run(folder, config=None, stages=STAGES):
    """Run the fake chain; the summary and the names of the stages computed."""
    fake_chain.computed.clear()
    summary = run_chain(stages, config or FakeConfig(), folder)
    return summary, list(fake_chain.computed)


def test_summary_has_unit_uncertainty_provenance_and_seconds(tmp_path):
    summary, _ = run(tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["numbers"]) == ["first.mean", "second.total", "third.product"]
    for name, number in summary["numbers"].items():
        assert set(number) == {"value", "unit", "uncertainty", "provenance"}
        assert number["unit"] == "GPa"
        assert set(number["provenance"]) == {"stage", "method", "source"}
        assert number["provenance"]["stage"] == name.split(".")[0]
    assert summary["numbers"]["second.total"]["uncertainty"] is None
    assert np.shape(summary["numbers"]["third.product"]["value"]) == (4, 2)
    assert set(summary["seconds"]["stages"]) == {"first", "second", "third"}
    assert summary["verdicts"][0]["passed"] is True
    assert summary["warnings"] == [{"stage": "second", "text": "this chain is fake"}]
    assert summary["versions"]["jax"]


def test_a_second_run_computes_nothing_and_says_the_same(tmp_path):
    first, computed = run(tmp_path)
    again, nothing = run(tmp_path)
    assert (computed, nothing) == (["first", "second", "third"], [])
    assert again == first


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 2}, ["first", "second", "third"]),
        ({"second": Section(size=5)}, ["second", "third"]),
        ({"third": Section(size=9)}, ["third"]),
        ({"name": "other"}, []),
    ],
)
def test_a_change_recomputes_what_depends_on_it(tmp_path, change, expected):
    run(tmp_path)
    summary, computed = run(tmp_path, FakeConfig(**change))
    assert computed == expected
    assert without_timings(summary) == without_timings(run(tmp_path / "fresh", FakeConfig(**change))[0])


def test_another_version_of_a_stage_is_another_stage(tmp_path):
    run(tmp_path)
    changed = (*STAGES[:1], Stage("second", fake_chain.second, ("first",), ("second",), version="2"), *STAGES[2:])
    assert run(tmp_path, stages=changed)[1] == ["second", "third"]


def test_other_code_computes_everything(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr("hea_jax.app.runs.runner.code_hash", lambda: "other")
    assert run(tmp_path)[1] == ["first", "second", "third"]


def test_an_input_file_is_part_of_the_key(tmp_path):
    data = tmp_path / "data.txt"
    data.write_text("1")

    def read(config, inputs, context):
        fake_chain.computed.append("read")
        return StageResult(numbers={"x": Number(float(context.resolve("data.txt").read_text()), "1")})

    stages = (Stage("read", read, files=lambda config, base: [base / "data.txt"]),)
    values = []
    for text in ("1", "1", "2"):
        data.write_text(text)
        fake_chain.computed.clear()
        summary = run_chain(stages, FakeConfig(), tmp_path / "run", base=tmp_path)
        values.append((summary["numbers"]["read.x"]["value"], len(fake_chain.computed)))
    assert values == [(1.0, 1), (1.0, 0), (2.0, 1)]


@pytest.mark.parametrize("victim", ["result.h5", "numbers.json", "complete.json", "values.txt"])
@pytest.mark.parametrize("damage", ["cut", "removed", "flipped"])
def test_a_damaged_result_is_computed_again(tmp_path, victim, damage):
    reference = without_timings(run(tmp_path)[0])
    path = tmp_path / "stages" / "first" / victim
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content[:10] + bytes([content[10] ^ 1]) + content[11:])
    summary, computed = run(tmp_path)
    assert (without_timings(summary), computed) == (reference, ["first"])


def test_plan_shows_what_is_there_and_writes_nothing(tmp_path):
    folder = tmp_path / "run"
    assert [p.stored for p in plan(STAGES, FakeConfig(), folder)] == [None] * 3
    assert not folder.exists()
    run(folder)
    planned = plan(STAGES, FakeConfig(second=Section(size=8)), folder)
    assert [p.stored is not None for p in planned] == [True, False, False]


def test_a_failure_is_kept_and_the_folder_goes_on(tmp_path):
    def breaks(config, inputs, context):
        raise ArithmeticError("det F <= 0: cut the load step")

    broken = (STAGES[0], Stage("second", breaks, ("first",), ("second",)), STAGES[2])
    with pytest.raises(StageFailed, match="stage second failed: ArithmeticError: det F <= 0: cut the load step"):
        run(tmp_path, stages=broken)
    assert "in breaks" in (tmp_path / "failure.txt").read_text()
    assert not (tmp_path / "summary.json").exists()
    assert run(tmp_path)[1] == ["second", "third"]
    assert not (tmp_path / "failure.txt").exists()


def numbers(value, **more):
    """A chain of one stage that gives one number."""
    return (Stage("one", lambda config, inputs, context: StageResult(numbers={"x": Number(value, "GPa", **more)})),)


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "'x' is nan"), (float("inf"), "'x' is inf"),
                                              ({"a": 1}, "'x' is a dict"), (1j, "'x' is a complex")])  # fmt: skip
def test_a_number_that_is_none_is_refused(tmp_path, value, words):
    with pytest.raises(StageFailed, match=words):
        run(tmp_path, stages=numbers(value))


def test_an_unknown_uncertainty_is_null(tmp_path):
    summary, _ = run(tmp_path, stages=numbers(np.ones(2), uncertainty=np.array([np.nan, 0.5])))
    assert summary["numbers"]["one.x"]["uncertainty"] == [None, 0.5]


def test_a_stage_sees_only_what_it_declares(tmp_path):
    peeks = Stage("peeks", lambda config, inputs, context: config.third, config=("second",))
    with pytest.raises(StageFailed, match=r"reads 'third' of the configuration without declaring it"):
        run(tmp_path, stages=(peeks,))
    peeks = Stage("peeks", lambda config, inputs, context: inputs["first"])
    with pytest.raises(StageFailed, match=r"uses the result of 'first' without declaring it"):
        run(tmp_path, stages=(STAGES[0], peeks))


def test_a_stage_must_return_a_result(tmp_path):
    with pytest.raises(StageFailed, match="returned a dict, not a StageResult"):
        run(tmp_path, stages=(Stage("one", lambda config, inputs, context: {}),))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((STAGES[1],), "needs first, which does not stand before it"),
        ((STAGES[0], STAGES[0]), "two stages are called 'first'"),
        ((Stage("a/b", fake_chain.first),), "not an identifier"),
        ((Stage("a", fake_chain.first, config=("absent",)),), "reads absent"),
    ],
)
def test_wrong_chains(tmp_path, stages, words):
    with pytest.raises(ValueError, match=words):
        run(tmp_path, stages=stages)


def test_handover_names_existing_numbers():
    with pytest.raises(ValueError, match="handover names numbers that the stage does not give: y"):
        StageResult(numbers={"x": Number(1.0, "1")}, handover=("y",))


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_stage_files_stay_in_the_folder(tmp_path, name):
    stage = Stage("one", lambda config, inputs, context: context.path(name))
    with pytest.raises(StageFailed, match="not a plain file name"):
        run(tmp_path, stages=(stage,))


def test_checkpoints_of_another_shape_or_damaged_are_left_out(tmp_path):
    seen = []

    def stage(config, inputs, context):
        state = {"a": np.arange(3.0), "b": (np.int64(2),)}
        context.checkpoint("state", state)
        kept = context.restore("state", state)
        seen.append(np.array_equal(kept["a"], state["a"]) and kept["b"][0] == 2)
        seen.append(context.restore("state", {"a": np.zeros(4), "b": (np.int64(0),)}))
        seen.append(context.restore("state", {"a": np.zeros(3)}))
        seen.append(context.restore("absent", state))
        (path,) = (tmp_path / "checkpoints").rglob("state.h5")
        path.write_bytes(path.read_bytes()[:100])
        seen.append(context.restore("state", state))
        return StageResult()

    summary, _ = run(tmp_path, stages=(Stage("one", stage),))
    assert seen == [True, None, None, None, None]
    assert len(summary["warnings"]) == 3


def test_compiled_programs_are_let_go_before_memory_maps_run_out(tmp_path):
    maps, limit = tmp_path / "maps", tmp_path / "limit"
    limit.write_text("100\n")
    compiled = jax.jit(lambda x: x + 1)
    compiled(1.0)
    for used, let_go in ((40, False), (60, True)):
        maps.write_text("a map\n" * used)
        assert release_programs(maps, limit) is let_go
        assert compiled._cache_size() == (0 if let_go else 1)
    assert not release_programs(tmp_path / "nowhere", limit)
