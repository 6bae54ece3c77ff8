"""The lock of a run directory by which steps and readers take turns at ML Metadata."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

METADATA_LOCK_FILE: Final = ".metadata.lock"
"""Held by a step while it reads or writes ML Metadata."""


@contextlib.contextmanager
def keep_steps_from_metadata(directory: Path) -> Iterator[None]:
    """Wait until no step is at ML Metadata, and keep steps from it meanwhile.

    Args:
        directory: The run directory; without a lock file in it there is nothing to wait for.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(directory / METADATA_LOCK_FILE, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
