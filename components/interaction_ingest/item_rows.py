"""How many rows hold each item: a small file for each bucket of users, added up at the end."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.splits import TRAIN, VALIDATION
from components.interaction_ingest.user_sequences import UserSequences
from schemas.contract import TRAIN_ROWS, VALIDATION_ROWS

_ITEM = "item"


def count_items(sequences: UserSequences) -> pa.Table:
    """Count the rows of each item.

    Args:
        sequences: The sequences of some users.

    Returns:
        [items] those of `item_ids` that a sequence holds, TRAIN_ROWS and VALIDATION_ROWS.
    """
    size = len(sequences.item_ids)
    columns: dict[str, pa.Array] = {_ITEM: sequences.item_ids}
    for name, split in ((TRAIN_ROWS, TRAIN), (VALIDATION_ROWS, VALIDATION)):
        held = sequences.items[sequences.splits == split]
        columns[name] = pa.array(np.bincount(held, minlength=size).astype(np.int64))
    return pa.table(columns).filter(pa.array(np.bincount(sequences.items, minlength=size) > 0))


def write_counts(counts: pa.Table, path: Path) -> None:
    """Write the counts of a bucket.

    Args:
        counts: What `count_items` gave.
        path: The file.
    """
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, counts.schema) as writer:
        writer.write_table(counts)


def list_items(paths: Iterable[Path]) -> pa.Array:
    """List the items of all buckets, one bucket at a time: the catalogue where there is no item table.

    Args:
        paths: The buckets' files.

    Returns:
        [items] string, each once, in the order of their ids.
    """
    ids = pa.array([], pa.string())
    for path in paths:
        ids = pc.unique(pa.chunked_array([ids, *_read_counts(path).column(_ITEM).chunks]))
    return ids.sort()


def add_counts(paths: Iterable[Path], ids: pa.Array) -> dict[str, npt.NDArray[np.int64]]:
    """Add the counts of all buckets up, one bucket at a time.

    Args:
        paths: The buckets' files.
        ids: [items] string, the ids of the catalogue, each once.

    Returns:
        TRAIN_ROWS and VALIDATION_ROWS, [items] int64.
    """
    sums = {name: np.zeros(len(ids), np.int64) for name in (TRAIN_ROWS, VALIDATION_ROWS)}
    for path in paths:
        counts = _read_counts(path)
        # Looking the catalogue up among the items of a bucket makes a table of the fewer.
        places = pc.index_in(ids, value_set=counts.column(_ITEM).combine_chunks())
        rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
        for name, values in sums.items():
            values[rows] += counts.column(name).to_numpy()[places.drop_null().to_numpy()]
    return sums


def _read_counts(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all().combine_chunks()
