"""Stages on the polycrystal: homogenisation, boundary conditions and bounds, scale separation."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots import Bounds, bounds_strip, field_slice, grains_slice
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.runs.vtkhdf import save_image_data
from hea_jax.atomistic.alloys import standard_error
from hea_jax.continuum.boundary import KinematicUniform, Periodic, StaticUniform
from hea_jax.continuum.bounds import cubic_polycrystal, phase_fractions, placement, reuss, voigt
from hea_jax.continuum.hill_mandel import hill_mandel
from hea_jax.continuum.homogenise import effective_stiffness, homogenize
from hea_jax.continuum.rve import rve_of
from hea_jax.core.krylov import CG
from hea_jax.core.tensors import isotropic_projection, voigt_from_mandel
from hea_jax.hierarchical.separation import Verdict as Separation
from hea_jax.hierarchical.separation import separate_scales
from hea_jax.hierarchical.upscaling import Polycrystal, effective_properties, grain_law, polycrystal_stiffness
from hea_jax.structures.polycrystal import voronoi_polycrystal

E11 = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
ORDER_RTOL = 1e-9


def microstructure(config, section, realisation):
    """The polycrystal of a configuration section; the same realisation in every stage."""
    key = jax.random.fold_in(jax.random.key(config.seed), 10_000 + realisation)
    return voronoi_polycrystal(key, grains=section.n_grains, grid=section.grid, voxel_nm=config.rve.voxel_nm)


def polycrystal(config, realisation=0) -> Polycrystal:
    """The RVE of the chain."""
    record = microstructure(config, config.rve, realisation)
    return Polycrystal(rve_of(record), record.rotations)


def solver(section) -> CG:
    """The configured linear solver of the RVE."""
    return CG(rtol=section.rtol, probe=0)


def run_rve(config, inputs, context):
    """Stage ``rve``: C_eff of the polycrystal with periodic boundary conditions, over several realisations."""
    cubic, covariance = (jnp.asarray(inputs["alloy"][k]) for k in ("cubic_GPa", "covariance_GPa2"))
    linear, stiffness, iterations = solver(config.rve), [], []
    for k in range(config.rve.n_realisations):
        context.progress("homogenising polycrystals", k, config.rve.n_realisations)
        solved = polycrystal_stiffness(cubic, polycrystal(config, k), linear=linear)
        stiffness.append(solved.unwrap())
        iterations.append(int(jnp.max(solved.stats["linear_iterations"])))
    stiffness = jnp.stack(stiffness)
    moduli = isotropic_projection(stiffness)
    scatter = standard_error(moduli)
    atomistic = _atomistic_error(cubic, covariance)
    total = jnp.sqrt(scatter**2 + atomistic**2)
    mean = jnp.mean(stiffness, axis=0)
    properties = effective_properties(mean, standard_error(stiffness))
    method = (
        f"mean of {len(stiffness)} polycrystals of {config.rve.n_grains} grains on {config.rve.grid} voxels, periodic; "
        "standard error: scatter over polycrystals and over alloy cells"
    )
    numbers = {
        "bulk_modulus": Number(float(properties.bulk_GPa), "GPa", float(total[0]), method),
        "shear_modulus": Number(float(properties.shear_GPa), "GPa", float(total[1]), method),
        "shear_modulus_scatter": Number(float(scatter[1]), "GPa", None, "standard error over polycrystals alone"),
        "anisotropy": Number(float(properties.anisotropy), "1", None, "‖C − C_iso‖/‖C‖ of the mean stiffness"),
        "C_eff": Number(
            np.asarray(voigt_from_mandel(mean)),
            "GPa",
            np.asarray(voigt_from_mandel(properties.stiffness_stderr_GPa)),
            method + "; Voigt",
        ),
        "cg_iterations": Number(max(iterations), "1", None, f"conjugate gradients to {config.rve.rtol:g}"),
    }
    figures = _field_figures(config, cubic, linear, context)
    text = (
        f"Homogenised moduli K = {float(properties.bulk_GPa):.2f} ± {float(total[0]):.2f} GPa and G = "
        f"{float(properties.shear_GPa):.2f} ± {float(total[1]):.2f} GPa; {max(iterations)} iterations."
    )
    return StageResult(
        {"properties": properties, "moduli_GPa": moduli, "realisations": stiffness},
        numbers,
        (),
        (ReportSection("Polycrystal", text, [], figures),),
        ("bulk_modulus", "shear_modulus"),
    )


def _atomistic_error(cubic, covariance):
    """Standard errors of (K, G) from those of C11, C12, C44 (GPa), by the delta method on the self-consistent value."""

    def moduli(c):
        bounds = cubic_polycrystal(*c)
        return jnp.stack([bounds.bulk, bounds.self_consistent])

    J = jax.jacobian(moduli)(cubic)
    return jnp.sqrt(jnp.einsum("mi,ij,mj->m", J, covariance, J))


def _field_figures(config, cubic, linear, context):
    """Grains and local stress of the first realisation under 1% uniaxial strain; also written for ParaView."""
    record = microstructure(config, config.rve, 0)
    answer = homogenize(rve_of(record), grain_law(cubic, record.rotations), 0.01 * E11, linear=linear).unwrap()
    phases, voxel = np.asarray(record.phases), np.asarray(record.voxel_nm)
    stress = np.asarray(answer.stress_field)
    save_image_data(
        context.path("polycrystal.vtkhdf"),
        {"grain": phases, "stress_GPa": stress, "strain": np.asarray(answer.strain_field)},
        voxel,
    )
    deviation = stress[0] - stress[0].mean()
    return [
        ReportFigure(
            "grains", "Grains of the first polycrystal, mid-plane.", grains_slice(phases[:, :, 0], voxel[:2])
        ),
        ReportFigure(
            "stress",
            "σ₁₁ less its mean under 1% mean strain ε₁₁, the same plane.",
            field_slice(deviation[:, :, 0], voxel[:2], label="σ₁₁ − ⟨σ₁₁⟩ (GPa)", centred=True),
        ),
    ]


def run_boundary(config, inputs, context):
    """Stage ``boundary``: one window under the three boundary conditions, between its bounds."""
    cubic = jnp.asarray(inputs["alloy"]["cubic_GPa"])
    section = config.boundary_conditions
    record = microstructure(config, section, 5_000)
    rve, law, linear = rve_of(record), grain_law(cubic, record.rotations), solver(section)
    conditions = {"SUBC": StaticUniform(), "PBC": Periodic(), "KUBC": KinematicUniform()}
    stiffness, numbers, verdicts, hill = {}, {}, [], {}
    for name, boundary in conditions.items():
        context.progress(f"boundary condition {name}")
        stiffness[name] = effective_stiffness(rve, law, boundary=boundary, linear=linear).unwrap()
        answer = homogenize(rve, law, E11, boundary=boundary, linear=CG(rtol=1e-12, probe=0)).unwrap()
        hill[name] = float(hill_mandel(rve, law, E11, answer.displacement, boundary=boundary).relative)
        K, G = (float(v) for v in isotropic_projection(stiffness[name]))
        numbers[f"bulk_{name}"] = Number(K, "GPa", None, f"one window of {section.grid} voxels, {name}")
        numbers[f"shear_{name}"] = Number(G, "GPa", None, f"one window of {section.grid} voxels, {name}")
        numbers[f"hill_mandel_{name}"] = Number(
            hill[name], "1", None, "⟨σ:ε⟩ against boundary forces times displacements"
        )
    ordered = [placement(stiffness["PBC"], stiffness["SUBC"], stiffness["KUBC"], rtol=ORDER_RTOL)]
    margin = min(float(ordered[0].lower_margin), float(ordered[0].upper_margin))
    verdicts.append(
        Verdict("SUBC ≤ PBC ≤ KUBC", bool(ordered[0].inside), f"smallest eigenvalue margin {margin:.3g} GPa")
    )
    verdicts.append(
        Verdict("Hill–Mandel", max(hill.values()) <= 1e-10, f"largest relative residual {max(hill.values()):.1e}")
    )
    fractions = phase_fractions(record.phases, section.n_grains)
    upper, lower = voigt(law.stiffness, fractions), reuss(law.stiffness, fractions)
    inside = all(bool(placement(C, lower, upper, rtol=ORDER_RTOL).inside) for C in stiffness.values())
    verdicts.append(Verdict("between Reuss and Voigt", inside, "all three conditions, as quadratic forms"))
    bounds = cubic_polycrystal(*cubic)
    for field in ("reuss", "hs_lower", "self_consistent", "hs_upper", "voigt"):
        numbers[f"shear_{field}"] = Number(float(getattr(bounds, field)), "GPa", None, "untextured cubic polycrystal")
    section_ = _boundary_section(stiffness, bounds)
    return StageResult({"stiffness": stiffness}, numbers, tuple(verdicts), (section_,), ())


def _boundary_section(stiffness, bounds):
    points = {name: float(isotropic_projection(C)[1]) for name, C in stiffness.items()}
    strip = bounds_strip(
        [
            Bounds(
                "shear modulus",
                float(bounds.reuss),
                float(bounds.hs_lower),
                float(bounds.hs_upper),
                float(bounds.voigt),
                points,
            )
        ],
        unit="GPa",
    )
    caption = (
        "One window under static, periodic and kinematic uniform boundary conditions. The bounds are those of the "
        "untextured polycrystal; a window of few grains may leave them."
    )
    rows = [[name, *(f"{float(v):.3f}" for v in isotropic_projection(C))] for name, C in stiffness.items()]
    table = Table(["boundary condition", "K (GPa)", "G (GPa)"], rows, "Apparent moduli of the window")
    return ReportSection("Boundary conditions and bounds", "", [table], [ReportFigure("bounds", caption, strip)])


def run_scales(config, inputs, context):
    """Stage ``scales``: may properties be passed up, or must scales be solved together?"""
    rve_nm = min(config.rve.grid) * config.rve.voxel_nm
    volume = float(np.prod(config.rve.grid)) * config.rve.voxel_nm**3 / config.rve.n_grains
    grain_nm = config.scales.correlation_length_nm or float(np.cbrt(volume))
    found = separate_scales(
        component_nm=config.scales.component_length_mm * 1e6,
        rve_nm=rve_nm,
        heterogeneity_nm=grain_nm,
        max_epsilon=config.scales.max_rve_to_component,
        max_heterogeneity=config.scales.max_correlation_to_rve,
    )
    measured = "given" if config.scales.correlation_length_nm else "cube root of the mean grain volume"
    numbers = {
        "epsilon": Number(found.epsilon, "1", None, "L_RVE/L"),
        "heterogeneity_ratio": Number(found.heterogeneity_ratio, "1", None, f"ξ/L_RVE, ξ: {measured}"),
        "heterogeneity_length": Number(grain_nm, "nm", None, measured),
        "rve_length": Number(rve_nm, "nm", None, "grid times voxel"),
    }
    verdict = Verdict(
        "scale separation", found.verdict is Separation.HIERARCHICAL, f"{found.verdict.value}: {found.reason}"
    )
    return StageResult(
        {"verdict": found.verdict.value},
        numbers,
        (verdict,),
        (ReportSection("Scale separation", f"{found.verdict.value}. {found.reason}"),),
        (),
    )
