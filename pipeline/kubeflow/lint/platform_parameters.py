"""Checks the values in the platform document that a run gives, such as the name of a secret."""

from collections.abc import Iterator
from typing import Any, Final

from pipeline.kubeflow.lint.finding import Finding, join
from pipeline.kubeflow.lint.messages import MessageLinter, Messages, Scope
from pipeline.kubeflow.lint.parameters import ParameterLinter, Target

_INPUT: Final = "ml_pipelines.TaskInputsSpec.InputParameterSpec"
_NAME: Final = Target(
    frozenset({"STRING"}), description="a text that is not empty", is_optional=True, must_have_text=True
)
# A claim is looked up even where a run leaves its name out.
_CLAIM: Final = Target(frozenset({"STRING"}), description="a text that is not empty", must_have_text=True)
_STRUCT: Final = Target(frozenset({"STRUCT"}), description="a mapping", is_optional=True)
_TARGETS: Final = {
    "pvcNameParameter": _CLAIM,
    "tolerationJson": Target(
        frozenset({"STRUCT", "LIST"}), description="a mapping or a list of them", is_optional=True
    ),
    "nodeSelectorJson": _STRUCT,
    "nodeAffinityJson": _STRUCT,
}


class PlatformParameterLinter(MessageLinter):
    """Looks up what the settings of executors refer to."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._parameters = ParameterLinter(findings, messages)

    def check(self) -> None:
        """Check the settings of all executors in every component where a task has them."""
        for label, config in sorted(self._messages.settings.items()):
            path = join("platforms.kubernetes.deploymentSpec.executors", label)
            for scope in self._list_scopes_of(label):
                for place, key, value in _list_inputs(path, config):
                    self._parameters.check_source(place, value, _TARGETS.get(key, _NAME), scope)
                for index, mount in enumerate(config.pvc_mount):
                    if not mount.HasField("pvc_name_parameter"):
                        self._check_claim(f"{path}.pvcMount[{index}]", mount, scope)

    def _list_scopes_of(self, label: str) -> Iterator[Scope]:
        components = self._messages.pipeline.components
        for scope in self._messages.list_scopes():
            names = {task.component_ref.name for task in scope.component.dag.tasks.values()}
            if any(components[name].executor_label == label for name in names if name in components):
                yield scope

    def _check_claim(self, path: str, mount: Any, scope: Scope) -> None:
        kind = mount.WhichOneof("pvc_reference")
        if kind == "component_input_parameter":
            self._parameters.check_component_input(
                f"{path}.componentInputParameter", mount.component_input_parameter, _CLAIM, scope
            )
        elif kind == "task_output_parameter":
            self._parameters.check_task_output(
                f"{path}.taskOutputParameter", mount.task_output_parameter, _CLAIM, scope
            )
        elif kind == "constant" and not mount.constant:
            self.add(
                f"{path}.constant",
                "no name ('volume name not provided'); the task fails when it starts",
                "Name the claim",
            )


def _list_inputs(path: str, message: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the place, the key and the value of every input in a message."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        place = f"{path}.{field.json_name}"
        for index, item in enumerate(value if field.is_repeated else [value]):
            inner = f"{place}[{index}]" if field.is_repeated else place
            if field.message_type.full_name == _INPUT:
                yield inner, field.json_name, item
            else:
                yield from _list_inputs(inner, item)
