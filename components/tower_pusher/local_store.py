"""Pushing to a folder of this machine.

A pusher owns a version from the moment it makes the folder `releases/<version>` until it deletes the
`.claim` file in it. All that time it holds a lock on that file, which the operating system lets go when the
process ends, however it ends. So a version folder without a manifest, whose claim nobody holds, was
left by a killed pusher, and the next one removes it with its parts. Claiming and removing happen under
a second lock, `releases/.lock`, held for moments only.

A part is written under a name that no server reads, and renamed: whoever looks at `<part>/<version>` sees
all of it or nothing.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from components.tower_pusher.compose import Part
from schemas.contract import MANIFEST_FILE, PROGRESS_LOGGER, RELEASES
from schemas.errors import ReleaseError
from schemas.folders import remove_folder
from schemas.release import ALL_PARTS, hold_lock, list_versions, remove_parts
from schemas.release.retention import CLAIM_FILE

_TEMPORARY_PREFIX: Final = ".tmp-"

_progress = logging.getLogger(PROGRESS_LOGGER)


@contextlib.contextmanager
def claim_version(serving: Path) -> Iterator["Claim"]:
    """Own a version for the time of a push.

    Args:
        serving: The folder that releases are pushed to; it is made where it does not exist.

    Yields:
        The claim. Leaving with an exception removes what was put in place, if the manifest does not stand.

    Raises:
        ReleaseError: The folder cannot be written, or another process holds its lock.
    """
    try:
        with _own_version(serving) as claim:
            yield claim
    except OSError as error:
        raise _cannot_write(serving, error) from error


class Claim:
    """A version that this process owns."""

    def __init__(self, serving: Path, version: int) -> None:
        self.version = version
        self._serving = serving

    def install(self, name: str, part: Part) -> None:
        """Put a part in place, whole from the moment that it is seen.

        Args:
            name: Which part it is.
            part: Its files.

        Raises:
            OSError: It cannot be written.
        """
        temporary = _temporary(self._serving, name, self.version)
        # Nobody else owns the version; only a hand that removed a claim can have left this.
        remove_folder(temporary)
        for path, file in part.items():
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(file.content, bytes):
                target.write_bytes(file.content)
            else:
                shutil.copyfile(file.content, target)
        for path_or_folder in (*temporary.rglob("*"), temporary):
            _flush(path_or_folder)
        final = self._serving / name / str(self.version)
        temporary.rename(final)
        _flush(final.parent)

    def bring_here(self, names: Sequence[str], scratch: Path) -> dict[str, Path]:
        """Find parts as they were put in place.

        Args:
            names: Which ones.
            scratch: Not used: they are here.

        Returns:
            Their folders, by name.
        """
        del scratch
        return {name: self._serving / name / str(self.version) for name in names}

    def commit(self, manifest: bytes) -> None:
        """Write the manifest, with which the release begins to exist.

        Args:
            manifest: Its content.

        Raises:
            OSError: It cannot be written.
        """
        folder = self._serving / RELEASES / str(self.version)
        temporary = folder / f"{_TEMPORARY_PREFIX}{MANIFEST_FILE}"
        temporary.write_bytes(manifest)
        _flush(temporary)
        os.replace(temporary, folder / MANIFEST_FILE)  # noqa: PTH105 (atomic, as the name says)
        _flush(folder)
        _flush(folder.parent)


def check_writable(serving: Path) -> None:
    """Check that releases can be written, leaving no trace.

    Args:
        serving: The folder that releases are pushed to; it need not exist.

    Raises:
        ReleaseError: It cannot be made or written.
    """
    folders = [serving, *(serving / name for name in (*ALL_PARTS, RELEASES))]
    try:
        for folder in {_nearest_existing(folder) for folder in folders}:
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise _cannot_write(serving, error) from error


@contextlib.contextmanager
def _own_version(serving: Path) -> Iterator[Claim]:
    for name in (*ALL_PARTS, RELEASES):
        (serving / name).mkdir(parents=True, exist_ok=True)
    releases = serving / RELEASES
    with contextlib.ExitStack() as stack:
        with hold_lock(serving):
            versions = (v for name in (*ALL_PARTS, RELEASES) for v in list_versions(serving / name))
            version = max(versions, default=0) + 1
            (releases / str(version)).mkdir()
            try:
                claim = stack.enter_context((releases / str(version) / CLAIM_FILE).open("w"))
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # After the claim, so that a version number is never used twice: a server may have seen it.
                _remove_leftovers(serving, version)
            except BaseException:
                remove_folder(releases / str(version))
                raise
        try:
            yield Claim(serving, version)
        except BaseException:
            # Once the manifest stands, readers may rely on the release: only the claim is left behind.
            if not (releases / str(version) / MANIFEST_FILE).exists():
                remove_parts(serving, version)
            raise
        (releases / str(version) / CLAIM_FILE).unlink()


def _remove_leftovers(serving: Path, own_version: int) -> None:
    for version in list_versions(serving / RELEASES):
        folder = serving / RELEASES / str(version)
        is_published = (folder / MANIFEST_FILE).exists() and not (folder / CLAIM_FILE).exists()
        if version == own_version or is_published or not folder.is_dir():
            continue
        with contextlib.ExitStack() as stack:
            try:
                claim = stack.enter_context((folder / CLAIM_FILE).open("r+"))
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                pass
            except BlockingIOError:
                continue
            if (folder / MANIFEST_FILE).exists():
                # Killed between the manifest and the end, or done between our two looks.
                (folder / CLAIM_FILE).unlink(missing_ok=True)
            else:
                remove_parts(serving, version)
                _progress.info("Removed what a push of release %d had left unfinished", version)


def _temporary(serving: Path, part: str, version: int) -> Path:
    return serving / part / f"{_TEMPORARY_PREFIX}{version}"


def _flush(path: Path) -> None:
    # After a power cut a manifest must not outlive the files that it names.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _nearest_existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return folder


def _cannot_write(serving: Path, error: OSError) -> ReleaseError:
    return ReleaseError(
        f"Cannot write releases to {serving}: {error}. Make it a folder that this user may write, "
        "with enough space, or set serving.directory to another one."
    )
