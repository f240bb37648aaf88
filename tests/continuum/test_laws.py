"""Every law through the conformance kit, and what is particular to each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law_conformance import check_law

from hea_jax.continuum.laws import CubicNeoHooke, Hooke, IsotropicHooke, NeoHooke, reference_moduli, rotated
from hea_jax.core.tensors import cubic_stiffness, isotropic_stiffness, rotate_stiffness
from hea_jax.structures.rotations import random_rotations

CUBIC = cubic_stiffness(168.4, 121.4, 75.4)
GENERIC = rotate_stiffness(CUBIC, random_rotations(jax.random.key(1), 1)[0])
LAWS = [
    Hooke(CUBIC),
    Hooke(GENERIC, 0.001 * jnp.arange(6.0), 1e-5 * jnp.ones(6)),
    IsotropicHooke(jnp.asarray(140.0), jnp.asarray(48.0)),
    IsotropicHooke(jnp.asarray(140.0), jnp.asarray(48.0), jnp.asarray(0.002)),
    NeoHooke(jnp.asarray(140.0), jnp.asarray(48.0)),
    CubicNeoHooke(*jnp.array([168.4, 121.4, 75.4]), random_rotations(jax.random.key(4), 1)[0]),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_law_conforms(law, tmp_path):
    check_law(law, tmp_path)


def test_neo_hooke_has_the_hookean_tangent_at_rest():
    law = NeoHooke(jnp.asarray(3.0), jnp.asarray(2.0))
    tangent = jax.hessian(lambda F: law.helmholtz(F, 300.0, None))(jnp.eye(3))
    E = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    E = 0.5 * (E + E.T)
    expected = 0.5 * (3.0 - 2 * 2.0 / 3) * jnp.trace(E) ** 2 + 2.0 * jnp.sum(E * E)
    np.testing.assert_allclose(0.5 * jnp.einsum("ij,ijkl,kl", E, tangent, E), expected, rtol=1e-12)


def test_neo_hooke_is_nan_when_folded():
    folded = jnp.diag(jnp.array([1.0, 1.0, -1.0]))
    assert jnp.isnan(NeoHooke(jnp.asarray(3.0), jnp.asarray(2.0)).helmholtz(folded, 300.0, None))


def test_thermal_strain_carries_no_stress():
    law = Hooke(CUBIC, None, 1e-5 * jnp.array([1.0, 1, 1, 0, 0, 0]))
    np.testing.assert_allclose(law.helmholtz(law.free_strain(400.0), 400.0, None), 0, atol=1e-20)
    assert law.free_strain(None) is None


def test_reference_of_isotropic_phases_is_the_mean_of_the_extremes():
    K, G = jnp.array([1.0, 10.0, 3.0]), jnp.array([0.4, 5.0, 2.0])
    stiffness = jax.vmap(isotropic_stiffness)(K, G)
    np.testing.assert_allclose(reference_moduli(stiffness), (5.5, 2.7), rtol=1e-12)


def test_rotated_law_turns_stiffness_and_eigenstrain_together():
    R = random_rotations(jax.random.key(2), 4)
    law = Hooke(CUBIC, jnp.array([0.01, 0, 0, 0, 0, 0]))
    grains = rotated(law, R)
    at_rest = jax.vmap(lambda C, e: Hooke(C, e).helmholtz(jnp.zeros(6), 300.0, None))
    energy = at_rest(grains.stiffness, grains.eigenstrain)
    np.testing.assert_allclose(energy, law.helmholtz(jnp.zeros(6), 300.0, None), rtol=1e-12)
