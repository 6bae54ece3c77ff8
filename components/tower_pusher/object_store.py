"""Pushing to an object store, which has neither locks nor renames.

The parts are uploaded first, and the manifest last: an object appears whole, so that is the commit. Until
then readers do not see the release, and a push that is killed leaves the old one as it was.

A version is claimed by writing an object of one's own into `releases/<version>/` and then listing it. Who
finds nothing else there owns the version; who finds another claim or a manifest withdraws and tries a
higher version. S3 and Google Cloud Storage list an object from the moment it is written, so of two pushers at
least one sees the other's claim, and at most one goes on. On a store that lists late this does not hold, and
two pushers at the same time can write the same version.

Nobody can see whether the owner of a claim is alive. So what a killed pusher left is removed by a later push
once its claim is a day old by the store's own clock; a pusher that comes back after that finds its claim
gone, just before it would commit, and gives up. Parts of uploads that were never completed are invisible; a
lifecycle rule on the bucket that aborts incomplete multipart uploads frees their space.
"""

import contextlib
import datetime
import logging
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from components.tower_pusher.compose import Part
from schemas import storage
from schemas.contract import MANIFEST_FILE, PROGRESS_LOGGER, RELEASES
from schemas.errors import ReleaseError, StorageError
from schemas.release import ALL_PARTS, list_file_sizes, list_versions, remove_remote_parts
from schemas.release.retention import SAVED_MODEL_FILE

_CLAIM_PREFIX: Final = ".claim-"
_CHECK_PREFIX: Final = ".write-check-"
_CLAIM_ATTEMPTS: Final = 20
_ABANDONED_AFTER: Final = datetime.timedelta(days=1)

_progress = logging.getLogger(PROGRESS_LOGGER)


@contextlib.contextmanager
def claim_version(serving: str) -> Iterator["Claim"]:
    """Own a version for the time of a push.

    Args:
        serving: The URI that releases are pushed to.

    Yields:
        The claim. Leaving with an exception removes what was uploaded, if the manifest does not stand.

    Raises:
        ReleaseError: Other pushers were faster every time.
        StorageError: The store cannot be reached or refuses.
    """
    claim = _make_claim(serving)
    try:
        _remove_abandoned(serving, claim)
        yield claim
    except BaseException:
        # A failure to clean up must not hide why it is needed; a later push tries again.
        with contextlib.suppress(StorageError):
            if storage.find_file(claim.manifest) is None:
                remove_remote_parts(serving, claim.version)
        raise
    # The release stands; a claim beside its manifest is removed by the next push.
    with contextlib.suppress(StorageError):
        storage.delete_file(claim.location)


class Claim:
    """A version that this process owns."""

    def __init__(self, serving: str, version: int) -> None:
        self.serving = serving
        self.version = version
        self.location = storage.join(serving, RELEASES, str(version), f"{_CLAIM_PREFIX}{uuid.uuid4().hex}")
        self.manifest = storage.join(serving, RELEASES, str(version), MANIFEST_FILE)

    def install(self, name: str, part: Part) -> None:
        """Upload a part and check that it arrived.

        A model server finds a SavedModel by its `saved_model.pb`, which comes when all that it refers to is
        there.

        Args:
            name: Which part it is.
            part: Its files.

        Raises:
            ReleaseError: The store lists other files than were sent.
            StorageError: The store cannot be reached or refuses.
        """
        target = self._locate(name)
        copied = {path: file.content for path, file in part.items() if isinstance(file.content, Path)}
        last = {path: copied.pop(path) for path in (SAVED_MODEL_FILE,) if path in copied}
        storage.copy_files(copied, target)
        for path, file in part.items():
            if isinstance(file.content, bytes):
                storage.write_bytes(storage.join(target, path), file.content)
        storage.copy_files(last, target)
        sent, arrived = {path: file.size_bytes for path, file in part.items()}, list_file_sizes(target)
        if sent != arrived:
            different = sorted(dict(set(sent.items()) ^ set(arrived.items())))
            raise ReleaseError(
                f"{target}: expected the {len(sent)} files that were sent. Received: {len(arrived)}, with "
                f"other names or sizes, such as {different[:3]}. Push again."
            )

    def bring_here(self, names: Sequence[str], scratch: Path) -> dict[str, Path]:
        """Copy parts from where they were uploaded to.

        Args:
            names: Which ones.
            scratch: A folder for the copies.

        Returns:
            Their folders, by name.

        Raises:
            StorageError: The store cannot be reached or refuses, or there is no space for a copy.
        """
        folders = {name: scratch / name for name in names}
        for name, folder in folders.items():
            storage.copy_tree(self._locate(name), folder)
        return folders

    def commit(self, manifest: bytes) -> None:
        """Write the manifest, with which the release begins to exist.

        Args:
            manifest: Its content.

        Raises:
            ReleaseError: The claim is gone: somebody took this push for dead.
            StorageError: The store cannot be reached or refuses.
        """
        if storage.find_file(self.location) is None:
            raise ReleaseError(
                f"{self.location} was removed while release {self.version} was uploaded, by hand or since "
                f"it was more than {_ABANDONED_AFTER.total_seconds() / 3600:.0f} hours old. Nothing was "
                "released. Push again."
            )
        storage.write_bytes(self.manifest, manifest)

    def _locate(self, name: str) -> str:
        return storage.join(self.serving, name, str(self.version))


def check_writable(serving: str) -> None:
    """Check that objects can be listed, written and deleted.

    Args:
        serving: The URI that releases are pushed to.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    list_versions(storage.join(serving, RELEASES))
    probe = storage.join(serving, RELEASES, f"{_CHECK_PREFIX}{uuid.uuid4().hex}")
    storage.write_bytes(probe, b"")
    storage.delete_file(probe)


def _make_claim(serving: str) -> Claim:
    for _ in range(_CLAIM_ATTEMPTS):
        versions = [v for name in (*ALL_PARTS, RELEASES) for v in list_versions(storage.join(serving, name))]
        claim = Claim(serving, max(versions, default=0) + 1)
        storage.write_bytes(claim.location, b"")
        folder, _, own_name = claim.location.rpartition("/")
        if storage.list_names(folder) == [own_name]:
            return claim
        storage.delete_file(claim.location)
        time.sleep(random.uniform(0.0, 1.0))
    raise ReleaseError(
        f"{storage.join(serving, RELEASES)}: expected a version that no other pusher claims. Received: "
        f"claims of others on {_CLAIM_ATTEMPTS}, one after the other. What pushes all the time? End it."
    )


def _remove_abandoned(serving: str, own: Claim) -> None:
    own_status = storage.find_file(own.location)
    if own_status is None:
        return
    releases = storage.join(serving, RELEASES)
    files = storage.list_files(releases)
    claims: dict[str, list[str]] = {}
    for path in files:
        version, _, name = path.partition("/")
        if name.startswith(_CLAIM_PREFIX) and version.isdigit() and int(version) != own.version:
            claims.setdefault(version, []).append(path)
    for version, paths in claims.items():
        if f"{version}/{MANIFEST_FILE}" in files:
            # Killed between the manifest and the end, or just now at its end.
            for path in paths:
                storage.delete_file(storage.join(releases, path))
        elif all(own_status.modified - files[path].modified > _ABANDONED_AFTER for path in paths):
            remove_remote_parts(serving, int(version))
            _progress.info("Removed what a push of release %s had left unfinished", version)
