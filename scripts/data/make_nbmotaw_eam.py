"""Fit the potential that ships with the package: python scripts/data/make_nbmotaw_eam.py"""

import dataclasses

import jax

jax.config.update("jax_enable_x64", True)

from hea_jax.atomistic.fitting import fit_dataset, format_table  # noqa: E402
from hea_jax.atomistic.potentials.shipped import PATH, potential_to_json  # noqa: E402
from hea_jax.electronic.dataset import shipped_dataset  # noqa: E402


def main():
    """Fit, print the errors, write the file."""
    dataset = shipped_dataset()
    study = fit_dataset(
        dataset, report=lambda step, loss: print(step, float(loss), flush=True) if step % 100 == 0 else None
    )
    print(format_table(study.training_errors), format_table(study.held_out_errors), study.solution.stats, sep="\n")
    potential_to_json(
        study.parameters.potential,
        PATH,
        offsets_eV=study.parameters.offsets_eV.tolist(),
        fitted_to="gpaw_nbmotaw.extxyz",
        structures=len(dataset),
        training=dataclasses.asdict(study.training_errors[-1]),
        held_out=dataclasses.asdict(study.held_out_errors[-1]),
    )


if __name__ == "__main__":
    main()
