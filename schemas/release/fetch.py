"""Reads releases: brings their parts onto this machine, where TensorFlow can load them."""

import contextlib
import hashlib
import logging
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import (
    ANN,
    INDEX,
    ITEM_TOWER,
    PROGRESS_LOGGER,
    RELEASES,
    RETRIEVER,
    STATE,
    USER_TOWER,
    USERS,
)
from schemas.errors import ReleaseError, StorageError
from schemas.folders import remove_folder
from schemas.release.current import follow_current
from schemas.release.find import ReleasedState, check_part, find_release, find_state, read_manifest
from schemas.release.lease import Lease, take_lease
from schemas.release.manifest import PARTS, Manifest, PublishedRelease
from schemas.release.verify import HashCache, verify_files, verify_release

_UNFINISHED_PREFIX: Final = ".tmp-"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class Release(PublishedRelease):
    """A release that was found whole, and whose parts are on this machine."""

    directory: Path
    """The folder of the manifest; for a release from an object store, that of its copy."""
    paths: dict[str, Path]
    """The folders of the parts that were asked for and that the release has, by part."""
    lease: Lease | None = field(default=None, compare=False, repr=False)
    """Keeps a release that was not copied from being removed as long as this object lives."""

    @property
    def user_tower(self) -> Path:
        """The user tower's SavedModel."""
        return self.paths[USER_TOWER]

    @property
    def item_tower(self) -> Path:
        """The item tower's SavedModel."""
        return self.paths[ITEM_TOWER]

    @property
    def index(self) -> Path:
        """The candidate index."""
        return self.paths[INDEX]

    @property
    def ann(self) -> Path | None:
        """The approximate index; None in releases of earlier versions of this program."""
        return self.paths.get(ANN)

    @property
    def retriever(self) -> Path | None:
        """The retriever's SavedModel; None in releases of earlier versions of this program."""
        return self.paths.get(RETRIEVER)

    @property
    def users(self) -> Path | None:
        """The users' sequences; None in a release without them."""
        return self.paths.get(USERS)


def copy_state(serving_directory: str | Path, version: int, target: Path) -> ReleasedState:
    """Copy a release's state to this machine; the parts that serve are not looked at.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.
        target: Where the state's files go; left alone where the release has no state.

    Returns:
        Where the state is.

    Raises:
        ReleaseError: The manifest is unreadable, a file of the state is missing or is another one than was
            pushed, or the state comes from another training.
        StorageError: The folder's store cannot be reached or refuses, or there is no space for the copy.
    """
    with take_lease(serving_directory, version) or contextlib.nullcontext():
        manifest = read_manifest(serving_directory, version)
        released = find_state(serving_directory, version)
        if released.location is None:
            return released
        check_part(serving_directory, manifest, STATE)
        try:
            storage.copy_tree(released.location, target)
        except OSError as error:
            raise StorageError(f"Cannot copy the state of release {version}: {error}") from error
    verify_files(target, manifest, STATE, named=released.location)
    return released


def read_current_release(
    serving_directory: str | Path,
    cache_directory: str | Path | None = None,
    parts: Sequence[str] = PARTS,
) -> Release:
    """Read the current release.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        cache_directory: As `read_release` takes it.
        parts: As `read_release` takes it.

    Returns:
        The release.

    Raises:
        ReleaseError: There is no release, or the current one is incomplete, mixed or damaged.
        StorageError: The folder's store cannot be reached or refuses.
    """
    return follow_current(
        serving_directory, lambda version: read_release(serving_directory, version, cache_directory, parts)
    )


def read_release(
    serving_directory: str | Path,
    version: int,
    cache_directory: str | Path | None = None,
    parts: Sequence[str] = PARTS,
) -> Release:
    """Read one release, from an object store by copying it, since TensorFlow loads local files alone.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.
        cache_directory: A local folder for copies of releases, each copied once; other releases of the
            same serving directory are removed from it. None: a temporary folder, which stays. Unused for
            a local release.
        parts: What is needed of it; of these, what the release does not have is left out.

    Returns:
        The release.

    Raises:
        ReleaseError: As `find_release`, or a file of a part that is needed is another one than was pushed.
        StorageError: The folder's store cannot be reached or refuses, or there is no space for a copy.
    """
    serving = storage.join(serving_directory)
    lease = take_lease(serving, version)
    release = find_release(serving, version)
    manifest = release.manifest
    there = [part for part in parts if part in manifest.parts]
    if storage.is_remote(serving):
        home = _copy_release(serving, release, cache_directory, there)
    else:
        home = Path(serving)
        checks = verify_release(serving, manifest, there, HashCache.of_user())
        if "sizes" in checks.values():
            _progress.info(
                "Release %d keeps no hashes of its files, since it was made by an earlier version of this "
                "program: only their sizes were checked", version,
            )  # fmt: skip
    return Release(
        version=release.version,
        location=release.location,
        manifest=manifest,
        directory=home / RELEASES / str(release.version),
        paths={part: home / manifest.parts[part].path for part in there},
        lease=lease,
    )


def _copy_release(
    serving: str, release: PublishedRelease, cache_directory: str | Path | None, parts: Sequence[str]
) -> Path:
    """Give a local folder of the form of a serving directory with this release in it."""
    manifest = release.manifest
    # A version that was deleted and pushed again is another release.
    identity = "/".join([serving, manifest.model_id, manifest.created])
    name = f"{release.version}-{_shorten(identity)}"
    try:
        if cache_directory is None:
            cache = Path(tempfile.mkdtemp(prefix="dssm-release-"))
        else:
            cache = Path(cache_directory) / _shorten(serving)
        home = cache / name
        hashes = HashCache.of_user()
        missing = [part for part in parts if not _is_whole(home, manifest, part, hashes)]
        if missing:
            unfinished = cache / f"{_UNFINISHED_PREFIX}{uuid.uuid4().hex}"
            for place in (*(manifest.parts[part].path for part in missing), f"{RELEASES}/{release.version}"):
                storage.copy_tree(storage.join(serving, place), unfinished / place)
                _move(unfinished / place, home / place)
            remove_folder(unfinished, ignore_errors=True)
        for folder in cache.iterdir():
            if folder != home and not folder.name.startswith(_UNFINISHED_PREFIX):
                remove_folder(folder, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"Cannot copy release {release.version} from {serving}: {error}") from error
    for part in missing:
        place = manifest.parts[part].path
        check_part(str(home), manifest, part)
        verify_files(home / place, manifest, part, hashes, named=storage.join(serving, place))
    return home


def _move(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(target, ignore_errors=True)
    # Another process may have put its copy there in this moment.
    with contextlib.suppress(OSError):
        folder.rename(target)


def _is_whole(home: Path, manifest: Manifest, part: str, hashes: HashCache) -> bool:
    try:
        verify_release(home, manifest, [part], hashes)
    except ReleaseError:
        return False
    return True


def _shorten(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
