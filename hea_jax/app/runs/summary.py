"""``summary.json``: every number of a run with unit, uncertainty and provenance; verdicts, versions, seconds."""

import functools
import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hea_jax
from hea_jax.app.runs.atomic import canonical_json, digest, file_digest
from hea_jax.app.runs.folder import StoredResult
from hea_jax.app.runs.stage import Stage

_LIBRARIES = ("jax", "jaxlib", "equinox", "optax", "lineax", "optimistix", "numpy", "scipy")
# A change in these cannot change a result.
_NO_RESULT = ("app/cli.py", "app/config/", "app/report/html", "app/runs/progress.py", "app/verify/")


def versions() -> dict[str, str]:
    """Versions of the package, of Python and of the libraries that compute."""
    found = {"hea_jax": hea_jax.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "absent"
    return found


@functools.cache
def code_hash() -> str:
    """Digest of the package's sources that can change a result, and of the libraries' versions."""
    root = Path(hea_jax.__file__).parent
    sources = {
        str(path.relative_to(root)): file_digest(path)
        for path in sorted(root.rglob("*.py"))
        if not path.relative_to(root).as_posix().startswith(_NO_RESULT)
    }
    return digest(canonical_json([sources, versions()]))


def machine() -> dict[str, Any]:
    """Where a result was computed (the device only if JAX was used)."""
    jax = sys.modules.get("jax")
    device = jax.devices()[0].device_kind if jax is not None else "none"
    return {"platform": platform.platform(), "device": device}


def summarise(
    config: dict[str, Any], stages: Sequence[Stage], results: Mapping[str, StoredResult]
) -> dict[str, Any]:
    """The summary of a finished run. All that may differ between two runs of the same thing stands in ``seconds``."""
    numbers = {
        f"{stage.name}.{key}": number
        for stage in stages
        for key, number in results[stage.name].data["numbers"].items()
    }
    return {
        "name": config["name"],
        "config_hash": digest(canonical_json(config)),
        "code_hash": code_hash(),
        "versions": versions(),
        "numbers": numbers,
        "verdicts": [verdict for stage in stages for verdict in results[stage.name].data["verdicts"]],
        "warnings": [warning for stage in stages for warning in results[stage.name].data["warnings"]],
        "seconds": {
            "stages": {stage.name: results[stage.name].seconds for stage in stages},
            "total": sum(results[stage.name].seconds for stage in stages),
            "machines": {stage.name: results[stage.name].machine for stage in stages},
        },
    }


def without_timings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as two runs of the same thing must agree on."""
    return {key: value for key, value in summary.items() if key != "seconds"}
