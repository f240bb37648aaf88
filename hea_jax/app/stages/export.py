"""Stage ``export``: the potential as a LAMMPS table, checked against the fit in memory and against LAMMPS itself."""

import jax
import numpy as np

from hea_jax.app.report import ReportSection
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.stages.alloy import equimolar_cells
from hea_jax.atomistic.lammps import lammps_available, lammps_single_point
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials.eam_tabulated import load_eam
from hea_jax.atomistic.potentials.export import to_setfl
from hea_jax.atomistic.properties import energy_forces_stress
from hea_jax.core.units import EV_TO_MEV

TABLE_EV, PEER_EV, PEER_EV_PER_A = 1e-6, 1e-8, 1e-6
"""Demands: table against fit (eV/atom), our table against LAMMPS (eV/atom, eV/Å)."""


def run_export(config, inputs, context):
    """Write ``potential.eam.alloy`` and compare it on a displaced random alloy."""
    parameters = inputs["fit"]["parameters"]
    potential, path = parameters.potential, context.path("potential.eam.alloy")
    to_setfl(potential, path=path, offsets_eV=parameters.offsets_eV, provenance=f"hea_jax run {config.name}")
    atoms = jax.tree.map(lambda a: a[0], equimolar_cells(config, potential).atoms)
    noise = 0.05 * jax.random.normal(jax.random.fold_in(jax.random.key(config.seed), 77), atoms.positions.shape)
    atoms = atoms.displaced(noise)
    pairs = neighbour_table(atoms, potential.cutoff, skin=0.1)
    n = atoms.number
    exact, _, _ = energy_forces_stress(potential, atoms, pairs)
    table_energy, table_forces, _ = energy_forces_stress(load_eam(path), atoms, pairs)
    table_error = abs(float(table_energy - exact)) / n
    numbers = {
        "table_error": Number(table_error * EV_TO_MEV, "meV/atom", None, f"table against fit, {n} displaced atoms")
    }
    verdicts = [Verdict("table equals the fit", table_error <= TABLE_EV, f"{table_error:.1e} eV/atom")]
    text = (
        f"`potential.eam.alloy` holds the potential for LAMMPS. Its interpolated energy is within {table_error:.1e} "
        "eV/atom of the fit."
    )
    available, reason = lammps_available()
    if available:
        peer = lammps_single_point(atoms, path)
        energy_error = abs(peer.energy_eV - float(table_energy)) / n
        force_error = float(np.abs(np.asarray(table_forces) - peer.forces_eV_per_A).max())
        numbers["lammps_energy_difference"] = Number(
            energy_error, "eV/atom", None, "our evaluation of the table, LAMMPS"
        )
        numbers["lammps_force_difference"] = Number(force_error, "eV/Å", None, "largest component")
        verdicts.append(
            Verdict(
                "LAMMPS agrees",
                energy_error <= PEER_EV and force_error <= PEER_EV_PER_A,
                f"{energy_error:.1e} eV/atom, {force_error:.1e} eV/Å",
            )
        )
        text += f" LAMMPS agrees with our evaluation of it to {energy_error:.1e} eV/atom and {force_error:.1e} eV/Å."
    else:
        text += f" LAMMPS was not run: {reason}."
    return StageResult({}, numbers, tuple(verdicts), (ReportSection("LAMMPS table", text),), ("table_error",))
