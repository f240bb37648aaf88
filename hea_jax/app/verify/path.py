"""Reference case of the whole path: its gradient against finite differences, everything re-relaxed."""

import jax
import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.atomistic.alloys import alloy_cells
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.calibration.gradient_check import check_direction, parameter_directions
from hea_jax.continuum.rve import rve_of
from hea_jax.hierarchical.upscaling import Polycrystal, moduli_and_jacobian
from hea_jax.structures.polycrystal import voronoi_polycrystal

SOURCE = "central differences with every cell re-relaxed, the better of two steps"


def gradient_of_the_path() -> list[Check]:
    """d(K, G)/dθ from potential to polycrystal: 8 cells of 128 atoms, 24 grains on 32³ voxels."""
    potential = shipped_potential()
    cells = alloy_cells(
        jax.random.key(1),
        [[0.25] * 4] * 8,
        potential.elements,
        lattice_constant_A=3.24,
        repeats=(4, 4, 4),
        cutoff_A=potential.cutoff,
        skin_A=0.8,
    )
    record = voronoi_polycrystal(jax.random.key(2), grains=24, grid=(32, 32, 32), voxel_nm=3.125)
    grains = Polycrystal(rve_of(record), record.rotations)
    _, gradient = moduli_and_jacobian(potential, cells, grains)
    checks = []
    for name, direction in parameter_directions(potential, random=5).items():
        check = check_direction(
            name,
            lambda p: moduli_and_jacobian(p, cells, grains)[0],
            potential,
            gradient,
            direction,
            steps=(1e-4, 1e-3),
        )
        best = np.take_along_axis(check.differences, check.relative_errors.argmin(axis=0)[None], axis=0)[0]
        for k, modulus in enumerate("KG"):
            slope, scale = float(check.slopes[k]), float(check.scale[k])
            # A slope that is nothing beside the modulus proves nothing: such a row fails by a zero tolerance.
            tolerance = 1e-5 * abs(slope) if abs(slope) > 1e-6 * scale else 0.0
            checks.append(Check(f"d{modulus}/dθ along {name}", slope, float(best[k]), "GPa", tolerance, SOURCE))
    return checks


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("hierarchical", "gradient of the path", gradient_of_the_path)]
