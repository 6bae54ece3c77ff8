"""One process at a time in a run directory and in a serving directory.

The kernel takes a lock (flock) back from a process that ends, however it ends, so none is ever stale: one
that is killed leaves a file and no lock, and what the file says is read only while somebody holds it. An
object store has no locks: two runs from two run directories that release to the same one both train and
both release.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pwd
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import RELEASES
from schemas.errors import BusyError, ConfigError

_LOCK_FILE: Final = ".running.lock"
# For who only looks whether there is a holder, which takes a moment.
_PATIENCE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.05

_held: Final[set[int]] = set()


def _let_go_in_child() -> None:
    # A forked process can outlive the holder, and would hold what it has inherited.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextlib.contextmanager
def hold_run_lock(run_directory: str | Path, serving_directory: str | Path) -> Iterator[None]:
    """Be the only process that trains or releases there, until the end.

    Args:
        run_directory: The run directory; it is made where it does not exist.
        serving_directory: The folder that releases are pushed to: a path or URI. On this machine it is made
            where it does not exist; in an object store there is no lock.

    Raises:
        BusyError: Another process is at work in one of them.
        ConfigError: The file of a lock cannot be written.
        StorageError: The serving directory's URI is none that is known.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_hold(Path(run_directory), "run.directory"))
        if not storage.is_remote(serving_directory):
            releases = Path(storage.join(serving_directory), RELEASES)
            stack.enter_context(_hold(releases, "serving.directory"))
        yield


def is_running(directory: Path) -> bool:
    """Tell whether a run goes on.

    Args:
        directory: The run directory.

    Returns:
        Whether a process is in `hold_run_lock` there.
    """
    return _is_held(directory / _LOCK_FILE)


def find_holder(folder: Path) -> str | None:
    """Find who is at work in a folder.

    Args:
        folder: A run directory, or the folder of the releases in a serving directory.

    Returns:
        The process, its user, its command and since when; None where nobody is.
    """
    file = folder / _LOCK_FILE
    return _read_holder(file) if _is_held(file) else None


@dataclass(frozen=True)
class _Holder:
    """Who holds a lock, as its file says."""

    pid: int
    host: str
    user: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host} since {self.since}, `{self.command}`"


@contextlib.contextmanager
def _hold(folder: Path, setting: str) -> Iterator[None]:
    file = folder / _LOCK_FILE
    try:
        descriptor = _take(file)
    except OSError as error:
        # Another user's file can be one that this user may not write, and be held.
        if isinstance(error, BlockingIOError) or _is_held(file):
            raise BusyError(
                f"{setting}: expected no other process at work in {folder}. Received: {_read_holder(file)}. "
                f"Wait until it has ended, or set another {setting}."
            ) from None
        raise ConfigError(
            f"{setting}: expected a folder in which this user can write {file}. Received: {error}. "
            f"Run this as a user who may write there, or set another {setting}."
        ) from error
    try:
        yield
    finally:
        # Not in a forked process, which has let go of it.
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _take(file: Path) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(dataclasses.asdict(_describe_self())).encode() + b"\n")
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    return descriptor


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _is_held(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without locks, on which nobody can hold one.
        return False
    finally:
        os.close(descriptor)
    return False


def _describe_self() -> _Holder:
    return _Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        user=_name_user(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        since=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _name_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container a user need have no name.
        return str(os.getuid())


def _read_holder(file: Path) -> str:
    try:
        return str(_Holder(**json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return f"one that holds {file} and has not written there who it is"
