"""Shared checks: gradients against finite differences, and what every plug-in must satisfy.

``check_gradient`` compares an autodiff directional derivative with central differences at two step sizes and
names the failing block; ``check_transforms`` puts a function through ``jit`` and ``vmap``.
The conformance lists (potentials, laws, …) live beside the tests of their scale and use these.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def random_direction(tree, seed=0):
    """A random unit tangent on the floating-point leaves of ``tree`` (others None)."""
    leaves, treedef = jax.tree.flatten(eqx.filter(tree, eqx.is_inexact_array))
    rng = np.random.default_rng(seed)
    noise = [rng.normal(size=leaf.shape) for leaf in leaves]
    norm = np.sqrt(sum(np.sum(n**2) for n in noise))
    return treedef.unflatten([jnp.asarray(n / norm, leaf.dtype) for n, leaf in zip(noise, leaves, strict=True)])


def move(tree, direction, step):
    """``tree + step · direction`` on the floating-point leaves."""
    dynamic, static = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda a, d: a + step * d, dynamic, direction), static)


def inner(gradient, direction):
    """⟨gradient, direction⟩ of two pytrees of the same structure."""
    return float(
        sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    )


def check_gradient(fn, tree, *, rtol, steps=(1e-4, 1e-5), seeds=(0, 1, 2), name=""):
    """Reverse and forward mode of ``fn(tree) -> scalar`` against central differences along random directions.

    Fails, naming the direction, if neither step size agrees to ``rtol`` relative, or if all slopes are tiny
    (a gradient check on a constant proves nothing).
    """
    slopes = []
    value = eqx.filter_jit(fn)
    gradient = eqx.filter_jit(eqx.filter_grad(fn))(tree)
    pushed = eqx.filter_jit(lambda t, d: eqx.filter_jvp(fn, (t,), (d,))[1])
    for seed in seeds:
        direction = random_direction(tree, seed)
        reverse = inner(gradient, direction)
        forward = float(pushed(tree, direction))
        np.testing.assert_allclose(forward, reverse, rtol=1e-7, atol=1e-12, err_msg=f"{name}: forward ≠ reverse mode")
        differences = [
            float(value(move(tree, direction, h)) - value(move(tree, direction, -h))) / (2 * h) for h in steps
        ]
        errors = [abs(d - reverse) / max(abs(reverse), 1e-300) for d in differences]
        assert min(errors) <= rtol, (
            f"{name} direction {seed}: autodiff {reverse}, differences {differences} ({errors})"
        )
        slopes.append(abs(reverse))
    assert max(slopes) > 1e-10, f"{name}: every slope is zero, the check cannot fail"


def check_transforms(fn, tree, *, atol=1e-12, name=""):
    """``fn`` of a pytree of arrays gives the same under ``jit`` and lane by lane under ``vmap``."""
    plain = fn(tree)
    np.testing.assert_allclose(eqx.filter_jit(fn)(tree), plain, atol=atol, rtol=1e-10, err_msg=f"{name}: jit")
    pair = jax.tree.map(lambda a: jnp.stack([a, a]) if eqx.is_array(a) else a, tree)
    batched = eqx.filter_vmap(fn)(pair)
    np.testing.assert_allclose(batched[1], plain, atol=atol, rtol=1e-10, err_msg=f"{name}: vmap")


def check_serialises(module, path):
    """A Module survives a round trip through ``eqx.tree_serialise_leaves``."""
    eqx.tree_serialise_leaves(path, module)
    empty = jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_array(a) else a, module)
    again = eqx.tree_deserialise_leaves(path, empty)
    for a, b in zip(jax.tree.leaves(module), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
