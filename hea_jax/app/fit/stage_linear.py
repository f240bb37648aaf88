"""Stage ``fit`` of the linear body-ordered potential: normal equations by group, the prior chosen on validation."""

import dataclasses

import jax
import numpy as np

from hea_jax.app.fit.figures import prior_curve
from hea_jax.app.fit.inputs import Inputs, inputs_of
from hea_jax.app.fit.outcome import Outcome
from hea_jax.app.fit.targets import built
from hea_jax.app.report import ReportFigure, ReportSection, Table
from hea_jax.app.runs import Number, StageResult
from hea_jax.atomistic.fitting.linear import ChemicalPrior, LinearModel, NormalEquations, normal_equations, solve
from hea_jax.atomistic.fitting.targets import Cell, EnergyDifference, is_linear
from hea_jax.atomistic.potentials import ZBL, LammpsTaper, Overlay
from hea_jax.atomistic.potentials.body_ordered import BodyOrdered, Truncation
from hea_jax.atomistic.properties import energy
from hea_jax.core.units import EV_TO_MEV
from hea_jax.electronic import DatasetError

CHUNK = 256
"""Frames of a group between two checkpoints."""


def model_of(section) -> LinearModel:
    """The shape of the potential."""
    truncation = Truncation(section.pair_radial, section.three_radial, section.three_l, section.three_channels,
                            section.four_radial, section.four_l, section.four_channels)
    return LinearModel(truncation, section.cutoff_A, section.inner_A)


def core_of(section, elements: tuple[str, ...]) -> ZBL | None:
    """The repulsive core, which is taken off the data before the fit."""
    return ZBL.of(elements, LammpsTaper(section.core_inner_A, section.core_outer_A)) if section.core else None


def prior_of(section, scale: float) -> ChemicalPrior:
    """The prior at one scale (eV/Å)."""
    return ChemicalPrior(scale, section.channel, section.centre, section.angular, section.four_body)


def run_linear(config, inputs, context):
    """Fit in closed form; normal equations of finished pieces are kept, so a killed run repeats one piece at most."""
    given = inputs_of(config, context.resolve)
    section, elements = config.body_ordered, given.data.elements
    template, core = model_of(section).template(elements), core_of(section, elements)
    training = _equations(given, "train", template, core, context)
    unseen = _equations(given, "validation", template, core, context)
    rows = _target_rows(config, given, template, core)
    solutions, scores = [], []
    for n, scale in enumerate(section.prior.scales_eV_per_A):
        context.progress(f"solving, prior {scale:g} eV/Å", n + 1, len(section.prior.scales_eV_per_A))
        solution = _solved([*training, *rows], template, prior_of(section.prior, scale))
        score = -solution.log_evidence if not unseen else _mean_square(unseen, solution, template)
        if not scores or score < min(scores):
            solutions = [solution]
        scores.append(score)
    best = solutions[0]
    chosen = section.prior.scales_eV_per_A[int(np.argmin(scores))]
    potential = best.potential if core is None else Overlay.of(best.potential, core)
    training_loss = _mean_square(training, best, template)
    history = np.array([[0.0, k, np.nan, s] for k, s in enumerate(scores)])
    history[int(np.argmin(scores)), 2] = training_loss
    outcome = Outcome(potential, best.offsets_eV, history, {"factor": best.factor, "noise": np.asarray(best.noise),
                                                            "scale_eV_per_A": np.asarray(chosen),
                                                            "force_rms": _force_rms(training)})  # fmt: skip
    return StageResult(outcome, _numbers(best, template, chosen, training_loss, scores, bool(unseen)), (),
                       (_section(config, template, chosen, scores, bool(unseen)),), ("training_loss",))


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


def _target_rows(config, given, template, core) -> list[NormalEquations]:
    """Rows of the targets that are linear in the coefficients (energy differences of fixed structures)."""
    equations = _blank(template, [], 0, species=np.arange(len(template.elements)))
    count = 0
    for section in config.targets:
        target = built(section, given.data.elements, template.cutoff, given.data.dataset,
                       config.sanity.lattice_constants_A)
        if not is_linear(target):
            continue
        assert isinstance(target, EnergyDifference)
        row, known = _difference(target, template, core)
        weight = EV_TO_MEV / section.tolerance
        row, y = weight * np.concatenate([row, np.zeros(len(template.elements))]), weight * (
            section.value / EV_TO_MEV - known)
        equations = dataclasses.replace(equations, gram=equations.gram + np.outer(row, row),
                                        rhs=equations.rhs + row * y, rows=equations.rows + 1,
                                        target_square=equations.target_square + y * y)
        count += 1
    return [equations] if count else []


def _difference(target: EnergyDifference, template: BodyOrdered, core) -> tuple[np.ndarray, float]:
    """(row over element × function, share of the core in eV) of an energy difference per atom."""
    def one(cell: Cell):
        S = len(template.elements)
        summed = jax.nn.one_hot(cell.atoms.species, S).T @ template.functions(cell.atoms, cell.pairs)
        fixed = 0.0 if core is None else float(energy(core, cell.atoms, cell.pairs))
        return np.asarray(summed).ravel() / cell.atoms.number, fixed / cell.atoms.number

    row, known = one(target.cell)
    for share, cell in zip(target.shares, target.others, strict=True):
        other, fixed = one(cell)
        row, known = row - share * other, known - share * fixed
    return row, known


def _numbers(best, template, chosen, training_loss, scores, validated):
    """Numbers of the fit."""
    numbers = {
        "coefficients": Number(int(template.coefficients.size), "1", method="count"),
        "training_loss": Number(training_loss, "1", method="mean squared weighted residual"),
        "noise": Number(best.noise, "1", method="root mean square residual with the price of the coefficients"),
        "prior_scale": Number(float(chosen), "eV/Å", method="lowest validation loss" if validated else "evidence"),
    }  # fmt: skip
    if validated:
        numbers["validation_loss"] = Number(min(scores), "1", method="mean squared weighted residual, validation")
    return numbers


def _section(config, template, chosen, scores, validated):
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
    return ReportSection("Fit", text, [table], figures)


def check_model(config) -> None:
    """Raise ``DatasetError`` where the configuration asks for what this model does not have."""
    if config.optimiser.huber is not None:
        raise DatasetError("`optimiser.huber` is for `learnable_eam`: a linear fit is a least-squares fit")
