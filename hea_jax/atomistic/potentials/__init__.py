"""Interatomic potentials: learnable, tabulated, analytic and pair forms behind ``AbstractPotential``."""

from hea_jax.atomistic.potentials.average_atom import AverageAtom
from hea_jax.atomistic.potentials.eam import AbstractEAM, fused_energy
from hea_jax.atomistic.potentials.eam_learnable import LearnableEAM
from hea_jax.atomistic.potentials.eam_tabulated import TabulatedEAM, load_eam, tabulated
from hea_jax.atomistic.potentials.export import to_setfl
from hea_jax.atomistic.potentials.finnis_sinclair import FinnisSinclair, load_fs
from hea_jax.atomistic.potentials.fs_file import FsError, FsFile, read_fs, write_fs
from hea_jax.atomistic.potentials.funcfl import Funcfl, FuncflError, load_funcfl, mix_funcfl, read_funcfl, write_funcfl
from hea_jax.atomistic.potentials.load import UnknownFormatError, load_potential
from hea_jax.atomistic.potentials.pair import LennardJones, Morse
from hea_jax.atomistic.potentials.setfl import Setfl, SetflError, read_setfl, write_setfl
from hea_jax.atomistic.potentials.snap import SNAP, load_snap, snap_from
from hea_jax.atomistic.potentials.snap_files import (
    SnapCoefficients,
    SnapError,
    SnapParameters,
    read_snap_coefficients,
    read_snap_parameters,
)
from hea_jax.atomistic.potentials.table_file import PotentialFileError
from hea_jax.atomistic.potentials.zbl import ZBL, LammpsTaper, Overlay, SmoothTaper
from hea_jax.atomistic.potentials.zhou import ZhouEAM

__all__ = [
    "SNAP", "ZBL", "AbstractEAM", "AverageAtom", "FinnisSinclair", "FsError", "FsFile", "Funcfl", "FuncflError",
    "LammpsTaper", "LearnableEAM", "LennardJones", "Morse", "Overlay", "PotentialFileError", "Setfl", "SetflError",
    "SmoothTaper", "SnapCoefficients", "SnapError", "SnapParameters", "TabulatedEAM", "UnknownFormatError", "ZhouEAM",
    "fused_energy", "load_eam", "load_fs", "load_funcfl", "load_potential", "load_snap", "mix_funcfl", "read_fs",
    "read_funcfl", "read_setfl", "read_snap_coefficients", "read_snap_parameters", "snap_from", "tabulated", "to_setfl",
    "write_fs", "write_funcfl", "write_setfl",
]
