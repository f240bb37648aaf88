"""Stage ``fit`` of the linear body-ordered potential: normal equations by group, the prior chosen on validation."""

import dataclasses

import numpy as np

from hea_jax.app.fit.figures import prior_curve
from hea_jax.app.fit.inputs import Inputs, inputs_of
from hea_jax.app.fit.linear_targets import fitted_to_targets, with_core
from hea_jax.app.fit.offsets import offset_spread
from hea_jax.app.fit.outcome import Outcome
from hea_jax.app.fit.targets import target_numbers, target_table
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult
from hea_jax.atomistic.fitting.linear import ChemicalPrior, LinearModel, NormalEquations, normal_equations, solve
from hea_jax.atomistic.neighbours import neighbour_table
from hea_jax.atomistic.potentials import ZBL, LammpsTaper
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered, Truncation
from hea_jax.electronic import DatasetError

CHUNK = 256
"""Frames of a group between two checkpoints."""
UNSEEN = 1e-6
"""Net pull of an atom's neighbours, over its sum of magnitudes, that counts as none."""


def model_of(section) -> LinearModel:
    """The shape of the potential."""
    truncation = Truncation(section.pair_radial, section.three_radial, section.three_l, section.three_channels,
                            section.four_radial, section.four_l, section.four_channels)
    return LinearModel(truncation, section.cutoff_A, section.inner_A)


def core_of(section, elements: tuple[str, ...]) -> ZBL | None:
    """The repulsive core, which is taken off the data before the fit."""
    return ZBL.of(elements, LammpsTaper(section.core_inner_A, section.core_outer_A)) if section.core else None


def prior_of(section, scale: float, *, offset_eV: float = ChemicalPrior.offset_eV) -> ChemicalPrior:
    """The prior at one scale (eV/Å), and one spread of offsets (eV)."""
    return ChemicalPrior(scale, section.channel, section.centre, section.angular, section.four_body, offset_eV)


def prior_at(config, scale: float) -> ChemicalPrior:
    """The prior of a configuration at one scale (eV/Å); offsets that it gives are held."""
    return prior_of(config.body_ordered.prior, scale, offset_eV=offset_spread(config, ChemicalPrior.offset_eV))


def run_linear(config, inputs, context):
    """Fit in closed form; normal equations of finished pieces are kept, so a killed run repeats one piece at most."""
    given = inputs_of(config, context.resolve)
    section, elements = config.body_ordered, given.data.elements
    template, core = model_of(section).template(elements), core_of(section, elements)
    training = _equations(given, "train", template, core, context)
    unseen = _equations(given, "validation", template, core, context)
    solutions, scores = [], []
    for n, scale in enumerate(section.prior.scales_eV_per_A):
        context.progress(f"solving, prior {scale:g} eV/Å", n + 1, len(section.prior.scales_eV_per_A))
        solution = _solved(training, template, prior_at(config, scale))
        score = -solution.log_evidence if not unseen else _mean_square(unseen, solution, template)
        if not scores or score < min(scores):
            solutions = [solution]
        scores.append(score)
    best = solutions[0]
    chosen = section.prior.scales_eV_per_A[int(np.argmin(scores))]
    reached = []
    if config.targets:
        prior = prior_at(config, chosen)
        best, reached = fitted_to_targets(config, given, context, core, best,
                                          lambda rows: _solved([*training, rows], template, prior))
    training_loss = _mean_square(training, best, template)
    history = np.array([[0.0, k, np.nan, s] for k, s in enumerate(scores)])
    history[int(np.argmin(scores)), 2] = training_loss
    outcome = Outcome(with_core(best.potential, core), best.offsets_eV, history,
                      {"factor": best.factor, "noise": np.asarray(best.noise),
                       "scale_eV_per_A": np.asarray(chosen), "force_rms": _force_rms(training)})  # fmt: skip
    numbers = _numbers(best, template, chosen, training_loss, _mean_square(unseen, best, template) if unseen else None)
    numbers |= target_numbers(config.targets, reached)
    return StageResult(outcome, numbers, (), (_section(config, template, chosen, scores, bool(unseen), reached),),
                       ("training_loss",))


def _pieces(given: Inputs, part: str):
    """(group, source, indices) of pieces of one group and source, small enough to lose."""
    indices = given.split.parts[part]
    groups = np.array(given.data.dataset.groups)
    for group in given.data.dataset.group_sizes():
        for source in range(given.sources):
            mine = indices[(groups[indices] == group) & (given.data.source[indices] == source)]
            for start in range(0, len(mine), CHUNK):
                yield group, source, mine[start : start + CHUNK]


def _equations(given, part, template, core, context) -> list[NormalEquations]:
    """Normal equations of a part, summed over pieces with the same elements; kept piece by piece."""
    pieces = list(_pieces(given, part))
    frames = given.data.dataset.frames
    total, done, out = sum(len(at) for *_, at in pieces), 0, {}
    for n, (group, source, at) in enumerate(pieces):
        name = f"{part}_{n}"
        like = _blank(template, [frames[k] for k in at], source)
        kept = context.restore(name, _arrays(like))
        if kept is None:
            equations = normal_equations(
                template, [frames[k] for k in at], given.weights, group=group, source=source, baseline=core,
                report=lambda k, _, done=done, group=group: context.progress(
                    f"{part}: rows of {group}", done + k, total))  # fmt: skip
            context.checkpoint(name, _arrays(equations))
        else:
            equations = _from_arrays(kept)
        done += len(at)
        key = (tuple(equations.species.tolist()), source)
        out[key] = equations if key not in out else _sum(out[key], equations)
    return list(out.values())


def _arrays(equations: NormalEquations) -> dict[str, np.ndarray]:
    """Normal equations as arrays by name."""
    return {f.name: np.asarray(getattr(equations, f.name)) for f in dataclasses.fields(equations)}


def _from_arrays(arrays) -> NormalEquations:
    """Back from ``_arrays``."""
    values = dict(arrays)
    for name, kind in (("target_square", float), ("rows", int), ("force_rows", int), ("source", int)):
        values[name] = kind(values[name])
    return NormalEquations(**values)


def _blank(template: BodyOrdered, frames, source: int, *, species=None) -> NormalEquations:
    """Equations of no rows for the elements of some frames: shapes to compare a checkpoint with."""
    if species is None:
        species = np.unique(np.concatenate([np.asarray(frame.atoms.species) for frame in frames]))
    P, F = len(species), template.coefficients.shape[1]
    size = P * F + P
    return NormalEquations(species, np.zeros((size, size)), np.zeros(size), 0.0, 0, np.zeros((P, F)), 0, source)


def _sum(a: NormalEquations, b: NormalEquations) -> NormalEquations:
    """Both together (of the same elements and source)."""
    return NormalEquations(a.species, a.gram + b.gram, a.rhs + b.rhs, a.target_square + b.target_square,
                           a.rows + b.rows, a.force_square + b.force_square, a.force_rows + b.force_rows, a.source)


def _force_rms(equations) -> np.ndarray:
    """(function,) root mean square force of a unit coefficient, as ``solve`` has it."""
    squares = np.sum([part.force_square.sum(axis=0) for part in equations], axis=0)
    return np.sqrt(squares / max(1, sum(part.force_rows for part in equations)))


def _solved(equations, template, prior):
    """The solution; a matrix that is not definite names the remedy of the configuration."""
    try:
        return solve(equations, template, prior)
    except ValueError as error:
        if not isinstance(error.__cause__, np.linalg.LinAlgError):
            raise
        raise ValueError(f"{error}; lower `body_ordered.prior.scales_eV_per_A`") from error


def _mean_square(equations, solution, template) -> float:
    """Mean squared weighted residual of rows, from their normal equations alone."""
    F = template.coefficients.shape[1]
    c, offsets = np.asarray(solution.potential.coefficients), np.asarray(solution.offsets_eV)
    total, rows = 0.0, 0
    for part in equations:
        x = np.concatenate([c[part.species].reshape(len(part.species) * F), offsets[part.source][part.species]])
        total += float(x @ part.gram @ x - 2 * x @ part.rhs) + part.target_square
        rows += part.rows
    return total / max(rows, 1)


def _numbers(best, template, chosen, training_loss, validation_loss):
    """Numbers of the fit; no validation loss (None) where there are no such frames."""
    validated = validation_loss is not None
    numbers = {
        "coefficients": Number(int(template.coefficients.size), "1", method="count"),
        "training_loss": Number(training_loss, "1", method="mean squared weighted residual"),
        "noise": Number(best.noise, "1", method="root mean square residual with the price of the coefficients"),
        "prior_scale": Number(float(chosen), "eV/Å", method="lowest validation loss" if validated else "evidence"),
    }  # fmt: skip
    if validated:
        numbers["validation_loss"] = Number(validation_loss, "1", method="mean squared weighted residual, validation")
    return numbers


def _section(config, template, chosen, scores, validated, reached):
    """What the report says of the fit."""
    scales = config.body_ordered.prior.scales_eV_per_A
    label = "mean squared residual, validation" if validated else "minus log evidence"
    text = (f"A linear potential of {template.coefficients.size} coefficients ({template.coefficients.shape[1]} "
            f"functions per element), solved for in closed form. Of {len(scales)} scales of the prior {chosen:g} eV/Å "
            f"has the lowest {label}.")
    edge = chosen in (scales[0], scales[-1]) and len(scales) > 2
    text += " It is at the edge of the list: extend it." if edge else ""
    table = Table(["scale (eV/Å)", label], [[f"{s:g}", f"{v:.6g}"] for s, v in zip(scales, scores, strict=True)],
                  "Choice of the prior")  # fmt: skip
    figures = [ReportFigure("prior", "Choice of the prior's scale.", prior_curve(scales, scores, label))]
    return ReportSection("Fit", text, [table, *target_table(config.targets, reached)], figures)


def check_model(config) -> None:
    """Raise ``DatasetError`` where the configuration asks for what this model does not have."""
    if config.optimiser.huber is not None:
        raise DatasetError("`optimiser.huber` is for `learnable_eam`: a linear fit is a least-squares fit")


def check_forces(given: Inputs, cutoff_A: float) -> None:
    """Raise ``DatasetError`` if symmetry keeps the atoms of all training frames free of forces; cut-off in Å.

    Neighbours pull with strengths that depend on their element and distance only: where the pulls cancel, so do the
    forces of every function, and the prior has nothing to take its scale from.
    """
    for n in given.split.train:
        atoms = given.data.dataset.frames[n].atoms
        pairs, x, species = neighbour_table(atoms, cutoff_A), np.asarray(atoms.positions), np.asarray(atoms.species)
        index, mask = np.asarray(pairs.index), np.asarray(pairs.mask)
        vectors = x[index] + np.asarray(pairs.shift) @ np.asarray(atoms.cell) - x[:, None]
        distance = np.where(mask, np.linalg.norm(vectors, axis=-1), cutoff_A)
        pull = np.sqrt(2.0 + species[index]) * (1.0 - distance / cutoff_A) ** 2
        net = np.linalg.norm(np.sum((pull / distance)[..., None] * vectors, axis=1), axis=1)
        if (net > UNSEEN * pull.sum(axis=1)).any():
            return
    raise DatasetError("all training frames are perfect lattices, on whose atoms no function gives a force, and "
                       "`body_ordered.prior` is in forces: add displaced or disordered structures to `data`")
