"""Facts about a Python environment, as JSON on standard output: engines, PAW setups, MPI libraries and launchers.

    python environment_facts.py LAUNCHER XC SYMBOL...

Nothing is judged here, and only the standard library is needed.

Source: MPI Forum 2021, MPI 4.0, §8.1.1 (MPI_Get_library_version may be called before MPI_Init).
"""

import ctypes
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys

MPI_PACKAGES = ("mpich", "openmpi", "mpi4py", "impi-rt", "mvapich")
TRIAL = "from gpaw.mpi import world; print('ranks', world.size, flush=True)"


def version_of(module):
    """Version of a module that can be imported, or the reason why not."""
    try:
        found = importlib.import_module(module)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
    return str(getattr(found, "__version__", "unknown")), None


def distributions():
    """Versions of the packages that bring an MPI library or need one."""
    found = {}
    for name in MPI_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def setups(symbols, xc):
    """PAW setup file of every symbol, or None."""
    search_for_file = importlib.import_module("gpaw.setup_data").search_for_file
    found = {}
    for symbol in symbols:
        try:
            found[symbol] = str(search_for_file(f"{symbol}.{xc}")[0])
        except Exception as error:
            found[symbol] = None
            print(f"{symbol}: {error}", file=sys.stderr)
    return found


def mpi_of_gpaw():
    """Path and self-description of the MPI library that GPAW's compiled part has loaded; empty without MPI."""
    if not hasattr(importlib.import_module("_gpaw"), "Communicator"):
        return "", ""
    loaded = []
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            loaded = [line.split()[-1] for line in stream if "/libmpi" in line]
    plain = sorted({path for path in loaded if os.path.basename(path).startswith(("libmpi.", "libmpich."))})
    if not plain:
        return "unknown", ""
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int(0)
    ctypes.CDLL(plain[0]).MPI_Get_library_version(text, ctypes.byref(length))
    return plain[0], text.value.decode(errors="replace").split("\n")[0][:120]


def launcher_text(launcher):
    """What a launcher says about itself."""
    path = shutil.which(launcher)
    if path is None:
        return None, ""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return path, (done.stdout + done.stderr)[:300]


def trial(launcher):
    """World sizes that two processes under the launcher see, and what they said if they failed."""
    environment = dict(os.environ, GPAW_MPI_BACKEND="cgpaw", OMP_NUM_THREADS="1")
    command = [launcher, "-n", "2", sys.executable, "-c", TRIAL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return [], "no answer within two minutes"
    sizes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("ranks ")]
    return sizes, (done.stdout + done.stderr)[-500:] if done.returncode else ""


def main(launcher, xc, symbols):
    """All facts as a plain dictionary."""
    facts = {"python": sys.executable, "python_version": platform.python_version(), "distributions": distributions(),
             "setups": {}, "gpaw_mpi_library": "", "gpaw_mpi_text": "", "trial_sizes": None, "trial_error": ""}
    facts["ase"], facts["ase_error"] = version_of("ase")
    facts["gpaw"], facts["gpaw_error"] = version_of("gpaw")
    facts["launcher"], facts["launcher_text"] = launcher_text(launcher)
    beside = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    facts["own_launcher"], facts["own_launcher_text"] = launcher_text(beside)
    if facts["gpaw"]:
        facts["setups"] = setups(symbols, xc)
        facts["gpaw_mpi_library"], facts["gpaw_mpi_text"] = mpi_of_gpaw()
        if facts["gpaw_mpi_library"] and facts["launcher"]:
            facts["trial_sizes"], facts["trial_error"] = trial(facts["launcher"])
    return facts


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    json.dump(main(sys.argv[1], sys.argv[2], sys.argv[3:]), sys.stdout)
