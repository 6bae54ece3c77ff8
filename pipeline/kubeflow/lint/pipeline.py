"""Checks a compiled pipeline, and what both its documents say of one task."""

import re
from typing import Any, Final

from pipeline.kubeflow.lint.artifacts import ArtifactLinter
from pipeline.kubeflow.lint.containers import ExecutorLinter
from pipeline.kubeflow.lint.dags import DagLinter
from pipeline.kubeflow.lint.finding import Finding, join, show, suggest
from pipeline.kubeflow.lint.importers import REMOTE_URI
from pipeline.kubeflow.lint.messages import MessageLinter, Messages, Scope
from pipeline.kubeflow.lint.parameters import ParameterLinter
from pipeline.kubeflow.lint.placeholders import PlaceholderLinter
from pipeline.kubeflow.lint.platform_parameters import PlatformParameterLinter

SCHEMA_VERSION: Final = "2.1.0"
PIPELINE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
PIPELINE_NAME_MAX_LENGTH: Final = 128


class PipelineLinter(MessageLinter):
    """One walk through the messages."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._parameters = ParameterLinter(findings, messages)
        self._artifacts = ArtifactLinter(findings)
        self._placeholders = PlaceholderLinter(findings, messages)
        self._dags = DagLinter(findings, messages)
        self._executors = ExecutorLinter(findings, messages)
        self._platform_parameters = PlatformParameterLinter(findings, messages)

    def check(self) -> None:
        """Check everything."""
        spec = self._messages.pipeline
        self._check_head(spec)
        for name, parameter in sorted(spec.root.input_definitions.parameters.items()):
            self._parameters.check_run_parameter(join("root.inputDefinitions.parameters", name), parameter)
        for path, component in self._messages.list_components().items():
            self._check_interface(path, component)
            self._check_implementation(path, component)
        for name, component in sorted(spec.components.items()):
            self._placeholders.check(name, component)
        self._dags.check_names()
        self._executors.check_shared_containers()
        for label, executor in sorted(self._messages.deployment.executors.items()):
            self._executors.check(join("deploymentSpec.executors", label), label, executor)
        self._platform_parameters.check()

    def _check_head(self, spec: Any) -> None:
        if spec.schema_version != SCHEMA_VERSION:
            self.add(
                "schemaVersion",
                f"expected {SCHEMA_VERSION}. Received: {show(spec.schema_version)}; KFP refuses the upload",
                "Compile with use_pipeline_spec_2_1=True",
            )
        name = spec.pipeline_info.name
        if not PIPELINE_NAME.fullmatch(name) or len(name) > PIPELINE_NAME_MAX_LENGTH:
            self.add(
                "pipelineInfo.name",
                f"expected at most {PIPELINE_NAME_MAX_LENGTH} lower-case letters, digits and '-', with a"
                " letter or"
                f" digit at both ends. Received: {show(name)}; the run's workflow gets no valid name",
                "Change run.name in the configuration",
            )
        if spec.root.WhichOneof("implementation") != "dag":
            self.add(
                "root.dag.tasks", "there are no tasks; KFP refuses the run", "Give the pipeline a component"
            )
        root = spec.default_pipeline_root
        if root and not REMOTE_URI.fullmatch(root):
            self.add(
                "defaultPipelineRoot",
                f"expected gs://, s3:// or minio:// with a bucket. Received: {show(root)}; a run that uses"
                " it fails in every task",
                "Name an object store that all pods reach, or leave it out for the server's own",
            )

    def _check_interface(self, path: str, component: Any) -> None:
        for side, definitions in (
            ("inputDefinitions", component.input_definitions),
            ("outputDefinitions", component.output_definitions),
        ):
            for name, artifact in sorted(definitions.artifacts.items()):
                self._artifacts.check_type(
                    f"{path}.{join(f'{side}.artifacts', name)}.artifactType", artifact.artifact_type
                )
        for name, parameter in sorted(component.input_definitions.parameters.items()):
            self._parameters.check_input_definition(
                f"{path}.{join('inputDefinitions.parameters', name)}", parameter
            )
        for name, parameter in sorted(component.output_definitions.parameters.items()):
            self._parameters.check_output_definition(
                f"{path}.{join('outputDefinitions.parameters', name)}", parameter
            )

    def _check_implementation(self, path: str, component: Any) -> None:
        kind, label = component.WhichOneof("implementation"), component.executor_label
        if kind == "dag":
            self._dags.check(Scope(path, component, path == "root"))
        elif kind is None:
            self.add(
                path,
                "neither executorLabel nor dag; KFP refuses the run when it is created",
                "Name the component's executor",
            )
        elif label not in self._messages.deployment.executors:
            self.add(
                f"{path}.executorLabel",
                f"there is no executor {label!r}; KFP refuses the run when it is created",
                suggest(label, self._messages.deployment.executors, "deploymentSpec.executors has"),
            )
