"""Command-line overrides: ``--set rve.n_grains=32`` replaces one field of the file.

The value is read as YAML by the same strict rules as the file; a problem names the override.
"""

from typing import Any

from hea_jax.app.config.document import Document, parse_document
from hea_jax.app.config.problems import Place, Problem

_FORM = "write `--set section.field=value`, for example `--set rve.n_grains=32`"


def apply_overrides(document: Document, overrides: tuple[str, ...]) -> Document:
    """A document with the overrides applied in order; each replaces a field or adds one."""
    data = _copied(document.data) if isinstance(document.data, dict) else document.data
    out = Document(data, dict(document.places), list(document.problems), set(document.void))
    for text in overrides:
        _apply(out, text)
    return out


def _copied(value: Any) -> Any:
    """A deep copy of the mappings (tuples and scalars are immutable)."""
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, dict) else value


def _apply(document: Document, text: str) -> None:
    """Apply one override in place, or note what is wrong with it."""
    place = Place(f"--set {text}")
    key, equals, value_text = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        document.problems.append(Problem(place, "", "not of the form `a.b=value`", _FORM))
        return
    value = parse_document(value_text.strip(), place.source, line_numbers=False)
    document.problems.extend(value.problems)
    if value.problems:
        return
    if document.data is None:
        document.data = {}
    node = document.data
    for depth, part in enumerate(path[:-1], start=1):
        if isinstance(node, dict):
            node = node.setdefault(part, {})
            document.places.setdefault(path[:depth], place)
        if not isinstance(node, dict):
            inside = ".".join(path[:depth])
            remedy = f"set `{inside}` as a whole: `--set {inside}=...`"
            document.problems.append(Problem(place, key, f"`{inside}` has no named fields", remedy))
            return
    if not isinstance(node, dict):
        document.problems.append(Problem(place, key, "the configuration is not a mapping", "mend the file first"))
        return
    node[path[-1]] = value.data
    document.void -= {p for p in document.void if p[: len(path)] == path}
    for old in [p for p in document.places if p[: len(path)] == path]:
        del document.places[old]
    document.places[path] = place
    for inner in value.places:
        document.places[(*path, *inner)] = place
