"""What Kubeflow Pipelines' launcher hands a container and expects back, as plain values and files.

The launcher copies inputs from the object store into folders under a mount point per scheme, runs the
container's command with one JSON text (the executor input), uploads the folders of the outputs, and reads
their metadata from one JSON file (the executor output).
"""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import yaml

from schemas.errors import DssmError
from schemas.folders import remove_folder

CONTAINER_ROOT_VARIABLE: Final = "DSSM_CONTAINER_ROOT"
"""Environment variable with the folder that the mount points and the output file are under; / where unset."""

_MOUNT_POINTS: Final = {"gs": "gcs", "s3": "s3", "minio": "minio"}
# KFP's driver adds it to every task from 2.14 on; its type can be imported nowhere.
_EXECUTOR_LOGS: Final = "executor-logs"


class ContainerError(DssmError):
    """What the orchestrator sent cannot be used, or what the step made cannot be handed back."""


@dataclass(frozen=True)
class RuntimeArtifact:
    """One artifact of a task."""

    type_title: str
    """Title of its type, such as tfx.Examples or components.Catalogue."""
    uri: str
    """Where it is in the object store."""
    path: Path
    """Where it is in this container."""
    name: str = ""
    """Its id in ML Metadata as a text for an input; the output's key, or nothing, for an output."""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Its properties as JSON values."""


@dataclass(frozen=True)
class Invocation:
    """One task as the launcher describes it."""

    inputs: Mapping[str, list[RuntimeArtifact]]
    """Input artifacts by key."""
    outputs: Mapping[str, list[RuntimeArtifact]]
    """Output artifacts by key, nothing of which exists yet."""
    parameters: Mapping[str, Any]
    """Execution properties by name, as int, float, str or bool."""
    output_parameters: tuple[str, ...]
    """Outputs whose value is asked for as a parameter too."""
    output_file: Path
    """Where the executor output is expected."""


@dataclass(frozen=True)
class Made:
    """What an executor made."""

    metadata: Mapping[str, list[dict[str, Any]]]
    """For each output, the JSON properties of each of its artifacts."""
    values: Mapping[str, Any]
    """Values of the output parameters."""
    may_be_empty: Collection[str]
    """Outputs that need no file."""


def container_root() -> Path:
    """Find the folder that the mount points are under.

    Returns:
        / in a container; what the environment variable DSSM_CONTAINER_ROOT says elsewhere.
    """
    return Path(os.environ.get(CONTAINER_ROOT_VARIABLE) or "/")


def to_local_path(uri: str, root: Path) -> Path:
    """Translate a URI into the path that the launcher mounts it at.

    Args:
        uri: gs://, s3:// or minio:// and a key; file:// or a plain path stay what they are.
        root: What `container_root` gives.

    Returns:
        The path, such as /s3/bucket/key.

    Raises:
        ContainerError: The scheme is another one, or no folder of its own is named.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        path = Path(unquote(urlsplit(uri).path) if separator else uri)
        if not path.is_absolute():
            raise ContainerError(
                f"Artifact URI {uri!r}: expected a URI, or an absolute path. Received: neither. The launcher "
                "sends one with each artifact; set a pipeline root."
            )
        return path
    if scheme not in _MOUNT_POINTS:
        raise ContainerError(
            f"Artifact URI {uri!r}: expected gs://, s3:// or minio://, which Kubeflow Pipelines mounts. "
            f"Received: {scheme}://. Set another pipeline root."
        )
    bucket, _, key = rest.partition("/")
    if not bucket or not key.strip("/") or ".." in rest.split("/"):
        raise ContainerError(
            f"Artifact URI {uri!r}: expected a bucket and a key in it, without '..'. Received: another "
            "place. Set another pipeline root."
        )
    return root / _MOUNT_POINTS[scheme] / rest


def parse_invocation(executor_input: str, inputs_spec: str | None, root: Path) -> Invocation:
    """Read the launcher's JSON and repair what it leaves out.

    Args:
        executor_input: The JSON text that takes the place of `{{$}}` in the container's arguments.
        inputs_spec: JSON of the component's `inputDefinitions`: types of the inputs (the launcher sends
            them without) and of the parameters (it sends every number as a double).
        root: What `container_root` gives.

    Returns:
        The task.

    Raises:
        ContainerError: A text is no JSON, a URI is not mounted, or a parameter is of another type.
    """
    message = _parse_json(executor_input, "--json_serialized_invocation_args")
    spec = _parse_json(inputs_spec, "--json_serialized_inputs_spec_args") if inputs_spec else {}
    inputs, outputs = message.get("inputs") or {}, message.get("outputs") or {}
    declared = {
        key: _read_title(definition.get("artifactType") or {})
        for key, definition in (spec.get("artifacts") or {}).items()
    }
    types = {key: value.get("parameterType") for key, value in (spec.get("parameters") or {}).items()}
    output_file = outputs.get("outputFile")
    if not output_file:
        raise ContainerError(
            "--json_serialized_invocation_args: expected outputs.outputFile. Received: none."
        )
    return Invocation(
        inputs={
            key: [
                _read_artifact(artifact, declared.get(key), root) for artifact in value.get("artifacts") or ()
            ]
            for key, value in (inputs.get("artifacts") or {}).items()
        },
        outputs={
            key: [_read_artifact(artifact, None, root) for artifact in value.get("artifacts") or ()]
            for key, value in (outputs.get("artifacts") or {}).items()
            if key != _EXECUTOR_LOGS
        },
        parameters={
            name: _convert_parameter(name, value, types.get(name))
            for name, value in (inputs.get("parameterValues") or {}).items()
            if value is not None
        },
        output_parameters=tuple(outputs.get("parameters") or ()),
        output_file=_locate_output_file(output_file, root),
    )


def prepare_outputs(invocation: Invocation) -> None:
    """Make the folders that outputs are written into, empty also where an earlier attempt left something.

    Args:
        invocation: The task.
    """
    for artifacts in invocation.outputs.values():
        for artifact in artifacts:
            if artifact.path.is_dir():
                remove_folder(artifact.path)
            else:
                artifact.path.unlink(missing_ok=True)
            artifact.path.parent.mkdir(parents=True, exist_ok=True)
    invocation.output_file.parent.mkdir(parents=True, exist_ok=True)
    invocation.output_file.unlink(missing_ok=True)


def has_content(path: Path) -> bool:
    """Tell whether anything of an output would reach the object store, where no empty folder exists.

    Args:
        path: The output's folder or file.

    Returns:
        Whether there is a file.
    """
    return path.is_file() or any(child.is_file() for child in path.rglob("*"))


def write_executor_output(
    invocation: Invocation,
    metadata: Mapping[str, list[dict[str, Any]]],
    parameter_values: Mapping[str, Any],
) -> None:
    """Write the file that the launcher reads the results from.

    Args:
        invocation: The task.
        metadata: For each output, the JSON properties of each of its artifacts.
        parameter_values: Values of the output parameters.
    """
    output: dict[str, Any] = {
        "artifacts": {
            key: {
                "artifacts": [
                    {"name": artifact.name, "uri": artifact.uri, "metadata": properties}
                    for artifact, properties in zip(artifacts, metadata[key], strict=True)
                ]
            }
            for key, artifacts in invocation.outputs.items()
        }
    }
    if parameter_values:
        output["parameterValues"] = dict(parameter_values)
    text = json.dumps(output, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    invocation.output_file.write_text(text + "\n", encoding="utf-8")


def _parse_json(text: str, argument: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        hint = (
            "A value that looks like a placeholder, {{$...}}, is replaced by the launcher: use none in data."
        )
        raise ContainerError(f"{argument}: expected JSON. Received: {error}. {hint}") from error
    if not isinstance(message, dict):
        raise ContainerError(f"{argument}: expected a JSON object. Received: {type(message).__name__}.")
    return message


def _read_title(schema: Mapping[str, Any]) -> str:
    if schema.get("schemaTitle"):
        return str(schema["schemaTitle"])
    document = yaml.safe_load(schema.get("instanceSchema") or "") or {}
    return str(document.get("title", ""))


def _read_artifact(artifact: Mapping[str, Any], declared_title: str | None, root: Path) -> RuntimeArtifact:
    uri = artifact.get("uri", "")
    return RuntimeArtifact(
        type_title=declared_title or _read_title(artifact.get("type") or {}),
        uri=uri,
        path=to_local_path(uri, root),
        name=artifact.get("name", ""),
        metadata=artifact.get("metadata") or {},
    )


def _convert_parameter(name: str, value: Any, parameter_type: str | None) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match parameter_type:
        case "NUMBER_INTEGER" if is_number and value == int(value):
            return int(value)
        case "NUMBER_DOUBLE" if is_number:
            return float(value)
        case "STRING" if isinstance(value, str):
            return value
        case "BOOLEAN" if isinstance(value, bool):
            return value
        case "NUMBER_INTEGER" | "NUMBER_DOUBLE" | "STRING" | "BOOLEAN":
            expected = parameter_type.removeprefix("NUMBER_").lower()
            raise ContainerError(f"Parameter {name!r}: expected {expected}. Received: {value!r}.")
    return value


def _locate_output_file(output_file: str, root: Path) -> Path:
    if "://" in output_file:
        return to_local_path(output_file, root)
    return root / output_file.lstrip("/")
