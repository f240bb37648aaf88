"""Loading the configuration of a fit: file, overrides, lists of sections; every problem with its place and remedy."""

import dataclasses
from pathlib import Path
from typing import Any

from hea_jax.app.config.document import Document, read_document
from hea_jax.app.config.fields import Section
from hea_jax.app.config.load import validated
from hea_jax.app.config.overrides import apply_overrides
from hea_jax.app.config.problems import ConfigError, Problem
from hea_jax.app.fit.models import FitConfig, Source, Target

LISTS: dict[str, type[Section]] = {"data": Source, "targets": Target}
"""Fields that hold a list of sections."""


def load_fit(path: str | Path, overrides: tuple[str, ...] = ()) -> FitConfig:
    """The configuration of a YAML file with ``--set`` overrides; raises ``ConfigError`` with every problem."""
    path = Path(path)
    document = apply_overrides(read_document(path), overrides)
    problems: list[Problem] = []
    for name, model in LISTS.items():
        problems += _item_problems(document, name, model, path.parent)
    try:
        config = validated(document, FitConfig, base=path.parent)
    except ConfigError as error:
        # What is wrong inside the lists was said above with the remedies of their own fields.
        inside = tuple(f"{name}[" for name in LISTS)
        raise ConfigError([*problems, *(p for p in error.problems if not p.field.startswith(inside))] or
                          list(error.problems)) from None
    problems += _foreign(document, config)
    if problems:
        raise ConfigError(problems)
    return config


def _item_problems(document: Document, name: str, model: type[Section], base: Path) -> list[Problem]:
    """Problems of the sections in a list, each read as a document of its own."""
    items: Any = document.data.get(name) if isinstance(document.data, dict) else None
    if not isinstance(items, tuple):
        return []
    problems = []
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        prefix = (name, i)
        inner = Document(item, {p[2:]: place for p, place in document.places.items() if p[:2] == prefix},
                         [], {p[2:] for p in document.void if p[:2] == prefix})
        try:
            validated(inner, model, base)
        except ConfigError as error:
            problems += [dataclasses.replace(p, field=f"{name}[{i}].{p.field}".rstrip(".")) for p in error.problems]
    return problems


def _foreign(document: Document, config: FitConfig) -> list[Problem]:
    """Elements named somewhere that the configuration leaves out."""
    if config.elements is None:
        return []
    named: dict[tuple[str | int, ...], tuple[str, ...]] = {
        ("targets", i, "composition"): tuple(target.composition) for i, target in enumerate(config.targets)
    }
    if config.sanity.composition:
        named["sanity", "composition"] = tuple(config.sanity.composition)
    if config.offsets.table_eV is not None:
        missing = sorted(set(config.elements) - set(config.offsets.table_eV))
        if missing:
            return [Problem(document.place(("offsets", "table_eV")), "offsets.table_eV",
                            f"has no {', '.join(missing)}", "give the energy of an isolated atom of every element")]
    out = []
    for path, symbols in named.items():
        unknown = sorted(set(symbols) - set(config.elements))
        if unknown:
            field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
            out.append(Problem(document.place(path), field, f"{', '.join(unknown)} is not among the elements",
                               "add it to `elements`"))
    return out
