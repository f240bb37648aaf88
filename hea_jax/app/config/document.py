"""A strict reading of YAML: plain data only, with the place of every value.

Differences from ``yaml.safe_load``, each of which has bitten a user of scientific configurations: ``1e-3`` is a
number (YAML 1.1 makes it a string); ``No``, ``on``, ``y`` are strings (nobelium is an element); ``1:30`` and
``2020-01-01`` are strings; ``010`` is refused (octal or ten?); duplicate keys, anchors, aliases, merge keys, tags and
several documents are refused. Scalars follow the YAML 1.2 core schema (yaml.org/spec/1.2.2, section 10.3.2).
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from hea_jax.app.config.problems import Place, Problem, dotted

FieldPath = tuple[str | int, ...]
_NULL = re.compile(r"(~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+\Z")
_DIGITS_LIMIT = 400
_REFUSED: Any = "refused"  # stands in the place of a scalar's style


@dataclasses.dataclass
class Document:
    """The data of a file (dicts, tuples, scalars), the place of every field path, and the problems met.

    ``void`` holds the paths whose value was refused (they are None in ``data``), so that nobody complains twice.
    """

    data: Any
    places: dict[FieldPath, Place]
    problems: list[Problem]
    void: set[FieldPath] = dataclasses.field(default_factory=set)

    def place(self, path: FieldPath) -> Place:
        """The place of a path, or of its nearest parent that was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place("configuration"))


class _Loader(yaml.SafeLoader):
    """Composes nodes only; anchors, aliases and tags are noted and dropped."""

    def __init__(self, text: str, refused: list[tuple[int, str, str]]):
        super().__init__(text)
        self.refused = refused

    def compose_node(self, parent, index):  # the name is PyYAML's
        """Compose one node, refusing what plain data does not need."""
        event: Any = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            self.refused.append((line, f"alias `*{event.anchor}`", "write the value out: aliases are not read"))
            return yaml.ScalarNode("tag:yaml.org,2002:null", "", event.start_mark, event.end_mark, style=_REFUSED)
        if event.anchor is not None:
            self.refused.append((line, f"anchor `&{event.anchor}`", "remove the anchor: aliases are not read"))
            event.anchor = None
        if event.tag is not None:
            self.refused.append((line, f"tag `{event.tag}`", "remove the tag: only plain data is read"))
            event.tag = None
        return super().compose_node(parent, index)


class _Reader:
    """Turns nodes into data, noting places and problems on the way."""

    def __init__(self, source: str, line_numbers: bool):
        self.source = source
        self.line_numbers = line_numbers
        self.places: dict[FieldPath, Place] = {}
        self.problems: list[Problem] = []
        self.void: set[FieldPath] = set()

    def at(self, line: int) -> Place:
        """The place of a line of this source."""
        return Place(self.source, line if self.line_numbers else 0)

    def problem(self, line: int, path: FieldPath, message: str, remedy: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(self.at(line), dotted(path), message, remedy))

    def value(self, node, path: FieldPath) -> Any:
        """The data of a node; sequences become tuples."""
        line = node.start_mark.line + 1
        self.places.setdefault(path, self.at(line))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, (*path, i)) for i, item in enumerate(node.value))
        return self.scalar(node, path, line)

    def mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        """A mapping with unique string keys."""
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problem(line, path, "a key is a list or a mapping", "use a plain word as the key")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self.problem(line, path, "merge key `<<`", "write the fields out: merge keys are not read")
                continue
            if key in data:
                first = self.places[(*path, key)].line
                where = f" (first on line {first})" if first else ""
                self.problem(line, (*path, key), f"duplicate key{where}", "keep one of the two")
                continue
            self.places[(*path, key)] = self.at(line)
            data[key] = self.value(value_node, (*path, key))
        return data

    def scalar(self, node: yaml.ScalarNode, path: FieldPath, line: int) -> Any:
        """A scalar by the YAML 1.2 core schema; a quoted one is a string."""
        text = node.value
        if node.style == _REFUSED:
            self.void.add(path)
            return None
        if node.style is not None:  # quoted or block
            return text
        if _LEADING_ZERO.match(text):
            self.problem(line, path, f"`{text}` has a leading zero", "write the number without it, or quote a string")
            self.void.add(path)
            return None
        if len(text) > _DIGITS_LIMIT and (_INT.match(text) or _FLOAT.match(text)):
            self.problem(line, path, f"a number of {len(text)} digits", "use scientific notation, e.g. `1e-3`")
            self.void.add(path)
            return None
        return _core_schema(text)


def _core_schema(text: str) -> Any:
    """The value of a plain scalar."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    if _NON_FINITE.match(text):
        return float(text.lower().replace(".", "", 1))
    return text


def parse_document(text: str, source: str, *, line_numbers: bool = True) -> Document:
    """Read YAML text; every problem is noted in the result, with ``source`` and (if asked for) its line."""
    reader = _Reader(source, line_numbers)
    refused: list[tuple[int, str, str]] = []
    data: Any = None
    try:
        loader = _Loader(text, refused)
        node = loader.get_single_node()
        data = None if node is None else reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reader.problem(line, (), _syntax_message(error), _syntax_remedy(error, text, line))
    except yaml.YAMLError as error:  # characters that YAML does not allow
        reader.problem(1, (), str(error).splitlines()[0], "save the file as plain UTF-8 text")
    except RecursionError:
        reader.problem(1, (), "nested too deeply", "a configuration is at most a few levels deep")
    for line, message, remedy in refused:
        reader.problem(line, (), message, remedy)
    return Document(data, reader.places, reader.problems, reader.void)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    """What the scanner or parser says, on one line."""
    parts = [part for part in (error.context, error.problem) if part]
    return "not valid YAML: " + ", ".join(parts)


def _syntax_remedy(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """Advice for the commonest syntax errors."""
    lines = text.splitlines()
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or "\\t" in str(error.problem):
        return "indent with spaces, not with tabs"
    if "document" in str(error.problem) or "document" in str(error.context):
        return "keep one document per file: remove the `---` line"
    if "mapping values are not allowed" in str(error.problem):
        return "quote a text that contains `: `, and check the indentation"
    return "check indentation, brackets and quotes on this line and the one before"


def read_document(path: Path) -> Document:
    """Read a YAML file; an unreadable file is a problem like any other."""
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return _unreadable(source, "no such file", "check the path; configurations are in `configs/`")
    except UnicodeDecodeError as error:
        return _unreadable(source, f"not UTF-8 text (byte {error.start})", "save the file as UTF-8")
    except OSError as error:
        return _unreadable(source, error.strerror or str(error), "give the path of a readable YAML file")
    return parse_document(text, source)


def _unreadable(source: str, message: str, remedy: str) -> Document:
    """A document that could not be read at all."""
    return Document(None, {}, [Problem(Place(source), "", message, remedy)])
