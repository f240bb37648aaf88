"""The campaign of the shipped set makes the structures of the shipped set, and of the script that first made them."""

import dataclasses
import importlib.util
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import pytest

import hea_jax
from hea_jax.app.dft.load import load_campaign
from hea_jax.electronic.campaign.folder import check_same_structure
from hea_jax.structures.crystals import closest_distance

ROOT = Path(__file__).parents[2]
NBMOTAW = ROOT / "configs" / "dft_nbmotaw.yaml"
DATA = Path(hea_jax.__file__).parent / "data"

# With 8 points per cell edge C44 of Nb is 24% off, so the campaign takes 12, and says so in the names.
COARSE, FINE = "elastic-", "elastic12-"
COARSE_MESH, FINE_MESH = (8, 8, 8), (12, 12, 12)


@pytest.fixture(scope="module")
def tasks():
    return {task.name: task for task in load_campaign(NBMOTAW).tasks}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_set", ROOT / "scripts" / "data" / "make_gpaw_nbmotaw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def task_of(tasks, name):
    """The task of a name of the script; for the elastic group that it gives 8 k-points per cell edge, the finer one."""
    if not name.startswith(COARSE):
        return tasks[name]
    assert name not in tasks
    task = tasks[FINE + name.removeprefix(COARSE)]
    assert task.kpts == FINE_MESH
    return dataclasses.replace(task, name=name, kpts=COARSE_MESH)


def test_every_structure_of_the_script(tasks, script):
    wanted = list(script.structures())
    assert len(wanted) > 220
    assert sum(name.startswith(COARSE) for _, name, _ in wanted) == 16
    for group, name, atoms in wanted:
        task = task_of(tasks, name)
        assert (task.group, list(task.crystal.symbols)) == (group, atoms.get_chemical_symbols()), name
        np.testing.assert_allclose(task.crystal.positions, atoms.positions, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(task.crystal.cell, atoms.cell.array, atol=1e-10, err_msg=name)
        assert list(task.kpts) == list(script.kpoints(group, atoms)), name


def check_frame(task, frame):
    """A shipped frame is the structure, the group and the mesh of its task; the file holds eight decimals."""
    assert (task.group, task.in_dataset) == (frame.info["group"], True)
    check_same_structure(task, frame, "shipped")
    assert list(frame.info["kpts"]) == list(task.kpts), task.name
    np.testing.assert_allclose(task.crystal.positions, frame.positions, atol=5.1e-9)


def test_every_frame_of_the_shipped_set(tasks):
    frames = ase.io.read(DATA / "gpaw_nbmotaw.extxyz", ":")
    for frame in frames:
        check_frame(tasks[frame.info["name"]], frame)
    whole = {"eos_bcc", "elastic_bcc", "b2", "fcc", "hcp", "sc"}
    names = {frame.info["name"] for frame in frames}
    assert {name for name, task in tasks.items() if task.group in whole} <= names


def test_every_frame_of_the_elastic_group_on_the_coarser_mesh(tasks):
    frames = ase.io.read(DATA / "gpaw_nbmotaw_kmesh8.extxyz", ":")
    names = [frame.info["name"] for frame in frames]
    assert sorted(names) == sorted(name.replace(FINE, COARSE) for name in tasks if name.startswith(FINE))
    for frame in frames:
        check_frame(task_of(tasks, frame.info["name"]), frame)


def test_every_shipped_frame_says_how_it_was_computed(tasks):
    engine = load_campaign(NBMOTAW).engine
    for file in ("gpaw_nbmotaw", "gpaw_nbmotaw_kmesh8"):
        for frame in ase.io.read(DATA / f"{file}.extxyz", ":"):
            info = frame.info
            method = (info["engine"], info["xc"], info["cutoff_eV"], info["smearing_eV"], info["smearing"])
            assert method == ("gpaw", "PBE", 500, 0.1, "Fermi-Dirac"), info["name"]
            # Frames of the first script say no more; those of the campaign were computed with its settings.
            if "settings" in info:
                assert info["settings"] == engine.settings(tasks[info["name"]]), info["name"]
                assert {"engine_version", "ase_version", "date", "setups", "parameters"} <= set(info), info["name"]
            # No path of the machine that computed it.
            assert not [key for key, value in info.items() if "/" in str(value)], info["name"]


# One pair distance and the volume of each kind of structure that the script does not make, by hand.
EXTENSION = {
    "vacancy15-pure-Nb": (15, 8 * 3.31**3, 3**0.5 / 2 * 3.31, (4, 4, 4)),
    "fault110-W-0.0": (8, 4 * 3.185**3, 3**0.5 / 2 * 3.185, (9, 9, 2)),
    "fault110-W-0.25": (8, 4 * 3.185**3, None, (9, 9, 2)),
    "fault112-Mo-0.333": (12, 6 * 3.16**3, None, (9, 6, 2)),
    "surface110-Ta": (8, 3.32**2 / 2**0.5 * (8 * 3.32 / 2**0.5 + 10), 3**0.5 / 2 * 3.32, (9, 9, 1)),
    "surface100-W": (9, 3.185**2 * (4.5 * 3.185 + 10), 3**0.5 / 2 * 3.185, (8, 8, 1)),
    "elastic12-Nb-tet-0.03": (2, 3.31**3 * 1.03 * 0.985**2, None, (12, 12, 12)),
    "elastic12-W-shear-0.06": (2, 3.185**3 * (1 - 0.03**2), None, (12, 12, 12)),
    "d03-NbMo": (16, (2 * 3.2725) ** 3, 3**0.5 / 2 * 3.2725, (4, 4, 4)),
    "d03-MoNb": (16, (2 * 3.1975) ** 3, 3**0.5 / 2 * 3.1975, (4, 4, 4)),
    "b32-TaW": (16, (2 * 3.2525) ** 3, 3**0.5 / 2 * 3.2525, (4, 4, 4)),
    "kmesh16-Nb-tet-0.03": (2, 3.31**3 * 1.03 * 0.985**2, None, (16, 16, 16)),
}


@pytest.mark.parametrize("name", EXTENSION)
def test_the_extension(tasks, name):
    number, volume, distance, mesh = EXTENSION[name]
    task = tasks[name]
    assert (len(task.crystal), task.kpts) == (number, mesh)
    assert task.crystal.volume == pytest.approx(volume, rel=1e-12)
    if distance is not None:
        assert closest_distance(task.crystal) == pytest.approx(distance, abs=1e-9)


# Structures by the first word of their names, by hand: elements (4), pairs of them (6; 12 both ways), numbers.
COUNTS = {
    "eos_bcc": 4 * 7, "elastic12": 4 * 4, "b2": 6 * 3, "fcc": 4, "hcp": 4, "sc": 4, "d03": 12, "b32": 6,
    "solute8": 4 * 3 * 3, "ternary8": 4 * 3 * 2 * 2, "displaced8": 4 + 4 * 3,
    "alloy8": 3 * 40, "quaternary8": 30, "alloy16": 13, "vacancy15": (4 + 16) + 4 + 6,
    "fault110": 4 * 3 + 6, "fault112": 4, "surface110": 4, "surface100": 4,
    "kmesh12": 4 * 3, "kmesh16": 4 * 3, "kmesh20": 3,
}  # fmt: skip


def test_the_extension_is_complete(tasks):
    assert Counter(name.partition("-")[0] for name in tasks) == COUNTS
    assert len(tasks) == sum(COUNTS.values()) == 442
    count = lambda start: sum(name.startswith(start) for name in tasks)
    assert [count(s) for s in ("vacancy15-pure-", "vacancy15-alloy-", "fault110-alloy-")] == [4, 6, 6]
    assert {name for name in tasks if not tasks[name].in_dataset} == {n for n in tasks if n.startswith("kmesh")}


def test_the_script_merges_frames_that_are_not_its_own(script, tmp_path, monkeypatch, capsys):
    names = ["elastic12-Nb-tet-0.03", "b2-NbMo-1.0", "eos_bcc-Nb-1.0"]
    frames = {frame.info["name"]: frame for frame in ase.io.read(DATA / "gpaw_nbmotaw.extxyz", ":")}
    for name in names:
        ase.io.write(tmp_path / f"{name}.extxyz", frames[name])
    merged = tmp_path / "merged" / "set.extxyz"
    merged.parent.mkdir()
    monkeypatch.setattr("sys.argv", ["make_gpaw_nbmotaw.py", str(tmp_path), "--merge", str(merged)])
    script.main()
    assert "3 structures" in capsys.readouterr().out
    assert [frame.info["name"] for frame in ase.io.read(merged, ":")] == names[::-1]
