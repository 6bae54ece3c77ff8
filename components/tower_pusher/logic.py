"""One release of all parts under one version, whole or not at all, whatever happens on the way.

What goes in, see `compose`; how it is put in place on this machine, see `local_store`; in an object
store, see `object_store`.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from components.tower_pusher import local_store, object_store
from components.tower_pusher.compose import (
    Composition,
    PushInputs,
    compose_manifest,
    compose_parts,
    compose_refusal,
    compose_release,
    is_same_release,
    number_parts,
    read_json,
)
from schemas import storage
from schemas.checkpoints import delete_checkpoints
from schemas.contract import (
    BLESSED_FILE,
    CHECKPOINTS,
    MODEL_ID,
    MODEL_INFO_FILE,
    NOT_BLESSED_FILE,
    PROGRESS_LOGGER,
    PUSH_RESULT_FILE,
    STATE,
    USERS,
)
from schemas.errors import ReleaseError
from schemas.release import (
    ALL_PARTS,
    PublishedRelease,
    find_current_release,
    find_release,
    read_release,
    update_models_config,
    write_refusal,
)

CheckParts = Callable[[Mapping[str, Path]], None]
"""Looks at the parts that were put in place, before the release exists: takes their local folders by name,
those that a server loads, and raises ReleaseError to keep the release from existing."""

_NOT_LOADED: Final = (STATE, USERS)

_progress = logging.getLogger(PROGRESS_LOGGER)


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
    else:
        local_store.check_writable(Path(storage.join(serving_directory)))


def push_if_blessed(
    inputs: PushInputs,
    blessing: Path,
    serving_directory: str | Path,
    run_id: str,
    result_directory: Path,
    check_parts: CheckParts | None = None,
) -> PublishedRelease | None:
    """Release a blessed model once; note beside the releases that another one was refused.

    Where the current release is whole and has these very parts, as after a retry, it is the answer.

    Args:
        inputs: The folders that the release is made from.
        blessing: A folder with a file BLESSED or NOT_BLESSED.
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The pipeline run.
        result_directory: Where `push.json` says what was done; it is made where it does not exist.
        check_parts: As `push_release` takes it.

    Returns:
        The release, or None where the model was not blessed.

    Raises:
        ReleaseError: The parts do not belong together, or the serving directory cannot be written.
        StorageError: It is in an object store, which cannot be reached or refuses.
    """
    release: PublishedRelease | None = None
    result: dict[str, Any] = {"pushed": 0}
    if not is_blessed(blessing):
        write_refusal(serving_directory, compose_refusal(inputs, run_id))
        _progress.info("Not blessed: nothing was pushed to %s", serving_directory)
    else:
        release = _find_same_release(inputs, serving_directory)
        if release is not None:
            # The push before may have been killed just before it came to this.
            update_models_config(serving_directory)
            _progress.info("Release %d at %s is this model already", release.version, release.location)
        else:
            release = push_release(inputs, serving_directory, run_id, check_parts)
            _progress.info("Pushed release %d to %s", release.version, release.location)
        result = {"pushed": 1, "version": release.version, "release": release.location}
    result_directory.mkdir(parents=True, exist_ok=True)
    (result_directory / PUSH_RESULT_FILE).write_text(json.dumps(result) + "\n", encoding="utf-8")
    return release


def push_release(
    inputs: PushInputs,
    serving_directory: str | Path,
    run_id: str,
    check_parts: CheckParts | None = None,
) -> PublishedRelease:
    """Write one release of what a run made.

    Args:
        inputs: The folders that the release is made from.
        serving_directory: The folder that releases are pushed to: a path or URI; it is made where it does
            not exist.
        run_id: The pipeline run.
        check_parts: Called with the parts in place, before the manifest; None: nothing is checked. What is
            in an object store is copied back for it.

    Returns:
        The release, under the next version above every one in any of its folders.

    Raises:
        ReleaseError: The parts come from different trainings, a folder cannot be written, or `check_parts`
            raised it; the version is removed.
        StorageError: The folder is in an object store, which cannot be reached or refuses.
    """
    return push_composition(compose_release(inputs, run_id), serving_directory, check_parts)


def push_composition(
    composition: Composition, serving_directory: str | Path, check_parts: CheckParts | None = None
) -> PublishedRelease:
    """Write one release: its parts in the order of `ALL_PARTS`, the manifest, what servers are to load.

    Args:
        composition: What it is made of.
        serving_directory: As `push_release` takes it.
        check_parts: As `push_release` takes it.

    Returns:
        As `push_release`.

    Raises:
        ReleaseError: A folder cannot be written, or `check_parts` raised it; the version is removed.
        StorageError: The folder is in an object store, which cannot be reached or refuses.
    """
    with _claim_version(serving_directory) as claim:
        parts = number_parts(composition.parts, claim.version)
        names = [name for name in ALL_PARTS if name in parts]
        for name in names:
            claim.install(name, parts[name])
        if check_parts is not None:
            with tempfile.TemporaryDirectory() as scratch:
                loaded = [name for name in names if name not in _NOT_LOADED]
                check_parts(claim.bring_here(loaded, Path(scratch)))
        claim.commit(compose_manifest(claim.version, parts, composition.description))
        update_models_config(serving_directory)
    if storage.is_remote(serving_directory):
        return find_release(serving_directory, claim.version)
    return read_release(serving_directory, claim.version)


def delete_training_checkpoints(model: Path) -> None:
    """Delete the checkpoints of the training that made a model, or warn: the release is no worse for them.

    Args:
        model: The Trainer's serving model. That it is here as an artifact shows that it is safe, and that no
            retry goes on from the checkpoints.
    """
    try:
        folder = read_json(model / MODEL_INFO_FILE, (CHECKPOINTS,))[CHECKPOINTS]
    except ReleaseError as error:
        _progress.warning("Checkpoints of the training may be left: %s", error)
        return
    if folder is not None:
        delete_checkpoints(folder)


def _claim_version(
    serving_directory: str | Path,
) -> AbstractContextManager[local_store.Claim | object_store.Claim]:
    location = storage.join(serving_directory)
    if storage.is_remote(serving_directory):
        return object_store.claim_version(location)
    return local_store.claim_version(Path(location))


def _find_same_release(inputs: PushInputs, serving_directory: str | Path) -> PublishedRelease | None:
    try:
        current = find_current_release(serving_directory)
    except ReleaseError:
        return None
    model_id = read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID,))[MODEL_ID]
    if model_id != current.manifest.model_id:
        return None
    # One training can have several indexes, since the catalogue's display columns do not take part in it.
    return current if is_same_release(compose_parts(inputs), current.manifest) else None
