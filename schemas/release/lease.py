"""Keeps a release in place while somebody reads it.

A reader on this machine holds a shared lock on the release's manifest, for which it needs no right to write;
who removes a release takes the exclusive one first. The operating system lets go of a lock when its process
ends, however it ends. In an object store there are no locks: see `retention`.
"""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType

from schemas import storage
from schemas.contract import MANIFEST_FILE, RELEASES


class Lease:
    """A release that is not removed until this is closed or nobody refers to it any more."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open file with a shared lock on it.

        Args:
            descriptor: The file.
        """
        self._finalizer = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Let go; a second time does nothing."""
        self._finalizer()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def take_lease(serving_directory: str | Path, version: int) -> Lease | None:
    """Keep a release from being removed.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.

    Returns:
        The lease; None where there is no such release, in an object store, and on a file system without
        locks.
    """
    serving = storage.join(serving_directory)
    if storage.is_remote(serving):
        return None
    manifest = Path(serving, RELEASES, str(version), MANIFEST_FILE)
    while True:
        try:
            descriptor = os.open(manifest, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # It can have been removed, and even written anew, while this waited for the lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), manifest.stat()):
                    return Lease(os.dup(descriptor))
        except OSError:
            return None
        finally:
            os.close(descriptor)
