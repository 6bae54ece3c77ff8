"""What the first step of a retraining leaves for the last one, beside the releases, which both reach.

KFP lets the last step, an exit task, read nothing of the steps before it but their state, which does not say
whether anything was to be done. A note goes with its run; that of a run in trouble stays until a later run
releases, so that this one is told as a recovery. What was trained on, no note says.
"""

import dataclasses
import json
from pathlib import Path
from typing import Final

from schemas import storage

_FOLDER: Final = "retraining"
_SUFFIX: Final = ".json"


@dataclasses.dataclass(frozen=True)
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


def list_troubled(serving_directory: str) -> list[str]:
    """List the runs that ended in trouble and that no release has followed yet.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Their ids.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    names = storage.list_names(storage.join(serving_directory, _FOLDER))
    runs = [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]
    notes = {run_id: read_note(serving_directory, run_id) for run_id in runs}
    return [run_id for run_id, note in notes.items() if note is not None and note.trouble is not None]


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
