"""What the readers of every format share: the columns, the pieces, what is read of one, and what is shown."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.streams import SourceStream
from schemas.features import Feature, Format

LAST_SECOND: Final = 253_402_300_799
"""The last second of Python's calendar, at the end of the year 9999."""

NO_NUMBERS: Final = np.zeros(0, np.int64)
"""The rows' numbers of a part without rows."""


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
