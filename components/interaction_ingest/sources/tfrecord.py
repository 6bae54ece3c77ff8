"""Rows of TFRecord files of tf.Example."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter, reject_rows
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
    to_text_column,
)
from components.interaction_ingest.sources.streams import SourceStream
from components.tfrecords import walk_records
from schemas.features import TableSource

_RECORDS_PER_BATCH = 8_192


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the start of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: Not used; every format's `look` is given it.

    Returns:
        The features of the examples at its start, and an estimate of the number of examples.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(file.path, whole_lines=False) as stream:
        records = [
            record.content
            for record in walk_records(next(stream.chunks(), b""))
            if record.content is not None and record.is_good
        ]
        tables = [table for _, table in _decode_examples(records) if table is not None]
        names = set().union(*(table.schema.names for table in tables))
        return look_of_start(stream, file, index, names, len(records))


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: Not used; every format's reader is given it.
        columns: The columns.

    Yields:
        Rows in the order of the file, and the records that are none.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
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
                    text=f"{show_bytes(framed.records[place])} (the checksum is wrong)",
                )
                for place, is_good in enumerate(framed.is_good)
                if not is_good
            ]
            start = 0
            for count, batch in _decode_examples([framed.records[place] for place in good]):
                places = good[start : start + count]
                start += count
                if batch is None:
                    text = show_bytes(framed.records[places[0]])
                    number = int(numbers[places[0]]) + 1
                    letters.append(DeadLetter(dead_letters.MALFORMED_EXAMPLE, piece.path, number, text=text))
                    continue
                keep, rejected = _reject_several_values(batch, numbers[places], columns, piece.path)
                named = _name_examples(batch.filter(pa.array(keep)), columns)
                yield RawPart(named, numbers[places][keep], rejected, records=count)
            if letters:
                yield RawPart(None, NO_NUMBERS, letters, records=len(letters))
            if framed.problem:
                rest, unread = reject_unreadable_rest(stream, piece, done, framed.problem)
                # Nothing tells how much follows what was cut off.
                unread = piece.size_bytes if framed.is_cut_off else unread + framed.left_bytes
                yield RawPart(None, NO_NUMBERS, rest, min(unread, piece.size_bytes))


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
        for record in walk_records(content):
            if record.content is None:
                yield _Framed(records, is_good, "the length of a record is damaged", len(content) - end)
                return
            records.append(record.content)
            is_good.append(record.is_good)
            end = record.end
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


FORMAT: Final = SourceFormat("tfrecord", "TFRecord", ("pyarrow",), (".tfrecord", ".tfrecords"), look, read)
"""TFRecord files of tf.Example."""
