"""Checks importers, which KFP's launcher runs without a driver in front of it."""

import re
from typing import Any, Final

from pipeline.kubeflow.lint.artifacts import ArtifactLinter
from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import Finding, join, show, suggest
from pipeline.kubeflow.lint.messages import MessageLinter, Scope
from pipeline.kubeflow.lint.producers import list_producers

REMOTE_URI: Final = re.compile(r"(gs|s3|minio)://[^/?]+.*")


class ImporterLinter(Linter):
    """Checks what an importer imports."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings)
        self._artifacts = ArtifactLinter(findings)

    def check(self, path: str, importer: Any) -> None:
        """Check an ImporterSpec."""
        inner = f"{path}.artifactUri"
        self._artifacts.check_type(f"{path}.typeSchema", importer.type_schema)
        kind = importer.artifact_uri.WhichOneof("value")
        if kind == "runtime_parameter":
            return
        uri = importer.artifact_uri.constant.string_value
        if kind != "constant" or not uri:
            self.add(inner, "no `constant` with a URI; the importer fails", "Write artifactUri.constant")
        elif uri.startswith("oci://") and importer.type_schema.schema_title == "system.Model":
            return
        elif not REMOTE_URI.fullmatch(uri):
            self.add(
                f"{inner}.constant",
                f"expected gs://, s3:// or minio://. Received: {show(uri)}, which no other pod sees",
                "Put the artifact into the object store",
            )


class ImporterTaskLinter(MessageLinter):
    """Checks the tasks that run an importer."""

    def check(self, path: str, task_id: str, task: Any, scope: Scope) -> None:
        """Check a task.

        Args:
            path: Where it stands.
            task_id: Its key among the tasks.
            task: The PipelineTaskSpec; its component is an importer.
            scope: The component that it belongs to.
        """
        if task.trigger_policy.condition:
            self.add(
                f"{path}.triggerPolicy.condition",
                "a condition on an importer is not supported; KFP refuses the run when it is created",
                "Put the condition on the tasks that read from it",
            )
        if task.task_info.name != task_id and _is_read(task_id, scope):
            self.add(
                f"{path}.taskInfo.name",
                f"expected the task's id, {task_id!r}, under which other tasks look for what it imports."
                f" Received: {show(task.task_info.name)}; they fail when they start",
                f"Write {task_id!r}",
            )
        self._check_output(task.component_ref.name)
        uri = self._messages.find_executor(task.component_ref.name).importer.artifact_uri
        if uri.WhichOneof("value") == "runtime_parameter":
            self._check_parameter(f"{path}.inputs.parameters", uri.runtime_parameter, task)

    def _check_output(self, component_name: str) -> None:
        outputs = self._messages.pipeline.components[component_name].output_definitions.artifacts
        if len(outputs) != 1:
            self.add(
                f"{join('components', component_name)}.outputDefinitions.artifacts",
                f"an importer has one output. Received: {len(outputs)}; it fails after the import ('failed to"
                " extract output artifact name')",
                "Declare one output artifact",
            )

    def _check_parameter(self, path: str, name: str, task: Any) -> None:
        inputs = task.inputs.parameters
        if name not in inputs:
            self.add(
                path,
                f"the importer takes its URI from {name!r}, which the task does not give; it fails ('cannot"
                " find parameter')",
                suggest(name, inputs, "the task gives"),
            )
        elif inputs[name].WhichOneof("kind") != "component_input_parameter":
            self.add(
                join(path, name),
                "an importer reads its URI from a componentInputParameter only; it fails ('error resolving"
                " artifact URI')",
                "Write the URI as the importer's artifactUri.constant, or make it a run parameter",
            )


def _is_read(task_id: str, scope: Scope) -> bool:
    return any(
        producer == task_id
        for task in scope.component.dag.tasks.values()
        for _, producer, _, _ in list_producers("", task)
    )
