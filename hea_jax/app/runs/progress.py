"""Telling a user what a run is doing: a live display on a terminal, plain lines elsewhere."""

import abc
import sys
import time
from typing import TextIO

_PLAIN_INTERVAL_S = 5.0


class AbstractReporter(abc.ABC):
    """Receives what happens in a run; every method returns at once."""

    @abc.abstractmethod
    def stage_started(self, name: str, index: int, total: int) -> None:
        """Stage ``name``, the ``index``-th (from 1) of ``total``, starts computing."""

    @abc.abstractmethod
    def step(self, text: str, step: int | None, total: int | None) -> None:
        """The running stage says what it does, and optionally how far it is."""

    @abc.abstractmethod
    def stage_finished(self, name: str, seconds: float, reused: bool) -> None:
        """A stage has its result: computed in ``seconds``, or taken from the run folder."""

    @abc.abstractmethod
    def say(self, text: str) -> None:
        """A line that stays: a warning, or where a file is."""

    @abc.abstractmethod
    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainReporter(AbstractReporter):
    """Writes lines, each flushed, steps of a stage at most every five seconds; without a stream it is silent."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream
        self._label = ""
        self._started = 0.0
        self._last = 0.0

    def stage_started(self, name: str, index: int, total: int) -> None:
        """A line per stage."""
        self._label, self._started = f"[{index}/{total}] {name}", time.monotonic()
        self._last = self._started
        self.say(f"{self._label}: started")

    def step(self, text: str, step: int | None, total: int | None) -> None:
        """A line, unless one was written just before."""
        now = time.monotonic()
        if now - self._last >= _PLAIN_INTERVAL_S:
            self._last = now
            self.say(f"{self._label}: {text}{_fraction(step, total)}, {now - self._started:.0f} s")

    def stage_finished(self, name: str, seconds: float, reused: bool) -> None:
        """A line per stage."""
        self.say(f"{name}: {_done(seconds, reused)}")

    def say(self, text: str) -> None:
        """One flushed line."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Flush what was said."""
        if self._stream is not None:
            self._stream.flush()


class LiveReporter(AbstractReporter):
    """A live line per stage on a terminal, by rich."""

    def __init__(self):
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.fields[label]:<26}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}[/]"),
        )
        self._progress = Progress(*columns)
        self._progress.start()
        self._task = None

    def stage_started(self, name: str, index: int, total: int) -> None:
        """A new line with a spinner."""
        self._task = self._progress.add_task("", total=None, label=f"{index}/{total} {name}")

    def step(self, text: str, step: int | None, total: int | None) -> None:
        """Bar and text of the running stage."""
        if self._task is not None:
            self._progress.update(
                self._task, description=_escaped(text + _fraction(step, total)), completed=step or 0, total=total
            )

    def stage_finished(self, name: str, seconds: float, reused: bool) -> None:
        """The line is ticked off."""
        if self._task is None:
            self._task = self._progress.add_task("", total=None, label=name)
        self._progress.update(self._task, description=_done(seconds, reused), completed=1, total=1)
        self._task = None

    def say(self, text: str) -> None:
        """A line above the live ones."""
        self._progress.console.print(_escaped(text), highlight=False)

    def close(self) -> None:
        """Stop the live display."""
        self._progress.stop()


def reporter_for(stream: TextIO) -> AbstractReporter:
    """Live on a terminal, plain lines elsewhere (a log file, a pipe, CI)."""
    return LiveReporter() if stream is sys.stdout and stream.isatty() else PlainReporter(stream)


def _fraction(step: int | None, total: int | None) -> str:
    """Where a loop stands, as text."""
    if step is None:
        return ""
    return f" {step}/{total}" if total else f" {step}"


def _done(seconds: float, reused: bool) -> str:
    """How a stage ended."""
    return f"in the run folder already ({seconds:.1f} s then)" if reused else f"done in {seconds:.1f} s"


def _escaped(text: str) -> str:
    """A text in which square brackets mean themselves."""
    from rich.markup import escape

    return escape(text)
