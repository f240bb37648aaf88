"""What ``hea-jax fit`` does, in order: read, load and split the data, run the stages, hand out the files."""

import shutil
import sys
from pathlib import Path
from typing import Any

from hea_jax.app.config.problems import ConfigError
from hea_jax.app.fit.chain import HANDED_OUT, stages
from hea_jax.app.fit.eam_ending import check_ending
from hea_jax.app.fit.inputs import Inputs, inputs_of
from hea_jax.app.fit.load import load_fit
from hea_jax.app.fit.models import FitConfig
from hea_jax.app.fit.offsets import check_offsets
from hea_jax.app.fit.stage_data import part_table
from hea_jax.app.fit.stage_eam_blocks import check_blocks
from hea_jax.app.fit.stage_linear import check_forces, check_model, model_of
from hea_jax.app.fit.targets import all_built
from hea_jax.app.runs import plan
from hea_jax.app.runs.atomic import write_atomic
from hea_jax.app.runs.command import WRONG, print_places, print_verdicts, run_told
from hea_jax.atomistic.fitting import initial_parameters
from hea_jax.electronic import DatasetError

DONE = 0


def run(config_file: Path, overrides: tuple[str, ...], out: Path | None, *, dry_run: bool) -> int:
    """Fit; the exit code: 0 done, 1 a stage failed, 2 configuration or data are wrong."""
    base = config_file.parent
    try:
        config = load_fit(config_file, overrides)
        given = inputs_of(config, lambda path: base / Path(path).expanduser())
        _check(config, given)
    except (ConfigError, DatasetError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG
    folder, chain = out or Path("runs") / config.name, stages(config)
    if dry_run:
        _print_plan(config, given, folder, plan(chain, config, folder, base))
        return DONE
    summary = run_told(chain, config, folder, base=base, wrong=(DatasetError,))
    if isinstance(summary, int):
        return summary
    _print_end(summary, folder, hand_out(folder))
    return DONE


def _check(config: FitConfig, given: Inputs) -> None:
    """What can be said before anything is computed; raises ``DatasetError``."""
    check_offsets(config, given.data.elements)
    cutoff = 5.0
    if config.body_ordered is not None:
        check_model(config)
        try:
            cutoff = model_of(config.body_ordered).template(given.data.elements).cutoff
        except ValueError as error:
            raise DatasetError(f"body_ordered: {error}") from None
        check_forces(given, cutoff)
    elif config.learnable_eam is not None:
        if config.optimiser.gauss_newton_steps:
            check_blocks(config)
        cutoff = config.learnable_eam.cutoff_A
        if not 0.5 < config.learnable_eam.inner_A < cutoff:
            raise DatasetError("learnable_eam: inner_A must lie between 0.5 Å and cutoff_A")
    all_built(config, given.data, cutoff)
    foreign = sorted(set(config.sanity.composition or ()) - set(given.data.elements))
    if foreign:
        raise DatasetError(f"sanity.composition names {', '.join(foreign)}, of which there are no data: leave it out")
    if config.learnable_eam is not None:
        check_ending(config)


def parameters(config: FitConfig, elements: tuple[str, ...]) -> int:
    """Number of parameters of the configured potential."""
    if config.body_ordered is not None:
        return int(model_of(config.body_ordered).template(elements).coefficients.size)
    section = config.learnable_eam
    assert section is not None
    p = initial_parameters(elements, pair_functions=section.n_pair_functions,
                           density_functions=section.n_density_functions).potential
    return sum(int(leaf.size) for leaf in (p.pair, p.density, p.embedding_root, p.embedding_series))


def hand_out(folder: Path) -> list[str]:
    """Copy the files that a user takes away to the run folder itself; each is whole or absent."""
    out = []
    for stage, names in HANDED_OUT.items():
        for name in names:
            source = folder / "stages" / stage / name
            if source.exists():
                write_atomic(folder / name, lambda partial, source=source: shutil.copyfile(source, partial))
                out.append(name)
            else:
                (folder / name).unlink(missing_ok=True)
    return out


def _print_plan(config: FitConfig, given: Inputs, folder: Path, planned: Any) -> None:
    """What ``--dry-run`` prints."""
    import yaml
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    plain = config.model_dump(mode="json", exclude_none=True)
    print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))
    frames = part_table(given)
    table = Table(title=frames.caption, title_justify="left", header_style="bold")
    for head in frames.columns:
        table.add_column(head)
    for row in frames.rows:
        table.add_row(*map(str, row))
    console.print(table)
    atoms = sum(given.data.dataset.frames[n].atoms.number for n in given.split.train)
    rows = len(given.split.train) * 7 + 3 * atoms
    print(f"{parameters(config, given.data.elements)} parameters, about {rows} training residuals\n")
    table = Table(title=f"Stages, in {folder}", title_justify="left", header_style="bold")
    for head in ("stage", "needs", "in the folder"):
        table.add_column(head, overflow="fold")
    for item in planned:
        done = f"done, {item.stored.seconds:.1f} s" if item.stored else "to compute"
        table.add_row(item.stage.name, ", ".join(item.stage.needs), done)
    console.print(table)


def _print_end(summary: Any, folder: Path, handed: list[str]) -> None:
    """What a finished fit prints: errors, failed checks, where the results are."""
    numbers = summary["numbers"]
    for part in ("train", "validation", "test"):
        found = [(q, u) for q, u in (("energy", "meV/atom"), ("force", "eV/Å"), ("stress", "GPa"))
                 if f"errors.{part}_{q}_mae" in numbers]
        if found:
            text = ", ".join(f"{q} {numbers[f'errors.{part}_{q}_mae']['value']:.3g} {u}" for q, u in found)
            print(f"mean absolute errors, {part}: {text}")
    print_verdicts(summary)
    print(f"files: {', '.join(str(folder / name) for name in handed)}")
    print_places(folder)
