"""The engine of a campaign: which calculator, with which parameters, in which Python, on how many processes.

Source: Larsen et al. 2017 (ASE calculators).
"""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hea_jax
from hea_jax.electronic.campaign.tasks import Task

PYTHON_VARIABLE = "HEA_JAX_DFT_PYTHON"
"""Environment variable that names the Python of the engine where the configuration does not."""

ENGINE_SIDE = Path(__file__).with_name("engine_side")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def default_python() -> str:
    """The Python of the environment variable, or the running one."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


@dataclasses.dataclass(frozen=True)
class Engine:
    """An ASE calculator and how to start it.

    ``calculator``: ``gpaw``, ``emt``, ``lennard-jones`` or ``module:factory``; ``parameters`` are its keywords (plain
    data); ``kpts`` of a structure are added. ``retries`` are changes of the parameters, tried in turn when a
    calculation does not converge. ``method`` (xc, cut-off, smearing, …) is written into every frame. ``processes``
    structures are computed at a time, each by ``ranks`` MPI processes of ``threads`` threads; ``timeout_s`` in s.
    """

    calculator: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    retries: tuple[Mapping[str, Any], ...] = ()
    method: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    python: str = dataclasses.field(default_factory=default_python)
    processes: int = 1
    threads: int = 1
    ranks: int = 1
    launcher: str = "mpiexec"
    timeout_s: float | None = None
    stress: bool = True
    module_path: tuple[str, ...] = ()

    def parameters_for(self, task: Task) -> dict[str, Any]:
        """All keywords of the calculator for one structure."""
        parameters = {**self.parameters, **task.parameters}
        if task.kpts is None:
            return parameters
        kpts = {"size": list(task.kpts), "gamma": True} if self.calculator == "gpaw" else list(task.kpts)
        return {**parameters, "kpts": kpts}

    def settings(self, task: Task) -> str:
        """Digest of all that decides a structure's result besides the structure: results of others are not reused."""
        plain = [self.calculator, self.parameters_for(task), dict(self.method), self.stress]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    def request(self, task: Task, *, result: Path, failure: Path) -> dict[str, Any]:
        """What the engine's process is told about one structure; lengths in Å."""
        crystal = task.crystal
        return {
            "name": task.name, "group": task.group, "symbols": list(crystal.symbols),
            "positions": crystal.positions.tolist(), "cell": crystal.cell.tolist(),
            "kpts": list(task.kpts) if task.kpts else None, "calculator": self.calculator,
            "parameters": self.parameters_for(task), "retries": [dict(change) for change in self.retries],
            "ranks": self.ranks, "stress": self.stress, "module_path": list(self.module_path),
            "provenance": {**self.method, "settings": self.settings(task), "hea_jax": hea_jax.__version__},
            "result": str(result.absolute()), "failure": str(failure.absolute()),
        }  # fmt: skip

    def command(self, request: Path) -> list[str]:
        """The command line that computes a request."""
        start = [self.launcher, "-n", str(self.ranks)] if self.ranks > 1 else []
        return [*start, self.python, str(ENGINE_SIDE / "calculate.py"), str(request.absolute())]

    def environment(self) -> dict[str, str]:
        """Environment of the engine's processes: threads, MPI switch, and no paths of this Python in another."""
        variables = dict(os.environ, PYTHONUNBUFFERED="1", **dict.fromkeys(_THREADS, str(self.threads)))
        if self.ranks > 1:
            variables["GPAW_MPI_BACKEND"] = "cgpaw"
        if Path(self.python).absolute() != Path(sys.executable).absolute():
            for name in ("PYTHONPATH", "PYTHONHOME"):
                variables.pop(name, None)
        return variables


def gpaw_engine(*, cutoff_eV: float, smearing_eV: float, xc: str = "PBE", parameters: Mapping[str, Any] | None = None,
                **options: Any) -> Engine:
    """GPAW with plane waves: cut-off and Fermi–Dirac width in eV; ``options`` are other fields of ``Engine``."""
    keywords = {"mode": {"name": "pw", "ecut": cutoff_eV}, "xc": xc,
                "occupations": {"name": "fermi-dirac", "width": smearing_eV}, **(parameters or {})}  # fmt: skip
    method = {"xc": xc, "cutoff_eV": cutoff_eV, "smearing_eV": smearing_eV, "smearing": "Fermi-Dirac"}
    return Engine("gpaw", keywords, method=method, **options)
