"""``hea-jax dft``: configurations and their errors, dry runs, a whole campaign, failures and exit codes.

GPAW itself is not installed where these tests run: its environment is judged on made-up facts in
``tests/electronic/test_campaign_environment.py``, and its command line, like that of any engine, runs here with
calculators of ASE.
"""

import json
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import yaml

from hea_jax.app import cli
from hea_jax.app.config.problems import ConfigError
from hea_jax.app.dft.groups import KINDS
from hea_jax.app.dft.load import load_campaign, measured_volume_A3
from hea_jax.electronic import GPAW_NBMOTAW, load_dataset, shipped_dataset

ROOT = Path(__file__).parents[2]
EMT, NBMOTAW = ROOT / "configs" / "dft_emt_small.yaml", ROOT / "configs" / "dft_nbmotaw.yaml"
HEAD = "name: x\nelements: [W, Nb]\nlattice_constants_A: {W: 3.18, Nb: 3.31}\nengine: {calculator: lennard-jones}\n"
EOS = '  - {kind: eos, group: eos, name: "eos-{symbols}-{factor}"}\n'
PATTERN = ("groups:\n  - {{kind: pattern, group: p, name: 'p-{{symbols}}', lattice: {}, repeats: [2, 2, 2], "
           "pattern: {}}}\n")


def written(tmp_path, text):
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    return path


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_campaign(written(tmp_path, text))
    return str(caught.value)


def test_a_small_campaign_from_end_to_end(tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["dft", str(EMT), "--out", str(folder)]
    for group in ("eos_fcc", "alloy", "surface_111"):
        arguments += ["--only", group]
    assert cli.main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "surface111-Cu" in printed
    assert "10 structures, 10 to compute; no estimate" in printed
    assert not folder.exists()

    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "[10/10]" in printed
    assert "10 computed now, 0 before, 0 known, 0 failed" in printed
    data = load_dataset(folder / "dataset.extxyz", GPAW_NBMOTAW, elements=("Cu", "Au"))
    assert data.group_sizes() == {"eos_fcc": 6, "alloy": 3, "surface_111": 1}
    for frame in ase.io.read(folder / "dataset.extxyz", ":"):
        needed = {"engine", "engine_version", "parameters", "settings", "date", "seconds", "hea_jax", "group", "name"}
        assert needed <= set(frame.info)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["finished"], summary["failed"], summary["structures"]) == (10, 0, 20)
    assert "| alloy | 3 | 3 | 0 |" in (folder / "report.md").read_text()

    assert cli.main(arguments) == 0
    assert "0 computed now, 10 before" in capsys.readouterr().out
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "10 structures, 0 to compute: about 0 s" in capsys.readouterr().out
    assert cli.main([*arguments, "--set", "engine.parameters={asap_cutoff: true}"]) == 2
    assert "other settings of the engine" in capsys.readouterr().err
    assert cli.main(["dft", str(EMT), "--only", "eos"]) == 2
    assert "no group or structure is called eos" in capsys.readouterr().err
    assert cli.main(["dft", str(EMT), "--out", str(tmp_path / "one"), "--only", "surface111-Cu"]) == 0
    assert "[1/1] surface111-Cu: finished" in capsys.readouterr().out


BAD = HEAD.replace("lennard-jones", "'bad_calculator:make', retries: [{habit: none}], processes: 2") + """
kpoints: {per_cell_edge: 4}
groups:
  - {kind: eos, group: eos, name: "eos-{symbols}-{factor}", elements: [W], factors: [1.0, 1.05]}
  - {kind: kmesh, group: kmesh, name: "k{mesh}-{symbols}-{strain}", elements: [W], meshes: [6], none: [0.0]}
"""
CALCULATOR = """
from ase.calculators.lj import LennardJones

class make(LennardJones):
    def __init__(self, kpts, habit="fails"):
        super().__init__(sigma=2.5, epsilon=0.4, rc=5.0)
        self.kpts = kpts

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, list(properties), list(system_changes))
        if abs(self.atoms.cell[0, 0] - 3.18) > 0.01:
            raise RuntimeError("no luck with this one")
        scale = 1 + self.kpts[0] ** -2.0
        self.results = {key: value * scale for key, value in self.results.items()}
"""


def test_own_calculator_failures_and_the_mesh_table(tmp_path, capsys):
    (tmp_path / "bad_calculator.py").write_text(CALCULATOR)
    path = written(tmp_path, BAD)
    assert cli.main(["dft", str(path), "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr().out
    assert "FAILED  eos-W-1.05: RuntimeError: no luck with this one" in printed
    assert "1 failed (`--retry-failed`" in printed
    assert "k-mesh, changes against the finest" in printed
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| eos-W-1.05 | eos | 1 | RuntimeError: no luck with this one |" in report
    assert "| W2 unstrained or other | 4x4x4 |" in report
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["kmesh"]
    energy = json.loads((tmp_path / "run" / "summary.json").read_text())["groups"][0]["lowest_eV_per_atom"]
    bare = energy / (1 + 4**-2)
    assert rows[0]["energy_meV_per_atom"] == pytest.approx(1e3 * bare * (4**-2 - 6**-2), rel=1e-6)
    # The convergence study stands beside the data set, not in it.
    names = load_dataset(tmp_path / "run" / "dataset.extxyz", GPAW_NBMOTAW).names
    assert names == ("eos-W-1.0",)
    assert [f.info["name"] for f in ase.io.read(tmp_path / "run" / "convergence.extxyz", ":")] == ["k6-W-none"]


def test_an_unfit_environment_is_2(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, HEAD.replace("lennard-jones", "gpaw, cutoff_eV: 300, smearing_eV: 0.1")
                   + "kpoints: {per_cell_edge: 4}\ngroups:\n" + EOS)  # fmt: skip
    monkeypatch.setenv("HEA_JAX_DFT_PYTHON", str(tmp_path / "absent"))
    assert cli.main(["dft", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "does not start" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_shipped_campaign_knows_the_shipped_set(capsys, tmp_path):
    only = ["--only", "eos_bcc", "--only", "b2"]
    assert cli.main(["dft", str(NBMOTAW), "--dry-run", *only, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "46 structures, 0 to compute" in printed
    assert printed.count("known") >= 46
    assert cli.main(["dft", str(NBMOTAW), *only, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "0 computed now, 0 before, " in printed
    ours = load_dataset(tmp_path / "run" / "dataset.extxyz", GPAW_NBMOTAW, elements=("Nb", "Mo", "Ta", "W"))
    shipped = shipped_dataset()
    assert sorted(ours.names) == sorted(shipped.names)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["known_left_out"] == []
    assert "left out" not in printed
    for reference, name in zip(shipped.frames, shipped.names, strict=True):
        again = ours.frames[ours.names.index(name)]
        np.testing.assert_array_equal(again.forces_eV_per_A, reference.forces_eV_per_A)
        assert float(again.free_energy_eV) == float(reference.free_energy_eV)
    infos = {f.info["name"]: f.info for f in ase.io.read(tmp_path / "run" / "dataset.extxyz", ":")}
    info = infos["eos_bcc-W-1.0"]
    assert (info["engine"], info["cutoff_eV"], info["origin"]) == ("gpaw", 500, "gpaw_nbmotaw.extxyz")
    # What a frame says of itself stays as it is.
    info = infos["elastic12-W-shear-0.03"]
    assert json.loads(info["parameters"])["kpts"] == {"size": [12, 12, 12], "gamma": True}
    assert json.loads(info["setups"])["W"].startswith("W.PBE")

    campaign = load_campaign(NBMOTAW)
    task = campaign.tasks[0]
    request = campaign.engine.request(task, result=tmp_path / "a", failure=tmp_path / "b")
    assert request["parameters"]["mode"] == {"name": "pw", "ecut": 500.0}
    assert request["parameters"]["kpts"] == {"size": [8, 8, 8], "gamma": True}
    assert request["parameters"]["occupations"] == {"name": "fermi-dirac", "width": 0.1}
    assert request["provenance"]["xc"] == "PBE"
    assert json.loads(json.dumps(request)) == request
    assert campaign.engine.command(Path("r.json"))[-2].endswith("engine_side/calculate.py")


KNOWN = HEAD + "known: {source: known.extxyz, provenance: {engine: before}}\ngroups:\n" + EOS


@pytest.mark.parametrize(("strangers", "expected"), [
    (["elastic-W"], "1 known frame is no structure of this campaign and is left out: elastic-W"),
    (["elastic-W", "a-2", "a-1"],
     "3 known frames are no structure of this campaign and are left out: elastic-W, a-2, a-1"),
    ([f"a-{i}" for i in range(22)], "22 known frames are no structure of this campaign and are left out: a-0, a-1, "),
    ([], None),
])  # fmt: skip
def test_known_frames_of_no_structure_are_told(tmp_path, capsys, strangers, expected):
    path, folder = written(tmp_path, KNOWN), tmp_path / "run"
    (tmp_path / "known.extxyz").write_text("")
    frames = []
    for task in load_campaign(path).tasks:
        frame = ase.Atoms(task.crystal.symbols, positions=task.crystal.positions, cell=task.crystal.cell, pbc=True)
        frame.info.update(name=task.name, group=task.group, energy_eV=-1.0, free_energy_eV=-1.0,
                          stress_eV_per_A3=np.zeros((3, 3)))
        frame.arrays["forces_eV_per_A"] = np.zeros((len(frame), 3))
        frames.append(frame)
    for i, name in enumerate(strangers):
        frame = frames[0].copy()
        frame.info["name"] = name
        frames.insert(2 * i, frame)
    ase.io.write(tmp_path / "known.extxyz", frames)
    assert cli.main(["dft", str(path), "--out", str(folder)]) == 0
    printed, report = capsys.readouterr().out, (folder / "report.md").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["known_left_out"] == strangers
    assert "0 computed now, 0 before, 2 known, 0 failed" in printed
    assert (summary["finished"], len(ase.io.read(folder / "dataset.extxyz", ":"))) == (2, 2)
    for text in (printed, report):
        assert (expected is None and "left out" not in text) or (expected is not None and expected in text)
        assert ("a-19, and 2 more (`known_left_out` in summary.json)" in text) is (len(strangers) == 22)
        assert "a-20" not in text


def test_several_ranks_are_launched(tmp_path, monkeypatch):
    overrides = ("engine.ranks=4", "engine.launcher=srun", "engine.threads=2", "engine.python=/opt/gpaw/bin/python")
    engine = load_campaign(NBMOTAW, overrides).engine
    assert engine.command(Path("r.json"))[:4] == ["srun", "-n", "4", "/opt/gpaw/bin/python"]
    monkeypatch.setenv("PYTHONPATH", "/mine")
    environment = engine.environment()
    assert (environment["GPAW_MPI_BACKEND"], environment["OMP_NUM_THREADS"]) == ("cgpaw", "2")
    assert "PYTHONPATH" not in environment


@pytest.mark.parametrize(("text", "expected"), [
    (HEAD + "groups:\n" + EOS + "  - {kind: eoss, group: a, name: b}\n",
     ["campaign.yaml:7: groups[1].kind: no kind 'eoss'", "write one of eos, strain"]),
    (HEAD + "groups:\n  - kind: eos\n    group: eos\n    name: x\n    factor: [1.0]\n",
     ["campaign.yaml:9: groups[0].factor: no such field", "did you mean `factors`?"]),
    (HEAD + "groups:\n  - kind: random\n    group: r\n    name: 'r-{number}'\n    count: 2\n",
     ["campaign.yaml:6: groups[0].repeats: is missing", "conventional cells"]),
    (HEAD + "groups:\n  - {kind: eos, group: eos, name: x, lattice: bco}\n",
     ["groups[0].lattice: no lattice is called 'bco'", "use one of sc, bcc"]),
    (HEAD + "groups:\n  - {kind: eos, group: eos, name: '{volume}'}\n",
     ["groups[0]: pattern '{volume}' does not work", "{symbols}, {factor}"]),
    (HEAD + "groups:\n  - {kind: eos, group: eos, name: one, factors: [1.0, 1.1]}\n",
     ["same name as in group 'eos'", "`name` pattern"]),
    (HEAD + "groups:\n  - {kind: eos, group: eos, name: 'a{symbols}', elements: [Ta]}\n",
     ["groups[0].elements: Ta is not among"]),
    (HEAD + "groups:\n  - {kind: eos, group: eos, name: 'a{symbols}', a_over_reference: [0.2]}\n", ["Å apart"]),
    (HEAD + "groups:\n  - {kind: fault, group: f, name: 'f{symbols}', plane: '100', layers: 8, u: [0.5]}\n",
     ["groups[0]: this plane is no slip plane"]),
    (HEAD + "groups:\n  - {kind: surface, group: f, name: 'f{symbols}', plane: '123', layers: 8, vacuum_A: 9}\n",
     ["groups[0].plane: no plane '123'", "100, 110, 111, 112"]),
    (HEAD + "kpoints: {spacing_per_A: 0.2}\ngroups:\n" + EOS, ["lennard-jones knows no k-points"]),
    (HEAD + "kpoints: {spacing_per_A: 0.2, mesh: [1, 1, 1]}\ngroups:\n" + EOS, ["more than one rule", "keep one of"]),
    (HEAD.replace("lennard-jones", "vasp") + "groups:\n" + EOS,
     ["campaign.yaml:4: engine.calculator", "module:factory"]),
    (HEAD.replace("lennard-jones", "emt, cutoff_eV: 300") + "groups:\n" + EOS, ["is a field of gpaw, not of emt"]),
    (HEAD.replace("lennard-jones", "gpaw") + "groups:\n" + EOS,
     ["engine.cutoff_eV: is missing", "engine.smearing_eV: is missing"]),
    (HEAD.replace("W, Nb", "W, Nb, Og").replace("Og", "No") + "groups:\n" + EOS,
     ["lattice_constants_A.No: is missing, and no measured volume"]),
    (HEAD + "known: {source: absent.extxyz}\ngroups:\n" + EOS, ["known.source: no file 'absent.extxyz'"]),
    (HEAD + "groups: []\n", ["groups"]),
    (HEAD + "groups:\n  - {kind: random, group: r, name: 'r{number}', count: 1, repeats: [1, 1, 1], "
     "composition: {W: 0.3, Nb: 0.7}}\n", ["groups[0]: composition [0.3, 0.7]", "cannot be met exactly"]),
    (HEAD + "groups:\n  - {kind: random, group: r, name: 'r{number}', count: 1, repeats: [1, 1, 1], elements: [W], "
     "composition: {W: 1.0}}\n", ["groups[0]: `composition` says", "leave `elements` out"]),
    (HEAD + "groups:\n  - {kind: random, group: r, name: 'r{number}', count: 1, repeats: [1, 1, 1], "
     "scale: [1.1, 0.9]}\n", ["groups[0].scale: a range starts below its end", "write [0.9, 1.1]"]),
    (HEAD + "groups:\n  - {kind: eos, group: e, name: 'e{symbols}', factors: [0.9], a_over_reference: [1.1]}\n",
     ["groups[0].a_over_reference: `factors` are given too", "keep one"]),
    (HEAD + "groups:\n  - {kind: strain, group: s, name: 's{symbols}'}\n", ["no strains: give `tet`"]),
    (HEAD + PATTERN.format("bcc_primitive", "ABBB"),
     ["groups[0]: the pattern has 4 letters for 8 sites: write one per site"]),
    (HEAD + PATTERN.format("bcc_primitive", "ABCBBBBB"),
     ["groups[0]: 3 letters for 2 elements: use fewer letters"]),
    (HEAD + PATTERN.format("bcc_primitiv", "ABBBBBBB"),
     ["groups[0].lattice: no lattice is called 'bcc_primitiv'", "use one of sc, bcc"]),
])  # fmt: skip
def test_problems_are_named_with_place_and_remedy(tmp_path, text, expected):
    message = problems(tmp_path, text)
    for part in expected:
        assert part in message


def test_a_wrong_configuration_is_2(tmp_path, capsys):
    assert cli.main(["dft", str(tmp_path / "absent.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert cli.main(["dft", str(EMT), "--set", "engine.processes=0", "--out", str(tmp_path / "run")]) == 2
    assert "--set engine.processes=0: engine.processes" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["dft", str(EMT), "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_lattice_constants_are_guessed_from_measured_volumes(tmp_path):
    path = written(tmp_path, HEAD.replace("{W: 3.18, Nb: 3.31}", "{W: 3.18}").replace("W, Nb", "W, Nb, Cu, Ti")
                   + "groups:\n" + EOS)  # fmt: skip
    cells = {task.name: task.crystal.cell[0, 0] for task in load_campaign(path).tasks}
    # Nb is bcc (3.30 Å); Cu is fcc with 11.81 Å³, Ti hcp with 17.65 Å³ per atom (ASE's table, Ashcroft & Mermin 1976).
    assert cells["eos-W-1.0"] == 3.18
    assert cells["eos-Nb-1.0"] == pytest.approx(3.30, abs=0.01)
    assert cells["eos-Cu-1.0"] == pytest.approx((2 * 11.81) ** (1 / 3), abs=0.01)
    assert cells["eos-Ti-1.0"] == pytest.approx((2 * 17.65) ** (1 / 3), abs=0.02)
    assert measured_volume_A3("H") is None


def test_fields_are_listed(capsys):
    assert cli.main(["info", "--dft"]) == 0
    printed = capsys.readouterr().out
    for text in ("engine.smearing_eV", "groups, kind pattern", "groups, kind random_fault", "displacements_A"):
        assert text in printed


def test_every_kind_of_group_is_in_a_shipped_configuration_and_keeps_its_volume():
    shown = {g["kind"] for path in (EMT, NBMOTAW) for g in yaml.safe_load(path.read_text())["groups"]}
    assert shown == set(KINDS)
    volumes = {t.name: t.crystal.volume / len(t.crystal) for t in load_campaign(EMT).tasks}
    for name, a in (("eos-Cu-1.0", 3.61), ("fault111-Cu-1.0", 3.61), ("l12-CuAu", (3 * 3.61 + 4.08) / 4)):
        assert volumes[name] == pytest.approx(a**3 / 4)
    assert np.isclose(volumes["vacancy-Au"], 4.08**3 / 4 * 16 / 15)
