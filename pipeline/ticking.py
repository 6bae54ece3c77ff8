"""Lets a screen know that time passes while this very process works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from schemas.progress import Tick, report_progress

SECONDS_BETWEEN_TICKS: Final = 0.5
"""How often rows are drawn anew."""


@contextmanager
def ticking() -> Iterator[None]:
    """Report that time passes, from a thread.

    Yields:
        Nothing; the thread ends with the block.
    """
    over = threading.Event()

    def tick() -> None:
        while not over.wait(SECONDS_BETWEEN_TICKS):
            report_progress(Tick())

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
