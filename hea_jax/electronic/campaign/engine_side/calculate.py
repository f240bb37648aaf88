"""Compute one structure with an ASE calculator: energies, forces, stress, and how they were obtained.

    python calculate.py REQUEST.json

The request names the structure, the calculator, its parameters and where the frame goes. The frame appears there whole
or not at all; otherwise a JSON file says what failed (exit code 1). Energies in eV, lengths in Å. A closed standard
input ends the process, so that nothing computes on for a dead campaign.

Source: Larsen et al. 2017 (ASE calculators); Mortensen et al. 2024 (GPAW).
"""

import importlib
import json
import os
import platform
import sys
import threading
import time
import traceback

FAILED, ABANDONED = 1, 3
NOT_CONVERGED = ("SCFError", "ConvergenceError", "KohnShamConvergenceError")
"""Class names of the errors after which the next set of parameters is tried."""
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")


def make_calculator(request, parameters):
    """The calculator of a request with the given parameters, and the versions behind it."""
    import ase

    name = request["calculator"]
    versions = {"engine": name, "engine_version": ase.__version__, "ase_version": ase.__version__}
    if name == "gpaw":
        gpaw = importlib.import_module("gpaw")
        world = importlib.import_module("gpaw.mpi").world
        if world.size != request["ranks"]:
            raise RuntimeError(
                f"GPAW sees {world.size} MPI process(es), {request['ranks']} were started: these are serial copies. "
                "The launcher must belong to the MPI library that GPAW was built with."
            )
        return gpaw.GPAW(**parameters, txt="-"), {**versions, "engine_version": gpaw.__version__}
    if name == "emt":
        from ase.calculators.emt import EMT

        return EMT(**parameters), versions
    if name == "lennard-jones":
        from ase.calculators.lj import LennardJones

        return LennardJones(**parameters), versions
    module_name, _, factory = name.partition(":")
    module = importlib.import_module(module_name)
    version = str(getattr(module, "__version__", "unknown"))
    return getattr(module, factory)(**parameters), {**versions, "engine_version": version}


def setups_of(calculator):
    """Name and fingerprint of every PAW setup that GPAW used."""
    holder = getattr(calculator, "wfs", None) or getattr(calculator, "dft", None)
    setups = getattr(holder, "setups", None) or []
    found = {}
    for setup in setups:
        data = getattr(setup, "data", setup)
        file = os.path.basename(str(getattr(data, "filename", "") or ""))
        found[setup.symbol] = f"{file} {getattr(data, 'fingerprint', '') or ''}".strip()
    return found


def computed(request, parameters, attempt):
    """The structure as an ASE frame with its results; raises what the calculator raises."""
    import numpy as np
    from ase import Atoms
    from ase.calculators.calculator import PropertyNotImplementedError

    atoms = Atoms(request["symbols"], positions=request["positions"], cell=request["cell"], pbc=True)
    atoms.calc, versions = make_calculator(request, parameters)
    started = time.perf_counter()
    energy_is = "free energy"
    try:
        free = atoms.get_potential_energy(force_consistent=True)
    except PropertyNotImplementedError:
        free, energy_is = atoms.get_potential_energy(), "energy (the calculator has no free energy)"
    out = Atoms(request["symbols"], positions=atoms.positions, cell=atoms.cell, pbc=True)
    out.info.update(name=request["name"], group=request["group"], free_energy_eV=float(free),
                    energy_eV=float(atoms.get_potential_energy()))
    if request["stress"]:
        out.info["stress_eV_per_A3"] = np.array(atoms.get_stress(voigt=False))
    if request["kpts"]:
        out.info["kpts"] = np.array(request["kpts"])
    out.arrays["forces_eV_per_A"] = atoms.get_forces()
    out.info["seconds"] = round(time.perf_counter() - started, 2)
    numbers = [out.info["free_energy_eV"], out.info["energy_eV"], *out.arrays["forces_eV_per_A"].ravel(),
               *np.ravel(out.info.get("stress_eV_per_A3", 0.0))]
    if not np.isfinite(numbers).all():
        raise ArithmeticError("energy, forces or stress are not finite")
    setups = setups_of(atoms.calc)
    date = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    out.info.update(versions, **request["provenance"], energy_with_forces=energy_is, parameters=json.dumps(parameters),
                    attempt=attempt, date=date, python_version=platform.python_version())
    if setups:
        out.info["setups"] = json.dumps(setups)
    return out


def write_whole(path, write):
    """Have ``write`` fill a file beside ``path``, flush it, then move it there in one step."""
    partial = f"{path}.partial-{os.getpid()}"
    write(partial)
    with open(partial, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, path)


def write_failure(request, error, attempts):
    """Say what went wrong where the campaign looks for it."""
    record = {"name": request["name"], "group": request["group"], "error": f"{type(error).__name__}: {error}"[:2000],
              "attempts": attempts, "settings": request["provenance"]["settings"]}

    def write(path):
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1)

    write_whole(request["failure"], write)


def end_with_the_campaign():
    """End this process when standard input closes."""

    def wait():
        # Not through sys.stdin: its lock would be held when the interpreter shuts down.
        while os.read(0, 1):
            continue
        os._exit(ABANDONED)

    threading.Thread(target=wait, daemon=True).start()


def main(path):
    """Work on one request; returns the exit code."""
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    rank = next((int(os.environ[v]) for v in RANK_VARIABLES if v in os.environ), 0) if request["ranks"] > 1 else 0
    if rank == 0:
        end_with_the_campaign()
    sys.path[:] = [*request["module_path"], *sys.path]
    changes = [{}, *request["retries"]]
    for attempt, change in enumerate(changes, start=1):
        try:
            frame = computed(request, {**request["parameters"], **change}, attempt)
        except Exception as error:
            traceback.print_exc()
            again = any(cls.__name__ in NOT_CONVERGED for cls in type(error).__mro__)
            if again and attempt < len(changes):
                print(f"attempt {attempt} did not converge; trying again with {changes[attempt]}", flush=True)
                continue
            if rank == 0:
                write_failure(request, error, attempt)
            return FAILED
        if rank == 0:
            from ase.io import write

            write_whole(request["result"], lambda partial, frame=frame: write(partial, frame, format="extxyz"))
        return 0
    return FAILED


if __name__ == "__main__":
    # The folder of this file holds no modules for the calculator to find.
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    sys.exit(main(sys.argv[1]))
