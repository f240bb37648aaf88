"""Electronic scale: reference data from density functional theory."""

from hea_jax.electronic.dataset import (
    GPAW_NBMOTAW,
    LI_2020,
    Dataset,
    DatasetError,
    DatasetKeys,
    load_dataset,
    shipped_dataset,
)

__all__ = ["GPAW_NBMOTAW", "LI_2020", "Dataset", "DatasetError", "DatasetKeys", "load_dataset", "shipped_dataset"]
