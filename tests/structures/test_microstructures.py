"""Polycrystals, composites and rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hea_jax.structures.composites import checkerboard, cubic_sphere, laminate
from hea_jax.structures.polycrystal import periodic_voronoi, voronoi_polycrystal
from hea_jax.structures.rotations import (
    bunge_of_matrix,
    matrix_of_bunge,
    matrix_of_quaternion,
    quaternion_of_matrix,
    random_rotations,
)


def test_random_rotations_are_uniform_rotations():
    R = np.asarray(random_rotations(jax.random.key(0), 4000))
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(R), 1, atol=1e-13)
    # Haar measure: ⟨R⟩ = 0 and ⟨R_ij²⟩ = 1/3; 3.5 standard errors of the mean.
    assert np.abs(R.mean(axis=0)).max() < 3.5 * np.sqrt(1 / 3 / 4000)
    assert np.abs((R**2).mean(axis=0) - 1 / 3).max() < 3.5 * np.sqrt(4 / 45 / 4000)
    # Angle distribution of random rotations: (1 − cos θ)/π, mean π/2 + 2/π.
    angle = np.arccos(np.clip((np.trace(R, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert abs(angle.mean() - (np.pi / 2 + 2 / np.pi)) < 3.5 * angle.std() / np.sqrt(4000)


def test_conversions_against_scipy():
    rng = np.random.default_rng(1)
    special = Rotation.from_rotvec([[0, 0, 0], [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi], [0, 0, 0.3]])
    reference = Rotation.concatenate([Rotation.random(200, random_state=1), special])
    R = jnp.asarray(reference.as_matrix())
    q = reference.as_quat(scalar_first=True)
    np.testing.assert_allclose(matrix_of_quaternion(jnp.asarray(q) * rng.uniform(0.5, 2, (205, 1))), R, atol=1e-13)
    overlap = np.abs(np.sum(np.asarray(quaternion_of_matrix(R)) * q, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-13)
    # Bunge's intrinsic z x z.
    angles = rng.uniform([-3, 0.05, -3], [3, 3.0, 3], size=(100, 3))
    matrix = matrix_of_bunge(jnp.asarray(angles))
    np.testing.assert_allclose(matrix, Rotation.from_euler("ZXZ", angles).as_matrix(), atol=1e-13)
    np.testing.assert_allclose(bunge_of_matrix(matrix), angles, atol=1e-9)
    # Where Φ is 0 or π the angles are not unique, the matrix is.
    np.testing.assert_allclose(matrix_of_bunge(bunge_of_matrix(R)), R, atol=1e-9)


def test_voronoi_is_periodic_and_nearest():
    grid, voxel = (6, 5, 4), np.array([1.0, 1.5, 2.0])
    edges = np.array(grid) * voxel
    seeds = np.random.default_rng(2).uniform(size=(9, 3)) * edges
    phases = np.asarray(periodic_voronoi(jnp.asarray(seeds), grid, voxel))
    centres = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * h for n, h in zip(grid, voxel, strict=True)],
                                   indexing="ij"), axis=-1)
    _, nearest = cKDTree(seeds, boxsize=edges).query(centres)
    np.testing.assert_array_equal(phases, nearest)
    shifted = np.asarray(periodic_voronoi(jnp.asarray(seeds + np.array([2.0, 0, 0])), grid, voxel))
    np.testing.assert_array_equal(np.roll(phases, 2, axis=0), shifted)


def test_polycrystal_is_fixed_by_its_key():
    a, b, c = (voronoi_polycrystal(jax.random.key(k), grains=20, grid=(32, 32, 32), voxel_nm=2.0) for k in (0, 0, 1))
    np.testing.assert_array_equal(a.phases, b.phases)
    np.testing.assert_array_equal(a.rotations, b.rotations)
    assert not np.array_equal(a.phases, c.phases)
    assert a.phases.shape == (32, 32, 32)
    assert a.rotations.shape == (20, 3, 3)
    np.testing.assert_array_equal(a.voxel_nm, [2, 2, 2])
    assert np.unique(a.phases).size == 20


def test_composites_have_their_fractions():
    np.testing.assert_allclose(np.mean(cubic_sphere((32,) * 3).phases), 0.20459, atol=5e-6)
    np.testing.assert_allclose(np.mean(cubic_sphere((32,) * 3).phases), 4 / 3 * np.pi * 0.365**3, rtol=0.01)
    layers = laminate((2, 8, 3), normal=1, fraction=0.25)
    assert np.unique(layers.phases[:, :6]).tolist() == [0]
    assert np.unique(layers.phases[:, 6:]).tolist() == [1]
    board = np.asarray(checkerboard((4, 6, 3), axes=(0, 1)).phases)
    np.testing.assert_allclose(board.mean(), 0.5)
    assert board[0, 0, 0] != board[2, 0, 0]
    assert board[0, 0, 0] == board[2, 3, 2]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: voronoi_polycrystal(jax.random.key(0), grains=0, grid=(4, 4, 4)), "grains"),
    (lambda: voronoi_polycrystal(jax.random.key(0), grains=65, grid=(4, 4, 4)), "grains"),
    (lambda: voronoi_polycrystal(jax.random.key(0), grains=2, grid=(4, 4)), "grid"),
    (lambda: voronoi_polycrystal(jax.random.key(0), grains=2, grid=(4, 4, 0)), "grid"),
    (lambda: voronoi_polycrystal(jax.random.key(0), grains=2, grid=(4, 4, 4), voxel_nm=-1.0), "voxel"),
    (lambda: laminate((4, 4, 4), fraction=0.3), "whole number"),
    (lambda: laminate((4, 4, 4), normal=3), "normal"),
    (lambda: cubic_sphere((4, 4, 4), radius=0.6), "radius"),
    (lambda: checkerboard((3, 4, 4)), "even"),
    (lambda: checkerboard((4, 4, 4), axes=(0, 0)), "axes"),
])
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
