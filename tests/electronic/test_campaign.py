"""Campaigns with ASE's own calculators: resume after a kill, failures, provenance, merging."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import campaign_calculators
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.io import read

import hea_jax
from hea_jax.electronic.campaign import (
    CampaignError,
    Engine,
    FixedMesh,
    PointsPerCellEdge,
    Spacing,
    Task,
    campaign_frames,
    check_tasks,
    estimated_seconds,
    interleaved,
    merge,
    merged_dataset,
    read_known,
    run_campaign,
    summary_rows,
)
from hea_jax.electronic.campaign.folder import CampaignFolder
from hea_jax.structures.crystals import displaced, repeated
from hea_jax.structures.ordered import PROTOTYPES, ordered

HERE = str(Path(campaign_calculators.__file__).parent)
LJ = {"sigma": 2.5, "epsilon": 0.4, "rc": 5.0}


def bcc(symbol, a, repeats=(1, 1, 1)):
    return repeated(ordered(PROTOTYPES["bcc"], (symbol,), a), repeats)


def tasks_of(number, *, group="eos"):
    """Cells of 2 atoms at several volumes."""
    return [Task(f"{group}-{n}", group, bcc("W", 3.0 + 0.05 * n)) for n in range(number)]


def bad(habit="", **options):
    """An engine of badly behaved calculators."""
    fields = {f.name for f in dataclasses.fields(Engine)}
    more = {key: options.pop(key) for key in list(options) if key in fields}
    return Engine("campaign_calculators:Bad", {"habit": habit, **options}, module_path=(HERE,), **more)


def test_a_campaign_computes_what_the_calculator_gives(tmp_path):
    cell = bcc("W", 3.1, (2, 1, 1))
    cell = displaced(cell, np.random.default_rng(0).normal(0, 0.05, (4, 3)))
    tasks = [Task("rattled", "random", cell), *tasks_of(1)]
    events = []
    engine = Engine("lennard-jones", LJ, processes=2, method={"xc": "none"}, python=sys.executable)
    outcome = run_campaign(tasks, engine, tmp_path, observer=lambda *event: events.append(event[:2]))
    assert (sorted(outcome.computed), outcome.failures) == (["eos-0", "rattled"], ())
    assert {("started", "rattled"), ("finished", "rattled")} <= set(events)
    frame = campaign_frames(tasks, tmp_path)[0]
    atoms = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True, calculator=LennardJones(**LJ))
    assert frame.info["free_energy_eV"] == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=1e-9)
    assert frame.info["energy_eV"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(frame.arrays["forces_eV_per_A"], atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(frame.info["stress_eV_per_A3"], atoms.get_stress(voigt=False), atol=1e-12)

    said = {"engine": "lennard-jones", "xc": "none", "hea_jax": hea_jax.__version__, "group": "random", "attempt": 1}
    assert {key: frame.info[key] for key in said} == said
    assert json.loads(frame.info["parameters"]) == LJ
    assert frame.info["seconds"] >= 0
    assert str(frame.info["date"]).startswith("20")
    assert frame.info["engine_version"] == frame.info["ase_version"]

    assert merge(tasks, tmp_path) == {"dataset.extxyz": 2, "convergence.extxyz": 0}
    data = merged_dataset(tmp_path, ("W",))
    assert data.names == ("rattled", "eos-0")
    assert float(data.frames[0].free_energy_eV) == pytest.approx(frame.info["free_energy_eV"])
    rows = summary_rows(tasks, campaign_frames(tasks, tmp_path), [])
    assert [(r["group"], r["structures"], r["finished"], r["failed"]) for r in rows] == [
        ("random", 1, 1, 0), ("eos", 1, 1, 0)]  # fmt: skip
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"rattled.extxyz", "eos-0.extxyz", "rattled.log", "eos-0.log", "failures.json", "dataset.extxyz"}

    # The same again computes nothing; other settings or another structure are refused, whole.
    again = run_campaign(tasks, engine, tmp_path)
    assert (again.computed, sorted(again.reused)) == ((), ["eos-0", "rattled"])
    with pytest.raises(CampaignError, match=r"(?s)2 result.*other settings.*delete"):
        run_campaign(tasks, dataclasses.replace(engine, parameters={**LJ, "rc": 4.0}), tmp_path)
    with pytest.raises(CampaignError, match=r"(?s)1 result.*rattled is another structure"):
        run_campaign([dataclasses.replace(tasks[0], crystal=bcc("W", 3.1))], engine, tmp_path)

    # What is known is not computed.
    known = read_known(tmp_path / "dataset.extxyz", {"xc": "of before", "smearing_eV": 0.1})
    elsewhere = tmp_path / "elsewhere"
    third = run_campaign(tasks, engine, elsewhere, known=known)
    assert (third.computed, third.known) == ((), ("rattled", "eos-0"))
    merge(tasks, elsewhere, known)
    info = read(elsewhere / "dataset.extxyz", 0).info
    assert (info["xc"], info["smearing_eV"], info["origin"]) == ("none", 0.1, "dataset.extxyz")
    with pytest.raises(CampaignError, match="known frames: rename"):
        run_campaign([dataclasses.replace(tasks[0], crystal=bcc("W", 3.1))], engine, elsewhere, known=known)


@pytest.mark.parametrize(("habit", "error", "options"), [
    ("raises", "RuntimeError: the density ran away", {}),
    ("dies", r"killed by SIGKILL \(out of memory\?\), see .*big\.log", {}),
    ("exits", r"exit code 9", {}),
    ("nan", "energy, forces or stress are not finite", {}),
    ("does not converge", "SCFError: no convergence", {}),
    ("", r"stopped after timeout_s = 0.3 s", {"seconds": 60.0, "timeout_s": 0.3}),
])  # fmt: skip
def test_a_failing_structure_is_reported_and_left_out(tmp_path, habit, error, options):
    tasks = [Task("big", "alloy", bcc("W", 3.1, (1, 1, 2)))]
    # One other structure shows that a failure stops nothing; once is enough.
    tasks += tasks_of(1) if habit == "raises" else []
    outcome = run_campaign(tasks, bad(habit, atoms=4, **options), tmp_path)
    assert [record["name"] for record in outcome.failures] == ["big"]
    assert outcome.computed == tuple(task.name for task in tasks[1:])
    record = json.loads((tmp_path / "failures.json").read_text())[0]
    assert record["group"] == "alloy"
    import re

    assert re.search(error, record["error"]), record["error"]
    assert merge(tasks, tmp_path)["dataset.extxyz"] == len(tasks) - 1
    assert not list(tmp_path.rglob("*.partial-*"))


def test_failures_stay_until_they_are_to_be_retried(tmp_path):
    tasks = [Task("big", "alloy", bcc("W", 3.1, (1, 1, 2)))]
    assert run_campaign(tasks, bad("raises", atoms=4), tmp_path).failures
    events = []
    kept = run_campaign(tasks, bad("raises", atoms=4), tmp_path, observer=lambda *e: events.append(e))
    assert (len(kept.failures), events) == (1, [])
    run_campaign(tasks, bad("raises", atoms=4), tmp_path, observer=lambda *e: events.append(e[0]), retry_failed=True)
    assert events == ["started", "failed"]
    # Other settings are another calculation.
    assert run_campaign(tasks, bad("", atoms=4), tmp_path).computed == ("big",)
    assert json.loads((tmp_path / "failures.json").read_text()) == []


def test_no_convergence_is_tried_again_with_other_mixing(tmp_path):
    engine = bad("does not converge", retries=({"mixing": 0.3}, {"mixing": 0.05}))
    assert run_campaign(tasks_of(1), engine, tmp_path).computed == ("eos-0",)
    frame = campaign_frames(tasks_of(1), tmp_path)[0]
    assert (frame.info["attempt"], json.loads(frame.info["parameters"])["mixing"]) == (3, 0.05)
    assert frame.info["engine_version"] == "7.5" or frame.info["engine_version"] == 7.5
    log = (tmp_path / "logs" / "eos-0.log").read_text()
    assert "attempt 1 did not converge; trying again with {'mixing': 0.3}" in log


def test_a_calculator_with_one_energy_and_no_stress(tmp_path):
    engine = Engine("campaign_calculators:OneEnergy", LJ, module_path=(HERE,), stress=False)
    tasks = tasks_of(1)
    assert run_campaign(tasks, engine, tmp_path).computed == ("eos-0",)
    frame = campaign_frames(tasks, tmp_path)[0]
    assert "has no free energy" in frame.info["energy_with_forces"]
    assert "stress_eV_per_A3" not in frame.info
    merge(tasks, tmp_path)
    assert len(merged_dataset(tmp_path, ("W",), with_stress=False)) == 1


def test_an_engine_that_does_not_start_is_said(tmp_path):
    with pytest.raises(CampaignError, match="does not start"):
        run_campaign(tasks_of(1), Engine("emt", python=str(tmp_path / "absent")), tmp_path / "run")
    assert CampaignFolder(tmp_path / "run").claim("eos-0") is not None


DRIVER = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_campaign import bad, tasks_of
from hea_jax.electronic.campaign import run_campaign
run_campaign(tasks_of(5), bad(seconds={seconds}, processes=2), Path(sys.argv[1]),
             observer=lambda *event: print(*event[:2], flush=True))
"""


def drive(folder, seconds=0.5):
    """A campaign in a process of its own."""
    code = DRIVER.format(here=HERE, seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def claimed_soon(store, name, seconds=20.0):
    """The lock of a structure as soon as it is free."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lock = store.claim(name)
        if lock is not None:
            return lock
        time.sleep(0.05)
    raise AssertionError(f"{name} is still locked: its engine lives on")


def test_killed_in_the_middle_it_goes_on(tmp_path):
    with drive(tmp_path) as process:
        assert process.stdout is not None
        lines = []
        while len([line for line in lines if line.startswith("finished")]) < 2:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    store = CampaignFolder(tmp_path)
    finished = {path.stem for path in (tmp_path / "structures").glob("*.extxyz")}
    assert 2 <= len(finished) < 5
    # Engines of a dead campaign end themselves, and with them go their locks.
    for task in tasks_of(5):
        store.release(task.name, claimed_soon(store, task.name))
    finished = {path.stem for path in (tmp_path / "structures").glob("*.extxyz")}
    tasks, engine = tasks_of(5), bad(seconds=0.5, processes=2)
    outcome = run_campaign(tasks, engine, tmp_path)
    assert set(outcome.reused) == finished
    assert set(outcome.computed) == {task.name for task in tasks} - finished
    merge(tasks, tmp_path)
    energies = [float(frame.free_energy_eV) for frame in merged_dataset(tmp_path, ("W",)).frames]
    undisturbed = [Atoms(t.crystal.symbols, positions=t.crystal.positions, cell=t.crystal.cell, pbc=True,
                         calculator=LennardJones(**LJ)).get_potential_energy() for t in tasks]  # fmt: skip
    np.testing.assert_allclose(energies, undisturbed, atol=1e-9)
    assert not list(tmp_path.rglob("*.partial-*"))
    assert not list((tmp_path / "locks").iterdir())
    assert not list((tmp_path / "requests").iterdir())


def test_an_interruption_is_no_failure(tmp_path):
    with drive(tmp_path, seconds=30.0) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("started")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) != 0
    store = CampaignFolder(tmp_path)
    for task in tasks_of(5):
        store.release(task.name, claimed_soon(store, task.name, seconds=5.0))
    assert not list((tmp_path / "failures").iterdir())
    assert not list((tmp_path / "requests").iterdir())


def test_damaged_files_are_named(tmp_path):
    CampaignFolder(tmp_path).prepare()
    (tmp_path / "structures" / "eos-0.extxyz").write_text("7\nhalf")
    with pytest.raises(CampaignError, match=r"eos-0\.extxyz holds no frame .*delete it"):
        run_campaign(tasks_of(1), bad(), tmp_path)
    (tmp_path / "structures" / "eos-0.extxyz").unlink()
    (tmp_path / "failures" / "eos-0.json").write_text("{")
    with pytest.raises(CampaignError, match=r"eos-0\.json is no failure's record"):
        run_campaign(tasks_of(1), bad(), tmp_path)
    path = tmp_path / "known.extxyz"
    path.write_text("7\nhalf")
    with pytest.raises(ValueError, match="not readable"):
        read_known(path)
    path.write_text('1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"\nW 0 0 0\n')
    with pytest.raises(ValueError, match="frame 0: field `name` is missing"):
        read_known(path)
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_known(tmp_path / "absent.extxyz")


def test_what_another_run_computes_is_waited_for(tmp_path):
    with drive(tmp_path, seconds=1.0) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("started")
        events = []
        outcome = run_campaign(tasks_of(2), bad(seconds=1.0, processes=2), tmp_path,
                               observer=lambda *event: events.append(event))
        process.send_signal(signal.SIGKILL)
    waited = [text for event, _, text in events if event == "waiting"]
    assert waited
    assert all(text.startswith(f"process {process.pid} on ") for text in waited)
    assert outcome.failures == ()
    assert len(campaign_frames(tasks_of(2), tmp_path)) == 2


def test_a_lock_left_behind_is_taken_over(tmp_path):
    CampaignFolder(tmp_path).prepare()
    (tmp_path / "locks" / "eos-0.lock").write_text("process 1 on this machine\n")
    (tmp_path / "structures" / "eos-0.extxyz.partial-1").write_text("half a frame")
    assert run_campaign(tasks_of(1), bad(), tmp_path).computed == ("eos-0",)
    assert not list(tmp_path.rglob("*.partial-*"))


def test_meshes():
    cube, supercell = bcc("W", 3.2), bcc("W", 3.2, (2, 2, 1))
    assert PointsPerCellEdge(8).mesh(cube, (1, 1, 1)) == (8, 8, 8)
    assert PointsPerCellEdge(8).mesh(supercell, (2, 2, 1)) == (4, 4, 8)
    assert PointsPerCellEdge(8).mesh(supercell, (3, 1, 1)) == (3, 8, 8), "never coarser"
    with pytest.raises(ValueError, match="by their spacing"):
        PointsPerCellEdge(8).mesh(cube, None)
    assert Spacing(0.25).mesh(supercell, None) == (4, 4, 8)
    assert FixedMesh((3, 2, 1)).mesh(cube, None) == (3, 2, 1)


def test_bad_lists_are_refused():
    tasks = tasks_of(2)
    crowded = Task("crowded", "x", displaced(bcc("W", 3.2), np.array([[0, 0, 0], [-1.4, -1.4, -1.4]])))
    with pytest.raises(CampaignError) as caught:
        check_tasks([*tasks, tasks[0], Task("a/b", "x", bcc("W", 2.9)), crowded])
    for text in ("4 problem", "same name", "same structure as 'eos-0'", "cannot name a file", "0.35 Å apart"):
        assert text in str(caught.value)
    # A convergence study repeats structures; that is its purpose.
    check_tasks([*tasks, dataclasses.replace(tasks[0], name="k12", in_dataset=False)])


def test_groups_are_interleaved():
    many, few, last = tasks_of(6), tasks_of(2, group="few"), tasks_of(1, group="last")
    order = [task.group for task in interleaved([(1, last), (0, many), (0, few)])]
    assert order[-1] == "last"
    assert [order.index("few"), order[order.index("few") + 1 :].index("few")] == [2, 3]


def test_cost_follows_what_was_measured():
    frames = []
    for n, k in ((1, 4), (2, 4), (2, 8), (3, 4), (3, 8), (4, 2)):
        cell = bcc("W", 3.2, (1, 1, n))
        frame = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell)
        frame.info.update(kpts=[k, k, k], seconds=0.01 * (2 * n) ** 2.0 * k**3)
        frames.append(frame)
    tasks = [Task("a", "x", bcc("W", 3.2, (2, 3, 1)), (5, 5, 5)), Task("b", "x", bcc("W", 3.2, (1, 1, 2)), (8, 8, 8))]
    np.testing.assert_allclose(estimated_seconds(tasks, frames), [0.01 * 144 * 125, 0.01 * 16 * 512], rtol=1e-6)
    assert estimated_seconds(tasks, frames[:4]) is None
