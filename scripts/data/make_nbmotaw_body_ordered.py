"""The body-ordered potential that ships with the package, from a finished run of its fit.

    hea-jax fit configs/fit_li2020.yaml
    python scripts/data/make_nbmotaw_body_ordered.py runs/fit_li2020

Writes hea_jax/data/nbmotaw_body_ordered.json: the potential of the run with what a user should know of it (data, errors
on held-out frames per group, elastic constants, unrelaxed vacancies against DFT, what failed). The data set of
Li, Chen, Zheng, Zuo & Ong 2020 that the fit needs is not in this package.
"""

import argparse
import json
from pathlib import Path

DATA = Path(__file__).parents[2] / "hea_jax" / "data"


def held_out(folder: Path) -> dict:
    """Mean absolute errors on the test part: all frames, and each group."""
    rows = [row for row in json.loads((folder / "stages/errors/errors.json").read_text()) if row["part"] == "test"]
    short = lambda row: [row["frames"], round(row["energy_mae_meV"], 2), round(row["force_mae_eV_per_A"], 4)]
    return {row["group"]: short(row) for row in rows}


def main() -> None:
    """Read the run, write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run of configs/fit_li2020.yaml")
    parser.add_argument("--output", type=Path, default=DATA / "nbmotaw_body_ordered.json")
    options = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    from hea_jax.app.verify.atomistic_body_ordered import unrelaxed_vacancies
    from hea_jax.atomistic.potentials.body_ordered.file import load_body_ordered, read_body_ordered, save_body_ordered

    path = options.run / "potential.json"
    potential, content = load_body_ordered(path), read_body_ordered(path)
    fitted, core = potential.parts
    vacancies = {e: [round(x, 3) for x in pair] for e, pair in unrelaxed_vacancies(potential).items()}
    summary = json.loads((options.run / "summary.json").read_text())
    numbers = summary["numbers"]
    elastic = {e: [round(x, 1) for x in numbers[f"sanity.elastic_constants_{e}"]["value"]] for e in potential.elements}
    config = json.loads((options.run / "config.json").read_text())
    facts = {
        "data": "80% of the NbMoTaW set of Li, Chen, Zheng, Zuo & Ong 2020 (npj Comput. Mater. 6, 70) and of the "
                "shipped GPAW set; each with its own element offsets",
        "held_out_frames_energy_mae_meV_force_mae_eV_per_A": held_out(options.run),
        "prior_eV_per_A": numbers["fit.prior_scale"]["value"],
        "C11_C12_C44_GPa": elastic,
        "unrelaxed_vacancy_eV_dft_and_fit": vacancies,
        "checks_not_met": [f"{v['name']}: {v['text']}" for v in summary["verdicts"] if not v["passed"]],
        "offsets_eV_of_sources": content["facts"]["offsets_eV_of_sources"],
        "weights": config["weights"], "made_with": "configs/fit_li2020.yaml, " + summary["versions"]["hea_jax"],
    }  # fmt: skip
    save_body_ordered(options.output, fitted, core=core.taper, offsets_eV=content["offsets_eV"], facts=facts)
    print(json.dumps(facts, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
