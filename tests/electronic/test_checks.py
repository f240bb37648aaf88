"""``check_dataset``: nothing is found in sound sets, and every deliberate corruption is found and named."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.electronic import (
    GPAW_NBMOTAW,
    LI_2020,
    TA_FITSNAP,
    DatasetError,
    Severity,
    check_dataset,
    load_dataset,
    shipped_dataset,
    write_dataset,
)
from hea_jax.electronic.consistency import jump_findings, pair_work, scale_findings
from hea_jax.electronic.families import find_links, host_frames
from tests.electronic import synthetic

DFT = Path(__file__).parents[3] / "shared" / "data" / "dft"
HARTREE, BOHR = 27.211386245988, 0.529177210903


def changed(data, *, groups=None, frames=None, energy=1.0, shift=0.0, forces=1.0, stress=1.0, per_atom=False):
    """The set with the labels of some groups or frames multiplied, or energies shifted per atom (eV)."""
    out = []
    for n, (frame, group) in enumerate(zip(data.frames, data.groups, strict=True)):
        if (groups is None or group in groups) and (frames is None or n in frames):
            N = frame.atoms.number
            factor = energy / N if per_atom else energy
            frame = dataclasses.replace(
                frame, free_energy_eV=frame.free_energy_eV * factor + shift * N,
                forces_eV_per_A=frame.forces_eV_per_A * forces, stress_eV_per_A3=frame.stress_eV_per_A3 * stress)
        out.append(frame)
    return dataclasses.replace(data, frames=tuple(out))


@pytest.fixture(scope="module")
def shipped():
    return shipped_dataset()


@pytest.fixture(scope="module")
def mixed():
    return synthetic.mixed()


def only_error(report):
    """The single error of a report."""
    assert len(report.errors) == 1, str(report)
    return report.errors[0]


def test_the_synthetic_labels_are_derivatives(mixed):
    """The oracle itself: forces and stress against central differences of its energy."""
    frame = mixed.frames[40]
    r, A, s = (np.asarray(x) for x in (frame.atoms.positions, frame.atoms.cell, frame.atoms.species))
    u, h = np.random.default_rng(1).normal(size=r.shape), 1e-4
    E = [float(synthetic.labelled(r + k * h * u, A, s).free_energy_eV) for k in (1, -1)]
    np.testing.assert_allclose((E[0] - E[1]) / (2 * h), -np.sum(np.asarray(frame.forces_eV_per_A) * u), rtol=1e-5)
    e = np.array([[0.3, 0.2, 0.0], [0.2, -0.5, 0.1], [0.0, 0.1, 0.4]])
    E = [float(synthetic.labelled(r @ F, A @ F, s).free_energy_eV) for F in (np.eye(3) + h * e, np.eye(3) - h * e)]
    work = abs(np.linalg.det(A)) * np.sum(np.asarray(frame.stress_eV_per_A3) * e)
    np.testing.assert_allclose((E[0] - E[1]) / (2 * h), work, rtol=1e-5)


def test_sound_sets_pass(shipped, mixed):
    for data in (shipped, mixed):
        report = check_dataset(data)
        assert report.errors == ()
        assert report.warnings == ()
        assert "0 error(s), 0 warning(s)" in str(report)


@pytest.mark.parametrize(("change", "name"), [
    ({"stress": -1}, "wrong sign"), ({"stress": EV_PER_A3_TO_GPA}, "in GPa, not in eV/Å³"),
    ({"stress": 10 * EV_PER_A3_TO_GPA}, "in kbar, not in eV/Å³"),
    ({"stress": -10 * EV_PER_A3_TO_GPA}, "in kbar, not in eV/Å³, and has the wrong sign"),
    ({"stress": 1 / EV_PER_A3_TO_GPA}, "in eV/Å³, not in GPa"), ({"stress": 10}, "in kbar, not in GPa"),
    ({"stress": BOHR**3 / HARTREE}, "in Hartree/bohr³"), ({"stress": 2 * BOHR**3 / HARTREE}, "in Rydberg/bohr³"),
    ({"energy": 1 / HARTREE}, "energies are in Hartree"), ({"energy": 2 / HARTREE}, "energies are in Rydberg"),
    ({"energy": 96.485}, "energies are in kJ/mol"), ({"energy": 1e3}, "energies are in meV"),
    ({"per_atom": True}, "energies are per atom"),
])  # fmt: skip
def test_wrong_scales_are_named_by_strained_copies(shipped, mixed, change, name):
    for data in (shipped, mixed.select(range(24))):
        (finding,) = scale_findings(changed(data, **change))
        assert finding.severity is Severity.ERROR
        assert name in finding.what
        assert "pairs of frames" in finding.sureness


@pytest.mark.parametrize(("factor", "name"), [
    (-1, "wrong sign"), (BOHR / HARTREE, "in Hartree/bohr"), (2 * BOHR / HARTREE, "in Rydberg/bohr"),
    (BOHR, "in eV/bohr"), (1e3, "in meV/Å")])
def test_wrong_forces_are_named_by_displaced_frames_or_by_a_model(shipped, mixed, factor, name):
    (finding,) = scale_findings(changed(mixed, forces=factor))
    assert "forces" in finding.what
    assert name in finding.what
    if factor in (-1, BOHR):
        assert name in only_error(check_dataset(changed(shipped, forces=factor))).what


def test_everything_in_atomic_units_is_named(mixed):
    data = changed(mixed, energy=1 / HARTREE, forces=BOHR / HARTREE, stress=BOHR**3 / HARTREE)
    (finding,) = scale_findings(data)
    assert "atomic units of Hartree" in finding.what


def test_virials_declared_as_stress(shipped):
    virial = lambda f: dataclasses.replace(f, stress_eV_per_A3=-f.stress_eV_per_A3 * f.atoms.volume)
    (finding,) = scale_findings(dataclasses.replace(shipped, frames=tuple(map(virial, shipped.frames))))
    assert "a virial (stress × volume), and has the wrong sign" in finding.what


def test_a_single_group_of_another_sign(shipped):
    found = scale_findings(changed(shipped, groups=("b2",), stress=-1))
    assert [f.where for f in found] == ["group b2"]
    assert {shipped.groups[n] for n in found[0].frames} == {"b2"}


@pytest.mark.parametrize(("group", "shift"), [("sc", 1.0), ("fcc", -1.0), ("alloy8", 1.0), ("eos_bcc", -1.0)])
def test_a_group_of_another_reference(shipped, group, shift):
    error = only_error(check_dataset(changed(shipped, groups=(group,), shift=shift)))
    assert error.where == f"group {group}"
    assert "off the reference of the others" in error.what
    assert {shipped.groups[n] for n in error.frames} == {group}


def test_energies_per_atom_in_one_group(shipped):
    report = check_dataset(changed(shipped, groups=("alloy8",), per_atom=True))
    (error,) = (e for e in report.errors if e.where == "group alloy8")
    assert "energies per atom given as totals" in error.what


def test_free_energies_among_extrapolated_ones(shipped):
    """20 meV per atom, the difference at 0.1 eV smearing, in two frames of an equation of state."""
    bad = [shipped.names.index("eos_bcc-Nb-1.0"), shipped.names.index("eos_bcc-W-1.0")]
    data = changed(shipped, frames=bad, shift=0.02)
    frames = host_frames(data)
    (finding,) = jump_findings(data, pair_work(frames, find_links(frames)))
    assert sorted(finding.frames) == sorted(bad)
    assert "eos_bcc-Nb-1.0, +0.02" in finding.what


def test_single_frames(shipped):
    """A lone wrong energy, forces with a sum, atoms on top of each other, NaN, equal structures of two energies."""
    frames = list(changed(shipped, frames=[shipped.names.index("sc-Ta")], shift=3.0).frames)
    alloys = [n for n, g in enumerate(shipped.groups) if g == "alloy8"]
    pushed, close, lost = alloys[2], alloys[3], alloys[4]
    frames[pushed] = dataclasses.replace(frames[pushed], forces_eV_per_A=frames[pushed].forces_eV_per_A + 0.2)
    atoms = frames[close].atoms
    squeezed = atoms.positions.at[1].set(atoms.positions[0] + 0.5)
    frames[close] = dataclasses.replace(frames[close], atoms=dataclasses.replace(atoms, positions=squeezed))
    frames[lost] = dataclasses.replace(frames[lost], free_energy_eV=jnp.asarray(np.nan))
    twin = changed(shipped, frames=[0], shift=0.05).frames[0]
    data = dataclasses.replace(shipped, frames=(*frames, twin), groups=(*shipped.groups, "twin"),
                               names=(*shipped.names, "twin"))
    report = check_dataset(data)
    errors = {next(iter(e.frames)): e.what for e in report.errors}
    assert set(errors) == {pushed, close, lost}
    assert "do not sum to zero" in errors[pushed]
    assert "as close as 0.8" in errors[close]
    assert "not finite" in errors[lost]
    warned = {f.frames: f.what for f in report.warnings}
    assert "equal structures with energies 0.050 eV/atom apart" in warned[(0, len(shipped))]
    assert "sc-Ta" in warned[(shipped.names.index("sc-Ta"),)]


def test_lengths_in_bohr(shipped):
    stretch = lambda f: dataclasses.replace(f, atoms=f.atoms.deformed(jnp.eye(3) / BOHR))
    data = dataclasses.replace(shipped, frames=tuple(map(stretch, shipped.frames)))
    assert "convert from bohr" in only_error(check_dataset(data)).remedy


def test_loading_refuses_a_certain_error(tmp_path, shipped):
    write_dataset(shipped, tmp_path / "set.extxyz", GPAW_NBMOTAW)
    wrong = dataclasses.replace(GPAW_NBMOTAW, tension_sign=-1)
    with pytest.raises(DatasetError, match=r"the stress \(virial\) has the wrong sign") as error:
        load_dataset(tmp_path / "set.extxyz", wrong)
    assert "check=False" in str(error.value)
    assert "set.extxyz" in str(error.value)
    assert len(load_dataset(tmp_path / "set.extxyz", wrong, check=False)) == len(shipped)


def groups_of(data, *groups):
    """The frames of some groups."""
    return data.select([n for n, group in enumerate(data.groups) if group in groups])


def permuted(data, order=(2, 0, 1)):
    """The set with shear stresses misread: where yz, xz, xy stand, the true ones of the given places (VASP's order)."""
    out = []
    for frame in data.frames:
        S = np.asarray(frame.stress_eV_per_A3)
        yz, xz, xy = S[[1, 0, 0], [2, 2, 1]][list(order)]
        wrong = np.array([[S[0, 0], xy, xz], [xy, S[1, 1], yz], [xz, yz, S[2, 2]]])
        out.append(dataclasses.replace(frame, stress_eV_per_A3=jnp.asarray(wrong)))
    return dataclasses.replace(data, frames=tuple(out))


@pytest.mark.parametrize(("change", "name"), [
    ({"stress": -1}, "the stress (virial) has the wrong sign"), ({"stress": EV_PER_A3_TO_GPA}, "in GPa, not in eV/Å³"),
    ({"stress": -1 / EV_PER_A3_TO_GPA}, "in eV/Å³, not in GPa, and has the wrong sign"),
    ({"stress": 10}, "in kbar, not in GPa"), ({"stress": -1, "forces": -1}, "forces and stress (virial) both"),
    ({"forces": -1}, "the forces have the wrong sign (gradients)"), ({"forces": BOHR}, "the forces are in eV/bohr")])
def test_stress_without_strained_copies_is_judged_by_a_model(shipped, change, name):
    alloys = groups_of(shipped, "alloy8")
    assert check_dataset(alloys).findings == ()
    assert name in only_error(check_dataset(changed(alloys, **change))).what


def test_a_virial_of_the_wrong_sign_in_a_file_of_lone_structures(tmp_path, shipped):
    """What was loaded before without a word: alloys, none a copy of another, with a virial and ``tension_sign`` left
    as it was."""
    keys = dataclasses.replace(GPAW_NBMOTAW, stress=None, virial="virial", tension_sign=-1)
    write_dataset(groups_of(shipped, "alloy8"), tmp_path / "set.extxyz", keys)
    right = load_dataset(tmp_path / "set.extxyz", keys)
    wrong = load_dataset(tmp_path / "set.extxyz", dataclasses.replace(keys, tension_sign=1))
    assert check_dataset(right).errors == ()
    error = only_error(check_dataset(wrong))
    assert error.what == "the stress (virial) has the wrong sign"
    assert "DatasetKeys" in error.remedy
    assert "23 frames: V·σ has correlation -0.9" in error.sureness


def test_a_group_without_strained_copies_is_judged_beside_others(shipped):
    error = only_error(check_dataset(changed(shipped, groups=("alloy8",), stress=-1)))
    assert (error.where, error.what) == ("group alloy8", "the stress (virial) has the wrong sign")
    assert {shipped.groups[n] for n in error.frames} == {"alloy8"}


def test_a_stress_that_nothing_can_test_is_said_to_be_untested(shipped):
    """One volume, symmetric cells: nothing to compare."""
    for data in (groups_of(shipped, "ternary8"), groups_of(shipped, "vacancy15")):
        for sign in (1, -1):
            report = check_dataset(changed(data, stress=sign))
            assert report.errors == report.warnings == ()
            assert any("sign and unit of the stress were not tested" in f.what for f in report.findings)
    bare = changed(groups_of(shipped, "ternary8"), stress=np.nan)
    assert not any("not tested" in f.what for f in check_dataset(bare).findings)


@pytest.mark.parametrize("order", [(2, 0, 1), (2, 1, 0), (1, 2, 0)])
def test_permuted_shear_stresses_are_named_by_strained_copies(mixed, order):
    name = {(2, 0, 1): "of VASP", (2, 1, 0): "of LAMMPS", (1, 2, 0): "of ASE read as that of VASP"}[order]
    for data in (mixed, mixed.select(range(24))):
        (finding,) = scale_findings(permuted(data, order))
        assert finding.severity is Severity.ERROR
        assert "the shear components of the stress are permuted" in finding.what
        assert name in finding.what
        assert "voigt_order" in finding.remedy
        assert "sheared pairs" in finding.sureness
    assert {f.what.split(":")[0] for f in scale_findings(changed(permuted(mixed, order), stress=-1))} == {
        "the shear components of the stress are permuted", "the stress (virial) has the wrong sign"}


def test_permuted_shear_stresses_of_the_shipped_set(shipped):
    """Its strained copies shear one plane only: two orders fit, both are named; alloys tell by the model."""
    (finding,) = scale_findings(permuted(shipped))
    assert "of VASP" in finding.what
    assert "of LAMMPS" in finding.what
    what = only_error(check_dataset(permuted(groups_of(shipped, "alloy8")))).what
    assert "of VASP" in what
    assert "of LAMMPS" not in what


def test_frames_without_stress_or_cell_are_listed(shipped):
    frames = list(shipped.frames)
    frames[3] = dataclasses.replace(frames[3], stress_eV_per_A3=jnp.full((3, 3), jnp.nan))
    atoms = dataclasses.replace(frames[5].atoms, cell=jnp.zeros((3, 3)), pbc=(False, False, False))
    frames[5] = dataclasses.replace(frames[5], atoms=atoms, stress_eV_per_A3=jnp.full((3, 3), jnp.nan))
    report = check_dataset(dataclasses.replace(shipped, frames=tuple(frames)))
    assert report.errors == ()
    notes = [f.what for f in report.findings if f.severity is Severity.NOTE]
    assert f"no stress in 1 frame(s): 3 ({shipped.names[3]})" in notes
    assert f"not periodic in all directions, or without a cell: 1 frame(s): 5 ({shipped.names[5]})" in notes


def real(name):
    path = DFT / name
    if not path.exists():
        pytest.skip(f"{name} is not among the files at hand (../shared/data/dft)")
    return path


def test_ta_of_fitsnap():
    data = load_dataset(real("Ta_FitSNAP_JCP2014.extxyz.gz"), TA_FITSNAP)
    assert len(data) == 363
    report = check_dataset(data)
    assert (report.errors, report.warnings) == ((), ())
    assert "wrong sign" in scale_findings(changed(data, stress=-1))[0].what
    assert "Rydberg/bohr" in scale_findings(changed(data, forces=2 * BOHR / HARTREE))[0].what
    moved = check_dataset(changed(data, groups=("GSF_110",), shift=-1.0))
    assert only_error(moved).where == "group GSF_110"


@pytest.mark.slow
def test_li_2020():
    data = load_dataset(real("NbMoTaW_train.extxyz.gz"), LI_2020, elements=("Nb", "Mo", "Ta", "W"))
    report = check_dataset(data)
    assert (report.errors, report.warnings) == ((), ())
    assert "wrong sign" in scale_findings(changed(data, stress=-1))[0].what
    assert "in eV/bohr" in scale_findings(changed(data, forces=BOHR))[0].what
    assert only_error(check_dataset(changed(data, groups=("W_Surface",), shift=1.0))).where == "group W_Surface"
