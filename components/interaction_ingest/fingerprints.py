"""What tells a changed source table from an unchanged one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.sources.files import choose_days, find_files
from components.interaction_ingest.sources.parts import DataFile
from schemas import storage
from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.release import HashCache

NO_DAY: Final = ""
"""Stands in the place of the day for tables that are no daily logs."""

DayFingerprints = Mapping[str, Mapping[str, str]]
"""What `fingerprint_days` gives: hashes in hexadecimal, by table and by day as ISO 8601."""


def fingerprint_inputs(spec: FeatureSpec, data_directory: str, window: WindowConfig | None = None) -> str:
    """Hash the files that a run would read, so that a cache sees changed data.

    Files on this machine count by their content, and those that have not changed since the last time are not
    read. Those in an object store count by their size and the time of their last upload, so that a run does
    not read a log twice.

    Args:
        spec: Names the files.
        data_directory: The folder they are in: a path or URI.
        window: The days that are read of daily logs; None: all.

    Returns:
        The hexadecimal SHA-256 over the files' names and what they count by.

    Raises:
        ConfigError: The format of a table cannot be told from the names.
        DataError: A file is missing or cannot be read, or days are.
        StorageError: The folder's store cannot be reached or refuses.
    """
    digest, hashes = hashlib.sha256(), HashCache.of_user()
    for files in list_input_files(spec, data_directory, window).values():
        for file in files:
            digest.update(hashlib.sha256(file.name.encode()).digest() + _identify(file, hashes))
        # So that a file cannot pass from one table to the next unseen.
        digest.update(hashlib.sha256(str(len(files)).encode()).digest())
    hashes.save()
    return digest.hexdigest()


def fingerprint_days(
    spec: FeatureSpec, data_directory: str, window: WindowConfig | None = None
) -> dict[str, dict[str, str]]:
    """Hash the files that a run would read, day by day, so that a retraining sees what is new.

    Files count as in `fingerprint_inputs`, so that little is read to tell that nothing has changed.

    Args:
        spec: Names the files.
        data_directory: The folder they are in: a path or URI.
        window: The days that are read of daily logs; None: all.

    Returns:
        Hashes in hexadecimal by table, those of `list_input_files`, and by day as ISO 8601, `NO_DAY` for
        files of no day.

    Raises:
        ConfigError: The format of a table cannot be told from the names.
        DataError: A file is missing or cannot be read, or days are.
        StorageError: The folder's store cannot be reached or refuses.
    """
    hashes = HashCache.of_user()
    found: dict[str, dict[str, str]] = {}
    for table, files in list_input_files(spec, data_directory, window).items():
        digests: dict[str, hashlib._Hash] = {}
        for file in files:
            day = NO_DAY if file.day is None else file.day.isoformat()
            digests.setdefault(day, hashlib.sha256()).update(
                hashlib.sha256(file.name.encode()).digest() + _identify(file, hashes)
            )
        found[table] = {day: digest.hexdigest() for day, digest in digests.items()}
    hashes.save()
    return found


def list_input_files(
    spec: FeatureSpec, data_directory: str, window: WindowConfig | None = None
) -> dict[str, tuple[DataFile, ...]]:
    """List the files that a run would read.

    Args:
        spec: Names the files.
        data_directory: The folder they are in: a path or URI.
        window: The days that are read of daily logs; None: all.

    Returns:
        The files by table: `interactions` and, where there are such tables, `users` and `items`.

    Raises:
        ConfigError: The format of a table cannot be told from the names.
        DataError: A file is missing, or days are; it says so of every table.
        StorageError: The folder's store cannot be reached or refuses.
    """
    tables, listed, missing = spec.tables, {}, []
    for name, table in (
        ("interactions", tables.interactions),
        ("users", tables.users),
        ("items", tables.items),
    ):
        if table is None:
            continue
        try:
            files = find_files(table, data_directory)
            if files[0].day is not None:
                files, _ = choose_days(files, window or WindowConfig(), table.file)
        except DataError as error:
            missing.append(str(error))
        else:
            listed[name] = files
    if len(missing) == 1:
        raise DataError(missing[0])
    if missing:
        lines = "".join(f"\n  - {message}" for message in missing)
        raise DataError(f"Files of {len(missing)} tables are missing:{lines}")
    return listed


def _identify(file: DataFile, hashes: HashCache) -> bytes:
    if storage.is_remote(file.path):
        return hashlib.sha256(f"{file.size_bytes} {file.modified.isoformat()}".encode()).digest()
    try:
        return bytes.fromhex(hashes.hash_file(Path(file.path)))
    except OSError as error:
        raise DataError(f"Cannot read {file.path}: {error}") from error
