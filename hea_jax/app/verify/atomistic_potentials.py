"""Reference cases of interatomic potentials: invariances of an EAM, and LAMMPS on its exported table.

Sources: Daw & Baskes 1984 (EAM); Thompson et al. 2022 (LAMMPS).
"""

import tempfile
from pathlib import Path
from typing import Any

from hea_jax.app.verify.rows import Case, Check, Skip

ELEMENTS = ("Nb", "Mo", "Ta", "W")


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("atomistic", "EAM invariances", _invariances), Case("atomistic", "EAM against LAMMPS", _lammps)]


def _potential() -> Any:
    """A ``LearnableEAM`` with coefficients of the size of a fitted one."""
    import equinox as eqx
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.atomistic.fitting import initial_parameters

    start = initial_parameters(ELEMENTS, pair_functions=8, density_functions=4).potential
    rng = np.random.default_rng(0)
    blocks = lambda p: (p.pair, p.density, p.embedding_root, p.embedding_series)
    noisy = [leaf + jnp.asarray(rng.normal(0.0, size, leaf.shape))
             for leaf, size in zip(blocks(start), (0.3, 0.1, 0.3, 0.05), strict=True)]
    return eqx.tree_at(blocks, start, noisy)


def _alloy() -> Any:
    """A random bcc alloy of 16 atoms, displaced and sheared."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.records import Atoms
    from hea_jax.structures.alloys import supercell

    rng = np.random.default_rng(1)
    positions, cell = supercell(3.24, (2, 2, 2))
    F = jnp.asarray(np.eye(3) + rng.normal(0.0, 0.03, (3, 3)))
    moved = positions + jnp.asarray(rng.normal(0.0, 0.08, positions.shape))
    return Atoms(moved, cell, jnp.asarray(rng.integers(0, 4, len(moved)), jnp.int32), ELEMENTS).deformed(F)


def _evaluate(potential, atoms):
    import equinox as eqx

    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.properties import energy_forces_stress

    # One width for all configurations, so that it is compiled once.
    pairs = neighbour_table(atoms, potential.cutoff, capacity=110)
    return eqx.filter_jit(energy_forces_stress)(potential, atoms, pairs)


def _invariances() -> list[Check]:
    import equinox as eqx
    import jax.numpy as jnp
    import numpy as np

    potential, atoms = _potential(), _alloy()
    E, forces, stress = _evaluate(potential, atoms)
    rng = np.random.default_rng(2)
    R = jnp.asarray(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    order = rng.permutation(atoms.number)
    permuted = eqx.tree_at(lambda a: (a.positions, a.species), atoms, (atoms.positions[order], atoms.species[order]))
    E_rotated, forces_rotated, stress_rotated = _evaluate(potential, atoms.deformed(R))
    energies = {"rotation": E_rotated, "permutation": _evaluate(potential, permuted)[0],
                "translation": _evaluate(potential, atoms.displaced(jnp.array([0.3, -1.7, 5.1])))[0]}
    tolerance = 1e-12 * abs(float(E))
    checks = [Check(f"energy under {name}", float(value), float(E), "eV", tolerance, "invariance of E")
              for name, value in energies.items()]
    far = lambda a, b: float(jnp.max(jnp.abs(a - b)))
    return [
        *checks,
        Check("forces under rotation, largest deviation", far(forces_rotated, forces @ R.T), 0.0, "eV/Å", 1e-11,
              "F → R F"),
        Check("stress under rotation, largest deviation", far(stress_rotated, R @ stress @ R.T), 0.0, "eV/Å³", 1e-12,
              "σ → R σ Rᵀ"),
        Check("sum of forces, largest component", far(jnp.sum(forces, axis=0), 0.0), 0.0, "eV/Å", 1e-11,
              "Newton's third law"),
    ]


def _lammps() -> list[Check]:
    import numpy as np

    from hea_jax.atomistic.lammps import lammps_available, lammps_single_point
    from hea_jax.atomistic.potentials import tabulated, to_setfl

    available, reason = lammps_available()
    if not available:
        raise Skip(f"LAMMPS: {reason}")
    potential, atoms = _potential(), _alloy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.eam.alloy"
        setfl = to_setfl(potential, path=path)
        theirs = lammps_single_point(atoms, path)
    E_fit = float(_evaluate(potential, atoms)[0])
    E, forces, stress = _evaluate(tabulated(setfl), atoms)
    n = atoms.number
    far = lambda a, b: float(np.max(np.abs(a - b)))
    source = "LAMMPS pair_style eam/alloy, same table"
    return [
        Check("energy per atom of a random alloy", float(E) / n, theirs.energy_eV / n, "eV", 1e-8, source),
        Check("forces, largest deviation", far(forces, theirs.forces_eV_per_A), 0.0, "eV/Å", 1e-6, source),
        Check("stress, largest deviation", far(stress, theirs.stress_eV_per_A3), 0.0, "eV/Å³", 1e-8, source),
        Check("energy per atom, fit in memory against LAMMPS", E_fit / n, theirs.energy_eV / n, "eV", 1e-6,
              "LAMMPS pair_style eam/alloy, exported table"),
    ]
