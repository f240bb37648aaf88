"""The posterior of the linear fit, tempered on sampled rows of every group."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from hea_jax.app.fit.stage_linear import core_of, prior_at
from hea_jax.atomistic.fitting.linear.design import _rows, _stacked, _weighted
from hea_jax.atomistic.fitting.uncertainty import calibrated, laplace
from hea_jax.atomistic.potentials import Overlay
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered

FRAMES_PER_GROUP, ROWS_PER_LABEL = 6, 120


def of_linear(config, given, outcome, context):
    """(posterior over coefficients and offsets, its calibration, the map to potentials)."""
    section = config.body_ordered
    core = core_of(section, given.data.elements)
    fitted = outcome.potential.parts[0] if isinstance(outcome.potential, Overlay) else outcome.potential
    assert isinstance(fitted, BodyOrdered)
    S, F = fitted.coefficients.shape
    mean = np.concatenate([np.asarray(fitted.coefficients).ravel(), np.asarray(outcome.offsets_eV).ravel()])
    factor = np.asarray(outcome.extra["factor"])
    P = np.zeros_like(factor)
    prior_at(config, float(outcome.extra["scale_eV_per_A"])).add_precision(P, fitted,
                                                                           np.asarray(outcome.extra["force_rms"]))
    rows, r, labels = _sampled(config, given, fitted, core, outcome.offsets_eV, context)
    plain = laplace(mean, factor @ factor.T - P, P)
    posterior, found = calibrated(plain, rows, r, labels, coverage=config.uncertainty.coverage)

    def rebuild(v):
        potential = dataclasses.replace(fitted, coefficients=v[: S * F].reshape(S, F))
        return potential if core is None else Overlay.of(potential, core)

    return posterior, found, rebuild


def _sampled(config, given, fitted, core, offsets_eV, context):
    """Weighted rows, residuals and labels of some training frames of every group."""
    rng = np.random.default_rng(config.seed)
    indices, groups = given.split.train, np.array(given.data.dataset.groups)
    S, F = fitted.coefficients.shape
    out: list[tuple[np.ndarray, np.ndarray, list[str]]] = []
    for group in given.data.dataset.group_sizes():
        mine = indices[groups[indices] == group]
        for n in rng.permutation(mine)[:FRAMES_PER_GROUP]:
            frame, source = given.data.dataset.frames[n], int(given.data.source[n])
            x = np.asarray(_rows(fitted, *_stacked([frame], fitted.cutoff)))[0]
            species = np.arange(S)
            X, y, n_force = _weighted(frame, x.reshape(len(x), S * F), species, given.weights.factors(group),
                                      given.weights, core)
            wide = np.zeros((len(X), S * F + np.size(offsets_eV)))
            wide[:, : S * F] = X[:, : S * F]
            wide[:, S * F + source * S : S * F + (source + 1) * S] = X[:, S * F :]
            c = np.concatenate([np.asarray(fitted.coefficients).ravel(), np.asarray(offsets_eV).ravel()])
            kinds = ["energies"] + ["forces"] * n_force + ["stresses"] * (len(X) - 1 - n_force)
            keep = np.arange(len(X))
            if len(keep) > ROWS_PER_LABEL:
                keep = np.sort(np.concatenate([[0], rng.choice(keep[1:], ROWS_PER_LABEL - 1, replace=False)]))
            out.append((wide[keep], (wide @ c - y)[keep], [f"{group}, {kinds[k]}" for k in keep]))
        context.progress(f"rows of {group}")
    rows, r = (np.concatenate([part[k] for part in out]) for k in (0, 1))
    return jnp.asarray(rows), r, [label for part in out for label in part[2]]
