"""Reference cases of relaxed elastic constants of random alloys."""

from pathlib import Path

import jax
import jax.numpy as jnp

from hea_jax.app.verify.rows import Case, Check
from hea_jax.atomistic.alloys import alloy_cells
from hea_jax.atomistic.elasticity import born_constants, elastic_constants
from hea_jax.atomistic.potentials.eam_tabulated import load_eam
from hea_jax.atomistic.potentials.shipped import shipped_potential
from hea_jax.atomistic.properties import stress
from hea_jax.atomistic.relaxation import AtomRelaxation, relax
from hea_jax.core.condense import condense
from hea_jax.core.minimise import Newton
from hea_jax.core.tensors import cubic_projection, to_mandel
from hea_jax.core.units import EV_PER_A3_TO_GPA

LEMAITRE = "Lemaître & Maloney 2006 (C_Born − ΞᵀH⁻¹Ξ/V); reference: relaxed finite differences of the stress"
ZHOU = (
    "independent code, 256-atom random MoTaW, Zhou, Johnson & Wadley 2004 EAM: Born 395.2/184.6/117.8, relaxed "
    "389.1/183.1/116.6"
)
ZHOU_FILE = Path(__file__).parents[2] / "data" / "MoTaW_Zhou2004.eam.alloy"


def random_cell(potential, lattice_constant_A, repeats):
    """One random cell of all elements in nearly equal shares, relaxed, with a table for it."""
    number = 2 * repeats[0] * repeats[1] * repeats[2]
    n = len(potential.elements)
    share = [(number // n + (k < number % n)) / number for k in range(n)]
    cells = alloy_cells(
        jax.random.key(5),
        [share],
        potential.elements,
        lattice_constant_A=lattice_constant_A,
        repeats=repeats,
        cutoff_A=potential.cutoff,
        skin_A=0.6,
    )
    first = jax.tree.map(lambda a: a[0], cells.atoms)
    return relax(potential, first, cells.pairs).unwrap()[1], cells.pairs


def relaxed_against_differences() -> list[Check]:
    """256 atoms of random NbMoTaW: the Hessian formula against relaxed finite differences, within 0.01 GPa."""
    potential = shipped_potential()
    atoms, pairs = random_cell(potential, 3.24, (4, 4, 8))
    C = elastic_constants(potential, atoms, pairs).unwrap()
    problem = AtomRelaxation(potential, atoms, pairs)

    @jax.jit
    def relaxed_stress(x):
        y = condense(problem, x, jnp.zeros_like(atoms.positions), solver=Newton(rtol=0.0, atol=1e-10)).value[1]
        return to_mandel(stress(potential, problem.relaxed(x, y), pairs))

    h = 1e-4
    columns = {k: (relaxed_stress(h * jnp.eye(6)[k]) - relaxed_stress(-h * jnp.eye(6)[k])) / (2 * h) for k in (0, 3)}
    checks = []
    for name, m, n, factor in (("C11", 0, 0, 1), ("C12", 1, 0, 1), ("C44", 3, 3, 2)):
        reference = float(columns[n][m]) * EV_PER_A3_TO_GPA / factor
        checks.append(
            Check(f"relaxed {name}, 256 random atoms", float(C[m, n]) / factor, reference, "GPa", 0.01, LEMAITRE)
        )
    return checks


def softening_of_motaw() -> list[Check]:
    """Fractions relaxed/Born of random MoTaW (one random cell each: the fractions are the check)."""
    potential = load_eam(ZHOU_FILE)
    atoms, pairs = random_cell(potential, 3.2, (4, 4, 8))
    relaxed = cubic_projection(elastic_constants(potential, atoms, pairs).unwrap())
    ratio = relaxed / cubic_projection(born_constants(potential, atoms, pairs))
    published = (389.1 / 395.2, 183.1 / 184.6, 116.6 / 117.8)
    return [
        Check(f"MoTaW relaxed/Born {name}", float(r), p, "1", 0.005, ZHOU)
        for name, r, p in zip(("C11", "C12", "C44"), ratio, published, strict=True)
    ]


def cases() -> list[Case]:
    """The cases of this module."""
    return [
        Case("atomistic", "relaxed elastic constants", relaxed_against_differences),
        Case("atomistic", "non-affine softening of MoTaW", softening_of_motaw),
    ]
