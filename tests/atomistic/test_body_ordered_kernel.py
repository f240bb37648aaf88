"""The fast evaluation of the body-ordered potential: its kernel, rows packed to any width, and unusual tables.

Truth are derivatives of ``BodyOrdered.atomic_energies``, which PACE's code confirms (test_body_ordered).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hea_jax.atomistic.force_field_body_ordered as module
from hea_jax.atomistic.force_field import AutodiffForceField, BodyOrderedForceField, force_field
from hea_jax.atomistic.force_field_base import Interaction
from hea_jax.atomistic.neighbours import neighbour_table, widened
from hea_jax.atomistic.potentials.body_ordered import Truncation
from hea_jax.atomistic.potentials.body_ordered.kernel import kernel_of
from hea_jax.atomistic.properties import stress
from hea_jax.records import Atoms
from tests.atomistic import potential_conformance as kit
from tests.helpers import check_gradient

SMALL = Truncation(3, 2, 1, 2, 1, 1, 2)
TRUNCATIONS = {
    "four bodies outrange three": Truncation(2, 1, 0, 1, 2, 2, 3),
    "all l of four bodies differ": Truncation(1, 0, 0, 1, 1, 3, 2),
    "no four-body": Truncation(3, 3, 2, 4, 0, 0, 1),
    "no three-body": Truncation(3, 0, 0, 1, 2, 1, 2),
    "pairs only": Truncation(5, 0, 0, 1, 0, 0, 1),
    "one radial function": Truncation(1, 1, 0, 1, 1, 0, 1),
}


@eqx.filter_jit
def fast(potential, atoms, pairs):
    return force_field(potential, atoms, pairs).evaluate(atoms.positions, atoms.cell)


@eqx.filter_jit
def slow(potential, atoms, pairs):
    return AutodiffForceField(potential, atoms, pairs).evaluate(atoms.positions, atoms.cell)


def field_of(potential, atoms, pairs) -> BodyOrderedForceField:
    """The field, of its class."""
    field = force_field(potential, atoms, pairs)
    assert isinstance(field, BodyOrderedForceField)
    return field


def assert_same(ours, expected, *, atol=1e-12):
    np.testing.assert_allclose(ours.energy, expected.energy, rtol=1e-11, atol=atol)
    np.testing.assert_allclose(ours.forces, expected.forces, rtol=0, atol=atol)
    np.testing.assert_allclose(ours.virial, expected.virial, rtol=1e-11, atol=10 * atol)


def small(shape=(2, 2, 2), *, skin=1.0, seed=0):
    """A small potential that ends at 4 Å, a crystal and a table."""
    potential, atoms = kit.body_ordered(SMALL, cutoff=4.0), kit.random_alloy(shape, seed=seed)
    return potential, atoms, neighbour_table(atoms, potential.cutoff, skin=skin)


def isolated(*positions):
    """Atoms of elements Nb, Mo, … in a box of 40 Å."""
    species = jnp.arange(len(positions), dtype=jnp.int32) % 4
    return Atoms(jnp.array(positions, float), 40.0 * jnp.eye(3), species, kit.ELEMENTS)


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_kernel_has_the_energies_of_the_model_and_its_own_derivatives(name):
    """Some neighbours stand inside and in the range of the inner switch, one beyond the cut-off."""
    potential = kit.body_ordered(TRUNCATIONS[name])
    rng = np.random.default_rng(3)
    n = rng.normal(size=(7, 3))
    vectors = n / np.linalg.norm(n, axis=1)[:, None] * np.array([1.3, 1.8, 2.2, 3.0, 4.0, 4.9, 5.5])[:, None]
    atoms = isolated([0.0, 0.0, 0.0], *vectors)
    pairs = neighbour_table(atoms, 5.6)
    row = np.flatnonzero(pairs.mask[0])
    assert len(row) == 7
    columns = tuple(jnp.asarray(atoms.positions[pairs.index[0, row], axis])[None] for axis in range(3))
    kind = atoms.species[pairs.index[0, row]][None]
    kernel = kernel_of(potential)
    energy = lambda v: kernel.bonds(atoms.species[0], v, kind)[0][0]
    (ours, slope), expected = jax.jit(lambda v: (kernel.bonds(atoms.species[0], v, kind), jax.grad(energy)(v)))(columns)
    model = eqx.filter_jit(lambda p, a, n: p.atomic_energies(a, n))(potential, atoms, pairs)
    np.testing.assert_allclose(ours[0], model[0], rtol=1e-12)
    size = max(float(jnp.max(jnp.abs(g))) for g in expected)
    for one, other in zip(slope, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-13 * size)


def scaled(atoms, factor):
    return eqx.tree_at(lambda a: (a.positions, a.cell), atoms, (factor * atoms.positions, factor * atoms.cell))


@pytest.mark.parametrize("packed", [(), (0.86, 1.15), (0.3, 0.86)])
def test_every_width_gives_the_same(monkeypatch, packed):
    """One table with 1.5 Å of skin for a dilute, the original and a dense configuration."""
    monkeypatch.setattr(module, "PACKED", packed)
    potential, atoms, pairs = small(skin=1.5)
    field = field_of(potential, atoms, pairs)
    needed = []
    evaluate = eqx.filter_jit(lambda f, a: f.evaluate(a.positions, a.cell))
    for factor in (1.35, 1.0, 0.8):
        now = scaled(atoms, factor)
        needed.append(int(jnp.max(field._order(now.positions, now.cell))))
        assert_same(evaluate(field, now), slow(potential, now, pairs))
    assert field.widths == {(): (52,), (0.86, 1.15): (24, 52), (0.3, 0.86): (8, 24, 52)}[packed]
    assert {sum(n > width for width in field.widths) for n in needed} == set(range(len(field.widths)))


def test_the_narrowest_width_that_holds_all_pairs_is_taken(monkeypatch):
    potential, atoms, pairs = small()
    field = field_of(potential, atoms, pairs)
    most = int(jnp.max(field._order(atoms.positions, atoms.cell)))
    assert most == int(neighbour_table(atoms, potential.cutoff).mask.sum(1).max())
    table = pairs.index.shape[1]
    told = lambda self, x, cell, order, *, width: Interaction(jnp.array(width, float), x, jnp.array(0.0))
    monkeypatch.setattr(BodyOrderedForceField, "_evaluated", told)
    for widths, expected in (((table,), table), ((most, table), most), ((most - 1, table), table),
                             ((most - 1, most, table), most), ((most + 1, most + 2, table), most + 1)):
        chosen = dataclasses.replace(field, widths=widths).evaluate(atoms.positions, atoms.cell).energy
        assert int(chosen) == expected


def test_packed_widths():
    assert module.packed_widths(59, (5 / 6) ** 3) == (32, 40, 59)
    assert module.packed_widths(81, (5 / 6) ** 3) == (48, 56, 81)
    assert module.packed_widths(27, 1.0) == (27,)
    assert module.packed_widths(3, 0.5) == (3,)
    assert module.packed_widths(1, 0.1) == (1,)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_size_of_the_blocks_and_padding_do_not_matter(monkeypatch, rows):
    """Also where an element is absent, and where the table is wider than it need be."""
    potential, atoms, pairs = small()
    atoms = eqx.tree_at(lambda a: a.species, atoms, jnp.where(atoms.species == 2, 0, atoms.species))
    expected = slow(potential, atoms, pairs)
    monkeypatch.setitem(module.ROWS_PER_BLOCK, "cpu", rows)
    field = field_of(potential, atoms, widened(pairs, 33))
    assert field.blocks.shape[1] == min(rows, 4)
    assert_same(eqx.filter_jit(lambda f, a: f.evaluate(a.positions, a.cell))(field, atoms), expected)


def test_one_atom_that_neighbours_only_its_own_images():
    """Forces vanish by symmetry; the energy of the strained lattice and its virial do not."""
    potential = kit.body_ordered(SMALL)
    cell = 1.6 * jnp.array([[-1.02, 1.0, 1.0], [1.0, -1.0, 1.03], [1.0, 1.01, -1.0]])
    atoms = Atoms(jnp.array([[0.3, 0.1, 0.2]]), cell, jnp.array([1], jnp.int32), kit.ELEMENTS)
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.0)
    ours = fast(potential, atoms, pairs)
    assert_same(ours, slow(potential, atoms, pairs))
    assert abs(float(ours.virial)) > 0.01
    np.testing.assert_allclose(ours.forces, 0.0, atol=1e-13)


def test_lone_atoms_have_no_energy_no_forces_and_finite_derivatives():
    """One atom alone; two beyond each other's reach, one pair within it and one exactly at the cut-off."""
    potential = kit.body_ordered(SMALL, cutoff=4.0)
    loss = eqx.filter_jit(eqx.filter_value_and_grad(
        lambda x, p, a, n: (lambda now: now.energy + jnp.sum(now.forces**2))(force_field(p, a, n).evaluate(x, a.cell))))
    for positions in ([[1.0, 2.0, 3.0]], [[0.0, 0, 0], [4.0, 0, 0], [15.0, 0, 0], [19.5, 0, 0]]):
        atoms = isolated(*positions)
        pairs = neighbour_table(atoms, potential.cutoff, skin=1.0)
        now = fast(potential, atoms, pairs)
        assert float(now.energy) == float(now.virial) == 0.0
        np.testing.assert_array_equal(now.forces, 0.0)
        value, gradient = loss(atoms.positions, potential, atoms, pairs)
        assert float(value) == 0.0
        np.testing.assert_array_equal(gradient, 0.0)
    atoms = isolated([0.0, 0, 0], [2.5, 0, 0], [15.0, 0, 0], [19.0, 0, 0])
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.0)
    now = fast(potential, atoms, pairs)
    assert_same(now, slow(potential, atoms, pairs))
    assert float(jnp.abs(now.forces[0, 0])) > 0.01
    np.testing.assert_array_equal(now.forces[2:], 0.0)


def test_a_position_that_is_no_number_shows():
    potential, atoms, pairs = small()
    broken = eqx.tree_at(lambda a: a.positions, atoms, atoms.positions.at[3, 1].set(jnp.nan))
    assert np.isnan(fast(potential, broken, pairs).energy)


def test_virial_is_the_trace_of_the_stress():
    potential, atoms, pairs = small()
    expected = -atoms.volume * jnp.trace(stress(potential, atoms, pairs))
    np.testing.assert_allclose(fast(potential, atoms, pairs).virial, expected, rtol=1e-11)


def test_a_batch_takes_one_width_and_keeps_the_choice(monkeypatch):
    """A dense and a dilute configuration: each alone takes another width."""
    monkeypatch.setattr(module, "PACKED", (0.5,))
    potential, atoms, _ = small()
    cases = [atoms, scaled(small(seed=1)[1], 0.85)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *cases)
    tables = neighbour_table(stacked, potential.cutoff, skin=1.0)
    evaluate = lambda a, n: force_field(potential, a, n).evaluate(a.positions, a.cell)
    together = eqx.filter_jit(jax.vmap(evaluate))(stacked, tables)
    alone = [jax.tree.map(lambda x, i=i: x[i], (stacked, tables)) for i in range(2)]
    fields = [field_of(potential, *case) for case in alone]
    needed = [int(jnp.max(f._order(a.positions, a.cell))) for f, a in zip(fields, cases, strict=True)]
    assert needed[0] <= fields[0].widths[0] < needed[1]
    for i, case in enumerate(alone):
        assert_same(jax.tree.map(lambda x, i=i: x[i], together), slow(potential, *case))
    assert " cond[" in str(jax.make_jaxpr(jax.vmap(evaluate))(stacked, tables))


def test_projected_forces_are_differentiable_in_positions_and_coefficients():
    """What a differentiable trajectory needs, with a table whose rows are packed."""
    potential, atoms, pairs = small((1, 1, 1))
    assert len(field_of(potential, atoms, pairs).widths) > 1
    weights = jnp.asarray(np.random.default_rng(0).normal(size=atoms.positions.shape))

    def projected(tree):
        coefficients, x = tree
        model = eqx.tree_at(lambda p: p.coefficients, potential, coefficients)
        return jnp.sum(weights * force_field(model, atoms, pairs).evaluate(x, atoms.cell).forces)

    check_gradient(projected, (potential.coefficients, atoms.positions), rtol=1e-6, name="projected forces")


def test_third_derivatives_are_those_of_the_energy():
    """Two directional derivatives of the forces, one of them in reverse mode."""
    potential = kit.body_ordered(Truncation(2, 1, 1, 2, 1, 1, 1), cutoff=3.6)
    atoms = kit.random_alloy((1, 1, 1))
    pairs = neighbour_table(atoms, potential.cutoff)
    u, w = np.random.default_rng(1).normal(size=(2, 2, 3))

    def third(kind):
        forces = lambda x: kind(potential, atoms, pairs).evaluate(x, atoms.cell).forces
        along = lambda x: jax.jvp(forces, (x,), (jnp.asarray(u),))[1]
        return jax.jit(jax.grad(lambda x: jnp.sum(w * along(x))))(atoms.positions)

    expected = third(AutodiffForceField)
    assert float(jnp.max(jnp.abs(expected))) > 0.1
    np.testing.assert_allclose(third(force_field), expected, rtol=1e-10, atol=1e-11)


def test_single_precision_stays_single():
    """Of the model; that of the force field is tested with all others (test_force_field)."""
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)
    potential, atoms, pairs = single(small((1, 1, 1)))
    for read in (potential.atomic_energies, potential.functions):
        assert jax.eval_shape(lambda read=read: read(atoms, pairs)).dtype == jnp.float32


def test_fields_of_equal_shape_share_a_program():
    _, atoms, pairs = small()
    traces = []

    @eqx.filter_jit
    def energy(field, x):
        traces.append(1)
        return field._order(x, atoms.cell)

    for seed in (0, 1):
        energy(field_of(kit.body_ordered(SMALL, cutoff=4.0, seed=seed), atoms, pairs), atoms.positions)
    assert len(traces) == 1
