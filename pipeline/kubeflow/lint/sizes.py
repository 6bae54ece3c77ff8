"""Checks that what Kubeflow Pipelines passes to a process as one argument fits into one."""

import json
from collections.abc import Iterator
from typing import Any, Final

from pipeline.kubeflow.graph import list_tasks
from pipeline.kubeflow.lint.document import CompiledFile
from pipeline.kubeflow.lint.finding import Finding, join
from pipeline.kubeflow.lint.texts import list_texts

# What Linux takes as one argument: 32 pages, less the zero at its end.
LONGEST_ARGUMENT_BYTES: Final = 131_071
# Go's JSON writes each of these as six characters.
_ESCAPED: Final = "<>&"


def check_sizes(compiled: CompiledFile) -> Iterator[Finding]:
    """Measure the arguments of the driver and the launcher.

    Args:
        compiled: The file.

    Yields:
        Each part that is too large.
    """
    for path, part in _list_arguments(compiled):
        size = measure(part)
        if size <= LONGEST_ARGUMENT_BYTES:
            continue
        sizes = [(place, measure(text)) for place, text in list_texts(part, path)]
        largest = sorted(sizes, key=lambda text: (-text[1], text[0]))[:3]
        yield Finding(
            path,
            f"{size} bytes as JSON, which KFP passes to a process as one argument, and Linux takes"
            f" {LONGEST_ARGUMENT_BYTES}; the run fails ('argument list too long'). Its largest texts:"
            f" {', '.join(f'{place} ({length})' for place, length in largest)}",
            "Put the largest texts into files in the image or the object store, and pass their paths",
        )


def measure(part: Any) -> int:
    """Tell how many bytes the server's JSON of a part has, or a few more."""
    text = json.dumps(part, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode()) + 5 * sum(text.count(character) for character in _ESCAPED)


def _list_arguments(compiled: CompiledFile) -> Iterator[tuple[str, Any]]:
    yield "root", compiled.pipeline["root"]
    for task in list_tasks(compiled.pipeline):
        yield join("", *task.graph, task.task_id), task.spec
    for name, component in sorted(compiled.pipeline["components"].items()):
        yield join("components", name), component
    for label, executor in sorted(compiled.pipeline["deploymentSpec"]["executors"].items()):
        for kind, part in sorted(executor.items()):
            yield join("deploymentSpec.executors", label, kind), part
    if compiled.platform:
        settings = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for label, part in sorted(settings.items()):
            yield join("platforms.kubernetes.deploymentSpec.executors", label), part
