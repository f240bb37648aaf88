"""Interatomic potentials: learnable, tabulated and pair forms behind ``AbstractPotential``."""

from hea_jax.atomistic.potentials.eam import AbstractEAM, fused_energy
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM, load_eam, tabulated
from hea_jax.atomistic.potentials.export import to_setfl
from hea_jax.atomistic.potentials.pair import LennardJones, Morse
from hea_jax.atomistic.potentials.setfl import Setfl, SetflError, read_setfl, write_setfl

__all__ = [
    "AbstractEAM", "LearnableEAM", "LennardJones", "Morse", "Setfl", "SetflError", "TabulatedEAM", "fused_energy",
    "load_eam", "read_setfl", "tabulated", "to_setfl", "write_setfl",
]
