"""The path from a potential to a polycrystal: limits that are known, and its gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hea_jax.atomistic.alloys import alloy_cells, cubic_constants
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.continuum.bounds import cubic_polycrystal
from hea_jax.continuum.rve import rve_of
from hea_jax.core.tensors import cubic_stiffness, isotropic_projection, rotate_stiffness
from hea_jax.hierarchical.upscaling import (
    Polycrystal,
    anisotropy,
    homogenised_moduli,
    moduli_and_jacobian,
    polycrystal_stiffness,
)
from hea_jax.structures.polycrystal import voronoi_polycrystal


def grains(number=24, grid=(12, 12, 12), seed=2):
    record = voronoi_polycrystal(jax.random.key(seed), grains=number, grid=grid, voxel_nm=4.0)
    return Polycrystal(rve_of(record), record.rotations)


def test_one_grain_is_the_rotated_crystal():
    single = grains(number=1, grid=(4, 4, 4))
    cubic = jnp.array([340.0, 180.0, 90.0])
    C = polycrystal_stiffness(cubic, single).unwrap()
    np.testing.assert_allclose(
        C, rotate_stiffness(cubic_stiffness(*cubic), single.rotations[0]), rtol=1e-10, atol=1e-8
    )


def test_polycrystal_lies_between_reuss_and_voigt_and_its_bulk_modulus_is_exact():
    """K of an aggregate of cubic grains is (C11 + 2 C12)/3, whatever the grains (Hill 1952)."""
    cubic = jnp.array([246.0, 134.0, 28.7])
    C = polycrystal_stiffness(cubic, grains()).unwrap()
    K, G = isotropic_projection(C)
    bounds = cubic_polycrystal(*cubic)
    np.testing.assert_allclose(K, bounds.bulk, rtol=1e-3)
    assert 0.99 * bounds.reuss < G < 1.01 * bounds.voigt


def test_isotropic_grains_are_transparent():
    C = polycrystal_stiffness(jnp.array([300.0, 100.0, 100.0]), grains()).unwrap()
    np.testing.assert_allclose(isotropic_projection(C), [500.0 / 3, 100.0], rtol=1e-9)
    assert float(anisotropy(C)) < 1e-9
    assert float(anisotropy(cubic_stiffness(400.0, 100.0, 100.0))) > 0.1


@pytest.mark.slow
def test_gradient_of_the_whole_path():
    """One direction per parameter block and five random ones, all re-relaxed, to 1e-5; no slope below 1e-6."""
    potential, polycrystal = shipped_potential(), grains()
    cells = alloy_cells(
        jax.random.key(1),
        [[0.25] * 4] * 2,
        potential.elements,
        lattice_constant_A=3.24,
        repeats=(4, 4, 4),
        cutoff_A=potential.cutoff,
        skin_A=0.8,
    )
    moduli, gradient = moduli_and_jacobian(potential, cells, polycrystal)
    np.testing.assert_allclose(homogenised_moduli(potential, cells, polycrystal), moduli, rtol=1e-10)
    directions = parameter_directions(potential, random=5)
    assert set(directions) >= {"pair", "density", "embedding_root", "embedding_series"}
    for name, direction in directions.items():
        check = check_direction(
            name,
            lambda p: moduli_and_jacobian(p, cells, polycrystal)[0],
            potential,
            gradient,
            direction,
            steps=(1e-4, 1e-3),
        )
        assert check.worst <= 1e-5, (name, check)
        assert check.weakest >= 1e-6, (name, check)


@pytest.mark.slow
def test_gradient_by_the_direct_route_agrees():
    """`jax.grad` of the composed path equals the chain rule cut at the cubic constants."""
    potential, polycrystal = shipped_potential(), grains(grid=(6, 6, 6))
    cells = alloy_cells(
        jax.random.key(1),
        [[0.25] * 4],
        potential.elements,
        lattice_constant_A=3.24,
        repeats=(2, 2, 4),
        cutoff_A=potential.cutoff,
        skin_A=0.8,
    )
    direct = eqx.filter_jit(eqx.filter_grad(lambda p: homogenised_moduli(p, cells, polycrystal)[1]))(potential)
    _, rows = moduli_and_jacobian(potential, cells, polycrystal)
    for a, b in zip(jax.tree.leaves(direct), jax.tree.leaves(rows), strict=True):
        np.testing.assert_allclose(a, b[1], rtol=1e-7, atol=1e-7)
    assert np.isfinite(cubic_constants(potential, cells)).all()
