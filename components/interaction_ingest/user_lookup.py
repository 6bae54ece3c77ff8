"""One user of the tables, by the very same rules as the ingest: what serving knows about the user.

The history is every positive that the ingest keeps of the user, of every split (train, validation, eval and
what is skipped), whose item is in the release's catalogue. So it is the user's row of the sequences, with
what the log has got since. A user without a row in the user table has a history too, although the ingest may
drop such users.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import empty_message
from components.interaction_ingest.reading.cleaning import clean_batch
from components.interaction_ingest.reading.inputs import InteractionFiles, open_interactions
from components.interaction_ingest.reading.newest import can_hold, find_newest, find_newest_positive
from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column, Piece
from components.interaction_ingest.sources.reading import list_columns, list_entity_columns, read_piece
from components.interaction_ingest.user_sequences import build_sequences
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec


@dataclasses.dataclass(frozen=True)
class UserRecord:
    """What the tables say about a user."""

    features: dict[str, Any] | None
    """The row of the user table with missing values as None; None if there is no such row, or no table."""
    positives: list[str]
    """Item ids of the history, oldest first."""
    seconds: list[int]
    """The times of its interactions in seconds since 1970."""
    interacted: list[str]
    """Item ids of all interactions."""
    log_end: int | None = None
    """Seconds since 1970 of the log's newest interaction within the window, whoever's it is, which is what a
    recommendation takes for now; None where the model is not told how long ago the history was, and of a log
    without a time."""


@dataclasses.dataclass
class _UserRows:
    """What was read of the interactions for one user."""

    cleaned: list[pa.RecordBatch]
    """The user's rows that the rules keep."""
    interacted: list[str]
    """The items of all of the user's rows that are not malformed."""
    unread: list[Piece]
    """The pieces of the log without a row of the user, which were not read."""
    newest: int | None
    """Seconds since 1970 of the newest row of the others, whoever's it is."""


def read_user(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, user: str, catalogue_ids: pa.Array
) -> UserRecord:
    """Read what the tables say about a user; ids are compared as text, whatever type they have there.

    Args:
        spec: The features, and the tables.
        config: The rules of the ingest.
        data_directory: The folder of the tables: a path or URI.
        user: The user's id.
        catalogue_ids: [items] string, the ids of the release's catalogue.

    Returns:
        The features, the history, and all items of the user; with `time_gap_buckets`, the end of the log.
        Rows that the ingest rejects are in none of them.

    Raises:
        ConfigError: A name under `columns` of a table is none of its columns, or a format cannot be told.
        DataError: A table is missing, empty or unreadable, or lacks a column.
        StorageError: The tables' store cannot be reached or refuses.
    """
    of_user = _read_users(spec, data_directory, spec.table_features("user"), user)
    features = next((row for batch in of_user for row in batch.to_pylist()), None)
    opened = open_interactions(spec, config, data_directory, config.window)
    rows = _read_interactions(opened, spec, config, user)
    newest = None
    if config.split.needs_newest and config.repeated != "keep_all":
        # Repeated pairs are dropped within a split, and the splits hang on the newest of all users.
        newest = find_newest_positive(opened.looked, spec, config, opened.window)
    sequences, _ = build_sequences(
        rows.cleaned,
        pa.array([user], pa.string()),
        catalogue_ids.cast(pa.string()),
        spec,
        # What the release does not hold was in no training history either.
        dataclasses.replace(config, missing_metadata="drop"),
        newest,
    )
    has_gaps = spec.history is not None and spec.history.time_gap_buckets is not None
    return UserRecord(
        features=features,
        positives=sequences.item_ids.take(pa.array(sequences.items)).to_pylist(),
        seconds=sequences.columns.column(spec.timestamp).to_pylist(),
        interacted=rows.interacted,
        log_end=_find_log_end(opened, spec, config, rows) if has_gaps else None,
    )


def read_user_numbers(spec: FeatureSpec, data_directory: str, feature: Feature) -> npt.NDArray[np.float64]:
    """Read a number of the user table for every user.

    Args:
        spec: The features, and the tables.
        data_directory: The folder of the tables: a path or URI.
        feature: A feature of the user table, a single number.

    Returns:
        [users] float64, those without a finite one left out.

    Raises:
        ConfigError: The format of the table cannot be told.
        DataError: The table is missing or unreadable, or lacks the column.
        StorageError: The table's store cannot be reached or refuses.
    """
    parts = [
        batch.column(feature.name).cast(pa.float64()).drop_null().to_numpy()
        for batch in _read_users(spec, data_directory, (spec.user_id, feature))
    ]
    numbers = np.concatenate([np.zeros(0), *parts])
    return numbers[np.isfinite(numbers)]


def _read_interactions(
    opened: InteractionFiles, spec: FeatureSpec, config: IngestConfig, user: str
) -> _UserRows:
    """Read a user's rows, and no more of the log than may hold some."""
    log, columns = spec.tables.interactions, list_columns(spec, config)
    user_id, item_id = spec.user_id.name, spec.item_id.name
    id_column = _column_of(columns, user_id)
    rows = _UserRows([], [], [], None)
    for piece in opened.looked.pieces:
        # One is read in any case, for the types of the columns.
        if rows.cleaned and not can_hold(piece, id_column, user):
            rows.unread.append(piece)
            continue
        for batch, _ in read_piece(piece, log, "interactions", columns, [user_id, item_id]):
            second = pc.max(batch.column(spec.timestamp)).as_py()
            if second is not None:
                rows.newest = second if rows.newest is None else max(rows.newest, second)
            of_user = batch.filter(pc.equal(batch.column(user_id), user))
            rows.interacted += of_user.column(item_id).to_pylist()
            kept, _ = clean_batch(of_user, piece.file_index, spec, config, opened.window)
            if kept.num_rows or not rows.cleaned:
                rows.cleaned.append(kept)
    if not rows.cleaned:
        raise DataError(empty_message(log.file))
    return rows


def _find_log_end(
    opened: InteractionFiles, spec: FeatureSpec, config: IngestConfig, rows: _UserRows
) -> int | None:
    """Find the newest time within the window, of what was read and of the rest of the log."""
    log, columns = spec.tables.interactions, list_columns(spec, config)
    ids = [spec.user_id.name, spec.item_id.name]

    def read(piece: Piece) -> Iterator[pa.RecordBatch]:
        for batch, _ in read_piece(piece, log, "interactions", columns, ids):
            yield batch

    newest = find_newest(rows.unread, _column_of(columns, spec.timestamp), read, rows.newest)
    end = opened.window.end_second
    return newest if newest is None or end is None else min(newest, end - 1)


def _read_users(
    spec: FeatureSpec, data_directory: str, features: Sequence[Feature], user: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Read the user table, or the rows of one user; nothing where there is no such table."""
    source, user_id = spec.tables.users, spec.user_id.name
    if source is None:
        return
    columns = list_entity_columns(source, features, ())
    looked = look_into_files(source, "users", find_files(source, data_directory), columns)
    for piece in looked.pieces:
        if user is not None and not can_hold(piece, _column_of(columns, user_id), user):
            continue
        for batch, _ in read_piece(piece, source, "users", columns, [user_id]):
            rows = batch.select([column.name for column in columns])
            yield rows if user is None else rows.filter(pc.equal(rows.column(user_id), user))


def _column_of(columns: Sequence[Column], name: str) -> Column:
    return next(column for column in columns if column.name == name)
