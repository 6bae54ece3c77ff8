"""The last model that was refused: it left no release, and its training has seen its days all the same.

`releases/refused.json` says so, in the place where a release would have been. A later release makes it
history; there is one, and the next refusal replaces it.
"""

import dataclasses
import datetime
import json
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import REFUSED_FILE, RELEASES
from schemas.errors import ReleaseError
from schemas.release.locking import hold_lock
from schemas.release.manifest import Manifest, parse_document


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Refusal:
    """A model that was trained and evaluated, and not released."""

    run_id: str
    """The pipeline run that made it."""
    refused: str
    """When: ISO 8601, UTC."""
    reason: str
    """The verdict in a sentence."""
    day_fingerprints: dict[str, dict[str, str]]
    """Hashes of the source tables that its run read, as in a release's manifest."""


def write_refusal(serving_directory: str | Path, refusal: Refusal) -> None:
    """Note a refusal, in place of the one before.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI; it is made where it does
            not exist.
        refusal: The refusal.

    Raises:
        ReleaseError: The folder cannot be made, or another process keeps its lock.
        StorageError: The folder's store cannot be reached or refuses, or the file cannot be written.
    """
    if not storage.is_remote(serving_directory):
        folder = Path(storage.join(serving_directory, RELEASES))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReleaseError(
                f"Cannot write to {folder}: {error}. Run this as a user who may write there."
            ) from error
    content = json.dumps(dataclasses.asdict(refusal), indent=2) + "\n"
    with hold_lock(serving_directory):
        storage.replace_bytes(storage.join(serving_directory, RELEASES, REFUSED_FILE), content.encode())


def read_refusal(serving_directory: str | Path) -> Refusal | None:
    """Read the last refusal, whether there has been a release since or not.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The refusal; None where no model was refused.

    Raises:
        ReleaseError: The file that says it is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    file = storage.join(serving_directory, RELEASES, REFUSED_FILE)
    try:
        content = storage.read_bytes(file)
    except storage.NotFoundError:
        return None
    return parse_document(Refusal, content, source=file)


def find_standing_refusal(serving_directory: str | Path, newest: Manifest | None) -> Refusal | None:
    """Find the last refusal, unless there has been a release since.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        newest: The newest release; None where there is none.

    Returns:
        The refusal; None where the last model was released, or there was none.

    Raises:
        ReleaseError: The file that says it is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    refusal = read_refusal(serving_directory)
    if refusal is None or newest is None:
        return refusal
    refused, released = map(datetime.datetime.fromisoformat, (refusal.refused, newest.created))
    return refusal if refused > released else None
