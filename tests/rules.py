"""The house rules as functions from source text (or classes) to complaints; ``test_architecture`` applies them.

Every rule is itself tested there on a snippet that breaks it.
"""

import ast
import inspect
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ORDER = (
    "core", "records", "structures", "electronic", "atomistic", "continuum", "mesoscale", "concurrent", "hierarchical",
    "uncertainty", "calibration", "app",
)  # fmt: skip
NUMERICAL = frozenset({"jax", "numpy", "scipy", "equinox", "lineax", "optimistix", "optax", "jaxtyping", "hea_jax"})
MAX_FILE, MAX_MEDIAN, MAX_FUNCTION, MAX_POSITIONAL = 500, 200, 60, 6

_DIMENSIONAL = (
    "positions cell forces force stress energy energies cutoff skin lattice_constant volume temperature pressure "
    "stiffness displacement displacements dt voxel spacing length lengths radius time duration moduli modulus "
    "frequency masses velocities bulk shear strength mobility diffusivity"
)
DIMENSIONAL = frozenset(_DIMENSIONAL.split())
"""Argument names that carry a dimension; the docstring must then state a unit (or that any will do)."""
NO_SOURCE = frozenset({"hea_jax.core.results", "hea_jax.core.types"})
"""Modules of plumbing, where there is nothing to cite."""

_UNIT = re.compile(
    r"(?<![\w])(Å|eV|meV|GPa|MPa|nm|µm|mm|fs|ps|K|J|amu|THz|rad|voxels?|dimensionless)(?![\w])|Å[²³]|\bunits?\b"
)
_CITATION = re.compile(r"\b(Source|[A-Z][\w’'-]+[^;\n]{0,60}\b(18|19|20)\d\d|CODATA)\b")


@dataclass(frozen=True)
class Import:
    """One import: the line, the full name, and whether it runs when the module is imported."""

    line: int
    name: str
    at_module_level: bool


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[Import]:
    """Every import of a module, whatever its spelling: relative, in functions, by a string, under TYPE_CHECKING."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, at_module_level: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(node.lineno, alias.name, at_module_level) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found.append(Import(node.lineno, base, at_module_level))
            found.extend(Import(node.lineno, f"{base}.{alias.name}", at_module_level) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            for name in names:
                dots = len(name) - len(name.lstrip("."))
                base = package[: len(package) - dots + 1] if dots else []
                found.append(Import(node.lineno, ".".join([*base, name.lstrip(".")]), at_module_level))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = isinstance(node, ast.If) and _is_type_checking(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, at_module_level and not inside and not lazy)

    visit(ast.parse(source), True)
    return found


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def folder_of(module: str) -> str:
    """The top folder of a module of the package ("" for hea_jax itself)."""
    return module.split(".")[1] if module.count(".") else ""


def wrong_direction(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Imports from a folder that stands later in ``ORDER`` (or is not in it)."""
    own = folder_of(module)
    complaints = []
    for item in imports_of(source, module, is_package=is_package):
        parts = item.name.split(".")
        if parts[0] != "hea_jax" or len(parts) == 1 or own == "__main__":
            continue
        target = parts[1]
        if own == "" and target in ORDER:
            complaints.append(f"{module}:{item.line} hea_jax itself imports {item.name}")
        elif target in ORDER and own in ORDER and ORDER.index(target) > ORDER.index(own):
            complaints.append(f"{module}:{item.line} {own} imports {item.name}, which stands later")
    return complaints


def foreign_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Module-level imports of a numerical module beyond the numerical libraries and the standard library."""
    if folder_of(module) in ("app", "__main__"):
        return []
    return [
        f"{module}:{item.line} imports {item.name} at module level"
        for item in imports_of(source, module, is_package=is_package)
        if item.at_module_level
        and item.name.split(".")[0] not in NUMERICAL
        and item.name.split(".")[0] not in sys.stdlib_module_names
    ]


def inherits_from_concrete(classes: Iterable[type], root: type) -> list[str]:
    """Subclasses of ``root`` that inherit from a concrete one: a Module is abstract or final."""
    library = root.__module__.split(".")[0]
    complaints = []
    for cls in classes:
        for base in cls.__mro__[1:]:
            ours = issubclass(base, root) and base.__module__.split(".")[0] != library
            abstract = inspect.isabstract(base) or bool(getattr(base, "__abstractvars__", ()))
            if ours and not abstract:
                complaints.append(f"{cls.__qualname__} inherits from the concrete {base.__qualname__}")
    return complaints


def _definitions(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.ClassDef | None]]:
    """Public functions, classes and methods, each with its class."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node, None
            if isinstance(node, ast.ClassDef):
                for child in node.body:
                    if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
                        yield child, node


def missing_docstrings(source: str, module: str) -> list[str]:
    """Modules and public functions, classes and methods without a docstring."""
    tree = ast.parse(source)
    complaints = [] if ast.get_docstring(tree) else [f"{module} has no docstring"]
    for node, owner in _definitions(tree):
        # A method that implements a documented interface inherits its docstring.
        inherits = owner is not None and bool(owner.bases)
        if not ast.get_docstring(node) and not inherits:
            complaints.append(f"{module}:{node.lineno} {node.name} has no docstring")
    return complaints


def missing_units(source: str, module: str) -> list[str]:
    """Public functions with dimensional arguments where neither they, their class nor their module states a unit."""
    tree = ast.parse(source)
    complaints = []
    for node, owner in _definitions(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        names = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
        dimensional = [name for name in names if name in DIMENSIONAL]
        texts = [ast.get_docstring(n) or "" for n in (node, owner, tree) if n is not None]
        if dimensional and not any(_UNIT.search(text) for text in texts):
            complaints.append(f"{module}:{node.lineno} {node.name}: no unit stated for {', '.join(dimensional)}")
    return complaints


def missing_source(source: str, module: str) -> list[str]:
    """Modules of physics and numerics none of whose docstrings cites anything."""
    tree = ast.parse(source)
    physics = folder_of(module) not in ("", "__main__", "app", "records") and module not in NO_SOURCE
    if not physics or not any(True for _ in _definitions(tree)):
        return []
    documented = [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef))]
    cited = any(_CITATION.search(ast.get_docstring(node) or "") for node in documented)
    return [] if cited else [f"{module} cites no source (author and year, or `Source: ...`)"]


def too_long(source: str, module: str) -> list[str]:
    """Files over 500 lines, functions over 60 lines of code or with more than 6 positional arguments."""
    lines = source.splitlines()
    complaints = [] if len(lines) <= MAX_FILE else [f"{module} has {len(lines)} lines"]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        code = 0
        if body:
            own = lines[body[0].lineno - 1 : node.end_lineno]
            code = sum(bool(line.strip()) and not line.strip().startswith("#") for line in own)
        if code > MAX_FUNCTION:
            complaints.append(f"{module}:{node.lineno} {node.name} has {code} lines of code")
        positional = [a.arg for a in [*node.args.posonlyargs, *node.args.args] if a.arg not in ("self", "cls")]
        if len(positional) > MAX_POSITIONAL:
            complaints.append(f"{module}:{node.lineno} {node.name} takes {len(positional)} positional arguments")
    return complaints


def median_too_long(sources: dict[str, str]) -> list[str]:
    """A median file (package markers aside) over 200 lines."""
    counts = [len(s.splitlines()) for name, s in sources.items() if not name.endswith("__init__")]
    median = statistics.median(counts)
    return [f"the median file has {median} lines"] if median > MAX_MEDIAN else []


def touches_x64(source: str, module: str) -> list[str]:
    """Settings or readings of the global x64 flag outside app; dtypes are what a library looks at."""
    if folder_of(module) == "app":
        return []
    complaints = []
    for node in ast.walk(ast.parse(source)):
        by_name = isinstance(node, ast.Constant) and node.value in ("jax_enable_x64", "JAX_ENABLE_X64")
        by_attribute = isinstance(node, ast.Attribute) and node.attr in ("jax_enable_x64", "enable_x64", "x64_enabled")
        by_import = isinstance(node, ast.alias) and node.name == "enable_x64"
        if by_name or by_attribute or by_import:
            complaints.append(f"{module}:{node.lineno} touches the x64 flag")
    return complaints


def swallows(source: str, module: str) -> list[str]:
    """Bare or empty ``except``, ``nan_to_num``, ``eval`` and ``exec``."""
    complaints = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            empty = all(isinstance(s, ast.Pass) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
                        for s in node.body)  # fmt: skip
            if node.type is None or empty:
                complaints.append(f"{module}:{node.lineno} swallows an error")
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name == "nan_to_num" or (isinstance(node, ast.Name) and name in ("eval", "exec")):
                complaints.append(f"{module}:{node.lineno} uses {name}")
    return complaints
