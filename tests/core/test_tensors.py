"""Mandel notation, rotations and projections, against full tensor contractions."""

import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from hea_jax.core import tensors, units


def symmetric(seed):
    a = np.random.default_rng(seed).normal(size=(3, 3))
    return a + a.T


def full_tensor(mandel):
    """Fourth-order components C_ijkl, built index by index."""
    voigt = np.asarray(tensors.voigt_from_mandel(mandel))
    index = {(0, 0): 0, (1, 1): 1, (2, 2): 2, (1, 2): 3, (2, 1): 3, (0, 2): 4, (2, 0): 4, (0, 1): 5, (1, 0): 5}
    return np.array([[[[voigt[index[i, j], index[k, l]] for l in range(3)] for k in range(3)]
                      for j in range(3)] for i in range(3)])


def test_mandel_keeps_the_inner_product_and_round_trips():
    a, b = symmetric(0), symmetric(1)
    assert np.isclose(tensors.to_mandel(a) @ tensors.to_mandel(b), np.sum(a * b))
    np.testing.assert_allclose(tensors.from_mandel(tensors.to_mandel(a)), a, atol=1e-15)


def test_stiffness_acts_as_the_fourth_order_tensor():
    C, e = tensors.cubic_stiffness(240.0, 130.0, 30.0), symmetric(2)
    sigma = np.einsum("ijkl,kl->ij", full_tensor(C), e)
    np.testing.assert_allclose(tensors.from_mandel(C @ tensors.to_mandel(e)), sigma, rtol=1e-13)
    np.testing.assert_allclose(tensors.mandel_from_voigt(tensors.voigt_from_mandel(C)), C)


def test_rotation_against_full_contraction():
    C = tensors.cubic_stiffness(240.0, 130.0, 30.0)
    R = Rotation.from_euler("zxz", [0.3, 1.1, -0.7]).as_matrix()
    rotated = np.einsum("ai,bj,ck,dl,ijkl->abcd", R, R, R, R, full_tensor(C))
    np.testing.assert_allclose(full_tensor(tensors.rotate_stiffness(C, jnp.asarray(R))), rotated, atol=1e-11)


def test_projections_are_exact_on_their_own_class_and_invariant_under_rotation():
    C = tensors.cubic_stiffness(240.0, 130.0, 30.0)
    np.testing.assert_allclose(tensors.cubic_projection(C), [240.0, 130.0, 30.0], rtol=1e-14)
    R = jnp.asarray(Rotation.from_euler("zxz", [0.3, 1.1, -0.7]).as_matrix())
    iso = tensors.isotropic_projection(tensors.rotate_stiffness(C, R))
    # Voigt averages of a cubic crystal: K = (C11 + 2 C12)/3, G = (C11 − C12 + 3 C44)/5.
    np.testing.assert_allclose(iso, [500.0 / 3, (110.0 + 90.0) / 5], rtol=1e-13)
    np.testing.assert_allclose(tensors.isotropic_projection(tensors.isotropic_stiffness(170.0, 38.0)), [170.0, 38.0])


def test_isotropic_stiffness_is_lame():
    K, G = tensors.bulk_shear_from_young(1.0, 0.3)
    voigt = tensors.voigt_from_mandel(tensors.isotropic_stiffness(K, G))
    np.testing.assert_allclose(voigt[0, 0], 0.7 / (1.3 * 0.4), rtol=1e-14)
    np.testing.assert_allclose(voigt[3, 3], 0.5 / 1.3, rtol=1e-14)


def test_units_against_scipy_constants():
    from scipy import constants as c

    np.testing.assert_allclose(units.BOLTZMANN_EV_PER_K, c.k / c.e, rtol=1e-15)
    np.testing.assert_allclose(units.EV_PER_A3_TO_GPA, c.e / c.angstrom**3 / c.giga, rtol=1e-14)
    np.testing.assert_allclose(units.AMU_A2_PER_FS2_TO_EV, c.atomic_mass * (c.angstrom / c.femto) ** 2 / c.e, rtol=1e-9)
    np.testing.assert_allclose(units.EV_PER_A2_TO_J_PER_M2, c.e / c.angstrom**2, rtol=1e-14)
