"""The kinds of groups of a campaign; each is a configuration section that builds its structures."""

import abc
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from hea_jax.app.config.fields import Composition, Name, Repeats, Section, Text, refused
from hea_jax.app.dft.models import KPoints
from hea_jax.structures import crystals, defect_cells, random_cells
from hea_jax.structures.crystals import Crystal
from hea_jax.structures.ordered import PROTOTYPES, Prototype, lattice_constant, ordered

STRAINS = {"tet": crystals.tetragonal, "shear": crystals.shear, "uniaxial": crystals.uniaxial,
           "none": lambda amount: np.zeros((3, 3))}  # fmt: skip
"""Strain matrices by the word that stands for them in names."""

Amounts = tuple[float, ...]


def _from_to(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise refused("a range starts below its end", f"write [{value[1]}, {value[0]}]")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_from_to)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_from_to)]


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The elements of a campaign, and their lattice constants (Å) in its reference lattice."""

    elements: tuple[str, ...]
    lattice_constants_A: dict[str, float]
    reference: Prototype

    def constants(self, prototype: Prototype, c_over_a: float | None = None) -> dict[str, float]:
        """Lattice constants (Å) of another prototype at equal volume per atom."""
        same = prototype.volume_per_atom(c_over_a) == self.reference.volume_per_atom()
        return {s: a if same else lattice_constant(prototype, a**3 * self.reference.volume_per_atom(), c_over_a)
                for s, a in self.lattice_constants_A.items()}


@dataclasses.dataclass(frozen=True)
class Built:
    """A structure of a group: name, crystal, conventional cells along each cell vector, whether it has a vacuum."""

    name: str
    crystal: Crystal
    repeats: tuple[int, int, int] | None = None
    vacuum: bool = False
    mesh: tuple[int, int, int] | None = None


class Group(Section):
    """What every kind of group has."""

    kind: str = Field(description="what to generate")
    group: Name = Field(description="label of the group in the data set")
    name: Text = Field(description="pattern of the names; they must tell all structures apart")
    elements: Annotated[tuple[str, ...], Len(1)] | None = Field(
        default=None, description="elements of this group; all of the campaign if left out"
    )
    kpoints: KPoints | None = Field(default=None, description="k-mesh of this group")
    priority: int = Field(default=0, description="lower ones are computed first, equal ones in turn")
    parameters: dict[str, Any] = Field(
        default={}, description="keywords of the calculator for this group; they go before those of the engine"
    )

    @abc.abstractmethod
    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        """The structures of the group; raises ``ValueError`` for what cannot be built."""

    def chosen(self, alphabet: Alphabet) -> tuple[str, ...]:
        """The elements of the group."""
        return self.elements or alphabet.elements

    def named(self, **values: Any) -> str:
        """The name of a structure from the pattern; raises ``ValueError`` naming the fields there are."""
        try:
            return self.name.format(**values)
        except (KeyError, IndexError, ValueError) as error:
            fields = ", ".join(f"{{{field}}}" for field in values)
            raise ValueError(f"pattern {self.name!r} does not work ({error}): it may hold {fields}") from None


def _prototype(value: str) -> str:
    if value not in PROTOTYPES:
        raise refused(f"no lattice is called {value!r}", f"use one of {', '.join(PROTOTYPES)}")
    return value


class _Lattice(Group):
    """Lattices at several volumes; the lattice constant is relative to equal volume, or to the reference lattice."""

    lattice: Text = Field(default="bcc", description="lattice or ordered compound, by name")
    c_over_a: PositiveFloat | None = Field(default=None, description="axial ratio; ideal if left out")
    factors: Annotated[tuple[PositiveFloat, ...], Len(1)] = Field(
        default=(1.0,), description="lattice constants, relative to that of equal volume per atom"
    )
    a_over_reference: Annotated[tuple[PositiveFloat, ...], Len(1)] | None = Field(
        default=None, description="lattice constants, relative to those in the reference lattice, instead of `factors`"
    )

    @field_validator("lattice")
    @classmethod
    def _exists(cls, value: str) -> str:
        return _prototype(value)

    @field_validator("a_over_reference")
    @classmethod
    def _instead(cls, value, info):
        if value is not None and "factors" in info.data and info.data["factors"] != (1.0,):
            raise refused("`factors` are given too", "keep one of `factors` and `a_over_reference`")
        return value

    def cells(self, alphabet: Alphabet, occupations) -> Iterator[tuple[tuple[str, ...], float, Crystal]]:
        """Occupation, factor and cell of every wanted combination."""
        prototype = PROTOTYPES[self.lattice]
        constants = alphabet.lattice_constants_A
        if self.a_over_reference is None:
            constants = alphabet.constants(prototype, self.c_over_a)
        for symbols in occupations:
            # Each sublattice counts as often as it has sites.
            sites = [symbols[i] for i in prototype.sublattices]
            a = random_cells.vegard(sites, constants)
            for factor in self.a_over_reference or self.factors:
                yield symbols, factor, ordered(prototype, symbols, a * factor, c_over_a=self.c_over_a)

    def pure(self, alphabet: Alphabet) -> list[tuple[str, ...]]:
        """Every element alone on all sublattices."""
        return [(s,) * PROTOTYPES[self.lattice].number_of_sublattices for s in self.chosen(alphabet)]


class EquationOfState(_Lattice):
    """Elements on a lattice at several volumes. Names may hold {symbols}, {factor}, {lattice}."""

    kind: Literal["eos"]

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        for symbols, factor, cell in self.cells(alphabet, self.pure(alphabet)):
            name = self.named(symbols=symbols[0], factor=factor, lattice=self.lattice)
            yield Built(name, cell, (1, 1, 1))


class Ordered(_Lattice):
    """Ordered compounds at several volumes. Names may hold {symbols}, {factor}, {lattice}."""

    kind: Literal["ordered"]
    occupations: Annotated[tuple[tuple[str, ...], ...], Len(1)] | None = Field(
        default=None, description="symbols per sublattice; all combinations of different elements if left out"
    )
    both_ways: bool = Field(default=False, description="whether A-B and B-A are different compounds (not in B1, B2)")

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        number = PROTOTYPES[self.lattice].number_of_sublattices
        choose = itertools.permutations if self.both_ways else itertools.combinations
        occupations = self.occupations or list(choose(self.chosen(alphabet), number))
        unknown = sorted({s for o in occupations for s in o} - set(alphabet.elements))
        if unknown:
            raise ValueError(f"occupations hold {', '.join(unknown)}: add it to the elements of the campaign")
        for symbols, factor, cell in self.cells(alphabet, occupations):
            name = self.named(symbols="".join(symbols), factor=factor, lattice=self.lattice)
            yield Built(name, cell, (1, 1, 1))


class Strains(_Lattice):
    """Strained elements: tetragonal, shear, uniaxial. Names may hold {symbols}, {strain}, {amount}, {factor}."""

    kind: Literal["strain"]
    tet: Amounts = Field(default=(), description="g of the strains diag(g, -g/2, -g/2)")
    shear: Amounts = Field(default=(), description="engineering shears in x-y")
    uniaxial: Amounts = Field(default=(), description="g of the strains diag(g, 0, 0)")
    none: Amounts = Field(default=(), description="write [0.0] to have the unstrained cell too")

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        for item in self.strained(alphabet):
            yield Built(self.named(**item[0]), item[1], (1, 1, 1))

    def strained(self, alphabet: Alphabet) -> Iterator[tuple[dict[str, Any], Crystal]]:
        """What goes into the name, and the cell."""
        wanted = [(word, amount) for word in STRAINS for amount in getattr(self, word)]
        if not wanted:
            raise ValueError("no strains: give `tet`, `shear`, `uniaxial` or `none`")
        for symbols, factor, cell in self.cells(alphabet, self.pure(alphabet)):
            for word, amount in wanted:
                values = {"symbols": symbols[0], "strain": word, "amount": amount, "factor": factor}
                yield values, crystals.strained(cell, STRAINS[word](amount))


class KMeshStudy(Strains):
    """The same strained elements on several k-meshes. Names may hold {mesh} besides those of strains."""

    kind: Literal["kmesh"]  # type: ignore[assignment]
    meshes: Annotated[tuple[PositiveInt, ...], Len(1)] = Field(description="points along each cell edge")

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        for mesh in self.meshes:
            for values, cell in self.strained(alphabet):
                yield Built(self.named(mesh=mesh, **values), cell, (1, 1, 1), mesh=(mesh, mesh, mesh))


class Random(Group):
    """Random cells that follow from their names: alloys, rattled elements, vacancies. Names may hold {number}."""

    kind: Literal["random"]
    lattice: Text = Field(default="bcc", description="lattice")
    repeats: Repeats = Field(description="conventional cells along each axis")
    count: PositiveInt = Field(description="number of structures")
    first: NonNegativeInt = Field(default=0, description="number of the first one")
    step: PositiveInt = Field(default=1, description="step of the numbers")
    composition: Composition | None = Field(
        default=None, description="exact atomic fractions; drawn at random if left out"
    )
    concentration: PositiveFloat = Field(
        default=1.0, description="Dirichlet parameter of random fractions: 1 is uniform, less favours few elements"
    )
    scale: PositiveRange | None = Field(default=None, description="range of the lattice constant, relative to Vegard's")
    strain: NonNegativeFloat = Field(default=0.0, description="standard deviation of strain components")
    vacancies: NonNegativeInt = Field(default=0, description="vacancies at random sites")
    displacements_A: tuple[PositiveFloat, ...] = Field(
        default=(), description="standard deviations of displacements, one of which is drawn per structure"
    )

    @field_validator("lattice")
    @classmethod
    def _exists(cls, value: str) -> str:
        return _prototype(value)

    def numbers(self) -> range:
        """Numbers of the structures."""
        return range(self.first, self.first + self.count * self.step, self.step)

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        prototype = PROTOTYPES[self.lattice]
        composition = drawn_composition(self.composition, self.elements, alphabet, self.concentration)
        constants = alphabet.constants(prototype)
        for number in self.numbers():
            name = self.named(number=number)
            cell = random_cells.random_cell(
                name, composition, prototype, self.repeats, constants, scale=self.scale, strain=self.strain,
                vacancies=self.vacancies, amplitudes_A=self.displacements_A,
            )  # fmt: skip
            yield Built(name, cell, self.repeats)


def drawn_composition(fractions, elements, alphabet: Alphabet, concentration: float = 1.0) -> random_cells.Composition:
    """Exact fractions in the order of the campaign's elements, or fractions to be drawn."""
    if fractions is None:
        return random_cells.Composition(elements or alphabet.elements, None, concentration)
    if elements is not None:
        raise ValueError("`composition` says which elements there are: leave `elements` out")
    unknown = sorted(set(fractions) - set(alphabet.elements))
    if unknown:
        raise ValueError(f"the composition holds {', '.join(unknown)}: add it to the elements of the campaign")
    present = tuple(s for s in alphabet.elements if s in fractions)
    return random_cells.Composition(present, tuple(fractions[s] for s in present))


class Pattern(Group):
    """Supercells with elements in a pattern of sites: solutes, ordered alloys. Names may hold {symbols}, {factor},
    {displacement}."""

    kind: Literal["pattern"]
    lattice: Text = Field(default="bcc", description="lattice")
    repeats: Repeats = Field(description="cells of the lattice along each axis")
    pattern: Text = Field(
        description="a letter per site, the last axis fastest, e.g. ABBBBBBB: a solute in eight atoms; every way to "
        "put different elements for the letters is a structure"
    )
    factors: Annotated[tuple[PositiveFloat, ...], Len(1)] = Field(
        default=(1.0,), description="lattice constants, relative to Vegard's"
    )
    displacements_A: Annotated[tuple[NonNegativeFloat, ...], Len(1)] = Field(
        default=(0.0,), description="displacements of the first atom along z"
    )

    @field_validator("lattice")
    @classmethod
    def _exists(cls, value: str) -> str:
        return _prototype(value)

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        prototype = PROTOTYPES[self.lattice]
        letters = sorted(set(self.pattern))
        sites = len(prototype.basis) * int(np.prod(self.repeats))
        if len(self.pattern) != sites:
            raise ValueError(f"the pattern has {len(self.pattern)} letters for {sites} sites: write one per site")
        if len(letters) > len(self.chosen(alphabet)):
            raise ValueError(f"{len(letters)} letters for {len(self.chosen(alphabet))} elements: use fewer letters")
        constants = alphabet.constants(prototype)
        for elements in itertools.permutations(self.chosen(alphabet), len(letters)):
            symbols = [elements[letters.index(letter)] for letter in self.pattern]
            a = random_cells.vegard(symbols, constants)
            for factor, move in itertools.product(self.factors, self.displacements_A):
                whole = crystals.repeated(ordered(prototype, ("X",), a * factor), self.repeats)
                shift = np.zeros((sites, 3))
                shift[0, 2] = move
                cell = crystals.displaced(crystals.relabelled(whole, symbols), shift)
                name = self.named(symbols="".join(elements), factor=factor, displacement=move)
                yield Built(name, cell, self.repeats)


class Vacancy(Group):
    """Elements with one vacancy, unrelaxed. Names may hold {symbols}, {site}."""

    kind: Literal["vacancy"]
    lattice: Text = Field(default="bcc", description="lattice")
    repeats: Repeats = Field(description="conventional cells along each axis")
    site: NonNegativeInt = Field(default=0, description="index of the missing atom")

    @field_validator("lattice")
    @classmethod
    def _exists(cls, value: str) -> str:
        return _prototype(value)

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        prototype = PROTOTYPES[self.lattice]
        constants = alphabet.constants(prototype)
        for s in self.chosen(alphabet):
            whole = ordered(prototype, (s,) * prototype.number_of_sublattices, constants[s])
            cell = crystals.without(crystals.repeated(whole, self.repeats), self.site)
            yield Built(self.named(symbols=s, site=self.site), cell, self.repeats)


class _Layers(Group):
    """Stacks of lattice planes."""

    lattice: Literal["bcc", "fcc"] = Field(default="bcc", description="lattice")
    plane: Text = Field(description="Miller indices: bcc 100, 110, 111, 112; fcc 100, 110, 111")
    layers: PositiveInt = Field(description="number of layers, one atom each")

    @field_validator("plane")
    @classmethod
    def _known(cls, value: str, info) -> str:
        planes = defect_cells.PLANES[info.data.get("lattice", "bcc")]
        if value not in planes:
            raise refused(f"no plane {value!r} of this lattice", f"use one of {', '.join(planes)}, in quotes")
        return value

    def geometry(self, alphabet: Alphabet) -> tuple[defect_cells.Plane, dict[str, float]]:
        """The plane, and the elements' lattice constants (Å)."""
        return defect_cells.plane_of(self.lattice, self.plane), alphabet.constants(PROTOTYPES[self.lattice])


class Surface(_Layers):
    """Slabs of elements with two unrelaxed surfaces. Names may hold {symbols}, {plane}, {layers}."""

    kind: Literal["surface"]
    vacuum_A: PositiveFloat = Field(description="thickness of the vacuum")

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        plane, constants = self.geometry(alphabet)
        for s in self.chosen(alphabet):
            cell = defect_cells.slab(plane, (s,) * self.layers, constants[s], self.vacuum_A)
            name = self.named(symbols=s, plane=self.plane, layers=self.layers)
            yield Built(name, cell, vacuum=True)


class Fault(_Layers):
    """Stacking faults in elements at given displacements. Names may hold {symbols}, {plane}, {u}, {layers}."""

    kind: Literal["fault"]
    u: Annotated[tuple[float, ...], Len(1)] = Field(
        description="displacements over the slip vector: a/2<111> in bcc, a/6<112> in fcc"
    )

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        plane, constants = self.geometry(alphabet)
        for u, s in itertools.product(self.u, self.chosen(alphabet)):
            cell = defect_cells.stacking_fault(plane, (s,) * self.layers, constants[s], u)
            yield Built(self.named(symbols=s, plane=self.plane, u=u, layers=self.layers), cell)


class RandomFault(_Layers):
    """Random alloys with a stacking fault at a random displacement. Names may hold {number}."""

    kind: Literal["random_fault"]
    count: PositiveInt = Field(description="number of structures")
    first: NonNegativeInt = Field(default=0, description="number of the first one")
    composition: Composition | None = Field(default=None, description="exact atomic fractions; drawn if left out")
    u: Range = Field(description="range of the displacement over the slip vector")
    displacements_A: tuple[PositiveFloat, ...] = Field(
        default=(), description="standard deviations of displacements, one of which is drawn per structure"
    )

    def built(self, alphabet: Alphabet) -> Iterator[Built]:
        plane, constants = self.geometry(alphabet)
        composition = drawn_composition(self.composition, self.elements, alphabet)
        for number in range(self.first, self.first + self.count):
            name = self.named(number=number)
            yield Built(name, random_cells.random_fault(name, composition, plane, self.layers, constants, u=self.u,
                                                        amplitudes_A=self.displacements_A))


KINDS: dict[str, type[Group]] = {
    "eos": EquationOfState, "strain": Strains, "ordered": Ordered, "pattern": Pattern, "random": Random,
    "vacancy": Vacancy,
    "surface": Surface, "fault": Fault, "random_fault": RandomFault, "kmesh": KMeshStudy,
}  # fmt: skip
"""The kinds of groups by the word in the configuration."""

__all__ = ["KINDS", "STRAINS", "Alphabet", "Built", "Group"]
