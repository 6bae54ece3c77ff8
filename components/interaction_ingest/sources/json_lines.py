"""Rows of JSON Lines files."""

import io
import json
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json

from components.interaction_ingest import dead_letters
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


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the start of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: Not used; every format's `look` is given it.

    Returns:
        The keys of the lines at its start, and an estimate of the number of lines.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(file.path, whole_lines=True) as stream:
        lines = next(stream.chunks(), b"").removeprefix(b"\xef\xbb\xbf").splitlines()
        names = set().union(*(_parse_object(line) or {} for line in lines))
        return look_of_start(stream, file, index, names, len(lines))


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: Not used; every format's reader is given it.
        columns: The columns.

    Yields:
        Rows in the order of the file, and the lines that are none.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    with SourceStream(piece.path, whole_lines=True) as stream:
        for chunk in stream.chunks():
            block = chunk.removeprefix(b"\xef\xbb\xbf") if not done else chunk
            lines = block.splitlines()
            places = [place for place, line in enumerate(lines) if line.strip()]
            numbers = np.array(places, np.int64) + done
            done += len(lines)
            parts = list(_parse_lines([lines[place] for place in places], numbers, columns, piece.path))
            batches = [batch for batch, _, _ in parts if batch is not None]
            letters = [letter for _, _, letter in parts if letter is not None]
            if not batches:
                yield RawPart(None, NO_NUMBERS, letters, records=len(places))
                continue
            table = pa.Table.from_batches(batches).combine_chunks()
            kept = np.concatenate([kept for batch, kept, _ in parts if batch is not None])
            if (np.diff(kept) < 0).any():
                order = np.argsort(kept)
                table, kept = table.take(pa.array(order)), kept[order]
            whole = table.to_batches()[0] if len(table) else batches[0]
            yield RawPart(whole, kept, letters, records=len(places))
        rest, unread = reject_unreadable_rest(stream, piece, done)
        if rest:
            yield RawPart(None, NO_NUMBERS, rest, unread)


def _parse_lines(
    lines: Sequence[bytes], numbers: npt.NDArray[np.int64], columns: Sequence[Column], path: str
) -> Iterator[tuple[pa.RecordBatch | None, npt.NDArray[np.int64], DeadLetter | None]]:
    """Parse lines at once if all are good and alike, else sort out the bad ones, and parse each kind."""
    batch = _parse_block(lines, columns) if lines else None
    if batch is not None:
        yield batch, numbers, None
        return
    alike: dict[tuple[pa.DataType, ...], list[int]] = {}
    for place, line in enumerate(lines):
        kinds = _json_kinds(line, columns)
        if isinstance(kinds, str):
            letter = DeadLetter(kinds, path, int(numbers[place]) + 1, text=show_bytes(line))
            yield None, NO_NUMBERS, letter
        else:
            alike.setdefault(kinds, []).append(place)
    for places in alike.values():
        yield from _halve_lines([lines[place] for place in places], numbers[places], columns, path)


def _halve_lines(
    lines: Sequence[bytes], numbers: npt.NDArray[np.int64], columns: Sequence[Column], path: str
) -> Iterator[tuple[pa.RecordBatch | None, npt.NDArray[np.int64], DeadLetter | None]]:
    """Parse lines at once if Arrow takes them, else halve them until those it does not take stand alone."""
    batch = _parse_block(lines, columns)
    if batch is not None:
        yield batch, numbers, None
    elif len(lines) == 1:
        letter = DeadLetter(dead_letters.MALFORMED_JSON, path, int(numbers[0]) + 1, text=show_bytes(lines[0]))
        yield None, NO_NUMBERS, letter
    else:
        half = len(lines) // 2
        yield from _halve_lines(lines[:half], numbers[:half], columns, path)
        yield from _halve_lines(lines[half:], numbers[half:], columns, path)


def _parse_block(lines: Sequence[bytes], columns: Sequence[Column]) -> pa.RecordBatch | None:
    first = _parse_object(lines[0])
    if first is None:
        return None
    block = b"\n".join(lines)
    shown = [column for column in columns if column.kind == "any"]
    typed = [column for column in columns if column.kind != "any"]
    schema = pa.schema([(c.source, _json_type(c, first.get(c.source))) for c in typed])
    try:
        block.decode("utf-8")
        table = pa.json.read_json(
            io.BytesIO(block),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if len(table) != len(lines):
        return None
    named = _show_objects(lines, shown) if shown else {}
    for column in typed:
        values = table.column(column.source).combine_chunks()
        # A number in one block and a text in the next are the same id.
        is_flexible = pa.types.is_int64(values.type) and _is_flexible(column)
        named[column.name] = values.cast(pa.string()) if is_flexible else values
    return pa.record_batch({column.name: named[column.name] for column in columns})


def _show_objects(lines: Sequence[bytes], columns: Sequence[Column]) -> dict[str, pa.Array]:
    """Take values of any type, even of a different one in each row, as texts to be shown."""
    rows = [json.loads(line) for line in lines]
    return {
        column.name: pa.array([show_json(row.get(column.source)) for row in rows], pa.string())
        for column in columns
    }


def _is_flexible(column: Column) -> bool:
    return column.kind != "number" and (column.feature is None or column.feature.role is not None)


def _json_type(column: Column, value: Any) -> pa.DataType:
    if _is_flexible(column):
        return pa.int64() if isinstance(value, int) and not isinstance(value, bool) else pa.string()
    feature = column.feature
    if feature is None:
        return pa.float64()
    if feature.is_list:
        return pa.list_(pa.float64() if feature.dtype == "float" else pa.string())
    return {"string": pa.string(), "int": pa.int64(), "float": pa.float64()}[feature.dtype]


def _json_kinds(line: bytes, columns: Sequence[Column]) -> tuple[pa.DataType, ...] | str:
    """Give the types that the columns of a line need, or the reason why it cannot be used."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return dead_letters.INVALID_UTF8
    row = _parse_object(line, once={column.source for column in columns})
    if row is None:
        return dead_letters.MALFORMED_JSON
    kinds = []
    for column in columns:
        if column.kind == "any":
            continue
        value = row.get(column.source)
        kind = _json_type(column, value)
        if not _is_of_type(value, kind):
            return dead_letters.WRONG_TYPE
        kinds.append(kind)
    return tuple(kinds)


def _is_of_type(value: Any, kind: pa.DataType) -> bool:
    if value is None:
        return True
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(_is_of_type(element, kind.value_type) for element in value)
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if pa.types.is_int64(kind):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return isinstance(value, int | float)


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
