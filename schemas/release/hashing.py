"""Hashes of files and folders, by which parts of a release and what they were made from are told apart."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ReleaseError


def hash_files(folder: Path) -> dict[str, str]:
    """Hash every file below a folder.

    Args:
        folder: The folder.

    Returns:
        SHA-256 in hexadecimal by relative path with forward slashes, sorted by path.

    Raises:
        ReleaseError: The folder holds no file.
    """
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise ReleaseError(f"{folder}: expected files. Received: none.")
    hashes = {}
    for path in paths:
        with (folder / path).open("rb") as content:
            hashes[path] = hashlib.file_digest(content, "sha256").hexdigest()
    return hashes


def combine_hashes(hashes: Mapping[str, str]) -> str:
    """Hash a folder by the hashes of its files.

    Args:
        hashes: What `hash_files` gives, or some of it.

    Returns:
        A SHA-256 in hexadecimal of the files' relative paths and contents, nothing else.
    """
    lines = (f"{digest}  ./{path}\n" for path, digest in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_folder(folder: Path) -> str:
    """Hash the files below a folder: their relative paths and contents, nothing else.

    For names without spaces it is what this gives in the folder:
    `find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`.

    Args:
        folder: The folder.

    Returns:
        A SHA-256 in hexadecimal.

    Raises:
        ReleaseError: The folder holds no file.
    """
    return combine_hashes(hash_files(folder))
