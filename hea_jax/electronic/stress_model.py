"""Sign, unit and order of the stress where no strained copies tell: V·σ against a coarse model that has seen no stress.

The model (``reference``) follows energies and forces; its V·σ is right in sign and to a factor of two or three where
frames differ by more than some 0.2 GPa. Correlations are taken about the mean pressure, which a Pulay stress shifts.

Source: Nielsen & Martin 1985 (stress and forces as derivatives of one energy).
"""

import numpy as np

from hea_jax.electronic.consistency import (
    ORDER_REMEDY,
    ORDERS,
    SCALES,
    Work,
    misfit,
    order_name,
)
from hea_jax.electronic.families import host_frames
from hea_jax.electronic.findings import Finding, Severity
from hea_jax.electronic.reference import Reference

FEWEST_FRAMES, SMALLEST_EV = 6, 0.03
"""Frames, and rms of the model's V·σ per atom about its mean, from which a verdict is tried."""
SURE, AGREES, HINTS = 0.85, 0.6, 0.5
"""Correlations that refute a sign, that confirm one, and that the model of energies alone must reach beside."""
FAR, NEAR = 6.0, 1.6
"""Ratios of sizes: beyond ``FAR`` the unit is another, within ``NEAR`` of a known one it has that name."""
PERMUTED, AS_READ = 0.8, 0.4
"""Correlation of the shear components in another order, at least, and in that of the file, at most."""
UNTESTED = ("sign and unit of the stress were not tested: neither strained copies nor a model of energies and forces "
            "tell")
UNTESTED_REMEDY = "compare the stress of a stretched and of a compressed copy of one cell by hand"
_OF_STRESS = tuple(scale for scale in SCALES if scale.energy == scale.forces == 1.0 and scale.atoms_power == 0)
_SIGN = "the stress (virial) has the wrong sign"
_BOTH = "forces and stress (virial) both have the wrong sign, or the energies have"


def stress_findings(dataset, work: Work, reference: Reference) -> list[Finding]:
    """Findings about the stress of groups without strained copies; a note names those that cannot be judged.

    ``work`` (energies in eV, see ``pair_work``) tells which groups have copies, and whether displaced ones vouch for
    the forces.
    """
    groups, untested = np.array(dataset.groups), _untested(dataset, work)
    sampled = groups[reference.frames]
    vouched = bool(np.isfinite(misfit(work)[1]))
    said: dict[tuple, list[str]] = {}
    open_ones = []
    for group in untested:
        verdict = _verdict(reference, sampled == group, vouched)
        if verdict is None:
            open_ones.append(group)
        elif verdict:
            said.setdefault(verdict, []).append(group)
    pooled = _verdict(reference, np.isin(sampled, open_ones), vouched) if len(open_ones) > 1 else None
    if pooled:
        said.setdefault(pooled, []).extend(open_ones)
    elif pooled is None and open_ones:
        said[(Severity.NOTE, UNTESTED, UNTESTED_REMEDY, "")] = open_ones
    everyone = set(dataset.group_sizes())
    return [Finding(severity, _where(names, everyone), what, remedy,
                    tuple(int(n) for n in np.flatnonzero(np.isin(groups, names))), sureness)
            for (severity, what, remedy, sureness), names in said.items()]


def _where(names, everyone):
    if set(names) == everyone:
        return "whole set"
    return f"group{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _untested(dataset, work):
    """Groups with stresses, none of whose frames is in a strained pair that tells."""
    groups = np.array(dataset.groups)
    known = np.array([np.isfinite(f.stress_eV_per_A3).all() for f in host_frames(dataset)])
    tested = np.zeros(len(groups), bool)
    if np.isfinite(misfit(work)[0]):
        tested[np.concatenate([work.pairs.first[work.strained], work.pairs.second[work.strained]])] = True
    done = set(groups[tested])
    return [group for group in dataset.group_sizes() if group not in done and known[groups == group].any()]


def _verdict(reference, chosen, vouched):
    """None where nothing can be said, () where the stress is confirmed, else (severity, what, remedy, sureness)."""
    chosen = chosen & np.isfinite(reference.virial).all(axis=1)
    given, model, blind = (x[chosen] for x in (reference.virial, reference.modelled_virial, reference.blind_virial))
    if chosen.sum() < FEWEST_FRAMES or not _size(model) > SMALLEST_EV or not _size(given) > 0:
        return None
    correlation, by_energies = _correlation(given, model), _correlation(given, blind)
    ratio = _size(given) / _size(model)
    tested = (f"{chosen.sum()} frames: V·σ has correlation {correlation:.2f} with a model of energies and forces and "
              f"is {ratio:.3g} of its size")
    remedy = "correct `DatasetKeys` (sign, unit) or convert the file"
    same_size = 1 / FAR < ratio < FAR
    if not vouched and by_energies < -SURE and correlation > AGREES and same_size:
        return (Severity.ERROR, _BOTH, "turn their sign",
                f"{tested}; correlation {by_energies:.2f} with a model of energies alone")
    sure = abs(correlation) > SURE and (vouched or correlation * by_energies > HINTS * abs(correlation))
    if sure and not same_size and (vouched or 1 / NEAR**2 < _size(blind) / _size(model) < NEAR**2):
        names = _named(given, model, reference.volumes[chosen][:, None])
        if names:
            return Severity.ERROR, "; or ".join(names), remedy, tested
        return (Severity.WARNING, "the stress has another unit" + (" and the wrong sign" if correlation < 0 else ""),
                remedy, f"{tested}, and no known unit explains it")
    if sure and same_size and correlation < 0:
        return Severity.ERROR, _SIGN, remedy, tested
    order = _order(given, model) if same_size else None
    if order is not None:
        return Severity.ERROR, f"the shear components of the stress are permuted: {order_name(order)}", ORDER_REMEDY, (
            f"{chosen.sum()} frames, against a model of energies and forces")
    hints = vouched or by_energies > HINTS * AGREES
    return () if correlation > AGREES and hints and same_size else None


def _centred(virial):
    """V·σ without the mean pressure of all frames."""
    return virial - np.mean(virial[:, :3]) * (np.arange(6) < 3)


def _size(virial):
    return float(np.sqrt(np.mean(_centred(virial) ** 2)))


def _correlation(one, two):
    one, two = _centred(one), _centred(two)
    sizes = np.sqrt(np.sum(one**2) * np.sum(two**2))
    return float(np.sum(one * two) / sizes) if sizes > 0 else 0.0


def _named(given, model, volumes):
    """Hypotheses about sign and unit under which size and sign agree, the nearest size first."""
    found = []
    for scale in _OF_STRESS:
        scaled = scale.stress * given * volumes**scale.volume_power
        off = abs(np.log(_size(scaled) / _size(model)))
        if off < np.log(NEAR) and _correlation(scaled, model) > SURE:
            found.append((off, scale.name))
    return [name for _, name in sorted(found)]


def _order(given, model):
    """The order in which the shear components follow the model, where that of the file does not; else None."""
    given, model = given[:, 3:], model[:, 3:]
    sizes = np.sqrt(np.sum(given**2) * np.sum(model**2))
    if min(np.sqrt(np.mean(given**2)), np.sqrt(np.mean(model**2))) < SMALLEST_EV:
        return None
    values = np.array([np.sum(given[:, order] * model) for order in ORDERS]) / sizes
    best = int(np.argmax(values))
    return ORDERS[best] if values[0] < AS_READ and values[best] > PERMUTED else None
