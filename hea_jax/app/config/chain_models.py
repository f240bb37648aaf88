"""Configuration sections of the scales above the alloy cell: dynamics, tables, mesoscale, component, FE².

A unit stands in the name of every field that has one.
"""

from typing import Annotated

from annotated_types import Len
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from hea_jax.app.config.fields import Fraction, Increasing, Repeats, Section, Text, refused

Square = tuple[PositiveInt, PositiveInt]
COARSEN = 4
"""How much coarser the grid is on which standard errors of the composition are computed."""


class Dynamics(Section):
    """Molecular dynamics: one long NVT trajectory, and thermal expansion from NVT at several volumes."""

    repeats: Repeats = Field(
        default=(10, 10, 10), description="cubic cells along each axis (10x10x10 bcc: 2,000 atoms)"
    )
    temperature_K: PositiveFloat = Field(default=300.0, description="temperature of the trajectory")
    dt_fs: PositiveFloat = Field(default=4.0, description="time step")
    equilibration_ps: PositiveFloat = Field(default=2.0, description="time before anything is measured")
    duration_ps: PositiveFloat = Field(default=10.0, description="time that is measured")
    friction_per_ps: PositiveFloat = Field(default=2.0, description="friction of the Langevin thermostat")
    skin_A: PositiveFloat = Field(default=0.8, description="skin of the neighbour table at the start")
    expansion_temperatures_K: Annotated[Increasing, Len(2)] = Field(
        default=(300.0, 900.0, 1500.0), description="temperatures at which lattice and elastic constants are known"
    )
    expansion_strains: Annotated[tuple[float, ...], Len(2)] = Field(
        default=(0.0, 0.006, 0.012), description="linear strains of the NVT runs; they must enclose zero pressure"
    )
    expansion_repeats: Repeats = Field(default=(6, 6, 6), description="cubic cells along each axis of these runs")
    expansion_equilibration_ps: PositiveFloat = Field(default=1.0, description="time before pressures are measured")
    expansion_duration_ps: PositiveFloat = Field(default=4.0, description="time over which pressures are measured")


class Arrhenius(Section):
    """A thermally activated coefficient: prefactor times exp(−Q/RT)."""

    prefactor: PositiveFloat = Field(description="prefactor, in the unit that the table states")
    energy_kJ_per_mol: PositiveFloat = Field(description="activation energy Q")


FROST_ASHBY_1982 = {
    "Nb": ((1.1e-4, 401.0), (5.0e-14, 263.0)),
    "Mo": ((5.0e-5, 405.0), (5.5e-14, 263.0)),
    "Ta": ((1.2e-5, 413.0), (5.7e-14, 280.0)),
    "W": ((5.6e-4, 585.0), (3.3e-13, 385.0)),
}
"""Self-diffusion (m²/s, kJ/mol) and boundary width times boundary diffusivity (m³/s, kJ/mol) of bcc metals: Frost &
Ashby 1982, Deformation-Mechanism Maps, Table 5.1."""


def _tabulated(column: int) -> dict[str, Arrhenius]:
    """One column of the table."""
    return {
        element: Arrhenius(prefactor=row[column][0], energy_kJ_per_mol=row[column][1])
        for element, row in FROST_ASHBY_1982.items()
    }


class Tables(Section):
    """What is taken from the literature until atoms give it: mobilities, boundaries, gradient coefficient."""

    self_diffusion_m2_per_s: dict[str, Arrhenius] = Field(
        default=_tabulated(0), description="self-diffusivity of each element"
    )
    boundary_diffusion_m3_per_s: dict[str, Arrhenius] = Field(
        default=_tabulated(1), description="grain-boundary width times diffusivity of each element"
    )
    boundary_energy_J_per_m2: PositiveFloat = Field(default=0.98, description="energy of general grain boundaries")
    gradient_coefficient_GPa_nm2: PositiveFloat = Field(default=0.1, description="κ of ½κ|∇c|²")
    source: Text = Field(
        default="self-diffusion and boundary diffusion of the elements: Frost & Ashby 1982, Table 5.1; boundary energy:"
        " a third (Murr 1975) of the mean surface energy of Nb, Mo, Ta, W (Tyson & Miller 1977); κ: that of a "
        "regular solution (Cahn & Hilliard 1958)",
        description="where these numbers come from (author, year, table)",
    )


class Properties(Section):
    """Elastic constants over composition and temperature."""

    composition_step: Fraction = Field(default=0.1, description="enrichment of the cells of other compositions")
    n_cells_per_element: Annotated[int, Field(ge=2)] = Field(default=2, description="cells enriched in each element")


class Segregation(Section):
    """As-cast segregation and its homogenisation anneal, on a grid of the dendrites' scale."""

    grid: Square = Field(default=(128, 128), description="voxels along each axis")
    voxel_nm: PositiveFloat = Field(default=390.625, description="voxel edge length (128 of them: 50 µm)")
    wavelength_nm: PositiveFloat = Field(default=20_000.0, description="dendrite arm spacing")
    amplitude: Fraction = Field(default=0.1, description="largest deviation of a fraction from its mean, as cast")
    temperature_K: PositiveFloat = Field(default=2073.0, description="temperature of the anneal")
    time_s: PositiveFloat = Field(default=14_400.0, description="time of the anneal")
    tolerance: PositiveFloat = Field(default=1e-6, description="error of one time step (atomic fraction)")

    @field_validator("grid")
    @classmethod
    def _coarsens(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(n % COARSEN for n in value):
            up = [COARSEN * -(-n // COARSEN) for n in value]
            raise refused(
                f"voxels must be multiples of {COARSEN} (errors are computed on a coarser grid)", f"write {up}"
            )
        return value


class Grains(Section):
    """Grain growth on the grid of the RVE (section `rve`), and in the plane."""

    temperature_K: PositiveFloat = Field(default=1200.0, description="temperature of the anneal")
    time_s: PositiveFloat = Field(default=0.05, description="time of the anneal")
    interface_points: Annotated[float, Field(ge=3)] = Field(
        default=5.0, description="diffuse boundary width over the voxel (5% to 95%: 1.5 times as many)"
    )
    plane_grid: Square = Field(default=(128, 128), description="voxels of the run in the plane")
    n_plane_grains: Annotated[int, Field(ge=2)] = Field(default=40, description="grains of the run in the plane")


class ComponentSection(Section):
    """The component: Cook's tapered panel, clamped at the left and sheared at the right, of the homogenised alloy."""

    scale_nm: PositiveFloat = Field(default=1000.0, description="length unit of the panel (48 of them wide)")
    elements: Square = Field(default=(16, 16), description="quadratic elements along each side")
    refinements: Annotated[int, Field(ge=1, le=4)] = Field(
        default=2, description="how often the mesh is halved for the converged answer"
    )
    shear_traction_GPa: PositiveFloat = Field(default=0.2, description="traction on the right side")
    clamp_temperature_K: PositiveFloat = Field(default=300.0, description="temperature of the clamped side")
    tip_temperature_K: PositiveFloat = Field(default=900.0, description="temperature of the loaded side")
    load_steps: PositiveInt = Field(default=5, description="points of the load-displacement curve")


class Fe2(Section):
    """FE²: the same panel at finite strain, an RVE in every quadrature point."""

    elements: Square = Field(default=(4, 4), description="elements along each side")
    rve_voxels: Annotated[int, Field(ge=4)] = Field(default=16, description="voxels along each edge of the RVE")
    shear_traction_GPa: PositiveFloat = Field(default=10.0, description="traction on the right side")
    load_steps: PositiveInt = Field(default=2, description="load steps")
    rtol: Annotated[float, Field(gt=0, lt=1e-4)] = Field(default=1e-10, description="relative residual of Newton")


class TipGradient(Section):
    """The check of d(tip displacement)/d(potential parameters) against finite differences."""

    n_random_directions: Annotated[int, Field(ge=1)] = Field(default=1, description="random directions")
    relative_steps: Annotated[Increasing, Len(2)] = Field(
        default=(1e-5, 1e-4), description="finite-difference steps, relative to the parameters' norm"
    )
    rtol: PositiveFloat = Field(default=1e-5, description="largest relative difference")


__all__ = [
    "Arrhenius",
    "ComponentSection",
    "Dynamics",
    "Fe2",
    "Grains",
    "Properties",
    "Segregation",
    "Tables",
    "TipGradient",
]
