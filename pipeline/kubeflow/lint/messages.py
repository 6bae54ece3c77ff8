"""What both documents of a compiled pipeline say, as Kubeflow Pipelines' messages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import Finding


@dataclass(frozen=True)
class Scope:
    """A component with tasks, from whose inputs and tasks each of them takes its own inputs."""

    path: str
    component: Any
    is_root: bool


@dataclass(frozen=True)
class Messages:
    """Both documents."""

    pipeline: Any
    """PipelineSpec"""
    deployment: Any
    """PipelineDeploymentConfig"""
    settings: Mapping[str, Any]
    """The KubernetesExecutorConfig of each executor label."""

    def list_components(self) -> dict[str, Any]:
        """List all components, the root first, by their paths' beginning."""
        named = sorted(self.pipeline.components.items())
        return {"root": self.pipeline.root} | {f"components.{name}": component for name, component in named}

    def list_scopes(self) -> Iterator[Scope]:
        """Yield every component with tasks."""
        for path, component in self.list_components().items():
            if component.WhichOneof("implementation") == "dag":
                yield Scope(path, component, path == "root")

    def list_tasks_of(self, component_name: str) -> Iterator[tuple[Scope, str, Any]]:
        """Yield every task that runs a component, with its scope and its id."""
        for scope in self.list_scopes():
            for task_id, task in sorted(scope.component.dag.tasks.items()):
                if task.component_ref.name == component_name:
                    yield scope, task_id, task

    def find_executor(self, component_name: str) -> Any:
        """Find what runs a component; None if nothing does."""
        if component_name not in self.pipeline.components:
            return None
        label = self.pipeline.components[component_name].executor_label
        return self.deployment.executors.get(label)

    def is_importer(self, component_name: str) -> bool:
        """Tell whether a component is an importer."""
        executor = self.find_executor(component_name)
        return executor is not None and executor.HasField("importer")


class MessageLinter(Linter):
    """What the walks through the messages share."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings)
        self._messages = messages
