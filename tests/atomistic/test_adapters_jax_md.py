"""jax-md both ways: its energy functions as potentials in any cell, ours in its dynamics and minimisers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.adapters.jax_md import JaxMDPotential, PairFunction, as_jax_md_energy
from hea_jax.atomistic.lammps import lammps_available, lammps_single_point
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import LennardJones, Morse
from hea_jax.atomistic.properties import energy, forces
from hea_jax.records import AbstractPotential, Atoms, pair_vectors
from tests.atomistic import potential_conformance as kit

TWO = ("Nb", "Mo")
# Numbers that single precision holds exactly: jax-md rounds its constants to it.
SIGMA = jnp.array([[2.5, 2.625], [2.625, 2.75]])
EPSILON = jnp.array([[0.5, 0.375], [0.375, 0.25]])
ONSET, CUTOFF = 4.0, 5.5
LJ = {"sigma": SIGMA, "epsilon": EPSILON}


@pytest.fixture(scope="module")
def md():
    import jax_md
    import jax_md.energy
    import jax_md.minimize
    import jax_md.simulate

    return jax_md


def alloy(shape=(1, 1, 1), **kwargs):
    return kit.random_alloy(shape, elements=TWO, noise=0.1, strain=0.05, **kwargs)


def lennard_jones_list(md, **kwargs):
    scale = 2.75
    build = md.energy.lennard_jones_neighbor_list
    return build(md.space.free()[0], 1.0, species=jnp.zeros(1, jnp.int32), r_onset=ONSET / scale,
                 r_cutoff=CUTOFF / scale, format=md.partition.Sparse, **LJ, **kwargs)[1]


def pair_function(md):
    function = md.energy.multiplicative_isotropic_cutoff(md.energy.lennard_jones, ONSET, CUTOFF)
    return PairFunction(dict(LJ), function, TWO, CUTOFF)


def test_three_ways_to_one_energy_and_by_hand(md):
    """In a cell of two atoms, far below twice the cut-off: every image counts."""
    atoms = alloy()
    pairs = neighbour_table(atoms, CUTOFF, skin=0.3)
    r = np.linalg.norm(np.asarray(pair_vectors(atoms, pairs)), axis=-1)
    kind = np.asarray(atoms.species)[:, None], np.asarray(atoms.species)[np.asarray(pairs.index)]
    ratio = (np.asarray(SIGMA)[kind] / r) ** 6
    o2, c2 = ONSET**2, CUTOFF**2
    fade = np.where(r < CUTOFF, (c2 - r**2) ** 2 * (c2 + 2 * r**2 - 3 * o2) / (c2 - o2) ** 3, 0.0)
    E = 0.5 * np.sum(4 * np.asarray(EPSILON)[kind] * ratio * (ratio - 1) * np.where(r < ONSET, 1.0, fade), axis=1)
    total, each = lennard_jones_list(md), lennard_jones_list(md, per_particle=True)
    for potential in (JaxMDPotential(total, LJ, TWO, CUTOFF), JaxMDPotential(each, LJ, TWO, CUTOFF, bonds=False),
                      JaxMDPotential(each, LJ, TWO, CUTOFF), pair_function(md)):
        # jax-md carries r_cut/σ in single precision.
        assert float(energy(potential, atoms, pairs)) == pytest.approx(E.sum(), rel=1e-6)
        if not (isinstance(potential, JaxMDPotential) and potential.energy_fn is total):
            np.testing.assert_allclose(potential.atomic_energies(atoms, pairs), E, rtol=1e-6)
    assert float(energy(pair_function(md), atoms, pairs)) == pytest.approx(E.sum(), rel=1e-12)


def test_their_morse_and_lennard_jones_within_our_onset(md):
    """A cluster where our switch is still 1 and theirs not begun."""
    x = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (4, 3)) + 2.6 * np.eye(4)[:, :3])
    atoms = Atoms(x, 50.0 * jnp.eye(3), jnp.array([0, 1, 1, 0], jnp.int32), TWO, (False,) * 3)
    pairs = neighbour_table(atoms, 7.5)
    alpha = jnp.full((2, 2), 1.375)
    theirs = PairFunction({"sigma": SIGMA, "epsilon": EPSILON, "alpha": alpha}, md.energy.morse, TWO, 7.5)
    ours = Morse(EPSILON, alpha, SIGMA, TWO, 7.5)
    np.testing.assert_allclose(theirs.atomic_energies(atoms, pairs), ours.atomic_energies(atoms, pairs), rtol=1e-13)
    np.testing.assert_allclose(forces(theirs, atoms, pairs), forces(ours, atoms, pairs), atol=1e-13)
    theirs = PairFunction(dict(LJ), md.energy.lennard_jones, TWO, 7.5)
    ours = LennardJones(EPSILON, SIGMA, TWO, 7.5)
    np.testing.assert_allclose(theirs.atomic_energies(atoms, pairs), ours.atomic_energies(atoms, pairs), rtol=1e-12)


def test_conformance(md):
    soft = md.energy.soft_sphere_neighbor_list(md.space.free()[0], 1.0, species=jnp.zeros(1, jnp.int32),
                                               sigma=4.0, epsilon=1.0, alpha=4.0, per_particle=True,
                                               format=md.partition.Sparse)[1]
    rng = np.random.default_rng(0)
    table = lambda value: jnp.asarray(value * (1 + 0.1 * (lambda m: m + m.T)(rng.uniform(-1, 1, (4, 4)))))
    potential = JaxMDPotential(soft, {"sigma": table(4.0), "epsilon": table(0.5)}, kit.ELEMENTS, 4.8)
    for check in (kit.check_invariances, kit.check_derivatives, kit.check_transformations):
        check(potential)


@pytest.mark.parametrize("bonds", [True, False])
def test_second_derivatives_are_those_of_the_pair_function(md, bonds):
    """With padded rows: nothing of jax-md's masked pairs may leak into the Hessian."""
    atoms = alloy(seed=2)
    pairs = kit.table(pair_function(md), atoms)
    rng = np.random.default_rng(1)
    v = jnp.asarray(rng.normal(size=atoms.positions.shape))

    def product(potential):
        slope = lambda t: forces(potential, atoms.displaced(t * v), pairs)
        return jax.jit(lambda t: jax.jvp(slope, (t,), (jnp.ones(()),))[1])(jnp.zeros(()))

    theirs = JaxMDPotential(lennard_jones_list(md), LJ, TWO, CUTOFF, bonds)
    expected = product(pair_function(md))
    assert float(jnp.max(jnp.abs(expected))) > 0.1
    np.testing.assert_allclose(product(theirs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_angles_against_lammps(md, tmp_path):
    """Stillinger–Weber silicon: three-body terms through dense rows, in a small triclinic cell."""
    available, reason = lammps_available()
    if not available:
        pytest.skip(reason)
    A, B, sigma, lam, gamma, epsilon = 7.049556277, 0.6022245584, 2.0951, 21.0, 1.2, 2.1683
    file = tmp_path / "si.sw"
    file.write_text(f"Si Si Si {epsilon} {sigma} 1.80 {lam} {gamma} -0.333333333333 {A} {B} 4.0 0.0 0.0\n")
    build = md.energy.stillinger_weber_neighbor_list
    function = build(md.space.free()[0], 1.0, sigma=sigma, A=A, B=B, lam=lam, gamma=gamma, epsilon=epsilon,
                     cutoff=1.8 * sigma)[1]
    potential = JaxMDPotential(function, {}, ("Si",), 1.8 * sigma, bonds=False)
    base = kit.random_alloy((1, 1, 1), a=3.0, noise=0.1, strain=0.08, elements=("Si",))
    x = np.concatenate([np.asarray(base.positions), np.asarray(base.positions) + np.asarray(base.cell[0])])
    atoms = Atoms(jnp.asarray(x), base.cell * jnp.array([2.0, 1, 1])[:, None], jnp.zeros(4, jnp.int32), ("Si",))
    E, F, S = kit.evaluate(potential, atoms, neighbour_table(atoms, potential.cutoff, skin=0.4))
    truth = lammps_single_point(atoms, pair_commands=("pair_style sw", f'pair_coeff * * "{file}" Si'))
    assert float(E) / 4 == pytest.approx(truth.energy_eV / 4, rel=3e-6)
    # Its cos θ₀ = −⅓ is in single precision.
    scale = float(np.abs(truth.forces_eV_per_A).max())
    np.testing.assert_allclose(F, truth.forces_eV_per_A, atol=1e-5 * scale)
    np.testing.assert_allclose(S, truth.stress_eV_per_A3, atol=1e-6 * scale)


@pytest.fixture(scope="module")
def morse() -> AbstractPotential:
    matrix = lambda a, b, c: jnp.array([[a, b], [b, c]])
    return Morse(matrix(0.6, 0.65, 0.7), matrix(1.3, 1.35, 1.4), matrix(2.8, 2.85, 2.9), TWO, 5.5)


def fractional(atoms):
    """Wrapped fractional positions: jax-md wraps at every step."""
    return jnp.mod(atoms.positions @ jnp.linalg.inv(atoms.cell), 1.0)


def test_ours_there_gives_our_forces_in_a_small_triclinic_cell(md, morse):
    atoms = alloy(a=3.3)
    E, F, S = kit.evaluate(morse, atoms, neighbour_table(atoms, 5.5))
    neighbour_fn, energy_fn = as_jax_md_energy(morse, atoms)
    R, box = fractional(atoms), atoms.cell.T
    nbrs = neighbour_fn.allocate(R, extra_capacity=2)
    assert float(energy_fn(R, neighbor=nbrs)) == pytest.approx(float(E), abs=1e-12)
    np.testing.assert_allclose(md.quantity.force(energy_fn)(R, neighbor=nbrs), F, atol=1e-12)
    # Positive in compression there, in tension here.
    np.testing.assert_allclose(-md.quantity.stress(energy_fn, R, box, neighbor=nbrs), S, atol=1e-12)
    # Cartesian positions, one of them in another image.
    neighbour_fn, energy_fn = as_jax_md_energy(morse, atoms, fractional=False)
    nbrs = neighbour_fn.allocate(atoms.positions)
    hopped = atoms.positions.at[1].add(atoms.cell[0] - 2 * atoms.cell[2])
    assert float(energy_fn(hopped, neighbor=nbrs)) == pytest.approx(float(E), abs=1e-12)
    np.testing.assert_allclose(-jax.grad(energy_fn)(hopped, neighbor=nbrs), F, atol=1e-12)
    with pytest.raises(ValueError, match="box is given but positions are Cartesian"):
        energy_fn(hopped, neighbor=nbrs, box=box)


def test_a_changing_box_is_right_or_refused(md, morse):
    """Where jax-md's own list silently loses pairs: a box that shrinks."""
    atoms = alloy(a=3.3)
    neighbour_fn, energy_fn = as_jax_md_energy(morse, atoms, skin_A=0.5)
    R, box = fractional(atoms), atoms.cell.T
    nbrs = neighbour_fn.allocate(R)
    for scale in (0.95, 1.05):
        strained = atoms.deformed(scale * jnp.eye(3))
        expected = energy(morse, strained, neighbour_table(strained, 5.5))
        assert float(energy_fn(R, neighbor=nbrs, box=scale * box)) == pytest.approx(float(expected), abs=1e-12)
        assert not bool(nbrs.update(R, box=scale * box).did_buffer_overflow)
    lost = nbrs.update(R, box=0.8 * box)
    assert bool(lost.did_buffer_overflow)
    assert np.isnan(energy_fn(R, neighbor=nbrs, box=0.8 * box))
    assert np.isnan(jax.grad(energy_fn)(R, neighbor=nbrs, box=0.8 * box)).all()
    again = neighbour_fn.allocate(R, box=0.8 * box)
    small = atoms.deformed(0.8 * jnp.eye(3))
    expected = energy(morse, small, neighbour_table(small, 5.5))
    assert float(energy_fn(R, neighbor=again, box=0.8 * box)) == pytest.approx(float(expected), abs=1e-11)


@pytest.mark.slow
def test_their_dynamics_and_minimiser_on_our_energy(md, morse):
    atoms = alloy(a=3.25)
    neighbour_fn, energy_fn = as_jax_md_energy(morse, atoms, skin_A=1.0)
    R = fractional(atoms)
    nbrs = neighbour_fn.allocate(R)
    shift = md.space.periodic_general(atoms.cell.T)[1]
    init, step = md.simulate.nve(energy_fn, shift, dt=2e-2)
    state = init(jax.random.PRNGKey(0), R, kT=0.05, mass=92.0, neighbor=nbrs)

    def body(carry, _):
        state, nbrs = carry
        state = step(state, neighbor=nbrs)
        total = energy_fn(state.position, neighbor=nbrs) + md.quantity.kinetic_energy(
            momentum=state.momentum, mass=state.mass)
        return (state, nbrs.update(state.position)), total

    (_, after), totals = jax.lax.scan(body, (state, nbrs), None, length=200)
    assert not bool(after.did_buffer_overflow)
    assert float(jnp.ptp(totals)) < 1e-3
    assert float(jnp.std(totals)) > 0
    init, apply = md.minimize.fire_descent(energy_fn, shift)
    state = init(R, neighbor=nbrs)
    state = jax.jit(lambda s: jax.lax.fori_loop(0, 300, lambda _, s: apply(s, neighbor=nbrs), s))(state)
    assert float(jnp.max(jnp.abs(state.force))) < 1e-4
    assert float(energy_fn(state.position, neighbor=nbrs)) < float(energy_fn(R, neighbor=nbrs))


def test_what_the_adapter_refuses(md, morse):
    atoms = alloy(a=3.3)
    neighbour_fn, energy_fn = as_jax_md_energy(morse, atoms)
    with pytest.raises(ValueError, match="neighbor is a NoneType: pass"):
        energy_fn(fractional(atoms))
    displacement = md.space.periodic_general(atoms.cell.T)[0]
    theirs = md.partition.neighbor_list(displacement, 3.3, 1.0, fractional_coordinates=True, disable_cell_list=True)
    with pytest.raises(ValueError, match="Lists of jax-md are not taken"):
        energy_fn(fractional(atoms), neighbor=theirs.allocate(fractional(atoms)))
    with pytest.raises(ValueError, match="use the same atoms"):
        neighbour_fn.allocate(fractional(atoms)[:1])
    slopes = eqx.filter_grad(lambda p: energy(p, atoms, kit.table(p, atoms)))(pair_function(md)).parameters
    assert all(np.isfinite(value).all() and (value != 0).any() for value in slopes.values())
