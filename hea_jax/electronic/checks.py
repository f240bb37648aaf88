"""``check_dataset``: what is wrong with a dataset, where, how sure that is, and what to do.

Each check compares the set with itself: energies with the work of stress and forces, groups with a coarse model of all,
frames with their near-duplicates, distances with atomic radii. None knows the right answer for any structure.

Sources: Nielsen & Martin 1985 (stress theorem); Cordero et al. 2008 (covalent radii); Huber 1964 (robust fits).
"""

import dataclasses

import numpy as np

from hea_jax.electronic.consistency import (
    FORCE_UNITS,
    HARTREE_EV,
    KJ_PER_MOL_EV,
    jump_findings,
    misfit,
    pair_work,
    scale_findings,
)
from hea_jax.electronic.families import find_links, host_frames, is_crystal
from hea_jax.electronic.findings import DatasetReport, Finding, Severity
from hea_jax.electronic.fingerprints import Fingerprints, fingerprints, near_duplicates
from hea_jax.electronic.reference import FAR_OFF_EV, Reference, fit_reference
from hea_jax.electronic.stress_model import UNTESTED, UNTESTED_REMEDY, stress_findings

DOUBTFUL_OFFSET_EV = 0.35
"""Energies per atom of a group this far from the coarse model (itself right to 0.3 eV/atom) deserve a warning."""
TOO_CLOSE, CLOSE = 0.45, 0.55
"""Shortest distance over the sum of covalent radii: below, the frame is wrong, or can only serve a repulsive core."""
DRIFT_EV_PER_A, LARGE_DRIFT_EV_PER_A = 5e-3, 0.1
"""Mean force per atom of a frame, which is zero in exact arithmetic."""


def check_dataset(dataset) -> DatasetReport:
    """All findings about a dataset, errors first; a second for a few hundred frames, less than a minute for 5000.

    Looks for values that are not finite, wrong signs and units of stress, forces, energies and lengths, permuted shear
    stresses, energies that jump against their neighbours or belong to another reference, forces that do not sum to
    zero, atoms too close, absurd volumes, and near-duplicates; notes name frames without stress or cell, and a stress
    that nothing could test. An energy reference that is wrong alike for every frame cannot be seen, nor extrapolated
    energies used throughout in place of free energies.
    """
    frames = host_frames(dataset)
    broken = _not_finite(dataset, frames)
    whole = [n for n in range(len(frames)) if n not in {m for f in broken for m in f.frames}]
    if not whole:
        return DatasetReport(tuple(broken), dataset.source)
    sound = dataset.select(whole)
    frames = [frames[n] for n in whole]
    prints = fingerprints(sound)
    found = _lengths(sound, frames, prints)
    if not found:
        found = [*_drift(sound, frames), *_distances(sound, frames, prints), *_duplicates(sound, frames, prints),
                 *_energies(sound, frames)]
    found = broken + [dataclasses.replace(f, frames=tuple(whole[n] for n in f.frames)) for f in found]
    rank = list(Severity)
    return DatasetReport(tuple(sorted(found, key=lambda f: rank.index(f.severity))), dataset.source)


def _energies(dataset, frames):
    """Scales first; what follows takes them for right."""
    work = pair_work(frames, find_links(frames))
    scales = scale_findings(dataset, work)
    if any(f.severity is Severity.ERROR for f in scales):
        return scales
    scales += jump_findings(dataset, work)
    reference = fit_reference(dataset, frames)
    if reference is None:
        return [*scales, _cannot_judge(), *_untested_stress(frames, work)]
    stress = stress_findings(dataset, work, reference)
    if any(f.severity is Severity.ERROR for f in stress):
        return scales + stress
    if not np.isfinite(misfit(work)[1]):
        doubtful = any(f.severity is Severity.NOTE and f.where == "whole set" for f in stress)
        unit = _force_unit(reference, doubtful_stress=doubtful)
        if unit:
            return scales + unit
    return scales + stress + _references(dataset, reference)


def _names(dataset, frames):
    shown = ", ".join(f"{n} ({dataset.names[n]})" for n in frames[:5])
    return f"{len(frames)} frame(s): {shown}" + (", …" if len(frames) > 5 else "")


def _per_group(dataset, flagged):
    """Flagged frame indices, by group."""
    groups: dict[str, list[int]] = {}
    for n in np.flatnonzero(flagged):
        groups.setdefault(dataset.groups[n], []).append(int(n))
    return groups.items()


def _not_finite(dataset, frames):
    fine = lambda *arrays: all(np.isfinite(a).all() for a in arrays)
    bad = np.array([not fine(f.free_energy_eV, f.forces_eV_per_A, f.atoms.positions, f.atoms.cell) for f in frames])
    stressless = np.array([not fine(f.stress_eV_per_A3) for f in frames])
    found = [Finding(Severity.ERROR, f"group {group}", f"values that are not finite in {_names(dataset, members)}",
                     "recompute or leave out", tuple(members)) for group, members in _per_group(dataset, bad)]
    crystal = np.array([is_crystal(f) for f in frames])
    if not crystal.all():
        members = np.flatnonzero(~crystal)
        found.append(Finding(Severity.NOTE, "whole set", f"not periodic in all directions, or without a cell: "
                             f"{_names(dataset, members)}", "they take no part in the checks of crystals; those "
                             "without a cell have no stress, and none of theirs is fitted"))
    if stressless.all():
        found.append(Finding(Severity.NOTE, "whole set", f"{len(frames)} of {len(frames)} frames have no stress",
                             "declare its key in `DatasetKeys` if the file holds it"))
    elif (stressless & crystal).any():
        members = np.flatnonzero(stressless & crystal)
        found.append(Finding(Severity.NOTE, "whole set", f"no stress in {_names(dataset, members)}",
                             "theirs is not fitted; compute it, or leave them out, if it should be"))
    return found


def _drift(dataset, frames):
    drift = np.array([np.abs(f.forces_eV_per_A.mean(axis=0)).max() for f in frames])
    out = []
    for group, members in _per_group(dataset, drift > DRIFT_EV_PER_A):
        worst = drift[members].max()
        severity = Severity.ERROR if worst > LARGE_DRIFT_EV_PER_A else Severity.WARNING
        out.append(Finding(severity, f"group {group}", f"forces do not sum to zero, up to {worst:.3f} eV/Å per atom: "
                           f"{_names(dataset, members)}", "converge the forces, or check that each row is the force of "
                           "its atom; leave out frames with constrained atoms", tuple(members)))
    return out


def _radii(dataset, frames):
    """(frame,) mean covalent radius in Å."""
    from ase.data import atomic_numbers, covalent_radii

    radius = np.array([covalent_radii[atomic_numbers[e]] for e in dataset.elements])
    return np.array([radius[f.atoms.species].mean() for f in frames])


def _lengths(dataset, frames, prints: Fingerprints):
    ratio = prints.nearest_A / (2 * _radii(dataset, frames))
    typical = float(np.median(ratio))
    if 0.6 < typical < 1.4 or not np.isfinite(typical):
        return []
    return [Finding(Severity.ERROR, "whole set", f"the shortest distances are {typical:.2f} of the sum of covalent "
                    "radii in the median, where crystals and molecules have about 0.8 to 1.1",
                    "lengths must be in Å: convert from bohr (× 0.529177) or nm (× 10)")]


def _distances(dataset, frames, prints: Fingerprints):
    mean = _radii(dataset, frames)
    ratio = prints.nearest_A / (2 * mean)
    crystal = np.array([is_crystal(f) for f in frames])
    volume = np.array([abs(np.linalg.det(f.atoms.cell)) / f.atoms.number for f in frames])
    packing = np.where(crystal, volume / (4 / 3 * np.pi * mean**3), np.nan)
    out = []
    for low, high, severity in ((0.0, TOO_CLOSE, Severity.ERROR), (TOO_CLOSE, CLOSE, Severity.WARNING)):
        for group, members in _per_group(dataset, (ratio >= low) & (ratio < high)):
            out.append(Finding(severity, f"group {group}", f"atoms as close as {prints.nearest_A[members].min():.2f} Å:"
                               f" {_names(dataset, members)}", "leave out, or keep for the repulsive core on purpose",
                               tuple(members)))
    for group, members in _per_group(dataset, (packing < 0.15) | (packing > 8)):
        out.append(Finding(Severity.WARNING, f"group {group}", f"volume per atom from {volume[members].min():.1f} to "
                           f"{volume[members].max():.1f} Å³: {_names(dataset, members)}",
                           "check the cell; isolated atoms belong in `given_offsets`", tuple(members)))
    return out


def _duplicates(dataset, frames, prints: Fingerprints):
    """Near-duplicates as a note; equal structures with different energies as a warning."""
    heaps = near_duplicates(prints)
    size = np.bincount(heaps)[heaps]
    out = []
    if (size > 1).any():
        groups = ", ".join(f"{group} {len(members)}" for group, members in _per_group(dataset, size > 1))
        out.append(Finding(Severity.NOTE, "whole set", f"{(size > 1).sum()} of {len(frames)} frames are within a "
                           f"rattle of 0.02 Å of another, up to symmetry ({groups})",
                           "split with `split_by_parent`, not at random"))
    counts = np.array([np.bincount(f.atoms.species, minlength=len(dataset.elements)) for f in frames])
    per_atom = np.array([float(f.free_energy_eV) for f in frames]) / counts.sum(axis=1)
    equal = near_duplicates(prints, within=0.05)
    for heap in np.flatnonzero(np.bincount(equal) > 1):
        members = np.flatnonzero(equal == heap)
        members = members[(counts[members] * counts[members[0]].sum() == counts[members[0]]
                           * counts[members].sum(axis=1)[:, None]).all(axis=1)]
        spread = float(np.ptp(per_atom[members]))
        if spread > 0.02:
            out.append(Finding(Severity.WARNING, f"group {dataset.groups[members[0]]}", "equal structures with "
                               f"energies {spread:.3f} eV/atom apart: {_names(dataset, members)}",
                               "keep those of one setting and reference", tuple(int(n) for n in members)))
    return out


def _cannot_judge():
    return Finding(Severity.NOTE, "whole set", "too few crystal frames to compare the energies of groups",
                   "compare the energy references of the groups by hand")


def _untested_stress(frames, work):
    """A note where there is a stress, and neither strained copies nor a model to test it."""
    if np.isfinite(misfit(work)[0]) or not any(np.isfinite(f.stress_eV_per_A3).all() for f in frames):
        return []
    return [Finding(Severity.NOTE, "whole set", UNTESTED, UNTESTED_REMEDY)]


_CONVERSIONS = (("energies per atom given as totals", lambda e, n: e * n),
                ("energies in Hartree", lambda e, n: e * HARTREE_EV),
                ("energies in Rydberg", lambda e, n: e * 0.5 * HARTREE_EV),
                ("energies in kJ/mol", lambda e, n: e * KJ_PER_MOL_EV), ("energies in meV", lambda e, n: e * 1e-3))


def _references(dataset, reference: Reference):
    """Groups, then single frames, whose energies lie off the coarse model."""
    out, wrong = [], set()
    for group, (off, sampled) in reference.group_offsets.items():
        if abs(off) < DOUBTFUL_OFFSET_EV:
            continue
        mine = np.isin(reference.frames, sampled)
        names = [name for name, convert in _CONVERSIONS
                 if abs(np.median(convert(reference.per_atom_eV, reference.atoms)[mine] - reference.expected_eV[mine]))
                 < 0.3 * abs(off)]
        wrong.add(group)
        out.append(Finding(Severity.ERROR if abs(off) > FAR_OFF_EV else Severity.WARNING, f"group {group}",
                           f"energies {off:+.2f} eV/atom off the reference of the others"
                           + (f": {names[0]}" if names else ""),
                           "bring all groups to one reference (totals, or all relative to the same atoms)",
                           tuple(int(n) for n, g in enumerate(dataset.groups) if g == group),
                           f"coarse model from forces and stress, {len(sampled)} frames, right to 0.3 eV/atom"))
    off = reference.per_atom_eV - reference.expected_eV
    groups = np.array([dataset.groups[n] for n in reference.frames])
    lone = [(int(n), float(o)) for n, o, g in zip(reference.frames, off, groups, strict=True)
            if g not in wrong and abs(o - reference.group_offsets[str(g)][0]) > 2 * FAR_OFF_EV]
    if lone:
        out.append(Finding(Severity.WARNING, "single frames", "energies far off the reference of their group, by "
                           "eV/atom: " + ", ".join(f"{n} ({dataset.names[n]}, {o:+.2f})" for n, o in lone[:5])
                           + (", …" if len(lone) > 5 else ""), "look whether they are totals, relative, or failed",
                           tuple(n for n, _ in lone), "coarse model from forces and stress"))
    return out


def _force_unit(reference: Reference, *, doubtful_stress: bool):
    """The unit of forces against a model of energies and stress, where no displaced pairs of frames tell it;
    ``doubtful_stress``: nothing vouches for the stress either."""
    slope, correlation = reference.force_slope, reference.force_correlation
    if not abs(correlation) > 0.6:
        return []
    if correlation < 0:
        return [Finding(Severity.ERROR, "whole set", "the forces have the wrong sign (gradients)"
                        + (", or the stress (virial) has" if doubtful_stress else ""), "turn their sign",
                        sureness=f"correlation {correlation:.2f} with a model of energies and stress")]
    if abs(np.log(slope)) < np.log(1.4):
        return []
    fitting = [name for name, factor in FORCE_UNITS if abs(np.log(slope * factor)) < np.log(1.35)]
    name = f"the forces are in {' or '.join(fitting)}, not in eV/Å" if fitting else "the forces have another unit"
    name += ", or the stress has another" if doubtful_stress else ""
    return [Finding(Severity.ERROR, "whole set", name, "convert the file", sureness=f"they are {slope:.3g} of what a "
                    f"model of energies and stress gives, correlation {correlation:.2f}")]
