"""Finds releases, and what belongs to them, where they were published; nothing is copied."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import (
    ANN,
    ASSETS_EXTRA,
    INDEX,
    MANIFEST_FILE,
    MODEL_ID,
    PART_FILE,
    RELEASES,
    STATE,
    USERS,
)
from schemas.errors import ReleaseError
from schemas.release.manifest import PARTS, REQUIRED_PARTS, Manifest, PublishedRelease, parse_document

_PLAIN_FOLDERS: Final = (INDEX, ANN, STATE, USERS)
"""The parts that are no SavedModel, whose folders are all ours."""


def list_versions(directory: str | Path) -> list[int]:
    """List the folders that are named with an integer, as TensorFlow Serving reads versions.

    Args:
        directory: A folder of versions: a path or URI; it need not exist.

    Returns:
        The version numbers in ascending order.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    return sorted({int(name) for name in storage.list_names(directory) if name.isascii() and name.isdigit()})


def list_published(serving_directory: str | Path) -> list[int]:
    """List the releases, those that a push has not finished left out.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The versions that have a manifest, in ascending order.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    releases = storage.join(serving_directory, RELEASES)
    return [version for version in list_versions(releases) if _is_published(releases, version)]


def find_newest_version(serving_directory: str | Path) -> int | None:
    """Find the release with the highest version, which is not the current one after a rollback.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Its version; None without any release.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    releases = storage.join(serving_directory, RELEASES)
    return next((v for v in reversed(list_versions(releases)) if _is_published(releases, v)), None)


def find_release(serving_directory: str | Path, version: int) -> PublishedRelease:
    """Check that a release's parts are complete and belong together, without copying or reading them.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.

    Returns:
        The release.

    Raises:
        ReleaseError: It does not exist, its manifest is unreadable, a file is missing or has another
            size than the manifest says, or the parts come from different trainings.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    folder = storage.join(serving, RELEASES, str(version))
    manifest = read_manifest(serving, version)
    for part in REQUIRED_PARTS:
        if part not in manifest.parts:
            raise ReleaseError(
                f"{storage.join(folder, MANIFEST_FILE)}: expected the part {part!r}. "
                f"Received: {sorted(manifest.parts)}."
            )
    for part in PARTS:
        if part in manifest.parts:
            check_part(serving, manifest, part)
    return PublishedRelease(version, folder, manifest)


@dataclass(frozen=True)
class ReleasedState:
    """What a release left for the next run."""

    version: int
    """The release's version number."""
    location: str | None
    """The folder of the state: a path or URI; None where the release has none."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of its files by relative path; empty in releases of earlier versions of this program."""


def read_manifest(serving_directory: str | Path, version: int) -> Manifest:
    """Read what a release is, without looking at its parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.

    Returns:
        The manifest.

    Raises:
        ReleaseError: There is no such release, or its manifest is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    file = storage.join(serving, RELEASES, str(version), MANIFEST_FILE)
    try:
        content = storage.read_bytes(file)
    except storage.NotFoundError:
        published = ", ".join(map(str, list_published(serving))) or "none"
        raise ReleaseError(f"No release {version} in {serving}: its releases are {published}.") from None
    manifest = parse_document(Manifest, content, source=file)
    if manifest.version != version:
        raise ReleaseError(
            f"{file}: expected version {version}, the folder's name. Received: {manifest.version}."
        )
    return manifest


def find_state(serving_directory: str | Path, version: int) -> ReleasedState:
    """Find a release's state; the parts that serve are not looked at.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.

    Returns:
        Where the state is.

    Raises:
        ReleaseError: There is no such release, or its manifest is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    state = read_manifest(serving, version).parts.get(STATE)
    if state is None:
        return ReleasedState(version, None)
    return ReleasedState(version, storage.join(serving, state.path), state.hashes)


def read_part_id(folder: str | Path, part: str, expected_model_id: str | None = None) -> str:
    """Read which training made a part.

    Args:
        folder: A SavedModel of a tower, an index or a state: a path or URI.
        part: What the folder should be, such as `user_tower`, `index` or `state`.
        expected_model_id: The training that the part must come from; None accepts every one.

    Returns:
        The part's model id.

    Raises:
        ReleaseError: The folder does not say what it is, is another part, or comes from another training.
    """
    file = storage.join(folder, PART_FILE if part in _PLAIN_FOLDERS else f"{ASSETS_EXTRA}/{PART_FILE}")
    try:
        content = json.loads(storage.read_bytes(file))
        found, model_id = str(content["part"]), str(content[MODEL_ID])
    except (storage.NotFoundError, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(
            f"{file}: expected JSON with 'part' and {MODEL_ID!r}. Received: {error!r}."
        ) from error
    if found != part:
        raise ReleaseError(f"{folder}: expected the part {part!r}. Received: {found!r}.")
    if expected_model_id is not None and model_id != expected_model_id:
        raise ReleaseError(
            f"{folder} comes from another training than the rest of its release: expected model id "
            f"{expected_model_id!r}. Received: {model_id!r}. Embeddings of different trainings cannot be "
            "compared; push all parts of one run."
        )
    return model_id


def check_part(serving_directory: str | Path, manifest: Manifest, part: str) -> None:
    """Check that a part is complete and of its release's training; what is in its files is not read.

    Args:
        serving_directory: The folder that the part's path is relative to: a path or URI.
        manifest: The release's.
        part: A part that it has.

    Raises:
        ReleaseError: A file is missing or has another size than the manifest says, or the part is another
            one or comes from another training.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    folder = storage.join(serving, manifest.parts[part].path)
    found = list_file_sizes(folder)
    problems = []
    for name, size in manifest.parts[part].files.items():
        if name not in found:
            problems.append(f"{storage.join(folder, name)} is missing")
        elif found[name] != size:
            problems.append(f"{storage.join(folder, name)} has {found[name]} bytes instead of {size}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ReleaseError(
            f"Release {manifest.version} in {serving} is incomplete: {'; '.join(problems[:3])}{more}. "
            "Restore the files or push a new release."
        )
    read_part_id(folder, part, expected_model_id=manifest.model_id)


def list_file_sizes(folder: str | Path) -> dict[str, int]:
    """List every file below a folder.

    Args:
        folder: The folder: a path or URI.

    Returns:
        Sizes in bytes by relative path with forward slashes, sorted by path.
    """
    return {name: status.size_bytes for name, status in storage.list_files(folder).items()}


def _is_published(releases: str, version: int) -> bool:
    return storage.find_file(storage.join(releases, str(version), MANIFEST_FILE)) is not None
