"""The longest path: potential → cells over composition and temperature → RVE → tip displacement, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hierarchical.chain_fixtures import microstructure, properties

from hea_jax.atomistic.alloys import alloy_cells
from hea_jax.atomistic.composition import affine_design, enriched_compositions
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.atomistic.relaxation import RELAX
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.core.krylov import CG
from hea_jax.hierarchical.panel import panel_of
from hea_jax.hierarchical.tip import TipPath

BASE = 2


def path(potential):
    """A small path: cells of 32 atoms, an RVE of 6³ voxels, a panel of 2×2 elements."""
    mean = np.full(4, 0.25)
    rows = np.concatenate([np.tile(mean, (BASE, 1)), enriched_compositions(mean, 32, step=0.15)])
    cells = alloy_cells(jax.random.key(4), rows, potential.elements, lattice_constant_A=3.24, repeats=(2, 2, 4),
                        cutoff_A=potential.cutoff, skin_A=1.0)
    panel = panel_of((2, 2), scale_nm=1000.0, traction_GPa=0.2, clamp_temperature_K=300.0, tip_temperature_K=900.0)
    return TipPath(cells, affine_design(rows, mean), jnp.array([1.002, 1.006, 1.011]), properties(),
                   microstructure(grid=(6, 6, 6), grains=4), panel, BASE, RELAX, CG(rtol=1e-10, probe=0))


@pytest.mark.slow
def test_gradient_of_the_tip_displacement():
    potential = shipped_potential()
    chain = path(potential)
    value, gradient = chain.value_and_gradient(potential)
    constants, _ = chain.elastic(potential)
    # Stretched lattices are softer.
    assert (np.diff(np.asarray(constants), axis=0) < 0).all()
    directions = parameter_directions(potential, random=1)
    stacked = jax.tree.map(lambda leaf: leaf[None], gradient)
    for name in [key for key in directions if key.startswith("random")] + ["pair"]:
        check = check_direction(name, lambda p: chain.value(p)[None], potential, stacked, directions[name],
                                steps=(1e-4, 1e-5), scale=np.array([abs(float(value))]))
        assert check.worst <= 1e-5, (name, check.slopes, check.differences)
        assert check.weakest >= 1e-6
