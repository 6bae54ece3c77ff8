"""Checks that what Kubeflow Pipelines passes to a process as one argument fits into one."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter, list_texts
from pipeline.kubeflow.lint.finding import join

# What Linux takes as one argument: 32 pages, less the zero at its end.
LONGEST_ARGUMENT: Final = 131_071
# Go's JSON writes each of these as six characters.
_ESCAPED: Final = "<>&"


class SizeLinter(Linter):
    """Measures the arguments of the driver and the launcher."""

    def check(
        self, pipeline: Mapping[str, Any], executors: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        """Check every part of the documents that is one argument.

        Args:
            pipeline: The pipeline document, as plain data.
            executors: Its executors.
            settings: The settings of each executor label.
        """
        root = pipeline.get("root", {})
        self._check_component("root", root)
        for name, component in sorted(pipeline.get("components", {}).items()):
            self._check_component(join("components", name), component)
        for label, executor in sorted(executors.items()):
            for kind, part in sorted(executor.items()):
                self._check_part(f"{join('deploymentSpec.executors', label)}.{kind}", part)
        for label, part in sorted(settings.items()):
            self._check_part(join("platforms.kubernetes.deploymentSpec.executors", label), part)

    def _check_component(self, path: str, component: Mapping[str, Any]) -> None:
        self._check_part(path, component)
        for task_id, task in sorted(component.get("dag", {}).get("tasks", {}).items()):
            self._check_part(join(f"{path}.dag.tasks", task_id), task)

    def _check_part(self, path: str, part: Any) -> None:
        size = measure(part)
        if size <= LONGEST_ARGUMENT:
            return
        sizes = [(place, measure(text)) for place, text in list_texts(part, path)]
        largest = sorted(sizes, key=lambda text: (-text[1], text[0]))[:3]
        listed = ", ".join(f"{place} ({length})" for place, length in largest)
        self.add(
            path,
            f"{size} bytes as JSON, which KFP passes to a process as one argument, and Linux takes"
            f" {LONGEST_ARGUMENT}; the run fails ('argument list too long'). Its largest texts:"
            f" {listed or 'none'}",
            "Put the largest texts into files in the image or the object store, and pass their paths",
        )


def measure(part: Any) -> int:
    """Tell how many bytes the server's JSON of a part has, or a few more."""
    text = json.dumps(part, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode()) + 5 * sum(text.count(character) for character in _ESCAPED)
