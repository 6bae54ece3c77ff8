"""The folder that an export is written to, which is seen whole or not at all."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.errors import ConfigError, StorageError
from schemas.folders import remove_folder

MANIFEST_FILE: Final = "manifest.json"
"""What an export is. In an object store it is written last: without it the export is not finished."""


@contextlib.contextmanager
def write_whole(output: str, scratch: Path) -> Iterator[Path]:
    """Give a folder to write to, whose files are in the output's once all went well.

    Args:
        output: Where the files are to go: a path or URI of a folder that is empty or not there.
        scratch: A local folder for what goes to an object store; made if it is missing.

    Yields:
        The folder, empty.

    Raises:
        ConfigError: The output is there and not empty.
        StorageError: The output cannot be written; in an object store, what was copied until then stays.
    """
    try:
        if storage.is_remote(output):
            _refuse(output, storage.list_names(output))
            scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=scratch, prefix="export-") as folder:
                yield Path(folder)
                _upload(Path(folder), output)
        else:
            yield from _write_beside(output, Path(storage.join(output)).resolve())
    except OSError as error:
        raise StorageError(f"Cannot write {output}: {error}.") from error


def _write_beside(output: str, target: Path) -> Iterator[Path]:
    if target.exists():
        _refuse(output, [entry.name for entry in target.iterdir()] if target.is_dir() else [target.name])
    unfinished = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        # Puts it in the place of an empty folder, and fails where that has been filled meanwhile.
        unfinished.rename(target)
    finally:
        remove_folder(unfinished, ignore_errors=True)


def _refuse(output: str, names: list[str]) -> None:
    if names:
        raise ConfigError(
            f"--output: expected a folder that is empty or not there. Received: {output}, which holds "
            f"{sorted(names)[0]}{' and more' if len(names) > 1 else ''}. Name another one."
        )


def _upload(folder: Path, output: str) -> None:
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    manifest = {MANIFEST_FILE: files.pop(MANIFEST_FILE)}
    for part in (files, manifest):
        storage.copy_files(part, output)
