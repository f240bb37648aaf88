"""What every command that runs a chain of stages does: progress, failures told, the end told.

Exit codes: 1 a stage failed, 2 what was given is wrong.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hea_jax.app.runs.lock import FolderLocked
from hea_jax.app.runs.progress import reporter_for
from hea_jax.app.runs.runner import StageFailed, run_chain
from hea_jax.app.runs.stage import Stage

FAILED, WRONG = 1, 2


def run_told(chain: Sequence[Stage], config: Any, root: Path, *, base: Path,
             wrong: tuple[type[BaseException], ...] = ()) -> dict[str, Any] | int:
    """The summary of a finished run, or the exit code of one that is not; what went wrong stands on standard error.

    A stage that failed for one of the causes in ``wrong`` failed for what it was given.
    """
    try:
        # The reporter is closed before anything is told, so that a live line on a terminal is gone by then.
        with contextlib.closing(reporter_for(sys.stdout)) as reporter:
            return run_chain(chain, config, root, base=base, reporter=reporter)
    except StageFailed as error:
        print(f"{error}\ntraceback: {error.log}\nthe same command goes on from this stage", file=sys.stderr)
        return WRONG if isinstance(error.__cause__, wrong) else FAILED
    except (FolderLocked, NotADirectoryError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return WRONG


def print_verdicts(summary: dict[str, Any]) -> None:
    """Failed checks, and how many were met."""
    failed = [verdict for verdict in summary["verdicts"] if not verdict["passed"]]
    for verdict in failed:
        print(f"NOT MET  {verdict['stage']}: {verdict['name']}: {verdict['text']}")
    count = len(summary["verdicts"])
    print(f"{count - len(failed)} of {count} checks met, {len(summary['numbers'])} numbers")


def print_places(root: Path) -> None:
    """Where report and summary are."""
    print(f"report: {root / 'report.html'}\nsummary: {root / 'summary.json'}")
