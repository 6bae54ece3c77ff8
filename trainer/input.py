"""Transformed examples into memory, and from there into shuffled batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from schemas.contract import HISTORY_PADDING_KEY
from schemas.errors import DataError
from trainer.strategy import usable_cores

_PADDING = HISTORY_PADDING_KEY
_ROWS_PER_DECODED_BATCH = 8192
# One file inflates while another is decoded; neither holds Python's lock.
_FILES_AT_ONCE = 2
_ROWS_PER_GATHER = 4096
# A gather for the elements after these runs while they are trained on; two steps' elements at least.
_ELEMENTS_AHEAD = 8
_SCHEMA_TYPES = {
    tf.int64: schema_pb2.FeatureType.INT,
    tf.float32: schema_pb2.FeatureType.FLOAT,
    tf.string: schema_pb2.FeatureType.BYTES,
}


def read_columns(
    file_patterns: Sequence[str], transformed_feature_spec: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Read gzip TFRecord files of tf.Example into memory.

    Args:
        file_patterns: Patterns such as `.../Split-train/*.gz`.
        transformed_feature_spec: How to read each column, as `TFTransformOutput.transformed_feature_spec()`
            returns it: FixedLen for single values, the history and its columns, VarLen or ragged for
            multi-valued features.

    Returns:
        Every column, the rows in the same order at each call: [rows], [rows, length] or
        [rows, length, values], and for a multi-valued feature [rows, longest], padded on the right with -1.

    Raises:
        DataError: No file matches, the files hold no row, or a row has not as many values as its column's
            shape.
    """
    files = sorted(file for pattern in file_patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise DataError(f"Expected transformed examples. Received: no file matches {list(file_patterns)}.")

    def read(file: str) -> list[dict[str, np.ndarray]]:
        return list(_read_file(file, transformed_feature_spec))

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        parts = [part for of_file in pool.map(read, files) for part in of_file]
    if not parts:
        raise DataError(f"Expected transformed examples. Received: no row in the {len(files)} files {files}.")
    return {name: _concatenate([part.pop(name) for part in parts]) for name in transformed_feature_spec}


def make_dataset(
    columns: Mapping[str, np.ndarray],
    global_batch: int,
    seed: int,
    *,
    first_step: int = 0,
    worker: int = 0,
    workers: int = 1,
    replicas_per_worker: int | None = None,
) -> tf.data.Dataset:
    """Make an endless stream of shuffled batches.

    Every rows // global_batch batches are an epoch: each row at most once, in an order that follows from the
    seed and the number of the epoch alone; the rows left over are others in each epoch. Rows of all files are
    shuffled as one.

    Args:
        columns: Arrays with the same first dimension, at least `global_batch`; the same on every worker.
        global_batch: Rows per step, over all workers.
        seed: Equal seeds give equal streams.
        first_step: Steps that were taken before; the stream goes on with the batch after theirs.
        worker: Which of the workers this one is; from 0 on.
        workers: Workers that share each global batch; worker w has the w-th of as many equal parts, so that
            no row is lost and all take as many steps.
        replicas_per_worker: Where given, every element is the batch of one replica, and a step takes as many
            elements as the worker has replicas; otherwise an element is the worker's whole part.

    Returns:
        Batches of all columns, each of the column's shape but for the rows.
    """
    rows = len(next(iter(columns.values())))
    steps = rows // global_batch
    elements = replicas_per_worker or 1
    element_rows = global_batch // (workers * elements)
    per_gather = max(1, _ROWS_PER_GATHER // element_rows)
    first_epoch, steps_into_epoch = divmod(first_step, steps)
    # The gathers are those of the uninterrupted stream, so that not even where a batch lies in memory depends
    # on the interruption: vectorised sums differ in their last bit at another alignment.
    gathers_into_epoch, elements_into_gather = divmod(steps_into_epoch * elements, per_gather)
    with tf.device("CPU"):
        tensors = {name: tf.constant(column) for name, column in columns.items()}

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        permutation = tf.random.experimental.stateless_shuffle(tf.range(rows), seed=[seed, epoch])
        batches = tf.reshape(permutation[: steps * global_batch], [steps, workers, -1])
        skipped = tf.where(epoch == first_epoch, gathers_into_epoch * per_gather, 0)
        by_element = tf.reshape(batches[:, worker], [-1, element_rows])
        return tf.data.Dataset.from_tensor_slices(by_element[skipped:]).batch(per_gather)

    def gather(indices: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.gather(tensor, indices) for name, tensor in tensors.items()}

    # Indices are shuffled at once and rows gathered by the thousand: a shuffle buffer handles each row alone.
    gathers_at_once = min(elements, usable_cores())
    dataset = tf.data.Dataset.counter(first_epoch).flat_map(order)
    if gathers_at_once > 1:
        dataset = dataset.map(gather, num_parallel_calls=gathers_at_once, deterministic=True)
    else:
        dataset = dataset.map(gather)
    dataset = dataset.unbatch().skip(elements_into_gather).prefetch(max(_ELEMENTS_AHEAD, 2 * elements))
    options = tf.data.Options()
    # There is nothing to tune, and an iterator's end waits for the tuner, which sleeps up to a minute.
    options.autotune.enabled = False
    return dataset.with_options(options)


def distribute_dataset(
    strategy: tf.distribute.Strategy,
    columns: Mapping[str, np.ndarray],
    global_batch: int,
    seed: int,
    *,
    first_step: int = 0,
) -> Iterable[Mapping[str, tf.Tensor]]:
    """Give every replica of every worker its own rows of each global batch of `make_dataset`.

    Args:
        strategy: The replicas.
        columns: As for `make_dataset`; the same on every worker.
        global_batch: Rows per step, over all replicas.
        seed: Equal seeds give equal streams.
        first_step: Steps that were taken before.

    Returns:
        For replica r the r-th of as many equal parts of the global batch as there are replicas.
    """
    if strategy.num_replicas_in_sync == 1 and not tf.config.list_logical_devices("GPU"):
        # To one CPU there is nothing to distribute, and handing it over takes as long as the gathers.
        return make_dataset(columns, global_batch, seed, first_step=first_step)

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        return make_dataset(
            columns,
            global_batch,
            seed,
            first_step=first_step,
            worker=context.input_pipeline_id,
            workers=workers,
            replicas_per_worker=context.num_replicas_in_sync // workers,
        )

    return strategy.distribute_datasets_from_function(make)


def _read_file(file: str, feature_spec: Mapping[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    # TFXIO's decoder without its RecordBatches(), which takes every record through an interleave of files:
    # that costs more than to inflate and to decode it.
    schema = schema_pb2.Schema(
        feature=[
            schema_pb2.Feature(name=name, type=_SCHEMA_TYPES[feature.dtype])
            for name, feature in feature_spec.items()
        ]
    )
    decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())
    records = tf.data.TFRecordDataset(file, compression_type="GZIP").batch(_ROWS_PER_DECODED_BATCH)
    for texts in records.prefetch(1).as_numpy_iterator():
        batch = decoder.DecodeBatch(texts)
        yield {
            name: _to_numpy(batch.column(name), feature, name, file) for name, feature in feature_spec.items()
        }


def _to_numpy(column: pa.LargeListArray, feature: Any, name: str, file: str) -> np.ndarray:
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)
    if isinstance(feature, tf.io.FixedLenFeature):
        size = int(np.prod(feature.shape, dtype=np.int64))
        if (lengths != size).any():
            raise DataError(
                f"Column {name!r} of {file}: expected {size} values in every row, its shape being "
                f"{list(feature.shape)}. Received: a row with {lengths[lengths != size][0]}."
            )
        return values.reshape(len(column), *feature.shape)
    dense = np.full([len(column), lengths.max(initial=0)], _PADDING, values.dtype)
    dense[np.arange(dense.shape[1]) < lengths[:, np.newaxis]] = values
    return dense


def _concatenate(parts: Sequence[np.ndarray]) -> np.ndarray:
    if parts[0].ndim == 2:
        longest = max(part.shape[1] for part in parts)
        parts = [
            np.pad(part, [(0, 0), (0, longest - part.shape[1])], constant_values=_PADDING) for part in parts
        ]
    return np.concatenate(parts)
