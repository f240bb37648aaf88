"""The configuration of a study, section by section; a unit stands in the name of every field that has one.

Each stage of the chain reads some sections and is computed again when one of them changes (``app.runs``).
"""

import itertools
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from hea_jax.app.config.chain_models import (
    ComponentSection,
    Dynamics,
    Fe2,
    Grains,
    Properties,
    Segregation,
    Tables,
    TipGradient,
)
from hea_jax.app.config.fields import (
    Composition,
    Fraction,
    Increasing,
    Name,
    Repeats,
    Section,
    Text,
    refused,
)

PACKAGED_SETS = ("gpaw_nbmotaw",)
"""Reference data that ship with the package."""

ATOMS_PER_CUBIC_CELL = {"bcc": 2, "fcc": 4}
MIN_ATOMS = 128
"""Fewest atoms of a random-alloy cell."""


def existing_source(value: str, info, remedy: str) -> str:
    """The name of a packaged set or the path of a file that is there; ``remedy`` is followed by the packaged sets."""
    # ``base`` is the folder of the configuration file; without it (a model made in a notebook) nothing is checked.
    base = (info.context or {}).get("base")
    if value not in PACKAGED_SETS and base is not None and not (base / Path(value).expanduser()).is_file():
        sets = ", ".join(f"`{name}`" for name in PACKAGED_SETS)
        raise refused(f"no file {value!r} in {base}", f"{remedy}: {sets}")
    return value


class DataKeys(Section):
    """Which key of an extxyz file holds what, for a file of another origin."""

    energy: Text = Field(description="key of the energy of the whole cell, in eV (a free energy if there is one)")
    forces: Text = Field(description="key of the forces, in eV/Å")
    stress: Text | None = Field(
        default=None, description="key of the stress (3x3, or six components in `voigt_order`), in `stress_unit`"
    )
    virial: Text | None = Field(default=None, description="key of the virial, in eV; instead of `stress`")
    stress_unit: Literal["eV/A^3", "GPa", "kbar"] = Field(default="eV/A^3", description="unit of `stress`")
    tension_sign: Literal[1, -1] = Field(default=1, description="1 if stretched cells have a positive stress, else -1")
    voigt_order: Literal["ase", "vasp"] = Field(
        default="ase", description="order of six components: ase xx yy zz yz xz xy, vasp xx yy zz xy yz zx"
    )
    stress_optional: bool = Field(
        default=False, description="whether frames may lack the stress or virial: theirs is not fitted"
    )
    group: Text | None = Field(default=None, description="key of the group of a structure")
    name: Text | None = Field(default=None, description="key of the unique name of a structure")

    @field_validator("virial")
    @classmethod
    def _one_stress(cls, value: str | None, info) -> str | None:
        if value is not None and info.data.get("stress") is not None:
            raise refused("both `stress` and `virial` are declared", "keep the one that the file holds")
        return value

    @field_validator("stress_optional")
    @classmethod
    def _of_a_stress(cls, value: bool, info) -> bool:
        if value and {"stress", "virial"} <= set(info.data) and not (info.data["stress"] or info.data["virial"]):
            raise refused("no stress is declared that could be optional", "declare `stress` or `virial`, or leave "
                          "`stress_optional` out")
        return value


class Data(Section):
    """Reference data: an extended-XYZ file, or a set that ships with the package."""

    source: Text = Field(description="packaged set `gpaw_nbmotaw`, or the path of an extxyz file (from this file)")
    keys: Literal["gpaw_nbmotaw", "li2020_nbmotaw"] = Field(
        default="gpaw_nbmotaw", description="which keys and units the extxyz file uses"
    )
    declared_keys: DataKeys | None = Field(
        default=None, description="the keys of any other file, one by one; goes before `keys`"
    )

    @field_validator("source")
    @classmethod
    def _exists(cls, value: str, info) -> str:
        return existing_source(value, info, "give the path of an extxyz file, or a packaged set")


class FitWeights(Section):
    """Expected errors that scale the residuals of the loss: a smaller number weighs more."""

    energy_scale_eV: PositiveFloat = Field(default=0.003, description="error of an energy per atom that counts as one")
    force_scale_eV_per_A: PositiveFloat = Field(
        default=0.15, description="error of a force component that counts as one"
    )
    stress_scale_eV: PositiveFloat = Field(
        default=0.06, description="error of stress times volume per atom that counts as one (0.1 eV is about 1 GPa)"
    )


class Fit(Section):
    """The learnable potential and its fit to the reference data."""

    cutoff_A: Annotated[float, Field(gt=2, lt=15)] = Field(default=5.5, description="cut-off radius of the potential")
    n_pair_functions: Annotated[int, Field(ge=3, le=64)] = Field(default=12, description="radial functions per pair")
    n_density_functions: Annotated[int, Field(ge=2, le=32)] = Field(
        default=6, description="radial functions per electron density"
    )
    adam_steps: NonNegativeInt = Field(default=400, description="first-order steps")
    adam_learning_rate: PositiveFloat = Field(default=2e-2, description="learning rate of the first-order steps")
    lbfgs_steps: PositiveInt = Field(default=150, description="quasi-Newton steps; Newton steps finish the fit")
    gradient_rtol: PositiveFloat = Field(
        default=1e-8, description="gradient norm, relative to its start, at which the fit has converged"
    )
    held_out_fraction: Fraction = Field(
        default=0.18, description="part that is not fitted, of every group but elastic_bcc and those of fewer than five"
    )
    weights: FitWeights = Field(default=FitWeights(), description="scales of the residuals")


class Alloy(Section):
    """Random-alloy cells: lattice constant, relaxed elastic constants, mixing enthalpies."""

    composition: Composition = Field(description="atomic fractions, e.g. `{Nb: 0.25, Mo: 0.25, Ta: 0.25, W: 0.25}`")
    lattice: Literal["bcc", "fcc"] = Field(default="bcc", description="crystal structure")
    lattice_guess_A: PositiveFloat = Field(description="first guess of the cubic lattice constant")
    repeats: Repeats = Field(default=(4, 4, 4), description="cubic cells along each axis")
    n_cells: Annotated[int, Field(ge=8)] = Field(default=8, description="independent random cells (standard errors)")
    skin_A: PositiveFloat = Field(default=0.8, description="how much closer a pair may come while a cell relaxes")
    force_tolerance_eV_per_A: PositiveFloat = Field(
        default=1e-9, description="residual force of a relaxed cell (all atoms together)"
    )
    mixing_compositions: tuple[Composition, ...] = Field(default=(), description="where to compute mixing enthalpies")
    n_mixing_cells: Annotated[int, Field(ge=2)] = Field(default=4, description="random cells per mixing composition")

    @field_validator("repeats")
    @classmethod
    def _enough_atoms(cls, value: tuple[int, int, int], info) -> tuple[int, int, int]:
        per_cell = ATOMS_PER_CUBIC_CELL.get(info.data.get("lattice", "bcc"), 2)
        atoms = per_cell * value[0] * value[1] * value[2]
        if atoms < MIN_ATOMS:
            n = 4 if per_cell == 2 else 3
            while per_cell * n**3 < MIN_ATOMS:
                n += 1
            raise refused(f"{atoms} atoms are too few (at least {MIN_ATOMS})", f"write [{n}, {n}, {n}] or more")
        return value


class Rve(Section):
    """The polycrystal RVE: the grid and the grains of the three-dimensional phase field, and its homogenisation."""

    grid: Repeats = Field(default=(48, 48, 48), description="voxels along each axis")
    n_grains: Annotated[int, Field(ge=2)] = Field(default=36, description="grains at the start of grain growth")
    voxel_nm: PositiveFloat = Field(default=2.5, description="voxel edge length")
    rtol: Annotated[float, Field(gt=0, lt=1e-2)] = Field(default=1e-8, description="relative residual of the solver")
    n_realisations: Annotated[int, Field(ge=2)] = Field(default=4, description="independent polycrystals (scatter)")


class Scales(Section):
    """The scale-separation verdict between the RVE and the segregation, over whose wavelength C_eff varies."""

    correlation_length_nm: PositiveFloat | None = Field(
        default=None, description="correlation length of the microstructure; left out, it is measured"
    )
    max_rve_to_component: Fraction = Field(default=0.1, description="largest L_RVE/L that counts as separated")
    max_correlation_to_rve: Fraction = Field(default=0.2, description="largest ξ/L_RVE that counts as separated")


class Gradient(Section):
    """The check of d(homogenised moduli)/d(potential parameters) against finite differences."""

    n_random_directions: NonNegativeInt = Field(default=5, description="random directions beside one per block")
    relative_steps: Annotated[Increasing, Len(2)] = Field(
        default=(1e-5, 1e-4), description="finite-difference steps, relative to the parameters' norm"
    )
    rtol: PositiveFloat = Field(default=1e-5, description="largest relative difference")


class Calibration(Section):
    """Calibration of the potential on a measured modulus of the polycrystal, beside the reference data."""

    target_shear_GPa: PositiveFloat = Field(description="target shear modulus of the polycrystal")
    target_uncertainty_GPa: PositiveFloat = Field(description="standard uncertainty of the target")
    source: Text = Field(description="where the target comes from (author, year, what was measured)")
    weights: Annotated[tuple[PositiveFloat, ...], Len(2)] = Field(
        default=(1.0, 10.0, 100.0, 1000.0), description="weights of the target in the loss, for the trade-off curve"
    )
    steps: PositiveInt = Field(default=12, description="most Gauss-Newton steps per weight")
    max_held_out_rise: NonNegativeFloat = Field(default=0.05, description="allowed relative rise of the held-out error")


class Config(Section):
    """A study: from reference data to a homogenised modulus and back."""

    name: Name = Field(description="name of the study and of its run folder")
    seed: NonNegativeInt = Field(default=0, description="seed of every random choice")
    data: Data
    fit: Fit = Fit()
    alloy: Alloy
    dynamics: Dynamics = Dynamics()
    properties: Properties = Properties()
    tables: Tables = Tables()
    segregation: Segregation = Segregation()
    grains: Grains = Grains()
    rve: Rve = Rve()
    scales: Scales = Scales()
    component: ComponentSection = ComponentSection()
    fe2: Fe2 = Fe2()
    gradient: Gradient = Gradient()
    tip_gradient: TipGradient = TipGradient()
    calibration: Calibration

    @field_validator("alloy")
    @classmethod
    def _pairs_are_determined(cls, value: Alloy) -> Alloy:
        given = [set(c) for c in value.mixing_compositions]
        missing = [f"{a}-{b}" for a, b in itertools.combinations(value.composition, 2)
                   if given and not any({a, b} <= c for c in given)]
        if missing:
            raise refused(f"mixing_compositions hold no {', '.join(missing)}: their interactions stay unknown",
                          "add 50:50 of each, or leave mixing_compositions out")
        return value

    @field_validator("tables")
    @classmethod
    def _tables_cover_the_alloy(cls, value: Tables, info) -> Tables:
        alloy = info.data.get("alloy")
        for name in ("self_diffusion_m2_per_s", "boundary_diffusion_m3_per_s"):
            missing = sorted(set(alloy.composition if alloy else ()) - set(getattr(value, name)))
            if missing:
                raise refused(f"{name} has no {', '.join(missing)}", "add them, and their source")
        return value

    @field_validator("component")
    @classmethod
    def _temperatures_are_known(cls, value: ComponentSection, info) -> ComponentSection:
        dynamics = info.data.get("dynamics")
        own = (value.clamp_temperature_K, value.tip_temperature_K)
        if dynamics and not all(dynamics.expansion_temperatures_K[0] <= T <= dynamics.expansion_temperatures_K[-1]
                                for T in own):
            known = f"{dynamics.expansion_temperatures_K[0]:g} to {dynamics.expansion_temperatures_K[-1]:g} K"
            raise refused(f"temperatures of the component must lie within those of the dynamics, {known}",
                          "widen dynamics.expansion_temperatures_K")
        return value

    @field_validator("fe2")
    @classmethod
    def _window_fits(cls, value: Fe2, info) -> Fe2:
        rve = info.data.get("rve")
        if rve and value.rve_voxels > min(rve.grid):
            raise refused(f"rve_voxels {value.rve_voxels} is larger than the RVE, {rve.grid}",
                          f"write {min(rve.grid)} or less, or enlarge rve.grid")
        return value
