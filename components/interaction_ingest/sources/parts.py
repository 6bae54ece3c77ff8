"""What the readers of every format share: what a format is, the files, columns, pieces, and what is shown."""

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.streams import SourceStream
from schemas.features import Feature, Format, TableSource, TimeUnit

FIRST_SECOND: Final = -62_135_596_800
"""The first second of Python's calendar, at the start of the year 1."""

LAST_SECOND: Final = 253_402_300_799
"""The last second of Python's calendar, at the end of the year 9999."""

NO_NUMBERS: Final = np.zeros(0, np.int64)
"""The rows' numbers of a part without rows."""


@dataclasses.dataclass(frozen=True)
class DataFile:
    """One file of a table."""

    path: str
    """A path or URI."""
    name: str
    """Its path below the data directory, or whole where it is elsewhere."""
    format: Format
    """How it is read."""
    size_bytes: int
    """Its size."""
    modified: datetime.datetime
    """When it was last written, by the store's clock; UTC."""
    day: datetime.date | None = None
    """The day that it is the log of."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column that is read."""

    name: str
    """Its name in the schema file."""
    source: str
    """Its name in the files."""
    kind: Literal["feature", "timestamp", "number", "text", "any"]
    """What its values become: the feature's type, int64 seconds, a number, a string, or what they are."""
    feature: Feature | None = None
    """The feature."""
    is_compared: bool = False
    """Whether a rule takes its values as numbers."""

    @property
    def is_required(self) -> bool:
        """Whether rows of a format in which each row names its columns must have it."""
        return self.feature is None or self.feature.default is None


@dataclasses.dataclass(frozen=True)
class Piece:
    """Part of a table that is read in one go: a Parquet row group, or a whole file of another format."""

    path: str
    """The file: a path or URI, opened where it is read."""
    format: Format
    """How it is read."""
    file_index: int
    """The file's place in the order of the table's files."""
    index: int
    """The row group's index in the file; 0."""
    first_row: int
    """Number of the row group's first row in the file; 0."""
    rows: int
    """Number of rows; an estimate but for Parquet."""
    size_bytes: int
    """Bytes of the file, as it is stored, that belong to it."""
    latest_second: int = LAST_SECOND
    """Seconds since 1970 of the latest time that an interaction can have."""
    time_unit: TimeUnit = "s"
    """What times that are numbers count; not `auto`."""


@dataclasses.dataclass(frozen=True)
class RawPart:
    """What a format's reader gives."""

    batch: pa.RecordBatch | None
    """[rows] columns by their names in the schema file, of any type."""
    numbers: npt.NDArray[np.int64]
    """[rows] number of each row in the file, from 0."""
    letters: Sequence[DeadLetter] = ()
    """What could not be read."""
    unread_bytes: int = 0
    """Bytes of the file that could not be read."""
    records: int | None = None
    """How many rows and dead letters there must be, counted apart from the parser; None where what could not
    be read has no number of rows."""
    row_group: int | None = None
    """Index of the Parquet row group that the rows are of, for the dead letters."""


@dataclasses.dataclass(frozen=True)
class FileLook:
    """What a look into a file tells, before it is read."""

    pieces: tuple[Piece, ...]
    """What it is read in, none if it has no row."""
    names: frozenset[str] | None
    """Its columns; of a format in which each row names its own, those of the rows at its start. None if there
    is no row to tell."""
    schema: pa.Schema | None = None
    """The columns with their types, where the file declares them."""
    is_header: bool = False
    """Whether the names are those of a header, which declares no types but has every column."""
    hint: str = ""
    """What may be wrong with the names and what to do about it, for a message; '' where they look right."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What the statistics of a piece say about a column; malformed values count."""

    low: Any
    """The smallest value."""
    high: Any
    """The largest value."""
    type: pa.DataType
    """Of what type they are."""


def _no_bounds(pieces: Sequence[Piece], column: str) -> list[Bounds | None]:
    del column
    return [None] * len(pieces)


@dataclasses.dataclass(frozen=True)
class SourceFormat:
    """A format of source files: all that the rest of the ingest knows of it."""

    name: Format
    """What `format` in the schema file calls it."""
    title: str
    """What messages call it."""
    libraries: tuple[str, ...]
    """The distributions that read it: with another version of one, a cache reuses no rows."""
    endings: tuple[str, ...]
    """What the names of its files end in, in lower case, before .gz or .zst."""
    look: Callable[[DataFile, int, TableSource], FileLook]
    """Looks into a file, given its place among the table's files and how the table is read; raises DataError
    if it is none of the format."""
    read: Callable[[Piece, TableSource, Sequence[Column]], Iterator[RawPart]]
    """Reads a piece in the order of its rows; what cannot be read becomes dead letters."""
    is_untyped: bool = False
    """Whether all values are texts, so that a number cannot be told from a text of digits."""
    is_counted: bool = False
    """Whether the pieces' numbers of rows are no estimates."""
    find_bounds: Callable[[Sequence[Piece], str], list[Bounds | None]] = _no_bounds
    """Finds what statistics say about a column by its name in the files, for each of some pieces; None where
    they say nothing."""

    @property
    def has_statistics(self) -> bool:
        """Whether files may say what is in them, so that not all of them are read to find the newest row."""
        return self.find_bounds is not _no_bounds


def look_of_start(
    stream: SourceStream,
    file: DataFile,
    index: int,
    names: Iterable[str],
    rows: int,
    is_header: bool = False,
    hint: str = "",
) -> FileLook:
    """Tell what the start of a file says about the whole, which is read in one piece.

    Args:
        stream: The file, of which the start was read.
        file: The file.
        index: Its place among the table's files.
        names: The columns, none if there is no row.
        rows: Rows of the start.
        is_header: Whether the names are those of a header.
        hint: What may be wrong with them.

    Returns:
        The look; the number of rows is an estimate, as if all of the file were like its start.
    """
    found = frozenset(names)
    estimate = 0
    if found:
        share = stream.stored_position() / max(1, file.size_bytes)
        estimate = int(max(1, rows) / min(1.0, share))
    whole = Piece(file.path, file.format, index, 0, 0, estimate, file.size_bytes)
    return FileLook((whole,) if file.size_bytes else (), found or None, is_header=is_header, hint=hint)


def reject_unreadable_rest(
    stream: SourceStream, piece: Piece, rows_before: int, problem: str = ""
) -> tuple[list[DeadLetter], int]:
    """Make a dead letter of what follows the last row that could be read.

    Args:
        stream: The file.
        piece: What is read.
        rows_before: Rows of the file before it, the bad ones among them.
        problem: What ends the reading; '' for the failure of the stream, if there is one.

    Returns:
        The dead letter, none if the file was read to its end; and the bytes of the file that it stands for.
    """
    problem = problem or stream.failure
    if not problem:
        return [], 0
    text = stream.partial.decode("utf-8", errors="backslashreplace")
    message = f"{text} ({problem})" if text else problem
    letter = DeadLetter(dead_letters.UNREADABLE_REST, piece.path, rows_before + 1, text=message)
    return [letter], piece.size_bytes - (stream.trusted_bytes if stream.failure else stream.stored_position())


def to_text_column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Make texts of a column that is only shown.

    Args:
        values: [rows] of any type.

    Returns:
        [rows] string, what is no text as JSON, nulls kept.
    """
    return pa.array([show_json(value) for value in values.to_pylist()], pa.string())


def show_json(value: Any) -> str | None:
    """Make a text of a value that is only shown.

    Args:
        value: Of any type.

    Returns:
        A text or None as it is, all else as JSON.
    """
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_show)


def show_bytes(content: bytes) -> str:
    """Make a text of bytes that are to be shown.

    Args:
        content: Text in UTF-8, or not.

    Returns:
        The text, what is not UTF-8 escaped.
    """
    return content.decode("utf-8", errors="backslashreplace")


def _show(value: Any) -> str:
    return show_bytes(value) if isinstance(value, bytes) else str(value)
