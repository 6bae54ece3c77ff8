"""Removes folders of this machine, and none that a missing or shortened path stands for."""

import contextlib
import shutil
from pathlib import Path

from schemas.errors import StorageError


def remove_folder(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder with everything in it, if it is there.

    Args:
        folder: The folder; its last part must be a name, as it is not in an empty path.
        ignore_errors: Whether what cannot be removed is left, such as where another process removes it too.

    Raises:
        StorageError: The folder is the working directory, or holds it.
        OSError: Something in it cannot be removed.
    """
    if folder.name in ("", "..") or Path.cwd().is_relative_to(folder.resolve()):
        raise StorageError(
            f"Expected a folder to remove that holds no working directory. Received: {str(folder)!r} in"
            f" {Path.cwd()}. Nothing was removed; name another folder, or start the command elsewhere."
        )
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder, ignore_errors=ignore_errors)
