"""Deleting the checkpoints of a training that has ended, once its model is safe."""

import logging
import re
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import StorageError

# How a training is named by its input and settings, and its folder with it.
_TRAINING_KEY: Final = re.compile(r"[0-9a-f]{32}")

_progress = logging.getLogger(PROGRESS_LOGGER)


def delete_checkpoints(folder: str) -> None:
    """Delete the checkpoints of one training, or warn: a run is no worse for what it could not delete.

    Args:
        folder: The training's own folder, named by its key: a path or URI.
    """
    try:
        _delete(folder)
    except (OSError, StorageError) as error:
        _progress.warning(
            "The checkpoints of a training that has ended cannot be deleted: %s Nothing needs them any more; "
            "if %s is still there, delete it by hand.",
            error,
            folder,
        )


def _delete(folder: str) -> None:
    if not _TRAINING_KEY.fullmatch(folder.rpartition("/")[2]):
        # It comes out of a file, and whatever it names is deleted with all that is in it.
        raise StorageError(
            f"{folder}: expected the folder of one training, which is named by 32 hexadecimal digits."
        )
    if not storage.is_remote(folder) and not Path(folder).parent.is_dir():
        raise StorageError(
            f"{Path(folder).parent}: expected the folder of all checkpoints. Received: no folder. A volume "
            "that is mounted for the training has to be mounted here, too."
        )
    storage.delete_tree(folder)
