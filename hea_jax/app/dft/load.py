"""Loading a campaign: file, overrides, groups, structures; every problem with its place and its remedy."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from hea_jax.app.config.document import Document, read_document
from hea_jax.app.config.load import validated
from hea_jax.app.config.models import PACKAGED_SETS
from hea_jax.app.config.overrides import apply_overrides
from hea_jax.app.config.problems import ConfigError, Place, Problem
from hea_jax.app.dft.groups import KINDS, Alphabet, Built, Group, KMeshStudy
from hea_jax.app.dft.models import CampaignSettings, EngineSection, KPoints
from hea_jax.electronic.campaign.engine import Engine, default_python, gpaw_engine
from hea_jax.electronic.campaign.tasks import (
    CampaignError,
    FixedMesh,
    KMesh,
    PointsPerCellEdge,
    Spacing,
    Task,
    check_tasks,
    interleaved,
)
from hea_jax.structures.ordered import PROTOTYPES

WITHOUT_KPOINTS = ("emt", "lennard-jones")


@dataclasses.dataclass(frozen=True)
class Campaign:
    """A campaign ready to run: settings, tasks in the order of computing, engine, known frames' file."""

    settings: CampaignSettings
    tasks: tuple[Task, ...]
    engine: Engine
    known: Path | None


def load_campaign(path: str | Path, overrides: tuple[str, ...] = ()) -> Campaign:
    """The campaign of a YAML file with ``--set`` overrides; raises ``ConfigError`` with every problem."""
    path = Path(path)
    document = apply_overrides(read_document(path), overrides)
    settings = validated(document, CampaignSettings, base=path.parent)
    groups = _groups(document, settings, path.parent)
    problems: list[Problem] = []
    alphabet = _alphabet(document, settings, problems)
    engine = _engine(document, settings.engine, path.parent, problems)
    known = _known(document, settings, path.parent, problems)
    if problems:
        raise ConfigError(problems)
    built = [_tasks(document, i, group, settings, alphabet, problems) for i, group in enumerate(groups)]
    if problems:
        raise ConfigError(problems)
    tasks = interleaved([(group.priority, tasks) for group, tasks in zip(groups, built, strict=True)])
    try:
        check_tasks(tasks, settings.shortest_distance_A)
    except CampaignError as error:
        raise ConfigError([Problem(document.place(("groups",)), "groups", str(error), "mend the groups named above")
                           ]) from None
    return Campaign(settings, tuple(tasks), engine, known)


def _groups(document: Document, settings: CampaignSettings, base: Path) -> list[Group]:
    """The groups as models of their kinds; problems of all groups at once."""
    groups, problems = [], []
    for i, data in enumerate(settings.groups):
        prefix = ("groups", i)
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            problems.append(Problem(document.place((*prefix, "kind")), f"groups[{i}].kind", f"no kind {kind!r}",
                                    f"write one of {', '.join(KINDS)}"))
            continue
        inner = Document(data, {p[2:]: place for p, place in document.places.items() if p[:2] == prefix},
                         [], {p[2:] for p in document.void if p[:2] == prefix})
        try:
            group = validated(inner, KINDS[kind], base)
            groups.append(group)
            problems += _foreign_elements(document, i, group, settings)
        except ConfigError as error:
            problems += [dataclasses.replace(p, field=f"groups[{i}].{p.field}".rstrip(".")) for p in error.problems]
    if problems:
        raise ConfigError(problems)
    return groups


def _foreign_elements(document: Document, i: int, group: Group, settings: CampaignSettings) -> list[Problem]:
    """Elements of a group that the campaign does not have."""
    unknown = [s for s in group.elements or () if s not in settings.elements]
    place = document.place(("groups", i, "elements"))
    text = f"{', '.join(unknown)} is not among the elements of the campaign"
    return [Problem(place, f"groups[{i}].elements", text, "add it to `elements`")] if unknown else []


def _alphabet(document: Document, settings: CampaignSettings, problems: list[Problem]) -> Alphabet:
    """Lattice constants of all elements; those not given follow from measured volumes."""
    reference = PROTOTYPES.get(settings.reference_lattice)
    if reference is None or reference.number_of_sublattices != 1:
        problems.append(Problem(document.place(("reference_lattice",)), "reference_lattice",
                                f"no lattice is called {settings.reference_lattice!r}", "write bcc, fcc, hcp or sc"))
        reference = PROTOTYPES["bcc"]
    constants = dict(settings.lattice_constants_A)
    for symbol in settings.elements:
        if symbol in constants:
            continue
        volume = measured_volume_A3(symbol)
        if volume is None:
            problems.append(Problem(document.place(("lattice_constants_A",)), f"lattice_constants_A.{symbol}",
                                    "is missing, and no measured volume is known", f"add `{symbol}: ...` in Å"))
        else:
            constants[symbol] = float((volume / reference.volume_per_atom()) ** (1 / 3))
    return Alphabet(settings.elements, constants, reference)


def measured_volume_A3(symbol: str) -> float | None:
    """Volume per atom (Å³) of an element's reference crystal in ASE's table, or None for other lattices."""
    from ase.data import atomic_numbers, reference_states

    state: dict[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    a, atoms = state.get("a"), {"sc": 1, "bcc": 2, "fcc": 4, "diamond": 8}.get(str(state.get("symmetry")))
    if a and atoms:
        return float(a) ** 3 / atoms
    if a and state.get("symmetry") == "hcp":
        return float(a) ** 3 * float(state["c/a"]) * 3**0.5 / 4
    return None


def _engine(document: Document, section: EngineSection, base: Path, problems: list[Problem]) -> Engine:
    """The engine of a configuration."""
    options: dict[str, Any] = {
        "retries": section.retries, "python": _python(section, base), "processes": section.processes,
        "threads": section.threads, "ranks": section.ranks, "launcher": section.launcher,
        "timeout_s": section.timeout_s, "stress": section.stress, "module_path": (str(base.absolute()),),
    }  # fmt: skip
    parameters = json.loads(json.dumps(section.parameters))
    if section.calculator != "gpaw":
        return Engine(section.calculator, parameters, **options)
    for name in ("cutoff_eV", "smearing_eV"):
        if getattr(section, name) is None:
            problems.append(Problem(document.place(("engine",)), f"engine.{name}", "is missing (gpaw needs it)",
                                    f"add `{name}: ...`"))
    return gpaw_engine(cutoff_eV=section.cutoff_eV or 0.0, smearing_eV=section.smearing_eV or 0.0,
                       xc=section.xc or "PBE", parameters=parameters, **options)


def _python(section: EngineSection, base: Path) -> str:
    """Path of the engine's Python; one with a slash starts from the configuration's folder."""
    if section.python is None:
        return default_python()
    path = Path(section.python).expanduser()
    return str(path if path.is_absolute() or "/" not in section.python else (base / path).absolute())


def _known(document: Document, settings: CampaignSettings, base: Path, problems: list[Problem]) -> Path | None:
    """The file of known frames."""
    if settings.known is None:
        return None
    source = settings.known.source
    if source in PACKAGED_SETS:
        import hea_jax

        return Path(hea_jax.__file__).parent / "data" / f"{source}.extxyz"
    path = base / Path(source).expanduser()
    if not path.is_file():
        problems.append(Problem(document.place(("known", "source")), "known.source", f"no file {source!r} in {base}",
                                "give the path of an extxyz file, or leave `known` out"))
    return path


def _tasks(document: Document, i: int, group: Group, settings: CampaignSettings, alphabet: Alphabet,
           problems: list[Problem]) -> list[Task]:
    """The tasks of one group; what cannot be built is a problem of that group."""
    section = group.kpoints or settings.kpoints
    study = isinstance(group, KMeshStudy)
    place: Place = document.place(("groups", i))
    try:
        rule = None if section is None else kmesh_rule(section)
        if settings.engine.calculator in WITHOUT_KPOINTS and (study or rule is not None):
            raise ValueError(f"{settings.engine.calculator} knows no k-points: leave `kpoints` and k-mesh studies out")
        parameters = json.loads(json.dumps(group.parameters))
        return [Task(b.name, group.group, b.crystal, _mesh(b, rule), in_dataset=not study, parameters=parameters)
                for b in group.built(alphabet)]
    except ValueError as error:
        problems.append(Problem(place, f"groups[{i}]", str(error), "mend this group"))
        return []


def kmesh_rule(section: KPoints) -> KMesh:
    """The rule of a section; raises ``ValueError`` if it gives none."""
    if section.mesh is not None:
        return FixedMesh(section.mesh)
    if section.spacing_per_A is not None:
        return Spacing(section.spacing_per_A)
    if section.per_cell_edge is not None:
        return PointsPerCellEdge(section.per_cell_edge)
    raise ValueError("kpoints has no rule: give `per_cell_edge`, `spacing_per_A` or `mesh`")


def _mesh(built: Built, rule: KMesh | None) -> tuple[int, int, int] | None:
    """The k-mesh of a structure; one point across a vacuum."""
    if built.mesh is not None:
        return built.mesh
    if rule is None:
        return None
    n1, n2, n3 = rule.mesh(built.crystal, built.repeats)
    return (n1, n2, 1) if built.vacuum else (n1, n2, n3)
