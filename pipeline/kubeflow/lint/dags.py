"""Checks how the tasks of a component hang together, and the names that Argo knows them by."""

import graphlib
import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.kubeflow.lint.finding import Finding, join, suggest
from pipeline.kubeflow.lint.messages import MessageLinter, Messages, Scope
from pipeline.kubeflow.lint.producers import list_producers
from pipeline.kubeflow.lint.tasks import TaskLinter

# Argo makes one of its own names from each task's, with `-driver` behind it, and takes 128 characters.
TASK_ID: Final = re.compile(r"[a-zA-Z][-a-zA-Z0-9]*")
LONGEST_TASK_ID: Final = 121
# An Argo parameter is named after each component, and a template after each one with tasks.
COMPONENT_NAME: Final = re.compile(r"[-_a-zA-Z0-9]+")
TEMPLATE_NAME: Final = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
OWN_TEMPLATES: Final = frozenset(
    {
        "entrypoint", "root", "system-dag-driver", "system-container-driver", "system-container-executor",
        "system-container-impl", "retry-system-container-executor", "retry-system-container-impl",
        "system-importer", "system-importer-workspace",
    }
)  # fmt: skip


class DagLinter(MessageLinter):
    """Checks the components with tasks."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._tasks = TaskLinter(findings, messages)

    def check(self, scope: Scope) -> None:
        """Check the tasks of a component."""
        tasks = scope.component.dag.tasks
        path = f"{scope.path}.dag.tasks"
        upstream: dict[str, set[str]] = {}
        for task_id, task in sorted(tasks.items()):
            inner = join(path, task_id)
            self._check_task_id(inner, task_id, tasks)
            self._tasks.check(inner, task_id, task, scope)
            self._check_dependencies(inner, task, tasks)
            upstream[task_id] = set(task.dependent_tasks) | {
                producer for _, producer, _, _ in list_producers(inner, task)
            }
        self._check_exit_tasks(path, tasks, upstream)
        self._check_cycle(path, upstream)

    def check_names(self) -> None:
        """Check the names of all components."""
        for name, component in sorted(self._messages.pipeline.components.items()):
            path = join("components", name)
            if not COMPONENT_NAME.fullmatch(name) or name == "root":
                self.add(
                    path,
                    "Argo parameters and templates are named after components: letters, digits, '-' and '_'"
                    " only, and not 'root'; KFP refuses the run when it is created",
                    "Rename the component with with_id()",
                )
            elif component.WhichOneof("implementation") == "dag" and (
                not TEMPLATE_NAME.fullmatch(name) or name in OWN_TEMPLATES
            ):
                self.add(
                    path,
                    "Argo templates are named after components with tasks: at most 128 letters, digits and"
                    " '-', no '-' in front, and none of KFP's own names; KFP refuses the run when it is"
                    " created",
                    "Rename the component",
                )

    def _check_task_id(self, path: str, task_id: str, tasks: Mapping[str, Any]) -> None:
        if not TASK_ID.fullmatch(task_id):
            self.add(
                path,
                f"the task id {task_id!r} has other characters than letters, digits and '-' or starts with"
                " another than a letter; KFP refuses the run when it is created",
                "Rename the component with with_id()",
            )
        elif len(task_id) > LONGEST_TASK_ID:
            self.add(
                path,
                f"expected at most {LONGEST_TASK_ID} characters in a task id. Received: {len(task_id)}; KFP"
                " refuses the run when it is created",
                "Rename the component with with_id()",
            )
        if task_id.endswith("-driver") and task_id.removesuffix("-driver") in tasks:
            self.add(
                path,
                f"KFP makes a task of this name for {task_id.removesuffix('-driver')!r}; the run is refused",
                "Rename the component with with_id()",
            )

    def _check_dependencies(self, path: str, task: Any, tasks: Mapping[str, Any]) -> None:
        for index, name in enumerate(task.dependent_tasks):
            if name not in tasks:
                self.add(
                    f"{path}.dependentTasks[{index}]",
                    f"there is no task {name!r}; KFP refuses the run when it is created",
                    suggest(name, tasks, "the tasks are"),
                )

    def _check_exit_tasks(
        self, path: str, tasks: Mapping[str, Any], upstream: Mapping[str, set[str]]
    ) -> None:
        exits = {task_id for task_id, task in tasks.items() if _is_exit_task(task)}
        if exits == set(tasks):
            self.add(
                path,
                "there are no tasks that start by themselves; KFP refuses the run"
                if tasks
                else "there are no tasks; KFP refuses the run",
                "Give the pipeline a component",
            )
        for task_id in sorted(upstream):
            inner = join(path, task_id)
            if task_id in exits and not upstream[task_id]:
                self.add(
                    f"{inner}.dependentTasks",
                    "a task that waits for others to complete (ALL_UPSTREAM_TASKS_COMPLETED) is named after"
                    " none, and KFP never runs it",
                    "Write the tasks that it waits for",
                )
            for name in sorted(upstream[task_id] & exits):
                self.add(
                    inner,
                    f"it waits for {name!r}, which runs only when others have completed"
                    " (ALL_UPSTREAM_TASKS_COMPLETED); KFP refuses the run",
                    "Remove the dependency",
                )

    def _check_cycle(self, path: str, upstream: Mapping[str, set[str]]) -> None:
        try:
            graphlib.TopologicalSorter(upstream).prepare()
        except graphlib.CycleError as error:
            self.add(
                path,
                f"the tasks wait for each other: {' -> '.join(error.args[1])}; KFP refuses the run",
                "Remove one of these dependencies",
            )


def _is_exit_task(task: Any) -> bool:
    policy = task.trigger_policy
    return policy.strategy == type(policy).TriggerStrategy.Value("ALL_UPSTREAM_TASKS_COMPLETED")
