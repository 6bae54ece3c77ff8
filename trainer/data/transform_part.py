"""A part of a transform graph, cut out: it needs the inputs and vocabularies of its own outputs alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from schemas.errors import DataError
from trainer.data.transform_graphs import saved_model_folder


def load_transform(graph: str) -> Any:
    """Load a transform graph.

    Args:
        graph: The folder of the artifact `transform_graph`.

    Returns:
        What `TransformPart` cuts.

    Raises:
        DataError: There is none, or a part of it is missing.
    """
    try:
        return tf.saved_model.load(saved_model_folder(graph))
    except (OSError, tf.errors.NotFoundError) as error:
        raise DataError(
            f"Expected a transform graph in {graph}. Received: {error} Give a Transform step's artifact "
            "transform_graph, or run that step again."
        ) from error


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

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
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
