"""Cleaning, history, split and joins of the interactions, as functions over Arrow and numpy.

The tables are where `schemas.storage` reaches them; every other path is on a file system that all Beam
workers mount.
"""

import dataclasses
import datetime
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig, PositiveRule, Split, WeightRule
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    MISSING_METADATA,
    OUTSIDE_WINDOW,
    OVER_USER_LIMIT,
    REPEATED_PAIR,
    IngestCounts,
)
from components.interaction_ingest.history import (
    HistoryValues,
    bytes_per_row,
    feature_columns,
    gap_column,
    history_positions,
    history_values,
)
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas.contract import HISTORY_PADDING, WEIGHT
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, History

FILE_COLUMN: Final = "#file"
"""Column of a cleaned batch: the index of the file that the row came from."""


ROW_COLUMN: Final = "#row"
"""Column of a cleaned batch: the number of the row in its file."""


MICROSECOND_COLUMN: Final = "#microsecond"
"""Column of a cleaned interaction: what its timestamp has beyond whole seconds, for the order alone."""


BUCKET_COLUMN: Final = "#bucket"
"""Column of a request for metadata: the bucket of users that needs it."""


WEIGHT_COLUMN: Final = "#weight"
"""Column of a cleaned batch: the weight of the row in the loss, where one is configured."""


TRAIN: Final = 0
"""Split code of a row to train on."""


EVAL: Final = 1
"""Split code of a held-out row."""


SKIPPED: Final = 2
"""Split code of a row that is newer than the held-out one and in no split."""


VALIDATION: Final = 3
"""Split code of a row that decides when training stops."""


_ROWS_PER_BUCKET = 150_000


_ROWS_PER_BATCH = 8_192


_HISTORY_BYTES_PER_BATCH = 64 << 20


_SECONDS_PER_DAY = 86_400


_MICROSECONDS = 10**6


_LARGEST_SECOND = 2**63 // _MICROSECONDS - 1


_UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclasses.dataclass(frozen=True)
class JoinTable:
    """A user or item table in the form that examples are made from."""

    ids: pa.Array
    """[rows] string, each once."""
    features: dict[str, pa.Array]
    """Per feature [rows] binary, int64, float32 or list of binary; [rows + 1] if defaults follow."""
    history: dict[str, HistoryValues] = dataclasses.field(default_factory=dict)
    """Of an item table, the features that histories carry, with the same rows."""


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Every positive of some users, in the order (user, timestamp with its fraction, file, row)."""

    rows: pa.Table
    """Ids, timestamp and context features, [rows]."""
    starts: npt.NDArray[np.int64]
    """[rows] position of the first row of the same user."""
    splits: npt.NDArray[np.int8]
    """[rows] TRAIN, VALIDATION, EVAL or SKIPPED."""
    user_rows: npt.NDArray[np.int64]
    """[rows] the user's row in the user table, the number of its rows if it is not there."""
    item_rows: npt.NDArray[np.int64]
    """[rows] the item's row in the item table, the number of its rows if it is not there."""


def cast_column(column: pa.Array | pa.ChunkedArray, feature: Feature, source: str) -> pa.Array:
    """Bring a column to the type that the feature declares.

    Args:
        column: [rows] of a type that fits the feature; dictionary-encoded and large types do.
        feature: The feature.
        source: The file's name, for messages.

    Returns:
        [rows] string, int64, float32, list of string or list of float32, nulls kept.

    Raises:
        DataError: A value does not fit: text that is not UTF-8, or an integer beyond 64 bits.
    """
    if feature.is_list:
        target = pa.list_(pa.string() if feature.multi_valued else pa.float32())
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
    if feature.length is not None:
        return _check_vectors(values, feature, source)
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


def to_microseconds(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Bring a timestamp column to microseconds.

    Args:
        column: [rows] integer seconds since 1970, or an Arrow timestamp (UTC unless it has a zone).

    Returns:
        [rows] int64 microseconds since 1970, rounded down, nulls kept. What 64 bits cannot hold becomes the
        largest whole seconds that they hold, which is beyond any calendar.
    """
    values = _plain(column)
    units = _UNITS_PER_SECOND[values.type.unit] if pa.types.is_timestamp(values.type) else 1
    ticks = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds = np.clip(np.floor_divide(ticks, units), -_LARGEST_SECOND, _LARGEST_SECOND)
    beyond = 0 if units == 1 else np.mod(ticks, units) * _MICROSECONDS // units
    return pa.array(seconds * _MICROSECONDS + beyond, mask=_to_mask(values.is_null()))


def fill_missing(values: pa.Array, feature: Feature) -> tuple[pa.Array, int]:
    """Put the feature's default in the place of missing values.

    A value is missing if it is null or, in a float, not finite; a list also if one of its elements
    is missing.

    Args:
        values: [rows] as `cast_column` gives them.
        feature: The feature.

    Returns:
        The values, [rows], unchanged if the feature has no default; and the number missing.
    """
    if feature.length is not None:
        return _fill_vectors(values, feature)
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
        config: The positive rule and the weight.

    Returns:
        Column names, each once.
    """
    names = [spec.user_id.name, spec.item_id.name, spec.timestamp]
    names += [feature.name for feature in spec.table_features("context")]
    return list(dict.fromkeys([*names, *rule_columns(config)]))


def rule_columns(config: IngestConfig) -> list[str]:
    """List the columns of the interactions that the rules read.

    Args:
        config: The positive rule and the weight.

    Returns:
        Column names; one that two rules read stands there twice.
    """
    names = [] if config.positives is None else [c.column for c in config.positives.conditions]
    return names if config.weight is None else [*names, config.weight.column]


def positive_reasons(
    columns: pa.RecordBatch | pa.Table, rule: PositiveRule
) -> dict[str, npt.NDArray[np.bool_]]:
    """Find the rows that are no positives.

    Args:
        columns: [rows] with the columns of the rule.
        rule: The rule.

    Returns:
        Per reason [rows] bool.
    """
    rows = columns.num_rows
    no_value, below, other = (np.zeros(rows, bool) for _ in range(3))
    for condition in rule.conditions:
        values = _plain(columns.column(condition.column))
        if condition.one_of is not None:
            texts = values.cast(pa.string())
            missing = texts.is_null().to_numpy(zero_copy_only=False)
            allowed = _to_mask(pc.is_in(texts, value_set=pa.array(condition.one_of, pa.string())))
            other |= ~missing & ~allowed
        else:
            numbers = _to_floats(values)
            missing = np.isnan(numbers)
            # Numpy rounds a Python number to the column's own precision: a float32 of 4.1 passes 4.1.
            below |= numbers < condition.at_least
        no_value |= missing
    return {
        "no_value_for_positive_rule": no_value,
        "below_positive_rule": below,
        "not_in_positive_rule": other,
    }


def row_weights(
    column: pa.Array | pa.ChunkedArray, rule: WeightRule
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Find how much each row counts in the loss.

    Args:
        column: [rows] the weights or, with `by_value`, what they depend on.
        rule: The rule.

    Returns:
        [rows] float32 weights, and [rows] bool: whether the row has none, because its value is null,
        negative, not finite or not among those of `by_value`.
    """
    values = _plain(column)
    if rule.by_value is None:
        weights = _to_floats(values).astype(np.float32)
    else:
        place = pc.index_in(values.cast(pa.string()), value_set=pa.array(list(rule.by_value), pa.string()))
        known = np.array([*rule.by_value.values(), np.nan], np.float32)
        weights = known[place.fill_null(len(rule.by_value)).to_numpy()]
    missing = ~np.isfinite(weights) | (weights < 0)
    return np.where(missing, np.float32(0), weights), missing


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
        first_row: Number of its first row in the file, unless the batch has a ROW_COLUMN.
        spec: The features.
        config: The positive rule and the weight.
        window: The days that are read.

    Returns:
        The rows kept (ids as string, timestamp as int64 seconds, context features cast, FILE_COLUMN
        int32, ROW_COLUMN int64, with a weight WEIGHT_COLUMN float32, MICROSECOND_COLUMN as it came); and
        the counts, each dropped row under the first reason that holds.

    Raises:
        DataError: A value does not fit its feature.
    """
    source = spec.tables.interactions.file
    users = cast_column(batch.column(spec.user_id.name), spec.user_id, source)
    items = cast_column(batch.column(spec.item_id.name), spec.item_id, source)
    timestamps = cast_timestamp(batch.column(spec.timestamp))
    reasons: dict[str, npt.NDArray[np.bool_]] = {}
    # What `read_piece` numbered it has also freed of malformed rows.
    if ROW_COLUMN not in batch.schema.names:
        reasons = {
            "null_id": _to_mask(pc.or_(users.is_null(), items.is_null())),
            **bad_text_ids([users, items]),
            "null_timestamp": _to_mask(timestamps.is_null()),
        }
    if not window.is_open:
        reasons[OUTSIDE_WINDOW] = _outside_window(timestamps, window)
    if config.positives is not None:
        reasons |= positive_reasons(batch, config.positives)
    weights = None
    if config.weight is not None:
        weights, reasons["no_weight"] = row_weights(batch.column(config.weight.column), config.weight)
    keep, dropped = drop_by_reason(batch.num_rows, reasons)
    columns = {spec.user_id.name: users, spec.item_id.name: items, spec.timestamp: timestamps}
    for feature in spec.table_features("context"):
        columns[feature.name] = cast_column(batch.column(feature.name), feature, source)
    if weights is not None:
        columns[WEIGHT_COLUMN] = pa.array(weights)
    if MICROSECOND_COLUMN in batch.schema.names:
        columns[MICROSECOND_COLUMN] = batch.column(MICROSECOND_COLUMN)
    columns[FILE_COLUMN] = pa.array(np.full(batch.num_rows, file_index, np.int32))
    if ROW_COLUMN in batch.schema.names:
        columns[ROW_COLUMN] = batch.column(ROW_COLUMN)
    else:
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


def partition_by_id(batch: pa.RecordBatch, column: str, buckets: int) -> dict[int, pa.RecordBatch]:
    """Split a batch by a hash of an id, the same on every machine.

    Args:
        batch: [rows] with the ids as string without nulls.
        column: Name of the id.
        buckets: Number of buckets.

    Returns:
        Per bucket its rows, in their order; no entry for a bucket without rows.
    """
    if not batch.num_rows:
        return {}
    if buckets == 1:
        return {0: batch}
    encoded = batch.column(column).dictionary_encode()
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    bucket_of_row = (hashes % np.uint64(buckets)).astype(np.int64)[encoded.indices.to_numpy()]
    ordered = batch.take(pa.array(np.argsort(bucket_of_row, kind="stable")))
    found, sizes = np.unique(bucket_of_row, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    return {
        int(bucket): ordered.slice(int(start), int(size))
        for bucket, start, size in zip(found, starts, sizes, strict=True)
    }


def choose_join(config: IngestConfig, table_bytes: int) -> Literal["broadcast", "shuffle"]:
    """Choose how a user or item table meets its interactions.

    Args:
        config: The join, and the size up to which a table is broadcast.
        table_bytes: Size of the table in memory.

    Returns:
        `broadcast`: every worker holds the whole table; `shuffle`: each bucket is sent the rows it needs.
    """
    if config.join != "auto":
        return config.join
    return "broadcast" if table_bytes <= config.broadcast_limit_mib * 2**20 else "shuffle"


def request_items(parts: dict[int, pa.RecordBatch], item_column: str) -> pa.RecordBatch:
    """List which bucket needs the metadata of which item.

    Args:
        parts: Cleaned rows by bucket of users.
        item_column: Name of the item id.

    Returns:
        [pairs] the item id and BUCKET_COLUMN int64, each pair once.
    """
    ids = [pc.unique(part.column(item_column)) for part in parts.values()]
    buckets = np.repeat(np.array(list(parts), np.int64), [len(values) for values in ids])
    return pa.record_batch({item_column: pa.concat_arrays(ids), BUCKET_COLUMN: pa.array(buckets)})


def answer_requests(requests: pa.Table, items: pa.Table, item_column: str) -> dict[int, pa.RecordBatch]:
    """Give each bucket the rows of the item table that it needs.

    Args:
        requests: [pairs] as `request_items` makes them; a pair may repeat.
        items: Rows of the item table, among them all that are there of the requested ones.
        item_column: Name of the item id.

    Returns:
        Per bucket of users its rows of the item table, each once; no entry for a bucket without.
    """
    rows = _look_up(requests.column(item_column), items.column(item_column).combine_chunks())
    known = rows < len(items)
    pairs = np.unique(
        np.stack([requests.column(BUCKET_COLUMN).to_numpy()[known], rows[known]]).astype(np.int64), axis=1
    )
    buckets, firsts = np.unique(pairs[0], return_index=True)
    return {
        int(bucket): as_batch(items.take(pa.array(needed)))
        for bucket, needed in zip(buckets, np.split(pairs[1], firsts[1:]), strict=False)
    }


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """Make one batch of a table.

    Args:
        table: [rows].

    Returns:
        [rows].
    """
    columns = [
        pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def join_table(
    table: pa.Table,
    id_name: str,
    features: Sequence[Feature],
    with_defaults: bool,
    history: History | None = None,
) -> JoinTable:
    """Bring a user or item table to the form that examples are made from.

    Args:
        table: A cleaned table, [rows].
        id_name: Name of the id.
        features: The table's features.
        with_defaults: Whether a row of defaults follows, for ids that are not in the table.
        history: Of an item table, the history, which may carry some of the features.

    Returns:
        The ids, and the features with rows + 1 values if `with_defaults`.
    """
    columns: dict[str, pa.Array] = {}
    in_history: dict[str, HistoryValues] = {}
    for feature in features:
        if feature.role is not None:
            continue
        values = table.column(feature.name).combine_chunks()
        if with_defaults:
            default = feature.default_value
            values = pa.concat_arrays([values, pa.array([default], values.type)])
        columns[feature.name] = _to_binary(values)
        if history is not None and feature.name in history.item_features:
            in_history[feature.name] = history_values(columns[feature.name], feature, history)
    return JoinTable(table.column(id_name).combine_chunks(), columns, in_history)


def rows_per_batch(items: JoinTable, history: History | None) -> int:
    """Choose how many examples are put together at once.

    Args:
        items: The item table.
        history: The history.

    Returns:
        At least 1; fewer than usual where the item features of a history are large.
    """
    size = 0.0 if history is None else bytes_per_row(items.history, history)
    return max(1, min(_ROWS_PER_BATCH, int(_HISTORY_BYTES_PER_BATCH / max(size, 1.0))))


def build_bucket(
    batches: Iterable[pa.RecordBatch],
    users: JoinTable,
    items: JoinTable,
    spec: FeatureSpec,
    config: IngestConfig,
    newest_second: int | None = None,
) -> tuple[Bucket, IngestCounts]:
    """Order the rows of some users, look up their metadata and assign the splits.

    Args:
        batches: Every cleaned row of these users, in any order.
        users: The user table.
        items: The item table.
        spec: The features.
        config: The split, and what to do about missing metadata. Rows without metadata are dropped
            and counted unless it is `default`; whether that is refused is decided on the sum. Then
            repeated pairs are dropped, and then what is above the limit per user.
        newest_second: Seconds since 1970 of the newest positive of all buckets; a `last_days` split asks.

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
    dropped = Counter({MISSING_METADATA: int((~keep).sum())})
    order, starts = order_rows(table, keep, spec)
    if config.repeated != "keep_all":
        pair_items = table.column(spec.item_id.name).combine_chunks().dictionary_encode().indices.to_numpy()
        once = first_or_last_of_pair(starts, pair_items[order], last=config.repeated == "keep_last")
        dropped[REPEATED_PAIR] = int((~once).sum())
        order, starts = order[once], group_starts(starts[once])
    if config.max_positives_per_user is not None:
        newest = rows_after(starts) < config.max_positives_per_user
        dropped[OVER_USER_LIMIT] = int((~newest).sum())
        order, starts = order[newest], group_starts(starts[newest])
    order_columns = {FILE_COLUMN, ROW_COLUMN, MICROSECOND_COLUMN} & set(table.column_names)
    table = table.drop_columns(sorted(order_columns)).take(pa.array(order))

    filled: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for feature in spec.table_features("context"):
        values, count = fill_missing(table.column(feature.name).combine_chunks(), feature)
        (missing if feature.default is None else filled)[feature.name] += count
        table = table.set_column(table.column_names.index(feature.name), feature.name, values)

    timestamps = table.column(spec.timestamp).to_numpy()
    splits, single_users = assign_splits(starts, timestamps, config, newest_second)
    counts = IngestCounts(
        rows=Counter(
            train=int((splits == TRAIN).sum()),
            validation=int((splits == VALIDATION).sum()),
            eval=int((splits == EVAL).sum()),
            skipped=int((splits == SKIPPED).sum()),
            users=len(np.unique(starts)),
            users_with_one_positive=single_users,
            unknown_users=len(unknown_users),
        ),
        dropped=dropped,
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
    """Find the order (user, timestamp with its fraction of a second, file, row).

    Args:
        table: Cleaned rows, [rows], in any order.
        keep: [rows] bool, whether the row takes part.
        spec: The features.

    Returns:
        [kept rows] int64 rows of the table in that order, users in the order of their first rows in
        time; and [kept rows] int64 position of the first row of the same user.
    """
    order = np.flatnonzero(keep)
    keys = [table.column(name).to_numpy()[order] for name in (ROW_COLUMN, FILE_COLUMN, spec.timestamp)]
    if MICROSECOND_COLUMN in table.column_names:
        beyond = table.column(MICROSECOND_COLUMN).to_numpy()[order]
        keys[2:2] = [beyond] if beyond.any() else []
    order = order[np.lexsort(keys)]
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


def rows_after(starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count how many newer rows each row's user has.

    Args:
        starts: [rows] int64 first position of the row's user, rows in time order within the user.

    Returns:
        [rows] int64, 0 for the newest.
    """
    firsts, sizes = np.unique(starts, return_counts=True)
    return np.repeat(firsts + sizes, sizes) - 1 - np.arange(len(starts))


def first_or_last_of_pair(
    starts: npt.NDArray[np.int64], items: npt.NDArray[Any], last: bool
) -> npt.NDArray[np.bool_]:
    """Find one row for each pair of user and item.

    Args:
        starts: [rows] int64 first position of the row's user, rows in time order within the user.
        items: [rows] the same number for the same item.
        last: Whether the pair's newest row is the one, and not its oldest.

    Returns:
        [rows] bool.
    """
    pairs = starts * (int(items.max(initial=0)) + 1) + items
    direction = slice(None, None, -1) if last else slice(None)
    chosen = np.zeros(len(pairs), bool)
    # A view: what is set in it is set in `chosen`.
    chosen[direction][np.unique(pairs[direction], return_index=True)[1]] = True
    return chosen


def cut_off_second(split: Split, newest_second: int | None) -> int | None:
    """Find the first second of the eval split, where it is the same for all users.

    Args:
        split: The rule.
        newest_second: Seconds since 1970 of the newest positive.

    Returns:
        Seconds since 1970: rows before it are train, the others eval. None if the split is made per
        user, or if there are no positives.
    """
    if split.kind == "cut_off":
        moment = split.time if split.time.tzinfo else split.time.replace(tzinfo=datetime.UTC)
        return math.ceil(moment.timestamp())
    if split.kind == "last_days" and newest_second is not None:
        return (newest_second // _SECONDS_PER_DAY - split.days + 1) * _SECONDS_PER_DAY
    return None


def assign_splits(
    starts: npt.NDArray[np.int64],
    timestamps: npt.NDArray[np.int64],
    config: IngestConfig,
    newest_second: int | None = None,
) -> tuple[npt.NDArray[np.int8], int]:
    """Say which rows are trained on, which decide when training stops, and which are held out.

    Under `latest_per_user`, holding out the latest row of every user with at least two is done
    skip_latest + 1 times: what the last time holds out is eval, what was held out before is skipped.
    So each user keeps at least one train row. With validation, it is done once more, and what that holds
    out is validation. Under the other splits validation is the days before the first second of eval.

    Args:
        starts: [rows] int64 first position of the row's user, rows in time order within the user.
        timestamps: [rows] int64 seconds since 1970.
        config: The split, and whether there is validation.
        newest_second: Seconds since 1970 of the newest positive of all users, for `last_days`.

    Returns:
        [rows] int8 TRAIN, VALIDATION, EVAL or SKIPPED; and the number of users with a single row, those
        skipped not counted, of which `latest_per_user` holds out none.
    """
    rows = len(starts)
    firsts, sizes = np.unique(starts, return_counts=True)
    splits = np.full(rows, TRAIN, np.int8)
    if config.split.kind != "latest_per_user":
        cut_off = cut_off_second(config.split, newest_second)
        if cut_off is not None:
            if config.validation:
                splits[timestamps >= cut_off - config.validation_days * _SECONDS_PER_DAY] = VALIDATION
            splits[timestamps >= cut_off] = EVAL
        return splits, int((sizes == 1).sum())
    skipped = np.minimum(config.split.skip_latest, sizes - 1)
    left = sizes - skipped
    splits[rows_after(starts) < np.repeat(skipped, sizes)] = SKIPPED
    splits[(firsts + left - 1)[left >= 2]] = EVAL
    if config.validation:
        splits[(firsts + left - 2)[left >= 3]] = VALIDATION
    return splits, int((left == 1).sum())


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
        [rows] with a list column per feature, timestamp, weight and column of the history: binary, int64 or
        float32.
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
            values if feature.is_list else _list_array(np.ones(len(rows), np.int64), values)
        )
    timestamps = selected.column(spec.timestamp).combine_chunks()
    columns[spec.timestamp] = _list_array(np.ones(len(rows), np.int64), timestamps)
    if WEIGHT_COLUMN in bucket.rows.column_names:
        weights = selected.column(WEIGHT_COLUMN).combine_chunks()
        columns[WEIGHT] = _list_array(np.ones(len(rows), np.int64), weights)
    if spec.history is not None:
        columns |= _history_columns(bucket, rows, items, spec, spec.history)
    return pa.record_batch(columns)


def _history_columns(
    bucket: Bucket, rows: npt.NDArray[np.int64], items: JoinTable, spec: FeatureSpec, history: History
) -> dict[str, pa.Array]:
    positions = history_positions(bucket.starts, rows, history.length)
    present = positions >= 0
    found = pa.array(positions.ravel(), mask=~present.ravel())
    ids = bucket.rows.column(spec.item_id.name).combine_chunks().take(found).fill_null(HISTORY_PADDING)
    columns = {history.name: _list_array(np.full(len(rows), history.length), _to_binary(ids))}
    if history.item_features:
        item_rows = np.where(present, bucket.item_rows[positions], -1)
        columns |= feature_columns(item_rows, items.history, history)
    if history.time_gap_buckets is not None:
        seconds = bucket.rows.column(spec.timestamp).to_numpy()
        columns[history.gap_column] = gap_column(seconds[rows], seconds[positions], present)
    return columns


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
        value: Any = feature.default_value
        values = unknown if feature.role is not None else [value] * len(unknown)
        columns[feature.name] = pa.array(values, items.schema.field(feature.name).type)
    return pa.concat_tables([items, pa.table(columns, schema=items.schema)])


def _outside_window(timestamps: pa.Array, window: Window) -> npt.NDArray[np.bool_]:
    seconds = timestamps.fill_null(0).to_numpy(zero_copy_only=False)
    outside = np.zeros(len(seconds), bool)
    if window.start_second is not None:
        outside |= seconds < window.start_second
    if window.end_second is not None:
        outside |= seconds >= window.end_second
    return outside


def _check_vectors(vectors: pa.Array, feature: Feature, source: str) -> pa.Array:
    lengths = pc.list_value_length(vectors)
    # What an empty cell of a CSV file becomes: no vector.
    is_empty = pc.equal(lengths, 0).fill_null(False)
    wrong = lengths.filter(pc.and_(pc.not_equal(lengths, feature.length), pc.invert(is_empty)))
    if len(wrong):
        raise DataError(
            f"{source}: column {feature.name!r}: expected {feature.length} numbers in every row, as "
            f"'length' in the schema file says. Received: {wrong[0]} numbers, and in {len(wrong):,} rows "
            f"other than {feature.length}. Correct the rows, or the feature's length."
        )
    if not pc.any(is_empty).as_py():
        return vectors
    return pc.if_else(is_empty, pa.scalar(None, vectors.type), vectors)


def _fill_vectors(values: pa.Array, feature: Feature) -> tuple[pa.Array, int]:
    width = feature.length or 1
    given = _to_mask(values.is_valid())
    numbers = np.full((len(values), width), np.nan, np.float32)
    numbers[given] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    is_missing = ~np.isfinite(numbers).all(axis=1)
    count = int(is_missing.sum())
    if not count or feature.default is None:
        return values, count
    numbers[is_missing] = feature.default
    return _list_array(np.full(len(values), width), pa.array(numbers.ravel())), count


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


def _to_floats(values: pa.Array) -> npt.NDArray[Any]:
    if not pa.types.is_floating(values.type):
        values = values.cast(pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def _look_up(ids: pa.ChunkedArray, known: pa.Array) -> npt.NDArray[np.int64]:
    found = pc.index_in(ids, value_set=known).fill_null(len(known))
    return found.to_numpy().astype(np.int64)


def _list_array(lengths: npt.NDArray[Any], values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _to_binary(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type):
        return values.cast(pa.binary())
    if pa.types.is_list(values.type) and pa.types.is_string(values.type.value_type):
        return values.cast(pa.list_(pa.binary()))
    return values
