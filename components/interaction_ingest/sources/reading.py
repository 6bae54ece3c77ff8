"""Rows of files of every format, as RecordBatches of one form."""

import dataclasses
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
from components.interaction_ingest.sources.casting import cast_leniently, to_text
from components.interaction_ingest.sources.labels import clean_line_breaks, to_ids, to_labels
from components.interaction_ingest.sources.lists import clean_elements, have_other_syntax, to_lists
from components.interaction_ingest.sources.numbers import PLAUSIBLE_NUMBER, to_integers, to_numbers
from components.interaction_ingest.sources.parts import FIRST_SECOND, LAST_SECOND, Column, Piece
from components.interaction_ingest.sources.registry import FORMATS
from components.interaction_ingest.sources.times import PLAUSIBLE_TIME, take_part, to_time
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, InteractionTable, TableSource

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
    return FIRST_SECOND <= second <= min(latest_second, LAST_SECOND)


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
    # Several columns can be made of one of the file's, which is read once.
    by_source = {column.source: column for column in reversed(columns)}
    for part in FORMATS[piece.format].read(piece, source, list(by_source.values())):
        letters = list(part.letters)
        given = len(letters) + (0 if part.batch is None else part.batch.num_rows)
        if part.records not in (None, given):
            raise DataError(
                f"{piece.path}: {part.records:,} rows are in a part of the file, {given:,} were read or "
                "rejected. Expected each row once: this is a defect of the reader, please report it."
            )
        raw = pa.record_batch(
            {
                column.name: pa.nulls(0)
                if part.batch is None
                else part.batch.column(by_source[column.source].name)
                for column in columns
            }
        )
        conformed = _conform(raw, source, columns, id_names, piece)
        batch, numbers, cleaned = conformed.batch, part.numbers, conformed.cleaned
        if any(mask.any() for mask in conformed.reasons.values()):
            misfits = functools.partial(find_misfits, raw, batch, columns)
            keep, rejected = reject_rows(raw, conformed.reasons, numbers, piece.path, part.row_group, misfits)
            letters += rejected
            batch, numbers = batch.filter(pa.array(keep)), numbers[keep]
        rows = batch.append_column(ROW_COLUMN, pa.array(numbers, pa.int64()))
        yield rows, make_rejections(table, letters, part.unread_bytes, cleaned)


@dataclasses.dataclass(frozen=True)
class _Conformed:
    batch: pa.RecordBatch
    """[rows] the columns in their types, null where a value cannot be used."""
    reasons: dict[str, npt.NDArray[np.bool_]]
    """Per reason [rows] bool: whether the row cannot be used."""
    cleaned: dict[str, int]
    """Labels whose line breaks became spaces, by feature."""


def _conform(
    raw: pa.RecordBatch,
    source: TableSource,
    columns: Sequence[Column],
    id_names: Sequence[str],
    piece: Piece,
) -> _Conformed:
    """Bring columns to their types, and find the rows that cannot be used, by reason."""
    rows = raw.num_rows
    not_utf8, wrong_type, other_syntax = (np.zeros(rows, bool) for _ in range(3))
    null_time, out_of_range = np.zeros(rows, bool), np.zeros(rows, bool)
    typed: dict[str, pa.Array] = {}
    cleaned: dict[str, int] = {}
    for column in columns:
        feature = column.feature
        is_id = feature is not None and feature.role is not None
        values, bad_text = to_text(raw.column(column.name), is_id)
        not_utf8 |= bad_text
        if feature is not None and feature.is_list:
            is_other = have_other_syntax(values, source)
            if is_other.any():
                other_syntax |= is_other
                values = pc.if_else(pa.array(is_other), pa.scalar(None, pa.string()), values)
        reading = _choose_reading(column, source, piece)
        values, bad = cast_leniently(values, reading.cast, reading.plausible)
        wrong_type |= bad
        if column.kind == "timestamp":
            null_time = values.is_null().to_numpy(zero_copy_only=False)
            ticks = values.fill_null(0).to_numpy(zero_copy_only=False)
            seconds = np.floor_divide(ticks, _MICROSECONDS)
            out_of_range = (seconds < FIRST_SECOND) | (seconds > min(piece.latest_second, LAST_SECOND))
            typed[column.name] = pa.array(seconds, mask=null_time)
            typed[MICROSECOND_COLUMN] = pa.array((ticks - seconds * _MICROSECONDS).astype(np.int32))
            continue
        if feature is not None and feature.dtype == "string" and not is_id:
            values, count = clean_elements(values) if feature.is_list else clean_line_breaks(values)
            if count:
                cleaned[column.name] = count
        typed[column.name] = values
    reasons = {
        dead_letters.INVALID_UTF8: not_utf8,
        dead_letters.OTHER_LIST_SYNTAX: other_syntax,
        dead_letters.WRONG_TYPE: wrong_type,
    }
    if id_names:
        ids = [typed[name] for name in id_names]
        nulls = [values.is_null().to_numpy(zero_copy_only=False) for values in ids]
        reasons |= {"null_id": np.logical_or.reduce(nulls), **bad_text_ids(ids)}
    reasons |= {"null_timestamp": null_time, dead_letters.OUT_OF_RANGE_TIMESTAMP: out_of_range}
    return _Conformed(pa.record_batch(typed), reasons, cleaned)


@dataclasses.dataclass(frozen=True)
class _Reading:
    cast: Callable[[pa.Array], pa.Array]
    """Brings values to their type; raises where one does not fit."""
    plausible: str = ""
    """What a text must look like to be tried, a regular expression; '' for anything."""


def _choose_reading(column: Column, source: TableSource, piece: Piece) -> _Reading:
    """Choose how a column's values are read: the one place for the values of every format."""
    feature = column.feature
    times = _read_times(column, source, piece)
    if column.kind == "timestamp":
        return times
    if column.kind == "any":
        return _Reading(lambda values: values)
    if feature is None and column.kind == "text":
        return _Reading(to_labels)
    if feature is None:
        return _Reading(functools.partial(to_numbers, decimal=source.decimal), PLAUSIBLE_NUMBER)
    if feature.time_part is not None:
        return _Reading(
            lambda values: cast_column(take_part(times.cast(values), feature), feature, ""), times.plausible
        )
    is_number = feature.dtype != "string" and not feature.is_list
    cast = functools.partial(
        _cast_feature, feature=feature, source=source, are_all_texts=FORMATS[piece.format].is_untyped
    )
    return _Reading(cast, PLAUSIBLE_NUMBER if is_number else "")


def _read_times(column: Column, source: TableSource, piece: Piece) -> _Reading:
    """Read times by the unit and the format of the log where they are its own, also for parts of them."""
    if not isinstance(source, InteractionTable) or column.source != source.timestamp_source:
        return _Reading(functools.partial(to_time, decimal=source.decimal), PLAUSIBLE_TIME)
    cast = functools.partial(
        to_time, unit=piece.time_unit, time_format=source.time_format, decimal=source.decimal
    )
    return _Reading(cast, PLAUSIBLE_TIME if source.time_format is None else "")


def _cast_feature(values: pa.Array, feature: Feature, source: TableSource, are_all_texts: bool) -> pa.Array:
    if feature.role is not None:
        values = to_ids(values, are_all_texts)
    elif feature.is_list:
        values = to_lists(values, feature, source)
    elif feature.dtype == "string":
        values = to_labels(values)
    elif feature.dtype == "int":
        values = to_integers(values, source.decimal)
    else:
        values = to_numbers(values, source.decimal)
    return cast_column(values, feature, "")
