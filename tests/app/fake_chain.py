"""A cheap chain of stages, and a driver that runs it (or the real one) and is killed at a chosen moment.

    python fake_chain.py FOLDER KILL            the fake chain
    python fake_chain.py FOLDER KILL CONFIG     the real chain of a configuration

KILL is ``none``; ``event:STAGE:EVENT`` (see ``hea_jax.app.runs.runner.Observer``); ``disk:N``, the N-th flush or
rename, after cutting the file short; ``hdf5:N``, within the N-th value written to an HDF5 file; ``step:N``, in step N
of a loop with checkpoints; ``sleep``, which waits in the second stage to be killed from outside.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from hea_jax.app.report import ReportSection, Table
from hea_jax.app.runs import Number, Stage, StageResult, Verdict, atomic, run_chain, tree

STEPS = 6


class Section(BaseModel):
    """A section of the fake configuration."""

    scale_GPa: float = 2.0
    size: int = 4


class FakeConfig(BaseModel):
    """The configuration of the fake chain."""

    name: str = "fake"
    seed: int = 1
    first: Section = Section()
    second: Section = Section(size=3)
    third: Section = Section()


computed: list[str] = []
"""Names of the stages that ran in this process."""

hooks = {"step": None, "sleep": False}


def first(config, inputs, context):
    """Random numbers, a file beside them."""
    computed.append("first")
    values = np.random.default_rng(config.seed).normal(size=config.first.size) * config.first.scale_GPa
    context.path("values.txt").write_text("\n".join(map(repr, values.tolist())))
    mean = Number(values.mean(), "GPa", values.std(), "mean of random numbers", "fake_chain")
    return StageResult({"values_GPa": values, "label": ("a", 1)}, {"mean": mean}, handover=("mean",))


def second(config, inputs, context):
    """Uses the first."""
    computed.append("second")
    if hooks["sleep"]:
        print("sleeping", flush=True)
        time.sleep(60)
    total = float(inputs["first"]["values_GPa"].sum()) * config.second.size
    context.warn("this chain is fake")
    table = Table(["stage", "total (GPa)"], [["second", total]], "a table")
    section = ReportSection("Second <stage>", "First paragraph.\n\nSecond & last.", [table])
    verdicts = (Verdict("is finite", bool(np.isfinite(total)), f"{total:.3f} GPa"),)
    return StageResult(total, {"total": Number(total, "GPa")}, verdicts, (section,))


def third(config, inputs, context):
    """Uses both."""
    computed.append("third")
    product = np.outer(inputs["first"]["values_GPa"], [inputs["second"], config.third.scale_GPa])
    return StageResult({"product_GPa": product}, {"product": Number(product, "GPa", np.full(product.shape, np.nan))})


def looped(config, inputs, context):
    """A loop that keeps a checkpoint after every step."""
    state = context.restore("state", {"step": 0, "x": np.zeros(2)}) or {"step": 0, "x": np.zeros(2)}
    done = []
    for step in range(int(state["step"]), STEPS):
        if hooks["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        state = {"step": step + 1, "x": state["x"] * 0.5 + np.sqrt(step + config.seed)}
        context.checkpoint("state", state)
        done.append(step)
    computed.append(f"looped {done}")
    return StageResult(state["x"], {"x": Number(state["x"], "1")})


STAGES = (
    Stage("first", first, config=("seed", "first")),
    Stage("second", second, ("first",), ("second",), title="The second"),
    Stage("third", third, ("first", "second"), ("third",)),
)
LOOPED = (Stage("looped", looped, config=("seed",)),)


def kill_in_disk_call(number):
    """Die in the ``number``-th flush or rename; a file that is being flushed is cut short first."""
    calls = iter(range(1, 10**6))
    sync, rename, replace = atomic.sync, os.rename, os.replace

    def dies(path):
        if next(calls) == number:
            if Path(path).is_file() and Path(path).stat().st_size:
                os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def killing_sync(path):
        dies(path)
        sync(path)

    def killing(function):
        def wrapped(source, target):
            dies(target if Path(target).is_dir() else source)
            function(source, target)

        return wrapped

    atomic.sync = killing_sync
    sys.modules["hea_jax.app.runs.folder"].sync = killing_sync
    os.rename, os.replace = killing(rename), killing(replace)


def kill_in_hdf5_write(number):
    """Die between two members of an HDF5 file."""
    calls, write = iter(range(1, 10**6)), tree._write

    def killing_write(group, name, value):
        if next(calls) == number:
            group.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(group, name, value)

    tree._write = killing_write


def main(folder, kill, config_file=""):
    """Run a chain that is killed as asked."""
    kind, _, rest = kill.partition(":")
    stages, config, base = STAGES, FakeConfig(), Path()
    if config_file:
        from hea_jax.app.config import load_config
        from hea_jax.app.environment import configure_jax

        configure_jax()
        from hea_jax.app.study import stages as real_stages

        stages, config, base = real_stages(), load_config(config_file), Path(config_file).parent
    event = tuple(rest.split(":")) if kind == "event" else None
    if kind == "disk":
        kill_in_disk_call(int(rest))
    elif kind == "hdf5":
        kill_in_hdf5_write(int(rest))
    elif kind == "step":
        hooks["step"], stages = int(rest), LOOPED
    hooks["sleep"] = kind == "sleep"

    def observer(stage, name):
        if (stage, name) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    run_chain(stages, config, Path(folder), base=base, observer=observer)


if __name__ == "__main__":
    main(*sys.argv[1:])
