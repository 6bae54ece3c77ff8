"""The files of a table: a file, a folder, a pattern or daily logs, on this machine or in an object store."""

import dataclasses
import datetime
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.sources.parts import DataFile, SourceFormat
from components.interaction_ingest.sources.registry import FORMATS, find_by_ending
from components.interaction_ingest.window import Window, resolve_window
from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError, DataError
from schemas.features import Format, InteractionTable, ItemTable, UserTable
from schemas.times import SECONDS_PER_DAY

DATE: Final = "{date}"
"""Stands for a day as ISO 8601 in the path of a table."""

SPAN: Final = "{SPAN}"
"""Stands for a day counted from 1970-01-01 in the path of a table."""

_COMPRESSED: Final = (".gz", ".gzip", ".zst", ".zstd")
_EPOCH: Final = datetime.date(1970, 1, 1)
_FILES_SHOWN: Final = 5


@dataclasses.dataclass(frozen=True)
class DailyLogs:
    """The days of the interactions that are read."""

    asked: Window
    """The days that were asked for."""
    window: Window
    """From the first to the last day that is read."""
    missing: tuple[datetime.date, ...]
    """Those among them without a file, or with empty ones only."""


def find_files(table: InteractionTable | UserTable | ItemTable, data_directory: str) -> tuple[DataFile, ...]:
    """List the files of a table, of every day.

    Args:
        table: Where they are.
        data_directory: The folder that the table's `file` is relative to: a path or URI.

    Returns:
        At least one file, sorted by day and name. In folders and patterns, names that start with _ or . are
        left out, as are empty markers such as _SUCCESS.

    Raises:
        ConfigError: The format cannot be told from the names.
        DataError: There is no such file.
        StorageError: The store cannot be reached or refuses.
    """
    pattern = table.file
    if not _is_pattern(pattern):
        path = _locate(data_directory, pattern)
        status = storage.find_file(path)
        if status is not None:
            return (
                DataFile(path, pattern, _find_format(table, [pattern]), status.size_bytes, status.modified),
            )
        # A path with one of the endings names a file, so that what is missing is said so.
        if _find_format_of(pattern) is not None:
            require_file(path)
        pattern = pattern.rstrip("/") + "/**"
    folder, rest = _split_pattern(pattern)
    expression, kinds = _compile(rest)
    place = _locate(data_directory, folder)
    found: list[tuple[datetime.date, str, storage.FileStatus]] = []
    for relative, status in storage.list_files(place).items():
        match = expression.fullmatch(relative)
        if match is None or any(part.startswith(("_", ".")) for part in relative.split("/")):
            continue
        try:
            days = {_read_day(kind, text) for kind, text in zip(kinds, match.groups(), strict=True)}
        except (ValueError, OverflowError):
            logging.getLogger(PROGRESS_LOGGER).warning(
                "%s is not read: its name has no day of the calendar where %s has one.", relative, pattern
            )
            continue
        if len(days) > 1:
            continue
        if table.format is None and pattern != table.file and _find_format_of(relative) is None:
            continue
        found.append((next(iter(days), _EPOCH), relative, status))
    if not found:
        shown = ", ".join(list(storage.list_files(place))[:_FILES_SHOWN]) or "none"
        raise DataError(
            f"No file fits {_locate(data_directory, table.file)}. Files below {place}: {shown}. Put the "
            "files there, or correct data.directory or the schema file's 'tables'."
        )
    kind = _find_format(table, [name for _, name, _ in found])
    return tuple(
        DataFile(
            storage.join(place, relative),
            f"{folder}/{relative}" if folder else relative,
            kind,
            status.size_bytes,
            status.modified,
            day if kinds else None,
        )
        for day, relative, status in sorted(found, key=lambda one: one[:2])
    )


def choose_days(
    files: Sequence[DataFile],
    window: WindowConfig,
    source: str,
    today: datetime.date | None = None,
) -> tuple[tuple[DataFile, ...], DailyLogs]:
    """Choose the daily logs of a window.

    Args:
        files: Files with a day.
        window: The days that were asked for; `last_days` counts back from the newest file, days to come left
            out.
        source: The table's `file`, for messages.
        today: The day of the run, in UTC; None: that of the clock.

    Returns:
        The files of those days, and the days.

    Raises:
        DataError: More days than `maximum_missing_days` allows have no file, or none has one.
    """
    days = sorted({file.day for file in files if file.day is not None})
    # A folder that is named after a day to come says nothing about how far the logs reach.
    today = today or datetime.datetime.now(datetime.UTC).date()
    past = [day for day in days if day <= today + datetime.timedelta(days=1)] or days
    newest = ((past[-1] - _EPOCH).days + 1) * SECONDS_PER_DAY - 1
    resolved = resolve_window(window, lambda: newest)
    first, last = resolved.first or days[0], resolved.last or days[-1]
    chosen = tuple(file for file in files if file.day is not None and first <= file.day <= last)
    # Walked from the days themselves, since an asked-for window may reach back to year 1.
    present = {file.day for file in chosen if file.size_bytes}
    days_asked = max(0, (last - first).days + 1)
    number, allowed = max(0, days_asked - len(present)), window.count_allowed_missing(days_asked)
    if number > allowed or not chosen:
        shown = _show_days(_missing_days(first, last, present, limit=_FILES_SHOWN + 1), number)
        raise DataError(
            f"{source}: {number:,} days of {first} to {last} have no file: {shown}. Expected at most "
            f"{allowed:,}; there are files from {days[0]} to {days[-1]}. Put the files "
            "there, choose another window, or raise ingest.window.maximum_missing_days."
        )
    return chosen, DailyLogs(
        resolved, Window(first, last), tuple(_missing_days(first, last, present, limit=number))
    )


def require_file(location: str) -> storage.FileStatus:
    """Check that an input file is there.

    Args:
        location: The file: a path or URI.

    Returns:
        Its size and age.

    Raises:
        DataError: It is not; the message names the files of the same format that are.
        StorageError: Its store cannot be reached or refuses.
    """
    status = storage.find_file(location)
    if status is not None:
        return status
    folder = storage.find_parent(location)
    names = storage.list_names(folder)
    # An object store knows no folders, so one without files is none.
    if not names and (storage.is_remote(folder) or not Path(folder).is_dir()):
        name = PurePosixPath(location).name
        raise DataError(f"No folder {folder}: expected it to hold {name}. Set data.directory to it.")
    kind = _find_format_of(location) or FORMATS["parquet"]
    tables = [name for name in names if _find_format_of(name) == kind]
    raise DataError(
        f"No file {location}. {kind.title} files in the folder: {', '.join(tables) or 'none'}. "
        "Put the file there, or correct data.directory or the schema file's 'tables'."
    )


def _locate(data_directory: str, file: str) -> str:
    if "://" in file:
        return file.rstrip("/")
    if file.startswith("/"):
        return file
    return storage.join(data_directory, file) if file else data_directory


def _is_pattern(file: str) -> bool:
    return any(mark in file for mark in ("*", "?", DATE, SPAN))


def _split_pattern(pattern: str) -> tuple[str, str]:
    parts = pattern.split("/")
    fixed = next(index for index, part in enumerate(parts) if _is_pattern(part))
    return "/".join(parts[:fixed]), "/".join(parts[fixed:])


def _compile(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    kinds: list[str] = []
    expression = ""
    for token in re.split(r"(\{date\}|\{SPAN\}|\*\*/|\*\*|\*|\?)", pattern):
        if token in (DATE, SPAN):
            kinds.append(token)
            expression += r"(\d{4}-\d{2}-\d{2})" if token == DATE else r"(\d+)"
        else:
            expression += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(
                token, re.escape(token)
            )
    return re.compile(expression, re.DOTALL), kinds


def _read_day(kind: str, text: str) -> datetime.date:
    if kind == DATE:
        return datetime.date.fromisoformat(text)
    return _EPOCH + datetime.timedelta(days=int(text))


def _find_format_of(name: str) -> SourceFormat | None:
    path = PurePosixPath(name.lower())
    if path.suffix in _COMPRESSED:
        path = path.with_suffix("")
    return find_by_ending(path.suffix)


def _find_format(table: InteractionTable | UserTable | ItemTable, names: Sequence[str]) -> Format:
    if table.format is not None:
        return table.format
    examples = {_find_format_of(name): name for name in names}
    [kind, *others] = examples
    if kind is None or others:
        endings = [ending for known in FORMATS.values() for ending in known.endings]
        raise ConfigError(
            f"{table.file}: expected files of one format, told by names that end in {', '.join(endings)}. "
            f"Received: {', '.join(examples.values())}. Rename them, narrow the pattern, or set the table's "
            "'format' in the schema file."
        )
    return kind.name


def _missing_days(
    first: datetime.date, last: datetime.date, present: Iterable[datetime.date | None], limit: int
) -> list[datetime.date]:
    known, day = set(present), first
    missing: list[datetime.date] = []
    while day <= last and len(missing) < limit:
        if day not in known:
            missing.append(day)
        day += datetime.timedelta(days=1)
    return missing


def _show_days(days: Sequence[datetime.date], number: int) -> str:
    shown = ", ".join(day.isoformat() for day in days[:_FILES_SHOWN])
    return f"{shown} and {number - _FILES_SHOWN:,} more" if number > _FILES_SHOWN else shown
