"""The records that one scale hands to the next: arrays with units in their names, nothing else.

Provenance stands beside a record (``Labelled``), never inside: records enter ``jit``, labels do not.
Standard errors are fields of their own (``*_stderr_*``), NaN where none is known.
"""

import dataclasses
from typing import Any, Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from hea_jax.records.atoms import Atoms

R = TypeVar("R")


class ReferenceData(eqx.Module):
    """One reference (DFT) structure with its answers.

    ``free_energy_eV`` () goes with ``forces_eV_per_A`` (atom, 3); ``stress_eV_per_A3`` (3, 3) positive in tension.
    """

    atoms: Atoms
    free_energy_eV: Float[Array, ""]
    forces_eV_per_A: Float[Array, "atom 3"]
    stress_eV_per_A3: Float[Array, "3 3"]


class AtomisticProperties(eqx.Module):
    """What atoms hand to the mesoscale and the continuum, at one composition.

    ``composition`` (element,) atomic fractions; ``lattice_constant_A`` (); ``elastic_constants_GPa`` (3,) the cubic
    C11, C12, C44; ``stiffness_GPa`` (6, 6) Mandel mean over cells before projection;
    ``mixing_compositions`` (n, element) and ``mixing_enthalpies_eV`` (n,) per atom.
    """

    composition: Float[Array, "element"]
    lattice_constant_A: Float[Array, ""]
    lattice_constant_stderr_A: Float[Array, ""]
    elastic_constants_GPa: Float[Array, "3"]
    elastic_constants_stderr_GPa: Float[Array, "3"]
    stiffness_GPa: Float[Array, "6 6"]
    mixing_compositions: Float[Array, "n element"]
    mixing_enthalpies_eV: Float[Array, "n"]
    mixing_enthalpies_stderr_eV: Float[Array, "n"]


class Microstructure(eqx.Module):
    """A voxel microstructure: ``phases`` (*grid) grain or phase index, ``rotations`` (grain, 3, 3) active rotations
    from crystal to sample axes, ``voxel_nm`` (d,) voxel edge lengths."""

    phases: Int[Array, "*grid"]
    rotations: Float[Array, "grain 3 3"]
    voxel_nm: Float[Array, "d"]


class EffectiveProperties(eqx.Module):
    """What an RVE hands to the component: ``stiffness_GPa`` (6, 6) Mandel C_eff and its standard error,
    isotropic moduli ``bulk_GPa``, ``shear_GPa`` (), and the relative anisotropy ‖C − C_iso‖/‖C‖ ()."""

    stiffness_GPa: Float[Array, "6 6"]
    stiffness_stderr_GPa: Float[Array, "6 6"]
    bulk_GPa: Float[Array, ""]
    shear_GPa: Float[Array, ""]
    anisotropy: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a record comes from: what made it, from what, with which settings (plain data, serialisable)."""

    made_by: str
    inputs: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Labelled(Generic[R]):
    """A record with its provenance, for the runner and for files; stages differentiate the record alone."""

    record: R
    provenance: Provenance
