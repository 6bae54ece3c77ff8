"""The tasks of a compiled pipeline, those of its nested graphs among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A task of a compiled pipeline."""

    graph: tuple[str, ...]
    """The keys that lead to the graph that it is in, such as `root`, `dag`, `tasks`."""
    task_id: str
    """Its key there."""
    spec: dict[str, Any]
    """Its PipelineTaskSpec as plain data, which may be changed."""

    @property
    def name(self) -> str:
        """What KFP's page calls it."""
        return str(self.spec.get("taskInfo", {}).get("name", self.task_id))


def list_tasks(pipeline: Mapping[str, Any]) -> Iterator[Task]:
    """List every task of a pipeline.

    Args:
        pipeline: The PipelineSpec as plain data.

    Yields:
        The tasks, those of the root first.
    """
    graphs: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [(("root",), pipeline["root"])]
    graphs += [(("components", name), one) for name, one in sorted(pipeline.get("components", {}).items())]
    for path, component in graphs:
        for task_id, spec in sorted(component.get("dag", {}).get("tasks", {}).items()):
            yield Task((*path, "dag", "tasks"), task_id, spec)
