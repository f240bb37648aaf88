"""The fitted potential that ships with the package, as plain numbers.

``hea_jax/data/nbmotaw_eam.json`` holds the parameters of a ``LearnableEAM`` fitted to the shipped DFT set, with the
errors of that fit; ``scripts/data/make_nbmotaw_eam.py`` makes it anew. Source: the set's provenance in
``hea_jax/data/README.md`` (GPAW, PBE).
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM

PATH = Path(__file__).parents[2] / "data" / "nbmotaw_eam.json"
LEAVES = ("pair", "density", "embedding_root", "embedding_series")
STATIC = ("elements", "cutoff", "inner_A", "core_eV", "rho0")


def shipped_potential() -> LearnableEAM:
    """The Nb–Mo–Ta–W potential of the package (eV, Å); energies are relative to its element offsets."""
    return potential_from_json(PATH)


def potential_from_json(path: str | Path) -> LearnableEAM:
    """Read a ``LearnableEAM`` written by ``potential_to_json``.

    Raises ``FileNotFoundError``, or ``ValueError`` naming the file and the field that is missing or not numeric.
    """
    content = json.loads(Path(path).read_text())
    missing = [name for name in (*LEAVES, *STATIC) if name not in content]
    if missing:
        raise ValueError(f"{path}: missing {', '.join(missing)}: write it with `potential_to_json`")
    leaves = {name: np.asarray(content[name], float) for name in LEAVES}
    broken = [name for name, value in leaves.items() if not np.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path}: {', '.join(broken)} hold values that are not finite: write the file again")
    pair, density, root, series = (jnp.asarray(leaves[name]) for name in LEAVES)
    cutoff, inner, core, rho0 = (float(content[name]) for name in STATIC[1:])
    return LearnableEAM(pair=pair, density=density, embedding_root=root, embedding_series=series,
                        elements=tuple(content["elements"]), cutoff=cutoff, inner_A=inner, core_eV=core, rho0=rho0)


def potential_to_json(potential: LearnableEAM, path: str | Path, **facts) -> None:
    """Write the parameters (full precision) and any plain ``facts`` about them."""
    content = {name: np.asarray(getattr(potential, name)).tolist() for name in LEAVES}
    content |= {name: getattr(potential, name) for name in STATIC} | facts
    Path(path).write_text(json.dumps(content, indent=1) + "\n")
