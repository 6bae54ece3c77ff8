"""What is shown while this process can show nothing itself, as while it imports TFX."""

import logging
import multiprocessing
import multiprocessing.connection
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.ticking import SECONDS_BETWEEN_TICKS
from schemas.contract import PROGRESS_LOGGER
from schemas.progress import Tick, report_progress, showing_step


@contextmanager
def waiting(what: str, note: str) -> Iterator[None]:
    """Say what is going on, and let a forked process draw how long it has taken.

    Args:
        what: What is going on. This process prints nothing meanwhile, and has no threads.
        note: What is known of its time.

    Yields:
        Nothing; the other process ends with the block, or with this process.
    """
    logging.getLogger(PROGRESS_LOGGER).info("%s: %s", what, note)
    fork = multiprocessing.get_context("fork")
    over, this_end = fork.Pipe(duplex=False)
    drawing = fork.Process(target=_draw, args=(what, note, over, this_end), daemon=True)
    drawing.start()
    over.close()
    try:
        yield
    finally:
        this_end.close()
        drawing.join()


def _draw(
    what: str,
    note: str,
    over: multiprocessing.connection.Connection,
    other_end: multiprocessing.connection.Connection,
) -> None:
    # Or the pipe would never end.
    other_end.close()
    with showing_step(what, note):
        while not over.poll(SECONDS_BETWEEN_TICKS):
            report_progress(Tick())
