"""The configuration of a fit, section by section; a unit stands in the name of every field that has one."""

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from hea_jax.app.config.fields import Composition, Elements, Fraction, Increasing, Name, Repeats, Section, Text, refused
from hea_jax.app.config.models import DataKeys, existing_source
from hea_jax.atomistic.potentials.body_ordered.radial import WIDTH_A

Share = Annotated[float, Field(ge=0, le=1)]


class Source(Section):
    """One set of reference data."""

    source: Text = Field(description="packaged set `gpaw_nbmotaw`, or the path of an extxyz file or ASE database "
                                     "(from this file)")  # fmt: skip
    keys: Literal["gpaw_nbmotaw", "li2020_nbmotaw", "ta_fitsnap", "ase"] = Field(
        default="gpaw_nbmotaw", description="which keys and units the file uses"
    )
    declared_keys: DataKeys | None = Field(default=None, description="the keys of any other file; goes before `keys`")
    weight: PositiveFloat = Field(default=1.0, description="factor on the residuals of this source")
    elements: Elements | None = Field(default=None, description="keep frames of these elements only")
    groups: tuple[Text, ...] | None = Field(default=None, description="keep these groups only")
    without_groups: tuple[Text, ...] = Field(default=(), description="leave these groups out")

    @field_validator("source")
    @classmethod
    def _exists(cls, value: str, info) -> str:
        return existing_source(value, info, "put the file there, correct the path, or use a packaged set")


class Checks(Section):
    """Whether the data are looked over before the fit (signs, units, references, duplicates)."""

    run: bool = Field(default=True, description="look for wrong data; what is found stands in the report")
    refuse_errors: bool = Field(default=True, description="stop at a finding that would make the fit wrong")


class SplitSection(Section):
    """Which frames train, which stop the training and choose priors (validation), which judge (test)."""

    policy: Literal["random", "parent", "leave_pair_out", "leave_group_out", "names"] = Field(
        default="parent",
        description="at random within groups; whole families and blocks of trajectories; all frames with a pair of "
        "elements to the test; groups to the test; frames by name",
    )
    fractions: tuple[Share, Share, Share] = Field(default=(0.8, 0.1, 0.1), description="training, validation, test")
    block: PositiveInt = Field(default=20, description="frames of a trajectory that stay together (parent)")
    gap: NonNegativeInt = Field(default=2, description="frames dropped on each side of a border (parent)")
    cut_families: bool = Field(default=False, description="whether strained copies of one cell may be parted (parent)")
    always_train: tuple[Text, ...] = Field(default=(), description="groups that are not parted: they train as a whole")
    pair: Annotated[tuple[Text, ...], Len(2, 2)] | None = Field(default=None, description="the two elements")
    groups: tuple[Text, ...] = Field(default=(), description="groups for the test (leave_group_out)")
    validation_names: tuple[Text, ...] = Field(default=(), description="names of validation frames (names)")
    test_names: tuple[Text, ...] = Field(default=(), description="names of test frames (names)")

    @field_validator("fractions")
    @classmethod
    def _whole(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-9 or value[0] <= 0:
            raise refused(f"fractions {list(value)} do not sum to 1 with some training", "write e.g. [0.8, 0.1, 0.1]")
        return value

    @field_validator("test_names")
    @classmethod
    def _policy_has_its_fields(cls, value: tuple[str, ...], info) -> tuple[str, ...]:
        given = info.data
        needs = {"leave_pair_out": ("pair", given.get("pair")), "leave_group_out": ("groups", given.get("groups")),
                 "names": ("test_names", value or given.get("validation_names"))}
        name, found = needs.get(given.get("policy", ""), ("", True))
        if not found:
            raise refused(f"policy {given['policy']} needs `{name}`", f"add `{name}: ...`")
        return value

    # A default is not validated by pydantic unless asked for.
    model_config = Section.model_config | {"validate_default": True}


class GroupFactors(Section):
    """Factors on the residuals of one group."""

    energy: NonNegativeFloat = Field(default=1.0, description="factor on energies")
    force: NonNegativeFloat = Field(default=1.0, description="factor on forces")
    stress: NonNegativeFloat = Field(default=1.0, description="factor on stresses")


class Weights(Section):
    """Expected errors that scale the residuals (a smaller number weighs more), and factors of groups."""

    energy_scale_eV: PositiveFloat = Field(default=0.003, description="error of an energy per atom that counts as one")
    force_scale_eV_per_A: PositiveFloat = Field(default=0.15, description="error of a force component, likewise")
    stress_scale_eV: PositiveFloat = Field(
        default=0.06, description="error of stress times volume per atom, likewise (0.1 eV is about 1 GPa)"
    )
    groups: dict[str, GroupFactors] = Field(default={}, description="factors on the residuals of groups, by name")
    balance: Share = Field(
        default=0.0, description="0: a frame is a frame; 1: a group weighs the same whatever its size"
    )


class Offsets(Section):
    """Energies of lone atoms, which a potential does not hold."""

    table_eV: dict[str, float] | None = Field(
        default=None, description="energy of an isolated atom of each element, held; left out, offsets are fitted"
    )


class EamPrior(Section):
    """Standard deviations of the prior about the start of the fit."""

    pair_eV: PositiveFloat = Field(default=3.0, description="pair coefficients of like pairs")
    cross_eV: PositiveFloat = Field(default=0.5, description="pair coefficients of mixed pairs about the mean of like")
    density: PositiveFloat = Field(default=1.0, description="density coefficients")
    root_eV: PositiveFloat = Field(default=1.0, description="strength of the square root")
    series_eV: PositiveFloat = Field(default=2.0, description="polynomial part of the embedding")


class LearnableEam(Section):
    """A learnable embedded-atom potential, which LAMMPS reads as eam/alloy."""

    cutoff_A: Annotated[float, Field(gt=2, lt=15)] = Field(default=5.5, description="cut-off radius")
    inner_A: Annotated[float, Field(gt=0.6, lt=4)] = Field(default=1.9, description="where the repulsive core begins")
    n_pair_functions: Annotated[int, Field(ge=3, le=64)] = Field(default=12, description="radial functions per pair")
    n_density_functions: Annotated[int, Field(ge=2, le=32)] = Field(default=6, description="functions per density")
    prior: EamPrior = Field(default=EamPrior(), description="how far parameters may move")


class LinearPrior(Section):
    """The prior of the linear fit; of several scales validation chooses one."""

    scales_eV_per_A: Increasing = Field(default=(0.03, 0.1, 0.3), description="forces a function is expected to give")
    channel: Annotated[tuple[PositiveFloat, ...], Len(1)] = Field(
        default=(1.0, 0.2, 0.1), description="factor per chemical channel that enters, the first blind to elements"
    )
    centre: Annotated[tuple[PositiveFloat, ...], Len(1)] = Field(
        default=(1.0, 0.3, 0.2), description="factor per difference between central elements"
    )
    angular: PositiveFloat = Field(default=3.0, description="angular momentum above which functions are held tighter")
    four_body: PositiveFloat = Field(default=1.0, description="factor of four-body functions")


class BodyOrderedModel(Section):
    """A linear potential of two-, three- and four-body functions, solved for in closed form."""

    cutoff_A: Annotated[float, Field(gt=2, lt=15)] = Field(default=5.0, description="cut-off radius")
    inner_A: Annotated[float, Field(gt=0.5, lt=4)] = Field(
        default=1.6, description="where radial functions begin, complete 0.5 Å further; closer pairs feel the core only"
    )
    pair_radial: Annotated[int, Field(ge=1, le=24)] = Field(default=8, description="radial functions of pairs")
    three_radial: Annotated[int, Field(ge=0, le=16)] = Field(default=5, description="radial functions of three bodies")
    three_l: Annotated[int, Field(ge=0, le=8)] = Field(default=4, description="highest l of three bodies")
    three_channels: PositiveInt = Field(default=4, description="chemical channels of three bodies")
    four_radial: Annotated[int, Field(ge=0, le=12)] = Field(default=3, description="radial functions of four bodies")
    four_l: Annotated[int, Field(ge=0, le=6)] = Field(default=2, description="highest l of four bodies")
    four_channels: PositiveInt = Field(default=2, description="chemical channels of four bodies")
    core: bool = Field(default=True, description="whether a ZBL core is added and taken off the data first")
    core_inner_A: PositiveFloat = Field(default=1.4, description="distance below which the core is complete")
    core_outer_A: PositiveFloat = Field(default=2.4, description="distance beyond which the core is gone")
    prior: LinearPrior = Field(default=LinearPrior(), description="what is believed before any data")

    @field_validator("inner_A")
    @classmethod
    def _below_the_cutoff(cls, value: float, info) -> float:
        cutoff = info.data.get("cutoff_A")
        if cutoff is not None and value + WIDTH_A >= cutoff:
            raise refused(f"radial functions are complete {WIDTH_A} Å beyond `inner_A`, at {value + WIDTH_A:g} Å: not "
                          f"below `cutoff_A` {cutoff:g}", "lower `inner_A`, or raise `cutoff_A`")
        return value

    @field_validator("core_outer_A")
    @classmethod
    def _meets_the_functions(cls, value: float, info) -> float:
        begins, inner = info.data.get("core_inner_A"), info.data.get("inner_A")
        if not info.data.get("core"):
            return value
        if begins is not None and value <= begins:
            raise refused(f"the core would end at {value:g} Å, before it falls off from `core_inner_A` {begins:g} Å on",
                          "raise `core_outer_A`, or lower `core_inner_A`")
        if inner is not None and value < inner + WIDTH_A:
            raise refused(f"the core would end at {value:g} Å, but radial functions are complete from "
                          f"{inner + WIDTH_A:g} Å on: atoms between feel too little", "raise `core_outer_A` to there")
        return value


class Optimiser(Section):
    """How the embedded-atom potential is fitted."""

    huber: PositiveFloat | None = Field(
        default=None, description="residuals (in expected errors) beyond which the loss grows linearly; null: nowhere"
    )
    adam_steps: NonNegativeInt = Field(default=200, description="first-order steps")
    learning_rate: PositiveFloat = Field(default=0.03, description="highest rate, in units of the prior's spread")
    warmup_steps: NonNegativeInt = Field(default=20, description="steps over which the rate rises")
    final_fraction: Share = Field(default=0.05, description="rate at the end of its cosine decay, over the highest")
    lbfgs_steps: NonNegativeInt = Field(default=250, description="quasi-Newton steps")
    newton_steps: NonNegativeInt = Field(default=25, description="Newton steps, to the very minimum")
    gauss_newton_steps: NonNegativeInt = Field(
        default=0, description="Gauss-Newton steps over blocks of frames of like size, for thousands of frames; they "
        "replace all of the above"
    )
    gradient_rtol: PositiveFloat = Field(default=1e-9, description="gradient norm, relative to its start, to stop at")
    patience: NonNegativeInt = Field(
        default=0, description="visits without a lower validation loss after which a phase ends; 0: never; not with "
        "`huber` or `targets`, which go on to the lowest training loss"
    )
    checkpoint_every: PositiveInt = Field(default=25, description="steps between checkpoints, and validations")
    target_steps: PositiveInt = Field(default=8, description="Gauss-Newton steps with physical targets")


class Target(Section):
    """A physical target: a property of a structure, its value and tolerance."""

    kind: Literal["lattice_constant", "C11", "C12", "C44", "vacancy", "stacking_fault", "mixing_enthalpy",
                  "energy_difference"] = Field(
        description="Å; GPa; GPa; GPa; eV; mJ/m²; meV/atom; meV/atom of an unrelaxed structure against its elements"
    )  # fmt: skip
    value: float = Field(description="the target, in the unit of its kind")
    tolerance: PositiveFloat = Field(description="difference that counts as one residual, in the same unit")
    weight: PositiveFloat = Field(
        default=1.0, description="factor of its residual: one row among those of thousands of frames is hardly heard"
    )
    composition: Composition = Field(description="atomic fractions, e.g. `{W: 1}`")
    lattice: Literal["bcc", "fcc", "hcp", "sc", "B2", "diamond"] = Field(default="bcc", description="crystal structure")
    lattice_guess_A: PositiveFloat | None = Field(
        default=None, description="lattice constant to begin with (mean of the elements' if left out)"
    )
    repeats: Repeats = Field(default=(3, 3, 3), description="cells along each axis, for alloys and vacancies")
    plane: Text = Field(default="110", description="plane of a stacking fault")
    u: Fraction = Field(default=0.5, description="displacement of a stacking fault, in slip vectors")
    source: Text = Field(default="given in the configuration", description="where the value comes from")

    @property
    def scale(self) -> float:
        """Difference that weighs as much as one residual of the data, in the unit of the value."""
        return self.tolerance / self.weight

    @property
    def unit(self) -> str:
        """Unit of value and tolerance."""
        units = {"lattice_constant": "Å", "vacancy": "eV", "stacking_fault": "mJ/m²"}
        return units.get(self.kind, "GPa" if self.kind.startswith("C") else "meV/atom")

    @property
    def label(self) -> str:
        """What it is called in tables."""
        alloy = "".join(s if c == 1 else f"{s}{c:g}" for s, c in self.composition.items())
        more = f" {{{self.plane}}} u={self.u:g}" if self.kind == "stacking_fault" else ""
        return f"{self.kind} {alloy} {self.lattice}{more}"


class Dynamics(Section):
    """Whether a hot alloy survives: molecular dynamics of a random cell."""

    run: bool = Field(default=True, description="whether it is run")
    temperature_K: PositiveFloat = Field(default=3000.0, description="temperature")
    duration_ps: PositiveFloat = Field(default=5.0, description="length")
    timestep_fs: PositiveFloat = Field(default=2.0, description="time step")
    repeats: Repeats = Field(default=(4, 4, 4), description="cubic cells along each axis")
    closest_A: PositiveFloat = Field(default=1.5, description="atoms closer than this are a failure")


class Sanity(Section):
    """What a potential must stand before it is handed out."""

    run: bool = Field(default=True, description="whether any of it is run")
    lattice: Literal["bcc", "fcc"] = Field(default="bcc", description="lattice of the elements")
    lattice_constants_A: dict[str, PositiveFloat] = Field(
        default={}, description="guesses of the elements' lattice constants; others from the data or measured volumes"
    )
    composition: Composition | None = Field(default=None, description="alloy for phonons and dynamics (equal parts)")
    phonon_grid: Repeats = Field(default=(4, 4, 4), description="wave vectors of the elements along each axis")
    phonon_alloy: Repeats = Field(default=(2, 2, 2), description="cubic cells of the alloy whose modes are computed")
    dimer_wall_eV: PositiveFloat = Field(default=10.0, description="least height of the repulsive wall at 1 Å")
    dimer_hole_eV: NonNegativeFloat = Field(default=0.1, description="deepest dent allowed inside the wall")
    dynamics: Dynamics = Field(default=Dynamics(), description="survival at high temperature")


class Uncertainty(Section):
    """The spread of parameters that data and prior leave."""

    run: bool = Field(default=True, description="whether it is computed")
    samples: PositiveInt = Field(default=16, description="potentials in the ensemble that is written")
    coverage: Fraction = Field(default=0.683, description="share of residuals per group that one spread must cover")


class FitConfig(Section):
    """A fit: from reference data to a potential with its errors."""

    name: Name = Field(description="name of the fit and of its run folder")
    seed: NonNegativeInt = Field(default=0, description="seed of every random choice")
    elements: Elements | None = Field(default=None, description="order of the elements (by appearance if left "
                                                                       "out)")  # fmt: skip
    data: Annotated[tuple[Source, ...], Len(1)] = Field(description="where the reference data are")
    checks: Checks = Checks()
    split: SplitSection = SplitSection()
    weights: Weights = Weights()
    offsets: Offsets = Offsets()
    learnable_eam: LearnableEam | None = Field(default=None, description="fit a learnable EAM of this shape")
    body_ordered: BodyOrderedModel | None = Field(default=None, description="fit a linear body-ordered potential")
    optimiser: Optimiser = Optimiser()
    targets: tuple[Target, ...] = Field(default=(), description="physical targets beside the data")
    sanity: Sanity = Sanity()
    uncertainty: Uncertainty = Uncertainty()

    @field_validator("uncertainty")
    @classmethod
    def _one_model(cls, value: Any, info) -> Any:
        if "learnable_eam" not in info.data or "body_ordered" not in info.data:
            return value
        given = [name for name in ("learnable_eam", "body_ordered") if info.data.get(name) is not None]
        if len(given) != 1:
            raise refused("both models are given" if given else "no model is given",
                          "write one of the sections `learnable_eam: {}` and `body_ordered: {}`")
        return value

    model_config = Section.model_config | {"validate_default": True}
