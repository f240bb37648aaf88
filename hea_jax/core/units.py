"""Physical constants and unit conversions, from one CODATA adjustment (2022).

Atomistic quantities are in eV, Å, amu, fs, K; continuum and mesoscale quantities in GPa, nm, s
(so an energy per area is GPa·nm = J/m²). A converted quantity is ``value * FACTOR`` with the
factor named ``FROM_TO_TO``.

Source: CODATA 2022 (Mohr, Newell, Taylor & Tiesinga 2024); e, k_B and N_A are exact in the SI.
"""

ELEMENTARY_CHARGE_C = 1.602176634e-19
BOLTZMANN_J_PER_K = 1.380649e-23
PLANCK_J_S = 6.62607015e-34
ATOMIC_MASS_KG = 1.66053906892e-27

BOLTZMANN_EV_PER_K = BOLTZMANN_J_PER_K / ELEMENTARY_CHARGE_C
"""k_B in eV/K."""

EV_PER_A3_TO_GPA = ELEMENTARY_CHARGE_C * 1e30 * 1e-9
"""Stress or energy density: eV/Å³ to GPa (160.2176634)."""

GPA_TO_EV_PER_A3 = 1.0 / EV_PER_A3_TO_GPA
"""Stress or energy density: GPa to eV/Å³."""

EV_PER_A2_TO_J_PER_M2 = ELEMENTARY_CHARGE_C * 1e20
"""Energy per area: eV/Å² to J/m² (= GPa·nm)."""

BAR_TO_GPA = 1e-4
"""Pressure: bar (LAMMPS ``metal`` units) to GPa."""

A_TO_NM = 0.1
"""Length: Å to nm."""

AMU_A2_PER_FS2_TO_EV = ATOMIC_MASS_KG * 1e10 / ELEMENTARY_CHARGE_C
"""Kinetic energy: amu·Å²/fs² to eV (103.6427)."""

EV_TO_MEV = 1e3
"""Energy: eV to meV."""
