"""Potentials: the conformance kit, the learnable EAM's own promises, and properties' errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.properties import energy, energy_forces_stress, forces, stress
from hea_jax.records import Atoms
from tests.atomistic import potential_conformance as kit

NAMES = ["LearnableEAM", "TabulatedEAM", "LennardJones", "Morse", "FinnisSinclair", "ZhouEAM", "ZBL", "ZBL as LAMMPS",
         "AverageAtom", "BodyOrdered", "Overlay"]


@pytest.fixture(scope="module")
def potentials():
    return kit.examples()


def test_every_example_is_listed(potentials):
    assert sorted(potentials) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", [kit.check_invariances, kit.check_derivatives, kit.check_transformations])
def test_conformance(potentials, name, check):
    check(potentials[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LearnableEAM", "TabulatedEAM", "Morse", "FinnisSinclair"])
def test_gather_only_derivatives_equal_autodiff(potentials, name):
    kit.check_fused(potentials[name])


@pytest.mark.parametrize(("name", "derivatives"), [
    ("LearnableEAM", 3), ("BodyOrdered", 3), ("LennardJones", 3), ("Morse", 3), ("ZhouEAM", 3), ("ZBL", 3),
    ("ZBL as LAMMPS", 2), pytest.param("AverageAtom", 3, marks=pytest.mark.slow), ("Overlay", 3)])
def test_smooth_at_the_cutoff(potentials, name, derivatives):
    kit.check_cutoff(potentials[name], derivatives=derivatives)


def test_thin_verbs_agree(potentials):
    potential, atoms = potentials["LearnableEAM"], kit.random_alloy((1, 1, 1))
    pairs = neighbour_table(atoms, potential.cutoff)
    E, F, S = energy_forces_stress(potential, atoms, pairs)
    np.testing.assert_allclose(E, energy(potential, atoms, pairs), rtol=1e-14)
    np.testing.assert_allclose(F, forces(potential, atoms, pairs), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(S, stress(potential, atoms, pairs), rtol=1e-12, atol=1e-14)


def test_other_elements_are_refused(potentials):
    atoms = kit.random_alloy((1, 1, 1), elements=("W", "Ta", "Mo", "Nb"))
    with pytest.raises(ValueError, match=r"elements=potential\.elements"):
        energy(potentials["Morse"], atoms, neighbour_table(atoms, 5.5))


@pytest.mark.parametrize("verb", [energy, forces, stress, energy_forces_stress])
def test_a_table_shorter_than_the_cutoff_is_refused(potentials, verb):
    atoms = kit.random_alloy((1, 1, 1))
    with pytest.raises(ValueError, match=r"built for 3\.5 Å, the potential reaches 5\.5 Å: build it with"):
        verb(potentials["Morse"], atoms, neighbour_table(atoms, 3.5))


def test_learnable_radial_functions_are_thrice_differentiable():
    """Third derivatives are continuous where pieces meet: the inner radius and the cut-off."""
    potential = kit.learnable_eam()

    def radial(which):
        a, b = jnp.zeros((1, 1), int), jnp.ones((1, 1), int)
        return lambda r: potential.radial(jnp.full((1, 1), r), a, b)[which][0, 0]

    for which in (0, 1):
        third = jax.jit(jax.grad(jax.grad(jax.grad(radial(which)))))
        for joint in (potential.inner_A, potential.inner_A - 0.5, potential.cutoff):
            left, right = float(third(joint - 1e-7)), float(third(joint + 1e-7))
            assert abs(left - right) < 1e-3 * (1 + abs(left)), (which, joint, left, right)


def test_learnable_core_repels():
    potential = kit.learnable_eam()
    r = jnp.linspace(0.05, 1.6, 60)[:, None]
    for i in range(4):
        for j in range(4):
            phi, rho, _ = potential.radial(r, jnp.full((60, 1), i), jnp.full((60, 1), j))
            assert bool(jnp.all(jnp.diff(phi[:, 0]) < 0))
            assert bool(jnp.all(rho >= 0))
            assert bool(jnp.all(jnp.isfinite(rho)))


def test_isolated_atom_has_no_energy(potentials):
    for name, potential in potentials.items():
        atoms = Atoms(jnp.zeros((1, 3)), 40.0 * jnp.eye(3), jnp.zeros(1, jnp.int32), potential.elements)
        # The published coefficients of Zhou's F(0) cancel to their sixth decimal only.
        limit = 1.5e-6 if name == "ZhouEAM" else 1e-12
        assert abs(float(kit.evaluate_energy(potential, atoms, neighbour_table(atoms, potential.cutoff)))) < limit


def test_single_precision_runs():
    potential = jax.tree.map(lambda x: x.astype(jnp.float32), kit.learnable_eam())
    atoms = kit.random_alloy()
    pairs = neighbour_table(atoms, potential.cutoff)
    single = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, atoms)
    E, F, _ = energy_forces_stress(potential, single, pairs)
    E64, F64, _ = energy_forces_stress(kit.learnable_eam(), atoms, pairs)
    assert E.dtype == F.dtype == jnp.float32
    np.testing.assert_allclose(E, E64, rtol=1e-5)
    np.testing.assert_allclose(F, F64, atol=1e-4 * float(jnp.max(jnp.abs(F64))))
