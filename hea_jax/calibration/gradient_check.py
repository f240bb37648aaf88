"""Check of a gradient of the chain against finite differences, direction by direction.

Everything is recomputed (re-relaxed) at the displaced parameters; two step sizes tell truncation from round-off.

Source: Nocedal & Wright 2006, section 8.1 (central differences).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class DirectionCheck:
    """One direction: its ``name``, the autodiff slopes (modulus,), the central differences (step, modulus), and the
    step sizes; slopes are per unit of the normalised parameter direction, in the observables' unit."""

    name: str
    slopes: np.ndarray
    differences: np.ndarray
    steps: tuple[float, ...]
    scale: np.ndarray

    @property
    def relative_errors(self) -> np.ndarray:
        """|difference − slope|/|slope|, (step, modulus)."""
        return np.abs(self.differences - self.slopes) / np.abs(self.slopes)

    @property
    def worst(self) -> float:
        """The largest relative error over moduli, at the better step of each."""
        return float(self.relative_errors.min(axis=0).max())

    @property
    def weakest(self) -> float:
        """The smallest |slope| relative to the observable's scale: a vanishing slope would prove nothing."""
        return float((np.abs(self.slopes) / self.scale).min())


def parameter_directions(parameters, *, random: int, seed: int = 0) -> dict[str, Any]:
    """Unit directions in the space of an ``eqx.Module``'s floating-point leaves: one in each block (leaf) named after
    its field, and ``random`` over all blocks. Each block is scaled by its own rms, so that a step is relative.
    """
    dynamic = eqx.filter(parameters, eqx.is_inexact_array)
    paths, treedef = jax.tree_util.tree_flatten_with_path(dynamic)
    rng = np.random.default_rng(seed)
    sizes = [float(jnp.sqrt(jnp.mean(leaf**2))) for _, leaf in paths]

    def direction(active):
        noise = [
            rng.normal(size=leaf.shape) if i in active else np.zeros(leaf.shape) for i, (_, leaf) in enumerate(paths)
        ]
        norm = np.sqrt(sum(np.sum(n**2) for n in noise))
        return treedef.unflatten([jnp.asarray(size * n / norm) for size, n in zip(sizes, noise, strict=True)])

    out = {jax.tree_util.keystr(path).lstrip("."): direction({i}) for i, (path, _) in enumerate(paths)}
    for k in range(random):
        out[f"random {k + 1}"] = direction(set(range(len(paths))))
    return out


def check_direction(
    name: str,
    observable: Callable[[Any], Float[Array, "modulus"]],
    parameters,
    gradient,
    direction,
    *,
    steps: tuple[float, ...] = (1e-4, 1e-5),
    scale=None,
) -> DirectionCheck:
    """Compare ``gradient`` (leading axis: modulus) along ``direction`` with central differences of ``observable``.

    ``scale`` (modulus,) is what a slope is compared with (default: the observables' values).
    """
    dynamic, static = eqx.partition(parameters, eqx.is_inexact_array)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    slopes = np.asarray(sum(jnp.tensordot(g, d, axes=d.ndim) for g, d in pairs))

    def at(h):
        moved = jax.tree.map(lambda a, d: a + h * d, dynamic, direction)
        return np.asarray(observable(eqx.combine(moved, static)))

    differences = np.stack([(at(h) - at(-h)) / (2 * h) for h in steps])
    scale = np.abs(np.asarray(observable(parameters))) if scale is None else np.asarray(scale)
    return DirectionCheck(name, slopes, differences, tuple(steps), scale)
