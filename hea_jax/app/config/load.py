"""Loading a configuration: file, overrides, models; all problems of all three at once."""

import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hea_jax.app.config.document import Document, FieldPath, read_document
from hea_jax.app.config.models import Config
from hea_jax.app.config.overrides import apply_overrides
from hea_jax.app.config.problems import ConfigError, Place, Problem, dotted

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "float": "a number such as `0.5` or `1e-3`, without quotes",
    "int": "a whole number such as `8`, without quotes",
    "string": "a text",
    "bool": "`true` or `false`",
    "tuple": "a list such as `[1, 2, 3]`",
    "dict": "named values such as `{a: 1, b: 2}`",
    "model": "a section of named fields",
}


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration of a YAML file with ``--set`` overrides; raises ``ConfigError`` with every problem."""
    path = Path(path)
    return validated(apply_overrides(read_document(path), overrides), Config, base=path.parent)


def validated(document: Document, model: type[M], base: Path | None = None) -> M:
    """A document as a model; raises ``ConfigError`` with the document's problems and the model's.

    ``base`` is the folder that relative paths in the document start from.
    """
    problems = list(document.problems)
    if document.data is None and problems:
        raise ConfigError(problems)
    if not isinstance(document.data, dict):
        message = "is empty" if document.data is None else "holds no named fields"
        place = Place(document.place(()).source)
        raise ConfigError([*problems, Problem(place, "", message, _fields_remedy(model))])
    try:
        config = model.model_validate(document.data, context={"base": base})
    except ValidationError as error:
        found = [item for item in error.errors() if item["loc"] not in document.void]
        problems += [_problem(document, model, dict(item)) for item in found]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return config


def _problem(document: Document, model: type[BaseModel], error: dict[str, Any]) -> Problem:
    """One pydantic error as a problem with place and remedy."""
    path: FieldPath = tuple(error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(document.place(path), dotted(path), "no such field", _unknown_remedy(model, path))
    if kind == "missing" and isinstance(path[-1], int):
        return Problem(document.place(path[:-1]), dotted(path[:-1]), "has too few entries", _entries(model, path[:-1]))
    if kind == "missing":
        remedy = f"add `{path[-1]}: ...`" + _meaning(model, path)
        return Problem(document.place(path[:-1]), dotted(path), "is missing", remedy)
    # Union members add their own names to the location; the written path is what the user knows.
    while path and path not in document.places:
        path = path[:-1]
    message = error["msg"][0].lower() + error["msg"][1:]
    if kind not in ("refused", "missing") and not isinstance(error.get("input"), dict | tuple | None):
        message += f" (got {error['input']!r})"
    return Problem(document.place(path), dotted(path), message, _remedy(model, path, kind, context))


def _remedy(model: type[BaseModel], path: FieldPath, kind: str, context: dict[str, Any]) -> str:
    """What to write instead."""
    if "remedy" in context:
        return str(context["remedy"])
    meaning = _meaning(model, path)
    for name, expected in _EXPECTED.items():
        if kind.startswith(name) and kind.endswith(("_type", "_parsing", "_from_float")):
            return f"write {expected}{meaning}"
    bounds = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    for key, words in bounds.items():
        if key in context:
            return f"write a value {words} {context[key]}{meaning}"
    if "expected" in context:
        return f"write {context['expected']}{meaning}"
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"write {'at least' if kind == 'too_short' else 'at most'} {limit} entries{meaning}"
    return f"write a value of the right kind{meaning}"


def _entries(model: type[BaseModel], path: FieldPath) -> str:
    """How many entries a list of fixed length has."""
    section = _section_at(model, path[:-1])
    field = section.model_fields.get(str(path[-1])) if section else None
    count = len(typing.get_args(field.annotation)) if field else 0
    return (f"write {count} entries" if count else "add the missing entries") + _meaning(model, path)


def _unknown_remedy(model: type[BaseModel], path: FieldPath) -> str:
    """The nearest field names, here or in another section."""
    section = _section_at(model, path[:-1])
    if section is None:
        return "remove it"
    name = str(path[-1])
    near = difflib.get_close_matches(name, section.model_fields, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    # A right name in the wrong section, or one without its unit (`cutoff` for `cutoff_A`).
    stems = [field for field in section.model_fields if field.rsplit("_", 1)[0] == name]
    if stems:
        return f"did you mean `{stems[0]}`?"
    elsewhere = [dotted(p) for p in field_paths(model) if p[-1] == name]
    return f"did you mean `{elsewhere[0]}`?" if elsewhere else _fields_remedy(section)


def _fields_remedy(section: type[BaseModel]) -> str:
    """The fields a section has."""
    return "the fields here are " + ", ".join(f"`{name}`" for name in section.model_fields)


def _meaning(model: type[BaseModel], path: FieldPath) -> str:
    """The description of a field, in parentheses."""
    section = _section_at(model, path[:-1])
    field = section.model_fields.get(str(path[-1])) if section and path else None
    if field is None:
        return ""
    if field.description:
        return f" ({field.description})"
    inner = section_type(field.annotation)
    return f" ({_first_line(inner)})" if inner else ""


def _first_line(section: type[BaseModel]) -> str:
    """The first line of a section's docstring, as part of a sentence."""
    return (section.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _section_at(model: type[BaseModel], path: FieldPath) -> type[BaseModel] | None:
    """The section class at a path, or None where there is none."""
    section: type[BaseModel] | None = model
    for part in path:
        field = section.model_fields.get(str(part)) if section else None
        section = section_type(field.annotation) if field else None
    return section


def section_type(annotation: Any) -> type[BaseModel] | None:
    """The section class of an annotation, also inside ``X | None`` and ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        found = (section_type(argument) for argument in typing.get_args(annotation))
        return next((section for section in found if section), None)
    return None


def field_paths(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all leaf fields of a model, in order."""
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        inner = section_type(field.annotation)
        paths.extend(field_paths(inner, (*prefix, name)) if inner else [(*prefix, name)])
    return paths
