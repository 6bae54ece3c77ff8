"""What the first step of a retraining leaves for the last one of the same run.

KFP lets the last step, an exit task, read nothing of the steps before it but their state, which does not say
whether anything was to be done. The note lies beside the releases, which both steps reach, and goes with the
run: nothing else reads it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Final

from schemas import storage

_FOLDER: Final = "retraining"


@dataclasses.dataclass(frozen=True)
class PlanNote:
    """What came of a plan."""

    is_due: bool
    """Whether there is something to train on."""
    newest_release: int
    """The newest version before the run; 0 where there was none."""
    problem: str | None = None
    """Why there is no plan; None: there is one."""


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
    storage.write_bytes(location, json.dumps(dataclasses.asdict(note)).encode())


def read_note(serving_directory: str, run_id: str) -> PlanNote | None:
    """Read the note of a run.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Returns:
        The note; None where the first step has left none.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    location = _locate(serving_directory, run_id)
    if storage.find_file(location) is None:
        return None
    return PlanNote(**json.loads(storage.read_bytes(location)))


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
    return storage.join(serving_directory, _FOLDER, f"{run_id}.json")
