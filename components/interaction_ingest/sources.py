"""Rows of Parquet, CSV, JSON Lines and TFRecord files, as RecordBatches of one form."""

import dataclasses
import io
import json
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from components.interaction_ingest import dead_letters
from components.interaction_ingest.casting import (
    PLAUSIBLE,
    cast_leniently,
    split_lists,
    to_number,
    to_text,
    to_time,
)
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.csv_rows import read_blocks, split_header
from components.interaction_ingest.dead_letters import DeadLetter, Rejections, make_rejections, reject_rows
from components.interaction_ingest.files import DataFile
from components.interaction_ingest.logic import (
    MICROSECOND_COLUMN,
    ROW_COLUMN,
    bad_text_ids,
    cast_column,
    interaction_columns,
)
from components.interaction_ingest.streams import SourceStream
from schemas import storage
from schemas.errors import DataError, StorageError
from schemas.features import Feature, FeatureSpec, Format, TableSource

READ_ROWS: Final = 65_536
"""Rows of a batch, where the format lets one choose."""

LAST_SECOND: Final = 253_402_300_799
"""The last second of Python's calendar, at the end of the year 9999."""

_FIRST_SECOND = -62_135_596_800
_MICROSECONDS = 10**6

_RECORDS_PER_BATCH = 8_192
_LARGEST_RECORD_BYTES = 1 << 30
_MASK_DELTA = 0xA282EAD8


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
class _RawPart:
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


_NO_NUMBERS: Final = np.zeros(0, np.int64)


def list_columns(spec: FeatureSpec, config: IngestConfig) -> tuple[Column, ...]:
    """List the columns of the interactions that are read.

    Args:
        spec: The features.
        config: The rules that read columns of their own.

    Returns:
        The columns.
    """
    features = {f.name: f for f in (spec.user_id, spec.item_id, *spec.table_features("context"))}
    numbers = (
        {c.column for c in config.positives.conditions if c.at_least is not None}
        if config.positives
        else set()
    )
    if config.weight is not None and config.weight.by_value is None:
        numbers.add(config.weight.column)
    mapped = spec.tables.interactions.columns
    columns = []
    for name in interaction_columns(spec, config):
        kind: Literal["feature", "timestamp", "number", "text"] = "text"
        if name in features:
            kind = "feature"
        elif name == spec.timestamp:
            kind = "timestamp"
        elif name in numbers:
            kind = "number"
        columns.append(Column(name, mapped.get(name, name), kind, features.get(name), name in numbers))
    return tuple(columns)


def list_entity_columns(
    source: TableSource, features: Iterable[Feature], further_columns: Iterable[str]
) -> tuple[Column, ...]:
    """List the columns of a user or item table that are read.

    Args:
        source: Maps the names.
        features: The table's features.
        further_columns: Columns to carry along as they are.

    Returns:
        The columns, each once.
    """
    columns = {f.name: Column(f.name, source.columns.get(f.name, f.name), "feature", f) for f in features}
    for name in further_columns:
        columns.setdefault(name, Column(name, source.columns.get(name, name), "any"))
    return tuple(columns.values())


def open_table(location: str) -> pq.ParquetFile:
    """Open a Parquet file where it is.

    Args:
        location: A path or URI.

    Returns:
        The open file.

    Raises:
        StorageError: It cannot be opened.
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    # An object store answers few large requests much sooner than many small ones.
    return pq.ParquetFile(storage.open_input(location), pre_buffer=storage.is_remote(location))


def is_possible_time(second: int, latest_second: int) -> bool:
    """Tell a time from a number that is none, such as milliseconds where seconds belong.

    Args:
        second: Seconds since 1970.
        latest_second: The latest time that there can be.

    Returns:
        Whether it lies in the years 1 to 9999, and is not later than that.
    """
    return _FIRST_SECOND <= second <= min(latest_second, LAST_SECOND)


def look_into(file: DataFile, source: TableSource) -> tuple[frozenset[str] | None, int]:
    """Look at the start of a file that is not Parquet.

    Args:
        file: The file.
        source: The delimiter.

    Returns:
        The names of its columns, of JSON Lines and TFRecord those of the rows at its start, None if
        there is no row; and an estimate of its number of rows.

    Raises:
        DataError: The header of a CSV file has a name twice, or a quotation mark that is not closed.
        StorageError: The file cannot be opened.
    """
    look = {"csv": _look_into_csv, "jsonl": _look_into_json_lines, "tfrecord": _look_into_tfrecord}
    with SourceStream(file.path, whole_lines=file.format == "jsonl") as stream:
        names, count = look[file.format](stream, file, source)
        share = stream.stored_position() / max(1, file.size_bytes)
    if not names:
        return None, 0
    return frozenset(names), int(max(1, count) / min(1.0, share))


def _look_into_csv(stream: SourceStream, file: DataFile, source: TableSource) -> tuple[set[str], int]:
    block = next(read_blocks(stream, source.delimiter), None)
    if block is None:
        return set(), 0
    if block.unclosed and block.unclosed[0].number == 0:
        raise DataError(
            f"{file.path}: the header has a quotation mark that is not closed: "
            f"{_show_bytes(block.unclosed[0].text[:200])}. Close it, or write the file again."
        )
    fields, block = split_header(block, source.delimiter)
    repeated = sorted({name for name in fields if fields.count(name) > 1 and name})
    if repeated:
        raise DataError(
            f"{file.path}: the header has {', '.join(repeated)} twice. Expected each once: rename them."
        )
    return set(fields), len(block.numbers)


def _look_into_json_lines(stream: SourceStream, file: DataFile, source: TableSource) -> tuple[set[str], int]:
    lines = next(stream.chunks(), b"").removeprefix(b"\xef\xbb\xbf").splitlines()
    return set().union(*(_parse_object(line) or {} for line in lines)), len(lines)


def _look_into_tfrecord(stream: SourceStream, file: DataFile, source: TableSource) -> tuple[set[str], int]:
    records = [record for record, good in _split_records(next(stream.chunks(), b"")) if good]
    tables = [table for _, table in _decode_examples(records) if table is not None]
    return set().union(*(table.schema.names for table in tables)), len(records)


def read_piece(
    piece: Piece, source: TableSource, table: str, columns: Sequence[Column], id_names: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, Rejections]]:
    """Read a piece of a table in batches, and leave out what cannot be used.

    Args:
        piece: What to read.
        source: Names and separators.
        table: `interactions`, `users` or `items`, for the dead letters.
        columns: The columns.
        id_names: Names of the columns that need a usable id.

    Yields:
        Rows in the order of the file: columns by their names in the schema file (features as
        `cast_column` gives them, the timestamp int64 seconds with MICROSECOND_COLUMN int32 beside it), and
        ROW_COLUMN int64, the row's number in its file from 0; and what was left out since the batch before.

    Raises:
        DataError: Rows have vanished between the file and its parser.
        StorageError: The store cannot be reached or refuses.
    """
    readers: dict[Format, Callable[..., Iterator[_RawPart]]] = {
        "parquet": _read_parquet,
        "csv": _read_csv,
        "jsonl": _read_json_lines,
        "tfrecord": _read_tfrecord,
    }
    for part in readers[piece.format](piece, source, columns):
        letters = list(part.letters)
        given = len(letters) + (0 if part.batch is None else part.batch.num_rows)
        if part.records not in (None, given):
            raise DataError(
                f"{piece.path}: {part.records:,} rows are in a part of the file, {given:,} were read or "
                "rejected. Expected each row once: this is a defect of the reader, please report it."
            )
        if part.batch is None:
            nothing = pa.record_batch({c.name: pa.nulls(0) for c in columns})
            empty, _ = _conform(nothing, source, columns, id_names, piece.latest_second)
            yield _number(empty, _NO_NUMBERS), make_rejections(table, letters, part.unread_bytes)
            continue
        batch, reasons = _conform(part.batch, source, columns, id_names, piece.latest_second)
        numbers = part.numbers
        if any(mask.any() for mask in reasons.values()):
            group = piece.index if piece.format == "parquet" else None
            keep, rejected = reject_rows(part.batch, reasons, numbers, piece.path, group)
            letters += rejected
            batch, numbers = batch.filter(pa.array(keep)), numbers[keep]
        yield _number(batch, numbers), make_rejections(table, letters, part.unread_bytes)


def _number(batch: pa.RecordBatch, numbers: npt.NDArray[np.int64]) -> pa.RecordBatch:
    return batch.append_column(ROW_COLUMN, pa.array(numbers, pa.int64()))


def _read_parquet(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[_RawPart]:
    done = 0
    try:
        table = open_table(piece.path)
        present = {column.source for column in columns} & set(table.schema_arrow.names)
        batches = table.iter_batches(batch_size=READ_ROWS, row_groups=[piece.index], columns=sorted(present))
        for batch in batches:
            numbers = np.arange(done, done + batch.num_rows, dtype=np.int64) + piece.first_row
            named = {
                column.name: batch.column(column.source)
                if column.source in present
                else pa.nulls(batch.num_rows)
                for column in columns
            }
            yield _RawPart(pa.record_batch(named), numbers)
            done += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        if storage.is_remote(piece.path) and "AWS Error" in str(error):
            raise StorageError(f"Cannot read {piece.path}: {error}") from error
        rows = piece.rows - done
        letter = DeadLetter(
            dead_letters.UNREADABLE_ROW_GROUP, piece.path, None, piece.index, rows, _first_line(error)
        )
        yield _RawPart(None, _NO_NUMBERS, [letter], piece.size_bytes * rows // max(1, piece.rows))


def _read_csv(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[_RawPart]:
    done = 0
    names: list[str] = []
    with SourceStream(piece.path, whole_lines=False) as stream:
        for whole in read_blocks(stream, source.delimiter):
            header, block = ([], whole) if names else split_header(whole, source.delimiter)
            names = names or header
            # The header is row 0.
            numbers = block.numbers - 1
            done += len(numbers) + len(block.unclosed)
            letters = [
                DeadLetter(
                    dead_letters.UNCLOSED_QUOTE,
                    piece.path,
                    row.number,
                    rows=row.lines,
                    text=_show_bytes(row.text),
                )
                for row in block.unclosed
            ]
            records = len(numbers) + len(letters)
            if not len(numbers):
                yield _RawPart(None, _NO_NUMBERS, letters, records=records)
                continue
            batch, invalid = _parse_csv(block.content, names, source.delimiter, columns)
            places = np.array([row.number - 1 for row in invalid], np.int64)
            letters += _invalid_rows(invalid, numbers[places], piece.path)
            yield _RawPart(batch, np.delete(numbers, places), letters, records=records)
        rest, unread = _unreadable_rest(stream, piece, done)
        if rest:
            yield _RawPart(None, _NO_NUMBERS, rest, unread)


def _parse_csv(
    content: bytes, names: Sequence[str], delimiter: str, columns: Sequence[Column]
) -> tuple[pa.RecordBatch, list[pa.csv.InvalidRow]]:
    """Parse whole rows; what has too many or too few fields is left out, and numbered from 1."""
    invalid: list[pa.csv.InvalidRow] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    wanted = [column.source for column in columns]
    table = pa.csv.read_csv(
        pa.BufferReader(content),
        read_options=pa.csv.ReadOptions(
            # With threads the numbers of the rows are not known.
            use_threads=False,
            block_size=len(content) + 1,
            # The others may have no name, or one that stands there twice.
            column_names=[name if name in wanted else f"#{place}" for place, name in enumerate(names)],
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
        ),
        # As bytes, since one text that is not UTF-8 would spoil all of them.
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            include_missing_columns=True,
            column_types={name: pa.binary() for name in wanted},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    values = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(values, names=[column.name for column in columns]), invalid


def _invalid_rows(
    rows: Sequence[pa.csv.InvalidRow], numbers: npt.NDArray[np.int64], path: str
) -> list[DeadLetter]:
    return [
        DeadLetter(
            dead_letters.TOO_MANY_FIELDS
            if row.actual_columns > row.expected_columns
            else dead_letters.TOO_FEW_FIELDS,
            path,
            int(number) + 1,
            # A quotation mark that is closed too late swallows the lines after it.
            rows=row.text.count("\n") + 1,
            text=row.text,
        )
        for row, number in zip(rows, numbers, strict=True)
    ]


def _unreadable_rest(
    stream: SourceStream, piece: Piece, rows_before: int, problem: str = ""
) -> tuple[list[DeadLetter], int]:
    problem = problem or stream.failure
    if not problem:
        return [], 0
    text = stream.partial.decode("utf-8", errors="backslashreplace")
    message = f"{text} ({problem})" if text else problem
    letter = DeadLetter(dead_letters.UNREADABLE_REST, piece.path, rows_before + 1, text=message)
    return [letter], piece.size_bytes - (stream.trusted_bytes if stream.failure else stream.stored_position())


def _read_json_lines(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[_RawPart]:
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
                yield _RawPart(None, _NO_NUMBERS, letters, records=len(places))
                continue
            table = pa.Table.from_batches(batches).combine_chunks()
            kept = np.concatenate([kept for batch, kept, _ in parts if batch is not None])
            if (np.diff(kept) < 0).any():
                order = np.argsort(kept)
                table, kept = table.take(pa.array(order)), kept[order]
            whole = table.to_batches()[0] if len(table) else batches[0]
            yield _RawPart(whole, kept, letters, records=len(places))
        rest, unread = _unreadable_rest(stream, piece, done)
        if rest:
            yield _RawPart(None, _NO_NUMBERS, rest, unread)


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
            letter = DeadLetter(kinds, path, int(numbers[place]) + 1, text=_show_bytes(line))
            yield None, _NO_NUMBERS, letter
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
        letter = DeadLetter(
            dead_letters.MALFORMED_JSON, path, int(numbers[0]) + 1, text=_show_bytes(lines[0])
        )
        yield None, _NO_NUMBERS, letter
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
        column.name: pa.array([_show_json(row.get(column.source)) for row in rows], pa.string())
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


def _read_tfrecord(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[_RawPart]:
    done = 0
    with SourceStream(piece.path, whole_lines=False) as stream:
        for framed in _group_records(stream):
            numbers = np.arange(done, done + len(framed.records), dtype=np.int64)
            done += len(framed.records)
            good = [place for place, is_good in enumerate(framed.is_good) if is_good]
            letters = [
                DeadLetter(
                    dead_letters.MALFORMED_EXAMPLE,
                    piece.path,
                    int(numbers[place]) + 1,
                    text=f"{_show_bytes(framed.records[place])} (the checksum is wrong)",
                )
                for place, is_good in enumerate(framed.is_good)
                if not is_good
            ]
            start = 0
            for count, batch in _decode_examples([framed.records[place] for place in good]):
                places = good[start : start + count]
                start += count
                if batch is None:
                    text = _show_bytes(framed.records[places[0]])
                    number = int(numbers[places[0]]) + 1
                    letters.append(DeadLetter(dead_letters.MALFORMED_EXAMPLE, piece.path, number, text=text))
                    continue
                keep, rejected = _reject_several_values(batch, numbers[places], columns, piece.path)
                named = _name_examples(batch.filter(pa.array(keep)), columns)
                yield _RawPart(named, numbers[places][keep], rejected, records=count)
            if letters:
                yield _RawPart(None, _NO_NUMBERS, letters, records=len(letters))
            if framed.problem:
                rest, unread = _unreadable_rest(stream, piece, done, framed.problem)
                # Nothing tells how much follows what was cut off.
                unread = piece.size_bytes if framed.is_cut_off else unread + framed.left_bytes
                yield _RawPart(None, _NO_NUMBERS, rest, min(unread, piece.size_bytes))


@dataclasses.dataclass(frozen=True)
class _Framed:
    records: list[bytes]
    is_good: list[bool]
    problem: str = ""
    left_bytes: int = 0
    is_cut_off: bool = False


def _group_records(stream: SourceStream) -> Iterator[_Framed]:
    """Cut a stream into records, as many at a time as one decoding takes."""
    left = b""
    for chunk in stream.chunks():
        content = left + chunk
        records: list[bytes] = []
        is_good: list[bool] = []
        end = 0
        for record, good, position in _walk_records(content):
            if record is None:
                yield _Framed(records, is_good, "the length of a record is damaged", len(content) - end)
                return
            records.append(record)
            is_good.append(good)
            end = position
            if len(records) == _RECORDS_PER_BATCH:
                yield _Framed(records, is_good)
                records, is_good = [], []
        left = content[end:]
        if records:
            yield _Framed(records, is_good)
    if stream.failure:
        yield _Framed([], [], stream.failure)
    elif left:
        yield _Framed([], [], "the file ends in the middle of a record", is_cut_off=True)


def _split_records(content: bytes) -> list[tuple[bytes, bool]]:
    return [(record, good) for record, good, _ in _walk_records(content) if record is not None]


def _walk_records(content: bytes) -> Iterator[tuple[bytes | None, bool, int]]:
    """Give whole records, whether each is undamaged, and where it ends; None where the framing is lost."""
    import google_crc32c

    def is_checked(data: bytes, masked: int) -> bool:
        value = google_crc32c.value(data)
        return (((value >> 15) | (value << 17)) + _MASK_DELTA) & 0xFFFFFFFF == masked

    position = 0
    while position + 12 <= len(content):
        length, checksum = struct.unpack_from("<QI", content, position)
        if length > _LARGEST_RECORD_BYTES or not is_checked(content[position : position + 8], checksum):
            yield None, False, position
            return
        end = position + 12 + length + 4
        if end > len(content):
            return
        record = content[position + 12 : end - 4]
        yield record, is_checked(record, *struct.unpack_from("<I", content, end - 4)), end
        position = end


def _decode_examples(records: Sequence[bytes]) -> Iterator[tuple[int, pa.RecordBatch | None]]:
    """Decode records, halved until the bad ones stand alone; None for such a one."""
    # On first use: a process that only builds the pipeline needs no tfx_bsl.
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()

    def decode(part: Sequence[bytes]) -> Iterator[tuple[int, pa.RecordBatch | None]]:
        if not part:
            return
        try:
            yield len(part), decoder.DecodeBatch(list(part))
        except (RuntimeError, ValueError):
            if len(part) == 1:
                yield 1, None
                return
            half = len(part) // 2
            yield from decode(part[:half])
            yield from decode(part[half:])

    yield from decode(records)


def _reject_several_values(
    batch: pa.RecordBatch, numbers: npt.NDArray[np.int64], columns: Sequence[Column], path: str
) -> tuple[npt.NDArray[np.bool_], list[DeadLetter]]:
    """Reject the rows with several values where a single one belongs."""
    several = np.zeros(batch.num_rows, bool)
    for column in columns:
        index = batch.schema.get_field_index(column.source)
        is_single = column.kind != "any" and (column.feature is None or not column.feature.is_list)
        if is_single and index >= 0 and not pa.types.is_null(batch.column(index).type):
            several |= _value_counts(batch.column(index)) > 1
    if not several.any():
        return ~several, []
    sources = [column.source for column in columns if column.source in batch.schema.names]
    return reject_rows(batch.select(sources), {dead_letters.WRONG_TYPE: several}, numbers, path)


def _value_counts(lists: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _name_examples(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    named: dict[str, pa.Array] = {}
    for column in columns:
        index = batch.schema.get_field_index(column.source)
        if index < 0 or pa.types.is_null(batch.column(index).type):
            named[column.name] = pa.nulls(batch.num_rows)
            continue
        values = batch.column(index)
        if column.feature is None or not column.feature.is_list:
            lengths = _value_counts(values)
            if lengths.max(initial=0) <= 1:
                places = pa.array(np.cumsum(lengths) - 1, mask=lengths == 0)
                values = values.flatten().take(places)
            else:
                values = to_text_column(values)
        named[column.name] = values
    return pa.record_batch(named)


def to_text_column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Make texts of a column that is only shown.

    Args:
        values: [rows] of any type.

    Returns:
        [rows] string, what is no text as JSON, nulls kept.
    """
    return pa.array([_show_json(value) for value in values.to_pylist()], pa.string())


def _show_json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_show)


def _show(value: Any) -> str:
    return _show_bytes(value) if isinstance(value, bytes) else str(value)


def _conform(
    batch: pa.RecordBatch,
    source: TableSource,
    columns: Sequence[Column],
    id_names: Sequence[str],
    latest_second: int,
) -> tuple[pa.RecordBatch, dict[str, npt.NDArray[np.bool_]]]:
    """Bring columns to their types, and find the rows that cannot be used, by reason."""
    rows = batch.num_rows
    not_utf8, wrong_type = np.zeros(rows, bool), np.zeros(rows, bool)
    null_time, out_of_range = np.zeros(rows, bool), np.zeros(rows, bool)
    typed: dict[str, pa.Array] = {}
    for column in columns:
        values, bad_text = to_text(batch.column(column.name))
        not_utf8 |= bad_text
        if column.kind == "timestamp":
            times, bad = cast_leniently(values, to_time, PLAUSIBLE["timestamp"])
            null_time = times.is_null().to_numpy(zero_copy_only=False)
            ticks = times.fill_null(0).to_numpy(zero_copy_only=False)
            seconds = np.floor_divide(ticks, _MICROSECONDS)
            out_of_range = (seconds < _FIRST_SECOND) | (seconds > min(latest_second, LAST_SECOND))
            typed[column.name] = pa.array(seconds, mask=null_time)
            typed[MICROSECOND_COLUMN] = pa.array((ticks - seconds * _MICROSECONDS).astype(np.int32))
        else:
            is_number = column.kind == "number" or (
                column.feature is not None and column.feature.dtype != "string" and not column.feature.is_list
            )
            plausible = PLAUSIBLE["number"] if is_number else ""
            typed[column.name], bad = cast_leniently(values, _caster(column, source), plausible)
        wrong_type |= bad
    reasons = {dead_letters.INVALID_UTF8: not_utf8, dead_letters.WRONG_TYPE: wrong_type}
    if id_names:
        ids = [typed[name] for name in id_names]
        nulls = [values.is_null().to_numpy(zero_copy_only=False) for values in ids]
        reasons |= {"null_id": np.logical_or.reduce(nulls), **bad_text_ids(ids)}
    reasons |= {"null_timestamp": null_time, dead_letters.OUT_OF_RANGE_TIMESTAMP: out_of_range}
    return pa.record_batch(typed), reasons


def _caster(column: Column, source: TableSource) -> Callable[[pa.Array], pa.Array]:
    feature = column.feature
    if column.kind == "any":
        return lambda values: values
    if feature is None:
        if column.kind == "text":
            return lambda values: values.cast(pa.string())
        return to_number

    def cast(values: pa.Array) -> pa.Array:
        if feature.role is not None and pa.types.is_floating(values.type):
            raise DataError("an id is a text or an integer")
        if pa.types.is_string(values.type):
            if feature.is_list:
                values = split_lists(values, source.list_separator)
            elif feature.dtype != "string":
                number = pa.int64() if feature.dtype == "int" else pa.float64()
                values = pc.utf8_trim_whitespace(values).cast(number)
        return cast_column(values, feature, "")

    return cast


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _show_bytes(content: bytes) -> str:
    return content.decode("utf-8", errors="backslashreplace")
