"""What ``hea-jax dft`` does, in order: read, plan, probe the engine, compute, merge, report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hea_jax.app.config.problems import ConfigError
from hea_jax.app.dft import report
from hea_jax.app.dft.load import Campaign, load_campaign
from hea_jax.electronic.campaign.environment import EnvironmentUnfit, check_environment
from hea_jax.electronic.campaign.folder import write_json
from hea_jax.electronic.campaign.merge import DATASET, merge, merged_dataset, read_known
from hea_jax.electronic.campaign.runner import Outcome, run_campaign
from hea_jax.electronic.campaign.tasks import CampaignError
from hea_jax.electronic.dataset import DatasetError

DONE, FAILED, WRONG = 0, 1, 2


def run(config: Path, overrides: tuple[str, ...], out: Path | None, *, dry_run: bool, retry_failed: bool,
        only: Sequence[str] = ()) -> int:
    """Run a campaign; the exit code: 0 all computed, 1 some structures failed, 2 nothing could be run.

    ``only`` names groups or structures to compute alone; what is finished of the others is merged all the same.
    """
    try:
        campaign = load_campaign(config, overrides)
        names = _names(campaign, only)
        given = campaign.settings.known
        known = read_known(campaign.known, given.provenance) if campaign.known and given else {}
    except (ConfigError, CampaignError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return WRONG
    folder = out or Path("runs") / campaign.settings.name
    try:
        if dry_run:
            rows, sentence = report.plan_rows(campaign, folder, known, names)
            _table(f"Campaign {campaign.settings.name}, in {folder}", report.PLAN, rows)
            print(sentence)
            return DONE
        if any(not _there(name, folder, known) for name in names):
            for finding in check_environment(campaign.engine, campaign.settings.elements):
                print(finding, file=sys.stderr)
        outcome = _computed(campaign, folder, known, names, retry_failed)
    except (CampaignError, EnvironmentUnfit, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG
    return _finish(campaign, folder, known, outcome)


def _names(campaign: Campaign, only: Sequence[str]) -> list[str]:
    """Names of the structures that are given by their group or by name, or of all."""
    groups, names = {task.group for task in campaign.tasks}, {task.name for task in campaign.tasks}
    unknown = sorted(set(only) - groups - names)
    if unknown:
        raise CampaignError(f"no group or structure is called {', '.join(unknown)}: this campaign has the groups "
                            f"{', '.join(sorted(groups))}")
    return [task.name for task in campaign.tasks if not only or task.group in only or task.name in only]


def _there(name: str, folder: Path, known: dict[str, Any]) -> bool:
    """Whether a structure needs no computing."""
    return name in known or (folder / "structures" / f"{name}.extxyz").exists()


def _computed(campaign: Campaign, folder: Path, known: dict[str, Any], names: Sequence[str],
              retry_failed: bool) -> Outcome:
    """Run with a bar on a terminal, lines elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "campaign.json", report.plain(campaign.settings.model_dump(mode="json")))
    own = [name for name in names if name not in known]
    total = len(own)
    counted = {"ended": sum(_there(name, folder, known) for name in own)}
    bar = _bar(total, counted["ended"])

    def observe(event: str, name: str, text: str) -> None:
        counted["ended"] += event in ("finished", "failed")
        line = f"[{counted['ended']}/{total}] {name}: {event} {text}".rstrip()
        if bar is None:
            print(line, flush=True)
        else:
            bar.update(bar.task_ids[0], completed=counted["ended"], description=line)
            if event == "failed":
                bar.console.print(line, highlight=False, markup=False)

    try:
        return run_campaign(campaign.tasks, campaign.engine, folder, known=known, only=names,
                            retry_failed=retry_failed, observer=observe)
    finally:
        if bar is not None:
            bar.stop()


def _bar(total: int, done: int) -> Any:
    """A progress bar on a terminal, else None."""
    if not sys.stdout.isatty():
        return None
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                   TextColumn("{task.description}", markup=False))
    bar.add_task("", total=total, completed=done)
    bar.start()
    return bar


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _finish(campaign: Campaign, folder: Path, known: dict[str, Any], outcome: Outcome) -> int:
    """Merge, report, and print the end of a campaign."""
    counts = merge(campaign.tasks, folder, known)
    summary = report.write_report(campaign, folder, known, outcome.failures, counts)
    _table(f"Campaign {campaign.settings.name}", report.GROUPS, report.group_cells(summary["groups"]))
    meshes = [report.MeshRow(**{**row, "kpts": tuple(row["kpts"])}) for row in summary["kmesh"]]
    if meshes:
        _table("k-mesh, changes against the finest", report.MESHES, report.mesh_cells(meshes))
    for record in outcome.failures:
        print(f"FAILED  {record['name']}: {str(record['error']).splitlines()[0]}")
    print(f"{len(outcome.computed)} computed now, {len(outcome.reused)} before, {len(outcome.known)} known, "
          f"{len(outcome.failures)} failed (`--retry-failed` computes those again)")
    if summary["known_left_out"]:
        print(report.left_out_sentence(summary["known_left_out"]))
    print(f"data set: {folder / DATASET}\nreport: {folder / 'report.md'}")
    try:
        if counts[DATASET]:
            merged_dataset(folder, campaign.settings.elements, with_stress=campaign.engine.stress)
    except DatasetError as error:
        print(error, file=sys.stderr)
        return FAILED
    return FAILED if outcome.failures else DONE
