"""Electronic scale: reference data from density functional theory."""

from hea_jax.electronic.checks import check_dataset
from hea_jax.electronic.dataset import (
    ASE_RESULTS,
    GPAW_NBMOTAW,
    LI_2020,
    NAMED_KEYS,
    TA_FITSNAP,
    Dataset,
    DatasetError,
    DatasetKeys,
    load_dataset,
    shipped_dataset,
    write_dataset,
)
from hea_jax.electronic.findings import DatasetReport, Finding, Severity
from hea_jax.electronic.offsets import ElementOffsets, aligned, fitted_offsets, given_offsets
from hea_jax.electronic.splits import (
    Leakage,
    Split,
    find_units,
    group_weights,
    leakage,
    leave_group_out,
    leave_pair_out,
    random_split,
    split_by_parent,
)

__all__ = [
    "ASE_RESULTS",
    "GPAW_NBMOTAW",
    "LI_2020",
    "NAMED_KEYS",
    "TA_FITSNAP",
    "Dataset",
    "DatasetError",
    "DatasetKeys",
    "DatasetReport",
    "ElementOffsets",
    "Finding",
    "Leakage",
    "Severity",
    "Split",
    "aligned",
    "check_dataset",
    "find_units",
    "fitted_offsets",
    "given_offsets",
    "group_weights",
    "leakage",
    "leave_group_out",
    "leave_pair_out",
    "load_dataset",
    "random_split",
    "shipped_dataset",
    "split_by_parent",
    "write_dataset",
]
