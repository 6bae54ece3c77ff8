"""What a release is and where it came from, as its manifest says it."""

import json
from dataclasses import dataclass as plain_dataclass
from typing import Any, Final, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import ANN, INDEX, ITEM_TOWER, RETRIEVER, STATE, USER_TOWER, USERS
from schemas.errors import ConfigError, ReleaseError
from schemas.strict_config import parse

T = TypeVar("T")

REQUIRED_PARTS: Final = (INDEX, ITEM_TOWER, USER_TOWER)
"""The parts that no release is without."""

PARTS: Final = (INDEX, ANN, ITEM_TOWER, USER_TOWER, RETRIEVER)
"""The parts that a server needs, in the order in which they are put in place; those that are not in
`REQUIRED_PARTS` are missing in releases of earlier versions of this program."""

ALL_PARTS: Final = (STATE, USERS, *PARTS)
"""Every part that is pushed, in the order in which they are put in place."""

# A manifest of a later version of this program may say more: unknown keys are no error here.
_TOLERANT = ConfigDict(extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, config=_TOLERANT)
class ReleasedPart:
    """One folder of a release."""

    path: str
    """The folder, relative to the serving directory, with forward slashes."""
    files: dict[str, int]
    """Size in bytes of every file, by its path relative to the folder."""
    sha256: str = ""
    """Hash of the folder, in hexadecimal; '' in releases of earlier versions of this program."""
    hashes: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file in hexadecimal, by its path relative to the folder; empty in releases of earlier
    versions of this program."""


@dataclass(frozen=True, config=_TOLERANT)
class WarmStartedTable:
    """What became of the rows of an embedding table when a training began from an earlier release."""

    kept: int
    """Rows that came from the earlier release."""
    new: int
    """Rows that it does not have."""
    dropped: int
    """Rows that it alone has."""


@dataclass(frozen=True, config=_TOLERANT)
class WarmStarted:
    """The release that a training began from."""

    release: int
    """Its version number in the serving directory."""
    model_id: str
    """The training that made it."""
    tables: dict[str, WarmStartedTable]
    """Its rows by embedding table."""
    in_a_row: int = 1
    """Warm starts in a row, this one included, since a training that began from nothing."""


@dataclass(frozen=True, config=_TOLERANT)
class TrainedOn:
    """How much of the log a release has seen; times are in seconds since 1970."""

    until: int
    """The newest row that its weights were trained on, those of earlier trainings among them."""
    log_until: int
    """The newest row of the splits, those held out among them."""
    splits: list[dict[str, Any]]
    """The rule of the split, as `ingest.split` in the configuration has it and with `holds_validation`, and
    those of the releases that its training began from."""
    fingerprints: dict[str, str] = Field(default_factory=dict)
    """Hashes in hexadecimal of what its own training read, by `sequences`, `schema` and `transform`; empty in
    releases of earlier versions of this program."""


@dataclass(frozen=True, config=_TOLERANT)
class Manifest:
    """What a release is and where it came from."""

    version: int
    """The version number of all parts."""
    created: str
    """When it was published: ISO 8601, UTC."""
    run_id: str
    """The pipeline run that made it; where it is a refresh, that of the release that it refreshes."""
    model_id: str
    """The training that made both towers and the index."""
    dim: int
    """Width of the embeddings."""
    temperature: float
    """What training divided the cosine similarities by."""
    items: int
    """Number of items in the index."""
    schema_sha256: str
    """Hash of the hashes of the schemas' folders, in hexadecimal."""
    transform_sha256: str
    """Hash of the hashes of the transform graphs' folders, in hexadecimal."""
    metrics: dict[str, float]
    """The evaluation, such as `recall_at_10`."""
    popularity: dict[str, float]
    """The same metrics of recommending the most popular items."""
    parts: dict[str, ReleasedPart]
    """The folders, by part. Earlier versions of this program wrote fewer of them, but never without
    `user_tower`, `item_tower` and `index`."""
    warm_start: WarmStarted | None = None
    """The release that the training began from; null: none, it started cold."""
    day_fingerprints: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Hashes of the source tables that its run read, by table and by day, '' for tables that are no daily
    logs; empty in releases of earlier versions of this program."""
    trained_on: TrainedOn | None = None
    """How much of the log it has seen; null in releases of earlier versions of this program."""
    refreshed_from: int | None = None
    """The release whose towers, state, users and evaluation it has, beside an index of a newer item table;
    null: a training made it."""
    trained: str | None = None
    """When the release was published that its training made, where it is a refresh: ISO 8601, UTC; null
    otherwise, and in releases of earlier versions of this program."""


@plain_dataclass(frozen=True)
class PublishedRelease:
    """A release that was found whole where it was published."""

    version: int
    """The version number of all parts."""
    location: str
    """The folder of the manifest: a path or URI."""
    manifest: Manifest
    """What the release is and where it came from."""


def count_warm_starts(manifest: Manifest) -> int:
    """Count the warm starts in a row that a release ends.

    Args:
        manifest: The release's.

    Returns:
        0 of a training that began from nothing.
    """
    return 0 if manifest.warm_start is None else manifest.warm_start.in_a_row


def find_document(cls: type[T], file: str) -> T | None:
    """Read a JSON file beside the releases, should there be one.

    Args:
        cls: What it holds: a pydantic dataclass.
        file: The file, a path or URI.

    Returns:
        The instance; None where there is no such file.

    Raises:
        ReleaseError: It is no JSON, or a key is missing or wrong.
        StorageError: Its store cannot be reached or refuses.
    """
    try:
        content = storage.read_bytes(file)
    except storage.NotFoundError:
        return None
    return parse_document(cls, content, source=file)


def parse_document(cls: type[T], content: bytes, source: str) -> T:
    """Read a JSON file of a release.

    Args:
        cls: What it holds: a pydantic dataclass.
        content: The file.
        source: What messages call it.

    Returns:
        The instance.

    Raises:
        ReleaseError: It is no JSON, or a key is missing or wrong.
    """
    try:
        return parse(cls, json.loads(content), source=source)
    except ConfigError as error:
        raise ReleaseError(str(error)) from error
    except ValueError as error:
        raise ReleaseError(f"Cannot read {source}: {error}") from error
