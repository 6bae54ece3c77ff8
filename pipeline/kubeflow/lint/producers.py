"""Checks that what a task takes from another task is there."""

from collections.abc import Iterator
from typing import Any

from pipeline.kubeflow.lint.finding import join, suggest
from pipeline.kubeflow.lint.messages import MessageLinter, Scope


class ProducerLinter(MessageLinter):
    """Looks up the outputs of tasks."""

    def check(self, place: str, producer: str, side: str, key: str, scope: Scope) -> Any:
        """Look up an output.

        Args:
            place: Where the output is asked for.
            producer: The task that makes it.
            side: `artifacts` or `parameters`.
            key: The name of the output.
            scope: The component with both tasks.

        Returns:
            What the task's component declares of the output, None if that is not known.
        """
        tasks = scope.component.dag.tasks
        if producer not in tasks:
            self.add(
                f"{place}.producerTask",
                f"there is no task {producer!r} ('unknown producer task'); KFP refuses the run when it is"
                " created",
                suggest(producer, tasks, "the tasks are"),
            )
            return None
        name = tasks[producer].component_ref.name
        if name not in self._messages.pipeline.components:
            return None
        outputs = getattr(self._messages.pipeline.components[name].output_definitions, side)
        if key not in outputs:
            self.add(
                place,
                f"{producer!r} has no output {key!r}; the task that reads it fails when it starts",
                suggest(key, outputs, f"the {side} of {name} are"),
            )
            return None
        return outputs[key]


def list_producers(path: str, task: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield the place, the task, the kind of output and the output that each input comes from."""
    for name, value in sorted(task.inputs.artifacts.items()):
        if value.WhichOneof("kind") == "task_output_artifact":
            source = value.task_output_artifact
            place = f"{join(f'{path}.inputs.artifacts', name)}.taskOutputArtifact"
            yield place, source.producer_task, "artifacts", source.output_artifact_key
    for name, value in sorted(task.inputs.parameters.items()):
        if value.WhichOneof("kind") == "task_output_parameter":
            output = value.task_output_parameter
            place = f"{join(f'{path}.inputs.parameters', name)}.taskOutputParameter"
            yield place, output.producer_task, "parameters", output.output_parameter_key
