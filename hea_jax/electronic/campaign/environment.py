"""Is the engine's environment fit for a campaign? Facts come from its own Python, the judgement is made here.

An MPI program started by the launcher of another MPI library runs as independent serial copies: every process takes
itself for the only one and computes everything.

Source: MPI Forum 2021, MPI 4.0, §11.5 (a launcher and its library belong together).
"""

import dataclasses
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from hea_jax.electronic.campaign.engine import ENGINE_SIDE, Engine

_FAMILIES = (("Open MPI", ("open mpi", "openrte", "prterun", "openmpi", "libmpi.so.40")),
             ("MPICH", ("hydra", "mpich", "libmpich", "libmpi.so.12")), ("Intel MPI", ("intel",)))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about the environment: whether it prevents the campaign, what it is, what to do."""

    fatal: bool
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{'ERROR' if self.fatal else 'warning'}: {self.text}\n    remedy: {self.remedy}"


class EnvironmentUnfit(RuntimeError):
    """The engine cannot run in its environment; the message lists all findings."""


def mpi_family(*texts: str) -> str | None:
    """Which MPI implementation a library or launcher belongs to, by its path or what it says about itself."""
    for text in texts:
        for family, marks in _FAMILIES:
            if any(mark in text.lower() for mark in marks):
                return family
    return None


def environment_facts(engine: Engine, elements: Sequence[str]) -> dict[str, Any]:
    """Facts about the engine's Python; raises ``EnvironmentUnfit`` if it cannot be started."""
    xc = str(engine.method.get("xc", "PBE"))
    command = [engine.python, str(ENGINE_SIDE / "environment_facts.py"), engine.launcher, xc, *elements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False,
                              env=engine.environment(), stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnfit(f"the engine's Python {engine.python!r} does not start ({error}): give the path of a "
                               "Python in `engine.python`") from None
    if done.returncode:
        raise EnvironmentUnfit(f"the engine's Python {engine.python!r} failed: {done.stderr.strip()[-500:]}\n"
                               "give the path of a working Python in `engine.python`")
    return json.loads(done.stdout)


def findings(facts: Mapping[str, Any], engine: Engine) -> list[Finding]:
    """What is wrong with an environment, given its facts; empty if nothing is."""
    python = facts["python"]
    if facts["ase"] is None:
        return [Finding(True, f"{python} has no ase ({facts['ase_error']})", f"{python} -m pip install ase")]
    if engine.calculator != "gpaw":
        return []
    if facts["gpaw"] is None:
        remedy = (f"install it there (`{python} -m pip install gpaw gpaw-data`; it needs a C compiler, libxc-dev, "
                  "libopenblas-dev and MPI headers such as libopenmpi-dev), or name a Python that has it in "
                  "`engine.python` or HEA_JAX_DFT_PYTHON")  # fmt: skip
        more = _foreign_mpi(facts, None, fatal=False)
        return [Finding(True, f"{python} cannot import gpaw ({facts['gpaw_error']})", remedy), *more]
    found = []
    missing = sorted(symbol for symbol, path in facts["setups"].items() if path is None)
    if missing:
        found.append(Finding(True, f"no PAW setups for {', '.join(missing)}",
                             f"`{python} -m pip install gpaw-data`, or point GPAW_SETUP_PATH to their folder"))
    return found + _mpi_findings(facts, engine)


def _mpi_findings(facts: Mapping[str, Any], engine: Engine) -> list[Finding]:
    """Whether several processes would be one calculation."""
    parallel = engine.ranks > 1
    library = mpi_family(facts["gpaw_mpi_text"], facts["gpaw_mpi_library"])
    if not facts["gpaw_mpi_library"]:
        if not parallel:
            return []
        return [Finding(True, "this GPAW is built without MPI: several processes would be serial copies",
                        "set `engine.ranks: 1`, or build GPAW with MPI headers installed (libopenmpi-dev)")]
    found = _foreign_mpi(facts, library, fatal=parallel)
    if facts["launcher"] is None:
        return found + ([Finding(True, f"no launcher {engine.launcher!r}", "give its path in `engine.launcher`")]
                        if parallel else [])
    launcher = mpi_family(facts["launcher_text"], facts["launcher"])
    sizes = facts["trial_sizes"]
    name = library or "its MPI library"
    if sizes and sizes != [2, 2]:
        text = (f"GPAW runs as serial copies: 2 processes of {facts['launcher']} ({launcher or 'unknown MPI'}) see "
                f"world sizes {sizes}; GPAW is linked to {facts['gpaw_mpi_library']} ({name})")  # fmt: skip
        found.append(Finding(parallel, text, f"put the path of the launcher of {name} in `engine.launcher`, or set "
                             "`engine.ranks: 1` and compute several structures at a time (`engine.processes`)"))
    elif launcher and library and launcher != library:
        text = f"{facts['launcher']} belongs to {launcher}, GPAW is linked to {library}: serial copies"
        found.append(Finding(parallel, text, f"put the path of the launcher of {library} in `engine.launcher`"))
    elif parallel and not sizes:
        found.append(Finding(True, f"two processes under {facts['launcher']} failed: {facts['trial_error'][-300:]!r}",
                             "make `LAUNCHER -n 2 gpaw python -c 'pass'` work first, or set `engine.ranks: 1`"))
    return found


def _foreign_mpi(facts: Mapping[str, Any], library: str | None, *, fatal: bool) -> list[Finding]:
    """An MPI package in the same environment that is not the library GPAW is linked to."""
    found = []
    for name, version in facts["distributions"].items():
        family = mpi_family(name)
        if family is None or family == library:
            continue
        linked = f"GPAW is linked to {library}" if library else "a GPAW built with the system's MPI is not its program"
        mine = facts["own_launcher"]
        text = (f"the package {name} {version} brings {family}{f' and its launcher {mine}' if mine else ''} into this "
                f"environment; {linked}: started by that launcher it runs as serial copies")  # fmt: skip
        # Only the launcher that is really used decides; the package beside it is a trap for later.
        worse = fatal and mine is not None and mine == facts["launcher"]
        found.append(Finding(worse, text, "keep GPAW in an environment of its own, without that package"))
    return found


def check_environment(engine: Engine, elements: Sequence[str]) -> list[Finding]:
    """Probe the engine's Python; returns warnings and raises ``EnvironmentUnfit`` if the campaign cannot run there."""
    found = findings(environment_facts(engine, elements), engine)
    if any(finding.fatal for finding in found):
        raise EnvironmentUnfit("\n".join(str(finding) for finding in found))
    return found
