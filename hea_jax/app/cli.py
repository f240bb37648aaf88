"""The command line: ``hea-jax run``, ``hea-jax dft``, ``hea-jax fit``, ``hea-jax verify``, ``hea-jax info``.

Exit codes: 0 done, 1 a stage, structure or reference case failed, 2 the command or the configuration is wrong,
130 interrupted (the run folder goes on where it was).
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

WRONG, INTERRUPTED = 2, 130


@dataclasses.dataclass(frozen=True)
class Run:
    """Run a study in its folder; what is there already is used, so the same command goes on after an interruption.

    The fields of a configuration, with units and defaults, are listed by `hea-jax info --config`.
    """

    config: tyro.conf.Positional[Path]
    """YAML file of the study, e.g. configs/nbmotaw.yaml."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Replace one field, e.g. `--set rve.n_grains=32`; may be repeated."""
    out: Path | None = None
    """Run folder; runs/NAME if left out."""
    dry_run: bool = False
    """Print the resolved configuration and what would be computed, and stop."""


@dataclasses.dataclass(frozen=True)
class Dft:
    """Compute a DFT campaign in its folder: structures are generated, computed one by one, merged into one data set.

    The same command goes on after an interruption, and several may share a folder. GPAW is run in the Python that
    `engine.python` or HEA_JAX_DFT_PYTHON names; the environment is checked first.
    """

    config: tyro.conf.Positional[Path]
    """YAML file of the campaign, e.g. configs/dft_nbmotaw.yaml."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Replace one field, e.g. `--set engine.processes=4`; may be repeated."""
    out: Path | None = None
    """Folder of the campaign; runs/NAME if left out."""
    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Compute this group, or this structure, alone; may be repeated."""
    retry_failed: bool = False
    """Compute structures again that failed before."""
    dry_run: bool = False
    """List structures, atoms, k-meshes and estimated cost, and stop."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Fit a potential to reference data in its folder, judge it, and write its files for LAMMPS.

    The same command goes on after an interruption: checkpoints of the optimiser, and normal equations group by group.
    """

    config: tyro.conf.Positional[Path]
    """YAML file of the fit, e.g. configs/fit_nbmotaw_eam.yaml."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Replace one field, e.g. `--set optimiser.adam_steps=100`; may be repeated."""
    out: Path | None = None
    """Folder of the fit; runs/NAME if left out."""
    dry_run: bool = False
    """Print the resolved configuration, frames per group and part, and the stages, and stop."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Compute reference cases and compare them with independent truths."""

    scale: str | None = None
    """Only one scale: electronic, atomistic, mesoscale, continuum, concurrent, hierarchical or uncertainty."""
    json: Path | None = None
    """Write the rows to this file as JSON."""
    list: bool = False
    """List the cases without running them."""


@dataclasses.dataclass(frozen=True)
class Info:
    """Print versions and devices, or the fields of a configuration."""

    config: bool = False
    """List the fields of a configuration with units, defaults and meaning."""
    dft: bool = False
    """List the fields of a DFT campaign, and of each kind of group."""
    fit: bool = False
    """List the fields of a fit."""


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Dft, tyro.conf.subcommand("dft")]
    | Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Info, tyro.conf.subcommand("info")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; ``tyro`` exits by itself on a wrong command line or ``--help``."""
    description = "Differentiable multi-scale simulation of high-entropy alloys."
    command = tyro.cli(
        Command, prog="hea-jax", args=arguments, description=description,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )  # fmt: skip
    try:
        if isinstance(command, Run):
            return _run(command)
        if isinstance(command, Dft):
            return _dft(command)
        if isinstance(command, Fit):
            return _fit(command)
        return _verify(command) if isinstance(command, Verify) else _info(command)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _run(command: Run) -> int:
    """``hea-jax run``."""
    from hea_jax.app.config import ConfigError, load_config

    try:
        config = load_config(command.config, command.set)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    from hea_jax.app.environment import configure_jax

    configure_jax()
    from hea_jax.app.runs import plan
    from hea_jax.app.runs.command import print_places, print_verdicts, run_told
    from hea_jax.app.study import stages

    root = command.out or Path("runs") / config.name
    base = command.config.parent
    if command.dry_run:
        _print_plan(config, root, plan(stages(), config, root, base))
        return 0
    summary = run_told(stages(), config, root, base=base)
    if isinstance(summary, int):
        return summary
    print_verdicts(summary)
    print_places(root)
    return 0


def _dft(command: Dft) -> int:
    """``hea-jax dft``."""
    from hea_jax.app.environment import configure_jax

    configure_jax()
    from hea_jax.app.dft.command import run

    return run(command.config, command.set, command.out, dry_run=command.dry_run, retry_failed=command.retry_failed,
               only=command.only)


def _fit(command: Fit) -> int:
    """``hea-jax fit``."""
    from hea_jax.app.environment import configure_jax

    configure_jax()
    from hea_jax.app.fit.command import run

    return run(command.config, command.set, command.out, dry_run=command.dry_run)


def _print_plan(config, root: Path, planned) -> None:
    """What ``--dry-run`` prints."""
    import yaml
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    plain = config.model_dump(mode="json")
    print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))
    table = Table(title=f"Stages, in {root}", title_justify="left", header_style="bold")
    for head in ("stage", "needs", "reads", "in the folder"):
        table.add_column(head, overflow="fold")
    for item in planned:
        done = f"done, {item.stored.seconds:.1f} s" if item.stored else "to compute"
        table.add_row(item.stage.name, ", ".join(item.stage.needs), ", ".join(item.stage.config), done)
    console.print(table)


def _verify(command: Verify) -> int:
    """``hea-jax verify``."""
    from hea_jax.app.environment import configure_jax

    configure_jax()
    from rich.console import Console

    from hea_jax.app.verify.runner import collect, exit_code, run_cases
    from hea_jax.app.verify.table import add_rows, new_table, totals

    try:
        cases = collect(command.scale)
    except ValueError as error:
        print(error, file=sys.stderr)
        return WRONG
    if not cases:
        print(f"no case of the {command.scale} scale yet" if command.scale else "no cases yet")
    if command.list:
        for case in cases:
            print(f"{case.scale:13s} {case.name}")
        return 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = new_table()
    rows = []
    for case_rows in run_cases(cases):
        rows += case_rows
        add_rows(table, case_rows)
        print(f"{case_rows[0]['case']}: {case_rows[0]['seconds']:.1f} s", file=sys.stderr, flush=True)
    if rows:
        console.print(table)
        console.print(totals(rows), highlight=False)
    if command.json is not None:
        command.json.parent.mkdir(parents=True, exist_ok=True)
        command.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return exit_code(rows)


def _info(command: Info) -> int:
    """``hea-jax info``."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    if command.config:
        from hea_jax.app.config.describe import fields_table

        console.print(fields_table())
        return 0
    if command.dft:
        from hea_jax.app.dft.describe import fields_tables

        for table in fields_tables():
            console.print(table)
        return 0
    if command.fit:
        from hea_jax.app.fit.describe import fields_tables

        for table in fields_tables():
            console.print(table)
        return 0
    from hea_jax.app.environment import cache_folder, configure_jax
    from hea_jax.app.runs.summary import versions

    configure_jax()
    import jax

    for name, version in versions().items():
        print(f"{name:12s} {version}")
    devices = ", ".join(f"{device.platform}:{device.id} ({device.device_kind})" for device in jax.devices())
    print(f"{'devices':12s} {devices}\n{'cache':12s} {cache_folder()}")
    return 0
