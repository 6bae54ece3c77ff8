"""Keeps the terminal for people: progress on the screen, every library's noise in a log file."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final, TextIO

from schemas.contract import LIVE_LOGGER, PROGRESS_LOGGER
from schemas.errors import ConfigError

_LARGEST_LOG_BYTES: Final = 10_000_000


@contextmanager
def noise_to_file(log_file: Path, shows_progress: bool = True) -> Iterator[TextIO]:
    """Send all output of this process to a file, except what is written to the yielded stream.

    The file descriptors themselves are redirected, since TensorFlow's C++ part and child processes
    write to them directly. Progress lines (`PROGRESS_LOGGER`) go to the screen as well, and how far the steps
    are (`schemas.progress`).

    Args:
        log_file: Where the output goes, behind what is there; its folder is made. A file of over 10 MB is put
            aside as NAME.1.log, in the place of an earlier one.
        shows_progress: Whether progress lines do; a program that reads the screen wants nothing else on it.

    Yields:
        A stream that still writes to the screen.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log_file.touch()
        if log_file.stat().st_size > _LARGEST_LOG_BYTES:
            log_file.replace(log_file.with_suffix(f".1{log_file.suffix}"))
    except OSError as error:
        raise ConfigError(
            f"run.directory: expected a folder that can be written, for {log_file}. Received: {error}."
        ) from error
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    screen = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")
    try:
        with log_file.open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        with _progress_on(screen) if shows_progress else nullcontext():
            yield screen
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        screen.close()


@contextmanager
def _progress_on(screen: TextIO) -> Iterator[None]:
    """Show progress on a stream, beside where it goes already."""
    # Its imports are not those of a command that shows none, or only its help.
    from pipeline.progress_screen import ProgressScreen

    handler = ProgressScreen(screen)
    progress, live = (logging.getLogger(name) for name in (PROGRESS_LOGGER, LIVE_LOGGER))
    live.setLevel(logging.INFO)
    progress.addHandler(handler)
    live.addHandler(handler)
    try:
        yield
    finally:
        progress.removeHandler(handler)
        live.removeHandler(handler)
        handler.close()


@contextmanager
def showing_progress() -> Iterator[None]:
    """Draw progress on the standard output, with what libraries say left where it goes.

    For a command that may run where there is no folder for a log, as in a pod. Progress lines
    (`PROGRESS_LOGGER`) stay above how far the work is (`schemas.progress`).

    Yields:
        Nothing; afterwards progress lines go where they went before.
    """
    from pipeline.progress_screen import ProgressScreen

    handler = ProgressScreen(sys.stdout)
    progress, live = (logging.getLogger(name) for name in (PROGRESS_LOGGER, LIVE_LOGGER))
    live.setLevel(logging.INFO)
    lines_before = progress.handlers
    progress.handlers = [handler]
    live.addHandler(handler)
    try:
        yield
    finally:
        progress.handlers = lines_before
        live.removeHandler(handler)
        handler.close()
