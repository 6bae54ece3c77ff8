"""Reads a compiled file: its documents, and the messages that Kubeflow Pipelines parses them into."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow.platform import read_platform_document
from schemas.errors import ConfigError
from schemas.yaml_files import parse_yaml_documents


@dataclass(frozen=True)
class CompiledFile:
    """What `dssm compile` wrote."""

    pipeline: Mapping[str, Any]
    """The pipeline, as plain data."""
    platform: Mapping[str, Any]
    """Its settings for Kubernetes, as plain data; nothing where the file has none."""
    spec: Any
    """The pipeline, as PipelineSpec."""
    deployment: Any
    """Its executors, as PipelineDeploymentConfig."""
    configs: Mapping[str, Any]
    """The settings of each executor label, as KubernetesExecutorConfig."""


def read_file(text: str) -> CompiledFile:
    """Read a compiled file into KFP's messages, which know each key and its type.

    Args:
        text: The YAML documents.

    Returns:
        Both documents.

    Raises:
        ConfigError: It is no file of `dssm compile`, or holds what the messages do not.
    """
    pipeline, platform = _tell_apart(parse_yaml_documents(text))
    spec = _parse(pipeline, pipeline_spec_pb2.PipelineSpec(), "the pipeline")
    deployment = _parse(
        pipeline.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig(), "deploymentSpec"
    )
    configs = read_platform_document(platform) if platform else {}
    return CompiledFile(pipeline, platform, spec, deployment, configs)


def _tell_apart(documents: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    are_mappings = all(isinstance(document, dict) for document in documents)
    if documents and are_mappings and "pipelineSpec" in documents[0]:
        raise ConfigError(
            "this is a pipeline job, the JSON of Vertex AI, which open-source KFP refuses: expected what"
            " --format kubeflow writes"
        )
    keys = [
        next((key for key in ("pipelineInfo", "platforms") if are_mappings and key in document), None)
        for document in documents
    ]
    if keys not in (["pipelineInfo"], ["pipelineInfo", "platforms"]):
        raise ConfigError(
            "expected the pipeline (pipelineInfo), and after it perhaps its settings for Kubernetes"
            f" (platforms). Received: {len(documents)} documents"
        )
    return documents[0], documents[1] if len(documents) > 1 else {}


def _parse(document: Any, message: Any, what: str) -> Any:
    try:
        return json_format.ParseDict(document, message)
    except (json_format.ParseError, AttributeError, TypeError) as error:
        problem = str(error).splitlines()[0]
        raise ConfigError(f"{what}: expected what KFP's message knows. Received: {problem}") from None
