"""Stages on the polycrystal: homogenisation, boundary conditions and bounds, scale separation."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.plots import Bounds, bounds_strip, field_slice
from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.runs.vtkhdf import save_image_data
from hea_jax.atomistic.alloys import standard_error
from hea_jax.continuum.boundary import KinematicUniform, Periodic, StaticUniform
from hea_jax.continuum.bounds import cubic_polycrystal, phase_fractions, placement, reuss, voigt
from hea_jax.continuum.hill_mandel import hill_mandel
from hea_jax.continuum.homogenise import effective_stiffness, homogenize
from hea_jax.continuum.rve import RVE, rve_of
from hea_jax.core.krylov import CG
from hea_jax.core.tensors import isotropic_projection, voigt_from_mandel
from hea_jax.hierarchical.grains_to_component import effective_properties
from hea_jax.hierarchical.separation import Verdict as Separation
from hea_jax.hierarchical.separation import separate_scales
from hea_jax.hierarchical.upscaling import Polycrystal, anisotropy, grain_law, polycrystal_stiffness

E11 = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
ORDER_RTOL = 1e-9
HILL_WINDOW = 16
"""Voxels along each edge of the window in which the Hill–Mandel condition is checked."""
CONDITIONS = {"SUBC": StaticUniform(), "PBC": Periodic(), "KUBC": KinematicUniform()}


def polycrystal(inputs, realisation=0) -> Polycrystal:
    """The RVE of the chain: a microstructure of the phase field."""
    record = inputs["grains"]["microstructures"][realisation]
    return Polycrystal(rve_of(record), record.rotations)


def grains_left(record) -> int:
    """Grains that a microstructure still has."""
    return len(np.unique(record.phases))


def solver(section) -> CG:
    """The configured linear solver of the RVE."""
    return CG(rtol=section.rtol, probe=0)


def run_rve(config, inputs, context):
    """Stage ``rve``: C_eff(x, T) of the annealed microstructures with periodic boundary conditions."""
    properties, structures = inputs["properties"]["record"], inputs["grains"]["microstructures"]
    linear = solver(config.rve)
    context.progress(f"homogenising {len(structures)} polycrystals at {len(properties.temperatures_K)} temperatures")
    solved = effective_properties(properties, structures, linear=linear)
    effective = solved.unwrap()
    every = solved.stats["realisations_GPa"]
    moduli = isotropic_projection(effective.stiffness_GPa)
    scatter = jax.vmap(standard_error)(isotropic_projection(every))
    total = jnp.sqrt(scatter**2 + _atomistic_error(properties) ** 2)
    grains = [grains_left(m) for m in structures]
    method = (
        f"mean of {len(structures)} phase-field polycrystals of {min(grains)} to {max(grains)} grains on "
        f"{config.rve.grid} voxels, periodic; standard error: scatter over polycrystals and over alloy cells"
    )
    numbers = {}
    for k, T in enumerate(np.asarray(properties.temperatures_K)):
        for i, name in enumerate(("bulk", "shear")):
            numbers[f"{name}_modulus_{T:g}K"] = Number(float(moduli[k, i]), "GPa", float(total[k, i]), method)
    mean = effective.stiffness_GPa[0]
    numbers |= {
        "shear_modulus_scatter": Number(float(scatter[0, 1]), "GPa", None, "standard error over polycrystals alone"),
        "anisotropy": Number(float(anisotropy(mean)), "1", None, "‖C − C_iso‖/‖C‖ of the mean stiffness"),
        "C_eff": Number(
            np.asarray(voigt_from_mandel(mean)),
            "GPa",
            np.asarray(voigt_from_mandel(effective.stiffness_stderr_GPa[0])),
            method + "; Voigt",
        ),
        "affine_error": Number(
            _affine_error(properties, effective, structures[0], linear),
            "1",
            None,
            "C_eff at the most segregated point: affine in composition against solved anew, relative",
        ),
    }
    verdicts = (
        Verdict(
            "affine composition dependence holds",
            numbers["affine_error"].value <= 1e-2,
            f"relative error {numbers['affine_error'].value:.1e} at the most segregated point",
        ),
    )
    figures = _field_figures(config, properties, structures[0], linear, context)
    figures.append(_temperature_figure(properties, moduli, total))
    text = (
        f"Homogenised moduli at {float(properties.temperatures_K[0]):g} K: K = {float(moduli[0, 0]):.2f} ± "
        f"{float(total[0, 0]):.2f} GPa and G = {float(moduli[0, 1]):.2f} ± {float(total[0, 1]):.2f} GPa."
    )
    first = f"{float(properties.temperatures_K[0]):g}K"
    return StageResult(
        {"properties": effective, "realisations": every},
        numbers,
        verdicts,
        (ReportSection("Polycrystal of the phase field", text, [], figures),),
        (f"bulk_modulus_{first}", f"shear_modulus_{first}"),
    )


def _affine_error(properties, effective, structure, linear) -> float:
    """How far the affine C_eff(c) is from a solution with the crystal of the most segregated composition."""
    field, mean = effective.composition, effective.mean_composition
    away = jnp.sum((field - mean[:, None, None]) ** 2, axis=0)
    c = field.reshape(len(mean), -1)[:, jnp.argmax(away)]
    cubic = properties.elastic_constants_GPa[0] + properties.elastic_slopes_GPa @ (c - mean)
    polycrystal_ = Polycrystal(rve_of(structure), structure.rotations)
    base, anew = (
        polycrystal_stiffness(x, polycrystal_, linear=linear).unwrap()
        for x in (properties.elastic_constants_GPa[0], cubic)
    )
    affine = base + effective.stiffness_slopes_GPa @ (c - mean)
    return float(jnp.linalg.norm(anew - affine) / jnp.linalg.norm(anew))


def _atomistic_error(properties):
    """Standard errors of (K, G) (t, 2) from those of C11, C12, C44 (GPa), which come from the same cells and count as
    fully correlated; by the delta method on the self-consistent value."""

    def moduli(c):
        bounds = cubic_polycrystal(*c)
        return jnp.stack([bounds.bulk, bounds.self_consistent])

    J = jax.vmap(jax.jacobian(moduli))(properties.elastic_constants_GPa)
    return jnp.abs(jnp.einsum("tmi,ti->tm", J, properties.elastic_constants_stderr_GPa))


def _temperature_figure(properties, moduli, error):
    T = np.asarray(properties.temperatures_K)
    curves = [Curve(name, T, np.asarray(moduli[:, i]), np.asarray(error[:, i])) for i, name in enumerate("KG")]
    return ReportFigure(
        "moduli_temperature",
        "Homogenised moduli over temperature.",
        panels([Panel("temperature (K)", "modulus (GPa)", curves)]),
    )


def _field_figures(config, properties, record, linear, context):
    """Grains and local stress of the first realisation under 1% uniaxial strain; also written for ParaView."""
    law = grain_law(properties.elastic_constants_GPa[0], record.rotations)
    answer = homogenize(rve_of(record), law, 0.01 * E11, linear=linear).unwrap()
    voxel = np.asarray(record.voxel_nm)
    stress = np.asarray(answer.stress_field)
    save_image_data(
        context.path("polycrystal.vtkhdf"),
        {"grain": np.asarray(record.phases), "stress_GPa": stress, "strain": np.asarray(answer.strain_field)},
        voxel,
    )
    deviation = stress[0] - stress[0].mean()
    return [
        ReportFigure(
            "stress",
            "σ₁₁ less its mean in the first RVE under 1% mean strain ε₁₁, a plane.",
            field_slice(deviation[:, :, 0], voxel[:2], label="σ₁₁ − ⟨σ₁₁⟩ (GPa)", centred=True),
        )
    ]


def run_boundary(config, inputs, context):
    """Stage ``boundary``: every microstructure under the three boundary conditions, between its bounds."""
    cubic = inputs["properties"]["record"].elastic_constants_GPa[0]
    # Apparent moduli err by the square of the residual.
    structures, linear = inputs["grains"]["microstructures"], CG(rtol=max(config.rve.rtol, 1e-6), probe=0)
    stiffness = {"SUBC": [], "PBC": list(inputs["rve"]["realisations"][0]), "KUBC": []}
    margins, nested, inside = [], [], []
    for k, record in enumerate(structures):
        rve, law = rve_of(record), grain_law(cubic, record.rotations)
        for name in ("SUBC", "KUBC"):
            context.progress(f"boundary condition {name}", k, len(structures))
            stiffness[name].append(effective_stiffness(rve, law, boundary=CONDITIONS[name], linear=linear).unwrap())
        own = {name: stiffness[name][k] for name in CONDITIONS}
        ordered = placement(own["PBC"], own["SUBC"], own["KUBC"], rtol=ORDER_RTOL)
        margins.append(min(float(ordered.lower_margin), float(ordered.upper_margin)))
        nested.append(bool(ordered.inside))
        fractions = phase_fractions(record.phases, len(record.rotations))
        lower, upper = reuss(law.stiffness, fractions), voigt(law.stiffness, fractions)
        inside.append(all(bool(placement(C, lower, upper, rtol=ORDER_RTOL).inside) for C in own.values()))
    context.progress("Hill–Mandel condition")
    hill = {name: _hill(structures[0], cubic, boundary) for name, boundary in CONDITIONS.items()}
    means = {name: jnp.mean(jnp.stack(values), axis=0) for name, values in stiffness.items()}
    numbers = _boundary_numbers(config, stiffness, means, hill, cubic)
    verdicts = (
        # K is the same for every cubic aggregate: there the margin is zero up to rounding.
        Verdict("SUBC ≤ PBC ≤ KUBC", all(nested), f"in every RVE; smallest eigenvalue margin {min(margins):.1e} GPa"),
        Verdict("Hill–Mandel", max(hill.values()) <= 1e-10, f"largest relative residual {max(hill.values()):.1e}"),
        Verdict("between Reuss and Voigt", all(inside), "all conditions and RVEs, as quadratic forms"),
    )
    return StageResult(
        {"stiffness": {k: jnp.stack(v) for k, v in stiffness.items()}},
        numbers,
        verdicts,
        (_boundary_section(means, cubic_polycrystal(*cubic)),),
        (),
    )


def _hill(record, cubic, boundary) -> float:
    """Relative residual of the Hill–Mandel condition under one strain, in a window of the microstructure."""
    phases = record.phases[tuple(slice(0, HILL_WINDOW) for _ in range(3))]
    rve, law = RVE(phases, record.voxel_nm), grain_law(cubic, record.rotations)
    answer = homogenize(rve, law, E11, boundary=boundary, linear=CG(rtol=1e-12, probe=0)).unwrap()
    return float(hill_mandel(rve, law, E11, answer.displacement, boundary=boundary).relative)


def _boundary_numbers(config, stiffness, means, hill, cubic):
    numbers, bounds = {}, cubic_polycrystal(*cubic)
    for name, values in stiffness.items():
        error = standard_error(isotropic_projection(jnp.stack(values)))
        method = f"mean of {len(values)} RVEs of {config.rve.grid} voxels, {name}; error: scatter over RVEs"
        for i, modulus in enumerate(("bulk", "shear")):
            numbers[f"{modulus}_{name}"] = Number(
                float(isotropic_projection(means[name])[i]), "GPa", float(error[i]), method
            )
        numbers[f"hill_mandel_{name}"] = Number(
            hill[name], "1", None, "⟨σ:ε⟩ against boundary forces times displacements"
        )
    for field in ("reuss", "hs_lower", "self_consistent", "hs_upper", "voigt"):
        numbers[f"shear_{field}"] = Number(float(getattr(bounds, field)), "GPa", None, "untextured cubic polycrystal")
    return numbers


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
        "Mean over the RVEs under static, periodic and kinematic uniform boundary conditions. The bounds are those "
        "of the untextured polycrystal; RVEs of few grains may leave them."
    )
    rows = [[name, *(f"{float(v):.3f}" for v in isotropic_projection(C))] for name, C in stiffness.items()]
    table = Table(["boundary condition", "K (GPa)", "G (GPa)"], rows, "Apparent moduli, mean over the RVEs")
    return ReportSection("Boundary conditions and bounds", "", [table], [ReportFigure("bounds", caption, strip)])


def run_scales(config, inputs, context):
    """Stage ``scales``: may properties be passed up, or must scales be solved together?"""
    effective, structures = inputs["rve"]["properties"], inputs["grains"]["microstructures"]
    rve_nm = float(effective.rve_length_nm)
    grains = float(np.mean([grains_left(m) for m in structures]))
    volume = float(np.prod(config.rve.grid)) * config.rve.voxel_nm**3 / grains
    grain_nm = config.scales.correlation_length_nm or float(np.cbrt(volume))
    found = separate_scales(
        component_nm=config.segregation.wavelength_nm,
        rve_nm=rve_nm,
        heterogeneity_nm=grain_nm,
        windows=len(structures),
        max_epsilon=config.scales.max_rve_to_component,
        max_heterogeneity=config.scales.max_correlation_to_rve,
    )
    measured = "given" if config.scales.correlation_length_nm else "cube root of the mean grain volume"
    numbers = {
        "epsilon": Number(
            found.epsilon, "1", None, "L_RVE/L, L: wavelength of the segregation, over which C_eff varies"
        ),
        "heterogeneity_ratio": Number(
            found.heterogeneity_ratio, "1", None, f"ξ/(n^⅓ L_RVE) of n = {len(structures)} RVEs, ξ: {measured}"
        ),
        "heterogeneity_length": Number(grain_nm, "nm", None, measured),
        "rve_length": Number(rve_nm, "nm", None, "grid times voxel"),
    }
    verdict = Verdict(
        "scale separation", found.verdict is Separation.HIERARCHICAL, f"{found.verdict.value}: {found.reason}"
    )
    section = ReportSection("Scale separation", f"{found.verdict.value}. {found.reason}")
    return StageResult({"verdict": found.verdict.value}, numbers, (verdict,), (section,), ())
