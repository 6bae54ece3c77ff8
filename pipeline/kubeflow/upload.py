"""A compiled pipeline on an endpoint: one version per content, named by its hash."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.kubeflow.client import Kubeflow, KubeflowError
from pipeline.kubeflow.graph import list_tasks
from pipeline.kubeflow.preparation import REMOTE_URI, is_relative
from pipeline.parameters import LOCATIONS, OPTIONAL_LOCATIONS
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError
from schemas.yaml_files import parse_yaml_documents

_CONFLICT: Final = 409

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class CompiledPipeline:
    """What is read out of a compiled pipeline before it is sent."""

    text: str
    """The YAML documents."""
    name: str
    """Name of the pipeline."""
    sha256: str
    """Hash of the text, in hex."""
    parameters: dict[str, dict[str, Any]]
    """Type and default of every run parameter by its name."""
    tasks: frozenset[str] = frozenset()
    """Ids and names of its tasks."""
    pipeline_root: str | None = None
    """URI under which it asks for its artifacts to be kept; None for the installation's own."""


@dataclass(frozen=True)
class PipelineVersion:
    """A pipeline version on an endpoint."""

    pipeline_id: str
    """Id of the pipeline."""
    version_id: str
    """Id of the version."""


def read_compiled(text: str, source: str) -> CompiledPipeline:
    """Read a compiled pipeline.

    Args:
        text: The YAML documents.
        source: Where they are from, for errors.

    Returns:
        The pipeline.

    Raises:
        KubeflowError: It is not a compiled pipeline.
    """
    try:
        document = next(iter(parse_yaml_documents(text)), None)
    except ConfigError as error:
        raise KubeflowError(f"{source}: {' '.join(str(error).split())}") from None
    try:
        name = document["pipelineInfo"]["name"]  # type: ignore[index]
        parameters = document["root"].get("inputDefinitions", {}).get("parameters", {})  # type: ignore[index]
        tasks = frozenset(
            called
            for task in list_tasks(document)  # type: ignore[arg-type]
            for called in (task.task_id, task.name)
        )
        root = document.get("defaultPipelineRoot")  # type: ignore[union-attr]
    except (TypeError, KeyError, AttributeError):
        raise KubeflowError(
            f"{source}: expected a compiled pipeline (pipelineInfo, root): write one with `dssm compile`."
        ) from None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return CompiledPipeline(text, name, sha256, parameters, tasks, str(root) if root else None)


def choose_pipeline_root(given: str | None, compiled: CompiledPipeline) -> str | None:
    """Choose the pipeline root that a run is given, since the server does not read the compiled file's.

    Args:
        given: The one asked for; None for the compiled file's.
        compiled: The pipeline.

    Returns:
        The URI; None for the installation's own.

    Raises:
        KubeflowError: It is in no object store that KFP knows.
    """
    root = given or compiled.pipeline_root
    if root and not REMOTE_URI.fullmatch(root):
        source = "--pipeline-root" if given else "defaultPipelineRoot of the compiled pipeline"
        raise KubeflowError(
            f"{source}: expected gs://, s3:// or minio:// with a bucket. Received: {root!r}. Give"
            " --pipeline-root URI, or set kubeflow.pipeline_root."
        )
    return root


def read_parameters(texts: Sequence[str], compiled: CompiledPipeline) -> dict[str, Any]:
    """Check run parameters against those of a pipeline.

    Args:
        texts: Texts of the form name=value.
        compiled: The pipeline.

    Returns:
        The values, in the types that the pipeline declares.

    Raises:
        KubeflowError: One is unknown, of the wrong type, or missing, or a directory is relative.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise KubeflowError(f"--parameter: expected name=value. Received: {text!r}.")
        if name not in compiled.parameters:
            near = difflib.get_close_matches(name, compiled.parameters, n=1)
            known = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(compiled.parameters)}."
            raise KubeflowError(f"--parameter {text}: the pipeline has no parameter {name!r}. {known}")
        values[name] = _convert(value, compiled.parameters[name].get("parameterType", "STRING"), text)
    missing = [
        name
        for name, definition in compiled.parameters.items()
        if name not in values and "defaultValue" not in definition and not definition.get("isOptional")
    ]
    if missing:
        raise KubeflowError(f"Expected a value of {', '.join(missing)}: give --parameter {missing[0]}=VALUE.")
    for name in LOCATIONS:
        location = values.get(name, compiled.parameters.get(name, {}).get("defaultValue"))
        if name in OPTIONAL_LOCATIONS and location == "":
            continue
        if isinstance(location, str) and is_relative(location):
            raise KubeflowError(
                f"{name}: expected a URI, or a path below a volume: a relative path is in the pod's own"
                f" files and vanishes with them. Received: {location!r}. Give --parameter {name}=URI, or set"
                f" kubeflow.{name}."
            )
    return values


def upload(kubeflow: Kubeflow, compiled: CompiledPipeline, pipeline_name: str | None) -> PipelineVersion:
    """Upload a pipeline, or find what was uploaded before.

    Args:
        kubeflow: The endpoint.
        compiled: The pipeline; its version is named by its hash.
        pipeline_name: What the pipeline is called there; None for its own name.

    Returns:
        The version.

    Raises:
        KubeflowError: A call failed.
    """
    name = pipeline_name or compiled.name
    pipeline_id = _find_pipeline(kubeflow, name) or _create_pipeline(kubeflow, name)
    version_id = _find_version(kubeflow, pipeline_id, compiled.sha256)
    if version_id:
        _progress.info("Pipeline %s: version %s is there already", name, compiled.sha256[:12])
        return PipelineVersion(pipeline_id, version_id)

    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "pipeline.yaml"
        package.write_text(compiled.text, encoding="utf-8")
        try:
            version = kubeflow.call(
                "upload the pipeline",
                kubeflow.client.upload_pipeline_version,
                str(package),
                pipeline_version_name=compiled.sha256,
                pipeline_id=pipeline_id,
                description=f"sha256:{compiled.sha256}",
            )
        except KubeflowError as error:
            if error.status != _CONFLICT:
                raise
            version_id = _find_version(kubeflow, pipeline_id, compiled.sha256)
            if not version_id:
                raise
            return PipelineVersion(pipeline_id, version_id)
    _progress.info("Pipeline %s: uploaded version %s", name, compiled.sha256[:12])
    return PipelineVersion(pipeline_id, version.pipeline_version_id)


def _convert(value: str, kind: str, text: str) -> Any:
    expected = {
        "NUMBER_INTEGER": "an integer",
        "NUMBER_DOUBLE": "a number",
        "BOOLEAN": "true or false",
        "LIST": "a JSON list",
        "STRUCT": "a JSON object",
    }
    if kind not in expected:
        return value
    try:
        if kind == "NUMBER_INTEGER":
            return int(value)
        if kind == "NUMBER_DOUBLE":
            return float(value)
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[value.lower()]
        parsed = json.loads(value)
        if isinstance(parsed, list if kind == "LIST" else dict):
            return parsed
    except (ValueError, KeyError):
        pass
    raise KubeflowError(f"--parameter {text}: expected {expected[kind]}. Received: {value!r}.")


def _find_pipeline(kubeflow: Kubeflow, name: str) -> str | None:
    pipelines = kubeflow.list_all(
        "list the pipelines",
        "pipelines",
        kubeflow.client.list_pipelines,
        namespace=kubeflow.namespace,
        filter=_equals("display_name", name),
    )
    return next((found.pipeline_id for found in pipelines if found.display_name == name), None)


def _create_pipeline(kubeflow: Kubeflow, name: str) -> str:
    import kfp_server_api

    try:
        created = kubeflow.call(
            f"create the pipeline {name}",
            kubeflow.client._pipelines_api.pipeline_service_create_pipeline,
            kfp_server_api.V2beta1Pipeline(display_name=name, namespace=kubeflow.namespace),
        )
    except KubeflowError as error:
        found = _find_pipeline(kubeflow, name) if error.status == _CONFLICT else None
        if found is None:
            raise
        return found
    return created.pipeline_id


def _find_version(kubeflow: Kubeflow, pipeline_id: str, name: str) -> str | None:
    versions = kubeflow.list_all(
        "list the pipeline's versions",
        "pipeline_versions",
        kubeflow.client.list_pipeline_versions,
        pipeline_id=pipeline_id,
        filter=_equals("display_name", name),
    )
    return next((found.pipeline_version_id for found in versions if found.display_name == name), None)


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
