"""Any record in an HDF5 file, and back: one group per record, one dataset per array, units from the field names.

Arrays (JAX and NumPy) become datasets with a ``unit`` attribute; plain values (None, bool, int, float, str and lists
of them) become JSON texts; records (dataclasses, hence every ``eqx.Module``), dicts, lists and tuples become groups.
Reading builds only classes of this package, named in the file; nothing in a file is executed.
"""

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hea_jax.app.runs.units import unit_of

_PACKAGE = "hea_jax"
_PLAIN = (type(None), bool, int, float, str)


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree of records into a new HDF5 file; raises ``TypeError`` on what cannot be stored."""
    import h5py

    with h5py.File(path, "w") as file:
        _write(file, "record", tree)


def load_tree(path: Path) -> Any:
    """The tree that ``save_tree`` wrote; arrays keep their kind (JAX or NumPy) and dtype."""
    import h5py

    with h5py.File(path, "r") as file:
        return _read(file["record"])


def _write(group: Any, name: str, value: Any) -> None:
    """Write one value as the member ``name`` of a group."""
    if _is_array(value):
        _write_array(group, name, value)
    elif isinstance(value, _PLAIN):
        _write_json(group, name, "plain", value)
    elif type(value) in (list, tuple) and all(isinstance(item, _PLAIN) for item in value):
        _write_json(group, name, type(value).__name__, list(value))
    elif type(value) in (list, tuple):
        _write_group(group, name, type(value).__name__, {str(i): item for i, item in enumerate(value)})
    elif isinstance(value, dict):
        bad = [key for key in value if not isinstance(key, str) or not key or "/" in key or key == "."]
        if bad:
            raise TypeError(f"{group.name}/{name}: keys of a stored dict are texts without `/`, not {bad[0]!r}")
        _write_group(group, name, "dict", value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        child = _write_group(group, name, "record", fields)
        child.attrs["class"] = _reference(type(value), f"{group.name}/{name}")
    elif isinstance(value, type) or callable(value):
        _write_json(group, name, "reference", _reference(value, f"{group.name}/{name}"))
    else:
        raise TypeError(f"{group.name}/{name}: cannot store a {type(value).__name__}: give arrays, records or numbers")


def _write_group(group: Any, name: str, kind: str, members: dict[str, Any]) -> Any:
    """Write named members as a group that remembers their order."""
    child = group.create_group(name, track_order=True)
    child.attrs["kind"] = kind
    for key, member in members.items():
        _write(child, key, member)
    return child


def _write_json(group: Any, name: str, kind: str, value: Any) -> None:
    """Write plain data as a JSON text (which keeps floats exactly, NaN included)."""
    dataset = group.create_dataset(name, data=json.dumps(value))
    dataset.attrs["kind"] = kind


def _write_array(group: Any, name: str, value: Any) -> None:
    """Write an array with its unit; a random key becomes its data and the name of its generator."""
    kind = "numpy" if isinstance(value, np.ndarray | np.generic) else "jax"
    implementation = ""
    if kind == "jax" and "key<" in str(value.dtype):
        jax = sys.modules["jax"]
        implementation = str(jax.random.key_impl(value))
        value = jax.random.key_data(value)
    data = np.asarray(value)
    if data.dtype.kind not in "biufc":
        raise TypeError(f"{group.name}/{name}: cannot store an array of {data.dtype}")
    dataset = group.create_dataset(name, data=data)
    dataset.attrs["kind"] = kind
    dataset.attrs["unit"] = unit_of(name) or unit_of(str(group.name).rsplit("/", 1)[-1])
    if implementation:
        dataset.attrs["random_key"] = implementation


def _read(node: Any) -> Any:
    """The value of a group or a dataset."""
    kind = node.attrs["kind"]
    if kind in ("plain", "reference", "list", "tuple") and hasattr(node, "shape"):
        value = json.loads(node.asstr()[()])
        return _resolve(value) if kind == "reference" else tuple(value) if kind == "tuple" else value
    if kind in ("jax", "numpy"):
        return _read_array(node, kind)
    members = {key: _read(node[key]) for key in node}
    if kind == "dict":
        return members
    if kind in ("list", "tuple"):
        items = [members[str(i)] for i in range(len(members))]
        return tuple(items) if kind == "tuple" else items
    return _build(_resolve(node.attrs["class"]), members)


def _read_array(node: Any, kind: str) -> Any:
    """An array of the kind and dtype that was stored."""
    data = np.asarray(node[()])
    if kind == "numpy":
        return data
    import jax

    if "random_key" in node.attrs:
        return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=node.attrs["random_key"])
    value = jax.numpy.asarray(data)
    if value.dtype != data.dtype:
        raise TypeError(f"{node.name} holds {data.dtype}: enable x64 before reading it (`jax_enable_x64`)")
    return value


def _build(cls: type, members: dict[str, Any]) -> Any:
    """A record with the given fields, without running its ``__init__`` (as JAX itself rebuilds pytrees)."""
    names = {field.name for field in dataclasses.fields(cls)}
    if names != set(members):
        raise TypeError(f"{cls.__name__} has changed: stored fields {sorted(members)}, now {sorted(names)}")
    record = object.__new__(cls)
    for name, member in members.items():
        object.__setattr__(record, name, member)
    return record


def _is_array(value: Any) -> bool:
    """Whether a value is a NumPy or JAX array (without importing JAX)."""
    jax = sys.modules.get("jax")
    is_numpy = isinstance(value, np.ndarray) or (isinstance(value, np.generic) and not isinstance(value, _PLAIN))
    return is_numpy or (jax is not None and isinstance(value, jax.Array))


def _reference(thing: Any, where: str) -> str:
    """``module:name`` of a class or function of this package."""
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    if module.split(".")[0] != _PACKAGE or "<" in name or not name:
        raise TypeError(f"{where}: cannot store {thing!r}: only classes and functions of {_PACKAGE} can be read back")
    return f"{module}:{name}"


def _resolve(reference: str) -> Any:
    """The class or function of this package that ``module:name`` names."""
    module, _, name = reference.partition(":")
    if module.split(".")[0] != _PACKAGE:
        raise TypeError(f"{reference} is not of {_PACKAGE}: not read")
    thing: Any = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing
