"""The linear body-ordered potential (ACE-like): two-, three- and four-body invariants."""

from hea_jax.atomistic.potentials.body_ordered.basis import Truncation, chemical_channels, count_functions
from hea_jax.atomistic.potentials.body_ordered.file import BodyOrderedFileError, load_body_ordered, save_body_ordered
from hea_jax.atomistic.potentials.body_ordered.model import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.yace import save_yace

__all__ = [
    "BodyOrdered", "BodyOrderedFileError", "Truncation", "chemical_channels", "count_functions", "load_body_ordered",
    "save_body_ordered", "save_yace",
]
