"""Two SavedModels that need nothing but TensorFlow: each tower behind its parts of the transform graphs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from schemas.contract import (
    ASSETS_EXTRA,
    EMBEDDING_OUTPUT,
    EXAMPLES_INPUT,
    EXAMPLES_SIGNATURE,
    GAP_PADDING,
    HISTORY_PADDING,
    HISTORY_PADDING_KEY,
    ITEM_TOWER,
    MODEL_ID,
    PART_FILE,
    RAW_SIGNATURE,
    USER_TOWER,
)
from schemas.features import Dtype, Feature, FeatureSpec, History
from schemas.warmup import write_warmup_requests
from trainer.data.transform_graphs import TransformGraphs
from trainer.data.transform_part import TransformPart, load_transform
from trainer.towers import Towers

_DTYPES = {"string": tf.string, "int": tf.int64, "float": tf.float32}


def export_towers(
    towers: Towers,
    graphs: TransformGraphs,
    spec: FeatureSpec,
    gap_boundaries: np.ndarray | None,
    directory: str,
    model_id: str,
) -> None:
    """Write `user_tower/` and `item_tower/`, with the signatures that schemas.contract names.

    `serving_default` takes one tensor per raw feature of the tower: `[batch]`, `[batch, values]`
    string padded with '' for a multi-valued one, `[batch, length]` float32 for a list of numbers,
    `[batch, length]` string for the history. Beside the history stand the features of its items,
    `[batch, length]`, or `[batch, length, values]` for lists, and the time gaps, `[batch, length]` int64.
    `serving_examples` takes `[batch]` serialised tf.Examples, in them lists of lists one after the other; one
    without a history or without a multi-valued feature counts as one with none. Both give `[batch, dim]`
    float32.

    Args:
        towers: The trained towers.
        graphs: What the Transform steps wrote.
        spec: The features.
        gap_boundaries: `[buckets - 1]` int64 in rising order; a time gap's bucket is the number of boundaries
            that are not above it. None where the history has no gaps.
        directory: Where the two folders go.
        model_id: Identifies the training; written into each part, so that a reader can refuse a mixed pair.
    """
    user_inputs = [_to_input(feature) for feature in spec.tower_features("user")] + _history_inputs(spec)
    item_inputs = [_to_input(feature) for feature in spec.tower_features("item")]
    item_graph = load_transform(graphs.item)
    user_parts = []
    for table in ("user", "context"):
        features = [feature for feature in spec.tower_features("user") if feature.tower == table]
        if features:
            user_parts.append(_cut(load_transform(graphs.folder(table)), features))
    if spec.history is not None:
        user_parts.append(_cut_history(item_graph, spec, spec.history, gap_boundaries))
    item_parts = [_cut(item_graph, spec.tower_features("item"))]
    for name, tower, inputs, parts in (
        (USER_TOWER, towers.user, user_inputs, user_parts),
        (ITEM_TOWER, towers.item, item_inputs, item_parts),
    ):
        target = f"{directory}/{name}"
        _save_tower(tower, inputs, parts, target)
        tf.io.gfile.makedirs(f"{target}/{ASSETS_EXTRA}")
        with tf.io.gfile.GFile(f"{target}/{ASSETS_EXTRA}/{PART_FILE}", "w") as file:
            file.write(json.dumps({MODEL_ID: model_id, "part": name}))
        write_warmup_requests(target, name, {})


@dataclass(frozen=True)
class _Encoder:
    """Makes some of the columns that a tower reads."""

    encode: Callable[[Mapping[str, Any]], dict[str, Any]]
    """From the raw features by name, sparse where rows differ in length, to dense columns by name."""
    tables: Sequence[Any]
    """The look-up tables that it needs."""


def _cut(graph: Any, features: Sequence[Feature]) -> _Encoder:
    names = [feature.name for feature in features]
    part = TransformPart(graph, names, names)
    return _Encoder(lambda raw: {name: _to_dense(value) for name, value in part(raw).items()}, part.tables)


def _cut_history(
    graph: Any, spec: FeatureSpec, history: History, gap_boundaries: np.ndarray | None
) -> _Encoder:
    """Encode histories by the items' graph, as `trainer.data.entities.history_table` does in training."""
    columns = {history.name: spec.item_id} | {
        history.feature_column(feature.name): feature for feature in spec.history_features
    }
    names = [feature.name for feature in columns.values()]
    part = TransformPart(graph, names, names)

    def encode(raw: Mapping[str, Any]) -> dict[str, Any]:
        items = {feature.name: _to_items(raw[column], feature) for column, feature in columns.items()}
        encoded = part(items)
        # Told by the raw value: after the look-up, padding would be one more unseen item.
        is_item = tf.not_equal(raw[history.name], HISTORY_PADDING)
        outputs = {
            column: _to_history(encoded[feature.name], is_item, history)
            for column, feature in columns.items()
        }
        if gap_boundaries is not None:
            outputs[history.gap_column] = _to_gap_buckets(raw[history.gap_column], gap_boundaries)
        return outputs

    return _Encoder(encode, part.tables)


def _to_items(values: Any, feature: Feature) -> Any:
    """Make rows of the items of all histories: `[batch, length, ...]` to `[batch * length, ...]`."""
    values = tf.reshape(values, [-1, *values.shape[2:]])
    return tf.sparse.from_dense(values) if feature.multi_valued else values


def _to_history(values: Any, is_item: Any, history: History) -> Any:
    """Make histories of encoded items, with -1, among floats 0, where there is none.

    Args:
        values: `[batch * length]`, `[batch * length, numbers]` float32, or sparse.
        is_item: `[batch, length]` bool.
        history: The history.

    Returns:
        `[batch, length]`, `[batch, length, numbers]` or `[batch, length, values_per_item]`.
    """
    if isinstance(values, tf.SparseTensor):
        width = history.values_per_item
        values = _to_dense(values)[:, :width]
        missing = width - tf.shape(values)[1]
        values = tf.pad(values, [[0, 0], [0, missing]], constant_values=HISTORY_PADDING_KEY)
        values = tf.ensure_shape(values, [None, width])
    values = tf.reshape(values, [-1, history.length, *values.shape[1:]])
    is_item = tf.reshape(is_item, [-1, history.length, *([1] * (values.shape.rank - 2))])
    padding = 0 if values.dtype.is_floating else HISTORY_PADDING_KEY
    return tf.where(is_item, values, tf.cast(padding, values.dtype))


def _to_gap_buckets(gaps: Any, boundaries: np.ndarray) -> Any:
    buckets = tf.searchsorted(
        tf.constant(boundaries, tf.int64), tf.reshape(gaps, [-1]), side="right", out_type=tf.int64
    )
    return tf.where(gaps == GAP_PADDING, gaps, tf.reshape(buckets, tf.shape(gaps)))


def _to_dense(values: Any) -> Any:
    return tf.sparse.to_dense(values, HISTORY_PADDING_KEY) if isinstance(values, tf.SparseTensor) else values


@dataclass(frozen=True)
class _Input:
    """A raw feature that a tower asks for."""

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]
    """Of a row; None where rows differ."""
    default: Any = None
    """What stands for it in a tf.Example without it; None: it must be there."""

    @property
    def is_ragged(self) -> bool:
        return None in self.shape

    def to_tensor_spec(self) -> tf.TensorSpec:
        return tf.TensorSpec([None, *self.shape], self.dtype, self.name)

    def to_parser(self) -> Any:
        if self.is_ragged:
            return tf.io.VarLenFeature(self.dtype)
        return tf.io.FixedLenFeature(self.shape, self.dtype, self.default)


def _to_input(feature: Feature) -> _Input:
    shape: tuple[int | None, ...] = ()
    if feature.multi_valued:
        shape = (None,)
    elif feature.length is not None:
        shape = (feature.length,)
    return _Input(feature.name, _DTYPES[feature.dtype], shape, feature.default_value)


def _history_inputs(spec: FeatureSpec) -> list[_Input]:
    history = spec.history
    if history is None:
        return []

    inputs = [_to_history_input(history.name, "string", (history.length,), HISTORY_PADDING)]
    for feature in spec.history_features:
        padding = {"string": HISTORY_PADDING, "int": 0, "float": 0.0}[feature.dtype]
        column, shape = history.feature_column(feature.name), history.feature_shape(feature)
        inputs.append(_to_history_input(column, feature.dtype, shape, padding))
    if history.time_gap_buckets is not None:
        inputs.append(_to_history_input(history.gap_column, "int", (history.length,), GAP_PADDING))
    return inputs


def _to_history_input(column: str, dtype: Dtype, shape: tuple[int, ...], padding: Any) -> _Input:
    return _Input(column, _DTYPES[dtype], shape, np.full(shape, padding).tolist())


def _save_tower(tower: Any, inputs: Sequence[_Input], parts: Sequence[_Encoder], directory: str) -> None:
    def embed(raw: dict[str, Any]) -> dict[str, Any]:
        columns = {name: column for part in parts for name, column in part.encode(raw).items()}
        return {EMBEDDING_OUTPUT: tower(columns, training=False)}

    def embed_raw(**raw: Any) -> dict[str, Any]:
        sparse = {each.name: tf.sparse.from_dense(raw[each.name]) for each in inputs if each.is_ragged}
        return embed(raw | sparse)

    def embed_examples(serialized: Any) -> dict[str, Any]:
        return embed(tf.io.parse_example(serialized, {each.name: each.to_parser() for each in inputs}))

    module = tf.Module()
    module.tables = [table for part in parts for table in part.tables]
    # The weights alone: a tracked Keras layer would want its Python class back when it is loaded.
    module.weights = list(tower.variables)
    signatures = {
        RAW_SIGNATURE: tf.function(embed_raw, autograph=False).get_concrete_function(
            **{each.name: each.to_tensor_spec() for each in inputs}
        ),
        EXAMPLES_SIGNATURE: tf.function(embed_examples, autograph=False).get_concrete_function(
            tf.TensorSpec([None], tf.string, EXAMPLES_INPUT)
        ),
    }
    tf.saved_model.save(module, directory, signatures=signatures)
