"""A release: both towers and the index under one version number, joined by a manifest written last.

    <serving>/user_tower/<version>/               SavedModel
    <serving>/item_tower/<version>/               SavedModel
    <serving>/index/<version>/                    candidate index
    <serving>/releases/<version>/manifest.json    written last: without it there is no release

A reader that goes through the manifest sees a release whole or not at all.
"""

import json
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Final

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from schemas.contract import (
    ASSETS_EXTRA,
    INDEX,
    ITEM_TOWER,
    MANIFEST_FILE,
    MODEL_ID,
    PART_FILE,
    RELEASES,
    USER_TOWER,
)
from schemas.errors import ConfigError, ReleaseError
from schemas.strict_config import parse

PARTS: Final = (INDEX, ITEM_TOWER, USER_TOWER)
"""The parts of a release in the order in which they are put in place."""

# A manifest of a later version of this program may say more: unknown keys are no error here.
_TOLERANT = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_TOLERANT)
class ReleasedPart:
    """One folder of a release."""

    path: str
    """The folder, relative to the serving directory, with forward slashes."""
    files: dict[str, int]
    """Size in bytes of every file, by its path relative to the folder."""


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
    """Hash of the schema's folder, in hexadecimal."""
    transform_sha256: str
    """Hash of the transform graph's folder, in hexadecimal."""
    metrics: dict[str, float]
    """The evaluation, such as `recall_at_10`."""
    popularity: dict[str, float]
    """The same metrics of recommending the most popular items."""
    parts: dict[str, ReleasedPart]
    """The folders, by part: `user_tower`, `item_tower` and `index`."""


@plain_dataclass(frozen=True)
class Release:
    """A release that was found whole."""

    version: int
    """The version number of all parts."""
    directory: Path
    """The folder of the manifest."""
    manifest: Manifest
    """What the release is and where it came from."""
    user_tower: Path
    """The user tower's SavedModel."""
    item_tower: Path
    """The item tower's SavedModel."""
    index: Path
    """The candidate index."""


def list_versions(directory: Path) -> list[int]:
    """List the folders that are named with an integer, as TensorFlow Serving reads versions.

    Args:
        directory: A folder of versions; it need not exist.

    Returns:
        The version numbers in ascending order.
    """
    if not directory.is_dir():
        return []
    return sorted(
        {int(entry.name) for entry in directory.iterdir() if entry.name.isascii() and entry.name.isdigit()}
    )


def read_latest_release(serving_directory: str | Path) -> Release:
    """Read the newest release.

    Args:
        serving_directory: The folder that releases are pushed to.

    Returns:
        The release with the highest version that has a manifest.

    Raises:
        ReleaseError: There is no release, or the newest one is incomplete or mixed.
    """
    published = _list_published(Path(serving_directory))
    if not published:
        raise ReleaseError(
            f"No release in {serving_directory}: expected {RELEASES}/<version>/{MANIFEST_FILE} in it. "
            "`dssm run` writes one when the evaluation blesses the model; serving.directory in the "
            "configuration says where."
        )
    return read_release(serving_directory, published[-1])


def read_release(serving_directory: str | Path, version: int) -> Release:
    """Read one release and check that its parts are complete and belong together.

    Args:
        serving_directory: The folder that releases are pushed to.
        version: The release's version number.

    Returns:
        The release.

    Raises:
        ReleaseError: It does not exist, its manifest is unreadable, a file is missing or has another
            size than the manifest says, or the parts come from different trainings.
    """
    serving = Path(serving_directory)
    directory = serving / RELEASES / str(version)
    manifest = _read_manifest(serving, directory / MANIFEST_FILE, version)
    folders = {}
    for part in PARTS:
        if part not in manifest.parts:
            raise ReleaseError(
                f"{directory / MANIFEST_FILE}: expected the part {part!r}. "
                f"Received: {sorted(manifest.parts)}."
            )
        folders[part] = _locate_part(serving, manifest, part)
        read_part_id(folders[part], part, expected_model_id=manifest.model_id)
    return Release(
        version=version,
        directory=directory,
        manifest=manifest,
        user_tower=folders[USER_TOWER],
        item_tower=folders[ITEM_TOWER],
        index=folders[INDEX],
    )


def read_part_id(folder: Path, part: str, expected_model_id: str | None = None) -> str:
    """Read which training made a part.

    Args:
        folder: A SavedModel of a tower, or an index.
        part: What the folder should be: `user_tower`, `item_tower` or `index`.
        expected_model_id: The training that the part must come from; None accepts every one.

    Returns:
        The part's model id.

    Raises:
        ReleaseError: The folder does not say what it is, is another part, or comes from another training.
    """
    file = folder / PART_FILE if part == INDEX else folder / ASSETS_EXTRA / PART_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found, model_id = str(content["part"]), str(content[MODEL_ID])
    except (OSError, ValueError, TypeError, KeyError) as error:
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


def list_file_sizes(folder: Path) -> dict[str, int]:
    """List every file below a folder.

    Args:
        folder: The folder.

    Returns:
        Sizes in bytes by relative path with forward slashes, sorted by path.
    """
    files = (path for path in folder.rglob("*") if path.is_file())
    return dict(sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in files))


def _list_published(serving: Path) -> list[int]:
    versions = list_versions(serving / RELEASES)
    return [version for version in versions if (serving / RELEASES / str(version) / MANIFEST_FILE).is_file()]


def _read_manifest(serving: Path, file: Path, version: int) -> Manifest:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        published = ", ".join(map(str, _list_published(serving))) or "none"
        raise ReleaseError(f"No release {version} in {serving}: its releases are {published}.") from None
    except (OSError, ValueError) as error:
        raise ReleaseError(f"Cannot read the manifest {file}: {error}") from error
    try:
        manifest = parse(Manifest, data, source=str(file))
    except ConfigError as error:
        raise ReleaseError(str(error)) from error
    if manifest.version != version:
        raise ReleaseError(
            f"{file}: expected version {version}, the folder's name. Received: {manifest.version}."
        )
    return manifest


def _locate_part(serving: Path, manifest: Manifest, part: str) -> Path:
    folder = serving / manifest.parts[part].path
    problems = []
    for name, size in manifest.parts[part].files.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{file} is missing")
        elif file.stat().st_size != size:
            problems.append(f"{file} has {file.stat().st_size} bytes instead of {size}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ReleaseError(
            f"Release {manifest.version} in {serving} is incomplete: {'; '.join(problems[:3])}{more}. "
            "Restore the files or push a new release."
        )
    return folder
