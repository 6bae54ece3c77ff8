"""Rows of Parquet, CSV, JSON Lines and TFRecord files, as RecordBatches of one form."""

import csv
import dataclasses
import io
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from components.interaction_ingest import dead_letters
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.dead_letters import DeadLetter, Rejections, make_rejections, reject_rows
from components.interaction_ingest.files import DataFile
from components.interaction_ingest.logic import (
    ROW_COLUMN,
    bad_text_ids,
    cast_column,
    cast_timestamp,
    interaction_columns,
)
from components.interaction_ingest.streams import CHUNK_BYTES, SourceStream
from schemas import storage
from schemas.errors import DataError, StorageError
from schemas.features import Feature, FeatureSpec, Format, TableSource

READ_ROWS: Final = 65_536
"""Rows of a batch, where the format lets one choose."""

# The first and the last second of Python's calendar, years 1 to 9999.
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799

_RECORDS_PER_BATCH = 8_192
_LARGEST_RECORD_BYTES = 1 << 30
_MASK_DELTA = 0xA282EAD8
_COMPRESSION_GUESS = 5


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


def is_calendar_time(second: int) -> bool:
    """Tell a time from a number that is none, such as milliseconds where seconds belong.

    Args:
        second: Seconds since 1970.

    Returns:
        Whether it lies in the years 1 to 9999.
    """
    return _FIRST_SECOND <= second <= _LAST_SECOND


def look_into(file: DataFile, source: TableSource) -> tuple[frozenset[str] | None, int]:
    """Look at the start of a file that is not Parquet.

    Args:
        file: The file.
        source: The delimiter.

    Returns:
        The names of its columns, of JSON Lines and TFRecord those of the rows at its start, None if
        there is no row; and an estimate of its number of rows.

    Raises:
        StorageError: The file cannot be opened.
    """
    with SourceStream(file.path, whole_lines=file.format != "tfrecord") as stream:
        chunk = next(stream.chunks(), b"")
        factor = _COMPRESSION_GUESS if stream.is_compressed else 1
    if not chunk:
        return None, 0
    names: set[str] = set()
    if file.format == "csv":
        header, _, _ = chunk.decode("utf-8-sig", errors="replace").partition("\n")
        fields = next(csv.reader([header.rstrip("\r")], delimiter=source.delimiter), [])
        repeated = sorted({name for name in fields if fields.count(name) > 1 and name})
        if repeated:
            raise DataError(
                f"{file.path}: the header has {', '.join(repeated)} twice. Expected each once: rename them."
            )
        names, count = set(fields), chunk.count(b"\n")
    elif file.format == "jsonl":
        lines = chunk.splitlines()
        for line in lines:
            row = _parse_object(line)
            names |= set(row or {})
        count = len(lines)
    else:
        records = [record for record, good in _split_records(chunk) if good]
        for _, table in _decode_examples(records):
            names |= set() if table is None else set(table.schema.names)
        count = len(records)
    if not names:
        return None, 0
    rows = max(1, count) * max(1.0, file.size_bytes * factor / len(chunk))
    return frozenset(names), int(rows)


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
        `cast_column` gives them, the timestamp int64 seconds), and ROW_COLUMN int64, the row's number
        in its file from 0; and what was left out since the batch before.

    Raises:
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
        if part.batch is None:
            empty, _ = _conform(
                pa.record_batch({c.name: pa.nulls(0) for c in columns}), source, columns, id_names
            )
            yield _number(empty, _NO_NUMBERS), make_rejections(table, letters, part.unread_bytes)
            continue
        batch, reasons = _conform(part.batch, source, columns, id_names)
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
        batches = open_table(piece.path).iter_batches(
            batch_size=READ_ROWS, row_groups=[piece.index], columns=[column.source for column in columns]
        )
        for batch in batches:
            numbers = np.arange(done, done + batch.num_rows, dtype=np.int64) + piece.first_row
            named = {column.name: batch.column(column.source) for column in columns}
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
    invalid: list[pa.csv.InvalidRow] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    names = [column.source for column in columns]
    done, told = 0, 0
    with SourceStream(piece.path, whole_lines=True) as stream:
        problem = ""
        try:
            reader = pa.csv.open_csv(
                stream,
                # With threads the numbers of the rows are not known.
                read_options=pa.csv.ReadOptions(use_threads=False, block_size=CHUNK_BYTES),
                parse_options=pa.csv.ParseOptions(
                    delimiter=source.delimiter, newlines_in_values=True, invalid_row_handler=skip
                ),
                # As bytes, since one text that is not UTF-8 would spoil a whole block.
                convert_options=pa.csv.ConvertOptions(
                    include_columns=names,
                    include_missing_columns=True,
                    column_types={name: pa.binary() for name in names},
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                # The parser reads ahead in a thread of its own.
                found = list(invalid)
                # The header is row 1 to it, and it counts no empty lines.
                places = np.array([row.number - 2 for row in found], np.int64)
                kept = np.arange(done, done + batch.num_rows, dtype=np.int64)
                numbers = kept + np.searchsorted(places - np.arange(len(places)), kept, side="right")
                done += batch.num_rows
                letters, told = _invalid_rows(found[told:], piece.path), len(found)
                named = dict(zip((column.name for column in columns), batch.columns, strict=True))
                yield _RawPart(pa.record_batch(named), numbers, letters)
        except pa.ArrowInvalid as error:
            # A file without content, which has no rows.
            problem = "" if "Empty CSV file" in str(error) else _first_line(error)
        letters = _invalid_rows(invalid[told:], piece.path)
        rest, unread = _unreadable_rest(stream, piece, done + len(invalid), problem)
        if letters or rest:
            yield _RawPart(None, _NO_NUMBERS, [*letters, *rest], unread)


def _invalid_rows(rows: Iterable[pa.csv.InvalidRow], path: str) -> list[DeadLetter]:
    return [
        DeadLetter(
            dead_letters.TOO_MANY_FIELDS
            if row.actual_columns > row.expected_columns
            else dead_letters.TOO_FEW_FIELDS,
            path,
            row.number - 1,
            # A quotation mark that is never closed swallows the lines after it.
            rows=row.text.count("\n") + 1,
            text=row.text,
        )
        for row in rows
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
    return [letter], max(0, piece.size_bytes - stream.stored_position())


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
                yield _RawPart(None, _NO_NUMBERS, letters)
                continue
            table = pa.Table.from_batches(batches).combine_chunks()
            kept = np.concatenate([kept for batch, kept, _ in parts if batch is not None])
            yield _RawPart(table.to_batches()[0] if len(table) else batches[0], kept, letters)
        rest, unread = _unreadable_rest(stream, piece, done)
        if rest:
            yield _RawPart(None, _NO_NUMBERS, rest, unread)


def _parse_lines(
    lines: Sequence[bytes], numbers: npt.NDArray[np.int64], columns: Sequence[Column], path: str
) -> Iterator[tuple[pa.RecordBatch | None, npt.NDArray[np.int64], DeadLetter | None]]:
    """Parse lines at once if all are good, else halve them until the bad ones stand alone."""
    if not lines:
        return
    batch = _parse_block(b"\n".join(lines), len(lines), lines[0], columns)
    if batch is not None:
        yield batch, numbers, None
    elif len(lines) == 1:
        [line], [number] = lines, numbers
        yield None, _NO_NUMBERS, DeadLetter(_json_reason(line), path, int(number) + 1, text=_show_bytes(line))
    else:
        half = len(lines) // 2
        yield from _parse_lines(lines[:half], numbers[:half], columns, path)
        yield from _parse_lines(lines[half:], numbers[half:], columns, path)


def _parse_block(
    block: bytes, rows: int, first_line: bytes, columns: Sequence[Column]
) -> pa.RecordBatch | None:
    first = _parse_object(first_line)
    if first is None:
        return None
    schema = pa.schema([(c.source, _json_type(c, first.get(c.source))) for c in columns])
    try:
        block.decode("utf-8")
        table = pa.json.read_json(
            io.BytesIO(block),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if len(table) != rows:
        return None
    named = {}
    for column in columns:
        values = table.column(column.source).combine_chunks()
        # A number in one block and a text in the next are the same id.
        is_flexible = pa.types.is_int64(values.type) and _is_flexible(column)
        named[column.name] = values.cast(pa.string()) if is_flexible else values
    return pa.record_batch(named)


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


def _json_reason(line: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return dead_letters.INVALID_UTF8
    row = _parse_object(line, unique=True)
    return dead_letters.MALFORMED_JSON if row is None else dead_letters.WRONG_TYPE


def _parse_object(line: bytes, unique: bool = False) -> dict[str, Any] | None:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if unique and len(row) < len(pairs):
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
                yield _RawPart(_name_examples(batch, columns), numbers[places])
            if letters:
                yield _RawPart(None, _NO_NUMBERS, letters)
            if framed.problem:
                rest, unread = _unreadable_rest(stream, piece, done, framed.problem)
                yield _RawPart(None, _NO_NUMBERS, rest, unread + framed.left_bytes)


@dataclasses.dataclass(frozen=True)
class _Framed:
    records: list[bytes]
    is_good: list[bool]
    problem: str = ""
    left_bytes: int = 0


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
    problem = stream.failure or ("the file ends in the middle of a record" if left else "")
    if problem:
        yield _Framed([], [], problem)


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


def _name_examples(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    named: dict[str, pa.Array] = {}
    for column in columns:
        index = batch.schema.get_field_index(column.source)
        if index < 0 or pa.types.is_null(batch.column(index).type):
            named[column.name] = pa.nulls(batch.num_rows)
            continue
        values = batch.column(index)
        if column.feature is None or not column.feature.is_list:
            # Several values where one belongs stay a list, which no single column can be.
            lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
            if not len(lengths) or lengths.max() <= 1:
                places = pa.array(np.cumsum(lengths) - 1, mask=lengths == 0)
                values = values.flatten().take(places)
        named[column.name] = values
    return pa.record_batch(named)


def _conform(
    batch: pa.RecordBatch, source: TableSource, columns: Sequence[Column], id_names: Sequence[str]
) -> tuple[pa.RecordBatch, dict[str, npt.NDArray[np.bool_]]]:
    """Bring columns to their types, and find the rows that cannot be used, by reason."""
    rows = batch.num_rows
    not_utf8, wrong_type = np.zeros(rows, bool), np.zeros(rows, bool)
    null_time, out_of_range = np.zeros(rows, bool), np.zeros(rows, bool)
    typed: dict[str, pa.Array] = {}
    for column in columns:
        values, bad_text = _to_text(batch.column(column.name))
        not_utf8 |= bad_text
        if column.kind == "timestamp":
            typed[column.name], bad = _leniently(values, _to_seconds)
            seconds = typed[column.name].fill_null(0).to_numpy(zero_copy_only=False)
            out_of_range = (seconds < _FIRST_SECOND) | (seconds > _LAST_SECOND)
            null_time = typed[column.name].is_null().to_numpy(zero_copy_only=False)
        else:
            typed[column.name], bad = _leniently(values, _caster(column, source))
        wrong_type |= bad
    reasons = {dead_letters.INVALID_UTF8: not_utf8, dead_letters.WRONG_TYPE: wrong_type}
    if id_names:
        ids = [typed[name] for name in id_names]
        nulls = [values.is_null().to_numpy(zero_copy_only=False) for values in ids]
        reasons |= {"null_id": np.logical_or.reduce(nulls), **bad_text_ids(ids)}
    reasons |= {"null_timestamp": null_time, dead_letters.OUT_OF_RANGE_TIMESTAMP: out_of_range}
    return pa.record_batch(typed), reasons


def _to_text(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Make bytes and all kinds of texts strings, null where they are not UTF-8; other types stay."""
    values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if is_text or pa.types.is_string_view(values.type):
        try:
            values.validate(full=True)
            return values.cast(pa.string()), np.zeros(len(values), bool)
        except pa.ArrowInvalid:
            values = values.cast(pa.binary())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return _leniently(values, lambda part: part.cast(pa.string()))
    return values, np.zeros(len(values), bool)


def _caster(column: Column, source: TableSource) -> Callable[[pa.Array], pa.Array]:
    feature = column.feature
    if column.kind == "any":
        return lambda values: values
    if feature is None:
        if column.kind == "text":
            return lambda values: values.cast(pa.string())
        return _to_number

    def cast(values: pa.Array) -> pa.Array:
        if feature.role is not None and pa.types.is_floating(values.type):
            raise DataError("an id is a text or an integer")
        if pa.types.is_string(values.type):
            if feature.is_list:
                values = _split_lists(values, source.list_separator)
            elif feature.dtype != "string":
                number = pa.int64() if feature.dtype == "int" else pa.float64()
                values = pc.utf8_trim_whitespace(values).cast(number)
        return cast_column(values, feature, "")

    return cast


def _split_lists(values: pa.Array, separator: str) -> pa.Array:
    lists = pc.split_pattern(values, separator)
    is_empty = pc.equal(values, "").fill_null(False)
    return pc.if_else(is_empty, pa.scalar([], lists.type), lists)


def _to_number(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type):
        return pc.utf8_trim_whitespace(values).cast(pa.float64())
    if pa.types.is_list(values.type):
        raise DataError("expected a single number")
    return values.cast(pa.float64()) if pa.types.is_null(values.type) else values


def _to_seconds(values: pa.Array) -> pa.Array:
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.int64())
    if not pa.types.is_string(values.type):
        if not (pa.types.is_integer(values.type) or pa.types.is_timestamp(values.type)):
            raise DataError("expected integer seconds or a timestamp")
        return cast_timestamp(values)
    texts = pc.utf8_trim_whitespace(values)
    numbers = pc.match_substring_regex(texts, r"^[+-]?\d+$").fill_null(False)
    zoned = pc.match_substring_regex(texts, r"\d(Z|[+-]\d\d:?\d\d)$").fill_null(False)
    # Of a plain date, the last part looks like an offset.
    zoned = pc.and_(zoned, pc.match_substring(texts, ":").fill_null(False))
    nothing = pa.scalar(None, pa.string())
    plain = pc.if_else(pc.or_(numbers, zoned), nothing, texts).cast(pa.timestamp("us"))
    with_zone = pc.if_else(pc.and_(zoned, pc.invert(numbers)), texts, nothing).cast(pa.timestamp("us", "UTC"))
    seconds = pc.if_else(numbers, texts, nothing).cast(pa.int64())
    return pc.coalesce(seconds, cast_timestamp(plain), cast_timestamp(with_zone))


def _leniently(
    values: pa.Array, cast: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Cast at once if all values fit, else halve them until those that do not stand alone, as null."""
    try:
        return cast(values), np.zeros(len(values), bool)
    except (pa.ArrowException, DataError):
        if len(values) <= 1:
            return cast(pa.nulls(len(values), pa.string())), np.ones(len(values), bool)
    half = len(values) // 2
    parts = [_leniently(part, cast) for part in (values[:half], values[half:])]
    return pa.concat_arrays([part for part, _ in parts]), np.concatenate([bad for _, bad in parts])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _show_bytes(content: bytes) -> str:
    return content.decode("utf-8", errors="backslashreplace")
