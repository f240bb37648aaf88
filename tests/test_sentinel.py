"""Sentinel for a compiler error: jaxlib 0.10.2 gives a wrong last row on CPU, silently.

A jitted, vmapped small matrix times a row, squared and summed, is the shape of all our tensor algebra. Wrong at
n = 16385 in float64 and n = 32769 in float32 with 0.10.2 (jax-ml/jax#39103), right with 0.10.1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SIZES = [1, 7, 1000, 8193, 16384, 16385, 16386, 32768, 32769, 65537]


@jax.jit
def squared_norms(matrix, rows):
    """|A x|² of every row x."""
    return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [3, 6])
@pytest.mark.parametrize("n", SIZES)
def test_every_row_of_vmapped_small_algebra_is_right(n, columns, dtype):
    rng = np.random.default_rng(n)
    matrix = rng.normal(size=(columns, columns)).astype(dtype)
    rows = rng.normal(size=(n, columns)).astype(dtype)
    expected = np.sum((rows @ matrix.T) ** 2, axis=1)
    computed = np.asarray(squared_norms(matrix, rows))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(computed, expected, rtol=100 * eps, atol=1000 * eps)


def test_excluded_versions_are_not_installed():
    assert jax.__version__ not in ("0.10.2", "0.11.1"), "this JAX computes wrong numbers on CPU: install another"
