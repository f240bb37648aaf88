"""Stage ``dynamics``: molecular dynamics of the alloy, and its thermal expansion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.stages.alloy import BASES, fractions_vector
from hea_jax.atomistic.ensembles import Langevin, begin, initial_state, run_dynamics
from hea_jax.atomistic.ensembles.observables import integrated_autocorrelation_time, mean_and_corrected_error
from hea_jax.atomistic.ensembles.thermal_expansion import expansion_coefficient, lattice_constants_of_temperature
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.relaxation import relax
from hea_jax.core.results import failure_message
from hea_jax.structures.alloys import random_alloys

EVERY = 10
"""Steps between samples."""
CHUNK = 250
"""Steps between visits of the host."""


def crystal(config, potential, lattice_A, repeats, seed):
    """One random alloy on a perfect lattice."""
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    row = fractions_vector(config.alloy.composition, potential.elements)
    batch = random_alloys(
        key, [row], potential.elements, float(lattice_A), tuple(repeats), basis=BASES[config.alloy.lattice]
    )
    return jax.tree.map(lambda leaf: leaf[0], batch)


def run_dynamics_stage(config, inputs, context):
    """Stage ``dynamics``: NVT of a large supercell, then lattice constants at several temperatures."""
    potential = inputs["fit"]["parameters"].potential
    lattice = float(inputs["alloy"]["lattice_constant_A"])
    samples, facts = _trajectory(config, potential, lattice, context)
    record, expansion, numbers, section = _expansion(config, potential, inputs["alloy"], context)
    own, verdicts, figure = _observables(config, samples, facts)
    text = (
        f"{facts['atoms']} atoms, {config.dynamics.duration_ps:g} ps at {config.dynamics.temperature_K:g} K with "
        f"steps of {config.dynamics.dt_fs:g} fs after {config.dynamics.equilibration_ps:g} ps of equilibration "
        "(Langevin, BAOAB). "
        f"The neighbour table was rebuilt {facts['rebuilds']} times; a chunk that needs more than its skin is repeated "
        "with a new table, so that no pair is lost."
    )
    sections = (ReportSection("Molecular dynamics", text, [], [figure]), section)
    return StageResult(
        {"expansion": record}, own | numbers, (*verdicts, *expansion), sections, ("md_temperature", "thermal_expansion")
    )


def _trajectory(config, potential, lattice, context):
    """Samples of the measured part of the trajectory (a dict of arrays) and what the driver counted."""
    section = config.dynamics
    atoms = crystal(config, potential, lattice, section.repeats, 31)
    ensemble = Langevin(section.temperature_K, section.friction_per_ps * 1e-3)
    steps = [_whole(t, section.dt_fs) for t in (section.equilibration_ps, section.duration_ps)]
    pairs = neighbour_table(atoms, potential.cutoff)
    key = jax.random.fold_in(jax.random.key(config.seed), 32)
    # Twice the temperature: half of the kinetic energy becomes potential energy within a vibration.
    state = eqx.filter_jit(initial_state)(potential, atoms, pairs, key, temperature_K=2 * section.temperature_K)
    kept = np.full((7, sum(steps) // EVERY), np.nan)
    start, rebuilds = begin(state, section.skin_A), np.zeros(1, int)
    saved = context.restore("trajectory", (start, kept, rebuilds))
    if saved is not None:
        start, kept, rebuilds = saved
        start = eqx.tree_at(lambda p: (p.skin_A, p.capacity), start, (float(start.skin_A), int(start.capacity)))
    total, done = sum(steps), int(start.state.step)
    table = [start]

    def on_chunk(progress, samples):
        # A new reference or a wider skin is a new table.
        same = table[0].skin_A == progress.skin_A and bool(
            jnp.all(table[0].reference.positions == progress.reference.positions)
        )
        rebuilds[0] += not same
        table[0] = progress
        first = int(samples.step[0]) // EVERY - 1
        kept[:, first : first + len(samples.step)] = np.stack(
            [
                samples.step,
                samples.potential_energy_eV,
                samples.kinetic_energy_eV,
                samples.temperature_K,
                samples.pressure_GPa,
                samples.volume_A3,
                samples.msd_A2,
            ]
        )
        context.progress("molecular dynamics", int(progress.state.step), total)
        context.checkpoint("trajectory", (progress, kept, rebuilds))

    if done < total:
        sol = run_dynamics(
            potential,
            ensemble,
            start,
            dt_fs=section.dt_fs,
            steps=total - done,
            every=EVERY,
            chunk=CHUNK,
            skin_A=section.skin_A,
            on_chunk=on_chunk,
        )
        message = failure_message(sol.result)
        if message:
            raise RuntimeError(f"molecular dynamics: {message}")
    names = ("step", "potential_energy_eV", "kinetic_energy_eV", "temperature_K", "pressure_GPa", "volume_A3", "msd_A2")
    measured = dict(zip(names, kept[:, steps[0] // EVERY :], strict=True))
    return measured, {"atoms": atoms.number, "rebuilds": int(rebuilds[0])}


def _whole(time_ps, dt_fs) -> int:
    """Steps of a time, a whole number of chunks."""
    return CHUNK * max(1, round(1e3 * time_ps / dt_fs / CHUNK))


def _observables(config, samples, facts):
    """Numbers, verdicts and the figure of the long trajectory."""
    section = config.dynamics
    means = {
        k: tuple(float(v) for v in mean_and_corrected_error(jnp.asarray(samples[k])))
        for k in ("temperature_K", "pressure_GPa", "potential_energy_eV", "msd_A2")
    }
    tau = float(integrated_autocorrelation_time(jnp.asarray(samples["temperature_K"]))) * EVERY * section.dt_fs
    method = f"NVT, {facts['atoms']} atoms, {section.duration_ps:g} ps; standard error corrected for autocorrelation"
    T, T_error = means["temperature_K"]
    numbers = {
        "md_temperature": Number(T, "K", T_error, method),
        "md_pressure": Number(*_pair(means["pressure_GPa"], "GPa"), method + "; at the zero-temperature volume"),
        "md_energy": Number(
            means["potential_energy_eV"][0] / facts["atoms"],
            "eV/atom",
            means["potential_energy_eV"][1] / facts["atoms"],
            method,
        ),
        "mean_square_displacement": Number(
            *_pair(means["msd_A2"], "Å²"), method + "; from the sites, less the drift of the centre"
        ),
        "temperature_autocorrelation_time": Number(tau, "fs", None, "integrated, automatic window (Sokal 1997)"),
        "neighbour_rebuilds": Number(facts["rebuilds"], "1", None, "tables built after the first"),
    }
    away = abs(T - section.temperature_K) / T_error
    verdicts = (
        Verdict("neighbour table rebuilt", facts["rebuilds"] >= 1, f"{facts['rebuilds']} times; nothing was lost"),
        Verdict(
            "thermostat holds the temperature",
            away <= 3,
            f"{T:.2f} ± {T_error:.2f} K for {section.temperature_K:g} K: {away:.2f} corrected standard errors",
        ),
    )
    time = samples["step"] * section.dt_fs * 1e-3
    figure = panels(
        [
            Panel(
                "time (ps)",
                "temperature (K)",
                [Curve("", time, samples["temperature_K"])],
                {"target": section.temperature_K},
            ),
            Panel("time (ps)", "pressure (GPa)", [Curve("", time, samples["pressure_GPa"])]),
            Panel("time (ps)", "mean-square displacement (Å²)", [Curve("", time, samples["msd_A2"])]),
        ],
        width=3.6,
        height=3.0,
    )
    return numbers, verdicts, ReportFigure("trajectory", "Temperature, pressure and mean-square displacement.", figure)


def _pair(mean_and_error, unit):
    return mean_and_error[0], unit, mean_and_error[1]


def _expansion(config, potential, alloy, context):
    """Lattice constants at temperature from NVT at several volumes: record, verdicts, numbers, section."""
    section = config.dynamics
    context.progress("thermal expansion: dynamics at several volumes and temperatures")
    lattice = float(alloy["lattice_constant_A"])
    atoms = crystal(config, potential, lattice, section.expansion_repeats, 33)
    cells = int(np.prod(section.expansion_repeats))
    rest = relax(potential, atoms, neighbour_table(atoms, potential.cutoff, skin=config.alloy.skin_A)).unwrap()[1]
    skip, keep = (_whole(t, section.dt_fs) for t in (section.expansion_equilibration_ps, section.expansion_duration_ps))
    sol = lattice_constants_of_temperature(
        potential,
        atoms,
        jax.random.fold_in(jax.random.key(config.seed), 34),
        temperatures_K=section.expansion_temperatures_K,
        cubic_cells=cells,
        strains=section.expansion_strains,
        dt_fs=section.dt_fs,
        steps=skip + keep,
        discard=skip,
        every=EVERY,
        chunk=CHUNK,
        friction_per_fs=section.friction_per_ps * 1e-3,
    )
    found = sol.unwrap()
    T = np.asarray(found.temperatures_K)
    # One cell of the alloy: its stretch is that of the alloy, its lattice constant is not.
    own = float(jnp.cbrt(rest.volume / cells))
    stretch, stretch_error = np.asarray(found.lattice_constants_A) / own, np.asarray(found.errors_A) / own
    a = lattice * stretch
    error = np.hypot(lattice * stretch_error, stretch * float(alloy["lattice_constant_stderr_A"]))
    p = np.asarray(found.pressures_GPa)
    points = (jnp.asarray(v) for v in (T, a, lattice * stretch_error))
    alpha, alpha_error = (float(v) for v in expansion_coefficient(*points))
    method = (
        f"NVT at {len(section.expansion_strains)} volumes of {atoms.number} atoms, "
        f"{section.expansion_duration_ps:g} ps each; classical, zero pressure; error: dynamics, "
        "and scatter of a(0) over the alloy cells"
    )
    numbers = {
        f"lattice_constant_{t:g}K": Number(float(x), "Å", float(e), method) for t, x, e in zip(T, a, error, strict=True)
    }
    numbers["thermal_expansion"] = Number(alpha, "1/K", alpha_error, f"linear, mean over {T[0]:g}–{T[-1]:g} K")
    enclosed = bool(((p.max(axis=1) >= 0) & (p.min(axis=1) <= 0)).all())
    if not enclosed:
        raise RuntimeError(
            f"the volumes do not enclose zero pressure ({p.min():.2f} to {p.max():.2f} GPa): widen "
            "dynamics.expansion_strains"
        )
    verdicts = (
        Verdict(
            "volumes enclose zero pressure",
            True,
            f"pressures from {p.min():.2f} to {p.max():.2f} GPa: nothing is extrapolated",
        ),
    )
    report = _expansion_section(found, a, error, f"α = ({1e6 * alpha:.2f} ± {1e6 * alpha_error:.2f})·10⁻⁶/K. {method}.")
    record = {"temperatures_K": T, "lattice_constants_A": a, "errors_A": error, "stretches": stretch}
    return record, verdicts, numbers, report


def _expansion_section(found, a, error, text):
    """Pressures over volume, and lattice constants over temperature."""
    T, p = np.asarray(found.temperatures_K), np.asarray(found.pressures_GPa)
    V = np.asarray(found.volumes_A3)
    isotherms = [Curve(f"{t:g} K", V[k], p[k], np.asarray(found.pressure_errors_GPa)[k]) for k, t in enumerate(T)]
    figure = panels(
        [
            Panel("volume per cubic cell (Å³)", "pressure (GPa)", isotherms, {"zero": 0.0}),
            Panel("temperature (K)", "lattice constant (Å)", [Curve("", T, a, error)]),
        ]
    )
    rows = [[f"{t:g}", f"{x:.5f}", f"{e:.5f}"] for t, x, e in zip(T, a, error, strict=True)]
    return ReportSection(
        "Thermal expansion",
        text,
        [Table(["T (K)", "a (Å)", "standard error (Å)"], rows, "Lattice constants at zero pressure")],
        [
            ReportFigure(
                "expansion",
                "Pressure against volume at each temperature, and the lattice constants where it vanishes.",
                figure,
            )
        ],
    )
