"""One release of both towers and the index, whole or not at all, whatever happens on the way.

A pusher owns a version from the moment it makes the folder `releases/<version>` until it deletes the
`.claim` file in it. All that time it holds a lock on that file, which the operating system lets go when the
process ends, however it ends. So a version folder without a manifest, whose claim nobody holds, was
left by a killed pusher, and the next one removes it with its parts. Claiming and removing happen under
a second lock, `releases/.lock`, held for moments only.

That is on this machine; what takes the place of locks and renames in an object store, see `object_store`.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from components.tower_pusher import object_store
from schemas import storage
from schemas.contract import (
    BLESSED_FILE,
    CONTEXT_STATISTICS_FILE,
    ENTITY_SPLIT,
    EVALUATION_REPORT_FILE,
    INDEX,
    INGEST_REPORT_FILE,
    ITEM_STATISTICS_FILE,
    ITEM_TOWER,
    MANIFEST_FILE,
    MODEL_ID,
    MODEL_INFO_FILE,
    NOT_BLESSED_FILE,
    PART_FILE,
    PER_USER_METRICS_FILE,
    PROGRESS_LOGGER,
    PUSH_RESULT_FILE,
    RELEASES,
    SEQUENCE_FIGURES_FILE,
    STATE,
    STATISTICS_FILE,
    TRAIN_SPLIT,
    TRAINING_STATE_FILE,
    USER_STATISTICS_FILE,
    USER_TOWER,
)
from schemas.errors import ConfigError, ReleaseError
from schemas.release import (
    ALL_PARTS,
    PARTS,
    Manifest,
    PublishedRelease,
    ReleasedPart,
    combine_hashes,
    find_current_release,
    find_release,
    hash_files,
    hash_folder,
    list_file_sizes,
    list_versions,
    read_part_id,
    read_release,
    update_models_config,
)
from schemas.strict_config import parse

_LOCK_FILE: Final = ".lock"
_CLAIM_FILE: Final = ".claim"
_TEMPORARY_PREFIX: Final = ".tmp-"
_VOCABULARIES: Final = "vocabularies"
_TRANSFORM_ASSETS: Final = "transform_fn/assets"
_LOCK_TIMEOUT_SECONDS: Final = 120.0
_SEQUENCE_FIGURES: Final = "sequence_figures"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclasses.dataclass(frozen=True)
class TableInputs:
    """The folders that say how a table was read: the users', the items' or the contexts'."""

    schema: Path
    """The schema."""
    transform_graph: Path
    """The transform graph."""
    statistics: Path
    """The statistics, with a folder for each split."""


@dataclasses.dataclass(frozen=True)
class PushInputs:
    """The folders that a release is made from."""

    model: Path
    """The Trainer's serving model: user_tower/, item_tower/, state/ and model.json."""
    index: Path
    """The candidate index."""
    report: Path
    """The evaluation report's folder."""
    ingest_report: Path
    """The ingest report's folder."""
    user: TableInputs
    """Those of the users."""
    item: TableInputs
    """Those of the items."""
    context: TableInputs | None = None
    """Those of the contexts, where there are context features."""

    @property
    def tables(self) -> dict[str, TableInputs]:
        """By `user`, `item` and, where it is there, `context`."""
        context = {} if self.context is None else {"context": self.context}
        return {"user": self.user, "item": self.item, **context}


_STATISTICS: Final = {
    "user": (ENTITY_SPLIT, USER_STATISTICS_FILE),
    "item": (ENTITY_SPLIT, ITEM_STATISTICS_FILE),
    "context": (TRAIN_SPLIT, CONTEXT_STATISTICS_FILE),
}
"""Of which split the statistics of a table are kept, and in which file of the state."""


def is_blessed(blessing: Path) -> bool:
    """Read the evaluation's verdict.

    Args:
        blessing: A folder with a file BLESSED or NOT_BLESSED.

    Returns:
        Whether the model may be released.

    Raises:
        ReleaseError: The folder holds neither file, or both.
    """
    blessed, refused = ((blessing / name).is_file() for name in (BLESSED_FILE, NOT_BLESSED_FILE))
    if blessed == refused:
        raise ReleaseError(
            f"{blessing}: expected one file, {BLESSED_FILE} or {NOT_BLESSED_FILE}. "
            f"Received: {'both' if blessed else 'neither'}."
        )
    return blessed


def check_writable(serving_directory: str | Path) -> None:
    """Check that releases can be written, leaving no trace.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI; it need not exist.

    Raises:
        ReleaseError: It cannot be made or written.
        StorageError: It is in an object store, which cannot be reached or refuses.
    """
    if storage.is_remote(serving_directory):
        object_store.check_writable(storage.join(serving_directory))
        return
    serving = Path(storage.join(serving_directory))
    folders = [serving, *(serving / name for name in (*ALL_PARTS, RELEASES))]
    try:
        for folder in {_nearest_existing(folder) for folder in folders}:
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise _cannot_write(serving, error) from error


def push_if_blessed(
    inputs: PushInputs, blessing: Path, serving_directory: str | Path, run_id: str, result_directory: Path
) -> PublishedRelease | None:
    """Release a blessed model once; for another one say so and touch nothing.

    Where the current release is whole and has these very parts, as after a retry, it is the answer.

    Args:
        inputs: The folders that the release is made from.
        blessing: A folder with a file BLESSED or NOT_BLESSED.
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The pipeline run.
        result_directory: Where `push.json` says what was done; it is made where it does not exist.

    Returns:
        The release, or None where the model was not blessed.

    Raises:
        ReleaseError: The parts do not belong together, or the serving directory cannot be written.
        StorageError: It is in an object store, which cannot be reached or refuses.
    """
    release: PublishedRelease | None = None
    result: dict[str, Any] = {"pushed": 0}
    if not is_blessed(blessing):
        _progress.info("Not blessed: nothing was pushed to %s", serving_directory)
    else:
        release = _find_same_release(inputs, serving_directory)
        if release is not None:
            # The push that wrote it may have been killed before its last step.
            update_models_config(serving_directory)
            _progress.info("Release %d at %s is this model already", release.version, release.location)
        else:
            release = push_release(inputs, serving_directory, run_id)
            _progress.info("Pushed release %d to %s", release.version, release.location)
        result = {"pushed": 1, "version": release.version, "release": release.location}
    result_directory.mkdir(parents=True, exist_ok=True)
    (result_directory / PUSH_RESULT_FILE).write_text(json.dumps(result) + "\n", encoding="utf-8")
    return release


def push_release(inputs: PushInputs, serving_directory: str | Path, run_id: str) -> PublishedRelease:
    """Write one release: the state, the index, the item tower, the user tower, and last the manifest.

    Args:
        inputs: The folders that the release is made from.
        serving_directory: The folder that releases are pushed to: a path or URI; it is made where it does
            not exist.
        run_id: The pipeline run.

    Returns:
        The release, under the next version above every one in any of its folders.

    Raises:
        ReleaseError: The parts come from different trainings, or a folder cannot be written.
        StorageError: The folder is in an object store, which cannot be reached or refuses.
    """
    sources = _locate_sources(inputs)
    description = {"run_id": run_id, **_describe(inputs, sources)}
    with tempfile.TemporaryDirectory() as scratch:
        sources[STATE] = _compose_state(inputs, description[MODEL_ID], Path(scratch) / STATE)
        return _push_parts(sources, description, serving_directory)


def _push_parts(
    sources: dict[str, Path], description: dict[str, Any], serving_directory: str | Path
) -> PublishedRelease:
    hashes = {part: hash_files(source) for part, source in sources.items()}
    parts: list[str] = [part for part in ALL_PARTS if part in sources]
    if storage.is_remote(serving_directory):
        address = storage.join(serving_directory)
        with object_store.claim_version(address) as claim:
            files = {part: claim.upload(sources[part], part) for part in parts}
            claim.commit(_compose_manifest(claim.version, files, hashes, description))
        update_models_config(address)
        return find_release(address, claim.version)
    serving = Path(storage.join(serving_directory))
    try:
        with _claim_version(serving) as version:
            files = {part: _install(sources[part], serving, part, version) for part in parts}
            manifest = _compose_manifest(version, files, hashes, description)
            _write_manifest(manifest, serving / RELEASES / str(version))
    except OSError as error:
        raise _cannot_write(serving, error) from error
    update_models_config(serving)
    return read_release(serving, version)


def _hash_tables(folders: dict[str, Path]) -> str:
    lines = (f"{hash_folder(folder)}  {name}\n" for name, folder in sorted(folders.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _find_same_release(inputs: PushInputs, serving_directory: str | Path) -> PublishedRelease | None:
    try:
        current = find_current_release(serving_directory)
    except ReleaseError:
        return None
    model = _read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID,))
    if model[MODEL_ID] != current.manifest.model_id:
        return None
    # One training can have several indexes, since the catalogue's display columns do not take part in it.
    is_same = all(
        hash_folder(source) == current.manifest.parts[part].sha256
        for part, source in _locate_sources(inputs).items()
    )
    return current if is_same else None


def _locate_sources(inputs: PushInputs) -> dict[str, Path]:
    return {
        INDEX: inputs.index,
        ITEM_TOWER: inputs.model / ITEM_TOWER,
        USER_TOWER: inputs.model / USER_TOWER,
    }


def _compose_state(inputs: PushInputs, model_id: str, folder: Path) -> Path:
    trained = _read_json(inputs.model / STATE / TRAINING_STATE_FILE, (MODEL_ID,))
    if trained[MODEL_ID] != model_id:
        raise ReleaseError(
            f"{inputs.model / STATE} comes from another training than its model: expected model id "
            f"{model_id!r}. Received: {trained[MODEL_ID]!r}. Train again."
        )
    shutil.copytree(inputs.model / STATE, folder)
    for name, table in inputs.tables.items():
        vocabularies = table.transform_graph / _TRANSFORM_ASSETS
        # A transform graph without a vocabulary has no such folder in a pod. The vocabularies of all tables
        # fit into one, since the names of features are unique.
        if vocabularies.is_dir():
            shutil.copytree(vocabularies, folder / _VOCABULARIES, dirs_exist_ok=True)
        split, file = _STATISTICS[name]
        source = table.statistics / f"Split-{split}" / STATISTICS_FILE
        try:
            shutil.copyfile(source, folder / file)
        except FileNotFoundError as error:
            raise ReleaseError(f"Expected the {name} statistics in {source}. Received: no file.") from error
    figures = _read_json(inputs.ingest_report / INGEST_REPORT_FILE, (_SEQUENCE_FIGURES,))[_SEQUENCE_FIGURES]
    (folder / SEQUENCE_FIGURES_FILE).write_text(json.dumps(figures) + "\n", encoding="utf-8")
    for name in (EVALUATION_REPORT_FILE, PER_USER_METRICS_FILE):
        try:
            shutil.copyfile(inputs.report / name, folder / name)
        except FileNotFoundError as error:
            raise ReleaseError(f"Expected {name} in {inputs.report}. Received: no file.") from error
    (folder / PART_FILE).write_text(json.dumps({MODEL_ID: model_id, "part": STATE}), encoding="utf-8")
    return folder


def _describe(inputs: PushInputs, sources: dict[str, Path]) -> dict[str, Any]:
    model = _read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID, "dim", "temperature", "warm_start"))
    report = _read_json(
        inputs.report / EVALUATION_REPORT_FILE, (MODEL_ID, "metrics", "popularity", "trained_on")
    )
    index = _read_json(inputs.index / PART_FILE, ("dim", "items"))
    for part in PARTS:
        if part in sources:
            read_part_id(sources[part], part, expected_model_id=model[MODEL_ID])
    if report[MODEL_ID] != model[MODEL_ID]:
        raise ReleaseError(
            f"The evaluation judged another model: expected model id {model[MODEL_ID]!r}. "
            f"Received: {report[MODEL_ID]!r}, in {inputs.report / EVALUATION_REPORT_FILE}."
        )
    if index["dim"] != model["dim"]:
        raise ReleaseError(
            f"The index has dim {index['dim']}, the model {model['dim']}; build the index anew."
        )
    schema = _hash_tables({name: table.schema for name, table in inputs.tables.items()})
    transform = _hash_tables({name: table.transform_graph for name, table in inputs.tables.items()})
    trained_on = report["trained_on"]
    if trained_on is not None:
        fingerprints = {**trained_on.get("fingerprints", {}), "schema": schema, "transform": transform}
        trained_on = {**trained_on, "fingerprints": fingerprints}
    return {
        MODEL_ID: model[MODEL_ID],
        "dim": model["dim"],
        "temperature": model["temperature"],
        "items": index["items"],
        "schema_sha256": schema,
        "transform_sha256": transform,
        "metrics": report["metrics"],
        "popularity": report["popularity"],
        "warm_start": model["warm_start"],
        "trained_on": trained_on,
    }


def _read_json(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {key: content[key] for key in keys}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(f"{file}: expected JSON with {', '.join(keys)}. Received: {error!r}.") from error


@contextlib.contextmanager
def _claim_version(serving: Path) -> Iterator[int]:
    for name in (*ALL_PARTS, RELEASES):
        (serving / name).mkdir(parents=True, exist_ok=True)
    releases = serving / RELEASES
    with contextlib.ExitStack() as stack:
        with (releases / _LOCK_FILE).open("w") as lock:
            _wait_for_lock(lock, serving)
            versions = (v for name in (*ALL_PARTS, RELEASES) for v in list_versions(serving / name))
            version = max(versions, default=0) + 1
            (releases / str(version)).mkdir()
            claim = stack.enter_context((releases / str(version) / _CLAIM_FILE).open("w"))
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # After the claim, so that a version number is never used twice: a server may have seen it.
            _remove_leftovers(serving, version)
        try:
            yield version
        except BaseException:
            # Once the manifest stands, readers may rely on the release: only the claim is left behind.
            if not (releases / str(version) / MANIFEST_FILE).exists():
                _remove_version(serving, version)
            raise
        (releases / str(version) / _CLAIM_FILE).unlink()


def _wait_for_lock(lock: IO[str], serving: Path) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ReleaseError(
                    f"Another process has held {serving / RELEASES / _LOCK_FILE} for "
                    f"{_LOCK_TIMEOUT_SECONDS:.0f} s, which a push needs for moments only: find and end it."
                ) from None
            time.sleep(0.05)


def _remove_leftovers(serving: Path, own_version: int) -> None:
    for version in list_versions(serving / RELEASES):
        folder = serving / RELEASES / str(version)
        is_published = (folder / MANIFEST_FILE).exists() and not (folder / _CLAIM_FILE).exists()
        if version == own_version or is_published or not folder.is_dir():
            continue
        with contextlib.ExitStack() as stack:
            try:
                claim = stack.enter_context((folder / _CLAIM_FILE).open("r+"))
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                pass
            except BlockingIOError:
                continue
            if (folder / MANIFEST_FILE).exists():
                # Killed between the manifest and the end, or done between our two looks.
                (folder / _CLAIM_FILE).unlink(missing_ok=True)
            else:
                _remove_version(serving, version)
                _progress.info("Removed what a push of release %d had left unfinished", version)


def _remove_version(serving: Path, version: int) -> None:
    for part in reversed(ALL_PARTS):
        final, temporary = serving / part / str(version), _temporary(serving, part, version)
        _remove_folder(temporary)
        # Renamed first: a server that looks at the folder must not see a part of a part.
        with contextlib.suppress(FileNotFoundError):
            final.rename(temporary)
        _remove_folder(temporary)
    # Last, since it is what a later pusher finds the rest by.
    _remove_folder(serving / RELEASES / str(version))


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _temporary(serving: Path, part: str, version: int) -> Path:
    return serving / part / f"{_TEMPORARY_PREFIX}{version}"


def _install(source: Path, serving: Path, part: str, version: int) -> dict[str, int]:
    temporary = _temporary(serving, part, version)
    # Nobody else owns the version; only a hand that removed a claim can have left this.
    _remove_folder(temporary)
    shutil.copytree(source, temporary)
    for path in (temporary, *temporary.rglob("*")):
        _flush(path)
    final = serving / part / str(version)
    temporary.rename(final)
    _flush(final.parent)
    return list_file_sizes(final)


def _compose_manifest(
    version: int,
    files: dict[str, dict[str, int]],
    hashes: dict[str, dict[str, str]],
    description: dict[str, Any],
) -> bytes:
    parts = {
        part: ReleasedPart(
            path=f"{part}/{version}",
            files=files[part],
            sha256=combine_hashes(hashes[part]),
            hashes=hashes[part],
        )
        for part in files
    }
    content = {
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "parts": {part: dataclasses.asdict(value) for part, value in parts.items()},
        **description,
    }
    try:
        parse(Manifest, content, source="the manifest")
    except ConfigError as error:
        raise ReleaseError(f"The model, the index or the evaluation report is unusable: {error}") from error
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _write_manifest(content: bytes, folder: Path) -> None:
    temporary = folder / f"{_TEMPORARY_PREFIX}{MANIFEST_FILE}"
    temporary.write_bytes(content)
    _flush(temporary)
    os.replace(temporary, folder / MANIFEST_FILE)  # noqa: PTH105 (atomic, as the name says)
    _flush(folder)
    _flush(folder.parent)


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
