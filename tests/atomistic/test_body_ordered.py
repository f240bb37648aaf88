"""The body-ordered potential: its functions, its fast evaluation, its file, and PACE's code as truth."""

import json
import os
import tracemalloc

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
    count_functions,
    load_body_ordered,
    save_body_ordered,
    save_yace,
)
from hea_jax.atomistic.potentials.body_ordered.basis import blocks
from hea_jax.atomistic.potentials.body_ordered.blocks_of_species import species_blocks
from hea_jax.atomistic.potentials.body_ordered.harmonics import coupled_triples, gaunt, numpy_harmonics, real_harmonics
from hea_jax.atomistic.potentials.body_ordered.radial import (
    WIDTH_A,
    inner_switch,
    inner_switch_slope,
    radial_functions,
)
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
    nodes, weights = np.polynomial.legendre.leggauss(40)
    r, weights = 3.5 + 1.5 * nodes, 1.5 * weights
    R = np.array(radial_functions(8, 5.0, 2.0, jnp.asarray(r))) / np.array(inner_switch(jnp.asarray(r), 2.0))
    np.testing.assert_allclose(R * (weights * r**2) @ R.T, np.eye(8), atol=1e-9)
    last = lambda x: radial_functions(8, 5.0, 2.0, x)[7]
    for order in range(4):
        assert abs(float(last(jnp.array(5.0 - 1e-5)))) < 1e4 * (1e-5) ** (4 - order)
        last = jax.grad(last)
    assert not np.any(radial_functions(8, 5.0, 2.0, jnp.array([1e-3, 0.5, 2.0, 5.0, 6.0])))


def test_the_inner_switch_is_twice_differentiable():
    s = lambda x: inner_switch(x, 1.6)
    assert [float(s(jnp.array(x))) for x in (0.0, 1.6, 1.85, 2.1, 4.0)] == [0.0, 0.0, pytest.approx(0.5), 1.0, 1.0]
    for end in (1.6, 1.6 + WIDTH_A):
        f = s
        for _ in range(3):
            below, above = (float(f(jnp.array(end + d))) for d in (-1e-7, 1e-7))
            assert abs(above - below) < 2e-4
            f = jax.grad(f)
    slope = jax.vmap(jax.grad(s))(jnp.linspace(1.5, 2.2, 50))
    np.testing.assert_allclose(inner_switch_slope(jnp.linspace(1.5, 2.2, 50), 1.6), slope, atol=1e-13)


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
    # The first two atoms stand where radial functions are half switched on.
    apart = atoms.positions[1] - atoms.positions[0]
    moved = atoms.positions[0] + 1.9 * apart / jnp.linalg.norm(apart)
    atoms = eqx.tree_at(lambda a: a.positions, atoms, atoms.positions.at[1].set(moved))
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
    content = json.loads(path.read_text())
    # However it was written again: its format is the one it names.
    for how in ({"separators": (",", ":")}, {"sort_keys": True}, {"indent": 4}):
        path.write_text(json.dumps(content, **how))
        assert eqx.tree_equal(potential, load_potential(path))
    path.write_text(json.dumps(content)[:-10])
    with pytest.raises(BodyOrderedFileError, match="not JSON"):
        load_potential(path)
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


numbers = st.floats() | st.integers() | st.integers(0, 20) | st.sampled_from([10**400, -(10**400), 10**4299, 2**63])
junk = st.recursive(st.none() | st.booleans() | numbers | st.text(max_size=5) | st.sampled_from(["Xx", "X", "W"]),
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


def _places(content, path=()):
    """Paths to everything in nested lists and objects."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for name, part in parts for place in ((*path, name), *_places(part, (*path, name)))]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_change_inside_is_read_or_refused(tmp_path_factory, data):
    """Something anywhere in the file replaced or left out, once or twice."""
    folder = tmp_path_factory.mktemp("inside")
    content = json.loads(_valid(folder)) | {"core_zbl_A": [1.2, 2.2], "offsets_eV": {"Nb": 1.0}}
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(_places(content)))
        inner = content
        for name in way:
            inner = inner[name]
        if data.draw(st.booleans()):
            inner[last] = data.draw(junk)
        else:
            del inner[last]
    (folder / "p.json").write_text(json.dumps(content))
    assert _try(folder / "p.json")


def test_errors_name_file_and_field(tmp_path):
    path = save_body_ordered(tmp_path / "p.json", kit.body_ordered())
    content = json.loads(path.read_text())
    huge = [[10**400, *content["coefficients_eV"][0][1:]], *content["coefficients_eV"][1:]]
    text = [[str(x) for x in row] for row in content["channels"]]
    for name, value in (("cutoff_A", "five"), ("cutoff_A", 10**400), ("cutoff_A", 100.1), ("inner_A", 4.6),
                        ("coefficients_eV", [[1.0]]), ("coefficients_eV", huge), ("channels", text),
                        ("truncation", {"pair_radial": -1}), ("truncation", {"pair_radial": True}),
                        ("truncation", {"pair_radial": 10**400}),
                        ("core_zbl_A", [2.0, 1.0]), ("core_zbl_A", [True, 2.0]), ("core_zbl_A", [1, 10**400]),
                        ("elements", ["W", "W"]), ("elements", ["Nb", "Mo", "Ta", "Xx"]),
                        ("elements", ["Nb", "Mo", "Ta", "X"]), ("facts", 1),
                        ("offsets_eV", "abc"), ("offsets_eV", {"Fe": 1.0}), ("offsets_eV", {"W": 10**400})):
        path.write_text(json.dumps({**content, name: value}))
        with pytest.raises(BodyOrderedFileError, match=rf"p\.json: {name}") as caught:
            load_body_ordered(path)
        assert len(str(caught.value)) < 400
    with pytest.raises(FileNotFoundError):
        load_body_ordered(tmp_path / "none.json")


def test_truncation_out_of_range_is_refused():
    with pytest.raises(ValueError, match="three_l must be a whole number from 0 to 8, got 9"):
        Truncation(three_l=9)
    assert blocks(Truncation(2, 1, 1, 1, 0, 0, 1), 2)[-1].stop == 4 + 2


def test_functions_are_counted_without_listing_them():
    for truncation in (Truncation(), Truncation(3, 0, 4, 2, 2, 3, 3), Truncation(4, 3, 2, 3, 0, 2, 1),
                       Truncation(1, 1, 8, 1, 3, 6, 1)):
        for elements in (1, 3):
            assert count_functions(truncation, elements) == blocks(truncation, elements)[-1].stop


def test_a_small_file_of_a_huge_potential_costs_nothing(tmp_path):
    path = save_body_ordered(tmp_path / "p.json", kit.body_ordered())
    truncation = {"pair_radial": 8, "three_radial": 16, "three_l": 8, "three_channels": 12, "four_radial": 12,
                  "four_l": 6, "four_channels": 12}
    elements = ["Al", "Co", "Cr", "Fe", "Hf", "Mn", "Mo", "Nb", "Ni", "Ta", "Ti", "W"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "elements": elements, "truncation": truncation}))
    tracemalloc.start()
    try:
        with pytest.raises(BodyOrderedFileError, match=r"coefficients_eV: has shape \(4, \d+\), .* need \(12, \d{8}\)"):
            load_body_ordered(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
