"""Removes old releases, but none that somebody needs.

On this machine a reader holds a lease, and a release with one stays. In an object store readers copy what
they use, which takes minutes: what was current less than a day ago stays there.

The manifest goes first, so that a release is there as a whole or not at all. What a killed prune leaves looks
like what a killed push leaves, a version without a manifest and with a claim that nobody holds, and goes with
the next push.
"""

import contextlib
import datetime
import fcntl
import itertools
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import CURRENT_FILE, MANIFEST_FILE, RELEASES
from schemas.errors import ReleaseError
from schemas.release.current import find_current_version
from schemas.release.find import list_published, read_manifest
from schemas.release.locking import hold_lock
from schemas.release.manifest import ALL_PARTS

CLAIM_FILE: Final = ".claim"
SAVED_MODEL_FILE: Final = "saved_model.pb"
"""What a model server finds a SavedModel by."""
_TEMPORARY_PREFIX: Final = ".tmp-"
_GRACE: Final = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pruned:
    """What a prune did."""

    removed: tuple[int, ...]
    """The releases that are gone, in ascending order."""
    kept: dict[int, str]
    """Why each of the others is still there, in ascending order."""


def prune(serving_directory: str | Path, keep: int, dry_run: bool = False) -> Pruned:
    """Remove old releases.

    The newest ones stay, the current one, the one before it, those that the training of one of these began
    from, and those that are being read.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        keep: How many of the newest stay, at least one.
        dry_run: Remove nothing, and say what would be removed.

    Returns:
        What was removed and what was not.

    Raises:
        ReleaseError: `keep` is below one, a manifest is unreadable, or a folder cannot be removed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    if keep < 1:
        raise ReleaseError(f"--keep: expected at least 1. Received: {keep}.")
    serving = storage.join(serving_directory)
    published = list_published(serving)
    kept = _find_needed(serving, published, keep)
    if storage.is_remote(serving):
        kept = _find_recent(serving, published) | kept
    removed = []
    for version in published:
        if version in kept:
            continue
        reason = None if dry_run else _remove(serving, version)
        if reason is None:
            removed.append(version)
        else:
            kept[version] = reason
    return Pruned(tuple(removed), dict(sorted(kept.items())))


def remove_parts(serving: Path, version: int) -> None:
    """Remove the folders of a version that has no manifest, its claim the last of all.

    Args:
        serving: The folder that releases are pushed to, on this machine.
        version: The version. The caller holds its claim.

    Raises:
        OSError: A folder cannot be removed.
    """
    for part in reversed(ALL_PARTS):
        final = serving / part / str(version)
        temporary = serving / part / f"{_TEMPORARY_PREFIX}{version}"
        _remove_folder(temporary)
        # Renamed first: a server that looks at the folder must not see a part of a part.
        with contextlib.suppress(FileNotFoundError):
            final.rename(temporary)
        _remove_folder(temporary)
    # Last, since it is what a later push finds the rest by.
    _remove_folder(serving / RELEASES / str(version))


def remove_remote_parts(serving: str, version: int) -> None:
    """Remove what an object store has of a version that has no manifest, its claim the last of all.

    Args:
        serving: The URI that releases are pushed to.
        version: The version.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    for part in reversed(ALL_PARTS):
        folder = storage.join(serving, part, str(version))
        # First, so that no server finds a SavedModel that is gone in part.
        storage.delete_file(storage.join(folder, SAVED_MODEL_FILE))
        storage.delete_tree(folder)
    # Last, since it is what a later push finds the rest by.
    storage.delete_tree(storage.join(serving, RELEASES, str(version)))


def _find_needed(serving: str, published: list[int], keep: int) -> dict[int, str]:
    kept = dict.fromkeys(published[-keep:], f"among the newest {keep}")
    current = find_current_version(serving)
    if current is not None:
        before = [version for version in published if version < current]
        if before:
            kept[before[-1]] = f"the one before the current release {current}"
        kept[current] = "the current release"
    for version in sorted(kept):
        base = read_manifest(serving, version).warm_start
        if base is not None and base.release in published:
            kept.setdefault(base.release, f"the base of the warm start of release {version}")
    return kept


def _find_recent(serving: str, published: list[int]) -> dict[int, str]:
    """Find what a reader that copies can be at."""
    since = datetime.datetime.now(datetime.UTC) - _GRACE
    rollback = storage.find_file(storage.join(serving, RELEASES, CURRENT_FILE))
    if rollback is not None and rollback.modified > since:
        return dict.fromkeys(published, "releases were rolled back less than a day ago")
    recent = {}
    for version, successor in itertools.pairwise(published):
        status = storage.find_file(storage.join(serving, RELEASES, str(successor), MANIFEST_FILE))
        if status is None or status.modified > since:
            recent[version] = "current less than a day ago"
    return recent


def _remove(serving: str, version: int) -> str | None:
    if storage.is_remote(serving):
        _remove_remote(serving, version)
        return None
    try:
        return _remove_local(Path(serving), version)
    except OSError as error:
        raise ReleaseError(
            f"Cannot remove release {version} from {serving}: {error}. Run this as a user who may "
            "write there."
        ) from error


def _remove_local(serving: Path, version: int) -> str | None:
    """Remove a release, or say why it stays."""
    folder = serving / RELEASES / str(version)
    with contextlib.ExitStack() as stack:
        with hold_lock(serving):
            if find_current_version(serving) == version:
                return "the current release"
            try:
                manifest = stack.enter_context((folder / MANIFEST_FILE).open("r+"))
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "being read"
            claim = stack.enter_context((folder / CLAIM_FILE).open("w"))
            fcntl.flock(claim, fcntl.LOCK_EX)
            (folder / MANIFEST_FILE).unlink()
        remove_parts(serving, version)
    return None


def _remove_remote(serving: str, version: int) -> None:
    folder = storage.join(serving, RELEASES, str(version))
    storage.write_bytes(storage.join(folder, f"{CLAIM_FILE}-{uuid.uuid4().hex}"), b"")
    storage.delete_file(storage.join(folder, MANIFEST_FILE))
    remove_remote_parts(serving, version)


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
