"""Cleaning, history, split and joins of the interactions, as functions over Arrow and numpy.

The tables are where `schemas.storage` reaches them; every other path is on a file system that all Beam
workers mount.
"""

import dataclasses
import datetime
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig, Split
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    MISSING_METADATA,
    OUTSIDE_WINDOW,
    IngestCounts,
)
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas import storage
from schemas.contract import HISTORY_PADDING
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec

FILE_COLUMN: Final = "#file"
"""Column of a cleaned batch: the index of the file that the row came from."""


ROW_COLUMN: Final = "#row"
"""Column of a cleaned batch: the number of the row in its file."""


TRAIN: Final = 0
"""Split code of a row to train on."""


EVAL: Final = 1
"""Split code of a held-out row."""


SKIPPED: Final = 2
"""Split code of a row that is newer than the held-out one and in no split."""


_ROWS_PER_BUCKET = 150_000


_UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclasses.dataclass(frozen=True)
class JoinTable:
    """A user or item table in the form that examples are made from."""

    ids: pa.Array
    """[rows] string, each once."""
    features: dict[str, pa.Array]
    """Per feature [rows] binary, int64, float32 or list of binary; [rows + 1] if defaults follow."""


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Every positive of some users, in the order (user, timestamp, file, row)."""

    rows: pa.Table
    """Ids, timestamp and context features, [rows]."""
    starts: npt.NDArray[np.int64]
    """[rows] position of the first row of the same user."""
    splits: npt.NDArray[np.int8]
    """[rows] TRAIN, EVAL or SKIPPED."""
    user_rows: npt.NDArray[np.int64]
    """[rows] the user's row in the user table, the number of its rows if it is not there."""
    item_rows: npt.NDArray[np.int64]
    """[rows] the item's row in the item table, the number of its rows if it is not there."""


def fingerprint_inputs(spec: FeatureSpec, data_directory: str) -> str:
    """Hash the three files, so that a cache sees changed data.

    Args:
        spec: Names the files.
        data_directory: The folder they are in: a path or URI. From an object store every byte is read.

    Returns:
        The hexadecimal SHA-256 over the files' names and contents.

    Raises:
        DataError: A file is missing or cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    digest = hashlib.sha256()
    for name in (spec.tables.interactions.file, spec.tables.users.file, spec.tables.items.file):
        path = storage.join(data_directory, name)
        require_file(path)
        try:
            with storage.open_stream(path) as stream:
                content = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error}") from error
        digest.update(hashlib.sha256(name.encode()).digest() + content)
    return digest.hexdigest()


def cast_column(column: pa.Array | pa.ChunkedArray, feature: Feature, source: str) -> pa.Array:
    """Bring a column to the type that the feature declares.

    Args:
        column: [rows] of a type that fits the feature; dictionary-encoded and large types do.
        feature: The feature.
        source: The file's name, for messages.

    Returns:
        [rows] string, int64, float32 or list of string, nulls kept.

    Raises:
        DataError: A value does not fit: text that is not UTF-8, or an integer beyond 64 bits.
    """
    if feature.multi_valued:
        target = pa.list_(pa.string())
    else:
        target = {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}[feature.dtype]
    try:
        values = _plain(column).cast(target, safe=feature.dtype != "float")
        values.validate(full=feature.dtype == "string")
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{source}: column {feature.name!r} holds a value that is no {feature.dtype}: {error}. "
            "Correct the value, or write the column with another type."
        ) from error
    return values


def cast_timestamp(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Bring a timestamp column to seconds.

    Args:
        column: [rows] integer seconds since 1970, or an Arrow timestamp (UTC unless it has a zone).

    Returns:
        [rows] int64 seconds since 1970, rounded down, nulls kept.
    """
    values = _plain(column)
    if not pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    ticks = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds = np.floor_divide(ticks, _UNITS_PER_SECOND[values.type.unit])
    return pa.array(seconds, mask=_to_mask(values.is_null()))


def fill_missing(values: pa.Array, feature: Feature) -> tuple[pa.Array, int]:
    """Put the feature's default in the place of missing values.

    A value is missing if it is null or, in a float, not finite; a list also if one of its elements is null.

    Args:
        values: [rows] as `cast_column` gives them.
        feature: The feature.

    Returns:
        The values, [rows], unchanged if the feature has no default; and the number missing.
    """
    if feature.multi_valued:
        elements = values.flatten()
        count = values.null_count + elements.null_count
        if not count or feature.default is None:
            return values, count
        whole = pc.coalesce(values, pa.scalar([feature.default], values.type))
        return _list_array(
            pc.list_value_length(whole).to_numpy(), whole.flatten().fill_null(feature.default)
        ), count
    if feature.dtype == "float":
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    count = values.null_count
    if count and feature.default is not None:
        values = values.fill_null(pa.scalar(feature.default, values.type))
    return values, count


def interaction_columns(spec: FeatureSpec, config: IngestConfig) -> list[str]:
    """List the columns of the interactions that are read.

    Args:
        spec: The features.
        config: The positive rule.

    Returns:
        Column names, each once.
    """
    names = [spec.user_id.name, spec.item_id.name, spec.timestamp]
    names += [feature.name for feature in spec.table_features("context")]
    if config.positives is not None:
        names.append(config.positives.column)
    return list(dict.fromkeys(names))


def clean_batch(
    batch: pa.RecordBatch,
    file_index: int,
    first_row: int,
    spec: FeatureSpec,
    config: IngestConfig,
    window: Window = ALL_DAYS,
) -> tuple[pa.RecordBatch, IngestCounts]:
    """Cast a batch of interactions and drop what is no positive with a usable id and time.

    Args:
        batch: [rows] with the columns of `interaction_columns`.
        file_index: Index of the file that the batch comes from.
        first_row: Number of its first row in the file.
        spec: The features.
        config: The positive rule.
        window: The days that are read.

    Returns:
        The rows kept (ids as string, timestamp as int64 seconds, context features cast, FILE_COLUMN
        int32, ROW_COLUMN int64); and the counts, each dropped row under the first reason that holds.

    Raises:
        DataError: A value does not fit its feature.
    """
    source = spec.tables.interactions.file
    users = cast_column(batch.column(spec.user_id.name), spec.user_id, source)
    items = cast_column(batch.column(spec.item_id.name), spec.item_id, source)
    timestamps = cast_timestamp(batch.column(spec.timestamp))
    reasons = {
        "null_id": _to_mask(pc.or_(users.is_null(), items.is_null())),
        **bad_text_ids([users, items]),
        "null_timestamp": _to_mask(timestamps.is_null()),
    }
    if not window.is_open:
        reasons[OUTSIDE_WINDOW] = _outside_window(timestamps, window)
    if config.positives is not None:
        values = _plain(batch.column(config.positives.column))
        if not pa.types.is_floating(values.type):
            values = values.cast(pa.float64(), safe=False)
        rated = values.to_numpy(zero_copy_only=False)
        reasons["no_value_for_positive_rule"] = np.isnan(rated)
        # Numpy rounds a Python number to the column's own precision: a float32 of 4.1 passes a rule of 4.1.
        reasons["below_positive_rule"] = rated < config.positives.at_least
    keep, dropped = drop_by_reason(batch.num_rows, reasons)
    columns = {spec.user_id.name: users, spec.item_id.name: items, spec.timestamp: timestamps}
    for feature in spec.table_features("context"):
        columns[feature.name] = cast_column(batch.column(feature.name), feature, source)
    columns[FILE_COLUMN] = pa.array(np.full(batch.num_rows, file_index, np.int32))
    columns[ROW_COLUMN] = pa.array(np.arange(first_row, first_row + batch.num_rows, dtype=np.int64))
    kept = pa.record_batch(columns).filter(pa.array(keep))
    return kept, IngestCounts(rows=Counter(read=batch.num_rows), dropped=dropped)


def bucket_count(rows: int) -> int:
    """Choose into how many buckets of users the rows are partitioned.

    Args:
        rows: Number of interactions.

    Returns:
        At least 1; a bucket has about 150,000 rows, so that it is one batch in memory.
    """
    return max(1, math.ceil(rows / _ROWS_PER_BUCKET))


def partition_by_user(batch: pa.RecordBatch, user_column: str, buckets: int) -> dict[int, pa.RecordBatch]:
    """Split a batch by a hash of the user, the same on every machine.

    Args:
        batch: [rows] with the user ids as string without nulls.
        user_column: Name of the user id.
        buckets: Number of buckets.

    Returns:
        Per bucket its rows, in their order; no entry for a bucket without rows.
    """
    if buckets == 1:
        return {0: batch} if batch.num_rows else {}
    encoded = batch.column(user_column).dictionary_encode()
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    bucket_of_row = (hashes % np.uint64(buckets)).astype(np.int64)[encoded.indices.to_numpy()]
    return {
        int(bucket): batch.take(pa.array(np.flatnonzero(bucket_of_row == bucket)))
        for bucket in np.unique(bucket_of_row)
    }


def join_table(table: pa.Table, id_name: str, features: Sequence[Feature], with_defaults: bool) -> JoinTable:
    """Bring a user or item table to the form that examples are made from.

    Args:
        table: A cleaned table, [rows].
        id_name: Name of the id.
        features: The table's features.
        with_defaults: Whether a row of defaults follows, for ids that are not in the table.

    Returns:
        The ids, and the features with rows + 1 values if `with_defaults`.
    """
    columns = {}
    for feature in features:
        if feature.role is not None:
            continue
        values = table.column(feature.name).combine_chunks()
        if with_defaults:
            default = [feature.default] if feature.multi_valued else feature.default
            values = pa.concat_arrays([values, pa.array([default], values.type)])
        columns[feature.name] = _to_binary(values)
    return JoinTable(table.column(id_name).combine_chunks(), columns)


def build_bucket(
    batches: Iterable[pa.RecordBatch],
    users: JoinTable,
    items: JoinTable,
    spec: FeatureSpec,
    config: IngestConfig,
) -> tuple[Bucket, IngestCounts]:
    """Order the rows of some users, look up their metadata and assign the splits.

    Args:
        batches: Every cleaned row of these users, in any order.
        users: The user table.
        items: The item table.
        spec: The features.
        config: The split, and what to do about missing metadata. Rows without metadata are dropped
            and counted unless it is `default`; whether that is refused is decided on the sum.

    Returns:
        The bucket, and the counts.
    """
    table = pa.Table.from_batches(list(batches)).combine_chunks()
    user_rows = _look_up(table.column(spec.user_id.name), users.ids)
    item_rows = _look_up(table.column(spec.item_id.name), items.ids)
    user_unknown, item_unknown = user_rows == len(users.ids), item_rows == len(items.ids)
    unknown_users = pc.unique(table.column(spec.user_id.name).filter(pa.array(user_unknown))).to_pylist()
    unknown_items = pc.unique(table.column(spec.item_id.name).filter(pa.array(item_unknown))).to_pylist()
    keep = np.ones(len(table), bool)
    if config.missing_metadata != "default":
        keep = ~(user_unknown | item_unknown)
    order, starts = order_rows(table, keep, spec)
    table = table.take(pa.array(order)).drop_columns([FILE_COLUMN, ROW_COLUMN])

    filled: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for feature in spec.table_features("context"):
        values, count = fill_missing(table.column(feature.name).combine_chunks(), feature)
        (missing if feature.default is None else filled)[feature.name] += count
        table = table.set_column(table.column_names.index(feature.name), feature.name, values)

    timestamps = table.column(spec.timestamp).to_numpy()
    splits, single_users = assign_splits(starts, timestamps, config.split)
    counts = IngestCounts(
        rows=Counter(
            train=int((splits == TRAIN).sum()),
            eval=int((splits == EVAL).sum()),
            skipped=int((splits == SKIPPED).sum()),
            users=len(np.unique(starts)),
            users_with_one_positive=single_users,
            unknown_users=len(unknown_users),
        ),
        dropped=Counter({MISSING_METADATA: int((~keep).sum())}),
        filled=filled,
        missing=missing,
        unknown_users=tuple(sorted(unknown_users)[:EXAMPLE_IDS_SHOWN]),
        unknown_items=frozenset(unknown_items),
        first_timestamp=float(timestamps.min()) if len(table) else math.inf,
        last_timestamp=float(timestamps.max()) if len(table) else -math.inf,
    )
    return Bucket(table, starts, splits, user_rows[order], item_rows[order]), counts


def order_rows(
    table: pa.Table, keep: npt.NDArray[np.bool_], spec: FeatureSpec
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the order (user, timestamp, file, row).

    Args:
        table: Cleaned rows, [rows], in any order.
        keep: [rows] bool, whether the row takes part.
        spec: The features.

    Returns:
        [kept rows] int64 rows of the table in that order, users in the order of their first rows in
        time; and [kept rows] int64 position of the first row of the same user.
    """
    order = np.flatnonzero(keep)
    names = (ROW_COLUMN, FILE_COLUMN, spec.timestamp)
    order = order[np.lexsort([table.column(name).to_numpy()[order] for name in names])]
    # Codes are given in order of appearance, so they do not depend on the order the rows came in.
    users = table.column(spec.user_id.name).take(pa.array(order)).combine_chunks().dictionary_encode()
    codes = users.indices.to_numpy()
    by_user = np.argsort(codes, kind="stable")
    return order[by_user], group_starts(codes[by_user])


def group_starts(codes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find where the group of each row starts.

    Args:
        codes: [rows], equal values side by side.

    Returns:
        [rows] int64 position of the first row with the same value.
    """
    is_first = np.ones(len(codes), bool)
    is_first[1:] = codes[1:] != codes[:-1]
    firsts = np.flatnonzero(is_first)
    return np.repeat(firsts, np.diff(np.append(firsts, len(codes))))


def assign_splits(
    starts: npt.NDArray[np.int64], timestamps: npt.NDArray[np.int64], split: Split
) -> tuple[npt.NDArray[np.int8], int]:
    """Say which rows are trained on and which are held out.

    Under `latest_per_user`, holding out the latest row of every user with at least two is done
    skip_latest + 1 times: what the last time holds out is eval, what was held out before is skipped.
    So each user keeps at least one train row.

    Args:
        starts: [rows] int64 first position of the row's user, rows in time order within the user.
        timestamps: [rows] int64 seconds since 1970.
        split: The rule.

    Returns:
        [rows] int8 TRAIN, EVAL or SKIPPED; and the number of users with a single row, those skipped
        not counted, of which `latest_per_user` holds out none.
    """
    rows = len(starts)
    firsts, sizes = np.unique(starts, return_counts=True)
    splits = np.full(rows, TRAIN, np.int8)
    if split.kind == "cut_off":
        moment = split.time if split.time.tzinfo else split.time.replace(tzinfo=datetime.UTC)
        splits[timestamps >= math.ceil(moment.timestamp())] = EVAL
        return splits, int((sizes == 1).sum())
    skipped = np.minimum(split.skip_latest, sizes - 1)
    left = sizes - skipped
    newer_rows = np.repeat(firsts + sizes, sizes) - 1 - np.arange(rows)
    splits[newer_rows < np.repeat(skipped, sizes)] = SKIPPED
    splits[(firsts + left - 1)[left >= 2]] = EVAL
    return splits, int((left == 1).sum())


def history_positions(
    starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.int64]:
    """Find the positives just before some rows.

    Args:
        starts: [bucket rows] int64 first position of each row's user, rows in time order within the user.
        rows: [rows] int64 positions to build a history for.
        length: Number of positives, N.

    Returns:
        [rows, N] int64 positions in the bucket, the newest last, -1 for padding on the left.
    """
    positions = rows[:, np.newaxis] + np.arange(-length, 0)
    return np.where(positions >= starts[rows][:, np.newaxis], positions, -1)


def example_batch(
    bucket: Bucket, rows: npt.NDArray[np.int64], users: JoinTable, items: JoinTable, spec: FeatureSpec
) -> pa.RecordBatch:
    """Put together the examples of some rows.

    Args:
        bucket: The bucket.
        rows: [rows] int64 positions in the bucket.
        users: The user table, with a row of defaults if the bucket holds users that are not in it.
        items: The item table, likewise.
        spec: The features.

    Returns:
        [rows] with a list column per feature, timestamp and history: binary, int64 or float32.
    """
    selected = bucket.rows.take(pa.array(rows))
    columns: dict[str, pa.Array] = {}
    for feature in spec.features:
        if feature.role is not None or feature.tower == "context":
            values = _to_binary(selected.column(feature.name).combine_chunks())
        elif feature.tower == "user":
            values = users.features[feature.name].take(pa.array(bucket.user_rows[rows]))
        else:
            values = items.features[feature.name].take(pa.array(bucket.item_rows[rows]))
        columns[feature.name] = (
            values if feature.multi_valued else _list_array(np.ones(len(rows), np.int64), values)
        )
    timestamps = selected.column(spec.timestamp).combine_chunks()
    columns[spec.timestamp] = _list_array(np.ones(len(rows), np.int64), timestamps)
    if spec.history is not None:
        positions = history_positions(bucket.starts, rows, spec.history.length)
        found = pa.array(positions.ravel(), mask=positions.ravel() < 0)
        ids = bucket.rows.column(spec.item_id.name).combine_chunks().take(found).fill_null(HISTORY_PADDING)
        columns[spec.history.name] = _list_array(np.full(len(rows), spec.history.length), _to_binary(ids))
    return pa.record_batch(columns)


def build_catalogue(
    items: pa.Table, spec: FeatureSpec, unknown_items: Iterable[str], missing_metadata: str
) -> pa.Table:
    """List every item once.

    Args:
        items: The cleaned item table: id, features, display columns.
        spec: The features.
        unknown_items: Ids of items that occur in interactions only.
        missing_metadata: With `default`, those follow in the order of their ids, with the features'
            defaults and null in the display columns that are no features.

    Returns:
        The catalogue, in the item table's order.
    """
    unknown = sorted(unknown_items)
    if missing_metadata != "default" or not unknown:
        return items
    columns: dict[str, pa.Array] = {}
    for field in items.schema:
        columns[field.name] = pa.nulls(len(unknown), field.type)
    for feature in spec.table_features("item"):
        value: Any = [feature.default] if feature.multi_valued else feature.default
        values = unknown if feature.role is not None else [value] * len(unknown)
        columns[feature.name] = pa.array(values, items.schema.field(feature.name).type)
    return pa.concat_tables([items, pa.table(columns, schema=items.schema)])


def require_file(location: str) -> storage.FileStatus:
    """Check that an input file is there.

    Args:
        location: The file: a path or URI.

    Returns:
        Its size and age.

    Raises:
        DataError: It is not; the message names the Parquet files that are.
        StorageError: Its store cannot be reached or refuses.
    """
    status = storage.find_file(location)
    if status is not None:
        return status
    folder = storage.find_parent(location)
    names = storage.list_names(folder)
    # An object store knows no folders, so one without files is none.
    if not names and (storage.is_remote(folder) or not Path(folder).is_dir()):
        name = PurePosixPath(location).name
        raise DataError(f"No folder {folder}: expected it to hold {name}. Set data.directory to it.")
    tables = [name for name in names if name.endswith(".parquet")]
    raise DataError(
        f"No file {location}. Parquet files in the folder: {', '.join(tables) or 'none'}. "
        "Put the file there, or correct data.directory or the schema file's 'tables'."
    )


def _outside_window(timestamps: pa.Array, window: Window) -> npt.NDArray[np.bool_]:
    seconds = timestamps.fill_null(0).to_numpy(zero_copy_only=False)
    outside = np.zeros(len(seconds), bool)
    if window.start_second is not None:
        outside |= seconds < window.start_second
    if window.end_second is not None:
        outside |= seconds >= window.end_second
    return outside


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _to_mask(values: pa.Array) -> npt.NDArray[np.bool_]:
    return values.fill_null(False).to_numpy(zero_copy_only=False)


def bad_text_ids(columns: Sequence[pa.Array]) -> dict[str, npt.NDArray[np.bool_]]:
    """Find the rows with an id that cannot be used.

    Args:
        columns: Id columns, each [rows] string.

    Returns:
        Per reason [rows] bool: whether one of the row's ids is such.
    """
    # TFT keeps vocabularies as text, one value per line; '' is the history's padding.
    return {
        "empty_id": np.logical_or.reduce([_to_mask(pc.equal(ids, HISTORY_PADDING)) for ids in columns]),
        "line_break_in_id": np.logical_or.reduce(
            [_to_mask(pc.match_substring_regex(ids, "[\r\n]")) for ids in columns]
        ),
    }


def drop_by_reason(
    rows: int, reasons: dict[str, npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.bool_], Counter[str]]:
    """Count the rows to drop, each under the first reason that holds.

    Args:
        rows: Number of rows.
        reasons: Per reason [rows] bool.

    Returns:
        [rows] bool, whether to keep the row; and the counts that are not 0.
    """
    keep = np.ones(rows, bool)
    dropped: Counter[str] = Counter()
    for reason, mask in reasons.items():
        count = int((keep & mask).sum())
        if count:
            dropped[reason] = count
        keep &= ~mask
    return keep, dropped


def _look_up(ids: pa.ChunkedArray, known: pa.Array) -> npt.NDArray[np.int64]:
    found = pc.index_in(ids, value_set=known).fill_null(len(known))
    return found.to_numpy().astype(np.int64)


def _list_array(lengths: npt.NDArray[Any], values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _to_binary(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type):
        return values.cast(pa.binary())
    if pa.types.is_list(values.type):
        return values.cast(pa.list_(pa.binary()))
    return values
