"""Shows progress: lines that stay, and on a terminal what goes on right now below them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from pipeline.pace import Pace
from schemas.progress import StepEnd, StepProgress, Tick

SECONDS_BETWEEN_LINES: Final = 30.0
"""How long it is silent at most where there is no terminal, while a step runs."""


@dataclass
class _Step:
    """A step that runs."""

    begun: float
    """The clock when it began, in seconds."""
    row: TaskID
    """Its row on a terminal."""
    pace: Pace
    """How much of `unit` is done, and how fast."""
    unit: str
    """What is counted; '' for nothing."""
    total: int | None
    """How much there is to do; None where nobody knows."""
    note: str
    """What else there is to say."""


class _Console(Console):
    """A console that ends no run where nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Write nothing from now on; what is overridden raises SystemExit."""
        self.quiet = True


class ProgressScreen(logging.Handler):
    """Handler of the progress lines and of the records of `schemas.progress`.

    On a terminal each step that runs has a row below the lines, which is drawn anew with every record.
    Elsewhere a row becomes a line where nothing has been shown for 30 seconds. What draws is the process
    whose screen it is, with no thread of its own, since steps are forked from it.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        is_terminal: bool | None = None,
        width: int | None = None,
    ) -> None:
        """Make one.

        Args:
            stream: The screen.
            clock: Gives seconds.
            is_terminal: Whether the screen can be drawn on; None: what the stream says.
            width: Of the screen, in characters; None: as wide as it is.
        """
        super().__init__()
        self._clock = clock
        self._console = _Console(
            file=stream, force_terminal=is_terminal, width=width, highlight=False, get_time=clock
        )
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._rows = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_time=clock,
        )
        self._steps: dict[str, _Step] = {}
        self._last_shown = clock()
        self._is_gone = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record.

        Args:
            record: A line, or one whose message is of `schemas.progress`.
        """
        if self._is_gone:
            return
        # What logging itself does: a screen that cannot be written to ends no run. It is told once: twice a
        # second, it would fill the log file.
        try:
            match record.msg:
                case StepProgress():
                    self._update(record.msg)
                case StepEnd():
                    self._end(record.msg.step)
                case Tick():
                    self._refresh()
                case _:
                    self._print(record.getMessage())
        except Exception:
            self._is_gone = True
            self.handleError(record)

    def close(self) -> None:
        """Leave the screen with nothing but lines."""
        if self._draws and not self._is_gone:
            self._rows.stop()
        super().close()

    def _print(self, line: str) -> None:
        # Neither wrapped nor read as markup: a line is a line, and [1/15] is no style.
        self._console.print(Text(line), soft_wrap=True)
        self._last_shown = self._clock()

    def _update(self, progress: StepProgress) -> None:
        now, name = self._clock(), progress.step or next(iter(self._steps), "")
        step = self._steps.get(name)
        if step is None or step.unit != progress.unit:
            if step is not None:
                self._rows.remove_task(step.row)
            row = self._rows.add_task(name, total=progress.total, completed=progress.done, words="")
            begun = now if step is None else step.begun
            step = _Step(begun, row, Pace(now, progress.done), progress.unit, progress.total, progress.note)
            self._steps[name] = step
        else:
            step.pace.add(now, progress.done)
            step.total = progress.total if progress.total is not None else step.total
            step.note = progress.note
            self._rows.update(step.row, completed=progress.done, total=step.total)
        self._refresh()

    def _end(self, name: str) -> None:
        step = self._steps.pop(name, None)
        if step is not None:
            self._rows.remove_task(step.row)
        self._refresh()

    def _refresh(self) -> None:
        if self._draws and not self._steps:
            self._rows.stop()
        elif self._draws:
            for name, step in self._steps.items():
                self._rows.update(step.row, words=self._describe(name))
            self._rows.start()
            self._rows.refresh()
        elif self._clock() - self._last_shown >= SECONDS_BETWEEN_LINES:
            for name in self._steps:
                self._print(f"{name}: {self._describe(name)}")

    def _describe(self, name: str) -> str:
        """Say how long a step has run, how far it is, how fast, and how long it has still to go."""
        step, now = self._steps[name], self._clock()
        parts = [describe_seconds(now - step.begun)]
        if step.unit:
            of = f" of {step.total:,}" if step.total is not None else ""
            parts.append(f"{step.pace.done:,}{of} {step.unit}")
        rate = step.pace.per_second(now)
        if rate is not None:
            parts.append(f"{rate:,.0f} a second")
        left = step.pace.seconds_left(now, step.total) if step.total is not None else None
        if left is not None:
            parts.append(f"{describe_seconds(left)} left")
        return ", ".join([*parts, step.note] if step.note else parts)


def describe_seconds(seconds: float) -> str:
    """Write a time as people say it.

    Args:
        seconds: The time.

    Returns:
        Such as 42 s, 3 min 05 s or 2 h 07 min.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
