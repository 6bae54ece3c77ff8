"""Two SavedModels that need nothing but TensorFlow: each tower behind its own part of the Transform graph."""

import json
from collections.abc import Sequence
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
from schemas.features import Dtype, Feature, FeatureSpec
from trainer.towers import Towers

_DTYPES = {"string": tf.string, "int": tf.int64, "float": tf.float32}


def export_towers(
    towers: Towers, transform_output: Any, spec: FeatureSpec, directory: str, model_id: str
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
        transform_output: The Transform step's `tft.TFTransformOutput`.
        spec: The features.
        directory: Where the two folders go.
        model_id: Identifies the training; written into each part, so that a reader can refuse a mixed pair.
    """
    graph = tf.saved_model.load(transform_output.transform_savedmodel_dir)
    user_inputs = [_to_input(feature) for feature in spec.tower_features("user")] + _history_inputs(spec)
    item_inputs = [_to_input(feature) for feature in spec.tower_features("item")]
    for part, tower, inputs in (
        (USER_TOWER, towers.user, user_inputs),
        (ITEM_TOWER, towers.item, item_inputs),
    ):
        target = f"{directory}/{part}"
        _save_tower(tower, inputs, graph, target)
        tf.io.gfile.makedirs(f"{target}/{ASSETS_EXTRA}")
        with tf.io.gfile.GFile(f"{target}/{ASSETS_EXTRA}/{PART_FILE}", "w") as file:
            file.write(json.dumps({MODEL_ID: model_id, "part": part}))


class TransformPart:
    """The part of a transform graph that computes some of its outputs, with only the vocabularies it reads.

    TFT's own transform_features_layer runs on a subset of the inputs too, but tracks, and so saves,
    every vocabulary of the graph.

    Attributes:
        tables: The look-up tables of this part. A SavedModel that tracks them can be loaded, and
            holds their vocabularies.
    """

    def __init__(self, transform: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Cut the part out of the graph.

        Args:
            transform: The loaded SavedModel of the transform graph.
            inputs: The raw features at hand.
            outputs: The transformed features wanted.

        Raises:
            ValueError: An output depends on a raw feature that is not among the inputs.
        """
        function = transform.transform_fn
        graph = function.graph
        spec_by_name = function.structured_input_signature[0][0]
        placeholders = tf.nest.pack_sequence_as(
            spec_by_name, graph.inputs[: len(graph.inputs) - len(graph.captures)], expand_composites=True
        )
        fetched = tf.nest.pack_sequence_as(function.structured_outputs, graph.outputs, expand_composites=True)
        self._outputs = {name: fetched[name] for name in outputs}
        self._graph_def = _extract(graph, tf.nest.flatten(self._outputs, expand_composites=True))

        nodes = {node.name for node in self._graph_def.node}
        needed = {
            name: {tensor.op.name for tensor in tf.nest.flatten(tensors, expand_composites=True)} & nodes
            for name, tensors in placeholders.items()
        }
        foreign = sorted(name for name, found in needed.items() if found and name not in inputs)
        if foreign:
            raise ValueError(
                f"Expected {list(outputs)} to follow from {list(inputs)}. They also need {foreign}."
            )
        self._nodes = nodes
        self._placeholders = {name: placeholders[name] for name in inputs}
        self._captures = {inner.op.name: outer for outer, inner in graph.captures if inner.op.name in nodes}
        self.tables = [
            table
            for table in transform.resources
            if any(table.resource_handle is tensor for tensor in self._captures.values())
        ]

    def __call__(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Transform raw features.

        Args:
            raw: Tensors by name, for the inputs that this part was cut out for.

        Returns:
            The transformed features by name.
        """
        # identity makes the function that is being traced capture the tensor.
        input_map = {name: tf.identity(tensor) for name, tensor in self._captures.items()}
        for name, placeholder in self._placeholders.items():
            inner = tf.nest.flatten(placeholder, expand_composites=True)
            outer = tf.nest.flatten(raw[name], expand_composites=True)
            for tensor, value in zip(inner, outer, strict=True):
                if tensor.op.name in self._nodes:
                    input_map[tensor.op.name] = value
        wanted = tf.nest.flatten(self._outputs, expand_composites=True)
        tensors = tf.graph_util.import_graph_def(
            self._graph_def, input_map, [tensor.name for tensor in wanted], name="transform"
        )
        for tensor, original in zip(tensors, wanted, strict=True):
            tensor.set_shape(original.shape)
        return tf.nest.pack_sequence_as(self._outputs, tensors, expand_composites=True)


def _extract(graph: Any, tensors: Sequence[Any]) -> Any:
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        # tf.function makes every output wait for every look-up. These change nothing: no need to wait.
        data_inputs = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data_inputs)
    return tf.compat.v1.graph_util.extract_sub_graph(graph_def, [tensor.op.name for tensor in tensors])


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


def _save_tower(tower: Any, inputs: Sequence[_Input], graph: Any, directory: str) -> None:
    names = [each.name for each in inputs]
    transform = TransformPart(graph, names, names)

    def embed(raw: dict[str, Any]) -> dict[str, Any]:
        transformed = {
            name: tf.sparse.to_dense(value, HISTORY_PADDING_KEY)
            if isinstance(value, tf.SparseTensor)
            else value
            for name, value in transform(raw).items()
        }
        return {EMBEDDING_OUTPUT: tower(transformed, training=False)}

    def embed_raw(**raw: Any) -> dict[str, Any]:
        sparse = {each.name: tf.sparse.from_dense(raw[each.name]) for each in inputs if each.is_ragged}
        return embed(raw | sparse)

    def embed_examples(serialized: Any) -> dict[str, Any]:
        return embed(tf.io.parse_example(serialized, {each.name: each.to_parser() for each in inputs}))

    module = tf.Module()
    module.tables = transform.tables
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
