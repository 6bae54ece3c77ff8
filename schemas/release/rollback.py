"""Makes an older release the current one."""

import contextlib
import dataclasses
import datetime
import json
from pathlib import Path

from schemas import storage
from schemas.contract import CURRENT_FILE, RELEASES
from schemas.release.current import Rollback
from schemas.release.find import find_newest_version, find_release
from schemas.release.lease import take_lease
from schemas.release.locking import hold_lock
from schemas.release.models_config import update_models_config
from schemas.release.verify import HashCache, verify_release


def roll_back(serving_directory: str | Path, version: int, reason: str = "") -> Rollback:
    """Make a release the current one, until a newer one than there is now is pushed.

    Readers of releases follow at once, the comparison and the warm start of the next run among them, and
    TensorFlow Serving when it reads its models.config the next time. A kill on the way leaves the old release
    current, or the new one.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release. The newest one takes a rollback back.
        reason: Why, for those who look at it later.

    Returns:
        What was decided.

    Raises:
        ReleaseError: The release does not exist, or is incomplete, mixed or damaged; nothing was changed.
        StorageError: The folder's store cannot be reached or refuses, or a file cannot be written.
    """
    with take_lease(serving_directory, version) or contextlib.nullcontext():
        release = find_release(serving_directory, version)
        verify_release(serving_directory, release.manifest, cache=HashCache.of_user())
        with hold_lock(serving_directory):
            decision = Rollback(
                version=version,
                over=find_newest_version(serving_directory) or version,
                since=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                reason=reason,
            )
            content = json.dumps(dataclasses.asdict(decision), indent=2) + "\n"
            storage.replace_bytes(storage.join(serving_directory, RELEASES, CURRENT_FILE), content.encode())
        update_models_config(serving_directory)
    return decision
