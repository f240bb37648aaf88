"""What a body-ordered potential knows of two elements that it has never seen together.

    python scripts/benchmarks/leave_one_binary_out.py configs/fit_li2020.yaml [--work FOLDER]

The closed-form fit of the configuration is solved again without every frame that holds a pair of elements, once for
each pair; errors are those on all frames with that pair, beside the errors of the whole fit on its own held-out frames
of the pair. Energies are judged with the elements' offsets that the fit without the pair has found. Normal equations
are kept in the work folder group by group, so that an interrupted run goes on and a second one takes minutes.
Written to scripts/benchmarks/results/leave_one_binary_out.json.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "leave_one_binary_out.json"


def group_equations(given, template, core, work: Path):
    """Normal equations of the training frames, by group and source, kept in ``work``."""
    from hea_jax.atomistic.fitting.linear import NormalEquations, normal_equations

    frames, groups = given.data.dataset.frames, np.array(given.data.dataset.groups)
    out = {}
    for group in dict.fromkeys(groups.tolist()):
        for source in range(given.sources):
            train = given.split.train
            mine = train[(groups[train] == group) & (given.data.source[train] == source)]
            if not len(mine):
                continue
            # Groups may mix elements: one set of equations for each set of them.
            sets = {}
            for n in mine:
                sets.setdefault(tuple(np.unique(np.asarray(frames[n].atoms.species)).tolist()), []).append(n)
            for species, members in sets.items():
                name = f"{group}-{source}-{'-'.join(map(str, species))}".replace("/", "_")
                path = work / f"{name}.npz"
                if not path.exists():
                    print(f"rows of {name}: {len(members)} frames", flush=True)
                    normal_equations(template, [frames[n] for n in members], given.weights, group=group, source=source,
                                     baseline=core).save(path)
                out[name] = NormalEquations.load(path)
    return out


def errors(potential, offsets, frames, sources) -> dict[str, float]:
    """MAE of energies (meV/atom) and force components (eV/Å); (frame,) ``sources`` choose the offsets (eV)."""
    from hea_jax.atomistic.fitting.evaluation import evaluate

    found = evaluate(potential, frames)
    E, F = [], []
    for n, frame in enumerate(frames):
        species = np.asarray(frame.atoms.species)
        E.append((found.energy_eV[n] + offsets[sources[n]][species].sum() - float(frame.free_energy_eV)) / len(species))
        F.append((found.forces_eV_per_A[n] - np.asarray(frame.forces_eV_per_A)).ravel())
    return {"frames": len(frames), "energy_meV_per_atom": float(1e3 * np.mean(np.abs(E))),
            "force_eV_per_A": float(np.mean(np.abs(np.concatenate(F))))}


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="a fit with the section `body_ordered`")
    parser.add_argument("--work", type=Path, default=Path("runs/leave_one_binary_out"))
    parser.add_argument("--scale", type=float, default=None, help="scale of the prior (default: the middle one)")
    parser.add_argument("--most", type=int, default=200, help="frames judged per pair, evenly spaced")
    options = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    from hea_jax.app.fit.inputs import inputs_of
    from hea_jax.app.fit.load import load_fit
    from hea_jax.app.fit.stage_linear import core_of, model_of, prior_of
    from hea_jax.atomistic.fitting.linear import solve
    from hea_jax.atomistic.potentials import Overlay

    config = load_fit(options.config)
    given = inputs_of(config, lambda path: options.config.parent / path)
    elements, frames = given.data.elements, given.data.dataset.frames
    template, core = model_of(config.body_ordered).template(elements), core_of(config.body_ordered, elements)
    options.work.mkdir(parents=True, exist_ok=True)
    parts = group_equations(given, template, core, options.work)
    scales = config.body_ordered.prior.scales_eV_per_A
    prior = prior_of(config.body_ordered.prior, options.scale or scales[len(scales) // 2])

    def fitted(chosen):
        solution = solve(chosen, template, prior)
        return (solution.potential if core is None else Overlay.of(solution.potential, core)), solution.offsets_eV

    holds = [set(np.unique(np.asarray(f.atoms.species)).tolist()) for f in frames]
    whole = fitted(list(parts.values()))
    rows = {}
    for pair in itertools.combinations(range(len(elements)), 2):
        name = "".join(elements[s] for s in pair)
        without = fitted([part for part in parts.values() if not set(pair) <= set(part.species.tolist())])
        mine = np.array([n for n, present in enumerate(holds) if set(pair) <= present])
        unseen = np.intersect1d(mine, given.split.test)
        spread = lambda at: at[np.unique(np.linspace(0, len(at) - 1, min(options.most, len(at))).astype(int))]
        row = {}
        cases = (("left out", without, mine), ("whole fit, held-out frames", whole, unseen))
        for label, (potential, offsets), at in cases:
            at = spread(at)
            row[label] = errors(potential, offsets, [frames[n] for n in at], given.data.source[at])
        rows[name] = row
        print(name, json.dumps(row), flush=True)
        RESULTS.write_text(json.dumps({"config": options.config.name, "prior_scale_eV_per_A": prior.scale,
                                       "pairs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
