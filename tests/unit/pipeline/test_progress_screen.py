"""What is shown, at which second: on a terminal, and where there is none."""

import contextlib
import io
import logging
import os
import re

import pytest

from pipeline.progress_screen import ProgressScreen
from schemas.progress import LiveRecord, StepEnd, StepProgress, Tick

pytestmark = pytest.mark.unit


class Screen:
    """A screen in memory, and a clock that is set by hand."""

    def __init__(self, is_terminal: bool, width: int = 120) -> None:
        self.now = 100.0
        self.stream = io.StringIO()
        self.handler = ProgressScreen(self.stream, lambda: self.now, is_terminal, width)

    def show(self, seconds: float, record: LiveRecord | str) -> str:
        """Give the handler a record at a second of the clock, and return what it writes then."""
        self.now = 100.0 + seconds
        before = len(self.stream.getvalue())
        self.handler.handle(logging.LogRecord("x", logging.INFO, "", 0, record, (), None))
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.stream.getvalue()[before:])


@pytest.fixture
def terminal() -> Screen:
    return Screen(is_terminal=True)


@pytest.fixture
def plain() -> Screen:
    return Screen(is_terminal=False)


def test_rate_and_time_left_are_those_of_what_was_counted(terminal):
    terminal.show(0, StepProgress(step="[2/15] InteractionIngest"))
    terminal.show(2, StepProgress(0, "rows read", 1_000_000, step="[2/15] InteractionIngest"))
    terminal.show(4, StepProgress(100_000, "rows read", step="[2/15] InteractionIngest"))
    # 400,000 rows in 8 s: 50,000 a second, so that the other 600,000 take 12 s.
    row = terminal.show(10, StepProgress(400_000, "rows read", step="[2/15] InteractionIngest"))
    assert "[2/15] InteractionIngest" in row
    assert "10 s, 400,000 of 1,000,000 rows read, 50,000 a second, 12 s left" in row


def test_another_unit_is_counted_anew_and_the_time_goes_on(terminal):
    terminal.show(0, StepProgress(0, "rows read", 1_000, step="A"))
    terminal.show(5, StepProgress(1_000, "rows read", step="A"))
    terminal.show(10, StepProgress(0, "rows written", step="A"))
    row = terminal.show(20, StepProgress(300, "rows written", step="A"))
    assert "20 s, 300 rows written, 30 a second" in row
    assert "left" not in row


def test_a_step_that_counts_nothing_shows_how_long_it_runs(terminal):
    terminal.show(0, StepProgress(step="[14/15] TowerPusher"))
    assert "[14/15] TowerPusher" in terminal.show(2, Tick())
    assert "1 min 15 s" in terminal.show(75, Tick())
    assert "1 h 01 min" in terminal.show(3_690, Tick())


def test_lines_stay_above_the_rows_and_are_no_markup(terminal):
    terminal.show(0, StepProgress(step="B"))
    shown = terminal.show(1, "[1/15] A took 3.0 s [bold]")
    assert shown.index("[1/15] A took 3.0 s [bold]\n") < shown.index("B")


def test_steps_side_by_side_have_a_row_each_until_they_end(terminal):
    terminal.show(0, StepProgress(step="UserTransform"))
    both = terminal.show(1, StepProgress(40, "elements", step="ItemTransform"))
    assert "UserTransform" in both
    assert "40 elements" in both
    one = terminal.show(2, StepEnd("UserTransform"))
    assert "UserTransform" not in one
    assert "ItemTransform" in one
    assert "Transform" not in terminal.show(3, StepEnd("ItemTransform"))
    # The rows come back with the next step.
    assert "Trainer" in terminal.show(4, StepProgress(step="Trainer"))


def test_progress_without_a_name_is_of_the_step_that_runs(terminal):
    terminal.show(0, StepProgress(step="Trainer"))
    row = terminal.show(1, StepProgress(5, "examples", note="epoch 1 of 2"))
    assert re.search(r"Trainer .*5 examples, epoch 1 of 2", row)


def test_without_a_terminal_a_silent_step_makes_a_line_every_thirty_seconds(plain):
    assert plain.show(0, "[4/15] ItemTransform") == "[4/15] ItemTransform\n"
    plain.show(0, StepProgress(step="[4/15] ItemTransform"))
    assert plain.show(29.5, Tick()) == ""
    assert plain.show(30, Tick()) == "[4/15] ItemTransform: 30 s\n"
    plain.show(40, StepProgress(0, "elements", step="[4/15] ItemTransform"))
    assert plain.show(50, StepProgress(500, "elements", step="[4/15] ItemTransform")) == ""
    assert plain.show(60, Tick()) == "[4/15] ItemTransform: 1 min 00 s, 500 elements, 50 a second\n"


def test_without_a_terminal_a_line_is_silence_broken(plain):
    plain.show(0, StepProgress(step="Trainer"))
    plain.show(20, "Training: epoch 1/4")
    assert plain.show(45, Tick()) == ""
    assert plain.show(50, Tick()) == "Trainer: 50 s\n"
    plain.show(51, StepEnd("Trainer"))
    assert plain.show(99, Tick()) == ""


def test_a_narrow_terminal_cuts_rows_and_no_lines():
    screen = Screen(is_terminal=True, width=40)
    screen.show(0, StepProgress(7, "rows read", 100, note="x" * 80, step="[2/15] InteractionIngest"))
    rows = screen.show(1, Tick()).strip("\r\n").splitlines()
    assert [row for row in rows if len(row) > 40] == []
    assert f"{'y' * 80}\n" in screen.show(2, "y" * 80)


def test_a_screen_that_is_gone_ends_no_run_and_is_told_once(terminal, capsys):
    terminal.stream.close()
    for record in (StepProgress(step="A"), Tick(), "line"):
        terminal.handler.handle(logging.LogRecord("x", logging.INFO, "", 0, record, (), None))
    assert capsys.readouterr().err.count("Logging error") == 1
    terminal.handler.close()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_reader_that_is_gone_ends_no_run(is_terminal):
    reader, writer = os.pipe()
    os.close(reader)
    stdout = os.fstat(1)
    stream = os.fdopen(writer, "w", buffering=1)
    handler = ProgressScreen(stream, is_terminal=is_terminal)
    for record in ("line", StepProgress(step="A"), Tick(), "line"):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, record, (), None))
    handler.close()
    with contextlib.suppress(BrokenPipeError):
        stream.close()
    # rich's own way is to leave the process without a standard output, and to raise SystemExit.
    assert (os.fstat(1).st_dev, os.fstat(1).st_ino) == (stdout.st_dev, stdout.st_ino)
