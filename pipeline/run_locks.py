"""The locks of a run directory: who is at ML Metadata, and whether a run goes on."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

METADATA_LOCK_FILE: Final = ".metadata.lock"
"""Held by a step while it reads or writes ML Metadata."""
_RUN_LOCK_FILE: Final = ".running.lock"


@contextlib.contextmanager
def hold_while_running(directory: Path) -> Iterator[None]:
    """Let `is_running` tell that a run goes on; the kernel takes the lock back from one that is killed.

    Args:
        directory: The run directory; it exists.
    """
    descriptor = os.open(directory / _RUN_LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # Shared, since runs in one directory may go on side by side.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_running(directory: Path) -> bool:
    """Tell whether a run goes on.

    Args:
        directory: The run directory.

    Returns:
        Whether a process on this machine is in `hold_while_running`.
    """
    try:
        descriptor = os.open(directory / _RUN_LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
