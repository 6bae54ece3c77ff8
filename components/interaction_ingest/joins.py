"""How the user and item tables meet the interactions."""

from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig

BUCKET_COLUMN: Final = "#bucket"
"""Column of a request: the bucket of users that asks whether the item is known."""


def choose_join(config: IngestConfig, table_bytes: int) -> Literal["broadcast", "shuffle"]:
    """Choose how a table meets its interactions.

    Args:
        config: The join, and the size up to which a table is broadcast.
        table_bytes: Size in memory of what is needed of the table.

    Returns:
        `broadcast`: every worker holds all of it; `shuffle`: each bucket is sent what it needs.
    """
    if config.join != "auto":
        return config.join
    return "broadcast" if table_bytes <= config.broadcast_limit_mib * 2**20 else "shuffle"


def request_items(parts: dict[int, pa.RecordBatch], item_column: str) -> pa.RecordBatch:
    """List which bucket holds which item.

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
    """Tell each bucket which of its items are known.

    Args:
        requests: [pairs] as `request_items` makes them; a pair may repeat.
        items: Ids of the item table, among them all that are there of the requested ones.
        item_column: Name of the item id.

    Returns:
        Per bucket of users the ids that are in the table, each once; no entry for a bucket without.
    """
    known = pc.is_in(requests.column(item_column), value_set=items.column(item_column).combine_chunks())
    pairs = requests.filter(known).group_by([BUCKET_COLUMN, item_column]).aggregate([])
    pairs = pairs.sort_by(BUCKET_COLUMN).combine_chunks()
    buckets, firsts = np.unique(pairs.column(BUCKET_COLUMN).to_numpy(), return_index=True)
    ids = pairs.column(item_column).combine_chunks()
    return {
        int(bucket): pa.record_batch({item_column: ids.slice(first, end - first)})
        for bucket, first, end in zip(buckets, firsts, [*firsts[1:], len(ids)], strict=False)
    }
