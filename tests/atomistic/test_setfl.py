"""``eam.alloy`` files: round trip, LAMMPS's cubic pieces, export of a fit, and errors that say where."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import SetflError, load_eam, read_setfl, tabulated, to_setfl, write_setfl
from hea_jax.atomistic.potentials.eam_tabulated import cubic_pieces
from hea_jax.records import Atoms
from tests.atomistic import potential_conformance as kit


@pytest.fixture(scope="module")
def learnable():
    return kit.learnable_eam()


@pytest.fixture(scope="module")
def exported(learnable):
    return to_setfl(learnable)


def test_round_trip_is_exact(exported, tmp_path):
    write_setfl(tmp_path / "a.eam.alloy", exported)
    again = read_setfl(tmp_path / "a.eam.alloy")
    for field in dataclasses.fields(exported):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(exported, field.name), err_msg=field.name)


@pytest.mark.parametrize(("shape", "noise", "strain"), [((2, 2, 2), 0.1, 0.05), ((1, 1, 1), 0.0, 0.15)])
def test_table_equals_the_fit_in_memory(learnable, exported, shape, noise, strain):
    """Within 1e-6 eV per atom, 1e-5 eV/Å and 1e-3 GPa, on random alloys, strained and compressed."""
    table = tabulated(exported)
    for a in (3.0, 3.24, 3.5):
        atoms = kit.random_alloy(shape, a=a, noise=noise, strain=strain)
        pairs = neighbour_table(atoms, learnable.cutoff, capacity=200)
        E, F, S = kit.evaluate(learnable, atoms, pairs)
        E2, F2, S2 = kit.evaluate(table, atoms, pairs)
        assert abs(float(E - E2)) / atoms.number < 1e-6
        np.testing.assert_allclose(F2, F, atol=1e-5)
        np.testing.assert_allclose(S2, S, atol=1e-3 / 160.2)


def test_cubic_pieces_reproduce_a_cubic_inside():
    """Five-point slopes are exact for quartics, so a cubic is reproduced away from the ends."""
    x = np.arange(12.0)
    f = 0.3 + 0.7 * x - 0.2 * x**2 + 0.05 * x**3
    pieces = np.asarray(cubic_pieces(jnp.asarray(f)[None])[0])
    for p in (0.0, 0.25, 0.8):
        values = ((pieces[:, 0] * p + pieces[:, 1]) * p + pieces[:, 2]) * p + pieces[:, 3]
        at = x[2:9] + p
        np.testing.assert_allclose(values[2:9], 0.3 + 0.7 * at - 0.2 * at**2 + 0.05 * at**3, rtol=1e-13)


def test_embedding_is_linear_beyond_the_table(exported):
    potential = tabulated(exported)
    last = (exported.embedding.shape[1] - 1) * exported.drho
    rho = last + jnp.array([0.0, 1.0, 2.0, 4.0])
    F = np.asarray(potential.embedding(rho, jnp.zeros(4, int)))
    np.testing.assert_allclose([F[2] - F[1], (F[3] - F[2]) / 2], F[1] - F[0], rtol=1e-9)


def test_wrong_content_is_refused(exported):
    for change, message in (({"dr_A": 0.0}, "dr_A must be positive"), ({"masses_amu": (1.0,)}, "one entry per element"),
                            ({"pair": exported.pair[:3]}, "pair must have 10 rows"),
                            ({"embedding": exported.embedding * np.nan}, "not finite"),
                            ({"density": exported.density[:, :9]}, "one grid")):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(exported, **change)


def test_export_says_where_it_ends(learnable, tmp_path):
    """The comment lines carry provenance, the range of densities and the offsets; LAMMPS checks the units."""
    path = tmp_path / "fit.eam.alloy"
    setfl = to_setfl(learnable, n_r=101, n_rho=101, offsets_eV=[-1.5, 2.0, 0.0, 3.0], provenance="fit\nof today",
                     path=path)
    first, second, third = read_setfl(path).comments
    assert "UNITS: metal " in first
    assert "fit of today" in first
    assert f"{setfl.drho * 100:.6g}" in second
    assert "Nb -1.5, Mo 2, Ta 0, W 3" in third
    with pytest.raises(ValueError, match="offsets_eV"):
        to_setfl(learnable, offsets_eV=[1.0])
    with pytest.raises(ValueError, match="closest_A"):
        to_setfl(learnable, closest_A=9.0)
    with pytest.raises(ValueError, match="at least 100"):
        to_setfl(learnable, n_r=10)


def _text(exported):
    small = dataclasses.replace(exported, embedding=exported.embedding[:, :10], density=exported.density[:, :10],
                                pair=exported.pair[:, :10])
    return small


@pytest.mark.parametrize(("edit", "line", "message"), [
    (lambda lines: lines[:40], 40, "truncated"),
    (lambda lines: [*lines[:3], "3 Nb Mo", *lines[4:]], 4, "the number of elements is 3 but 2 symbols follow"),
    (lambda lines: [*lines[:3], "four Nb Mo Ta W", *lines[4:]], 4, "should be a whole number, found 'four'"),
    (lambda lines: [*lines[:4], "10 0.1 10", *lines[5:]], 5, "nrho drho nr dr cutoff"),
    (lambda lines: [*lines[:4], "10 0.1 10 -0.5 5.5", *lines[5:]], 5, "dr is -0.5"),
    (lambda lines: [*lines[:6], "1.0 oops 3.0 4.0 5.0", *lines[7:]], 7, "value 2 of F(rho) of Nb"),
    (lambda lines: [*lines[:7], "1.0 2.0 nan 4.0 5.0", *lines[8:]], 8, "value 8 of F(rho) of Nb"),
    (lambda lines: [*lines[:4], "4 0.1 10 0.5 5.5", *lines[5:]], 5, "nrho is 4"),
    (lambda lines: [*lines[:4], "5 0.1 10 0.5 5.5", *lines[5:]], 10, "atomic number of Mo should be"),
    (lambda lines: [*lines[:4], "10.5 0.1 10 0.5 5.5", *lines[5:]], 5, "nrho should be a whole number"),
    (lambda lines: [*lines[:6], lines[6].replace("e", "D") + "D0", *lines[7:]], 7, "Fortran"),
    (lambda lines: [*lines[:5], "41 heavy 3.2 bcc", *lines[6:]], 6, "mass of Nb"),
])
def test_errors_name_file_line_field_and_remedy(exported, tmp_path, edit, line, message):
    path = tmp_path / "broken.eam.alloy"
    write_setfl(path, _text(exported))
    path.write_text("\n".join(edit(path.read_text().splitlines())))
    with pytest.raises(SetflError) as error:
        read_setfl(path)
    text = str(error.value)
    assert "broken.eam.alloy" in text
    assert message in text
    assert f"line {line}" in text


def test_missing_file_and_surplus_values(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        load_eam(tmp_path / "none.eam.alloy")
    path = tmp_path / "surplus.eam.alloy"
    write_setfl(path, _text(exported))
    lines = path.read_text().splitlines()
    lines[7] += " 99.0"
    path.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"line 8: F\(rho\) of Nb has 11 values"):
        again = read_setfl(path)
    np.testing.assert_array_equal(again.embedding, exported.embedding[:, :10])
    path.write_text("\n".join([*lines, "1.0 2.0"]))
    with pytest.raises(SetflError, match=f"line {len(lines) + 1}: text follows"):
        read_setfl(path)


def test_two_species_of_a_larger_file_keep_their_pair_order(exported):
    """r·φ of (a, b) is the same function as of (b, a)."""
    potential = tabulated(exported)
    r = jnp.linspace(2.2, 5.4, 20)[:, None]
    a, b = (jnp.broadcast_to(index.ravel(), (20, 16)) for index in jnp.indices((4, 4)))
    phi, rho_ij, rho_ji = potential.radial(jnp.broadcast_to(r, (20, 16)), a, b)
    phi, rho_ij, rho_ji = (x.reshape(20, 4, 4) for x in (phi, rho_ij, rho_ji))
    np.testing.assert_array_equal(phi, phi.swapaxes(1, 2))
    np.testing.assert_array_equal(rho_ij, rho_ji.swapaxes(1, 2))
    atoms = Atoms(jnp.zeros((2, 3)).at[1, 0].set(2.7), 20.0 * jnp.eye(3), jnp.array([3, 1], jnp.int32), kit.ELEMENTS)
    pairs = neighbour_table(atoms, potential.cutoff)
    swapped = Atoms(atoms.positions[::-1], atoms.cell, atoms.species[::-1], kit.ELEMENTS)
    np.testing.assert_allclose(kit.evaluate(potential, atoms, pairs)[0],
                               kit.evaluate(potential, swapped, pairs)[0], rtol=1e-14)
