"""Stage ``component``: Cook's panel of the homogenised alloy, with C_eff(x, T)."""

import equinox as eqx
import numpy as np

from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.plots_mesh import mesh_plot
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.runs.vtkhdf import save_unstructured_grid
from hea_jax.continuum.mesh.discretisation import cell_means
from hea_jax.continuum.mesh.meshes import boundary_facets
from hea_jax.hierarchical.grains_to_component import component_law
from hea_jax.hierarchical.panel import panel_of, panel_state, tip_and_error

MAGNIFICATION = 10.0
CONVERGED = 5e-3
"""Largest relative change of the tip displacement under one more halving of the mesh."""


def panel(config, halvings=0):
    """The configured panel, its mesh halved some times."""
    section = config.component
    counts = tuple(n * 2**halvings for n in section.elements)
    return panel_of(
        counts,
        scale_nm=section.scale_nm,
        traction_GPa=section.shear_traction_GPa,
        clamp_temperature_K=section.clamp_temperature_K,
        tip_temperature_K=section.tip_temperature_K,
    )


def run_component(config, inputs, context):
    """Stage ``component``: tip displacement, stress field, convergence of the mesh, load–displacement curve."""
    effective, section = inputs["rve"]["properties"], config.component
    tips = []
    for k in range(section.refinements + 1):
        context.progress("refining the mesh", k, section.refinements + 1)
        model = panel(config, k)
        tips.append(float(panel_state(effective, model).unwrap().displacement[model.tip, 1]))
    model = panel(config)
    state = panel_state(effective, model).unwrap()
    tip, tip_error = (float(v) for v in tip_and_error(effective, model))
    change = abs(tips[-1] - tips[-2]) / abs(tips[-1])
    own = abs(tips[0] - tips[-1]) / abs(tips[-1])
    stress = np.asarray(cell_means(model.component.disc, state.stress))
    mises, fringes = _von_mises(stress), _principal_difference(stress)
    loads = np.asarray(model.loads.force).sum(axis=0)
    balance = float(np.abs(np.asarray(state.reactions).sum(axis=0) + loads).max() / np.abs(loads).max())
    method = (
        f"Cook's panel, {section.elements} quadratic elements, plane strain, C_eff(x, T) at every Gauss point; "
        "standard error by the delta method, errors of one source fully correlated"
    )
    numbers = {
        "tip_displacement": Number(tip, "nm", tip_error, method),
        "tip_displacement_refined": Number(tips[-1], "nm", None, f"mesh halved {section.refinements} times"),
        "mesh_error": Number(own, "1", None, "tip displacement against the finest mesh, relative"),
        "reaction_balance": Number(balance, "1", None, "reactions against loads, relative"),
        "largest_von_mises": Number(
            float(mises.max()),
            "GPa",
            None,
            "element mean; elastic, whatever the strength; plane strain holds the thermal strain across the plane",
        ),
    }
    verdicts = (
        Verdict("component: mesh converged", change <= CONVERGED, f"last halving changes the tip by {change:.1e}"),
        Verdict("component: reactions balance the load", balance <= 1e-8, f"relative difference {balance:.1e}"),
    )
    _save(context, model, state, stress, mises, effective)
    curve = _curve(effective, model, section)
    return StageResult(
        {"displacement": state.displacement, "tip_nm": tip},
        numbers,
        verdicts,
        (_section(section, model, state, fringes, tips, curve),),
        ("tip_displacement",),
    )


def panel_plot(mesh, displacement, field, *, label, magnification=1.0):
    """The deformed mesh coloured by an element field, lengths in µm."""
    return mesh_plot(
        1e-3 * np.asarray(mesh.nodes),
        np.asarray(mesh.cells),
        boundary_facets(mesh),
        field,
        displacement=1e-3 * np.asarray(displacement),
        label=label,
        length_unit="µm",
        magnification=magnification,
    )


def _curve(effective, model, section):
    """Tip displacements over the load factor; a linear law, but thermal strain shifts its start."""
    out = []
    for k in range(section.load_steps + 1):
        factor = k / section.load_steps
        scaled = eqx.tree_at(lambda m: m.loads, model, model.loads.scaled(factor))
        out.append(
            (
                factor * section.shear_traction_GPa,
                float(panel_state(effective, scaled).unwrap().displacement[model.tip, 1]),
            )
        )
    return np.array(out)


def _von_mises(stress):
    """Equivalent stress of (…, 3, 3) tensors."""
    deviator = stress - np.trace(stress, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3
    return np.sqrt(1.5 * np.sum(deviator**2, axis=(-2, -1)))


def _principal_difference(stress):
    """σ₁ − σ₂ in the plane, which photoelastic fringes show."""
    difference, shear = stress[..., 0, 0] - stress[..., 1, 1], stress[..., 0, 1]
    return np.sqrt(difference**2 + 4 * shear**2)


def _save(context, model, state, stress, mises, effective):
    law = component_law(effective, model.points_nm, model.temperature_K)
    stiffness = np.asarray(cell_means(model.component.disc, law.stiffness))
    fields = {
        "von_mises_GPa": mises,
        "stress_GPa": stress[:, [0, 1, 2, 0, 1, 0], [0, 1, 2, 1, 2, 2]],
        "temperature_K": np.asarray(cell_means(model.component.disc, model.temperature_K)),
        "C11_GPa": stiffness[:, 0, 0],
    }
    mesh = model.mesh
    save_unstructured_grid(
        context.path("component.vtkhdf"),
        np.asarray(mesh.nodes),
        np.asarray(mesh.cells),
        mesh.element.vtk,
        {"displacement_nm": np.asarray(state.displacement)},
        fields,
    )


def _section(section, model, state, fringes, tips, curve):
    figures = [
        ReportFigure(
            "deformed",
            "The panel deformed (enlarged), with the difference of the principal stresses in the plane.",
            panel_plot(
                model.mesh,
                state.displacement,
                fringes,
                label="in-plane principal stress difference (GPa)",
                magnification=MAGNIFICATION,
            ),
        ),
        ReportFigure(
            "load_displacement",
            "Tip displacement over the load, and over the mesh at full load.",
            panels(
                [
                    Panel("tip displacement (nm)", "shear traction (GPa)", [Curve("", curve[:, 1], curve[:, 0])]),
                    Panel(
                        "elements along a side",
                        "tip displacement (nm)",
                        [Curve("", [section.elements[0] * 2**k for k in range(len(tips))], tips, marks=True)],
                        log_x=True,
                    ),
                ]
            ),
        ),
    ]
    rows = [[f"{section.elements[0] * 2**k} × {section.elements[1] * 2**k}", f"{t:.4f}"] for k, t in enumerate(tips)]
    table = Table(["elements", "tip displacement (nm)"], rows, "Convergence of the mesh")
    text = (
        f"Cook's tapered panel, {48 * section.scale_nm * 1e-3:g} µm wide, clamped at the left at "
        f"{section.clamp_temperature_K:g} K and sheared by {section.shear_traction_GPa:g} GPa at the right at "
        f"{section.tip_temperature_K:g} K. The panel is stress-free at the lowest temperature of the "
        "dynamics. Stiffness and thermal strain at every Gauss point follow composition and "
        "temperature there; the law is linear, so the load–displacement line is straight and starts at the thermal "
        "displacement."
    )
    return ReportSection("Component", text, [table], figures)
