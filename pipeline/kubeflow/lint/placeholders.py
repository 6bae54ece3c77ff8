"""Checks the placeholders of a compiled pipeline against those that the driver and the launcher resolve."""

import re
from collections.abc import Iterator
from typing import Any, Final

from pipeline.kubeflow.lint.finding import Finding, join, suggest
from pipeline.kubeflow.lint.messages import MessageLinter, Messages
from pipeline.kubeflow.lint.parameters import ParameterLinter, name_type

PLACEHOLDER: Final = re.compile(r"\{\{(.*?)(?:\}\}|$)", re.DOTALL)
# Values that the KFP SDK passes into a task for the texts in its other inputs.
SDK_CHANNEL: Final = "pipelinechannel--"
WORKSPACE_PATH: Final = "{{$.workspace_path}}"
# The driver replaces a constant that is one of these, whole; and the first KFP that does.
DRIVER_PLACEHOLDERS: Final = {
    "{{$.pipeline_job_name}}": "2.14",
    "{{$.pipeline_job_resource_name}}": "2.14",
    "{{$.pipeline_job_uuid}}": "2.14",
    "{{$.pipeline_task_name}}": "2.14",
    "{{$.pipeline_task_uuid}}": "2.14",
    "{{$.pipeline_job_create_time_utc}}": "2.16",
    "{{$.pipeline_job_schedule_time_utc}}": "2.16",
}

_IN_CONTAINER: Final = re.compile(
    r"\$\.(?P<direction>inputs|outputs)\.(?P<side>parameters|artifacts)\['(?P<name>[^']+)'\](?P<part>(\.\w+)?)"
)
_PARTS: Final = {
    ("inputs", "parameters"): ("",),
    ("inputs", "artifacts"): (".uri", ".path"),
    ("outputs", "parameters"): (".output_file",),
    ("outputs", "artifacts"): (".uri", ".path"),
}
# What the driver looks for in the image and the resources, wherever it stands there.
_IN_POD: Final = re.compile(r"\$.inputs.parameters\['(.+?)'\]")
_POD_TEXTS: Final = {
    "image": lambda container: container.image,
    "resources.resourceCpuLimit": lambda container: container.resources.resource_cpu_limit,
    "resources.resourceCpuRequest": lambda container: container.resources.resource_cpu_request,
    "resources.resourceMemoryLimit": lambda container: container.resources.resource_memory_limit,
    "resources.resourceMemoryRequest": lambda container: container.resources.resource_memory_request,
    "resources.accelerator.resourceType": lambda container: container.resources.accelerator.resource_type,
    "resources.accelerator.resourceCount": lambda container: container.resources.accelerator.resource_count,
}


class PlaceholderLinter(MessageLinter):
    """Checks the container of a component."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._parameters = ParameterLinter(findings, messages)

    def check(self, component_name: str, component: Any) -> None:
        """Check the placeholders of the container that runs a component."""
        executor = self._messages.find_executor(component_name)
        if executor is None or not executor.HasField("container"):
            return
        path = f"{join('deploymentSpec.executors', component.executor_label)}.container"
        for key in ("command", "args"):
            for index, text in enumerate(getattr(executor.container, key)):
                for found in PLACEHOLDER.finditer(text):
                    self._check_command(f"{path}.{key}[{index}]", found.group(1), component)
        for key, read in _POD_TEXTS.items():
            text = read(executor.container)
            asked = _IN_POD.search(text)
            if asked is not None:
                self._check_pod(f"{path}.{key}", asked.group(1), component_name)
            elif "{{$" in text:
                self._add_unresolved(f"{path}.{key}", text)

    def _check_command(self, path: str, placeholder: str, component: Any) -> None:
        # What does not begin with a dollar is Argo's, and `$` alone stands for everything the task has.
        if not placeholder.startswith("$") or placeholder == "$":
            return
        found = _IN_CONTAINER.fullmatch(placeholder)
        if found is None or found["part"] not in _PARTS[found["direction"], found["side"]]:
            self._add_unresolved(path, f"{{{{{placeholder}}}}}")
            return
        definitions = getattr(
            component, "input_definitions" if found["direction"] == "inputs" else "output_definitions"
        )
        declared = getattr(definitions, found["side"])
        if found["name"] not in declared:
            self.add(
                path,
                f"the placeholder asks for the {found['direction'].removesuffix('s')} {found['name']!r}, "
                "which the component does not declare; the task fails when it starts, or is given the"
                " placeholder",
                suggest(found["name"], declared, f"its {found['side']} are"),
            )

    def _add_unresolved(self, path: str, text: str) -> None:
        self.add(
            path,
            f"KFP resolves no {text[:80]} here, and leaves it as it is",
            "Write {{$.inputs.parameters['NAME']}}, or in a command {{$.outputs.artifacts['NAME'].uri}}",
        )

    def _check_pod(self, path: str, name: str, component_name: str) -> None:
        for scope, task_id, task in self._messages.list_tasks_of(component_name):
            if name not in task.inputs.parameters:
                self.add(
                    path,
                    f"the placeholder asks for {name!r}, which the task {task_id!r} is not given; it fails"
                    " when it starts",
                    suggest(name, task.inputs.parameters, "its parameters are"),
                )
                continue
            declared = self._messages.pipeline.components[component_name].input_definitions.parameters
            if name in declared:
                found = name_type(declared[name].parameter_type)
            else:
                found = self._parameters.find_type(task.inputs.parameters[name], scope)
            if found not in ("", "STRING"):
                self.add(
                    path,
                    f"expected a parameter of type STRING. Received: {name!r}, which is of type {found}; KFP"
                    " puts nothing in its place, and the task fails when it starts",
                    "Pass it as text",
                )


def list_unresolved(text: str, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the placeholders of a text that KFP leaves to Argo.

    Args:
        text: The text.
        keys: The keys on the way to it.
    """
    for found in PLACEHOLDER.finditer(text):
        if not _is_resolved(found.group(1), text, keys):
            yield found.group(0)


def find_version(text: str) -> str:
    """Name the first KFP whose driver resolves the placeholders of a constant; nothing for 2.14."""
    if WORKSPACE_PATH in text:
        return "2.15"
    version = DRIVER_PLACEHOLDERS.get(text, "2.14")
    return "" if version == "2.14" else version


def _is_resolved(placeholder: str, text: str, keys: tuple[str, ...]) -> bool:
    if "runtimeValue" in keys:
        is_channel = placeholder.startswith(f"$.inputs.parameters['{SDK_CHANNEL}")
        return text in DRIVER_PLACEHOLDERS or f"{{{{{placeholder}}}}}" == WORKSPACE_PATH or is_channel
    in_container = "container" in keys and keys[-1] not in ("name", "value")
    return in_container and placeholder.startswith("$")
