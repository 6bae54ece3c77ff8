"""How far a step is: what it says of itself, to whoever draws it.

The records go through a logger, so that a step need not know who listens: the process that forked it, a
terminal, or nobody, as in a container.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.contract import LIVE_LOGGER

_live = logging.getLogger(LIVE_LOGGER)
# Twice a second is nothing for a log file.
_live.propagate = False


@dataclass(frozen=True)
class StepProgress:
    """How far a step is."""

    done: int = 0
    """How much is done, in `unit`."""
    unit: str = ""
    """What is counted, such as "rows read"; '' while nothing is."""
    total: int | None = None
    """How much there is to do; None where nobody knows."""
    note: str = ""
    """What else there is to say of this moment."""
    step: str = ""
    """Whose it is; '' for the one step that runs."""


@dataclass(frozen=True)
class StepEnd:
    """A step has ended."""

    step: str
    """Which."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


LiveRecord = StepProgress | StepEnd | Tick
"""What goes through the logger."""


def report_progress(record: LiveRecord) -> None:
    """Say how far a step is; where nobody listens, nothing happens.

    Args:
        record: What to say.
    """
    _live.info(record)


@contextmanager
def showing_step(step: str, note: str = "") -> Iterator[None]:
    """Say when a step begins and ends.

    Args:
        step: What it is called.
        note: What there is to say while nothing is counted.
    """
    report_progress(StepProgress(step=step, note=note))
    try:
        yield
    finally:
        report_progress(StepEnd(step))
