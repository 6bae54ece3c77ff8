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
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import CURRENT_FILE, MANIFEST_FILE, RELEASES
from schemas.errors import ReleaseError, StorageError
from schemas.folders import remove_folder
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
    failed: dict[int, str] = field(default_factory=dict)
    """Why each that was to go could not be removed, in ascending order."""


def prune(
    serving_directory: str | Path,
    keep: int,
    dry_run: bool = False,
    *,
    created_before: datetime.datetime | None = None,
    versions: Collection[int] | None = None,
) -> Pruned:
    """Remove old releases.

    The newest ones stay, the current one, the one before it, those that the training of one of these began
    from, and those that are being read.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        keep: How many of the newest stay, at least one.
        dry_run: Remove nothing, and say what would be removed.
        created_before: Only releases that are older go, and those whose manifest cannot be read stay; None:
            age does not matter.
        versions: Only these go; None: all may.

    Returns:
        What was removed and what was not; a release that cannot be removed does not keep the others.

    Raises:
        ReleaseError: `keep` is below one, or the manifest of a release that stays is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    if keep < 1:
        raise ReleaseError(f"--keep: expected at least 1. Received: {keep}.")
    serving = storage.join(serving_directory)
    published = list_published(serving)
    young: dict[int, str] = {}
    undated: dict[int, str] = {}
    if created_before is not None:
        young, undated = _find_young(serving, published, created_before)
    kept = young | dict.fromkeys(published[-keep:], f"among the newest {keep}")
    kept |= _find_current(serving, published)
    kept = undated | _find_bases(serving, published, kept) | kept
    if storage.is_remote(serving):
        kept = _find_recent(serving, published) | kept
    removed: list[int] = []
    failed: dict[int, str] = {}
    for version in published:
        if version in kept or (versions is not None and version not in versions):
            continue
        try:
            reason = None if dry_run else _remove(serving, version)
        except (ReleaseError, StorageError) as error:
            failed[version] = str(error)
            continue
        if reason is None:
            removed.append(version)
        else:
            kept[version] = reason
    return Pruned(tuple(removed), dict(sorted(kept.items())), failed)


def find_needed(serving_directory: str | Path) -> dict[int, str]:
    """Find the releases that no prune removes, whatever their number and age.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Why each is needed: the current one, the one before it, and those that their trainings began from.

    Raises:
        ReleaseError: The manifest of one of them is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    published = list_published(serving)
    current = _find_current(serving, published)
    return _find_bases(serving, published, current) | current


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
        remove_folder(temporary)
        # Renamed first: a server that looks at the folder must not see a part of a part.
        with contextlib.suppress(FileNotFoundError):
            final.rename(temporary)
        remove_folder(temporary)
    # Last, since it is what a later push finds the rest by.
    remove_folder(serving / RELEASES / str(version))


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


def _find_young(
    serving: str, published: Iterable[int], created_before: datetime.datetime
) -> tuple[dict[int, str], dict[int, str]]:
    """Find the releases that are not older, and those that do not say how old they are."""
    young, undated = {}, {}
    for version in published:
        try:
            created = datetime.datetime.fromisoformat(read_manifest(serving, version).created)
        except (ReleaseError, ValueError):
            undated[version] = "of an age that cannot be read"
            continue
        # Without an offset it is UTC, as in all that this program writes.
        if created.replace(tzinfo=created.tzinfo or datetime.UTC) >= created_before:
            young[version] = f"created since {created_before:%Y-%m-%d %H:%M}"
    return young, undated


def _find_current(serving: str, published: Iterable[int]) -> dict[int, str]:
    current = find_current_version(serving)
    if current is None:
        return {}
    before = [version for version in published if version < current]
    kept = {before[-1]: f"the one before the current release {current}"} if before else {}
    return kept | {current: "the current release"}


def _find_bases(serving: str, published: Collection[int], kept: Iterable[int]) -> dict[int, str]:
    bases: dict[int, str] = {}
    for version in sorted(kept):
        base = read_manifest(serving, version).warm_start
        if base is not None and base.release in published:
            bases.setdefault(base.release, f"the base of the warm start of release {version}")
    return bases


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
