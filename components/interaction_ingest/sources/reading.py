"""Rows of files of every format, as RecordBatches of one form."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest import dead_letters
from components.interaction_ingest.columns import cast_column
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.dead_letters import Rejections, make_rejections, reject_rows
from components.interaction_ingest.reading.cleaning import (
    MICROSECOND_COLUMN,
    ROW_COLUMN,
    bad_text_ids,
    interaction_columns,
)
from components.interaction_ingest.reading.misfits import find_misfits
from components.interaction_ingest.sources.casting import (
    PLAUSIBLE,
    cast_leniently,
    split_lists,
    to_number,
    to_text,
    to_time,
)
from components.interaction_ingest.sources.parts import LAST_SECOND, NO_NUMBERS, Column, Piece
from components.interaction_ingest.sources.registry import FORMATS
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, TableSource

_FIRST_SECOND = -62_135_596_800
_MICROSECONDS = 10**6


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


def is_possible_time(second: int, latest_second: int) -> bool:
    """Tell a time from a number that is none, such as milliseconds where seconds belong.

    Args:
        second: Seconds since 1970.
        latest_second: The latest time that there can be.

    Returns:
        Whether it lies in the years 1 to 9999, and is not later than that.
    """
    return _FIRST_SECOND <= second <= min(latest_second, LAST_SECOND)


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
    for part in FORMATS[piece.format].read(piece, source, columns):
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
            yield _number(empty, NO_NUMBERS), make_rejections(table, letters, part.unread_bytes)
            continue
        batch, reasons = _conform(part.batch, source, columns, id_names, piece.latest_second)
        numbers = part.numbers
        if any(mask.any() for mask in reasons.values()):
            misfits = functools.partial(find_misfits, part.batch, batch, columns)
            keep, rejected = reject_rows(part.batch, reasons, numbers, piece.path, part.row_group, misfits)
            letters += rejected
            batch, numbers = batch.filter(pa.array(keep)), numbers[keep]
        yield _number(batch, numbers), make_rejections(table, letters, part.unread_bytes)


def _number(batch: pa.RecordBatch, numbers: npt.NDArray[np.int64]) -> pa.RecordBatch:
    return batch.append_column(ROW_COLUMN, pa.array(numbers, pa.int64()))


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
