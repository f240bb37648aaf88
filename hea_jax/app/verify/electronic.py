"""Reference cases of the DFT set: equations of state and elastic constants read straight off it, against published PBE
values and against its own stresses, and energy differences against the work of stress and forces.

Sources: Birch 1947 (equation of state); Lejaeghere et al. 2016 (all-electron PBE equations of state, WIEN2k); Nielsen &
Martin 1985 (stress and forces as derivatives of the energy).
"""

from functools import partial

import numpy as np

from hea_jax.app.verify.rows import Case, Check, Skip
from hea_jax.core.units import EV_PER_A3_TO_GPA
from hea_jax.electronic.consistency import pair_work
from hea_jax.electronic.dataset import shipped_dataset
from hea_jax.electronic.families import find_links, host_frames

PULAY = "thermodynamic identity p = −dE/dV on the shipped set; the tolerance covers the Pulay stress at 500 eV"
DELTA = "PBE all-electron (WIEN2k), Lejaeghere et al. 2016, Science 351, aad3000"
WIEN2K = {"Nb": (18.1368, 171.270), "Mo": (15.7862, 258.928), "Ta": (18.2856, 195.147), "W": (16.1394, 301.622)}
"""Volume per atom (Å³) and bulk modulus (GPa) of the bcc elements."""


def _equation_of_state(dataset, element):
    """Volume per atom (Å³), its polynomial of energy (eV) in V^(−2/3), and mean stress (eV/Å³), of bcc frames."""
    chosen = [f for f, g, n in zip(host_frames(dataset), dataset.groups, dataset.names, strict=True)
              if g == "eos_bcc" and f"-{element}-" in n]
    volume = np.array([abs(np.linalg.det(f.atoms.cell)) / f.atoms.number for f in chosen])
    energy = np.array([float(f.free_energy_eV) / f.atoms.number for f in chosen])
    tension = np.array([np.trace(f.stress_eV_per_A3) / 3 for f in chosen])
    # Birch–Murnaghan is a cubic in V^(−2/3).
    return volume, np.polynomial.Polynomial.fit(volume ** (-2 / 3), energy, 3), tension


def pressure_from_energies() -> list[Check]:
    """Stress of bcc elements near equilibrium against −dE/dV of a Birch–Murnaghan fit through the same frames."""
    dataset, checks = shipped_dataset(), []
    for element in dataset.elements:
        volume, energy, tension = _equation_of_state(dataset, element)
        slope = energy.deriv()(volume ** (-2 / 3)) * (-2 / 3) * volume ** (-5 / 3)
        middle = int(np.argmin(np.abs(tension)))
        checks.append(Check(f"mean stress of bcc {element} near equilibrium", float(tension[middle]) * EV_PER_A3_TO_GPA,
                            float(slope[middle]) * EV_PER_A3_TO_GPA, "GPa", 1.0, PULAY))
    return checks


def lattice_and_bulk_modulus() -> list[Check]:
    """Lattice constant and bulk modulus of the bcc elements against all-electron PBE."""
    dataset, checks = shipped_dataset(), []
    for element in dataset.elements:
        volume, energy, _ = _equation_of_state(dataset, element)
        roots = energy.deriv().roots()
        inside = [float(x.real) for x in roots if abs(x.imag) < 1e-12 * abs(x)
                  and volume.min() < abs(x) ** -1.5 < volume.max() and energy.deriv(2)(x.real) > 0]
        V = inside[0] ** -1.5
        B = V * energy.deriv(2)(inside[0]) * (2 / 3 * V ** (-5 / 3)) ** 2 * EV_PER_A3_TO_GPA
        V_published, B_published = WIEN2K[element]
        checks += [Check(f"lattice constant of bcc {element}", (2 * V) ** (1 / 3), (2 * V_published) ** (1 / 3), "Å",
                         0.01, DELTA),
                   Check(f"bulk modulus of bcc {element}", float(B), B_published, "GPa", 0.03 * B_published, DELTA)]
    return checks


def _rise(rest, frame):
    """Energy over that of ``rest`` per volume, GPa."""
    volume = abs(np.linalg.det(rest.atoms.cell))
    return float(frame.free_energy_eV - rest.free_energy_eV) / volume * EV_PER_A3_TO_GPA


def _by_name(dataset):
    return dict(zip(dataset.names, host_frames(dataset), strict=True))


def elastic_constants_two_ways() -> list[Check]:
    """C' = (C11 − C12)/2 and C44 of the bcc elements from stresses, against those from energies of the same frames.

    Energies may be subtracted on one k-mesh only, and the unstrained cells have 8 points per edge: the elastic group on
    8 points gives both constants; that of the set, on 12 points, gives C44 from its two shears.
    """
    fine, coarse = _by_name(shipped_dataset()), _by_name(shipped_dataset("gpaw_nbmotaw_kmesh8"))
    checks = []
    for element in shipped_dataset().elements:
        checks += _against_rest(element, fine[f"eos_bcc-{element}-1.0"], coarse)
        checks.append(_between_shears(element, fine))
    return checks


def _against_rest(element, rest, frames):
    """C' and C44 from strained cells and the unstrained one."""
    source = "identity σ = dE/dε / V on shipped frames; the tolerance covers their 8 k-points and finite strains"
    rise, g = partial(_rise, rest), 0.03
    two = [(sign * g, frames[f"elastic-{element}-tet-{sign * g}"]) for sign in (-1, 1)]
    # diag(g, −g/2, −g/2): the energy is 1.5 C' g² V, the stress difference 3 C' g.
    by_energy = np.mean([rise(frame) for _, frame in two]) / (1.5 * g**2)
    apart = lambda s: s[0, 0] - 0.5 * (s[1, 1] + s[2, 2])
    by_stress = np.mean([apart(f.stress_eV_per_A3) / (3 * s) for s, f in two]) * EV_PER_A3_TO_GPA
    sheared = frames[f"elastic-{element}-shear-{g}"]
    return [Check(f"C' of bcc {element}, stress against energy", float(by_stress), float(by_energy), "GPa", 5.0,
                  source),
            Check(f"C44 of bcc {element}, stress against energy",
                  float(sheared.stress_eV_per_A3[0, 1]) / g * EV_PER_A3_TO_GPA, rise(sheared) / (0.5 * g**2),
                  "GPa", 5.0, source)]


def _between_shears(element, frames):
    """C44 from two shears: (E₂ − E₁)/V = C44 (γ₂² − γ₁²)/2, and C44 (γ₁ + γ₂) = σ₁ + σ₂."""
    one, two = (frames[f"elastic12-{element}-shear-{g}"] for g in (0.03, 0.06))
    by_stress = float(one.stress_eV_per_A3[0, 1] + two.stress_eV_per_A3[0, 1]) / 0.09 * EV_PER_A3_TO_GPA
    return Check(f"C44 of bcc {element}, 12 k-points per edge, stress against energy", by_stress,
                 _rise(one, two) / (0.5 * (0.06**2 - 0.03**2)), "GPa", 2.0,
                 "identity σ = dE/dε / V between two shears of the shipped set; the tolerance covers finite strains")


def _work():
    """Pairs of the shipped set, and which of them are of one group (and so of one k-mesh)."""
    dataset = shipped_dataset()
    frames, groups = host_frames(dataset), np.array(dataset.groups)
    work = pair_work(frames, find_links(frames))
    return work, groups[work.pairs.first] == groups[work.pairs.second]


def work_of_stress() -> list[Check]:
    """Energy differences of strained pairs against the work of the stress, by the trapezoidal rule."""
    work, alike = _work()
    work = work.part(alike & work.strained & (work.pairs.strain < 0.06))
    slope = float(np.sum(work.energy * work.stress) / np.sum(work.stress**2))
    return [Check(f"dE over the work of the stress, {len(work.energy)} strained pairs", slope, 1.0, "1", 0.03,
                  "dE = V σ : dε (Nielsen & Martin 1985); tolerance for the Pulay stress at 500 eV")]


def forces_from_energies() -> list[Check]:
    """Energy differences of displaced pairs against the work of the forces, where the set holds any."""
    work, _ = _work()
    work = work.part(work.displaced & (work.pairs.displacement < 0.06))
    if not len(work.energy):
        raise Skip("displaced pairs of one cell: the shipped set holds none; the work of the stress stands in for them")
    slope = float(np.sum(work.energy * work.forces) / np.sum(work.forces**2))
    return [Check(f"dE over the work of the forces, {len(work.energy)} displaced pairs", slope, 1.0, "1", 0.03,
                  "dE = −F · du (Nielsen & Martin 1985); tolerance for the trapezoidal rule up to 0.15 Å")]


def cases() -> list[Case]:
    """The cases of this module."""
    return [Case("electronic", "pressure of the equation of state", pressure_from_energies),
            Case("electronic", "bcc elements against all-electron PBE", lattice_and_bulk_modulus),
            Case("electronic", "elastic constants from stress and energy", elastic_constants_two_ways),
            Case("electronic", "work of the stress", work_of_stress),
            Case("electronic", "forces from energies", forces_from_energies)]
