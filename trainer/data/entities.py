"""Raw tables as the towers read them: through the part of a transform graph that encodes their columns."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from schemas.contract import HISTORY_PADDING_KEY
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, TextEncoding
from schemas.sequences import value_type
from trainer.data.transform_part import TransformPart, load_transform

_BATCH_ROWS = 4096
# The ingest leaves no value out, and no list of another length.
_REMEDY = "Run the ingest again with the schema file of this training."
_DTYPES = {"string": pa.large_binary(), "int": pa.int64(), "float": pa.float32()}


def transform_table(
    batches: Iterable[pa.RecordBatch], features: Sequence[Feature], graph: str, batch_rows: int = _BATCH_ROWS
) -> dict[str, np.ndarray]:
    """Encode the columns of a table.

    Args:
        batches: The table, in parts of any size, with a column for each encoded feature: such as the
            catalogue, the users of the sequences, or the context of their positives.
        features: Features that one transform graph encodes; those without an encoding are left out.
        graph: The folder of the artifact `transform_graph`.
        batch_rows: Rows that are encoded at once.

    Returns:
        By feature name, the rows in their order: [rows] int64 or float32, [rows, length] float32 for lists
        of numbers, and for multi-valued features and texts [rows, longest] int64, padded on the right with
        -1.

    Raises:
        DataError: The graph, a column or a value is missing, or a list has the wrong length.
    """
    encoded = [feature for feature in features if feature.encoding is not None]
    if not encoded:
        return {}
    names = [feature.name for feature in encoded]
    transform = TransformPart(load_transform(graph), inputs=names, outputs=names)
    transform_batch = tf.function(transform, autograph=False, reduce_retracing=True)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in itertools.chain([_empty(encoded)], _slice(batches, batch_rows)):
        missing = sorted(set(names) - set(batch.schema.names))
        if missing:
            raise DataError(
                f"Expected the {encoded[0].tower} table with the columns {', '.join(names)}. Received: no "
                f"{', '.join(missing)}. {_REMEDY}"
            )
        raw = {feature.name: _to_tensor(batch.column(feature.name), feature) for feature in encoded}
        for name, value in transform_batch(raw).items():
            parts[name].append(_to_dense(value))
    return {name: _concatenate(arrays) for name, arrays in parts.items()}


def history_table(item_columns: Mapping[str, np.ndarray], spec: FeatureSpec) -> dict[str, np.ndarray]:
    """Tell what stands in a history for each item, so that histories are gathers of it.

    It is what the user tower that is served makes of the item's raw values. At a position without an item
    a history has -1 in columns of integers and 0 in those of floats.

    Args:
        item_columns: The items as `transform_table` gives them.
        spec: The features, with a history.

    Returns:
        By the column's name, one row for each item: the ids' embedding rows, [items] int64, and the
        history's item features, [items], [items, length] for lists of numbers and
        [items, values_per_item] int64 for multi-valued features and texts: the first so many values or
        n-grams of each item, padded on the right with -1.
    """
    history = spec.history
    if history is None:
        return {}
    columns = {history.name: item_columns[spec.item_id.name]}
    for feature in spec.history_features:
        values = item_columns[feature.name]
        if feature.multi_valued or isinstance(feature.encoding, TextEncoding):
            values = _fit(values, history.values_per_item)
        columns[history.feature_column(feature.name)] = values
    return columns


def _empty(features: Sequence[Feature]) -> pa.RecordBatch:
    """Make a batch without rows, so that a table without any has its columns too."""
    schema = pa.schema({feature.name: value_type(feature) for feature in features})
    return pa.RecordBatch.from_pylist([], schema)


def _slice(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _to_tensor(column: pa.Array, feature: Feature) -> tf.Tensor | tf.SparseTensor:
    if not feature.is_list:
        return tf.constant(_to_numpy(column, feature))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    values = _to_numpy(column.flatten(), feature)
    if feature.multi_valued:
        indices = np.stack([np.repeat(np.arange(len(column)), lengths), _positions(lengths)], axis=1)
        return tf.SparseTensor(indices, values, [len(column), max(1, int(lengths.max(initial=0)))])
    if (lengths != feature.length).any():
        wrong = int(lengths[lengths != feature.length][0])
        raise DataError(
            f"Column {feature.name} of the {feature.tower} table: expected lists of {feature.length} values. "
            f"Received: a list of {wrong}. {_REMEDY}"
        )
    return tf.constant(values.reshape(len(column), feature.length or 1))


def _to_numpy(values: pa.Array, feature: Feature) -> np.ndarray:
    if values.null_count:
        raise DataError(
            f"Column {feature.name} of the {feature.tower} table: expected no missing value. Received: "
            f"{values.null_count:,}. {_REMEDY}"
        )
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
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
    return np.concatenate([_fit(part, longest) for part in parts])


def _fit(values: np.ndarray, length: int) -> np.ndarray:
    """Cut the lists of [rows, any] to a length, or pad them with -1 on the right to [rows, length]."""
    missing = max(0, length - values.shape[1])
    return np.pad(values[:, :length], [(0, 0), (0, missing)], constant_values=HISTORY_PADDING_KEY)
