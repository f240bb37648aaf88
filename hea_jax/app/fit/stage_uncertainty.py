"""Stage ``uncertainty``: what spread of parameters explains the residuals, and potentials drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np

from hea_jax.app.fit.eam_problem import eam_problem, final_objective
from hea_jax.app.fit.inputs import inputs_of
from hea_jax.app.fit.targets import lattice_guess
from hea_jax.app.report import ReportSection, Table
from hea_jax.app.runs import Number, StageResult, save_tree
from hea_jax.atomistic.elasticity import elastic_constants
from hea_jax.atomistic.fitting.uncertainty import (
    Calibration,
    Laplace,
    calibrated,
    ensemble,
    gauss_newton,
    laplace,
    member,
    prior_precision,
    row_labels,
)
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import LearnableEAM
from hea_jax.atomistic.relaxation import relax
from hea_jax.core.results import failure_message
from hea_jax.core.tensors import cubic_projection
from hea_jax.structures.ordered import PROTOTYPES, ordered

FILE = "ensemble.h5"


def run_uncertainty(config, inputs, context):
    """Posterior, temperature, ensemble, and its spread of lattice and elastic constants."""
    if not config.uncertainty.run:
        return StageResult({}, {}, (), (ReportSection("Uncertainty", "Not run (`uncertainty.run: false`)."),))
    given, outcome = inputs_of(config, context.resolve), inputs["fit"]
    context.progress("Jacobian of the residuals")
    if isinstance(outcome.potential, LearnableEAM):
        posterior, found, rebuild = _of_eam(config, given, outcome)
    else:
        from hea_jax.app.fit.uncertainty_linear import of_linear

        posterior, found, rebuild = of_linear(config, given, outcome, context)
    potentials = ensemble(posterior, jax.random.key(config.seed + 1), config.uncertainty.samples, rebuild)
    save_tree(context.path(FILE), potentials)
    numbers = {
        "temperature": Number(float(posterior.temperature), "1", method="lowest at which every group's residuals are "
                              f"covered at {config.uncertainty.coverage:g}"),
        "parameters": Number(int(posterior.mean.size), "1", method="count"),
        "effective_parameters": Number(float(posterior.effective_parameters), "1",
                                       method="determined by data rather than the prior"),
    }  # fmt: skip
    rows, more = _propagated(config, given, potentials, context)
    tables = [_groups_table(found, config.uncertainty.coverage),
              Table(["element", "a (Å)", "C11 (GPa)", "C12 (GPa)", "C44 (GPa)", "members"], rows,
                    "Mean ± standard deviation over the ensemble")]  # fmt: skip
    return StageResult({}, numbers | more, (), (ReportSection("Uncertainty", _text(posterior, found), tables),),
                       ("temperature",))  # fmt: skip


def _of_eam(config, given, outcome):
    """Posterior in scaled variables, its calibration, and the map to potentials.

    Physical targets are rows like those of the data, weighted by their tolerances and tempered with them.
    """
    z = jnp.asarray(outcome.extra["z"])
    objective = final_objective(config, eam_problem(config, given), z)
    r, J = gauss_newton(objective, z)
    labels = row_labels(objective, given.part("train")[0].groups)
    gram = J.T @ J
    if "target_rows" in outcome.extra:
        rows = np.asarray(outcome.extra["target_rows"])
        gram = gram + rows.T @ rows
    plain = laplace(z, gram, prior_precision(objective))
    posterior, found = calibrated(plain, J, r, labels, coverage=config.uncertainty.coverage)
    return posterior, found, lambda v: objective.parameters(v).potential


def _propagated(config, given, potentials, context):
    """Lattice and elastic constants of the elements over the ensemble."""
    rows, numbers = [], {}
    lattice = PROTOTYPES[config.sanity.lattice]
    for element in given.data.elements:
        context.progress(f"ensemble: {element}")
        guess = lattice_guess(element, config.sanity.lattice, given.data.dataset, config.sanity.lattice_constants_A)
        atoms = ordered(lattice, (element,), guess).to_atoms(given.data.elements)
        pairs = neighbour_table(atoms, potentials.cutoff, skin=0.6)
        found = []
        for n in range(config.uncertainty.samples):
            one = member(potentials, n)
            sol = relax(one, atoms, pairs)
            if failure_message(sol.result):
                continue
            C = elastic_constants(one, sol.value[1], pairs)
            if not failure_message(C.result):
                found.append([float(jnp.cbrt(sol.value[1].volume)), *np.asarray(cubic_projection(C.value))])
        if len(found) < 2:
            rows.append([element, "", "", "", "", len(found)])
            continue
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        rows.append([element, f"{mean[0]:.4f} ± {spread[0]:.4f}", *(f"{m:.1f} ± {s:.1f}" for m, s in
                                                                   zip(mean[1:], spread[1:], strict=True)), len(found)])
        method = f"mean and standard deviation of {len(found)} potentials"
        numbers[f"lattice_constant_{element}"] = Number(mean[0], "Å", spread[0], method)
        numbers[f"elastic_constants_{element}"] = Number(mean[1:], "GPa", spread[1:], method)
    return rows, numbers


def _groups_table(found: Calibration, coverage: float) -> Table:
    """Temperature and coverage of every group."""
    rows = [[g, f"{T:.3g}" if np.isfinite(T) else "not coverable", f"{100 * found.covered_untempered[g]:.0f} %",
             f"{100 * found.covered[g]:.0f} %"] for g, T in found.of_groups.items()]
    return Table(["rows", "temperature it asks for", "covered at T = 1", "covered at the chosen T"], rows,
                 f"Residuals covered by one spread of the ensemble (wanted: {100 * coverage:.0f} %)")


def _text(posterior: Laplace, found: Calibration) -> str:
    """How to read it."""
    out = (f"Laplace's approximation with the likelihood at temperature {float(posterior.temperature):.3g}, the lowest "
           "at which the spread of predictions covers the residuals of every group: they are misfit of the form of the "
           "potential rather than noise of the data, which more data would not reduce. "
           f"{float(posterior.effective_parameters):.0f} of {posterior.mean.size} parameters are determined by data. "
           f"`{FILE}` holds the ensemble (`hea_jax.app.runs.load_tree`): a potential with a leading axis on arrays.")
    bad = [g for g, T in found.of_groups.items() if not np.isfinite(T)]
    return out + (f" Not even the prior covers {', '.join(bad)}." if bad else "")
