"""Stages of the mesoscale: as-cast segregation and its anneal, grain growth in the plane and in space."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.config.chain_models import COARSEN
from hea_jax.app.plots import field_slice, grains_slice
from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.runs.vtkhdf import save_image_data
from hea_jax.core.results import failure_message
from hea_jax.hierarchical.anneal import (
    composition_stderr,
    diffusion_model,
    grain_model,
    of_elements_present,
    relaxation_rates,
)
from hea_jax.hierarchical.atoms_to_grains import boundary_mobility, diffusivities
from hea_jax.mesoscale.descriptors import boundary_points, grain_count, mean_grain_size_nm, mean_wavelength_nm
from hea_jax.mesoscale.driver import AdaptiveStep, Evolution, run_evolution
from hea_jax.mesoscale.equations import complete, reduce
from hea_jax.mesoscale.evolve import check_resolution
from hea_jax.mesoscale.grain_growth import grains_of, order_parameters, relaxation_time_s
from hea_jax.mesoscale.grid import PeriodicGrid, grid_of
from hea_jax.mesoscale.steppers import IMEXRK2
from hea_jax.records import Microstructure
from hea_jax.structures.polycrystal import voronoi_polycrystal
from hea_jax.structures.rotations import random_rotations
from hea_jax.structures.segregation import melting_partition, segregated_composition

PHYSICAL_WIDTH_NM = 1.0
"""Width of a real high-angle grain boundary (Sutton & Balluffi 1995), beside which the diffuse width is stated."""
STEP_IN_RELAXATION_TIMES = 0.5
"""Boundaries then move about 3% too slowly."""


@dataclasses.dataclass(frozen=True)
class Anneal:
    """A homogenisation anneal: elements, fields as cast and annealed with standard errors, the run, its grid."""

    names: list[str]
    cast: jax.Array
    annealed: jax.Array
    error: jax.Array
    run: Evolution
    grid: PeriodicGrid


def run_segregation(config, inputs, context):
    """Stage ``segregation``: the as-cast composition field and what an anneal leaves of it."""
    section, whole = config.segregation, inputs["properties"]["record"]
    properties, present = of_elements_present(whole)
    names, mean = list(properties.elements), np.asarray(properties.composition)
    key = jax.random.fold_in(jax.random.key(config.seed), 41)
    cast = segregated_composition(
        key,
        mean / mean.sum(),
        melting_partition(names, section.amplitude),
        section.grid,
        section.voxel_nm,
        wavelength_nm=section.wavelength_nm,
    )
    grid = grid_of(section.grid, section.voxel_nm)
    model = diffusion_model(properties, grid, section.temperature_K)
    context.progress("diffusion of the as-cast segregation")
    sol = run_evolution(
        model,
        IMEXRK2(),
        reduce(cast),
        dt_s=section.time_s / 1e4,
        t_end_s=section.time_s,
        chunk=10,
        control=AdaptiveStep(tolerance=section.tolerance),
        on_chunk=lambda s, _: context.progress("diffusion", round(1e3 * s.t_s / section.time_s), 1000),
    )
    run = sol.unwrap()
    annealed = complete(run.fields)
    context.progress("standard errors of the composition")
    error = composition_stderr(
        properties, cast, jnp.asarray(section.voxel_nm), section.temperature_K, section.time_s, coarsen=COARSEN
    )
    absent = jnp.zeros((len(whole.elements), *section.grid))
    record = {
        "composition": absent.at[present].set(annealed),
        "composition_stderr": absent.at[present].set(error),
        "voxel_nm": jnp.full(2, section.voxel_nm),
    }
    save_image_data(
        context.path("segregation.vtkhdf"),
        {f"cast_{e}": np.asarray(cast[k]) for k, e in enumerate(names)}
        | {f"annealed_{e}": np.asarray(annealed[k]) for k, e in enumerate(names)},
        [section.voxel_nm] * 2,
    )
    anneal = Anneal(names, cast, annealed, error, run, grid)
    numbers, verdicts = _segregation_numbers(section, properties, anneal)
    return StageResult(
        record,
        numbers,
        verdicts,
        (_segregation_section(section, anneal),),
        (f"segregation_{names[-1]}", f"segregation_{names[-1]}_as_cast"),
    )


def _spread(field):
    """Standard deviation over the grid of every element."""
    return np.asarray(jnp.std(field, axis=(1, 2)))


def _segregation_numbers(section, properties, anneal: Anneal):
    names, grid, history = anneal.names, anneal.grid, anneal.run.history
    rates = np.asarray(relaxation_rates(properties, section.temperature_K, section.wavelength_nm))
    D = np.asarray(diffusivities(properties, section.temperature_K))
    before, after = _spread(anneal.cast), _spread(anneal.annealed)
    spread_error = np.asarray(jnp.sqrt(jnp.mean(anneal.error**2, axis=(1, 2))))
    method = f"{section.time_s:g} s at {section.temperature_K:g} K, {section.grid} voxels of {section.voxel_nm:g} nm"
    numbers = {}
    for k, e in enumerate(names):
        numbers[f"segregation_{e}_as_cast"] = Number(float(before[k]), "1", None, "standard deviation of the fraction")
        numbers[f"segregation_{e}"] = Number(float(after[k]), "1", float(spread_error[k]), method)
        numbers[f"self_diffusivity_{e}"] = Number(
            1e-18 * float(D[properties.elements.index(e)]), "m²/s", None, "table of the configuration"
        )
    drift = float(np.max(np.abs(history.conserved - history.conserved[0])))
    rise = float(np.max(np.diff(history.energy)))
    numbers |= {
        "slowest_relaxation_time": Number(1 / float(rates[0]), "s", None, "composition waves of the dendrite spacing"),
        "segregation_time": Number(section.time_s, "s", None, "physical time of the anneal"),
        "segregation_voxel": Number(section.voxel_nm, "nm", None, "edge of a voxel"),
        "points_per_wavelength": Number(
            float(mean_wavelength_nm(anneal.cast[-1], grid)) / section.voxel_nm,
            "1",
            None,
            "measured wavelength over the voxel; no interface forms: the alloy does not demix",
        ),
        "segregation_mass_drift": Number(drift, "1", None, "largest change of a mean fraction"),
        "free_energy_released": Number(
            float(history.energy[0] - history.energy[-1]) / (grid.points * float(grid.voxel_volume())),
            "GPa",
            None,
            "per volume, by the anneal",
        ),
    }
    verdicts = (
        Verdict("segregation: mass is conserved", drift <= 1e-12, f"largest drift {drift:.1e}"),
        Verdict("segregation: free energy falls", rise <= 0, f"largest change between chunks {rise:.2e} GPa nm²"),
    )
    return numbers, verdicts


def _segregation_section(section, anneal: Anneal):
    names, cast, annealed, run = anneal.names, anneal.cast, anneal.annealed, anneal.run
    last = len(names) - 1
    figures = [
        ReportFigure(
            "cast",
            f"Fraction of {names[last]} as cast.",
            field_slice(cast[last], [section.voxel_nm] * 2, label=f"fraction of {names[last]}"),
        ),
        ReportFigure(
            "annealed",
            f"Fraction of {names[last]} after {section.time_s:g} s at {section.temperature_K:g} K.",
            field_slice(annealed[last], [section.voxel_nm] * 2, label=f"fraction of {names[last]}"),
        ),
        ReportFigure(
            "free_energy",
            "Free energy and time step of the anneal.",
            panels(
                [
                    Panel(
                        "time (s)",
                        "F − F(end) (GPa nm²)",
                        [Curve("", run.history.t_s, run.history.energy - run.history.energy[-1])],
                    ),
                    Panel(
                        "time (s)", "time step (s)", [Curve("", run.history.t_s[1:], run.history.dt_s[1:])], log_y=True
                    ),
                ]
            ),
        ),
    ]
    before, after = _spread(cast), _spread(annealed)
    rows = [[e, f"{b:.4f}", f"{a:.4f}", f"{a / b:.2f}"] for e, b, a in zip(names, before, after, strict=True)]
    table = Table(["element", "as cast", "annealed", "ratio"], rows, "Standard deviation of the atomic fractions")
    text = (
        f"Composition on {section.grid[0]}×{section.grid[1]} voxels of {section.voxel_nm:g} nm: dendrites "
        f"{section.wavelength_nm:g} nm apart, annealed for {section.time_s:g} s at {section.temperature_K:g} K. Free "
        "energy: mixing enthalpies of the atoms and ideal entropy; mobilities by Darken from tabulated "
        "self-diffusivities."
    )
    uphill = [e for e, b, a in zip(names, before, after, strict=True) if a > b]
    if uphill:
        text += f" {', '.join(uphill)} segregates further meanwhile: uphill diffusion, driven by the other elements."
    return ReportSection("As-cast segregation and its anneal", text, [table], figures)


def run_grains(config, inputs, context):
    """Stage ``grains``: grain growth in space, once per realisation, and in the plane."""
    properties, field = inputs["properties"]["record"], inputs["segregation"]
    width = config.grains.interface_points * config.rve.voxel_nm
    runs, structures = [], []
    for k in range(config.rve.n_realisations):
        context.progress("grain growth in space", k, config.rve.n_realisations)
        key = jax.random.fold_in(jax.random.key(config.seed), 10_000 + k)
        run = _grow(config, properties, key, config.rve.grid, config.rve.n_grains, width)
        runs.append(run)
        rotations = random_rotations(jax.random.fold_in(key, 1), config.rve.n_grains)
        structures.append(
            # Vanished grains keep their rotation: all realisations have one shape, hence one compiled program.
            Microstructure(
                run["grains"],
                rotations,
                jnp.full(3, config.rve.voxel_nm),
                field["composition"],
                field["composition_stderr"],
                field["voxel_nm"],
            )
        )
    context.progress("grain growth in the plane")
    key = jax.random.fold_in(jax.random.key(config.seed), 42)
    plane = _grow(config, properties, key, config.grains.plane_grid, config.grains.n_plane_grains, width)
    first = structures[0]
    save_image_data(
        context.path("grains.vtkhdf"),
        {"grain": np.asarray(first.phases), "start": np.asarray(runs[0]["start"])},
        np.asarray(first.voxel_nm),
    )
    save_image_data(
        context.path("grains_plane.vtkhdf"),
        {"grain": np.asarray(plane["grains"]), "start": np.asarray(plane["start"])},
        [config.rve.voxel_nm] * 2,
    )
    numbers, verdicts = _grain_numbers(config, properties, runs, plane, width)
    return StageResult(
        {"microstructures": structures},
        numbers,
        verdicts,
        (_grain_section(config, runs, plane, width),),
        ("grains_left", "mean_grain_size"),
    )


def _grow(config, properties, key, sizes, count, width):
    """One run of grain growth from a Voronoi polycrystal."""
    spatial = (*sizes, 1) if len(sizes) == 2 else sizes
    start = voronoi_polycrystal(key, grains=count, grid=spatial, voxel_nm=config.rve.voxel_nm).phases.reshape(sizes)
    grid = grid_of(sizes, config.rve.voxel_nm)
    model = grain_model(properties, grid, config.grains.temperature_K, width_nm=width)
    fields = order_parameters(start, count, grid, width_nm=width)
    points = check_resolution(model, fields)
    message = failure_message(points.result)
    if message:
        raise RuntimeError(f"grain growth: {message}")
    sol = run_evolution(
        model,
        IMEXRK2(stabilisation=0.5),
        fields,
        dt_s=STEP_IN_RELAXATION_TIMES * float(relaxation_time_s(model)),
        t_end_s=config.grains.time_s,
        chunk=4,
    )
    run = sol.unwrap()
    grains = grains_of(run.fields)
    return {
        "start": start,
        "grains": grains,
        "history": run.history,
        "points": float(points.value),
        "steepest": float(boundary_points(run.fields, grid)),
        "left": int(grain_count(grains, count)),
        "size": [float(mean_grain_size_nm(g, count, grid)) for g in (start, grains)],
    }


def _grain_numbers(config, properties, runs, plane, width):
    left = [run["left"] for run in runs]
    sizes = np.array([run["size"] for run in runs])
    rise = max(float(np.max(np.diff(run["history"].energy) / run["history"].energy[0])) for run in [*runs, plane])
    method = (
        f"{config.grains.time_s:g} s at {config.grains.temperature_K:g} K, mean over {len(runs)} runs on "
        f"{config.rve.grid} voxels of {config.rve.voxel_nm:g} nm"
    )
    n = len(runs) ** 0.5
    numbers = {
        "grains_left": Number(float(np.mean(left)), "1", float(np.std(left, ddof=1) / n), method),
        "grains_left_fewest": Number(min(left), "1", None, "smallest over the runs"),
        "mean_grain_size": Number(
            float(sizes[:, 1].mean()), "nm", float(sizes[:, 1].std(ddof=1) / n), method + "; sphere of the mean volume"
        ),
        "mean_grain_size_at_start": Number(float(sizes[:, 0].mean()), "nm", None, "Voronoi"),
        "plane_grains_left": Number(plane["left"], "1", None, f"in the plane, {config.grains.plane_grid} voxels"),
        "boundary_mobility": Number(
            float(boundary_mobility(properties, config.grains.temperature_K)),
            "nm/(s GPa)",
            None,
            "Turnbull 1951 from tabulated boundary diffusion",
        ),
        "diffuse_width": Number(
            width, "nm", None, f"of the model; a real boundary is about {PHYSICAL_WIDTH_NM:g} nm wide"
        ),
        "interface_points": Number(runs[0]["points"], "1", None, "voxels in the 5-95% width of a boundary"),
        "measured_width_points": Number(
            min(run["steepest"] for run in runs),
            "1",
            None,
            "voxels of a whole step at the steepest slope of the fields at the end, smallest over the runs",
        ),
        "grain_growth_time": Number(config.grains.time_s, "s", None, "physical time of grain growth"),
        "grain_voxel": Number(config.rve.voxel_nm, "nm", None, "edge of a voxel"),
    }
    verdicts = (
        Verdict("grain growth: free energy falls", rise <= 0, f"largest relative change between chunks {rise:.1e}"),
        Verdict(
            "grain growth: at least 8 grains",
            min(left) >= 8,
            f"{min(left)} of {config.rve.n_grains} left in the coarsest run",
        ),
    )
    return numbers, verdicts


def _grain_section(config, runs, plane, width):
    voxel = [config.rve.voxel_nm] * 2
    figures = [
        ReportFigure(
            "grains_start",
            "Grains of the first run at the start, a plane.",
            grains_slice(np.asarray(runs[0]["start"])[:, :, 0], voxel),
        ),
        ReportFigure(
            "grains", "The same plane after grain growth.", grains_slice(np.asarray(runs[0]["grains"])[:, :, 0], voxel)
        ),
        ReportFigure("plane", "Grain growth in the plane.", grains_slice(np.asarray(plane["grains"]), voxel)),
        ReportFigure(
            "grain_energy",
            "Free energy (mostly of boundaries) of every run, over its start.",
            panels(
                [
                    Panel(
                        "time (s)",
                        "F/F(0)",
                        [
                            Curve(f"run {k + 1}", r["history"].t_s, r["history"].energy / r["history"].energy[0])
                            for k, r in enumerate(runs)
                        ]
                        + [Curve("plane", plane["history"].t_s, plane["history"].energy / plane["history"].energy[0])],
                    )
                ]
            ),
        ),
    ]
    text = (
        f"Multi-order-parameter grain growth on {config.rve.grid} voxels of {config.rve.voxel_nm:g} nm for "
        f"{config.grains.time_s:g} s at {config.grains.temperature_K:g} K, {len(runs)} runs. Boundaries are "
        f"{width:g} nm wide in the model ({runs[0]['points']:.1f} voxels from 5% to 95%), "
        f"about {PHYSICAL_WIDTH_NM:g} nm in the "
        "metal; their energy and mobility do not depend on that choice. The grains are the RVE of the next step."
    )
    return ReportSection("Grain growth", text, [], figures)
