"""SavedModels as they are served: named signatures, called with arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.serving.errors import RequestError
from schemas.contract import RAW_SIGNATURE
from schemas.errors import ReleaseError


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a signature."""

    dtype: np.dtype
    """Type of its values; object of texts, which are bytes."""
    shape: tuple[int | None, ...]
    """Its shape, None where any length will do."""

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return self.dtype == object


class Signature:
    """A signature of a loaded SavedModel. Many threads may call it at the same time."""

    def __init__(self, function: Any) -> None:
        """Look at a signature.

        Args:
            function: A value of `signatures` of what `tf.saved_model.load` gives.
        """
        self._function = function
        self._dtypes = {
            name: spec.dtype for name, spec in sorted(function.structured_input_signature[1].items())
        }
        self.inputs = {
            name: _describe(spec) for name, spec in sorted(function.structured_input_signature[1].items())
        }
        """The inputs by name."""
        self.outputs = {name: _describe(spec) for name, spec in sorted(function.structured_outputs.items())}
        """The outputs by name."""

    def call(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute the outputs.

        Args:
            arrays: An array for each input, as it is described.

        Returns:
            An array for each output.

        Raises:
            RequestError: The model refuses the values.
        """
        import tensorflow as tf

        try:
            outputs = self._function(
                **{name: tf.constant(arrays[name], dtype=dtype) for name, dtype in self._dtypes.items()}
            )
            return {name: outputs[name].numpy() for name in self.outputs}
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(
                f"The model refuses the values: {str(error.message).splitlines()[0]}."
            ) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(
                "Expected a request for which there is memory. Received: a larger one. Send fewer rows at a "
                "time.",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"Retry-After": "1"},
            ) from error

    def make_example(self) -> dict[str, np.ndarray]:
        """Make one row of empty texts and ones, to try the signature with."""
        arrays = {}
        for name, tensor in self.inputs.items():
            shape = tuple(length or 1 for length in tensor.shape)
            arrays[name] = np.full(shape, b"", object) if tensor.is_text else np.ones(shape, tensor.dtype)
        return arrays


@dataclass(frozen=True)
class ServedModel:
    """A SavedModel of a release."""

    name: str
    """The part of the release: `user_tower`, `item_tower` or `retriever`."""
    version: int
    """The release's version."""
    folder: Path
    """The SavedModel."""
    signatures: dict[str, Signature]
    """The signatures by name."""
    loaded: Any
    """What TensorFlow loaded; it keeps the variables of the signatures alive."""
    metadata: dict[str, Any]
    """The signatures as TensorFlow Serving describes them: `SignatureDef` messages as JSON, by name."""

    def find_signature(self, name: str) -> Signature:
        """Find a signature.

        Args:
            name: Its name.

        Returns:
            The signature.

        Raises:
            RequestError: The model has none of that name.
        """
        if name not in self.signatures:
            raise RequestError(
                f"signature_name: expected one of {', '.join(self.signatures)}. Received: {name!r:.80}."
            )
        return self.signatures[name]


def load_model(name: str, version: int, folder: Path) -> ServedModel:
    """Load a SavedModel; TensorFlow alone is needed.

    Args:
        name: The part of the release.
        version: The release's version.
        folder: The SavedModel.

    Returns:
        The model.

    Raises:
        ReleaseError: The folder holds no SavedModel with the signature `serving_default`.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ReleaseError(
            f"{folder} holds no SavedModel ({error}). Export it again with `dssm run`."
        ) from error
    signatures = {str(key): Signature(loaded.signatures[key]) for key in sorted(loaded.signatures)}
    if RAW_SIGNATURE not in signatures:
        raise ReleaseError(
            f"{folder}: expected the signature {RAW_SIGNATURE!r}. Received: "
            f"{', '.join(signatures) or 'none'}. Export it again with `dssm run`."
        )
    # Read now, since the files may be pruned while the model is served.
    return ServedModel(name, version, folder, signatures, loaded, _describe_signatures(folder))


def _describe_signatures(folder: Path) -> dict[str, Any]:
    from google.protobuf import json_format
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    return {
        name: json_format.MessageToDict(
            signature, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
        )
        for name, signature in saved_model.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


def _describe(spec: Any) -> Tensor:
    return Tensor(np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape.as_list()))
