"""Readers: whatever the bytes, a valid dataset or a ``DatasetError`` that names file and place; databases; round trips.

Oracle: ASE's own reader and databases.
"""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hea_jax.electronic import (
    ASE_RESULTS,
    GPAW_NBMOTAW,
    Dataset,
    DatasetError,
    DatasetKeys,
    load_dataset,
    shipped_dataset,
    write_dataset,
)
from hea_jax.electronic import dataset as dataset_module

SHIPPED = Path(dataset_module.__file__).parents[1] / "data" / "gpaw_nbmotaw.extxyz"
KEYS = DatasetKeys(energy="energy", forces="forces")
FRAME = ('2\nLattice="3.2 0 0 0 3.2 0 0 0 3.2" Properties=species:S:1:pos:R:3:forces:R:3 energy=-20.5 pbc="T T T"\n'
         "W 0.0 0.0 0.0 0.1 0.2 0.3\nMo 1.6 1.6 1.6 -0.1 -0.2 -0.3\n")
FUZZ = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load_or_refuse(path, keys=KEYS, **options):
    """A valid dataset or a ``DatasetError`` that names the file; anything else fails the test."""
    refusal = None
    try:
        data = load_dataset(path, keys, allow_duplicates=True, **options)
    except DatasetError as error:
        data, refusal = None, str(error)
    if data is None:
        assert str(path) in str(refusal)
        return None
    assert isinstance(data, Dataset)
    assert len(data) == len(data.names) >= 1
    assert all(np.isfinite(float(f.free_energy_eV)) for f in data.frames)
    return data


def test_same_as_ase():
    ours = shipped_dataset()
    theirs: Any = ase.io.read(SHIPPED, index=":")
    assert len(ours) == len(theirs)
    for frame, name, image in zip(ours.frames, ours.names, theirs, strict=True):
        assert name == image.info["name"]
        assert frame.atoms.symbols() == image.get_chemical_symbols()
        np.testing.assert_array_equal(frame.atoms.positions, image.positions)
        np.testing.assert_array_equal(frame.atoms.cell, image.cell.array)
        np.testing.assert_array_equal(frame.forces_eV_per_A, image.arrays["forces_eV_per_A"])
        assert float(frame.free_energy_eV) == image.info["free_energy_eV"]


@pytest.mark.parametrize("name", ["set.extxyz", "set.extxyz.gz"])
@pytest.mark.parametrize("keys", [
    GPAW_NBMOTAW, dataclasses.replace(GPAW_NBMOTAW, stress=None, virial="virial", tension_sign=-1),
    dataclasses.replace(GPAW_NBMOTAW, stress_unit="kbar", energy="energy", stress="stress", forces="forces")])
def test_round_trip(tmp_path, name, keys):
    data = shipped_dataset()
    data = data.select(range(0, len(data), 7))
    write_dataset(data, tmp_path / name, keys)
    again = load_dataset(tmp_path / name, keys, elements=data.elements)
    assert (again.names, again.groups) == (data.names, data.groups)
    for one, two in zip(data.frames, again.frames, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, two.atoms.positions)
        np.testing.assert_array_equal(one.atoms.cell, two.atoms.cell)
        np.testing.assert_array_equal(one.atoms.species, two.atoms.species)
        np.testing.assert_array_equal(one.forces_eV_per_A, two.forces_eV_per_A)
        assert float(one.free_energy_eV) == float(two.free_energy_eV)
        np.testing.assert_allclose(one.stress_eV_per_A3, two.stress_eV_per_A3, rtol=1e-14, atol=1e-16)
    if not name.endswith("gz"):
        image: Any = ase.io.read(tmp_path / name, index=0)
        np.testing.assert_array_equal(image.positions, data.frames[0].atoms.positions)


def test_what_cannot_be_written_is_refused(tmp_path):
    data = shipped_dataset().select([0])
    with pytest.raises(DatasetError, match="cannot be written"):
        write_dataset(dataclasses.replace(data, names=('a"b',)), tmp_path / "x.extxyz", GPAW_NBMOTAW)
    bare = dataclasses.replace(data.frames[0], stress_eV_per_A3=np.full((3, 3), np.nan))
    with pytest.raises(DatasetError, match="has no stress"):
        write_dataset(dataclasses.replace(data, frames=(bare,)), tmp_path / "x.extxyz", GPAW_NBMOTAW)


def database(path, count=3):
    """Some distorted cells with results of a calculator and further fields."""
    rng = np.random.default_rng(0)
    connection: Any = ase.db.connect(str(path))
    with connection as file:
        for n in range(count):
            atoms = ase.Atoms("WMo", positions=[[0, 0, 0], [1.6, 1.6, 1.6 + 0.1 * n]], cell=[3.2, 3.2, 3.3], pbc=True)
            atoms.calc = SinglePointCalculator(atoms, energy=-20.0 - n, forces=rng.normal(size=(2, 3)),
                                               stress=rng.normal(size=6))
            file.write(atoms, key_value_pairs={"label": f"set{n % 2}", "total": -3.0 - n},
                       data={"grad": rng.normal(size=(2, 3))})
    return path


@pytest.mark.parametrize("name", ["set.db", "set.json"])
def test_ase_databases(tmp_path, name):
    path = database(tmp_path / name)
    data = load_dataset(path, dataclasses.replace(ASE_RESULTS, group="label"))
    assert data.groups == ("set0", "set1", "set0")
    assert data.elements == ("W", "Mo")
    connection: Any = ase.db.connect(str(path))
    with connection as file:
        for frame, row in zip(data.frames, file.select(), strict=True):
            atoms = row.toatoms()
            np.testing.assert_array_equal(frame.atoms.positions, atoms.positions)
            np.testing.assert_array_equal(frame.forces_eV_per_A, atoms.get_forces())
            np.testing.assert_allclose(frame.stress_eV_per_A3, atoms.get_stress(voigt=False), rtol=1e-15)
    other = load_dataset(path, DatasetKeys(energy="total", forces="grad"))
    assert [float(f.free_energy_eV) for f in other.frames] == [-3.0, -4.0, -5.0]
    with pytest.raises(DatasetError, match=r"row 2: field `nothing` is missing"):
        load_dataset(path, DatasetKeys(energy="nothing", forces="forces"))


def test_other_databases_are_refused_and_left_as_they_are(tmp_path):
    import sqlite3

    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("create table mine (a int)")
    cut = database(tmp_path / "whole.db").read_bytes()[:5000]
    for path, content in ((foreign, foreign.read_bytes()), (tmp_path / "empty.db", b""), (tmp_path / "cut.db", cut),
                          (tmp_path / "bytes.db", b"x" * 99), (tmp_path / "list.json", b"[1, 2]"),
                          (tmp_path / "deep.json", b"[" * 100_000)):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=path.name):
            load_dataset(path, ASE_RESULTS)
        assert path.read_bytes() == content
        assert sorted(p.name for p in tmp_path.glob(f"{path.stem}.*")) == [path.name]


@pytest.mark.parametrize(("text", "message"), [
    ("x\n", "frame 0, line 1: .* where a number of atoms"),
    (FRAME + FRAME[:-20], "frame 1, line 8: .*3 columns where"),
    (FRAME + "9\ncomment\n", "frame 1, line 5: .* 9 atoms are announced"),
    (FRAME.replace("Mo 1.6", "Mo 1,6"), "line 3: .*a position is not a number"),
    (FRAME.replace("Mo", "Qq"), r"\['Qq'\] are no chemical elements"),
    (FRAME.replace("3.2 0 0 0", "3.2 0 0"), "line 2: .*`Lattice` is not nine numbers"),
    (FRAME.replace("R:3:f", "R:99999999999:f"), "line 2: .*no `pos:R:3`"),
    (FRAME.replace("forces:R:3", "forces:R:0"), "line 2: .*with type R and 0 columns"),
    (FRAME.replace("T T T", "T T"), "line 2: .*`pbc` is not three"),
    (FRAME.replace("0.3\n", "0." + "3" * 1000 + "\n", 1), "line 3: .*a word of 1002 characters"),
    (FRAME.replace("3.2 0 0 0", "3e200 0 0 0"), "not finite"),
    (FRAME.replace("-20.5", "[[[[1"), "`energy` is not numeric"),
    ("", "holds no frame"),
])
def test_malformed_files_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / "set.extxyz"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        load_dataset(path, KEYS)
    assert str(path) in str(error.value)


def test_size_is_bounded(tmp_path):
    bomb = tmp_path / "bomb.extxyz.gz"
    bomb.write_bytes(gzip.compress(b"0" * 10_000_000))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(DatasetError, match="more than the limit of 100000: raise `max_bytes`"):
        load_dataset(bomb, KEYS, max_bytes=100_000)
    plain = tmp_path / "plain.extxyz"
    plain.write_text(FRAME)
    with pytest.raises(DatasetError, match="more than the limit of 100"):
        load_dataset(plain, KEYS, max_bytes=100)
    with pytest.raises(DatasetError, match="more than the limit of 100"):
        load_dataset(database(tmp_path / "set.db"), ASE_RESULTS, max_bytes=100)
    assert len(load_dataset(plain, KEYS)) == 1


@FUZZ
@given(content=st.binary(max_size=400), suffix=st.sampled_from([".extxyz", ".extxyz.gz", ".db", ".json"]))
def test_any_bytes(tmp_path, content, suffix):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    load_or_refuse(path)


@FUZZ
@given(at=st.integers(0, 2 * len(FRAME)), cut=st.integers(0, 40),
       put=st.text(st.sampled_from('0123456789.eE+-=:"\'{}[]\\ \n\tTFnaif_SR'), max_size=12))
def test_edited_files(tmp_path, at, cut, put):
    text = FRAME + FRAME.replace("3.2", "3.3")
    path = tmp_path / "edited.extxyz"
    path.write_text(text[:at] + put + text[at + cut:])
    load_or_refuse(path)


@FUZZ
@given(at=st.integers(0, 10_000), put=st.binary(max_size=4), keep=st.floats(0, 1))
def test_edited_and_truncated_compressed_files(tmp_path, at, put, keep):
    content = gzip.compress((FRAME * 3).encode())
    at %= len(content)
    path = tmp_path / "edited.extxyz.gz"
    path.write_bytes((content[:at] + put + content[at + len(put):])[:int(keep * len(content)) + 1])
    load_or_refuse(path)


@pytest.fixture(scope="module")
def small_database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("databases")
    return {suffix: database(folder / f"set{suffix}", 2).read_bytes() for suffix in (".db", ".json")}


@settings(FUZZ, max_examples=60)
@given(at=st.integers(0, 1 << 20), put=st.binary(min_size=1, max_size=8), suffix=st.sampled_from([".db", ".json"]))
def test_edited_databases(tmp_path, small_database, at, put, suffix):
    content = small_database[suffix]
    at %= len(content)
    path = tmp_path / f"edited{suffix}"
    path.write_bytes(content[:at] + put + content[at + len(put):])
    load_or_refuse(path, ASE_RESULTS)


def test_long_lines_take_no_longer_than_their_length(tmp_path):
    """Quotes and braces that never close make some parsers quadratic."""
    path = tmp_path / "long.extxyz"
    for piece in ('a="\\', "a={", "a='", '"', "a=\\\"", "=", "a= "):
        path.write_text(f"1\n{piece * 100_000}\nW 0 0 0\n")
        load_or_refuse(path)


def test_json_values(tmp_path):
    path = tmp_path / "set.extxyz"
    path.write_text(FRAME.replace("energy=-20.5", f'energy="{json.dumps([-1.5])}"'))
    with pytest.raises(DatasetError, match=r"shape \(1,\)"):
        load_dataset(path, KEYS)
    path.write_text(FRAME.replace("pbc", 's="_JSON [[1, 0, 0], [0, 1, 0], [0, 0, 1]]" pbc'))
    np.testing.assert_array_equal(load_dataset(path, dataclasses.replace(KEYS, stress="s")).frames[0].stress_eV_per_A3,
                                  np.eye(3))
