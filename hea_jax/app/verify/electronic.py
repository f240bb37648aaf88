"""Reference cases of the DFT set: forces against energy differences cannot be had without the engine, so the cases are
what the set itself implies: an equation of state whose pressure is the derivative of its energy.

Source: Birch 1947 (equation of state).
"""

import numpy as np

from hea_jax.app.verify.rows import Case, Check
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.electronic.dataset import shipped_dataset

PULAY = "thermodynamic identity p = −dE/dV on the shipped set; the tolerance covers the Pulay stress at 500 eV"


def pressure_from_energies() -> list[Check]:
    """Stress of bcc elements near equilibrium against −dE/dV of a Birch–Murnaghan fit through the same frames."""
    dataset, checks = shipped_dataset(), []
    for element in dataset.elements:
        chosen = [f for f, g, n in zip(dataset.frames, dataset.groups, dataset.names, strict=True)
                  if g == "eos_bcc" and f"-{element}-" in n]
        volume = np.array([float(f.atoms.volume) for f in chosen])
        energy = np.array([float(f.free_energy_eV) for f in chosen])
        tension = np.array([np.trace(np.asarray(f.stress_eV_per_A3)) / 3 for f in chosen])
        # Birch–Murnaghan is a cubic in V^(−2/3).
        x = volume ** (-2 / 3)
        slope = np.polyval(np.polyder(np.polyfit(x, energy, 3)), x) * (-2 / 3) * volume ** (-5 / 3)
        middle = int(np.argmin(np.abs(tension)))
        checks.append(Check(f"mean stress of bcc {element} near equilibrium", float(tension[middle]) * EV_PER_A3_TO_GPA,
                            float(slope[middle]) * EV_PER_A3_TO_GPA, "GPa", 1.0, PULAY))
    return checks


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("electronic", "pressure of the equation of state", pressure_from_energies)]
