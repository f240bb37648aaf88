"""Stage ``properties``: everything that atoms hand to the mesoscale, in one record."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.config.models import ATOMS_PER_CUBIC_CELL
from hea_jax.app.plots_curves import Curve, Panel, panels
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult, Verdict
from hea_jax.app.stages.alloy import build_cells, fractions_vector, relaxation
from hea_jax.atomistic.composition import affine_design, enriched_compositions, pair_interactions
from hea_jax.core.units import EV_TO_MEV
from hea_jax.hierarchical.anneal import of_elements_present, relaxation_rates
from hea_jax.hierarchical.atoms_to_grains import alloy_elasticity
from hea_jax.records import AtomisticProperties, Provenance

KJ_PER_MOL_TO_EV = 1.0 / 96.48533212331
"""Energy per mole to energy per atom (Faraday constant, CODATA 2022)."""
NAMES = ("C11", "C12", "C44")


def elastic_cells(config, potential):
    """Base cells, then cells enriched in each element, and the design of their compositions: one batch."""
    mean = np.asarray(fractions_vector(config.alloy.composition, potential.elements))
    atoms = int(np.prod(config.alloy.repeats)) * ATOMS_PER_CUBIC_CELL[config.alloy.lattice]
    enriched = enriched_compositions(mean, atoms, step=config.properties.composition_step)
    rows = [mean] * config.alloy.n_cells + list(np.repeat(enriched, config.properties.n_cells_per_element, axis=0))
    named = [{e: float(x) for e, x in zip(potential.elements, row, strict=True) if x > 0} for row in rows]
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    return build_cells(config, potential, named, key), affine_design(np.stack(rows), mean)


def stretches(inputs):
    """a(T)/a(0) of the dynamics."""
    return jnp.asarray(inputs["dynamics"]["expansion"]["stretches"])


def run_properties(config, inputs, context):
    """Stage ``properties``: elastic constants over temperature and composition, interactions, tables."""
    potential = inputs["fit"]["parameters"].potential
    expansion = inputs["dynamics"]["expansion"]
    cells, design = elastic_cells(config, potential)
    context.progress(f"elastic constants of {cells.number} cells over composition and temperature")
    elastic = alloy_elasticity(
        potential, cells, design, stretches(inputs), base=config.alloy.n_cells, solver=relaxation(config)
    ).unwrap()
    mixing = inputs["mixing"]
    omega, omega_error = pair_interactions(
        mixing["compositions"],
        jnp.asarray(mixing["enthalpies_meV"]) / EV_TO_MEV,
        jnp.asarray(mixing["errors_meV"]) / EV_TO_MEV,
    )
    record = AtomisticProperties(
        composition=jnp.asarray(fractions_vector(config.alloy.composition, potential.elements)),
        temperatures_K=jnp.asarray(expansion["temperatures_K"]),
        lattice_constants_A=jnp.asarray(expansion["lattice_constants_A"]),
        lattice_constants_stderr_A=jnp.asarray(expansion["errors_A"]),
        elastic_constants_GPa=elastic.constants_GPa,
        elastic_constants_stderr_GPa=elastic.constants_stderr_GPa,
        elastic_slopes_GPa=elastic.composition.slopes,
        elastic_slopes_stderr_GPa=elastic.composition.slopes_stderr,
        interactions_eV=omega,
        interactions_stderr_eV=omega_error,
        elements=potential.elements,
        atoms_per_cell=ATOMS_PER_CUBIC_CELL[config.alloy.lattice],
        **table_fields(config, potential.elements),
    )
    slowest = float(
        relaxation_rates(
            of_elements_present(record)[0], config.segregation.temperature_K, config.segregation.wavelength_nm
        )[0]
    )
    stable = Verdict(
        "alloy does not demix at the anneal",
        slowest > 0,
        f"slowest composition wave decays at {slowest:.3g} per s at {config.segregation.temperature_K:g} K",
    )
    provenance = Provenance(
        "hea_jax.app.stages.properties",
        ("fit", "alloy", "mixing", "dynamics"),
        {"from the table": TABLED},
        config.tables.source,
    )
    return StageResult(
        {"record": record, "provenance": provenance},
        _numbers(config, record),
        (stable,),
        (_section(config, record),),
        tuple(f"{n}_{float(record.temperatures_K[0]):g}K" for n in NAMES),
    )


TABLED = [
    "diffusion_prefactors_nm2_per_s",
    "diffusion_energies_eV",
    "gradient_coefficient_GPa_nm2",
    "boundary_energy_J_per_m2",
    "boundary_diffusion_nm3_per_s",
    "boundary_diffusion_energy_eV",
]
"""Fields of the record that do not come from the atoms."""


def table_fields(config, elements):
    """The fields that come from the configured table, in the units of the record; means over the alloy's composition
    for the boundaries (of ln prefactor and of the energy)."""
    tables, share = config.tables, config.alloy.composition
    for name in ("self_diffusion_m2_per_s", "boundary_diffusion_m3_per_s"):
        missing = sorted(set(share) - set(getattr(tables, name)))
        if missing:
            raise ValueError(f"tables.{name} has no entry for {', '.join(missing)}: add them, with their source")
    lattice = [tables.self_diffusion_m2_per_s.get(e) for e in elements]
    boundary = tables.boundary_diffusion_m3_per_s
    return {
        "diffusion_prefactors_nm2_per_s": jnp.asarray([1e18 * d.prefactor if d else 0.0 for d in lattice]),
        "diffusion_energies_eV": jnp.asarray([KJ_PER_MOL_TO_EV * d.energy_kJ_per_mol if d else 0.0 for d in lattice]),
        "gradient_coefficient_GPa_nm2": jnp.asarray(tables.gradient_coefficient_GPa_nm2),
        "boundary_energy_J_per_m2": jnp.asarray(tables.boundary_energy_J_per_m2),
        "boundary_diffusion_nm3_per_s": jnp.asarray(
            1e27 * np.exp(sum(x * np.log(boundary[e].prefactor) for e, x in share.items()))
        ),
        "boundary_diffusion_energy_eV": jnp.asarray(
            KJ_PER_MOL_TO_EV * sum(x * boundary[e].energy_kJ_per_mol for e, x in share.items())
        ),
    }


def _numbers(config, record):
    method = "quasi-static: relaxed elastic constants at the lattice constant of the temperature; error over cells"
    numbers = {}
    for k, T in enumerate(np.asarray(record.temperatures_K)):
        for i, name in enumerate(NAMES):
            numbers[f"{name}_{T:g}K"] = Number(
                float(record.elastic_constants_GPa[k, i]),
                "GPa",
                float(record.elastic_constants_stderr_GPa[k, i]),
                method,
            )
    for j, element in enumerate(record.elements):
        for i, name in enumerate(NAMES):
            numbers[f"d{name}_d{element}"] = Number(
                float(record.elastic_slopes_GPa[i, j]),
                "GPa",
                float(record.elastic_slopes_stderr_GPa[i, j]),
                "change with the atomic fraction, at the cost of all elements; affine fit over enriched cells",
            )
    for i, a in enumerate(record.elements):
        for j, b in enumerate(record.elements[:i]):
            numbers[f"interaction_{b}{a}"] = Number(
                float(record.interactions_eV[i, j]),
                "eV",
                float(record.interactions_stderr_eV[i, j]),
                "regular solution through the mixing enthalpies; error with the misfit of the model",
            )
    for name in TABLED:
        value = np.asarray(getattr(record, name))
        if value.ndim == 0:
            numbers[name] = Number(float(value), _UNITS[name], None, "table of the configuration", config.tables.source)
    return numbers


_UNITS = {
    "gradient_coefficient_GPa_nm2": "GPa nm²",
    "boundary_energy_J_per_m2": "J/m²",
    "boundary_diffusion_nm3_per_s": "nm³/s",
    "boundary_diffusion_energy_eV": "eV",
}


def _section(config, record):
    T = np.asarray(record.temperatures_K)
    C, error = np.asarray(record.elastic_constants_GPa), np.asarray(record.elastic_constants_stderr_GPa)
    figure = panels(
        [
            Panel(
                "temperature (K)",
                "elastic constants (GPa)",
                [Curve(name, T, C[:, i], error[:, i]) for i, name in enumerate(NAMES)],
            )
        ]
    )
    rows = [
        [
            e,
            *(
                f"{float(record.elastic_slopes_GPa[i, j]):+.0f} ± {float(record.elastic_slopes_stderr_GPa[i, j]):.0f}"
                for i in range(3)
            ),
        ]
        for j, e in enumerate(record.elements)
    ]
    slopes = Table(
        ["element", *(f"∂{n}/∂c (GPa)" for n in NAMES)],
        rows,
        "Change of the elastic constants with composition (at the cost of all elements)",
    )
    pairs = [
        [f"{b}–{a}", f"{float(record.interactions_eV[i, j]):+.3f}", f"{float(record.interactions_stderr_eV[i, j]):.3f}"]
        for i, a in enumerate(record.elements)
        for j, b in enumerate(record.elements[:i])
    ]
    omega = Table(["pair", "Ω (eV)", "standard error (eV)"], pairs, "Pair interactions of the mixing enthalpy")
    text = (
        "What the atoms hand to the mesoscale. Elastic constants at temperature are quasi-static: those of the cells "
        "at the lattice constant of the dynamics, atoms relaxed, without the vibrational part. "
        f"Taken from the literature, until atoms give them: {', '.join(TABLED)} ({config.tables.source})"
    )
    return ReportSection(
        "Properties handed to the mesoscale",
        text,
        [slopes, omega],
        [ReportFigure("elastic_temperature", "Elastic constants at the lattice constant of each temperature.", figure)],
    )
