"""The catalogue as the item tower reads it: through the item part of the transform graph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from schemas.contract import CATALOGUE_FILE, HISTORY_PADDING_KEY
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec
from trainer.export import TransformPart

_BATCH_ROWS = 4096
_DTYPES = {"string": pa.large_binary(), "int": pa.int64(), "float": pa.float32()}


def read_catalogue(
    folder: str, spec: FeatureSpec, transform_output: Any, batch_rows: int = _BATCH_ROWS
) -> dict[str, np.ndarray]:
    """Transform every item of the catalogue.

    Args:
        folder: The catalogue's folder.
        spec: The features.
        transform_output: The Transform step's `tft.TFTransformOutput`.
        batch_rows: Items that are transformed at once.

    Returns:
        The item tower's columns by feature name, the items in the catalogue's order, in the form of
        `read_columns`: [items] or [items, length], and for a multi-valued feature or a text
        [items, longest] int64, padded on the right with -1.

    Raises:
        DataError: The catalogue is empty, lacks a column or a value, or has lists of the wrong length.
    """
    features = spec.tower_features("item")
    names = [feature.name for feature in features]
    transform = TransformPart(
        tf.saved_model.load(transform_output.transform_savedmodel_dir), inputs=names, outputs=names
    )
    transform_batch = tf.function(transform, autograph=False, reduce_retracing=True)
    parts: list[dict[str, np.ndarray]] = []
    with pq.ParquetFile(Path(folder) / CATALOGUE_FILE) as file:
        missing = sorted(set(names) - set(file.schema_arrow.names))
        if missing or not file.metadata.num_rows:
            received = f"no {', '.join(missing)}" if missing else "no item"
            raise DataError(
                f"Catalogue {folder}: expected at least one item with {', '.join(names)}. Received: "
                f"{received}. Run the ingest again with the schema of this training."
            )
        for batch in file.iter_batches(batch_size=batch_rows, columns=names):
            raw = {feature.name: _to_tensor(batch.column(feature.name), feature) for feature in features}
            parts.append({name: _to_dense(value) for name, value in transform_batch(raw).items()})
    return {name: _concatenate([part[name] for part in parts]) for name in names}


def _to_tensor(column: pa.Array, feature: Feature) -> tf.Tensor | tf.SparseTensor:
    if not feature.is_list and not feature.multi_valued:
        return tf.constant(_to_numpy(column, feature))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    values = _to_numpy(column.flatten(), feature)
    if feature.multi_valued:
        indices = np.stack([np.repeat(np.arange(len(column)), lengths), _positions(lengths)], axis=1)
        return tf.SparseTensor(indices, values, [len(column), max(1, int(lengths.max(initial=0)))])
    if (lengths != feature.length).any():
        wrong = int(lengths[lengths != feature.length][0])
        raise DataError(
            f"Catalogue, column {feature.name!r}: expected lists of {feature.length} values. Received: "
            f"a list of {wrong}."
        )
    return tf.constant(values.reshape(len(column), -1))


def _to_numpy(values: pa.Array, feature: Feature) -> np.ndarray:
    if values.null_count:
        raise DataError(
            f"Catalogue, column {feature.name!r}: expected no missing value. Received: {values.null_count:,}."
        )
    return values.cast(_DTYPES[feature.dtype]).to_numpy(zero_copy_only=False)


def _positions(lengths: np.ndarray) -> np.ndarray:
    """Number the values of each list from 0: [2, 1] to [0, 1, 0]."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)


def _to_dense(value: tf.Tensor | tf.SparseTensor) -> np.ndarray:
    if isinstance(value, tf.SparseTensor):
        value = tf.sparse.to_dense(value, HISTORY_PADDING_KEY)
    return value.numpy()


def _concatenate(parts: Sequence[np.ndarray]) -> np.ndarray:
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    return np.concatenate(
        [
            np.pad(part, [(0, 0), (0, longest - part.shape[1])], constant_values=HISTORY_PADDING_KEY)
            for part in parts
        ]
    )
