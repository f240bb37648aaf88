"""A LAMMPS input that runs as it is: structure file, pair style, a static evaluation, a short run."""

import subprocess
from pathlib import Path

import numpy as np

from hea_jax.atomistic.lammps import LammpsError, _message, _run, lammps_available, restricted
from hea_jax.core.masses import ATOMIC_MASS_AMU
from hea_jax.records import Atoms

STRUCTURE, INPUT = "structure.data", "in.lammps"


def structure_text(atoms: Atoms) -> str:
    """A LAMMPS data file of a periodic cell (Å), with masses (amu)."""
    x, cell, _ = restricted(np.asarray(atoms.positions, float), np.asarray(atoms.cell, float), atoms.pbc)
    lines = ["random alloy cell", "", f"{len(x)} atoms", f"{len(atoms.elements)} atom types", ""]
    lines += [f"0.0 {cell[m, m]:.17g} {axis}lo {axis}hi" for m, axis in enumerate("xyz")]
    lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Masses", ""]
    lines += [f"{m + 1} {ATOMIC_MASS_AMU[e]} # {e}" for m, e in enumerate(atoms.elements)]
    lines += ["", "Atoms # atomic", ""]
    species = np.asarray(atoms.species)
    lines += [f"{m + 1} {species[m] + 1} {r[0]:.17g} {r[1]:.17g} {r[2]:.17g}" for m, r in enumerate(x)]
    return "\n".join(lines) + "\n"


def input_text(pair_lines: tuple[str, ...], offsets: str, *, steps: int = 100, temperature_K: float = 300.0) -> str:
    """The input script in metal units: energy, forces and pressure of the structure, then a short run at a temperature
    (K)."""
    pair = "\n".join(pair_lines)
    return f"""# Written by hea-jax fit. Run it here: lmp -in {INPUT}
# Energies are relative; for those of the reference data add per atom (eV): {offsets}
units           metal
atom_style      atomic
boundary        p p p
box             tilt large
read_data       {STRUCTURE}

{pair}

thermo_style    custom step temp pe etotal press vol
thermo_modify   norm no format float %.15g
thermo          50

# The structure as it is.
run             0

# A short run, to be replaced by yours.
velocity        all create {temperature_K:g} 4928459 mom yes rot no dist gaussian
fix             thermostat all nvt temp {temperature_K:g} {temperature_K:g} 0.1
timestep        0.002
run             {steps}
"""


def run_input(folder: Path, timeout_s: float = 300.0) -> tuple[float, float]:
    """Run ``in.lammps`` in its folder: (energy of the structure, energy after the run) in eV.

    Raises ``LammpsError`` with LAMMPS' message if it is absent, fails or does not finish in ``timeout_s`` (s).
    """
    available, reason = lammps_available()
    if not available:
        raise LammpsError(reason)
    try:
        done = _run(["-in", INPUT, "-log", "none", "-nocite"], folder, timeout_s)
    except subprocess.TimeoutExpired:
        raise LammpsError(f"{INPUT} did not finish in {timeout_s:g} s") from None
    energies = _energies(done.stdout)
    if done.returncode != 0 or len(energies) < 2:
        raise LammpsError(_message(done))
    return energies[0], energies[-1]


def _energies(stdout: str) -> list[float]:
    """Potential energies (eV) of all rows of thermodynamic output."""
    out, reading = [], False
    for line in stdout.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            reading = True
        elif words[:1] == ["Loop"]:
            reading = False
        elif reading and len(words) >= 3:
            try:
                out.append(float(words[2]))
            except ValueError:
                reading = False
    return out
