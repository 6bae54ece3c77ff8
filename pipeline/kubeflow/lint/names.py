"""Checks the names in a compiled pipeline: of itself, its root, its tasks, artifacts and executors."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from pipeline.kubeflow.graph import list_tasks
from pipeline.kubeflow.lint.document import CompiledFile
from pipeline.kubeflow.lint.finding import Finding, join, show
from pipeline.kubeflow.preparation import REMOTE_URI

SCHEMA_VERSION: Final = "2.1.0"
PIPELINE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,126}[a-z0-9])?")
# Argo makes one of its own names from each task's, with `-driver` behind it, and takes 128 characters.
TASK_ID: Final = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,120}")
# TFX's rule for the title of a custom artifact, from which the container finds the class again.
ARTIFACT_TITLE: Final = re.compile(r"[a-z][a-z0-9-_]{2,20}[.][A-Z][a-zA-Z0-9-_]{2,49}")
LIBRARY_ARTIFACTS: Final = ("tfx.", "system.", "google.")


def check_names(compiled: CompiledFile) -> Iterator[Finding]:
    """Check the names.

    Args:
        compiled: The file.

    Yields:
        What is wrong.
    """
    yield from _check_head(compiled.spec)
    yield from _check_executors(compiled.deployment.executors, compiled.configs)
    for task in list_tasks(compiled.pipeline):
        if not TASK_ID.fullmatch(task.task_id):
            yield Finding(
                join("", *task.graph, task.task_id),
                "expected at most 121 letters, digits and '-', a letter first. Received:"
                f" {show(task.task_id)}; KFP refuses the run when it is created",
                "Rename the component with with_id()",
            )
    for name, component in sorted(compiled.spec.components.items()):
        for side, definitions in (
            ("inputDefinitions", component.input_definitions),
            ("outputDefinitions", component.output_definitions),
        ):
            for key, artifact in sorted(definitions.artifacts.items()):
                path = join("components", name, side, "artifacts", key, "artifactType")
                yield from _check_artifact(path, artifact.artifact_type)


def _check_head(spec: Any) -> Iterator[Finding]:
    if spec.schema_version != SCHEMA_VERSION:
        yield Finding(
            "schemaVersion",
            f"expected {SCHEMA_VERSION}. Received: {show(spec.schema_version)}; KFP refuses the upload",
            "Compile with --format kubeflow",
        )
    if not PIPELINE_NAME.fullmatch(spec.pipeline_info.name):
        yield Finding(
            "pipelineInfo.name",
            "expected at most 128 lower-case letters, digits and '-', with a letter or digit at both ends."
            f" Received: {show(spec.pipeline_info.name)}; the run's workflow gets no valid name",
            "Change run.name, or set kubeflow.pipeline_name",
        )
    root = spec.default_pipeline_root
    if root and not REMOTE_URI.fullmatch(root):
        yield Finding(
            "defaultPipelineRoot",
            f"expected gs://, s3:// or minio:// with a bucket. Received: {show(root)}; a run that uses it"
            " fails in every task",
            "Set kubeflow.pipeline_root to an object store that all pods reach, or leave it out for the"
            " server's own",
        )


def _check_executors(executors: Mapping[str, Any], configs: Mapping[str, Any]) -> Iterator[Finding]:
    for label, executor in sorted(executors.items()):
        if executor.WhichOneof("spec") != "container":
            yield Finding(
                join("deploymentSpec.executors", label),
                "expected a container ('non-container and non-importer executor not implemented'); KFP"
                " refuses the run when it is created",
                "Write a component of our own, such as one that reads what a Resolver would find",
            )
    for label in sorted(configs.keys() - executors.keys()):
        yield Finding(
            join("platforms.kubernetes.deploymentSpec.executors", label),
            f"there is no executor {show(label)}; KFP ignores its settings without a word",
            f"Take one of {', '.join(sorted(executors))}",
        )


def _check_artifact(path: str, artifact_type: Any) -> Iterator[Finding]:
    schema = yaml.safe_load(artifact_type.instance_schema) or {}
    # KFP's own compiler writes the name of a type alone.
    title = artifact_type.schema_title or schema.get("title", "")
    if title.startswith(LIBRARY_ARTIFACTS):
        return
    if not ARTIFACT_TITLE.fullmatch(title):
        yield Finding(
            path,
            f"expected a title that matches {ARTIFACT_TITLE.pattern}. Received: {show(title)}, from which the"
            " container cannot import the artifact's class",
            "Correct the TYPE_NAME of the artifact",
        )
    if schema.get("properties"):
        yield Finding(
            path,
            f"the custom artifact {title} has properties ('not expected in artifact type schema')",
            "Drop its PROPERTIES and write custom properties",
        )
