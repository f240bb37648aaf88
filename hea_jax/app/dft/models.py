"""The configuration of a DFT campaign but for its groups; a unit stands in the name of every field that has one."""

from typing import Annotated, Any

from annotated_types import Len
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from hea_jax.app.config.fields import Name, Section, SomeElements, Text, refused

BUILT_IN = ("gpaw", "emt", "lennard-jones")
Points = tuple[PositiveInt, PositiveInt, PositiveInt]


class KPoints(Section):
    """The k-mesh, centred on Γ; one of the three."""

    per_cell_edge: PositiveInt | None = Field(
        default=None, description="points along the edge of one conventional cell, divided in supercells"
    )
    spacing_per_A: PositiveFloat | None = Field(default=None, description="largest distance of points (1/Å, with 2π)")
    mesh: Points | None = Field(default=None, description="the same points for every cell of the group")

    @field_validator("mesh")
    @classmethod
    def _one_rule(cls, value: tuple[int, int, int] | None, info) -> tuple[int, int, int] | None:
        given = [name for name in ("per_cell_edge", "spacing_per_A") if info.data.get(name) is not None]
        if len(given) + (value is not None) > 1:
            raise refused("more than one rule for the k-mesh", f"keep one of {', '.join([*given, 'mesh'])}")
        return value


class EngineSection(Section):
    """The calculator, its Python, and how many structures are computed at a time."""

    calculator: Text = Field(
        description="`gpaw`, `emt`, `lennard-jones`, or `module:factory` of any ASE calculator (modules beside the "
        "configuration are found)"
    )
    parameters: dict[str, Any] = Field(default={}, description="further keywords of the calculator")
    xc: Text | None = Field(default=None, description="exchange-correlation functional (gpaw)")
    cutoff_eV: PositiveFloat | None = Field(default=None, description="plane-wave cut-off (gpaw)")
    smearing_eV: PositiveFloat | None = Field(default=None, description="Fermi-Dirac width (gpaw)")
    retries: tuple[dict[str, Any], ...] = Field(
        default=(), description="changes of the keywords, tried in turn when a calculation does not converge"
    )
    python: Text | None = Field(
        default=None, description="Python that has the engine; else HEA_JAX_DFT_PYTHON, else the running one"
    )
    processes: PositiveInt = Field(default=1, description="structures computed at a time")
    threads: PositiveInt = Field(default=1, description="threads of each process")
    ranks: PositiveInt = Field(default=1, description="MPI processes per structure")
    launcher: Text = Field(default="mpiexec", description="MPI launcher, of the library the engine is linked to")
    timeout_s: PositiveFloat | None = Field(default=None, description="longest time for one structure")
    stress: bool = Field(default=True, description="whether stresses are computed")

    @field_validator("calculator")
    @classmethod
    def _known(cls, value: str) -> str:
        module, colon, factory = value.partition(":")
        if value not in BUILT_IN and not (colon and factory.isidentifier() and all(
            part.isidentifier() for part in module.split("."))):  # fmt: skip
            names = ", ".join(BUILT_IN)
            raise refused(f"no calculator is called {value!r}", f"use one of {names}, or `module:factory`")
        return value

    @field_validator("xc", "cutoff_eV", "smearing_eV")
    @classmethod
    def _of_gpaw(cls, value: Any, info) -> Any:
        calculator = info.data.get("calculator")
        if value is not None and calculator is not None and calculator != "gpaw":
            raise refused(f"is a field of gpaw, not of {calculator}", "give keywords of other engines in `parameters`")
        return value


class Known(Section):
    """Frames that were computed before: they are merged and not computed again."""

    source: Text = Field(description="packaged set `gpaw_nbmotaw`, or the path of an extxyz file (from this file)")
    provenance: dict[str, Any] = Field(
        default={}, description="how they were computed, where the frames do not say it themselves"
    )


class CampaignSettings(Section):
    """A DFT campaign."""

    name: Name = Field(description="name of the campaign and of its run folder")
    elements: SomeElements = Field(description="chemical symbols; their order is the species'")
    reference_lattice: Text = Field(default="bcc", description="lattice that the lattice constants belong to")
    lattice_constants_A: dict[str, PositiveFloat] = Field(
        default={}, description="lattice constant of each element in that lattice; others from measured volumes"
    )
    engine: EngineSection
    kpoints: KPoints | None = Field(default=None, description="k-mesh of all groups that give none of their own")
    known: Known | None = Field(default=None, description="frames that were computed before")
    shortest_distance_A: PositiveFloat = Field(default=1.2, description="atoms closer than this are an error")
    groups: Annotated[tuple[dict[str, Any], ...], Len(1)] = Field(description="what to generate, one entry per kind")

    @field_validator("lattice_constants_A")
    @classmethod
    def _of_the_elements(cls, value: dict[str, float], info) -> dict[str, float]:
        unknown = sorted(set(value) - set(info.data.get("elements", value)))
        if unknown:
            raise refused(f"{', '.join(unknown)} is not among the elements", "add it there, or leave it out here")
        return value
