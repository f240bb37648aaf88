"""Run folders: stages, their results on disk, resuming, progress."""

from hea_jax.app.runs.context import Context
from hea_jax.app.runs.lock import FolderLocked
from hea_jax.app.runs.runner import Planned, StageFailed, plan, run_chain
from hea_jax.app.runs.stage import Number, Stage, StageResult, Verdict
from hea_jax.app.runs.summary import without_timings
from hea_jax.app.runs.tree import load_tree, save_tree

__all__ = [
    "Context", "FolderLocked", "Number", "Planned", "Stage", "StageFailed", "StageResult", "Verdict", "load_tree",
    "plan", "run_chain", "save_tree", "without_timings",
]
