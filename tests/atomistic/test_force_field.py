"""Force fields: every one equals derivatives of the energy, for tables of one block and of several."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hea_jax.atomistic.force_field_eam as blocks
from hea_jax.atomistic.force_field import (
    AbstractEAMForceField,
    AutodiffForceField,
    BodyOrderedForceField,
    CoreForceField,
    LearnableEAMForceField,
    RadialEAMForceField,
    SumForceField,
    TableForceField,
    force_field,
)
from hea_jax.atomistic.force_field_body_ordered import opposite_places
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import (
    ZBL,
    AverageAtom,
    FinnisSinclair,
    LammpsTaper,
    Overlay,
    ZhouEAM,
    shipped,
    tabulated,
    to_setfl,
)
from hea_jax.atomistic.potentials.body_ordered import Truncation
from hea_jax.atomistic.properties import forces, stress
from tests.atomistic import potential_conformance as kit
from tests.helpers import check_gradient


def short_table():
    """A table that ends well inside the cut-off, up to which its functions keep their last value."""
    setfl = to_setfl(kit.learnable_eam(), n_r=1001, n_rho=1001)
    return tabulated(dataclasses.replace(setfl, density=setfl.density[:, :901], pair=setfl.pair[:, :901]))


@functools.cache
def examples():
    """Name → (potential, class of its field)."""
    learnable = kit.learnable_eam()
    return {
        "learnable": (learnable, LearnableEAMForceField),
        "shipped": (shipped.shipped_potential(), LearnableEAMForceField),
        "eam.alloy": (tabulated(to_setfl(learnable, n_r=1001, n_rho=1001)), TableForceField),
        "table shorter than the cut-off": (short_table(), TableForceField),
        "eam.fs": (FinnisSinclair.from_file_content(kit.fs_file()), TableForceField),
        "Zhou": (ZhouEAM.of(("Mo", "Ta", "W", "Fe")), RadialEAMForceField),
        "average atom": (AverageAtom.of(learnable, jnp.array([0.4, 0.3, 0.2, 0.1])), RadialEAMForceField),
        "Lennard-Jones": (kit.examples()["LennardJones"], AutodiffForceField),
        "body-ordered": (kit.body_ordered(Truncation(10, 5, 4, 4, 3, 2, 2)), BodyOrderedForceField),
        "body-ordered, no four-body": (kit.body_ordered(Truncation(3, 2, 2, 4, 0, 0, 1)), BodyOrderedForceField),
        "body-ordered, no three-body": (kit.body_ordered(Truncation(3, 0, 0, 1, 2, 1, 2)), BodyOrderedForceField),
        "body-ordered, pairs only": (kit.body_ordered(Truncation(5, 0, 0, 1, 0, 0, 1)), BodyOrderedForceField),
        "core": (ZBL.of(learnable.elements, LammpsTaper(1.0, 3.0)), CoreForceField),
        "overlay": (Overlay.of(learnable, ZBL.of(learnable.elements, LammpsTaper(1.0, 2.0))), SumForceField),
    }


def configuration(potential, shape=(2, 2, 2), a=3.2, seed=3):
    """Atoms of the potential's elements, displaced and strained, and a table with a skin."""
    atoms = kit.random_alloy(shape, a=a, strain=0.02, seed=seed)
    elements = potential.elements
    atoms = eqx.tree_at(lambda x: x.species, atoms, atoms.species % len(elements))
    atoms = type(atoms)(atoms.positions, atoms.cell, atoms.species, elements, atoms.pbc)
    return atoms, neighbour_table(atoms, potential.cutoff, skin=0.4)


@eqx.filter_jit
def both(potential, atoms, pairs):
    fields = force_field(potential, atoms, pairs), AutodiffForceField(potential, atoms, pairs)
    return [field.evaluate(atoms.positions, atoms.cell) for field in fields]


@pytest.mark.parametrize("name", examples())
@pytest.mark.parametrize("a", [3.2, 1.6])
def test_field_equals_derivatives_of_the_energy(name, a):
    """Also where atoms stand on a repulsive core or below the first point of what a table resolves (a = 1.6 Å)."""
    potential, kind = examples()[name]
    atoms, pairs = configuration(potential, a=a)
    assert type(force_field(potential, atoms, pairs)) is kind
    ours, reference = both(potential, atoms, pairs)
    size = max(1.0, float(jnp.max(jnp.abs(reference.forces))))
    assert float(jnp.max(jnp.abs(reference.forces))) > 0.01
    np.testing.assert_allclose(ours.forces, reference.forces, rtol=0, atol=2e-12 * size)
    np.testing.assert_allclose(ours.energy, reference.energy, rtol=1e-12)
    np.testing.assert_allclose(ours.virial, reference.virial, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 5, 16, 100])
def test_size_of_the_blocks_does_not_matter(monkeypatch, rows):
    """16 atoms in blocks of 1, 4 (padded), 8 (the most at which there still are two)."""
    potential = examples()["eam.alloy"][0]
    atoms, pairs = configuration(potential)
    expected = AutodiffForceField(potential, atoms, pairs).evaluate(atoms.positions, atoms.cell)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", rows)
    field = force_field(potential, atoms, pairs)
    assert isinstance(field, AbstractEAMForceField)
    assert field.table.rows.species.shape[0] == max(2, -(-16 // rows))
    ours = field.evaluate(atoms.positions, atoms.cell)
    np.testing.assert_allclose(ours.forces, expected.forces, atol=1e-12)
    np.testing.assert_allclose(ours.energy, expected.energy, rtol=1e-13)


@pytest.mark.parametrize("name", ["learnable", "eam.fs", "Zhou"])
def test_atomic_virials_add_up_to_stress_and_virial(name):
    potential = examples()[name][0]
    atoms, pairs = configuration(potential)
    field = force_field(potential, atoms, pairs)
    assert isinstance(field, AbstractEAMForceField)
    W = field.atomic_virials(atoms.positions, atoms.cell)
    assert W.shape == (atoms.number, 3, 3)
    np.testing.assert_allclose(W, jnp.swapaxes(W, -1, -2), atol=1e-12)
    np.testing.assert_allclose(-jnp.sum(W, axis=0) / atoms.volume, stress(potential, atoms, pairs), atol=1e-12)
    virial = field.evaluate(atoms.positions, atoms.cell).virial
    np.testing.assert_allclose(jnp.trace(jnp.sum(W, axis=0)), virial, rtol=1e-11)


def test_atomic_virials_of_one_pair_are_half_each():
    """Two atoms on a line: W_i = ½ D ⊗ f on either side."""
    potential = examples()["learnable"][0]
    atoms = kit.random_alloy((1, 1, 1), a=3.0, noise=0.0, strain=0.0)
    x = jnp.array([[0.0, 0, 0], [2.4, 0, 0]])
    atoms = eqx.tree_at(lambda a: (a.positions, a.cell), atoms, (x, 30.0 * jnp.eye(3)))
    field = force_field(potential, atoms, neighbour_table(atoms, potential.cutoff))
    assert isinstance(field, AbstractEAMForceField)
    now = field.evaluate(atoms.positions, atoms.cell)
    W = field.atomic_virials(atoms.positions, atoms.cell)
    expected = 0.5 * 2.4 * now.forces[1, 0]
    np.testing.assert_allclose(W, expected * jnp.zeros((2, 3, 3)).at[:, 0, 0].set(1.0), atol=1e-12)
    assert abs(float(expected)) > 0.1


@pytest.mark.parametrize("name", ["learnable", "eam.alloy", "body-ordered, no three-body", "body-ordered, pairs only"])
def test_single_precision_stays_single_and_is_close(name):
    potential = examples()[name][0]
    atoms, pairs = configuration(potential)
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)
    exact = both(potential, atoms, pairs)[1]
    ours = both(single(potential), single(atoms), pairs)[0]
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(ours.forces, exact.forces, atol=2e-4)
    np.testing.assert_allclose(ours.energy, exact.energy, rtol=1e-5)


def test_a_field_is_differentiable_in_positions_and_parameters():
    """What a differentiable trajectory needs: derivatives of forces."""
    potential = examples()["learnable"][0]
    atoms, pairs = configuration(potential, shape=(1, 1, 1))
    weights = jnp.asarray(np.random.default_rng(0).normal(size=atoms.positions.shape))

    def projected(tree):
        model, x = tree
        return jnp.sum(weights * force_field(model, atoms, pairs).evaluate(x, atoms.cell).forces)

    check_gradient(projected, (potential, atoms.positions), rtol=1e-6, name="projected forces")


def test_fields_of_a_batch():
    potential = examples()["eam.alloy"][0]
    cases = [configuration(potential, seed=seed)[0] for seed in (1, 2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *cases)
    tables = neighbour_table(stacked, potential.cutoff)
    together = jax.vmap(lambda a, n: force_field(potential, a, n).evaluate(a.positions, a.cell).forces)(stacked, tables)
    for row, atoms in zip(together, cases, strict=True):
        alone = force_field(potential, atoms, neighbour_table(atoms, potential.cutoff))
        np.testing.assert_allclose(row, alone.evaluate(atoms.positions, atoms.cell).forces, atol=1e-12)


def test_a_core_acts_only_where_a_pair_reaches_it():
    """A batch of a crystal that is too wide for it, and one that is not; of the former nothing is left to compute."""
    potential = ZBL.of(kit.ELEMENTS, LammpsTaper(1.0, 2.0))
    cases = [kit.random_alloy((1, 1, 1), a=a) for a in (3.2, 2.1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *cases)
    tables = neighbour_table(stacked, potential.cutoff, skin=2.0)
    evaluate = lambda a, n: force_field(potential, a, n).evaluate(a.positions, a.cell)
    together = jax.jit(jax.vmap(evaluate))(stacked, tables)
    wide, narrow = (jax.tree.map(lambda x, i=i: x[i], together) for i in range(2))
    assert float(wide.energy) == float(wide.virial) == 0.0
    np.testing.assert_array_equal(wide.forces, 0.0)
    pairs = neighbour_table(cases[1], potential.cutoff)
    expected = both(potential, cases[1], pairs)[1]
    assert float(expected.energy) > 0.1
    for one, other in zip(jax.tree.leaves(narrow), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert " cond[" in str(jax.make_jaxpr(jax.vmap(evaluate))(stacked, tables))


def test_elements_must_agree():
    atoms, pairs = configuration(examples()["learnable"][0])
    with pytest.raises(ValueError, match="elements"):
        force_field(examples()["Zhou"][0], atoms, pairs)


def shell_at_the_cutoff(potential, seed):
    """bcc, of which the third shell (12 neighbours) lies at the cut-off but for round-off, shifted at random."""
    a = potential.cutoff / 2**0.5
    atoms = kit.random_alloy((2, 2, 2), a=a, noise=0.0, strain=0.0, elements=potential.elements)
    shift = jnp.asarray(np.random.default_rng(seed).uniform(-3.0, 3.0, 3))
    return atoms.displaced(shift + jnp.zeros_like(atoms.positions))


@pytest.mark.parametrize("name", ["body-ordered, no four-body", "learnable", "eam.alloy", "Zhou",
                                  "table shorter than the cut-off"])
def test_forces_with_a_shell_exactly_at_the_cutoff(name):
    potential = examples()[name][0]
    for seed in range(6):
        atoms = shell_at_the_cutoff(potential, seed)
        pairs = neighbour_table(atoms, potential.cutoff, capacity=26)
        assert bool(jnp.all(pairs.mask))
        ours, reference = both(potential, atoms, pairs)
        size = max(1.0, float(jnp.max(jnp.abs(reference.forces))))
        np.testing.assert_allclose(jnp.sum(ours.forces, axis=0), 0.0, atol=1e-11 * size)
        # Tables have a step in the slope at the cut-off (1e-9), or in the energy, which has no derivative there.
        step = {"eam.alloy": 1e-8, "table shorter than the cut-off": 1e-3}.get(name, 1e-11)
        np.testing.assert_allclose(ours.forces, reference.forces, atol=step * size)


def test_a_pair_missing_from_one_row_takes_no_other_force():
    potential = examples()["body-ordered, no four-body"][0]
    atoms, pairs = configuration(potential)
    place = opposite_places(pairs, jnp.arange(atoms.number))
    width = pairs.index.shape[1]
    assert bool(jnp.all((place >= 0) == pairs.mask))
    i, k = divmod(int(place[0, 0]), width)
    np.testing.assert_array_equal(pairs.index[i, k], 0)
    one_sided = eqx.tree_at(lambda p: p.mask, pairs, pairs.mask.at[i, k].set(False))
    assert int(opposite_places(one_sided, jnp.arange(atoms.number))[0, 0]) == -1
    field = force_field(potential, atoms, one_sided).evaluate(atoms.positions, atoms.cell)
    # Atom i lacks the pull of a pair that it does not know; nobody else is touched.
    others = jnp.arange(atoms.number) != i
    expected = forces(potential, atoms, one_sided)
    np.testing.assert_allclose(field.forces[others], expected[others], rtol=0, atol=1e-11)


def test_a_table_shorter_than_the_cutoff_is_refused():
    potential = examples()["learnable"][0]
    atoms = kit.random_alloy((1, 1, 1))
    with pytest.raises(ValueError, match=r"built for 3\.5 Å.*neighbour_table\(atoms, potential\.cutoff\)"):
        force_field(potential, atoms, neighbour_table(atoms, 3.5, skin=3.0))
    force_field(potential, atoms, neighbour_table(atoms, potential.cutoff * (1.0 - 1e-12)))
