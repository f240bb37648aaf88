"""Records in HDF5 files and voxel fields for ParaView."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.app.runs import load_tree, save_tree
from hea_jax.app.runs.units import unit_of
from hea_jax.app.runs.vtkhdf import save_image_data
from hea_jax.core import tensors
from hea_jax.records import AtomisticProperties, Atoms, Labelled, Microstructure, Provenance


def there_and_back(tmp_path, tree):
    """A tree after writing and reading."""
    save_tree(tmp_path / "x.h5", tree)
    return load_tree(tmp_path / "x.h5")


def properties():
    """A record with a NaN, as stages give them."""
    n, t = 2, 1
    return AtomisticProperties(
        composition=jnp.array([0.5, 0.5]),
        temperatures_K=jnp.array([300.0]),
        lattice_constants_A=jnp.array([3.2]),
        lattice_constants_stderr_A=jnp.array([jnp.nan]),
        elastic_constants_GPa=jnp.arange(3.0)[None],
        elastic_constants_stderr_GPa=jnp.ones((t, 3)),
        elastic_slopes_GPa=jnp.ones((3, n)),
        elastic_slopes_stderr_GPa=jnp.ones((3, n)),
        interactions_eV=jnp.zeros((n, n)),
        interactions_stderr_eV=jnp.zeros((n, n)),
        diffusion_prefactors_nm2_per_s=jnp.ones(n),
        diffusion_energies_eV=jnp.ones(n),
        gradient_coefficient_GPa_nm2=jnp.array(0.1),
        boundary_energy_J_per_m2=jnp.array(1.0),
        boundary_diffusion_nm3_per_s=jnp.array(1.0),
        boundary_diffusion_energy_eV=jnp.array(2.0),
        elements=("Nb", "Mo"),
    )


def test_records_survive_with_types_and_dtypes(tmp_path):
    atoms = Atoms(jnp.zeros((2, 3)), jnp.eye(3), jnp.array([0, 1], jnp.int32), ("Nb", "Mo"), (True, False, True))
    grains = Microstructure(jnp.zeros((2, 2, 2), int), jnp.eye(3)[None], jnp.ones(3))
    labelled = Labelled(grains, Provenance("test", ("a", "b"), {"n": 3, "x": [1.5, None]}, "somebody 2020"))
    tree = {"atoms": atoms, "list": [labelled, (1, 2.5, "x", None, True)], "properties": properties()}
    back = there_and_back(tmp_path, tree)
    assert jax.tree.structure(back["atoms"]) == jax.tree.structure(atoms)
    assert isinstance(back["list"][0], Labelled)
    assert back["list"][0].provenance == labelled.provenance
    assert back["list"][1] == (1, 2.5, "x", None, True)
    for a, b in zip(jax.tree.leaves(back["properties"]), jax.tree.leaves(tree["properties"]), strict=True):
        assert isinstance(a, jax.Array)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert back["atoms"].species.dtype == jnp.int32
    assert jax.jit(lambda a: a.volume)(back["atoms"]) == 1


def test_units_and_names_stand_in_the_file(tmp_path):
    save_tree(tmp_path / "x.h5", properties())
    with h5py.File(tmp_path / "x.h5") as file:
        record = file["record"]
        assert record.attrs["class"] == "hea_jax.records.scales:AtomisticProperties"
        assert record["elastic_constants_GPa"].attrs["unit"] == "GPa"
        assert record["lattice_constants_A"].attrs["unit"] == "Å"
        assert record["composition"].attrs["unit"] == ""


@pytest.mark.parametrize(
    ("name", "unit"),
    [("forces_eV_per_A", "eV/Å"), ("stress_eV_per_A3", "eV/Å³"), ("kappa_GPa_nm2", "GPa nm²"), ("dt_fs", "fs"),
     ("C_eff", ""), ("alpha", ""), ("voxel_nm", "nm"), ("thermal_strain_per_K", "1/K"), ("A", "")],
)  # fmt: skip
def test_unit_of_a_name(name, unit):
    assert unit_of(name) == unit


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, float("inf"), 0.1 + 0.2, "text Å", [], (), {}, [1, "a"], (1.5,), {"a": {"b": [np.ones(2)]}},
     np.float32(1.5), np.int64(3), np.zeros((0, 3)), np.array([True, False]), np.array(1 + 2j)],
    ids=repr,
)  # fmt: skip
def test_plain_values(tmp_path, value):
    back = there_and_back(tmp_path, {"x": value})["x"]
    np.testing.assert_equal(back, value)
    if not isinstance(value, np.generic):
        assert type(back) is type(value)


def test_nan_keys_and_functions(tmp_path):
    key = jax.random.key(3)
    back = there_and_back(tmp_path, {"nan": float("nan"), "key": key, "function": tensors.to_mandel, "class": Atoms})
    assert np.isnan(back["nan"])
    assert jax.random.uniform(back["key"]) == jax.random.uniform(key)
    assert back["function"] is tensors.to_mandel
    assert back["class"] is Atoms


@pytest.mark.parametrize(
    "value",
    [{1: 2}, {"a/b": 1}, {"": 1}, {1, 2}, object(), lambda x: x, np.array(["text"]), np.array([object()]), jax.jit],
    ids=["number as key", "slash", "empty key", "set", "object", "lambda", "texts", "objects", "foreign function"],
)
def test_what_cannot_be_stored_is_refused(tmp_path, value):
    with pytest.raises(TypeError, match=r"/record"):
        save_tree(tmp_path / "x.h5", {"x": value})


def test_files_cannot_name_foreign_code(tmp_path):
    save_tree(tmp_path / "x.h5", {"f": tensors.to_mandel})
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["record/f"]
        file["record/f"] = '"os:system"'
        file["record/f"].attrs["kind"] = "reference"
    with pytest.raises(TypeError, match=r"os:system is not of hea_jax"):
        load_tree(tmp_path / "x.h5")


def test_a_record_whose_class_changed_is_refused(tmp_path):
    save_tree(tmp_path / "x.h5", properties())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file["record/composition"]
    with pytest.raises(TypeError, match="AtomisticProperties has changed"):
        load_tree(tmp_path / "x.h5")


@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3)])
def test_image_data(tmp_path, shape):
    scalar = np.arange(np.prod(shape)).reshape(shape)
    vector = np.stack([scalar * 1.0, scalar * 2.0, scalar * 3.0])
    save_image_data(tmp_path / "x.vtkhdf", {"grain": scalar, "u_nm": vector}, [1.0, 2.0, 0.5][: len(shape)])
    with h5py.File(tmp_path / "x.vtkhdf") as file:
        root = file["VTKHDF"]
        assert root.attrs["Type"] == b"ImageData"
        assert list(root.attrs["Version"]) == [2, 0]
        assert list(root.attrs["WholeExtent"]) == [0, 4, 0, 3, 0, shape[2] if len(shape) == 3 else 1]
        assert root["CellData/grain"].shape == tuple(reversed((*shape, 1)[:3]))
        assert root["CellData/u_nm"].attrs["unit"] == "nm"
        index = (0,) * (3 - len(shape)) + tuple(reversed([1] * len(shape)))
        np.testing.assert_array_equal(root["CellData/u_nm"][index], vector[(slice(None), *[1] * len(shape))])


def test_image_data_refuses_mixed_grids(tmp_path):
    with pytest.raises(ValueError, match="different grids"):
        save_image_data(tmp_path / "x.vtkhdf", {"a": np.ones((2, 2)), "b": np.ones((2, 3))}, [1, 1])
    with pytest.raises(ValueError, match="expected 3 grid axes"):
        save_image_data(tmp_path / "x.vtkhdf", {"a": np.ones((2, 2))}, [1, 1, 1])
