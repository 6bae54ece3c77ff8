"""The sequences of some users, of their cleaned rows: what the ingest and a look-up of one user share."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    FIRST_USUAL_SECOND,
    MISSING_METADATA,
    OVER_USER_LIMIT,
    REPEATED_PAIR,
    IngestCounts,
)
from components.interaction_ingest.missing import fill_missing
from components.interaction_ingest.ordering import keep_rows, order_rows, owners
from components.interaction_ingest.reading.cleaning import WEIGHT_COLUMN, place_of
from components.interaction_ingest.rules.limit import newest_of_user
from components.interaction_ingest.rules.repeats import once_per_split
from components.interaction_ingest.splits import EVAL, SKIPPED, TRAIN, VALIDATION, assign_splits, split_ends
from schemas.contract import WEIGHT
from schemas.features import FeatureSpec
from schemas.sequences import SPLIT_ENDS, sequences_schema


@dataclasses.dataclass(frozen=True)
class UserSequences:
    """The positives that are kept of some users, user by user, in the order (timestamp, file, row).

    Those of user u are the positions offsets[u] to offsets[u + 1] - 1; each user has one. In the order, the
    timestamp counts with its fraction of a second.
    """

    user_ids: pa.Array
    """[users] string, in the order of the users' first positives."""
    offsets: npt.NDArray[np.int64]
    """[users + 1]."""
    splits: npt.NDArray[np.int8]
    """[positions] TRAIN, VALIDATION, EVAL or SKIPPED, which within a user never becomes smaller."""
    ends: npt.NDArray[np.int64]
    """[users, 3] before which of the user's own positives train, validation and eval end."""
    item_ids: pa.Array
    """[items] string, each once."""
    items: npt.NDArray[np.int32]
    """[positions] place of each item in `item_ids`."""
    columns: pa.Table
    """[positions] the timestamp in whole seconds, the context features and, if there are weights, WEIGHT."""


def build_sequences(
    batches: Sequence[pa.RecordBatch],
    known_users: pa.Array,
    known_items: pa.Array,
    spec: FeatureSpec,
    config: IngestConfig,
    newest_second: int | None = None,
) -> tuple[UserSequences, IngestCounts]:
    """Put the positives of some users in order, and assign the splits.

    Args:
        batches: Every cleaned row of these users, in any order.
        known_users: Ids of the user table, at least those of these users.
        known_items: Ids of the item table, at least those of these rows.
        spec: The features.
        config: The rules. Rows without metadata are dropped and counted unless `missing_metadata` is
            `default`; whether that is refused is decided on the sum. Then the splits are assigned, and of
            each split repeated pairs are dropped. Of a user who has more than the limit, the oldest are
            dropped, and the splits assigned to what is left.
        newest_second: Seconds since 1970 of the newest positive of all users; a `last_days` split asks.

    Returns:
        The sequences, and the counts.
    """
    table = pa.Table.from_batches(sorted(batches, key=place_of)).combine_chunks()
    users, user_codes = _encode(table, spec.user_id.name)
    items, item_codes = _encode(table, spec.item_id.name)
    user_unknown = ~_is_in(users, known_users)
    item_unknown = ~_is_in(items, known_items)
    keep = np.ones(len(table), bool)
    if config.missing_metadata != "default" and (user_unknown.any() or item_unknown.any()):
        keep = ~(user_unknown[user_codes] | item_unknown[item_codes])
    dropped = Counter({MISSING_METADATA: int((~keep).sum())})

    order, offsets = order_rows(table, user_codes, keep, spec.timestamp)
    seconds = table.column(spec.timestamp).to_numpy()
    splits = assign_splits(offsets, seconds[order], config, newest_second)
    if config.repeated != "keep_all":
        last = config.repeated == "keep_last"
        once = once_per_split(owners(offsets), item_codes[order], splits, last)
        dropped[REPEATED_PAIR] = int((~once).sum())
        order, offsets, splits = order[once], keep_rows(offsets, once), splits[once]
    if config.max_positives_per_user is not None:
        newest = newest_of_user(offsets, config.max_positives_per_user)
        dropped[OVER_USER_LIMIT] = int((~newest).sum())
        order, offsets = order[newest], keep_rows(offsets, newest)
        # Of a user who loses nothing they stay the same: where places decide, repeats were of train alone.
        splits = assign_splits(offsets, seconds[order], config, newest_second)

    columns, filled, missing = _take_columns(table, order, spec)
    ends = split_ends(offsets, splits)
    sequences = UserSequences(
        user_ids=users.take(pa.array(user_codes[order[offsets[:-1]]])),
        offsets=offsets,
        splits=splits,
        ends=ends,
        item_ids=items,
        items=item_codes[order],
        columns=columns,
    )
    of_split = np.bincount(splits, minlength=SKIPPED + 1)
    seconds = seconds[order]
    unknown_users = users.filter(pa.array(user_unknown)).to_pylist()
    counts = IngestCounts(
        rows=Counter(
            train=int(of_split[TRAIN]),
            validation=int(of_split[VALIDATION]),
            eval=int(of_split[EVAL]),
            skipped=int(of_split[SKIPPED]),
            users=len(ends),
            users_with_one_positive=int((ends[:, -1] == 1).sum()),
            users_of_log=len(users),
            unknown_users=len(unknown_users),
        ),
        dropped=dropped,
        filled=filled,
        missing=missing,
        unknown_users=tuple(sorted(unknown_users)[:EXAMPLE_IDS_SHOWN]),
        unknown_items=frozenset(items.filter(pa.array(item_unknown)).to_pylist()),
        rows_before_1990=int((seconds < FIRST_USUAL_SECOND).sum()),
        first_timestamp=float(seconds.min()) if len(seconds) else math.inf,
        last_timestamp=float(seconds.max()) if len(seconds) else -math.inf,
    )
    return sequences, counts


def sequences_table(sequences: UserSequences, users: pa.Table, spec: FeatureSpec) -> pa.Table:
    """Bring sequences to the form of their file.

    Args:
        sequences: The sequences.
        users: [users] the features of the user table, in their order.
        spec: The features.

    Returns:
        [users] as `schemas.sequences` says.
    """
    schema = sequences_schema(spec, WEIGHT in sequences.columns.column_names)
    offsets = pa.array(sequences.offsets, pa.int32())

    def cut(values: pa.Array) -> pa.ListArray:
        return pa.ListArray.from_arrays(offsets, values)

    columns = {name: users.column(name) for name in users.column_names}
    columns[spec.item_id.name] = cut(sequences.item_ids.take(pa.array(sequences.items)))
    for name in sequences.columns.column_names:
        columns[name] = cut(sequences.columns.column(name).combine_chunks())
    for place, name in enumerate(SPLIT_ENDS):
        columns[name] = pa.array(sequences.ends[:, place], pa.int32())
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _encode(table: pa.Table, name: str) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    encoded = table.column(name).combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy()


def _is_in(ids: pa.Array, known: pa.Array) -> npt.NDArray[np.bool_]:
    # Looking the known ones up among the few of a bucket makes a table of the few.
    found = np.zeros(len(ids), bool)
    found[pc.index_in(known, value_set=ids).drop_null().to_numpy()] = True
    return found


def _take_columns(
    table: pa.Table, order: npt.NDArray[np.int64], spec: FeatureSpec
) -> tuple[pa.Table, Counter[str], Counter[str]]:
    """Give the columns beside the ids in an order, and the missing values with and without a default."""
    taken = {spec.timestamp: table.column(spec.timestamp)}
    taken |= {feature.name: table.column(feature.name) for feature in spec.table_features("context")}
    if WEIGHT_COLUMN in table.column_names:
        taken[WEIGHT] = table.column(WEIGHT_COLUMN)
    rows = pa.table(taken).take(pa.array(order))
    filled: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for feature in spec.table_features("context"):
        values, count = fill_missing(rows.column(feature.name).combine_chunks(), feature)
        (missing if feature.default is None else filled)[feature.name] += count
        rows = rows.set_column(rows.column_names.index(feature.name), feature.name, values)
    return rows, filled, missing
