"""What the first step of a retraining leaves for the last one, beside the releases, which both reach.

KFP lets the last step, an exit task, read nothing of the steps before it but their state, which does not say
whether anything was to be done. A note goes with its run; that of a run in trouble stays until a later run
releases, so that this one is told as a recovery. What was trained on, no note says.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Final

from pydantic.dataclasses import dataclass

from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError
from schemas.strict_config import STRICT, parse

_FOLDER: Final = "retraining"
_SUFFIX: Final = ".json"


_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True, config=STRICT)
class PlanNote:
    """What came of a plan."""

    is_due: bool
    """Whether there is something to train on."""
    newest_release: int
    """The newest version before the run; 0 where there was none."""
    compares: bool = False
    """Whether a warm and a cold model are trained, to be compared."""
    problem: str | None = None
    """Why there is no plan; None: there is one."""
    trouble: str | None = None
    """What people were told of the end of its run, `failure` or `refused`; None: it goes on."""


def write_note(serving_directory: str, run_id: str, note: PlanNote) -> None:
    """Leave the note of a run.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The run.
        note: The note.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    location = _locate(serving_directory, run_id)
    if not storage.is_remote(location):
        Path(location).parent.mkdir(parents=True, exist_ok=True)
    storage.replace_bytes(location, json.dumps(dataclasses.asdict(note)).encode())


def read_note(serving_directory: str, run_id: str) -> PlanNote | None:
    """Read the note of a run.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Returns:
        The note; None where the first step has left none.

    Raises:
        ConfigError: It is no note.
        StorageError: The folder's store cannot be reached or refuses.
    """
    location = _locate(serving_directory, run_id)
    if storage.find_file(location) is None:
        return None
    try:
        content = json.loads(storage.read_bytes(location))
    except ValueError as error:
        raise ConfigError(f"{location}: expected a note of a retraining. Received: {error}.") from error
    return parse(PlanNote, content, source=location)


def read_troubled(serving_directory: str) -> dict[str, PlanNote | None]:
    """Read the notes of runs that ended in trouble.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The notes by run; None for one that cannot be read, which is trouble, too.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    names = storage.list_names(storage.join(serving_directory, _FOLDER))
    found: dict[str, PlanNote | None] = {}
    for name in names:
        run_id = name.removesuffix(_SUFFIX)
        try:
            note = read_note(serving_directory, run_id)
        except ConfigError as error:
            _progress.warning("%s", error)
            found[run_id] = None
        else:
            if note is not None and note.trouble is not None:
                found[run_id] = note
    return found


def delete_note(serving_directory: str, run_id: str) -> None:
    """Delete the note of a run; one that is not there is no error.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    storage.delete_file(_locate(serving_directory, run_id))


def _locate(serving_directory: str, run_id: str) -> str:
    return storage.join(serving_directory, _FOLDER, f"{run_id}{_SUFFIX}")
