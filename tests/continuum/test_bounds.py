"""Bounds against published values, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.continuum.bounds import (
    cubic_polycrystal,
    hashin_shtrikman,
    phase_fractions,
    placement,
    reuss,
    self_consistent_cubic,
    voigt,
)
from hea_jax.core.tensors import bulk_shear_from_young, cubic_stiffness, isotropic_stiffness

CRYSTALS = {
    "Cu": ((168.4, 121.4, 75.4), (40.03, 45.96, 48.17, 49.45, 54.64)),
    "Nb": ((246.0, 134.0, 28.7), (35.65, 37.44, 37.68, 38.00, 39.62)),
    "Mo": ((463.7, 157.8, 109.2), (123.31, 124.92, 125.01, 125.15, 126.70)),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_cubic_polycrystals(name):
    constants, shear = CRYSTALS[name]
    found = cubic_polycrystal(*constants)
    values = [found.reuss, found.hs_lower, found.self_consistent, found.hs_upper, found.voigt]
    np.testing.assert_allclose(values, shear, atol=0.006)
    np.testing.assert_allclose(found.bulk, (constants[0] + 2 * constants[1]) / 3, rtol=1e-14)
    c11, c12, c44 = constants
    G = found.self_consistent
    cubic = (8 * G**3 + (5 * c11 + 4 * c12) * G**2 - c44 * (7 * c11 - 4 * c12) * G
             - c44 * (c11 - c12) * (c11 + 2 * c12))
    assert abs(float(cubic)) < 1e-9 * float(8 * G**3)


def test_isotropic_crystal_closes_all_bounds():
    found = cubic_polycrystal(200.0, 100.0, 50.0)
    for value in (found.reuss, found.hs_lower, found.self_consistent, found.hs_upper, found.voigt):
        np.testing.assert_allclose(value, 50.0, rtol=1e-12)


def test_hashin_shtrikman_two_phases():
    K, G = bulk_shear_from_young(jnp.array([1.0, 10.0]), 0.3)
    found = hashin_shtrikman(K, G, jnp.array([0.8, 0.2]))
    values = [found.bulk_lower, found.bulk_upper, found.shear_lower, found.shear_upper]
    np.testing.assert_allclose(values, [1.108202, 1.580922, 0.540943, 0.817308], atol=1e-6)


def test_voigt_and_reuss_of_isotropic_phases():
    K, G, f = jnp.array([1.0, 10.0]), jnp.array([0.5, 4.0]), jnp.array([0.3, 0.7])
    C = jax.vmap(isotropic_stiffness)(K, G)
    np.testing.assert_allclose(voigt(C, f), isotropic_stiffness(f @ K, f @ G), rtol=1e-13, atol=1e-13)
    expected = isotropic_stiffness(1 / (f @ (1 / K)), 1 / (f @ (1 / G)))
    np.testing.assert_allclose(reuss(C, f), expected, rtol=1e-12, atol=1e-12)


def test_self_consistent_derivatives_are_those_of_the_cubic():
    at = jnp.array([168.4, 121.4, 75.4])
    fn = jax.jit(lambda c: self_consistent_cubic(*c))
    slope = jax.jit(jax.grad(lambda c: self_consistent_cubic(*c)))
    curvature = jax.hessian(lambda c: self_consistent_cubic(*c))(at)
    h = 1e-3
    for i, e in enumerate(jnp.eye(3)):
        first, second = ((f(at + h * e) - f(at - h * e)) / (2 * h) for f in (fn, slope))
        np.testing.assert_allclose(slope(at)[i], first, rtol=1e-7)
        np.testing.assert_allclose(curvature[i], second, rtol=1e-6, atol=1e-10)


def test_placement_sees_both_sides():
    C = cubic_stiffness(168.4, 121.4, 75.4)
    inside = placement(C, 0.9 * C, 1.1 * C)
    assert bool(inside.inside)
    np.testing.assert_allclose([inside.bulk_position, inside.shear_position], 0.5, rtol=1e-12)
    assert not bool(placement(1.2 * C, 0.9 * C, 1.1 * C).inside)
    assert not bool(placement(0.8 * C, 0.9 * C, 1.1 * C).inside)
    assert jnp.isnan(placement(C, C, C).bulk_position)
    assert bool(placement(C, C, C).inside)


def test_phase_fractions():
    np.testing.assert_allclose(phase_fractions(jnp.array([[[0, 2], [2, 2]]]), 4), [0.25, 0, 0.75, 0])
