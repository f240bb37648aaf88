"""Constitutive laws of the continuum, as (incremental) potentials."""

from hea_jax.continuum.laws.cubic_neo_hooke import CubicNeoHooke, crystal, grains
from hea_jax.continuum.laws.hooke import AbstractLinearLaw, Hooke, IsotropicHooke, reference_moduli, rotated
from hea_jax.continuum.laws.neo_hooke import NeoHooke

__all__ = ["AbstractLinearLaw", "CubicNeoHooke", "Hooke", "IsotropicHooke", "NeoHooke", "crystal", "grains",
           "reference_moduli", "rotated"]
