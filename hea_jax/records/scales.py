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
    """What atoms hand to the mesoscale and the continuum, for an alloy of mean ``composition`` (element,).

    Over ``temperatures_K`` (t,): cubic ``lattice_constants_A`` (t,) and ``elastic_constants_GPa`` (t, 3), C11 C12 C44.
    ``elastic_slopes_GPa`` (3, element): how these change with composition, C(c) = C + slopes·(c − composition).
    ``interactions_eV`` (element, element), symmetric with zero diagonal: H_mix = ½ Σ_ij Ω_ij c_i c_j per atom.
    ``atoms_per_cell`` of the cubic cell: 2 bcc, 4 fcc. Self-diffusion D_i = ``diffusion_prefactors_nm2_per_s``
    exp(−``diffusion_energies_eV``/kT), (element,). Grain boundaries: energy (J/m²), and width times diffusivity δD =
    ``boundary_diffusion_nm3_per_s`` exp(−``boundary_diffusion_energy_eV``/kT), which gives their mobility.
    ``gradient_coefficient_GPa_nm2`` κ () of ½κ|∇c_i|².
    """

    composition: Float[Array, "element"]
    temperatures_K: Float[Array, "t"]
    lattice_constants_A: Float[Array, "t"]
    lattice_constants_stderr_A: Float[Array, "t"]
    elastic_constants_GPa: Float[Array, "t 3"]
    elastic_constants_stderr_GPa: Float[Array, "t 3"]
    elastic_slopes_GPa: Float[Array, "3 element"]
    elastic_slopes_stderr_GPa: Float[Array, "3 element"]
    interactions_eV: Float[Array, "element element"]
    interactions_stderr_eV: Float[Array, "element element"]
    diffusion_prefactors_nm2_per_s: Float[Array, "element"]
    diffusion_energies_eV: Float[Array, "element"]
    gradient_coefficient_GPa_nm2: Float[Array, ""]
    boundary_energy_J_per_m2: Float[Array, ""]
    boundary_diffusion_nm3_per_s: Float[Array, ""]
    boundary_diffusion_energy_eV: Float[Array, ""]
    elements: tuple[str, ...] = eqx.field(static=True)
    atoms_per_cell: int = eqx.field(static=True, default=2)


class Microstructure(eqx.Module):
    """A microstructure: grains on one grid, composition on another of its own length scale.

    ``phases`` (*grid) grain or phase index, ``rotations`` (grain, 3, 3) active rotations from crystal to sample axes
    (also of grains that have vanished), ``voxel_nm`` (d,) voxel edge lengths. Where the mesoscale computed it:
    ``composition`` (element, *cgrid) atomic fractions and their standard errors, on voxels of ``composition_voxel_nm``
    (dc,).
    """

    phases: Int[Array, "*grid"]
    rotations: Float[Array, "grain 3 3"]
    voxel_nm: Float[Array, "d"]
    composition: Float[Array, "element *cgrid"] | None = None
    composition_stderr: Float[Array, "element *cgrid"] | None = None
    composition_voxel_nm: Float[Array, "dc"] | None = None


class EffectiveProperties(eqx.Module):
    """What RVEs hand to the component: C_eff(x, T) and thermal strain (T).

    Over ``temperatures_K`` (t,): Mandel ``stiffness_GPa`` (t, 6, 6) at ``mean_composition`` (element,) with standard
    errors, and the isotropic ``thermal_strain`` (t,) from the first temperature on, with standard errors.
    ``stiffness_slopes_GPa`` (6, 6, element): C_eff(c) = C_eff + slopes·(c − mean), with errors. Composition field of
    the material as in ``Microstructure``; ``rve_length_nm`` () is the size of the volume that was averaged over.
    """

    temperatures_K: Float[Array, "t"]
    stiffness_GPa: Float[Array, "t 6 6"]
    stiffness_stderr_GPa: Float[Array, "t 6 6"]
    stiffness_slopes_GPa: Float[Array, "6 6 element"]
    stiffness_slopes_stderr_GPa: Float[Array, "6 6 element"]
    thermal_strain: Float[Array, "t"]
    thermal_strain_stderr: Float[Array, "t"]
    mean_composition: Float[Array, "element"]
    composition: Float[Array, "element *cgrid"]
    composition_stderr: Float[Array, "element *cgrid"]
    composition_voxel_nm: Float[Array, "dc"]
    rve_length_nm: Float[Array, ""]


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
