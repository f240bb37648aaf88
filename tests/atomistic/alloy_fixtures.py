"""A physically sensible potential and small alloy cells for the tests of the atomistic scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.alloys import alloy_cells
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM, scaled_distance

ELEMENTS = ("Nb", "Mo", "Ta", "W")


@functools.cache
def sensible_potential(cutoff=5.5, inner=1.9, pair_functions=12, density_functions=6):
    """A ``LearnableEAM`` projected onto Morse-like pairs and exponential densities of four bcc-sized elements."""
    r = np.linspace(inner + 0.2, cutoff, 200)[:-1]
    t = np.asarray(scaled_distance(jnp.asarray(r), cutoff, inner))
    u = (1 - t) / 2
    fade = 1 - np.exp(-(((cutoff - r) / 0.5) ** 2))
    size, depth = np.array([2.86, 2.72, 2.86, 2.74]), np.array([0.25, 0.3, 0.28, 0.35])
    pairs = []
    for a in range(4):
        for b in range(a, 4):
            x = np.exp(-1.6 * (r - 0.5 * (size[a] + size[b])))
            y = np.sqrt(depth[a] * depth[b]) * (x**2 - 2 * x) * fade
            weight = 1 / (1 + 10 * np.abs(y))
            basis = np.polynomial.chebyshev.chebvander(t, pair_functions - 1) * (u**4)[:, None]
            pairs.append(np.linalg.lstsq(basis * weight[:, None], y * weight, rcond=1e-8)[0])
    basis = np.polynomial.chebyshev.chebvander(t, density_functions - 1) * (u**2)[:, None]
    densities = [np.linalg.lstsq(basis, np.exp(-0.75 * (r - s)) * fade, rcond=1e-8)[0] for s in size]
    return LearnableEAM(jnp.asarray(np.array(pairs)), jnp.asarray(np.array(densities)), jnp.array([0.6, 0.8, 0.7, 0.9]),
                        jnp.zeros((4, 3)), ELEMENTS, cutoff=cutoff, inner_A=inner)


def cells(number=2, repeats=(3, 3, 3), composition=None, seed=0, lattice=2.6, composition_rows=None):
    """Random cells at the equilibrium lattice constant of ``sensible_potential`` (about 2.6 Å)."""
    share = [0.25] * 4 if composition is None else composition
    if composition is None and np.prod(repeats) * 2 % 4:
        n = int(np.prod(repeats) * 2)
        counts = np.array([n // 4 + (k < n % 4) for k in range(4)])
        share = (counts / n).tolist()
    rows = composition_rows or [share] * number
    return alloy_cells(jax.random.key(seed), rows, ELEMENTS, lattice_constant_A=lattice, repeats=repeats, cutoff_A=5.5,
                       skin_A=0.4)
