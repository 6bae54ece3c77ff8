"""Requests that TensorFlow Serving answers to itself, so that the first real one is not slow."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.contract import ASSETS_EXTRA, RAW_SIGNATURE, WARMUP_FILE

_BATCHES: Final = (1, 8)


def write_warmup_requests(directory: str, name: str, values: Mapping[str, Any]) -> None:
    """Write a few made-up requests beside a SavedModel, each input filled with one value.

    Args:
        directory: The SavedModel, a path or whatever TensorFlow can write to; it has its signature of raw
            inputs.
        name: What the model is called on the server.
        values: What inputs are filled with; those that are not named with '' or 0.
    """
    # Only a few steps need TensorFlow, and it takes seconds to import.
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.gfile.GFile(f"{directory}/saved_model.pb", "rb") as file:
        [graph] = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    tf.io.gfile.makedirs(f"{directory}/{ASSETS_EXTRA}")
    with tf.io.TFRecordWriter(f"{directory}/{ASSETS_EXTRA}/{WARMUP_FILE}") as writer:
        for batch in _BATCHES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = RAW_SIGNATURE
            for key, info in graph.signature_def[RAW_SIGNATURE].inputs.items():
                dtype = tf.as_dtype(info.dtype)
                nothing = "" if dtype == tf.string else 0
                _, *sizes = (max(1, dimension.size) for dimension in info.tensor_shape.dim)
                filled = np.full([batch, *sizes], values.get(key, nothing), dtype.as_numpy_dtype)
                request.inputs[key].CopyFrom(tf.make_tensor_proto(filled, dtype))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
