"""Reference cases of the body-ordered potential: PACE's own evaluator on the exported file, a fit to a known truth, and
the shipped potential against DFT.

Sources: Lysogorskiy et al. 2021 (PACE); Drautz 2019 (atomic cluster expansion); Hoerl & Kennard 1970 (the solve);
Li, Chen, Zheng, Zuo & Ong 2020 (DFT).
"""

import tempfile
from pathlib import Path
from typing import Any

from hea_jax.app.verify.rows import Case, Check, Skip

ELEMENTS = ("Nb", "Mo", "Ta", "W")
ELASTIC = {"Nb": (236.6, 136.4, 15.0), "Mo": (475.7, 155.4, 104.0), "Ta": (268.0, 164.2, 63.0),
           "W": (538.4, 196.2, 146.3)}
"""C11, C12, C44 (GPa) at zero strain, read off the strained cells of Li et al. 2020 by ``cubic_elasticity``."""


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("atomistic", "body-ordered against PACE", _pace),
            Case("atomistic", "closed-form fit of a known potential", _fit),
            Case("atomistic", "shipped body-ordered potential against DFT", _shipped)]


def _potential(truncation: Any, elements: tuple[str, ...], cutoff_A: float) -> Any:
    """A potential with random coefficients of the size of fitted ones."""
    import equinox as eqx
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.atomistic.fitting.linear import LinearModel

    blank = LinearModel(truncation, cutoff_A).template(elements)
    coefficients = np.random.default_rng(0).normal(0.0, 0.1, blank.coefficients.shape)
    return eqx.tree_at(lambda p: p.coefficients, blank, jnp.asarray(coefficients))


def _alloy(elements: tuple[str, ...], seed: int, displacement_A: float) -> Any:
    """A random bcc alloy of 16 atoms, displaced and sheared."""
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.records import Atoms
    from hea_jax.structures.alloys import supercell

    rng = np.random.default_rng(seed)
    positions, cell = supercell(3.24, (2, 2, 2))
    moved = positions + jnp.asarray(rng.normal(0.0, displacement_A, positions.shape))
    species = jnp.asarray(rng.integers(0, len(elements), len(moved)), jnp.int32)
    return Atoms(moved, cell, species, elements).deformed(jnp.asarray(np.eye(3) + rng.normal(0.0, 0.02, (3, 3))))


def _pace() -> list[Check]:
    """Four elements, all body orders, one pair where radial functions are half switched on; PACE reads ``.yace`` and
    interpolates radial functions at 0.001 Å."""
    try:
        from pyace import PyACECalculator  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Skip("PACE: pip install python-ace") from None
    import ase
    import equinox as eqx
    import jax.numpy as jnp
    import numpy as np

    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.potentials.body_ordered import Truncation, save_yace
    from hea_jax.atomistic.properties import energy_forces_stress

    potential = _potential(Truncation(4, 2, 2, 4, 2, 2, 2), ELEMENTS, 5.0)
    atoms = _alloy(ELEMENTS, 1, 0.05)
    apart = atoms.positions[1] - atoms.positions[0]
    near = atoms.positions[0] + 1.9 * apart / jnp.linalg.norm(apart)
    atoms = eqx.tree_at(lambda a: a.positions, atoms, atoms.positions.at[1].set(near))
    pairs = neighbour_table(atoms, potential.cutoff)
    E, F, S = eqx.filter_jit(energy_forces_stress)(potential, atoms, pairs)
    with tempfile.TemporaryDirectory() as folder:
        calculator = PyACECalculator(str(save_yace(Path(folder) / "potential.yace", potential)))
        peer = ase.Atoms(atoms.symbols(), positions=np.asarray(atoms.positions), cell=np.asarray(atoms.cell), pbc=True,
                         calculator=calculator)
        energy, forces, stress = peer.get_potential_energy(), peer.get_forces(), peer.get_stress(voigt=False)
    n, source = atoms.number, "PACE (python-ace) on the exported file"
    difference = lambda ours, theirs: float(np.abs(np.asarray(ours) - theirs).max())
    return [Check("energy per atom", float(E) / n, energy / n, "eV", 1e-8, source),
            Check("largest difference of a force", difference(F, forces), 0.0, "eV/Å", 1e-7, source),
            Check("largest difference of a stress", difference(S, stress), 0.0, "eV/Å³", 1e-9, source)]


def _fit() -> list[Check]:
    """Energies, forces and stresses of a known potential; the fit must predict a structure it has not seen."""
    import equinox as eqx
    import jax.numpy as jnp

    from hea_jax.atomistic.fitting import FitWeights
    from hea_jax.atomistic.fitting.linear import ChemicalPrior, normal_equations, solve
    from hea_jax.atomistic.neighbours import neighbour_table
    from hea_jax.atomistic.potentials.body_ordered import Truncation
    from hea_jax.atomistic.properties import energy_forces_stress
    from hea_jax.records import ReferenceData

    elements = ("Ta", "W")
    truth = _potential(Truncation(3, 2, 1, 2, 1, 1, 1), elements, 4.2)
    evaluate = eqx.filter_jit(energy_forces_stress)
    data = []
    for seed in range(13):
        atoms = _alloy(elements, seed, 0.15)
        data.append(ReferenceData(atoms, *evaluate(truth, atoms, neighbour_table(atoms, 4.2, capacity=40))))
    equations = normal_equations(truth, data[1:], FitWeights())
    fitted = solve([equations], truth, ChemicalPrior(scale=1e3, channel=(1.0,), centre=(1.0,))).potential
    unseen = data[0]
    _, F, _ = evaluate(fitted, unseen.atoms, neighbour_table(unseen.atoms, 4.2, capacity=40))
    error = float(jnp.max(jnp.abs(F - unseen.forces_eV_per_A)) / jnp.max(jnp.abs(unseen.forces_eV_per_A)))
    return [Check("relative error of forces on an unseen structure", error, 0.0, "", 1e-4, "the known potential")]


def _shipped() -> list[Check]:
    """Elastic constants at rest within 10%, unrelaxed vacancies in 16 sites within 0.3 eV."""
    from hea_jax.atomistic.fitting.linear.crystal_rows import value_and_row
    from hea_jax.atomistic.fitting.targets import ElasticConstant, pure_cell
    from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
    from hea_jax.atomistic.potentials.shipped import shipped_body_ordered
    from hea_jax.structures.ordered import PROTOTYPES

    potential = shipped_body_ordered()
    fitted, core = potential.parts
    assert isinstance(fitted, BodyOrdered)
    checks = []
    for element, reference in ELASTIC.items():
        cell = pure_cell(PROTOTYPES["bcc"], element, 3.25, potential.elements, potential.cutoff)
        found = [value_and_row(ElasticConstant(cell, which), fitted, core)[0] for which in range(3)]
        checks += [Check(f"{name} of {element}", value, wanted, "GPa", 0.1 * wanted, "Li et al. 2020, strained cells")
                   for name, value, wanted in zip(("C11", "C12", "C44"), found, reference, strict=True)]
    return checks + [Check(f"vacancy in {element}", fit, dft, "eV", 0.3, "shipped GPAW set, 15 atoms, unrelaxed")
                     for element, (dft, fit) in unrelaxed_vacancies(potential).items()]


def unrelaxed_vacancies(potential) -> dict[str, tuple[float, float]]:
    """Formation energies (eV) in 16 sites of every element, (DFT of the shipped set, potential)."""
    from hea_jax.atomistic.fitting.evaluation import evaluate
    from hea_jax.electronic import shipped_dataset

    data = shipped_dataset()
    frames = dict(zip(data.names, data.frames, strict=True))
    out = {}
    for element in potential.elements:
        pair = [frames[f"vacancy15-pure-{element}"], frames[f"eos_bcc-{element}-1.0"]]
        dft, fit = [float(frame.free_energy_eV) for frame in pair], evaluate(potential, pair).energy_eV
        out[element] = (dft[0] - 7.5 * dft[1], float(fit[0] - 7.5 * fit[1]))
    return out
