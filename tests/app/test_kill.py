"""SIGKILL at any moment, then the same run again: it goes on, and ends with the same summary."""

import signal
import subprocess
import sys
from pathlib import Path

import fake_chain
import pytest

from hea_jax.app.runs import FolderLocked, run_chain, without_timings
from hea_jax.app.study import stages as real_stages

DRIVER = Path(fake_chain.__file__)
SMALL = Path(__file__).parents[2] / "configs" / "nbmotaw_small.yaml"
EVENTS = ["started", "computed", "stored", "complete"]
KILLED = -signal.SIGKILL


def drive(folder, kill, *more):
    """Run the driver in a process of its own and return its exit status."""
    command = [sys.executable, str(DRIVER), str(folder), kill, *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


def finished(folder, stages=fake_chain.STAGES):
    """Go on in this process; the summary without timings and the names of the stages that had to be computed."""
    fake_chain.computed.clear()
    fake_chain.hooks.update(step=None, sleep=False)
    return without_timings(run_chain(stages, fake_chain.FakeConfig(), folder)), list(fake_chain.computed)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The summary of a run that nobody disturbed."""
    return finished(tmp_path_factory.mktemp("undisturbed") / "run")[0]


@pytest.mark.parametrize("stage", [stage.name for stage in fake_chain.STAGES])
@pytest.mark.parametrize("event", EVENTS)
def test_killed_in_a_stage(tmp_path, reference, stage, event):
    assert drive(tmp_path, f"event:{stage}:{event}") == KILLED
    summary, computed = finished(tmp_path)
    names = [s.name for s in fake_chain.STAGES]
    complete = names.index(stage) + (event == "complete")
    assert summary == reference
    assert computed == names[complete:]
    assert_tidy(tmp_path)


def assert_tidy(folder):
    """Nothing half-written is left, and every file that a run makes is there."""
    assert [p for p in folder.rglob("*") if p.name.startswith(".partial")] == []
    assert {p.name for p in folder.iterdir()} <= {
        "summary.json", "report.html", "config.json", "run.lock", "stages", "checkpoints",
    }  # fmt: skip
    assert finished(folder)[1] == []


@pytest.mark.parametrize("number", [1, 3, 7, 12, 20, 29])
def test_killed_in_a_disk_call(tmp_path, reference, number):
    assert drive(tmp_path, f"disk:{number}") == KILLED
    assert finished(tmp_path)[0] == reference
    assert_tidy(tmp_path)


@pytest.mark.slow
def test_killed_in_every_disk_call(tmp_path, reference):
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        if drive(folder, f"disk:{number}") == 0:
            break
        assert finished(folder)[0] == reference, f"killed in disk call {number}"
        assert_tidy(folder)
    assert number > 30


def test_killed_again_and_again_in_one_folder(tmp_path, reference):
    # Replacing a complete result is the delicate part: a changed stage file forces it.
    assert drive(tmp_path, "none") == 0
    (tmp_path / "stages" / "second" / "result.h5").write_bytes(b"half")
    for number in range(3, 30, 4):
        drive(tmp_path, f"disk:{number}")
    assert finished(tmp_path)[0] == reference
    assert_tidy(tmp_path)


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_killed_within_an_hdf5_file(tmp_path, reference, number):
    assert drive(tmp_path, f"hdf5:{number}") == KILLED
    assert finished(tmp_path)[0] == reference


@pytest.mark.parametrize("step", [0, 3, 5])
def test_killed_in_a_loop_goes_on_from_its_checkpoint(tmp_path, step):
    undisturbed = finished(tmp_path / "undisturbed", fake_chain.LOOPED)[0]
    assert drive(tmp_path / "run", f"step:{step}") == KILLED
    summary, computed = finished(tmp_path / "run", fake_chain.LOOPED)
    assert summary == undisturbed
    assert computed == [f"looped {list(range(step, fake_chain.STEPS))}"]
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_second_run_waits_outside_and_a_dead_one_is_taken_over(tmp_path, reference):
    command = [sys.executable, str(DRIVER), str(tmp_path), "sleep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeping\n"
        with pytest.raises(FolderLocked, match=rf"in use by process {process.pid} .*--out"):
            finished(tmp_path)
        process.kill()
    summary, computed = finished(tmp_path)
    assert (summary, computed) == (reference, ["second", "third"])


@pytest.mark.slow
@pytest.mark.skipif(not real_stages(), reason="the study has no stages")
def test_real_chain_killed_in_every_stage(tmp_path):
    assert drive(tmp_path / "undisturbed", "none", SMALL) == 0
    for i, stage in enumerate(real_stages()):
        assert drive(tmp_path / "run", f"event:{stage.name}:{EVENTS[i % 3]}", SMALL) == KILLED
    assert drive(tmp_path / "run", "disk:9", SMALL) == KILLED
    assert drive(tmp_path / "run", "none", SMALL) == 0
    summaries = [read_summary(tmp_path / name) for name in ("undisturbed", "run")]
    assert summaries[0] == summaries[1]


def read_summary(folder):
    """The summary in a folder without timings."""
    import json

    return without_timings(json.loads((folder / "summary.json").read_text()))
