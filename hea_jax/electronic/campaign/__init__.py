"""DFT campaigns: structures in, one data set out; any ASE calculator, resumable per structure."""

from hea_jax.electronic.campaign.convergence import MeshRow, kmesh_convergence
from hea_jax.electronic.campaign.cost import estimated_seconds
from hea_jax.electronic.campaign.engine import Engine, default_python, gpaw_engine
from hea_jax.electronic.campaign.environment import (
    EnvironmentUnfit,
    Finding,
    check_environment,
    environment_facts,
    findings,
)
from hea_jax.electronic.campaign.merge import (
    campaign_frames,
    left_out,
    merge,
    merged_dataset,
    read_known,
    summary_rows,
)
from hea_jax.electronic.campaign.runner import Outcome, run_campaign
from hea_jax.electronic.campaign.tasks import (
    CampaignError,
    FixedMesh,
    KMesh,
    PointsPerCellEdge,
    Spacing,
    Task,
    check_tasks,
    interleaved,
)

__all__ = [
    "CampaignError", "Engine", "EnvironmentUnfit", "Finding", "FixedMesh", "KMesh", "MeshRow", "Outcome",
    "PointsPerCellEdge", "Spacing", "Task", "campaign_frames", "check_environment", "check_tasks", "default_python",
    "environment_facts", "estimated_seconds", "findings", "gpaw_engine", "interleaved", "kmesh_convergence", "left_out",
    "merge", "merged_dataset", "read_known", "run_campaign", "summary_rows",
]  # fmt: skip
