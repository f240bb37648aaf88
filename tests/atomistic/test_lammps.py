"""LAMMPS as truth: energy 1e-8 eV/atom, forces 1e-6 eV/Å, stress, on alloys, triclinic and small cells."""

import dataclasses
import os
import warnings
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.lammps import LammpsError, lammps_available, lammps_single_point
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import load_eam, to_setfl, write_setfl
from hea_jax.records import pair_vectors
from tests.atomistic import potential_conformance as kit

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "potentials"


@pytest.fixture(scope="module", autouse=True)
def _lammps():
    available, reason = lammps_available()
    if not available and os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
        pytest.fail(f"HEA_JAX_REQUIRE_PEERS=1 but {reason}")
    if not available:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("potential") / "own.eam.alloy"
    write_setfl(path, to_setfl(kit.learnable_eam(), n_r=1501, n_rho=1501))
    return path


STRUCTURES = {
    "random alloy": {"shape": (3, 3, 3), "strain": 0.0},
    "triclinic": {"shape": (3, 2, 2), "strain": 0.08},
    "several images": {"shape": (1, 1, 1), "strain": 0.1},
    "thin": {"shape": (4, 1, 1), "strain": 0.05},
}


def compare(path, **structure):
    with warnings.catch_warnings():
        # The CoCrNi file has a surplus value in every block (tested with the reader).
        warnings.filterwarnings("ignore", message=".*is dropped, as LAMMPS does")
        potential = load_eam(path)
    check(potential, kit.random_alloy(elements=potential.elements, **structure), path)


def check(potential, atoms, path):
    E, F, S = kit.evaluate(potential, atoms, neighbour_table(atoms, potential.cutoff))
    reference = lammps_single_point(atoms, path)
    size = max(1.0, float(jnp.max(jnp.abs(F))))
    assert abs(float(E) - reference.energy_eV) / atoms.number < 1e-8
    np.testing.assert_allclose(F, reference.forces_eV_per_A, rtol=0, atol=1e-6)
    np.testing.assert_allclose(S, reference.stress_eV_per_A3, rtol=0, atol=1e-10 * size)
    assert float(jnp.max(jnp.abs(F))) > 0.1


@pytest.mark.parametrize("name", STRUCTURES)
def test_own_export(own_file, name):
    compare(own_file, **STRUCTURES[name])


def test_left_handed_and_rotated_cells(own_file):
    """A cell that is no lower triangle, of either handedness, is rotated into LAMMPS's frame and back."""
    potential = load_eam(own_file)
    atoms = kit.random_alloy((2, 1, 1), strain=0.05)
    rotation = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0])
    for matrix in (rotation, -rotation):
        turned = atoms.deformed(matrix)
        turned = eqx.tree_at(lambda a: a.cell, turned, turned.cell[jnp.array([1, 0, 2])])
        check(potential, turned, own_file)


@pytest.mark.parametrize("name", ["MoTaW_Zhou2004", "CrMoNbTaVW_Xu2022", "HfMoNbTaTiVWZr_Mubassira2025",
                                  "CoCrNi_LiShengMa2019"])
@pytest.mark.parametrize("structure", ["triclinic", "several images"])
def test_published_files(name, structure):
    path = PUBLISHED / f"{name}.eam.alloy"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the files at hand (../shared/data/potentials)")
    compare(path, **STRUCTURES[structure])


def test_failures_carry_the_output_of_lammps(own_file, tmp_path):
    atoms = kit.random_alloy((1, 1, 1))
    (tmp_path / "bad.eam.alloy").write_text("\n\n\n0\n")
    with pytest.raises(LammpsError, match="ERROR"):
        lammps_single_point(atoms, tmp_path / "bad.eam.alloy")
    with pytest.raises(FileNotFoundError, match="no potential file"):
        lammps_single_point(atoms, tmp_path / "none.eam.alloy")


@pytest.mark.parametrize("pbc", [(True, True, False), (True, False, True), (False, True, True), (False, False, True),
                                 (True, False, False), (False, False, False)])
def test_open_directions(own_file, pbc):
    potential = load_eam(own_file)
    atoms = dataclasses.replace(kit.random_alloy((2, 2, 2), strain=0.05), pbc=pbc)
    check(potential, atoms, own_file)


def test_cluster_without_a_cell(own_file):
    potential = load_eam(own_file)
    atoms = dataclasses.replace(kit.random_alloy((1, 1, 2)), pbc=(False,) * 3, cell=jnp.zeros((3, 3)))
    E, F, _ = kit.evaluate(potential, atoms, neighbour_table(atoms, potential.cutoff))
    reference = lammps_single_point(atoms, own_file)
    assert abs(float(E) - reference.energy_eV) / atoms.number < 1e-8
    np.testing.assert_allclose(F, reference.forces_eV_per_A, atol=1e-6)


def test_beyond_the_table_of_densities(own_file):
    """Compressed until F continues as a straight line, and atoms stand on the repulsive core."""
    potential = load_eam(own_file)
    atoms = kit.random_alloy((2, 2, 2), a=1.9)
    pairs = neighbour_table(atoms, potential.cutoff)
    i, j = atoms.species[:, None], atoms.species[pairs.index]
    r = jnp.linalg.norm(pair_vectors(atoms, pairs), axis=-1)
    last = potential.drho * (potential.embedding_table.shape[1] - 1)
    assert float(jnp.max(jnp.sum(potential.radial(r, i, j)[1], axis=1))) > last
    check(potential, atoms, own_file)


def test_running_out_of_time_is_an_error_of_lammps():
    with pytest.raises(LammpsError, match=r"longer than 0\.001 s .* raise `timeout_s`"):
        lammps_single_point(kit.random_alloy((1, 1, 1)), pair_commands=("pair_style zbl 1 2", "pair_coeff * * 41 41"),
                            timeout_s=0.001)
