"""The last models that were refused: they left no release, and their training has seen its days all the same.

`releases/refused.json` says so, in the place where a release would have been. A later release makes it
history; there is one file, and the next run with a refused model replaces it.
"""

import dataclasses
import datetime
from pathlib import Path

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import REFUSED_FILE, RELEASES
from schemas.errors import ReleaseError
from schemas.release.locking import hold_lock
from schemas.release.manifest import Manifest, find_document
from schemas.start import Start

_TOLERANT = ConfigDict(extra="ignore")


@dataclass(frozen=True, config=_TOLERANT)
class RefusedModel:
    """A model that was trained and evaluated, and not released."""

    start: Start
    """What its training began from."""
    reason: str
    """The verdict in a sentence."""


@dataclass(frozen=True, config=_TOLERANT)
class Refusal:
    """What a run was refused."""

    run_id: str
    """The pipeline run."""
    refused: AwareDatetime
    """When the last of its models was."""
    day_fingerprints: dict[str, dict[str, str]]
    """Hashes of the source tables that it read, as in a release's manifest."""
    models: dict[str, RefusedModel] = Field(min_length=1)
    """By model id, in their order."""

    @property
    def reason(self) -> str:
        """The verdicts, each in a sentence."""
        return " ".join(model.reason for model in self.models.values())


def write_refusal(serving_directory: str | Path, refusal: Refusal) -> None:
    """Note a refusal in place of that of another run, beside earlier ones of the same run.

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
    with hold_lock(serving_directory):
        try:
            before = read_refusal(serving_directory)
        except ReleaseError:
            # What cannot be read is replaced.
            before = None
        if before is not None and before.run_id == refusal.run_id:
            refusal = dataclasses.replace(refusal, models={**before.models, **refusal.models})
        content = TypeAdapter(Refusal).dump_json(refusal, indent=2) + b"\n"
        storage.replace_bytes(_locate(serving_directory), content)


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
    try:
        return find_document(Refusal, _locate(serving_directory))
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} Delete the file: the days of the model that it is about are trained on again."
        ) from error


def find_standing_refusal(serving_directory: str | Path, newest: Manifest | None) -> Refusal | None:
    """Find the last refusal, unless a model that was trained since has been released.

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
    released = datetime.datetime.fromisoformat(newest.trained or newest.created)
    return refusal if refusal.refused > released else None


def _locate(serving_directory: str | Path) -> str:
    return storage.join(serving_directory, RELEASES, REFUSED_FILE)
