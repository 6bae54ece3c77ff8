"""Rows of the table as the tower reads them: malformed ones left out, missing values filled in."""

import functools
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.counts import IngestCounts
from components.interaction_ingest.dead_letters import (
    WRONG_TYPE,
    DeadLetter,
    Rejections,
    make_rejections,
    reject_rows,
)
from components.interaction_ingest.missing import fill_missing
from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.sources.casting import cast_leniently
from components.interaction_ingest.sources.parts import Piece
from components.interaction_ingest.sources.reading import read_piece
from pipeline.embed.table import InputTable
from schemas.errors import DataError
from schemas.sequences import value_type


def read_rows(piece: Piece, table: InputTable) -> Iterator[tuple[pa.Table, IngestCounts, list[Rejections]]]:
    """Read a piece of the table in batches.

    Args:
        piece: What to read.
        table: The table that it is of.

    Yields:
        Rows in the order of the file: the id, the features, and the history (list of string, null or empty
        where none is given) and its times (list of int64, null where they are not known) where the table
        has them; how many were read, left out and filled in; and what was left out.

    Raises:
        DataError: Rows have vanished between the file and its parser.
        StorageError: The store cannot be reached or refuses.
    """
    for batch, rejected in read_piece(
        piece, table.source, table.name, table.columns, [table.id_feature.name]
    ):
        kept, letters = check_histories(batch, table, piece)
        rows, filled, missing = fill_rows(kept, table)
        counts = IngestCounts(rows=Counter(read=kept.num_rows), filled=filled, missing=missing)
        yield rows, counts, [rejected, make_rejections(table.name, letters)]


def check_histories(
    batch: pa.RecordBatch, table: InputTable, piece: Piece
) -> tuple[pa.RecordBatch, list[DeadLetter]]:
    """Leave out rows with a history that has a hole, or other times than items.

    Args:
        batch: [rows] as `read_piece` gives them.
        table: The table.
        piece: What they were read from.

    Returns:
        The rows that are kept, their times as lists of int64; and a dead letter for each other one.
    """
    if table.history is None:
        return batch, []
    items = batch.column(table.history)
    wrong = _has_holes(items)
    if table.history_seconds is not None:
        times = batch.column(table.history_seconds)
        seconds, bad = cast_leniently(times, functools.partial(_to_seconds, table.source.list_separator))
        differs = pc.not_equal(pc.list_value_length(seconds), pc.list_value_length(items).fill_null(0))
        wrong |= bad | _has_holes(seconds) | differs.fill_null(False).to_numpy(zero_copy_only=False)
        place = batch.schema.get_field_index(table.history_seconds)
        batch = batch.set_column(place, table.history_seconds, seconds)
    if not wrong.any():
        return batch, []
    numbers = batch.column(ROW_COLUMN).to_numpy()
    keep, letters = reject_rows(batch, {WRONG_TYPE: wrong}, numbers, piece.path)
    return batch.filter(pa.array(keep)), letters


def fill_rows(batch: pa.RecordBatch, table: InputTable) -> tuple[pa.Table, Counter[str], Counter[str]]:
    """Put the defaults of the schema file in the place of missing values, as the ingest does.

    Args:
        batch: [rows] the columns of the table.
        table: The table.

    Returns:
        [rows] the id, the features and the history; and by feature, how many values were filled in, and how
        many are missing that have no default.
    """
    columns = {table.id_feature.name: batch.column(table.id_feature.name)}
    filled: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for feature in table.features:
        columns[feature.name], count = fill_missing(batch.column(feature.name), feature)
        if count:
            (missing if feature.default is None else filled)[feature.name] = count
    for one in table.stand_ins:
        value = pa.scalar(one.value, value_type(one.feature))
        columns[one.feature.name] = pa.repeat(value, batch.num_rows)
    for name in (table.history, table.history_seconds):
        if name is not None:
            columns[name] = batch.column(name)
    return pa.table(columns), filled, missing


def _has_holes(lists: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell, [rows], whether a list has an element that is null."""
    holes = np.zeros(len(lists), bool)
    elements = lists.flatten()
    if elements.null_count:
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        owners = np.repeat(np.arange(len(lists)), lengths)
        holes[owners[elements.is_null().to_numpy(zero_copy_only=False)]] = True
    return holes


def _to_seconds(separator: str, values: pa.Array) -> pa.Array:
    """Make lists of int64 of lists of numbers, or of texts of them as CSV and JSON have."""
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.list_(pa.int64()))
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.int64()))
    if not pa.types.is_string(values.type):
        raise DataError("expected a list of seconds since 1970")
    texts = pc.utf8_trim(values, " []")
    lists = pc.split_pattern_regex(texts, rf"\s*(?:,|{re.escape(separator)})\s*")
    lists = pc.if_else(pc.equal(texts, "").fill_null(False), pa.scalar([], lists.type), lists)
    return lists.cast(pa.list_(pa.int64()))
