"""Record batches into a gzip TFRecord file of tf.Example."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

# A fifth of the default level's time for a fifth more bytes, with histories of 20.
_GZIP_LEVEL = 1


def write_examples(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a file of examples; one batch is compressed while the next is encoded.

    Args:
        path: The file.
        batches: The examples, each column a list column of binary, int64 or float32.
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
        for batch in batches:
            examples = encoder.encode(batch)
            if written is not None:
                # Waits, so that at most two batches are in memory.
                written.result()
            written = pool.submit(write, examples)
        if written is not None:
            written.result()
