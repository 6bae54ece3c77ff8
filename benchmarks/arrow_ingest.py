"""A single-process Arrow program that makes the ingest's examples: what its speed is compared with.

It knows the columns of MovieLens-100K, trusts its input, holds all of it in memory and checks nothing.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

_ENCODE_ROWS = 8_192


def write_arrow_examples(data: Path, output: Path, history_length: int, gzip_level: int) -> None:
    """Read, join, encode and write; each user's latest interaction is held out.

    Args:
        data: The folder of the three Parquet tables.
        output: Gets Split-train/ and Split-eval/ with a gzip TFRecord file of tf.Example each.
        history_length: Number of items in the history; 0: there is none.
        gzip_level: Compression level, 1 to 9.
    """
    log = pq.read_table(data / "interactions.parquet", columns=["user_id", "item_id", "timestamp"])
    users = pq.read_table(data / "users.parquet")
    items = pq.read_table(data / "items.parquet")
    log = log.combine_chunks()
    codes = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    # Stable: the same second keeps the file's order.
    order = np.lexsort((log["timestamp"].to_numpy(), codes))
    log, codes = log.take(pa.array(order)), codes[order]
    firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    sizes = np.diff(np.append(firsts, len(codes)))
    starts = np.repeat(firsts, sizes)
    held_out = np.zeros(len(codes), bool)
    held_out[(firsts + sizes - 1)[sizes > 1]] = True

    user_ids, item_ids = (_binary(log[name]) for name in ("user_id", "item_id"))
    user_rows = pc.index_in(log["user_id"], value_set=users["user_id"]).to_numpy()
    item_rows = pc.index_in(log["item_id"], value_set=items["item_id"]).to_numpy()
    ages = users["age"].combine_chunks()
    genders, occupations = _binary(users["gender"]), _binary(users["occupation"])
    years = items["year"].combine_chunks().fill_null(0)
    genres = items["genres"].combine_chunks().cast(pa.list_(pa.binary()))
    timestamps = log["timestamp"].combine_chunks()

    encoder = RecordBatchToExamplesEncoder()
    options = tf.io.TFRecordOptions("GZIP", compression_level=gzip_level)
    for split, chosen in (("train", ~held_out), ("eval", held_out)):
        folder = output / f"Split-{split}"
        folder.mkdir(parents=True)
        rows_of_split = np.flatnonzero(chosen)
        with tf.io.TFRecordWriter(str(folder / "examples.gz"), options) as writer:
            for start in range(0, len(rows_of_split), _ENCODE_ROWS):
                rows = rows_of_split[start : start + _ENCODE_ROWS]
                taken, user, item = (pa.array(part) for part in (rows, user_rows[rows], item_rows[rows]))
                columns = {
                    "user_id": _one(user_ids.take(taken)),
                    "age": _one(ages.take(user)),
                    "gender": _one(genders.take(user)),
                    "occupation": _one(occupations.take(user)),
                    "item_id": _one(item_ids.take(taken)),
                    "year": _one(years.take(item)),
                    "genres": genres.take(item),
                    "timestamp": _one(timestamps.take(taken)),
                }
                if history_length:
                    positions = rows[:, np.newaxis] + np.arange(-history_length, 0)
                    before = (positions < starts[rows][:, np.newaxis]).ravel()
                    found = item_ids.take(pa.array(positions.ravel(), mask=before)).fill_null(b"")
                    columns["history"] = _lists(np.full(len(rows), history_length), found)
                for example in encoder.encode(pa.record_batch(columns)):
                    writer.write(example)


def _binary(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.binary())


def _one(values: pa.Array) -> pa.ListArray:
    return _lists(np.ones(len(values), np.int64), values)


def _lists(lengths: np.ndarray, values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(lengths)), pa.int32()), values)
