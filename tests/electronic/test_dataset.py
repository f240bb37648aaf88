"""DFT datasets: declared keys and units, signs, and one error that lists everything."""

import dataclasses
import gzip
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from hea_jax.electronic import (
    GPAW_NBMOTAW,
    LI_2020,
    DatasetError,
    DatasetKeys,
    check_dataset,
    load_dataset,
    shipped_dataset,
    write_dataset,
)

LI = Path(__file__).parents[3] / "shared" / "data" / "dft" / "NbMoTaW_train.extxyz.gz"
ROW = "W 0.0 0.0 0.0 0.1 0.2 0.3\nMo 1.6 1.6 1.6 -0.1 -0.2 -0.3\n"


def frame(*, a=3.2, extra="", energy="energy=-20.5", rows=ROW, forces="forces"):
    return (f'2\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3:{forces}:R:3 {energy} {extra} '
            f'pbc="T T T"\n{rows}')


def write(tmp_path, *frames, name="set.extxyz"):
    path = tmp_path / name
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "wt") as file:
        file.write("".join(frames))
    return path


PLAIN = DatasetKeys(energy="energy", forces="forces")


@pytest.fixture(scope="module")
def shipped():
    return shipped_dataset()


def test_shipped_set(shipped):
    assert len(shipped) >= 92
    assert shipped.elements == ("Nb", "Mo", "Ta", "W")
    assert len(set(shipped.names)) == len(shipped)
    assert {"eos_bcc", "elastic_bcc", "b2", "alloy8"} <= set(shipped.group_sizes())
    assert sum(shipped.group_sizes().values()) == len(shipped)
    for reference in shipped.frames:
        assert reference.forces_eV_per_A.shape == reference.atoms.positions.shape
        assert bool(jnp.all(jnp.isfinite(reference.stress_eV_per_A3)))
        np.testing.assert_allclose(jnp.sum(reference.forces_eV_per_A, axis=0), 0, atol=0.05)


def test_shipped_stress_is_positive_in_tension(shipped):
    for element in shipped.elements:
        names = (f"eos_bcc-{element}-0.97", f"eos_bcc-{element}-1.03")
        compressed, stretched = (shipped.frames[shipped.names.index(name)] for name in names)
        assert float(jnp.trace(compressed.stress_eV_per_A3)) < 0 < float(jnp.trace(stretched.stress_eV_per_A3))


def test_shipped_energies_are_the_ones_that_go_with_stress(shipped):
    """dE/dV of the free energies along the equation of state is the mean stress (but for the Pulay stress, 0.6 GPa)."""
    frames = [shipped.frames[shipped.names.index(f"eos_bcc-W-{f}")] for f in ("0.985", "1.0", "1.015")]
    V = [float(f.atoms.volume) for f in frames]
    E = np.polynomial.Polynomial.fit(V, [float(f.free_energy_eV) for f in frames], 2)
    np.testing.assert_allclose(E.deriv()(V[1]), float(jnp.trace(frames[1].stress_eV_per_A3)) / 3, atol=8e-3)


@pytest.mark.parametrize("name", ["fit_nbmotaw_eam.yaml", "fit_small.yaml"])
def test_groups_that_the_fits_name_are_in_the_shipped_set(shipped, name):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs" / name).read_text())
    named = {*config["split"].get("always_train", ()), *config["weights"]["groups"]}
    named |= {group for source in config["data"] for group in source.get("groups", ())}
    assert len(named) >= 3
    assert named <= set(shipped.groups)


def test_the_elastic_group_on_the_coarser_mesh(shipped):
    coarse = shipped_dataset("gpaw_nbmotaw_kmesh8")
    assert coarse.elements == shipped.elements
    assert coarse.group_sizes() == {"elastic_bcc": shipped.group_sizes()["elastic_bcc"]}
    assert not set(coarse.names) & set(shipped.names)


def test_selection(shipped):
    part = shipped.select([3, 1])
    assert part.names == (shipped.names[3], shipped.names[1])
    assert len(part) == 2


@pytest.mark.parametrize("name", ["set.extxyz", "set.extxyz.gz"])
def test_keys_that_ase_moves_into_a_calculator(tmp_path, name):
    """ASE's reader hides `energy`, `forces`, `stress` in a calculator; they are found there."""
    path = write(tmp_path, frame(extra='stress="1 2 3 4 5 6 7 8 9"'), name=name)
    data = load_dataset(path, dataclasses.replace(PLAIN, stress="stress"))
    assert float(data.frames[0].free_energy_eV) == -20.5
    np.testing.assert_allclose(data.frames[0].forces_eV_per_A[1], [-0.1, -0.2, -0.3])
    assert data.elements == ("W", "Mo")
    assert data.groups == ("all",)
    np.testing.assert_allclose(jnp.diag(data.frames[0].stress_eV_per_A3), [1, 5, 9])


def test_units_and_signs(tmp_path):
    path = write(tmp_path, frame(extra='virial="6 0 0 0 6 0 0 0 6" pressure_GPa="10 20 30 1 2 3"'))
    virial = load_dataset(path, dataclasses.replace(PLAIN, virial="virial", tension_sign=-1)).frames[0]
    np.testing.assert_allclose(virial.stress_eV_per_A3, -6 / 3.2**3 * np.eye(3), rtol=1e-12)
    voigt = load_dataset(path, dataclasses.replace(PLAIN, stress="pressure_GPa", stress_unit="GPa")).frames[0]
    np.testing.assert_allclose(voigt.stress_eV_per_A3 * 160.2176634, [[10, 3, 2], [3, 20, 1], [2, 1, 30]], rtol=1e-12)
    none = load_dataset(path, PLAIN).frames[0]
    assert bool(jnp.all(jnp.isnan(none.stress_eV_per_A3)))


def test_the_order_of_six_components_is_declared(tmp_path):
    path = write(tmp_path, frame(extra='six="1 2 3 4 5 6" nine="1 6 5 6 2 4 5 4 3"'))
    one = lambda **keys: load_dataset(path, dataclasses.replace(PLAIN, **keys)).frames[0].stress_eV_per_A3
    np.testing.assert_array_equal(one(stress="six"), [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(one(stress="six", voigt_order="vasp"), [[1, 4, 6], [4, 2, 5], [6, 5, 3]])
    np.testing.assert_allclose(one(virial="six", voigt_order="vasp") * 3.2**3, [[1, 4, 6], [4, 2, 5], [6, 5, 3]])
    np.testing.assert_array_equal(one(stress="nine", voigt_order="vasp"), one(stress="nine"))
    with pytest.raises(ValueError, match=r"voigt_order must be one of .*xx yy zz xy yz zx"):
        dataclasses.replace(PLAIN, voigt_order="lammps")


def test_a_stress_may_be_optional(tmp_path):
    path = write(tmp_path, frame(extra='s="1 0 0 0 1 0 0 0 1"'), frame(a=3.3))
    keys = dataclasses.replace(PLAIN, stress="s")
    with pytest.raises(DatasetError, match=r"frame 1: field `s` is missing.*set `stress_optional: true`"):
        load_dataset(path, keys)
    keys = dataclasses.replace(keys, stress_optional=True)
    data = load_dataset(path, keys)
    np.testing.assert_array_equal(data.frames[0].stress_eV_per_A3, np.eye(3))
    assert bool(jnp.all(jnp.isnan(data.frames[1].stress_eV_per_A3)))
    assert "no stress in 1 frame(s): 1 (" in str(check_dataset(data))
    write_dataset(data, tmp_path / "again.extxyz", keys)
    again = load_dataset(tmp_path / "again.extxyz", keys)
    np.testing.assert_array_equal(np.array([f.stress_eV_per_A3 for f in again.frames]),
                                  np.array([f.stress_eV_per_A3 for f in data.frames]))
    with pytest.raises(DatasetError, match="stress_optional"):
        write_dataset(data, tmp_path / "again.extxyz", dataclasses.replace(keys, stress_optional=False))
    spoilt = write(tmp_path, frame(extra='s="nan 0 0 0 1 0 0 0 1"'))
    with pytest.raises(DatasetError, match="not finite"):
        load_dataset(spoilt, keys)
    with pytest.raises(ValueError, match="stress_optional needs a key"):
        dataclasses.replace(PLAIN, stress_optional=True)


def test_a_molecule_without_a_cell_has_no_stress(tmp_path):
    """Whatever the file says of it, and in whatever way it says that there is no cell."""
    box = frame(extra='v="3 0 0 0 3 0 0 0 3"')
    bare = box.replace('Lattice="3.2 0 0 0 3.2 0 0 0 3.2" ', "").replace('pbc="T T T"', 'pbc="F F F"')
    silent = frame().replace("3.2 0 0 0 3.2 0 0 0 3.2", "0 0 0 0 0 0 0 0 0").replace('"T T T"', '"F F F"')
    keys = dataclasses.replace(PLAIN, virial="v")
    data = load_dataset(write(tmp_path, box, bare, silent), keys, allow_duplicates=True)
    known = [bool(jnp.all(jnp.isfinite(f.stress_eV_per_A3))) for f in data.frames]
    assert known == [True, False, False]
    assert "without a cell: 2 frame(s): 1 (" in str(check_dataset(data))
    write_dataset(data, tmp_path / "again.extxyz", keys)
    again = load_dataset(tmp_path / "again.extxyz", keys, allow_duplicates=True)
    assert [bool(jnp.all(jnp.isfinite(f.stress_eV_per_A3))) for f in again.frames] == known


def test_every_problem_is_listed_at_once(tmp_path):
    path = write(
        tmp_path, frame(extra="label=a"), frame(a=3.3, energy="E=-1", extra="label=b"),
        frame(a=3.4, energy="energy=nan", extra="label=c"), frame(extra="label=d"),
        frame(a=3.5, rows=ROW.replace("W", "Cu"), extra="label=e"), frame(a=3.6, extra="label=a"),
        frame(a=3.7, forces="velo", extra="label=f"), frame(a=3.8))
    with pytest.raises(DatasetError) as error:
        load_dataset(path, dataclasses.replace(PLAIN, name="label"), elements=("W", "Mo"))
    text = str(error.value)
    for line in ("frame 1: field `energy` is missing", "frame 2: field `energy` is not finite",
                 "frame 3: same structure as frame 0", "frame 4: elements ['Cu']", "frame 5: same name as frame 0",
                 "frame 6: field `forces` is missing", "frame 7: label `label` is missing", "set.extxyz",
                 "correct the key in `DatasetKeys`", "allow_duplicates=True"):
        assert line in text, f"{line!r} not in:\n{text}"
    assert text.startswith("7 problem(s)") or text.startswith("8 problem(s)")


def test_wrong_shapes_and_types(tmp_path):
    path = write(tmp_path, frame(extra='s="1 2 3 4" t=soft'))
    with pytest.raises(DatasetError, match=r"field `s` has shape"):
        load_dataset(path, dataclasses.replace(PLAIN, stress="s"))
    with pytest.raises(DatasetError, match=r"field `t` is not numeric"):
        load_dataset(path, dataclasses.replace(PLAIN, stress="t"))


def test_duplicates_may_be_allowed_and_get_names_of_their_own(tmp_path):
    data = load_dataset(write(tmp_path, frame(), frame()), PLAIN, allow_duplicates=True)
    assert len(set(data.names)) == 2


def test_bad_files_and_declarations(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        load_dataset(tmp_path / "none.extxyz", PLAIN)
    with pytest.raises(DatasetError):
        load_dataset(write(tmp_path, "3\nno lattice\nW 0 0\n"), PLAIN)
    with pytest.raises(ValueError, match="not both"):
        DatasetKeys(energy="e", forces="f", stress="s", virial="v")
    with pytest.raises(ValueError, match="stress_unit"):
        DatasetKeys(energy="e", forces="f", stress_unit="bar")
    with pytest.raises(ValueError, match="tension_sign"):
        DatasetKeys(energy="e", forces="f", tension_sign=0)
    assert GPAW_NBMOTAW.stress is not None


def test_li_2020_loads_and_its_sign_is_right():
    if not LI.exists():
        pytest.skip(f"{LI.name} is not among the files at hand (../shared/data/dft)")
    data = load_dataset(LI, LI_2020, elements=("Nb", "Mo", "Ta", "W"))
    assert len(data) == 5282
    assert sum(f.atoms.number for f in data.frames) == 108_464
    elastic = [f for f, g in zip(data.frames, data.groups, strict=True) if g == "W_Elastic"]
    volumes = np.array([float(f.atoms.volume) / f.atoms.number for f in elastic])
    tension = np.array([float(jnp.trace(f.stress_eV_per_A3)) for f in elastic])
    assert np.corrcoef(volumes, tension)[0, 1] > 0.9
    assert tension[volumes < 15.5].max() < 0 < tension[volumes > 17.0].min()
