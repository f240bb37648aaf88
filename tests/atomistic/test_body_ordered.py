"""The body-ordered potential: its functions, its fast evaluation, its file, and PACE's code as truth."""

import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hea_jax.atomistic.force_field import AutodiffForceField
from hea_jax.atomistic.force_field_body_ordered import body_ordered_force_field
from hea_jax.atomistic.potentials import load_potential
from hea_jax.atomistic.potentials.body_ordered import (
    BodyOrdered,
    BodyOrderedFileError,
    Truncation,
    chemical_channels,
    load_body_ordered,
    save_body_ordered,
    save_yace,
)
from hea_jax.atomistic.potentials.body_ordered.basis import blocks
from hea_jax.atomistic.potentials.body_ordered.blocks_of_species import species_blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import coupled_triples, gaunt, numpy_harmonics, real_harmonics
from hea_jax.atomistic.potentials.body_ordered.radial import radial_functions
from hea_jax.atomistic.potentials.zbl import LammpsTaper, Overlay
from hea_jax.atomistic.properties import energy_forces_stress
from tests.atomistic import potential_conformance as kit


def test_harmonics_are_orthonormal_and_those_of_scipy():
    import scipy.special

    nodes, weights = np.polynomial.legendre.leggauss(10)
    phi = np.arange(20) * (2 * np.pi / 20)
    z, phi = (a.ravel() for a in np.meshgrid(nodes, phi, indexing="ij"))
    Y = numpy_harmonics(5, z, phi)
    np.testing.assert_allclose((Y * np.repeat(weights, 20) * (2 * np.pi / 20)) @ Y.T, np.eye(36), atol=1e-13)
    s = np.sqrt(1 - z**2)
    np.testing.assert_allclose(real_harmonics(5, jnp.asarray(s * np.cos(phi)), jnp.asarray(s * np.sin(phi)),
    jnp.asarray(z)),
                               Y, atol=1e-13)
    for l, m in ((1, 1), (3, 2), (5, 4)):
        theirs = scipy.special.sph_harm_y(l, m, np.arccos(z), phi)
        sign = (-1.0) ** m * np.sqrt(2)
        np.testing.assert_allclose(Y[l * l + l + m], sign * theirs.real, atol=1e-13)
        np.testing.assert_allclose(Y[l * l + l - m], sign * theirs.imag, atol=1e-13)


def test_couplings_are_invariant_under_rotation():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    v = rng.normal(size=(40, 3))
    v /= np.linalg.norm(v, axis=1)[:, None]
    Y, rotated = (np.array(real_harmonics(4, *jnp.asarray(x.T))) for x in (v, v @ Q.T))
    density = rng.normal(size=(3, 40))
    for orders in coupled_triples(4):
        before, after = (
            np.einsum("abc,a,b,c", gaunt(*orders), *(H[l * l : (l + 1) ** 2] @ d
                                                     for l, d in zip(orders, density, strict=True)))
            for H in (Y, rotated))
        assert abs(before) > 1e-3
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)


def test_radial_functions_are_orthonormal_and_end_smoothly():
    r = np.linspace(2.0, 5.0, 6001)
    R = np.array(radial_functions(8, 5.0, 2.0, jnp.asarray(r)))
    np.testing.assert_allclose(np.trapezoid(R[:, None] * R[None] * r**2, r), np.eye(8), atol=2e-5)
    last = lambda x: radial_functions(8, 5.0, 2.0, x)[7]
    for order in range(4):
        assert abs(float(last(jnp.array(5.0 - 1e-5)))) < 1e4 * (1e-5) ** (4 - order)
        last = jax.grad(last)
    inside = radial_functions(1, 5.0, 2.0, jnp.array([0.5, 1.0]))[0]
    assert float(inside[0]) == float(inside[1])


def test_channels_are_orthonormal_and_the_first_is_blind():
    sets = (("W",), ("Nb", "Mo", "Ta", "W"), ("Co", "Cr", "Fe", "Mn", "Ni"), ("Al", "Hf", "H", "U", "He", "C"))
    for elements in sets:
        w = chemical_channels(elements)
        np.testing.assert_allclose(w @ w.T, np.eye(len(elements)), atol=1e-10)
        np.testing.assert_allclose(w[0], w[0, 0])
    group = chemical_channels(("Nb", "Mo", "Ta", "W"))[1]
    assert group[0] == pytest.approx(group[2])
    assert group[1] == pytest.approx(-group[0])


def test_functions_are_linearly_independent():
    """As many atoms as functions in disordered surroundings: the matrix of invariants has full rank."""
    potential = kit.body_ordered(Truncation(2, 2, 2, 2, 2, 2, 2), elements=("Nb", "W"))
    count = potential.coefficients.shape[1]
    rows = []
    for seed in range(1 + count // 16):
        atoms = kit.random_alloy((2, 2, 2), noise=0.4, seed=seed, elements=("Nb", "W"))
        rows.append(np.asarray(potential.functions(atoms, kit.table(potential, atoms))))
    B = np.concatenate(rows)
    B = B / np.linalg.norm(B, axis=0)
    assert np.linalg.matrix_rank(B, tol=1e-9) == count


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2)])
def test_contracted_energies_are_the_sum_over_functions(shape):
    potential, atoms = kit.body_ordered(), kit.random_alloy(shape)
    pairs = kit.table(potential, atoms)
    expected = jnp.sum(potential.coefficients[atoms.species] * potential.functions(atoms, pairs), axis=1)
    np.testing.assert_allclose(potential.atomic_energies(atoms, pairs), expected, atol=1e-13)


@pytest.mark.parametrize("number", [1, 5, 200])
def test_blocks_hold_every_atom_once(number):
    species = jnp.asarray(np.random.default_rng(number).integers(0, 4, number))
    rows = species_blocks(species, 4, 16)
    count, size = rows.shape
    np.testing.assert_array_equal(rows.atom[rows.row], np.arange(number))
    np.testing.assert_array_equal(rows.element[rows.row // size], species)
    assert count * size < 2 * number + 4 * size


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2)])
def test_force_field_equals_autodiff(shape):
    """The small cell meets several images of every neighbour, itself included."""
    potential, atoms = kit.body_ordered(), kit.random_alloy(shape)
    pairs = kit.table(potential, atoms)
    fast = eqx.filter_jit(lambda p, a, n: body_ordered_force_field(p, a, n).evaluate(a.positions, a.cell))
    slow = eqx.filter_jit(lambda p, a, n: AutodiffForceField(p, a, n).evaluate(a.positions, a.cell))
    answers = (jax.tree.leaves(evaluate(potential, atoms, pairs)) for evaluate in (fast, slow))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def _pace():
    try:
        from pyace import PyACECalculator
    except ImportError:
        if os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
            pytest.fail("HEA_JAX_REQUIRE_PEERS=1 but python-ace is not installed")
        pytest.skip("python-ace is not installed: pip install python-ace")
    return PyACECalculator


@pytest.mark.parametrize("truncation", [Truncation(4, 0, 0, 1, 0, 0, 1), Truncation(2, 2, 3, 4, 0, 0, 1),
                                        Truncation(3, 2, 2, 3, 2, 3, 2)])
def test_pace_evaluates_the_exported_file_alike(truncation, tmp_path):
    """PACE tabulates radial functions at 0.001 Å: agreement to 1e-8 of energies and forces."""
    import ase

    potential, atoms = kit.body_ordered(truncation), kit.random_alloy((2, 2, 2), noise=0.05)
    path = save_yace(tmp_path / "p.yace", potential, offsets_eV={"Nb": -1.0, "W": 2.5})
    E, F, S = energy_forces_stress(potential, atoms, kit.table(potential, atoms))
    peer = ase.Atoms(atoms.symbols(), positions=np.asarray(atoms.positions), cell=np.asarray(atoms.cell), pbc=True)
    peer.calc = _pace()(str(path))
    offset = -1.0 * atoms.symbols().count("Nb") + 2.5 * atoms.symbols().count("W")
    size = float(jnp.max(jnp.abs(F)))
    assert abs(peer.get_potential_energy() - offset - float(E)) < 1e-8 * atoms.number * max(1.0, size)
    np.testing.assert_allclose(peer.get_forces(), F, atol=2e-7 * size)
    np.testing.assert_allclose(peer.get_stress(voigt=False), S, atol=1e-7 * float(jnp.max(jnp.abs(S))))


def test_file_round_trip(tmp_path):
    potential = kit.body_ordered()
    path = save_body_ordered(tmp_path / "p.json", potential, offsets_eV={"Nb": 1.0}, facts={"errors": [1, 2]})
    restored = load_body_ordered(path)
    assert isinstance(restored, BodyOrdered)
    assert eqx.tree_equal(potential, restored)
    assert eqx.tree_equal(potential, load_potential(path))
    cored = load_body_ordered(save_body_ordered(path, potential, core=LammpsTaper(1.2, 2.2)))
    assert isinstance(cored, Overlay)
    assert cored.parts[1].cutoff == 2.2


VALID = None


def _valid(tmp) -> str:
    global VALID
    if VALID is None:
        VALID = save_body_ordered(tmp / "v.json", kit.body_ordered(Truncation(1, 1, 0, 1, 0, 0, 1))).read_text()
    return VALID


def _try(path):
    """Read or refused; anything else escapes and fails the test."""
    try:
        read = load_body_ordered(path)
    except BodyOrderedFileError as refusal:
        return str(path) in str(refusal)
    return isinstance(read, BodyOrdered | Overlay)


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "p.json"
    path.write_bytes(noise)
    assert _try(path)


junk = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=junk)
def test_any_changed_field_is_read_or_refused(tmp_path_factory, data, value):
    folder = tmp_path_factory.mktemp("field")
    content = json.loads(_valid(folder))
    name = data.draw(st.sampled_from(sorted(content)))
    content[name] = value
    (folder / "p.json").write_text(json.dumps(content))
    assert _try(folder / "p.json")


def test_errors_name_file_and_field(tmp_path):
    path = save_body_ordered(tmp_path / "p.json", kit.body_ordered())
    content = json.loads(path.read_text())
    for name, value in (("cutoff_A", "five"), ("coefficients_eV", [[1.0]]), ("truncation", {"pair_radial": -1}),
                        ("core_zbl_A", [2.0, 1.0]), ("elements", ["W", "W"])):
        path.write_text(json.dumps({**content, name: value}))
        with pytest.raises(BodyOrderedFileError, match=rf"p\.json: {name}"):
            load_body_ordered(path)
    with pytest.raises(FileNotFoundError):
        load_body_ordered(tmp_path / "none.json")


def test_truncation_out_of_range_is_refused():
    with pytest.raises(ValueError, match="three_l must be a whole number from 0 to 8, got 9"):
        Truncation(three_l=9)
    assert blocks(Truncation(2, 1, 1, 1, 0, 0, 1), 2)[-1].stop == 4 + 2
