"""Buckets of users: parts of the interactions that fit in memory and hold each user whole."""

import math
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from components.interaction_ingest.ordering import stable_order

# The ids of a file's items stand in it once: with more rows, a row costs less of them.
_ROWS_PER_BUCKET: Final = 500_000


def bucket_count(rows: int) -> int:
    """Choose into how many buckets of users the rows are partitioned.

    Args:
        rows: Number of interactions.

    Returns:
        At least 1; a bucket has about 500,000 rows, and is in memory whole.
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
    ordered = batch.take(pa.array(stable_order(bucket_of_row)))
    sizes = np.bincount(bucket_of_row)
    starts = np.cumsum(sizes) - sizes
    return {
        int(bucket): ordered.slice(int(starts[bucket]), int(sizes[bucket]))
        for bucket in np.flatnonzero(sizes)
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
