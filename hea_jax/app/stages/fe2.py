"""Stage ``fe2``: the panel at finite strain with an RVE of the phase field in every quadrature point."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.plots_mesh import newton_residuals
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.runs.vtkhdf import save_unstructured_grid
from hea_jax.app.stages.component import panel_plot
from hea_jax.concurrent.fe2 import fe2_response, mean_of
from hea_jax.concurrent.fe2_driver import FE2Answer, MacroLoad, observed_order, solve_fe2
from hea_jax.continuum.grid import HEX8R
from hea_jax.continuum.laws.cubic_neo_hooke import CubicNeoHooke, crystal, grains
from hea_jax.continuum.laws.neo_hooke import NeoHooke
from hea_jax.continuum.mesh.component import component_of, loads_of
from hea_jax.continuum.mesh.discretisation import Discretisation, cell_means, deformation_gradients
from hea_jax.continuum.mesh.elements import Quad4
from hea_jax.continuum.mesh.generators import cooks_membrane
from hea_jax.continuum.mesh.meshes import Mesh, discretise, fixed_at, nearest_node, traction_forces
from hea_jax.continuum.mesh.solve import load_steps
from hea_jax.continuum.rve import RVE
from hea_jax.core.results import failure_message
from hea_jax.core.tensors import isotropic_projection
from hea_jax.hierarchical.panel import CORNER

TANGENT_RTOL = 1e-6
MIN_ORDER = 1.8
MICRO_TOLERANCE = 1e-11
FLOOR = 1e-11
"""Residuals below it are those of the micro solves, or round-off."""
TOGETHER = 4
"""RVEs in one lane of the batched call: what stays in the cache of a CPU."""
CHECKED_POINTS = 3
"""Quadrature points whose tangent is compared with finite differences."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """The FE² problem of a configuration: mesh, its tables, RVE and voxels of every point, law of the grains, load."""

    mesh: Mesh
    disc: Discretisation
    rve: RVE
    phases: jax.Array
    law: CubicNeoHooke
    load: MacroLoad
    tip: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What FE² gave: answer and statistics of the driver, error of the tangents, the curve (load factor, tip
    displacement in nm), and the same curve of the homogenised law."""

    answer: FE2Answer
    stats: dict
    tangent_error: float
    curve: np.ndarray
    homogenised: np.ndarray


def setup(config, inputs) -> Setup:
    """RVEs are windows of the first phase-field microstructure, cut at a random place for every quadrature point."""
    section, record = config.fe2, inputs["grains"]["microstructures"][0]
    cubic = inputs["properties"]["record"].elastic_constants_GPa[0]
    scale = config.component.scale_nm
    if section.rve_voxels > min(record.phases.shape):
        raise ValueError(
            f"fe2.rve_voxels is {section.rve_voxels}, the microstructure has {record.phases.shape} voxels: "
            "use a smaller window, or a larger rve.grid"
        )
    mesh = cooks_membrane(section.elements, Quad4(), scale=scale)
    disc = discretise(mesh)
    number, n = disc.points[0] * disc.points[1], section.rve_voxels
    corners = jax.random.randint(
        jax.random.fold_in(jax.random.key(config.seed), 51), (number, 3), 0, jnp.asarray(record.phases.shape)
    )
    phases = jnp.stack([jnp.roll(record.phases, -corner, (0, 1, 2))[:n, :n, :n] for corner in corners])
    rve = RVE(phases[0], record.voxel_nm, HEX8R())
    force = traction_forces(mesh, "right", jnp.array([0.0, section.shear_traction_GPa]))
    load = MacroLoad(jnp.asarray(fixed_at(mesh, {"left": (0, 1)})), jnp.zeros_like(force), force)
    return Setup(
        mesh,
        disc,
        rve,
        phases,
        grains(crystal(*cubic), record.rotations),
        load,
        nearest_node(mesh, [x * scale for x in CORNER]),
    )


def run_fe2(config, inputs, context):
    """Stage ``fe2``: Newton on the panel, all RVEs in one batched call per iteration, against the homogenised law."""
    section, problem = config.fe2, setup(config, inputs)
    curve = [(0.0, 0.0)]

    def on_step(state):
        curve.append((float(state.factor), float(state.u[problem.tip, 1])))
        context.progress(f"FE²: load factor {curve[-1][0]:.2f}")

    context.progress(f"FE²: {len(problem.phases)} RVEs of {section.rve_voxels}³ voxels")
    sol = solve_fe2(
        problem.disc,
        problem.rve,
        problem.law,
        problem.load,
        steps=section.load_steps,
        rtol=section.rtol,
        micro_tolerance=MICRO_TOLERANCE,
        phases=problem.phases,
        batch_size=TOGETHER,
        on_step=on_step,
    )
    message = failure_message(sol.result)
    if message:
        raise RuntimeError(f"FE²: {message}")
    context.progress("FE²: tangents against finite differences")
    outcome = Outcome(
        sol.value, sol.stats, _tangent_error(problem, sol.value), np.array(curve), _homogenised(config, inputs, problem)
    )
    numbers, verdicts = _numbers(config, problem, outcome)
    _save(context, problem, sol.value)
    return StageResult(
        {"displacement": sol.value.state.u},
        numbers,
        verdicts,
        (_section(config, problem, outcome),),
        ("fe2_tip_displacement", "fe2_against_homogenised"),
    )


def _tangent_error(problem, answer):
    """Largest relative difference of consistent tangents from central differences of the stress, RVEs solved anew."""
    F = deformation_gradients(problem.disc, answer.state.u).reshape(-1, 3, 3)
    strain = jnp.linalg.norm(F - jnp.eye(3), axis=(1, 2))
    chosen = jnp.argsort(-strain)[:CHECKED_POINTS]
    own = {"mean": mean_of(problem.disc), "phases": jnp.repeat(problem.phases[chosen], 8, axis=0)}
    steps, h = [], 1e-5
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for sign in (1, -1):
            steps.append(jnp.zeros((3, 3)).at[i, j].set(sign * h))
    moved = (F[chosen][:, None] + jnp.stack(steps)).reshape(-1, 3, 3)
    y = jnp.repeat(answer.response.fluctuation[chosen], 8, axis=0)
    P = fe2_response(problem.rve, problem.law, moved, y, **own).unwrap().stress.reshape(len(chosen), 4, 2, 3, 3)
    difference = (P[:, :, 0] - P[:, :, 1]) / (2 * h)
    A = answer.response.tangent[chosen][:, :2, :2, :2, :2]
    differences = jnp.moveaxis(difference[:, :, :2, :2].reshape(len(chosen), 2, 2, 2, 2), (1, 2), (3, 4))
    return float(
        jnp.max(
            jnp.linalg.norm((A - differences).reshape(len(chosen), -1), axis=1)
            / jnp.linalg.norm(A.reshape(len(chosen), -1), axis=1)
        )
    )


def _homogenised(config, inputs, problem):
    """Tip displacements over the load of the single homogenised neo-Hookean law on the same mesh."""
    K, G = isotropic_projection(inputs["rve"]["properties"].stiffness_GPa[0])
    component = component_of(problem.mesh, NeoHooke(K, G), np.asarray(problem.load.fixed))
    loads = loads_of(component, force=problem.load.force)
    steps = load_steps(component, loads, steps=max(4, config.fe2.load_steps)).unwrap()
    curve = [(0.0, 0.0)] + [(s.factor, float(s.state.displacement[problem.tip, 1])) for s in steps]
    return np.array(curve)


def _histories(stats, rtol):
    """Relative residuals of every load step that was accepted."""
    every = [np.asarray(stats["residual"])[np.asarray(stats["load_step"]) == k] for k in np.unique(stats["load_step"])]
    return [history for history in every if history[-1] <= rtol]


def _order(stats, rtol) -> float | None:
    """Observed order of Newton in the load step with most iterations; None if they are too few to tell."""
    history = max(_histories(stats, rtol), key=len)
    return observed_order(history, floor=FLOOR) if np.sum(history > FLOOR) >= 4 else None


def _numbers(config, problem, outcome: Outcome):
    section, answer, stats = config.fe2, outcome.answer, outcome.stats
    tangent_error, tip = outcome.tangent_error, float(answer.state.u[problem.tip, 1])
    order = _order(stats, section.rtol)
    against = tip / outcome.homogenised[-1, 1] - 1
    F = np.asarray(deformation_gradients(problem.disc, answer.state.u)).reshape(-1, 3, 3)
    green = 0.5 * (np.swapaxes(F, 1, 2) @ F - np.eye(3))
    iterations = [len(h) for h in _histories(stats, section.rtol)]
    method = f"{len(problem.phases)} RVEs of {section.rve_voxels}³ voxels, one window of the phase field per point"
    numbers = {
        "fe2_tip_displacement": Number(tip, "nm", None, method),
        "fe2_against_homogenised": Number(
            float(against),
            "1",
            None,
            "tip displacement over that of one neo-Hookean law of the homogenised moduli, less 1",
        ),
        "fe2_largest_strain": Number(float(np.linalg.norm(green, axis=(1, 2)).max()), "1", None, "‖E‖, Green strain"),
        "fe2_newton_order": Number(order, "1", None, "observed, load step with most iterations; null if too few"),
        "fe2_newton_iterations": Number(max(iterations), "1", None, "most in a load step"),
        "fe2_tangent_error": Number(
            tangent_error, "1", None, "consistent tangent against central differences, relative"
        ),
        "fe2_rves": Number(len(problem.phases), "1", None, "RVEs solved in one batched call"),
    }
    verdicts = (
        Verdict("FE²: consistent tangent", tangent_error <= TANGENT_RTOL, f"relative error {tangent_error:.1e}"),
        Verdict(
            "FE²: Newton converges quadratically",
            order is not None and order >= MIN_ORDER and max(iterations) >= 3,
            f"observed order {'unknown' if order is None else format(order, '.2f')} in {iterations} iterations",
        ),
    )
    return numbers, verdicts


def _save(context, problem, answer):
    P = np.asarray(cell_means(problem.disc, answer.response.stress.reshape(*problem.disc.points, 3, 3)))
    fields = {"P_GPa": P.reshape(-1, 9)}
    save_unstructured_grid(
        context.path("fe2.vtkhdf"),
        np.asarray(problem.mesh.nodes),
        np.asarray(problem.mesh.cells),
        problem.mesh.element.vtk,
        {"displacement_nm": np.asarray(answer.state.u)},
        fields,
    )


def _section(config, problem, outcome: Outcome):
    answer, stats, homogenised, curve = outcome.answer, outcome.stats, outcome.homogenised, outcome.curve
    traction = config.fe2.shear_traction_GPa
    energy = np.asarray(cell_means(problem.disc, answer.response.energy.reshape(problem.disc.points)))
    figures = [
        ReportFigure(
            "fe2_deformed",
            "The panel in true deformation, with the stored energy per volume.",
            panel_plot(problem.mesh, answer.state.u, energy, label="energy density (GPa)"),
        ),
        ReportFigure(
            "fe2_load",
            "Load against tip displacement: RVEs in the points, and one homogenised law.",
            panels(
                [
                    Panel(
                        "tip displacement (nm)",
                        "shear traction (GPa)",
                        [
                            Curve("homogenised law", homogenised[:, 1], traction * homogenised[:, 0]),
                            Curve("FE²", curve[:, 1], traction * curve[:, 0], marks=True),
                        ],
                    )
                ]
            ),
        ),
        ReportFigure(
            "fe2_newton",
            "Macroscopic Newton residuals of every load step.",
            newton_residuals(
                {str(k + 1): h.tolist() for k, h in enumerate(_histories(stats, config.fe2.rtol))},
                unit="relative",
                tolerance=config.fe2.rtol,
            ),
        ),
    ]
    rows = [
        [int(s), f"{f:.2f}", f"{r:.2e}", int(a), int(b), f"{t:.1f}"]
        for s, f, r, a, b, t in zip(
            stats["load_step"],
            stats["factor"],
            stats["residual"],
            stats["micro_steps"],
            stats["micro_iterations"],
            stats["seconds"],
            strict=True,
        )
    ]
    table = Table(
        ["load step", "factor", "residual", "micro Newton steps", "micro CG iterations", "seconds"],
        rows,
        "Macroscopic iterations",
    )
    text = (
        f"{problem.disc.points[0]} elements, {len(problem.phases)} quadrature points, each with an RVE of "
        f"{config.fe2.rve_voxels}³ voxels cut from the phase field. Grains are cubic crystals at finite strain "
        "(neo-Hookean plus the cubic anisotropy in the Green strain). Elastic whatever the strength: a test of the "
        "coupling at large rotations and strains."
    )
    return ReportSection("FE²", text, [table], figures)
