"""Constitutive laws of the continuum, as (incremental) potentials."""

from hea_jax.continuum.laws.hooke import AbstractLinearLaw, Hooke, IsotropicHooke, reference_moduli, rotated
from hea_jax.continuum.laws.neo_hooke import NeoHooke

__all__ = ["AbstractLinearLaw", "Hooke", "IsotropicHooke", "NeoHooke", "reference_moduli", "rotated"]
