"""The rules of ARCHITECTURE as tests, each shown to fail on a snippet that breaks it."""

import abc
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest
import rules

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "hea_jax").rglob("*.py"))


def module_name(path: Path) -> str:
    """``hea_jax.core.condense`` of its path; a package is named after its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text(encoding="utf-8") for path in FILES}
PACKAGES = {module_name(path) for path in FILES if path.name == "__init__.py"}
IMPORT_RULES = [rules.wrong_direction, rules.foreign_imports]
TEXT_RULES = [
    rules.missing_docstrings, rules.missing_units, rules.missing_source, rules.too_long, rules.touches_x64,
    rules.swallows,
]  # fmt: skip


@pytest.mark.parametrize("rule", IMPORT_RULES, ids=lambda rule: rule.__name__)
def test_imports(rule):
    assert [c for m, s in SOURCES.items() for c in rule(s, m, is_package=m in PACKAGES)] == []


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_sources(rule):
    assert [complaint for module, source in SOURCES.items() for complaint in rule(source, module)] == []


def test_folders_are_those_of_the_architecture():
    assert {rules.folder_of(module) for module in SOURCES} - {"", "__main__", *rules.ORDER, "data"} == set()


def test_median_file_is_short():
    assert rules.median_too_long(SOURCES) == []


def test_every_module_is_abstract_or_final():
    classes = []
    for name in SOURCES:
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        own = inspect.getmembers(module, lambda c: inspect.isclass(c) and issubclass(c, eqx.Module))
        classes += [cls for _, cls in own if cls.__module__ == name]
    assert len(classes) >= 10
    assert rules.inherits_from_concrete(classes, eqx.Module) == []


# Each spelling below imports hea_jax.atomistic from hea_jax.core.
SPELLINGS = [
    "import hea_jax.atomistic",
    "import hea_jax.atomistic.relax as r",
    "from hea_jax import atomistic",
    "from hea_jax.atomistic import relax",
    "from .. import atomistic",
    "from ..atomistic import relax",
    "from ..atomistic.relax import step",
    "import importlib\nimportlib.import_module('hea_jax.atomistic')",
    "from importlib import import_module\nimport_module('..atomistic', __package__)",
    "__import__('hea_jax.atomistic')",
    "def f():\n    from hea_jax.atomistic import relax",
    "class A:\n    def f(self):\n        import hea_jax.atomistic",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hea_jax.atomistic import relax",
    "try:\n    import hea_jax.atomistic\nexcept ImportError:\n    raise",
]


@pytest.mark.parametrize("snippet", SPELLINGS)
def test_wrong_direction_sees_every_spelling(snippet):
    assert rules.wrong_direction(snippet, "hea_jax.core.condense")
    assert not rules.wrong_direction(snippet, "hea_jax.continuum.rve")


def test_wrong_direction_in_packages():
    assert rules.wrong_direction("from ..atomistic import relax", "hea_jax.core", is_package=True)
    assert rules.wrong_direction("from .atomistic import relax", "hea_jax.core", is_package=True) == []
    assert rules.wrong_direction("from ..app import cli", "hea_jax.core.laws", is_package=True) == []
    assert rules.wrong_direction("from ...app import cli", "hea_jax.core.laws", is_package=True)
    assert rules.wrong_direction("from . import app", "hea_jax", is_package=True)
    assert rules.wrong_direction("from hea_jax.core import condense", "hea_jax", is_package=True)


OFFENCES = {
    rules.foreign_imports: ["import ase", "from h5py import File", "if True:\n    import pydantic",
                            "try:\n    import jax_md\nexcept ImportError:\n    raise", "class A:\n    import chex"],
    rules.missing_docstrings: ["x = 1", '"""Doc."""\ndef f():\n    pass', '"""Doc."""\nclass A:\n    """Doc."""\n'
                               "    def f(self):\n        pass"],
    rules.missing_units: ['def f(cutoff):\n    """Cut."""', 'class A:\n    """A."""\n    def f(self, *, dt):\n'
                          '        """KGPa."""'],
    rules.missing_source: ['"""Relaxation."""\ndef f():\n    """Doc."""'],
    rules.too_long: ["x = 1\n" * 501, "def f():\n" + "    x = 1\n" * 61, "def f(a, b, c, d, e, f, g):\n    pass"],
    rules.touches_x64: ["import jax\njax.config.update('jax_enable_x64', True)", "from jax import enable_x64",
                        "import jax\njax.config.jax_enable_x64 = True",
                        "import os\nos.environ['JAX_ENABLE_X64'] = '1'"],
    rules.swallows: ["try:\n    f()\nexcept:\n    g()", "try:\n    f()\nexcept ValueError:\n    pass",
                     "import jax.numpy as jnp\njnp.nan_to_num(x)", "eval('1')"],
}  # fmt: skip
INNOCENT = {
    rules.foreign_imports: "import math\nimport jax.numpy as jnp\nfrom hea_jax.core import condense\n"
                           "def f():\n    import ase",
    rules.missing_docstrings: '"""Doc."""\ndef f():\n    """Doc."""\ndef _g():\n    pass',
    rules.missing_units: 'def f(cutoff, cutoff_A):\n    """Within ``cutoff`` (Å)."""\ndef g(cutoff_A):\n    """Doc."""',
    rules.missing_source: '"""FIRE (Bitzek et al. 2006)."""\ndef f():\n    """Doc."""',
    rules.too_long: 'def f(self, a, b, c, d, e, f, *, g, h):\n    """' + "doc\n" * 70 + '"""\n    return 1',
    rules.touches_x64: "raise TypeError('build the inputs after `jax_enable_x64` is set')",
    rules.swallows: "try:\n    f()\nexcept ValueError:\n    return None",
}  # fmt: skip


@pytest.mark.parametrize(("rule", "snippet"), [(rule, s) for rule, many in OFFENCES.items() for s in many])
def test_rule_sees_the_offence(rule, snippet):
    assert rule(snippet, "hea_jax.atomistic.relax")


@pytest.mark.parametrize("rule", list(INNOCENT), ids=lambda rule: rule.__name__)
def test_rule_leaves_the_innocent_alone(rule):
    assert rule(INNOCENT[rule], "hea_jax.atomistic.relax") == []


def test_median_rule_sees_the_offence():
    assert rules.median_too_long({"a": "x\n" * 300, "b": "x\n" * 300, "c": "x\n"})


def test_abstract_or_final_sees_the_offence():
    class AbstractThing(eqx.Module):
        @abc.abstractmethod
        def f(self): ...

    class Concrete(AbstractThing):
        def f(self):
            return 1

    class WithVar(eqx.Module):
        size: eqx.AbstractVar[int]

    class Final(WithVar):
        size: int

    class Child(Concrete):
        pass

    assert rules.inherits_from_concrete([Concrete, Final], eqx.Module) == []
    assert rules.inherits_from_concrete([Child], eqx.Module)


CLEAN = """
import sys, {modules}
heavy = {{"jax_md", "ase", "pydantic", "matplotlib", "h5py"}} & set(sys.modules)
assert not heavy, f"loaded {{heavy}}"
if "jax" in sys.modules:
    from jax._src import xla_bridge
    assert not xla_bridge.backends_are_initialized(), "a backend was initialised"
    import jax
    assert not jax.config.jax_enable_x64, "x64 was switched on"
"""


def fresh_import(modules: str) -> subprocess.CompletedProcess:
    """Import modules in a process of their own, with JAX as a user has it."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::DeprecationWarning:hea_jax", "-c", CLEAN.format(modules=modules)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("what", ["the package", "every numerical module"])
def test_clean_import(what):
    numerical = [m for m in SOURCES if rules.folder_of(m) not in ("app", "__main__")]
    done = fresh_import("hea_jax" if what == "the package" else ", ".join(numerical))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_clean_import_sees_the_offence():
    assert "h5py" in fresh_import("h5py").stderr
    assert "backend" in fresh_import("jax.numpy; jax.numpy.zeros(1)").stderr
