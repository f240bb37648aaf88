"""Bridges to other packages: potentials of ours in ASE and jax-md, potentials of theirs here.

ASE and jax-md are imported only when an adapter is made.
"""

from hea_jax.atomistic.adapters.ase_calculator import as_ase_calculator, atoms_from_ase
from hea_jax.atomistic.adapters.ase_potential import ASEPotential
from hea_jax.atomistic.adapters.jax_md import JaxMDPotential, PairFunction, as_jax_md_energy

__all__ = ["ASEPotential", "JaxMDPotential", "PairFunction", "as_ase_calculator", "as_jax_md_energy", "atoms_from_ase"]
