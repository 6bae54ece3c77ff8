"""TFX artifacts from the JSON that Kubeflow Pipelines keeps of them, and back.

Kubeflow Pipelines stores every number as a double, a boolean as 0 or 1, and wraps lists and dictionaries.
So where a property's type cannot be told from its value, it is written into one more property.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts
from tfx.types.artifact import CUSTOM_PROPERTIES_PREFIX, Artifact
from tfx.utils import import_utils

from pipeline.kubeflow.container_io import ContainerError, RuntimeArtifact

PROPERTY_TYPES_KEY: Final = "dssm_property_types"
"""The property that says, as JSON, which numbers are booleans, whole doubles or JSON values."""

MAY_BE_EMPTY: Final = (standard_artifacts.ModelRun, standard_artifacts.PushedModel)
"""Types that TFX's own executors leave empty where there is no training log and where nothing is pushed."""

_TFX_TYPES: Final = "tfx.types.standard_artifacts"
_LARGEST_EXACT_INT: Final = 2**53
# KFP adds them to an output that has none; an executor that copies an input's properties must not set them.
_ADDED_BY_KFP: Final = ("display_name", "store_session_info")
_JSON_SINGLE_VALUE: Final = "__value__"


def to_tfx_artifact(runtime: RuntimeArtifact) -> Artifact:
    """Build the artifact that an executor is given.

    Args:
        runtime: What the launcher says about it.

    Returns:
        An artifact of the declared class whose `uri` is the path in this container.

    Raises:
        ContainerError: There is no such class.
    """
    artifact = _import_artifact_class(runtime.type_title)()
    artifact.uri = str(runtime.path)
    if runtime.name.isdecimal():
        artifact.id = int(runtime.name)
    types = json.loads(runtime.metadata.get(PROPERTY_TYPES_KEY) or "{}")
    for key, stored in runtime.metadata.items():
        value = _unwrap(stored)
        if key in (*_ADDED_BY_KFP, PROPERTY_TYPES_KEY) or value is None:
            continue
        if not _set_property(artifact, key, value):
            _set_custom_property(artifact, _strip_prefix(artifact, key), value, types.get(key))
    return artifact


def to_metadata(artifact: Artifact, output: str) -> dict[str, Any]:
    """Read the properties that an executor has set.

    Args:
        artifact: The output artifact.
        output: The output's key, for messages.

    Returns:
        JSON values by name, without those that have no value: Kubeflow Pipelines refuses null.

    Raises:
        ContainerError: A value would come back as another one.
    """
    message = artifact.mlmd_artifact
    declared = artifact.artifact_type.properties
    metadata = {key: _to_json(value, output, key) for key, value in _with_values(message.properties)}
    types = {}
    for key, value in _with_values(message.custom_properties):
        name = CUSTOM_PROPERTIES_PREFIX + key if key in declared else key
        metadata[name] = _to_json(value, output, key)
        recorded = _type_to_record(value, metadata[name])
        if recorded:
            types[name] = recorded
    if types:
        metadata[PROPERTY_TYPES_KEY] = json.dumps(types, sort_keys=True)
    return {key: value for key, value in metadata.items() if value is not None}


def _import_artifact_class(title: str) -> type[Artifact]:
    # The title of TFX's own, tfx.Examples, names no module.
    name = title.removeprefix("tfx.")
    path = f"{_TFX_TYPES}.{name}" if name.isidentifier() and name != title else title
    try:
        artifact_class = import_utils.import_class_by_path(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContainerError(
            f"Artifact type {title!r}: expected a type of TFX or the import path of a class in this image. "
            f"Received: {error}."
        ) from error
    if not (isinstance(artifact_class, type) and issubclass(artifact_class, Artifact)):
        raise ContainerError(
            f"Artifact type {title!r}: expected a class of artifacts. Received: {artifact_class}."
        )
    return artifact_class


def _unwrap(value: Any) -> Any:
    match value:
        case {"struct": dict() as content} | {"list": list() as content} if len(value) == 1:
            return content
    return value


def _set_property(artifact: Artifact, key: str, value: Any) -> bool:
    declared = artifact.artifact_type.properties
    if key not in declared:
        return False
    is_number = isinstance(value, int | float)
    match declared[key]:
        case metadata_store_pb2.INT if is_number and value == int(value):
            setattr(artifact, key, int(value))
        case metadata_store_pb2.DOUBLE if is_number:
            setattr(artifact, key, float(value))
        case metadata_store_pb2.BOOLEAN if is_number:
            setattr(artifact, key, bool(value))
        case metadata_store_pb2.STRING if isinstance(value, str):
            setattr(artifact, key, value)
        case metadata_store_pb2.STRUCT:
            setattr(artifact, key, value)
        case _:
            return False
    return True


def _strip_prefix(artifact: Artifact, key: str) -> str:
    stripped = key.removeprefix(CUSTOM_PROPERTIES_PREFIX)
    return stripped if stripped in artifact.artifact_type.properties else key


def _set_custom_property(artifact: Artifact, key: str, value: Any, recorded_type: str | None) -> None:
    if recorded_type == "json" or isinstance(value, Mapping | list):
        artifact.set_json_value_custom_property(key, value)
        # TFX finds a JSON value only where the message holds the key.
        artifact.mlmd_artifact  # noqa: B018
    elif isinstance(value, str):
        artifact.set_string_custom_property(key, value)
    elif recorded_type == "bool" or isinstance(value, bool):
        artifact.set_bool_custom_property(key, bool(value))
    elif recorded_type == "double" or value != int(value):
        artifact.set_float_custom_property(key, float(value))
    else:
        artifact.set_int_custom_property(key, int(value))


def _with_values(properties: Any) -> Iterator[tuple[str, metadata_store_pb2.Value]]:
    # Reading a missing key of a protobuf map leaves a value of no kind behind.
    return ((key, value) for key, value in properties.items() if value.WhichOneof("value"))


def _to_json(value: metadata_store_pb2.Value, output: str, key: str) -> Any:
    kind = value.WhichOneof("value")
    if kind == "struct_value":
        content = json_format.MessageToDict(value.struct_value)
        return content.get(_JSON_SINGLE_VALUE, content)
    if kind == "proto_value":
        raise ContainerError(f"Output {output!r}: property {key!r} is a protobuf message; make it a string.")
    content = getattr(value, kind)
    if kind == "int_value" and abs(content) > _LARGEST_EXACT_INT:
        raise ContainerError(
            f"Output {output!r}: property {key!r} is {content}; Kubeflow Pipelines keeps numbers as doubles, "
            "exact to 2^53 only. Make it a string."
        )
    if kind == "double_value" and not math.isfinite(content):
        raise ContainerError(
            f"Output {output!r}: property {key!r}: expected a finite number. Received: {content}."
        )
    return content


def _type_to_record(value: metadata_store_pb2.Value, content: Any) -> str | None:
    match value.WhichOneof("value"):
        case "bool_value":
            return "bool"
        case "double_value" if content == int(content):
            return "double"
        case "struct_value" if content is not None and not isinstance(content, dict | list):
            return "json"
    return None
