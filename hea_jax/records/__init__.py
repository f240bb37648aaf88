"""What crosses scales: records, and the interfaces of potentials and laws."""

from hea_jax.records.atoms import Atoms, Neighbours, pair_vectors
from hea_jax.records.law import (
    AbstractFiniteStrainLaw,
    AbstractHistoryLaw,
    AbstractLaw,
    AbstractSmallStrainLaw,
    Loading,
    Response,
    respond,
)
from hea_jax.records.potential import AbstractPotential
from hea_jax.records.scales import (
    AtomisticProperties,
    EffectiveProperties,
    Labelled,
    Microstructure,
    Provenance,
    ReferenceData,
)

__all__ = [
    "AbstractFiniteStrainLaw",
    "AbstractHistoryLaw",
    "AbstractLaw",
    "AbstractPotential",
    "AbstractSmallStrainLaw",
    "AtomisticProperties",
    "Atoms",
    "EffectiveProperties",
    "Labelled",
    "Loading",
    "Microstructure",
    "Neighbours",
    "Provenance",
    "ReferenceData",
    "Response",
    "pair_vectors",
    "respond",
]
