"""Rows of JSON Lines files."""

import io
import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from components.interaction_ingest import dead_letters
from components.interaction_ingest.columns import list_array
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.parts import (
    NO_NUMBERS,
    Column,
    DataFile,
    FileLook,
    Piece,
    RawPart,
    SourceFormat,
    look_of_start,
    reject_unreadable_rest,
    show_bytes,
    show_json,
)
from components.interaction_ingest.sources.streams import SourceStream
from schemas.features import TableSource

# Up to there a float is one integer and no other.
_EXACT: Final = 2**53


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the start of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: The encoding.

    Returns:
        The keys of the lines at its start, and an estimate of the number of lines.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(file.path, whole_lines=True, encoding=source.encoding) as stream:
        lines = next(stream.chunks(), b"").removeprefix(b"\xef\xbb\xbf").splitlines()
        names = set().union(*(_parse_object(line) or {} for line in lines))
        return look_of_start(stream, file, index, names, len(lines))


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: The encoding, and how numbers are written in texts.
        columns: The columns.

    Yields:
        Rows in the order of the file, and the lines that are none.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    with SourceStream(piece.path, whole_lines=True, encoding=source.encoding) as stream:
        for chunk in stream.chunks():
            block = chunk.removeprefix(b"\xef\xbb\xbf") if not done else chunk
            lines = block.splitlines()
            places = [place for place, line in enumerate(lines) if line.strip()]
            numbers = np.array(places, np.int64) + done
            done += len(lines)
            written = [lines[place] for place in places]
            batch = _parse_block(written, columns) if written else None
            if batch is not None:
                yield RawPart(batch, numbers, records=len(places))
            else:
                yield _parse_each(written, numbers, columns, piece.path, source.decimal)
        rest, unread = reject_unreadable_rest(stream, piece, done)
        if rest:
            yield RawPart(None, NO_NUMBERS, rest, unread)


def _parse_block(lines: Sequence[bytes], columns: Sequence[Column]) -> pa.RecordBatch | None:
    """Parse lines at once, each value as what it is in the first; None where they are not alike, or bad."""
    first = _parse_object(lines[0])
    if first is None:
        return None
    block = b"\n".join(lines)
    shown = [column for column in columns if column.kind == "any"]
    typed = [column for column in columns if column.kind != "any"]
    kinds = {column.source: _json_type(column, first.get(column.source)) for column in typed}
    if None in kinds.values():
        return None
    try:
        block.decode("utf-8")
        table = pa.json.read_json(
            io.BytesIO(block),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=pa.schema(kinds), unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if len(table) != len(lines):
        return None
    named = {column.name: table.column(column.source).combine_chunks() for column in typed}
    if shown:
        named |= _show_objects([json.loads(line) for line in lines], shown)
    return pa.record_batch({column.name: named[column.name] for column in columns})


def _json_type(column: Column, value: Any) -> pa.DataType | None:
    """Tell the type of a column from its first value; None where values have to be looked at one by one."""
    feature = column.feature
    if isinstance(value, str):
        return pa.string()
    if feature is not None and feature.is_list:
        return pa.list_(pa.float64() if feature.dtype == "float" else pa.string())
    if isinstance(value, bool):
        return pa.bool_()
    if column.kind == "number" or (feature is not None and feature.dtype == "float"):
        return pa.float64()
    if isinstance(value, float):
        # Beside floats Arrow would round large integers, which for times does not matter.
        return pa.float64() if column.kind == "timestamp" else None
    is_number = isinstance(value, int) or (feature is not None and feature.dtype == "int")
    return pa.int64() if is_number else pa.string()


def _show_objects(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> dict[str, pa.Array]:
    """Take values of any type, even of a different one in each row, as texts to be shown."""
    return {
        column.name: pa.array([show_json(row.get(column.source)) for row in rows], pa.string())
        for column in columns
    }


def _parse_each(
    lines: Sequence[bytes],
    numbers: npt.NDArray[np.int64],
    columns: Sequence[Column],
    path: str,
    decimal: str,
) -> RawPart:
    """Parse line by line, each value as what it is."""
    rows: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    for place, line in enumerate(lines):
        row = _take_row(line, columns)
        if isinstance(row, str):
            reasons[place] = row
        else:
            rows[place] = row
    for place in _find_texts_beside_lists(rows, columns):
        del rows[place]
        reasons[place] = dead_letters.WRONG_TYPE
    letters = [
        DeadLetter(reasons[place], path, int(numbers[place]) + 1, text=show_bytes(lines[place]))
        for place in sorted(reasons)
    ]
    if not rows:
        return RawPart(None, NO_NUMBERS, letters, records=len(lines))
    batch = _build_batch(list(rows.values()), columns, decimal)
    return RawPart(batch, numbers[list(rows)], letters, records=len(lines))


def _take_row(line: bytes, columns: Sequence[Column]) -> dict[str, Any] | str:
    """Take the object of a line, or give the reason why it cannot be used."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return dead_letters.INVALID_UTF8
    row = _parse_object(line, once={column.source for column in columns})
    # Half of a character can be written as an escape.
    if row is None or ("\\u" in text and not _is_unicode(row)):
        return dead_letters.MALFORMED_JSON
    for column in columns:
        if column.kind == "any":
            continue
        value = row.get(column.source)
        if isinstance(value, float) and value.is_integer() and _holds_integers(column):
            value = int(value) if abs(value) <= _EXACT else value
        if not _is_taken(value, column):
            return dead_letters.WRONG_TYPE
        row[column.source] = value
    return row


def _is_unicode(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _holds_integers(column: Column) -> bool:
    feature = column.feature
    return feature is not None and (feature.role is not None or feature.dtype == "int")


def _is_taken(value: Any, column: Column) -> bool:
    """Tell whether casting can make something of a value; ids and integers have no fraction."""
    feature = column.feature
    if value is None or isinstance(value, str):
        return True
    if feature is not None and feature.is_list:
        allowed = str | int | float if feature.multi_valued else int | float
        return isinstance(value, list) and all(
            element is None or isinstance(element, allowed) for element in value
        )
    if isinstance(value, float) and _holds_integers(column):
        return math.isnan(value)
    if isinstance(value, bool):
        return feature is None or feature.role is None
    return isinstance(value, int | float)


def _find_texts_beside_lists(rows: Mapping[int, dict[str, Any]], columns: Sequence[Column]) -> set[int]:
    """Find the rows with a text where others have lists, which are of one kind in a column."""
    found: set[int] = set()
    for column in columns:
        if column.feature is None or not column.feature.is_list:
            continue
        values = {place: row.get(column.source) for place, row in rows.items()}
        if any(isinstance(value, list) for value in values.values()):
            found |= {place for place, value in values.items() if isinstance(value, str)}
    return found


def _build_batch(rows: Sequence[dict[str, Any]], columns: Sequence[Column], decimal: str) -> pa.RecordBatch:
    named = _show_objects(rows, [column for column in columns if column.kind == "any"])
    for column in columns:
        if column.kind != "any":
            named[column.name] = _build_array([row.get(column.source) for row in rows], decimal)
    return pa.record_batch({column.name: named[column.name] for column in columns})


def _build_array(values: list[Any], decimal: str) -> pa.Array:
    """Make an array of values; texts of them where they are of several types, or integers beyond 64 bits."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        elements = [element for value in values if value is not None for element in value]
        lengths = [0 if value is None else len(value) for value in values]
        lists = list_array(np.array(lengths), _build_array(elements, decimal))
        given = pa.array([value is not None for value in values])
        return pc.if_else(given, lists, pa.scalar(None, lists.type))
    if kinds == {int, float}:
        return pa.array(values, pa.float64())
    if len(kinds) <= 1:
        try:
            return pa.array(values)
        except (OverflowError, pa.ArrowInvalid):
            pass
    return pa.array([_show_scalar(value, decimal) for value in values], pa.string())


def _show_scalar(value: Any, decimal: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    text = json.dumps(value)
    return text.replace(".", decimal) if isinstance(value, float) else text


def _parse_object(line: bytes, once: Container[str] = ()) -> dict[str, Any] | None:
    """Parse a line; None where it is no object, or a key that must stand there once is repeated."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs if name in once]
            if len(set(names)) < len(names):
                raise ValueError("a key stands there twice")
        return row

    try:
        row = json.loads(line, object_pairs_hook=build)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


FORMAT: Final = SourceFormat("jsonl", "JSON Lines", ("pyarrow",), (".jsonl", ".ndjson", ".json"), look, read)
"""Files with an object in each line."""
