"""Tables into gzip TFRecord files of tf.Example."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from components.interaction_ingest.columns import list_array

EXAMPLES_FILE: Final = "examples-{number:05d}-of-{files:05d}.gz"
"""Name of a file."""

# A fifth of the default level's time for a fifth more bytes.
_GZIP_LEVEL = 1
_ROWS_PER_BATCH = 8_192


def write_examples(table: pa.Table, path: Path) -> None:
    """Write a file of examples; one batch is compressed while the next is encoded.

    Args:
        table: [rows] one example each: string, int64, float32 or lists of string or float32, without nulls.
        path: The file.
    """
    # On first use: a process that only builds the pipeline needs no TensorFlow.
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder = RecordBatchToExamplesEncoder()
    options = tf.io.TFRecordOptions("GZIP", compression_level=_GZIP_LEVEL)
    with tf.io.TFRecordWriter(str(path), options) as writer, ThreadPoolExecutor(1) as pool:

        def write(examples: list[bytes]) -> None:
            for example in examples:
                writer.write(example)

        written: Future[None] | None = None
        for start in range(0, len(table), _ROWS_PER_BATCH):
            examples = encoder.encode(_example_batch(table.slice(start, _ROWS_PER_BATCH)))
            if written is not None:
                # Waits, so that at most two batches are in memory.
                written.result()
            written = pool.submit(write, examples)
        if written is not None:
            written.result()


def _example_batch(table: pa.Table) -> pa.RecordBatch:
    """Make a list of each value, and bytes of texts, as the encoder wants them."""
    columns = {}
    for name in table.column_names:
        values = _to_binary(table.column(name).combine_chunks())
        is_list = pa.types.is_list(values.type)
        columns[name] = values if is_list else list_array(np.ones(len(table), np.int64), values)
    return pa.record_batch(columns)


def _to_binary(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type):
        return values.cast(pa.binary())
    if pa.types.is_list(values.type) and pa.types.is_string(values.type.value_type):
        return values.cast(pa.list_(pa.binary()))
    return values
