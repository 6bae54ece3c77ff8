"""Two SavedModels that need nothing but TensorFlow: each tower behind its own part of the Transform graph."""

import json
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from schemas.contract import (
    ASSETS_EXTRA,
    EMBEDDING_OUTPUT,
    EXAMPLES_INPUT,
    EXAMPLES_SIGNATURE,
    HISTORY_PADDING,
    HISTORY_PADDING_KEY,
    ITEM_TOWER,
    MODEL_ID,
    PART_FILE,
    RAW_SIGNATURE,
    USER_TOWER,
)
from schemas.features import Feature, FeatureSpec, History
from trainer.towers import Towers

_DTYPES = {"string": tf.string, "int": tf.int64, "float": tf.float32}


def export_towers(
    towers: Towers, transform_output: Any, spec: FeatureSpec, directory: str, model_id: str
) -> None:
    """Write `user_tower/` and `item_tower/`, with the signatures that schemas.contract names.

    `serving_default` takes one tensor per raw feature of the tower: `[batch]`, `[batch, values]`
    string padded with '' for a multi-valued one, `[batch, length]` float32 for a list of numbers,
    `[batch, length]` string for the history.
    `serving_examples` takes `[batch]` serialised tf.Examples; one without a history or without a
    multi-valued feature counts as one with none. Both give `[batch, dim]` float32.

    Args:
        towers: The trained towers.
        transform_output: The Transform step's `tft.TFTransformOutput`.
        spec: The features.
        directory: Where the two folders go.
        model_id: Identifies the training; written into each part, so that a reader can refuse a mixed pair.
    """
    graph = tf.saved_model.load(transform_output.transform_savedmodel_dir)
    for part, tower, features, history in (
        (USER_TOWER, towers.user, spec.tower_features("user"), spec.history),
        (ITEM_TOWER, towers.item, spec.tower_features("item"), None),
    ):
        target = f"{directory}/{part}"
        _save_tower(tower, features, history, graph, target)
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


def _save_tower(
    tower: Any, features: Sequence[Feature], history: History | None, graph: Any, directory: str
) -> None:
    names = [feature.name for feature in features]
    if history is not None:
        names.append(history.name)
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
        for feature in features:
            if feature.multi_valued:
                raw[feature.name] = tf.sparse.from_dense(raw[feature.name])
        return embed(raw)

    def embed_examples(serialized: Any) -> dict[str, Any]:
        return embed(tf.io.parse_example(serialized, _parsing_spec(features, history)))

    module = tf.Module()
    module.tables = transform.tables
    # The weights alone: a tracked Keras layer would want its Python class back when it is loaded.
    module.weights = list(tower.variables)
    signatures = {
        RAW_SIGNATURE: tf.function(embed_raw, autograph=False).get_concrete_function(
            **_raw_specs(features, history)
        ),
        EXAMPLES_SIGNATURE: tf.function(embed_examples, autograph=False).get_concrete_function(
            tf.TensorSpec([None], tf.string, EXAMPLES_INPUT)
        ),
    }
    tf.saved_model.save(module, directory, signatures=signatures)


def _raw_specs(features: Sequence[Feature], history: History | None) -> dict[str, Any]:
    specs = {
        feature.name: tf.TensorSpec(
            [None, feature.length] if feature.is_list else [None], _DTYPES[feature.dtype], feature.name
        )
        for feature in features
    }
    if history is not None:
        specs[history.name] = tf.TensorSpec([None, history.length], tf.string, history.name)
    return specs


def _parsing_spec(features: Sequence[Feature], history: History | None) -> dict[str, Any]:
    parsing: dict[str, Any] = {
        feature.name: tf.io.VarLenFeature(_DTYPES[feature.dtype])
        if feature.multi_valued
        else tf.io.FixedLenFeature(
            [] if feature.length is None else [feature.length], _DTYPES[feature.dtype], feature.default_value
        )
        for feature in features
    }
    if history is not None:
        padding = [HISTORY_PADDING] * history.length
        parsing[history.name] = tf.io.FixedLenFeature([history.length], tf.string, padding)
    return parsing
