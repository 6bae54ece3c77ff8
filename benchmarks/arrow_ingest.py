"""A single-process Arrow program that writes the ingest's sequences: what its speed is compared with.

It knows the columns of MovieLens-100K, trusts its input, holds all of it in memory and checks nothing. It
counts the train rows of users and items, and writes their examples as the component does.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from schemas.sequences import write_sequences

_ENCODE_ROWS = 8_192


def write_arrow_sequences(data: Path, output: Path) -> None:
    """Read, order, join and write; each user's latest interaction is held out.

    Args:
        data: The folder of the three Parquet tables.
        output: Gets sequences/ with one Parquet file, and users/ and items/ with a folder Split-all/
            each, with a gzip TFRecord file of tf.Example.
    """
    log = pq.read_table(data / "interactions.parquet", columns=["user_id", "item_id", "timestamp"])
    users = pq.read_table(data / "users.parquet", columns=["user_id", "age", "gender", "occupation"])
    items = pq.read_table(data / "items.parquet", columns=["item_id", "year", "genres"])
    log = log.combine_chunks()
    encoded = log["user_id"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    # Stable: the same second keeps the file's order.
    order = np.lexsort((log["timestamp"].to_numpy(), codes))
    sizes = np.bincount(codes)
    train_ends = np.where(sizes > 1, sizes - 1, sizes)
    offsets = np.append(0, np.cumsum(sizes))
    is_train = np.ones(len(order), bool)
    is_train[(offsets[1:] - 1)[sizes > 1]] = False

    def cut(column: pa.ChunkedArray) -> pa.ListArray:
        values = column.combine_chunks().take(pa.array(order))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)

    rows = pc.index_in(encoded.dictionary, value_set=users["user_id"])
    users = users.take(rows)
    columns = {name: users[name] for name in users.column_names}
    columns |= {"item_id": cut(log["item_id"]), "timestamp": cut(log["timestamp"])}
    columns |= {name: pa.array(train_ends, pa.int32()) for name in ("train_end", "validation_end")}
    columns["eval_end"] = pa.array(sizes, pa.int32())
    (output / "sequences").mkdir(parents=True)
    write_sequences(pa.table(columns), output / "sequences" / "sequences-00000-of-00001.parquet")

    item_codes = pc.index_in(log["item_id"], value_set=items["item_id"]).to_numpy()
    item_counts = np.bincount(item_codes[order[is_train]], minlength=len(items))
    items = items.set_column(1, "year", items["year"].fill_null(0))
    _write_examples(users, train_ends, output / "users")
    _write_examples(items, item_counts, output / "items")


def _write_examples(table: pa.Table, train_rows: np.ndarray, output: Path) -> None:
    table = table.append_column("train_rows", pa.array(train_rows, pa.int64()))
    table = table.append_column("validation_rows", pa.array(np.zeros(len(table), np.int64)))
    (output / "Split-all").mkdir(parents=True)
    encoder = RecordBatchToExamplesEncoder()
    options = tf.io.TFRecordOptions("GZIP", compression_level=1)
    with tf.io.TFRecordWriter(str(output / "Split-all" / "examples.gz"), options) as writer:
        for start in range(0, len(table), _ENCODE_ROWS):
            part = table.slice(start, _ENCODE_ROWS)
            columns = {name: _lists(part[name].combine_chunks()) for name in part.column_names}
            for example in encoder.encode(pa.record_batch(columns)):
                writer.write(example)


def _lists(values: pa.Array) -> pa.ListArray:
    if pa.types.is_list(values.type):
        return values.cast(pa.list_(pa.binary()))
    if pa.types.is_string(values.type):
        values = values.cast(pa.binary())
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int32()), values)
