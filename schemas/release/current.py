"""Which release is current: the newest, or after a rollback the one that was rolled back to.

`releases/current.json` says so once somebody has rolled back: `{"version": 3, "over": 5, ...}` makes release
3 current as long as no release is newer than 5, the newest one when that was decided. So a push takes over
by itself, without touching the file, and readers need no lock.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import CURRENT_FILE, MANIFEST_FILE, RELEASES
from schemas.errors import ReleaseError
from schemas.release.find import (
    ReleasedState,
    find_newest_version,
    find_release,
    find_state,
    list_published,
)
from schemas.release.manifest import PublishedRelease, find_document

T = TypeVar("T")


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Rollback:
    """The last decision of somebody for an older release."""

    version: int
    """The release that became current."""
    over: int
    """The newest release at that time: a newer one takes over."""
    since: str
    """When: ISO 8601, UTC."""
    reason: str
    """Why, in the words of who did it; '' where nothing was said."""


def read_rollback(serving_directory: str | Path) -> Rollback | None:
    """Read the last rollback, whether a newer release has taken over since or not.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The rollback; None where nobody has rolled back.

    Raises:
        ReleaseError: The file that says it is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    return find_document(Rollback, storage.join(serving_directory, RELEASES, CURRENT_FILE))


def find_current_version(serving_directory: str | Path) -> int | None:
    """Find the version of the current release, without looking at its parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The version; None without any release.

    Raises:
        ReleaseError: The release that was rolled back to is gone, or the file that names it is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    newest = find_newest_version(serving_directory)
    rollback = read_rollback(serving_directory)
    if newest is None or rollback is None or newest > rollback.over:
        return newest
    manifest = storage.join(serving_directory, RELEASES, str(rollback.version), MANIFEST_FILE)
    if storage.find_file(manifest) is None:
        published = ", ".join(map(str, list_published(serving_directory)))
        raise ReleaseError(
            f"Release {rollback.version} in {storage.join(serving_directory)}, which was rolled back to, is "
            f"gone: expected {manifest}. Its releases are {published}: `dssm releases rollback` to one."
        )
    return rollback.version


def require_current_version(serving_directory: str | Path) -> int:
    """Find the version of the current release, without looking at its parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The version.

    Raises:
        ReleaseError: There is no release, or as `find_current_version`.
        StorageError: The folder's store cannot be reached or refuses.
    """
    version = find_current_version(serving_directory)
    if version is None:
        raise ReleaseError(
            f"No release in {serving_directory}: expected {RELEASES}/<version>/{MANIFEST_FILE} in it. "
            "`dssm run` writes one when the evaluation blesses the model; serving.directory in the "
            "configuration says where."
        )
    return version


def follow_current(serving_directory: str | Path, read: Callable[[int], T]) -> T:
    """Read the current release, another one where that became current while the first was read in vain.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        read: From a version to what is wanted of it.

    Returns:
        What `read` returned.

    Raises:
        ReleaseError: There is no release, or the current one cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    version = require_current_version(serving_directory)
    while True:
        try:
            return read(version)
        except ReleaseError:
            current = require_current_version(serving_directory)
            if current == version:
                raise
            # Between the two looks, releases were pushed and this one was pruned.
            version = current


def find_current_release(serving_directory: str | Path) -> PublishedRelease:
    """Find the current release without copying its parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The release.

    Raises:
        ReleaseError: There is no release, or the current one is incomplete or mixed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    return follow_current(serving_directory, lambda version: find_release(serving_directory, version))


def find_current_state(serving_directory: str | Path) -> ReleasedState | None:
    """Find the current release's state; the parts that serve are not looked at.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Where the state is; None without any release.

    Raises:
        ReleaseError: The manifest is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    version = find_current_version(serving_directory)
    return None if version is None else find_state(serving_directory, version)
