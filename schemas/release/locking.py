"""One writer at a time in a serving directory on this machine, for moments."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import RELEASES
from schemas.errors import ReleaseError

LOCK_FILE: Final = ".lock"
_TIMEOUT_SECONDS: Final = 120.0


@contextlib.contextmanager
def hold_lock(serving_directory: str | Path) -> Iterator[None]:
    """Wait for the lock that pushes, rollbacks and prunes take; in an object store there is none.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI. Its releases' folder exists.

    Raises:
        ReleaseError: Another process keeps the lock, or its file cannot be written.
    """
    serving = storage.join(serving_directory)
    if storage.is_remote(serving):
        yield
        return
    file = Path(serving, RELEASES, LOCK_FILE)
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(file.open("w"))
        except OSError as error:
            raise ReleaseError(
                f"Cannot write to {file.parent}: {error}. Run this as a user who may write there."
            ) from error
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"Another process has held {file} for {_TIMEOUT_SECONDS:.0f} s, which is needed for "
                        "moments only: find and end it."
                    ) from None
                time.sleep(0.05)
        yield
