"""A release: both towers and the index under one version number, joined by a manifest written last.

    <serving>/user_tower/<version>/               SavedModel
    <serving>/item_tower/<version>/               SavedModel
    <serving>/index/<version>/                    candidate index
    <serving>/state/<version>/                    what the next run compares with and starts from; no server
                                                  needs it
    <serving>/releases/<version>/manifest.json    written last: without it there is no release

A reader that goes through the manifest sees a release whole or not at all. The serving directory is on this
machine or in an object store, from which the parts are copied before they are used.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import (
    ASSETS_EXTRA,
    INDEX,
    ITEM_TOWER,
    MANIFEST_FILE,
    MODEL_ID,
    PART_FILE,
    RELEASES,
    STATE,
    USER_TOWER,
)
from schemas.errors import ConfigError, ReleaseError, StorageError
from schemas.strict_config import parse

PARTS: Final = (INDEX, ITEM_TOWER, USER_TOWER)
"""The parts of a release that a server needs, in the order in which they are put in place."""

ALL_PARTS: Final = (STATE, *PARTS)
"""Every part that is pushed, in the order in which they are put in place."""

_UNFINISHED_PREFIX: Final = ".tmp-"

# A manifest of a later version of this program may say more: unknown keys are no error here.
_TOLERANT = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_TOLERANT)
class ReleasedPart:
    """One folder of a release."""

    path: str
    """The folder, relative to the serving directory, with forward slashes."""
    files: dict[str, int]
    """Size in bytes of every file, by its path relative to the folder."""
    sha256: str = ""
    """Hash of the folder, in hexadecimal; '' in releases of earlier versions of this program."""


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


@dataclass(frozen=True, config=_TOLERANT)
class TrainedOn:
    """How much of the log a release has seen; times are in seconds since 1970."""

    until: int
    """The newest row that its weights were trained on, those of earlier trainings among them."""
    log_until: int
    """The newest row of the splits, those held out among them."""
    splits: list[dict[str, Any]]
    """The rule of the split, as `ingest.split` in the configuration has it, and those of the releases that
    its training began from."""


@dataclass(frozen=True, config=_TOLERANT)
class Manifest:
    """What a release is and where it came from."""

    version: int
    """The version number of all parts."""
    created: str
    """When it was published: ISO 8601, UTC."""
    run_id: str
    """The pipeline run that made it."""
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
    """The folders, by part: `user_tower`, `item_tower`, `index` and, but in releases of earlier versions of
    this program, `state`."""
    warm_start: WarmStarted | None = None
    """The release that the training began from; null: none, it started cold."""
    trained_on: TrainedOn | None = None
    """How much of the log it has seen; null in releases of earlier versions of this program."""


@plain_dataclass(frozen=True)
class PublishedRelease:
    """A release that was found whole where it was published."""

    version: int
    """The version number of all parts."""
    location: str
    """The folder of the manifest: a path or URI."""
    manifest: Manifest
    """What the release is and where it came from."""


@plain_dataclass(frozen=True)
class Release(PublishedRelease):
    """A release that was found whole, and whose parts are on this machine."""

    directory: Path
    """The folder of the manifest; for a release from an object store, that of its copy."""
    user_tower: Path
    """The user tower's SavedModel."""
    item_tower: Path
    """The item tower's SavedModel."""
    index: Path
    """The candidate index."""


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


def find_latest_release(serving_directory: str | Path) -> PublishedRelease:
    """Find the newest release without copying its parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The release with the highest version that has a manifest.

    Raises:
        ReleaseError: There is no release, or the newest one is incomplete or mixed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    releases = storage.join(serving_directory, RELEASES)
    for version in reversed(list_versions(releases)):
        if storage.find_file(storage.join(releases, str(version), MANIFEST_FILE)):
            return find_release(serving_directory, version)
    raise ReleaseError(
        f"No release in {serving_directory}: expected {RELEASES}/<version>/{MANIFEST_FILE} in it. "
        "`dssm run` writes one when the evaluation blesses the model; serving.directory in the "
        "configuration says where."
    )


def find_release(serving_directory: str | Path, version: int) -> PublishedRelease:
    """Check that a release's parts are complete and belong together, without copying them.

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
    manifest = _read_manifest(serving, storage.join(folder, MANIFEST_FILE), version)
    for part in PARTS:
        if part not in manifest.parts:
            raise ReleaseError(
                f"{storage.join(folder, MANIFEST_FILE)}: expected the part {part!r}. "
                f"Received: {sorted(manifest.parts)}."
            )
        _check_files(serving, manifest, part)
        place = storage.join(serving, manifest.parts[part].path)
        read_part_id(place, part, expected_model_id=manifest.model_id)
    return PublishedRelease(version, folder, manifest)


@plain_dataclass(frozen=True)
class ReleasedState:
    """What a release left for the next run."""

    version: int
    """The release's version number."""
    location: str | None
    """The folder of the state: a path or URI; None where the release has none."""


def find_latest_state(serving_directory: str | Path) -> ReleasedState | None:
    """Find the newest release's state; the parts that serve are not looked at.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Where the state is; None without any release.

    Raises:
        ReleaseError: The manifest is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    serving = storage.join(serving_directory)
    published = _list_published(serving)
    if not published:
        return None
    return find_state(serving, published[-1])


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
    return _read_manifest(serving, storage.join(serving, RELEASES, str(version), MANIFEST_FILE), version)


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
    file = storage.join(serving, RELEASES, str(version), MANIFEST_FILE)
    state = _read_manifest(serving, file, version).parts.get(STATE)
    return ReleasedState(version, None if state is None else storage.join(serving, state.path))


def copy_latest_state(serving_directory: str | Path, target: Path) -> ReleasedState | None:
    """Copy the newest release's state to this machine; the parts that serve are not looked at.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        target: Where the state's files go; left alone where the release has no state.

    Returns:
        Where the state is; None without any release.

    Raises:
        ReleaseError: The manifest is unreadable, a file of the state is missing or has another size than it
            says, or the state comes from another training.
        StorageError: The folder's store cannot be reached or refuses, or there is no space for the copy.
    """
    released = find_latest_state(serving_directory)
    if released is None or released.location is None:
        return released
    serving = storage.join(serving_directory)
    file = storage.join(serving, RELEASES, str(released.version), MANIFEST_FILE)
    manifest = _read_manifest(serving, file, released.version)
    _check_files(serving, manifest, STATE)
    read_part_id(released.location, STATE, expected_model_id=manifest.model_id)
    try:
        storage.copy_tree(released.location, target)
    except OSError as error:
        raise StorageError(f"Cannot copy the state of release {released.version}: {error}") from error
    return released


def read_latest_release(serving_directory: str | Path, cache_directory: str | Path | None = None) -> Release:
    """Read the newest release.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        cache_directory: As `read_release` takes it.

    Returns:
        The release with the highest version that has a manifest.

    Raises:
        ReleaseError: There is no release, or the newest one is incomplete or mixed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    return _bring_here(serving_directory, find_latest_release(serving_directory), cache_directory)


def read_release(
    serving_directory: str | Path, version: int, cache_directory: str | Path | None = None
) -> Release:
    """Read one release, from an object store by copying it, since TensorFlow loads local files alone.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release's version number.
        cache_directory: A local folder for copies of releases, each copied once; other releases of the
            same serving directory are removed from it. None: a temporary folder, which stays. Unused for
            a local release.

    Returns:
        The release.

    Raises:
        ReleaseError: As `find_release`.
        StorageError: The folder's store cannot be reached or refuses, or there is no space for a copy.
    """
    return _bring_here(serving_directory, find_release(serving_directory, version), cache_directory)


def read_part_id(folder: str | Path, part: str, expected_model_id: str | None = None) -> str:
    """Read which training made a part.

    Args:
        folder: A SavedModel of a tower, an index or a state: a path or URI.
        part: What the folder should be: `user_tower`, `item_tower`, `index` or `state`.
        expected_model_id: The training that the part must come from; None accepts every one.

    Returns:
        The part's model id.

    Raises:
        ReleaseError: The folder does not say what it is, is another part, or comes from another training.
    """
    file = storage.join(folder, PART_FILE if part in (INDEX, STATE) else f"{ASSETS_EXTRA}/{PART_FILE}")
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


def list_file_sizes(folder: str | Path) -> dict[str, int]:
    """List every file below a folder.

    Args:
        folder: The folder: a path or URI.

    Returns:
        Sizes in bytes by relative path with forward slashes, sorted by path.
    """
    return {name: status.size_bytes for name, status in storage.list_files(folder).items()}


def _list_published(serving: str) -> list[int]:
    releases = storage.join(serving, RELEASES)
    return [
        version
        for version in list_versions(releases)
        if storage.find_file(storage.join(releases, str(version), MANIFEST_FILE))
    ]


def _read_manifest(serving: str, file: str, version: int) -> Manifest:
    try:
        data = json.loads(storage.read_bytes(file))
    except storage.NotFoundError:
        published = ", ".join(map(str, _list_published(serving))) or "none"
        raise ReleaseError(f"No release {version} in {serving}: its releases are {published}.") from None
    except ValueError as error:
        raise ReleaseError(f"Cannot read the manifest {file}: {error}") from error
    try:
        manifest = parse(Manifest, data, source=file)
    except ConfigError as error:
        raise ReleaseError(str(error)) from error
    if manifest.version != version:
        raise ReleaseError(
            f"{file}: expected version {version}, the folder's name. Received: {manifest.version}."
        )
    return manifest


def _check_files(serving: str, manifest: Manifest, part: str) -> None:
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


def _bring_here(
    serving_directory: str | Path, release: PublishedRelease, cache_directory: str | Path | None
) -> Release:
    serving = storage.join(serving_directory)
    is_here = not storage.is_remote(serving)
    home = Path(serving) if is_here else _copy_release(serving, release, cache_directory)
    parts = {part: home / release.manifest.parts[part].path for part in PARTS}
    return Release(
        version=release.version,
        location=release.location,
        manifest=release.manifest,
        directory=home / RELEASES / str(release.version),
        user_tower=parts[USER_TOWER],
        item_tower=parts[ITEM_TOWER],
        index=parts[INDEX],
    )


def _copy_release(serving: str, release: PublishedRelease, cache_directory: str | Path | None) -> Path:
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
        if _is_complete(cache / name, manifest):
            return cache / name
        unfinished = cache / f"{_UNFINISHED_PREFIX}{uuid.uuid4().hex}"
        for path in (*(manifest.parts[part].path for part in PARTS), f"{RELEASES}/{release.version}"):
            storage.copy_tree(storage.join(serving, path), unfinished / path)
        for folder in cache.iterdir():
            if not folder.name.startswith(_UNFINISHED_PREFIX):
                shutil.rmtree(folder, ignore_errors=True)
        # Another process may have put its copy there first.
        with contextlib.suppress(OSError):
            unfinished.rename(cache / name)
        shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"Cannot copy release {release.version} from {serving}: {error}") from error
    for part in PARTS:
        _check_files(str(cache / name), manifest, part)
    return cache / name


def _is_complete(home: Path, manifest: Manifest) -> bool:
    try:
        for part in PARTS:
            _check_files(str(home), manifest, part)
    except ReleaseError:
        return False
    return True


def _shorten(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
