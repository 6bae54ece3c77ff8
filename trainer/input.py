"""Transformed examples into memory, and from there into shuffled batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from schemas.contract import HISTORY_PADDING_KEY
from schemas.errors import DataError

_PADDING = HISTORY_PADDING_KEY
_ROWS_PER_PARSED_BATCH = 8192


def read_columns(
    file_patterns: Sequence[str], transformed_feature_spec: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Read gzip TFRecord files of tf.Example into memory.

    Args:
        file_patterns: Patterns such as `.../Split-train/*.gz`.
        transformed_feature_spec: How to parse each column, as `TFTransformOutput.transformed_feature_spec()`
            returns it: FixedLen for single values and the history, VarLen or ragged for multi-valued
            features.

    Returns:
        Every column, the rows in the same order at each call: [rows] or [rows, length], and for a
        multi-valued feature [rows, longest], padded on the right with -1.

    Raises:
        DataError: No file matches, or the files hold no row.
    """
    files = sorted(file for pattern in file_patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise DataError(f"Expected transformed examples. Received: no file matches {list(file_patterns)}.")
    batches = (
        tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=tf.data.AUTOTUNE)
        .batch(_ROWS_PER_PARSED_BATCH)
        .map(lambda texts: _parse(texts, transformed_feature_spec), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(1)
    )
    parts = list(batches.as_numpy_iterator())
    if not parts:
        raise DataError(f"Expected transformed examples. Received: no row in the {len(files)} files {files}.")
    return {name: _concatenate([part[name] for part in parts]) for name in transformed_feature_spec}


def make_dataset(columns: Mapping[str, np.ndarray], global_batch: int, seed: int) -> tf.data.Dataset:
    """Make an endless stream of shuffled batches.

    Every rows // global_batch batches are an epoch: each row at most once, in an order of its own; the
    rows left over are others in each epoch.

    Args:
        columns: Arrays with the same first dimension, at least `global_batch`.
        global_batch: Rows per batch.
        seed: Equal seeds give equal streams.

    Returns:
        Batches of all columns, [global_batch] or [global_batch, length] each.
    """
    rows = len(next(iter(columns.values())))
    steps = rows // global_batch
    with tf.device("CPU"):
        tensors = {name: tf.constant(column) for name, column in columns.items()}

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        permutation = tf.random.experimental.stateless_shuffle(tf.range(rows), seed=[seed, epoch])
        return tf.data.Dataset.from_tensor_slices(
            tf.reshape(permutation[: steps * global_batch], [steps, global_batch])
        )

    def gather(indices: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.gather(tensor, indices) for name, tensor in tensors.items()}

    # Indices are shuffled at once and rows gathered by the batch: a shuffle buffer handles every row alone.
    return (
        tf.data.Dataset.counter()
        .flat_map(order)
        .map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def _parse(texts: tf.Tensor, feature_spec: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_example(texts, dict(feature_spec))
    return {name: _densify(value) for name, value in parsed.items()}


def _densify(value: Any) -> tf.Tensor:
    if isinstance(value, tf.SparseTensor):
        return tf.sparse.to_dense(value, default_value=_PADDING)
    if isinstance(value, tf.RaggedTensor):
        return value.to_tensor(default_value=_PADDING)
    return value


def _concatenate(parts: Sequence[np.ndarray]) -> np.ndarray:
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, [(0, 0), (0, longest - part.shape[1])], constant_values=_PADDING) for part in parts]
    )
