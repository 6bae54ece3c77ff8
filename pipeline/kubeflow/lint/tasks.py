"""Checks the tasks of a compiled pipeline: what each of them runs and what it is given."""

from typing import Any

from pipeline.kubeflow.lint.expressions import ExpressionLinter
from pipeline.kubeflow.lint.finding import Finding, join, suggest
from pipeline.kubeflow.lint.importers import ImporterTaskLinter
from pipeline.kubeflow.lint.messages import MessageLinter, Messages, Scope
from pipeline.kubeflow.lint.parameters import ParameterLinter, make_target
from pipeline.kubeflow.lint.placeholders import SDK_CHANNEL
from pipeline.kubeflow.lint.producers import ProducerLinter, list_producers
from pipeline.kubeflow.lint.retries import RetryLinter


class TaskLinter(MessageLinter):
    """Checks one task after the other."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._parameters = ParameterLinter(findings, messages)
        self._producers = ProducerLinter(findings, messages)
        self._retries = RetryLinter(findings, messages)
        self._importers = ImporterTaskLinter(findings, messages)
        self._expressions = ExpressionLinter(findings)

    def check(self, path: str, task_id: str, task: Any, scope: Scope) -> None:
        """Check a task.

        Args:
            path: Where it stands.
            task_id: Its key among the tasks.
            task: The PipelineTaskSpec.
            scope: The component that it belongs to.
        """
        self._retries.check(path, task)
        if task.WhichOneof("iterator") == "artifact_iterator":
            self.add(
                f"{path}.artifactIterator",
                "('artifact iterator not implemented yet'); KFP refuses the run when it is created",
                "Iterate over parameters",
            )
        for place, producer, side, key in list_producers(path, task):
            if side == "artifacts":
                self._producers.check(place, producer, side, key, scope)
        name = task.component_ref.name
        if name not in self._messages.pipeline.components:
            self.add(
                f"{path}.componentRef.name",
                f"there is no component {name!r}; KFP refuses the run when it is created",
                suggest(name, self._messages.pipeline.components, "the components are"),
            )
            return
        component = self._messages.pipeline.components[name]
        if self._messages.is_importer(name):
            self._importers.check(path, task_id, task, scope)
        else:
            self._check_started_by_driver(path, task, component)
        self._check_unknown_inputs(path, task, component)
        self._check_parameters(path, task, component, scope)
        self._check_artifacts(path, task, scope)

    def _check_started_by_driver(self, path: str, task: Any, component: Any) -> None:
        if not task.task_info.name:
            self.add(
                f"{path}.taskInfo.name",
                "no name; the task fails when it starts ('task spec is required')",
                "Write the task's id there",
            )
        if task.trigger_policy.condition:
            names = {*task.inputs.parameters, *component.input_definitions.parameters}
            self._expressions.check_condition(
                f"{path}.triggerPolicy.condition", task.trigger_policy.condition, names
            )
        self._check_missing_parameters(path, task, component)
        self._check_missing_artifacts(path, task, component)

    def _check_unknown_inputs(self, path: str, task: Any, component: Any) -> None:
        for side in ("parameters", "artifacts"):
            declared = getattr(component.input_definitions, side)
            for name, value in sorted(getattr(task.inputs, side).items()):
                if name not in declared and not _is_of_sdk(name, value):
                    self.add(
                        join(f"{path}.inputs.{side}", name),
                        f"the component {task.component_ref.name!r} declares no such input",
                        suggest(name, declared, f"its {side} are"),
                    )

    def _check_missing_parameters(self, path: str, task: Any, component: Any) -> None:
        for name, definition in sorted(component.input_definitions.parameters.items()):
            is_iterated = name == task.parameter_iterator.item_input
            if name in task.inputs.parameters or definition.is_optional or is_iterated:
                continue
            if definition.HasField("default_value"):
                self.add(
                    f"{path}.inputs.parameters",
                    f"the task does not give {name!r}, and KFP applies the defaultValue of an input only"
                    " with isOptional; the task is given an empty text, or fails when it starts",
                    f"Give {name!r} a value, or write isOptional beside its defaultValue",
                )
            else:
                self._add_missing(f"{path}.inputs.parameters", name, task)

    def _check_missing_artifacts(self, path: str, task: Any, component: Any) -> None:
        for name, definition in sorted(component.input_definitions.artifacts.items()):
            is_iterated = name == task.artifact_iterator.item_input
            if name not in task.inputs.artifacts and not definition.is_optional and not is_iterated:
                self._add_missing(f"{path}.inputs.artifacts", name, task)

    def _add_missing(self, path: str, name: str, task: Any) -> None:
        self.add(
            path,
            f"the component {task.component_ref.name!r} needs {name!r}, and the task does not give it;"
            " the task fails when it starts",
            f"Give {name!r} a value, or make it optional",
        )

    def _check_parameters(self, path: str, task: Any, component: Any, scope: Scope) -> None:
        definitions = component.input_definitions.parameters
        # A loop gives these to its iterations in another form.
        iterated = (task.parameter_iterator.item_input, task.parameter_iterator.items.input_parameter)
        for name, value in sorted(task.inputs.parameters.items()):
            is_known = name in definitions and name not in iterated
            definition = definitions[name] if is_known else None
            target = make_target(
                definition.parameter_type if definition is not None else 0,
                is_optional=definition is None or definition.is_optional,
            )
            self._parameters.check_source(join(f"{path}.inputs.parameters", name), value, target, scope)

    def _check_artifacts(self, path: str, task: Any, scope: Scope) -> None:
        known = scope.component.input_definitions.artifacts
        for name, value in sorted(task.inputs.artifacts.items()):
            inner, source = join(f"{path}.inputs.artifacts", name), value.component_input_artifact
            if value.WhichOneof("kind") is None or (source and source not in known):
                self.add(
                    inner,
                    f"the artifact {source!r} comes from nowhere; the task fails when it starts",
                    suggest(source, known, "the artifacts around it are"),
                )
            elif source and scope.is_root:
                self.add(
                    f"{inner}.componentInputArtifact",
                    f"a run has no input artifacts, and so not {source!r} ('parent DAG does not have input"
                    " artifact'); the task fails when it starts",
                    "Take it from an importer",
                )


def _is_of_sdk(name: str, value: Any) -> bool:
    """Tell whether the KFP SDK made an input for its own placeholders, or left a copy of one."""
    return SDK_CHANNEL in name or SDK_CHANNEL in str(value)
