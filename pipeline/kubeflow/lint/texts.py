"""Looks through every text of a compiled pipeline for secrets and for what Argo or Kubernetes replaces."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.kubeflow.lint.document import CompiledFile
from pipeline.kubeflow.lint.finding import Finding, join

# The look-behind keeps the search linear in a long text without spaces.
SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|(?<![a-zA-Z0-9+.-])[a-zA-Z0-9+.-]+://[^/\s:@]+:[^/\s@]+@"
)
# Nothing of these enters the workflow.
_OUTSIDE_WORKFLOW: Final = ("pipelineInfo.description", "pipelineInfo.displayName")
_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)(?:\}\}|$)", re.DOTALL)
_OF_LAUNCHER: Final = re.compile(
    r"\$\.(?P<direction>input|output)s\.(?P<side>parameters|artifacts)\['(?P<name>[^']+)'\](?P<part>(\.\w+)?)"
)
_PARTS: Final = {
    ("input", "parameters"): ("",),
    ("input", "artifacts"): (".uri", ".path"),
    ("output", "parameters"): (".output_file",),
    ("output", "artifacts"): (".uri", ".path"),
}


def check_texts(compiled: CompiledFile) -> Iterator[Finding]:
    """Check every text.

    Args:
        compiled: The file.

    Yields:
        What is wrong.
    """
    resolved = _list_commands(compiled)
    for document in (compiled.pipeline, compiled.platform):
        for path, text in list_texts(document):
            yield from _check_text(path, text, resolved.get(path.rpartition("[")[0]))


def list_texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in plain data.

    Args:
        value: Mappings, lists and scalars.
        path: Where the value stands.

    Yields:
        Where a text stands, and the text.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from list_texts(item, join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from list_texts(item, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value


def _list_commands(compiled: CompiledFile) -> dict[str, Any]:
    """Give the component whose placeholders the launcher resolves, by the path of its command or args."""
    return {
        join("deploymentSpec.executors", component.executor_label, "container", key): component
        for component in compiled.spec.components.values()
        if component.executor_label
        for key in ("command", "args")
    }


def _check_text(path: str, text: str, component: Any | None) -> Iterator[Finding]:
    if SECRET_VALUE.search(text):
        yield Finding(
            path,
            "a private key, an access key or a password in a URL stands here, for everyone to read",
            "Take it from a Kubernetes secret: kubeflow.secrets",
        )
    if path in _OUTSIDE_WORKFLOW:
        return
    if "$$" in text:
        yield Finding(
            path,
            "KFP hands this over in a container's arguments, in which Kubernetes makes one $ of $$",
            "Write the text without $$",
        )
    for found in _PLACEHOLDER.finditer(text):
        if component is None or not _is_resolved(found.group(1), component):
            yield Finding(
                path,
                f"KFP does not resolve {found.group()[:80]} here: the run is refused, the task fails, or the"
                " text changes",
                "Remove the braces, or name an input or output that the component declares, such as"
                " {{$.inputs.artifacts['NAME'].uri}} in a command",
            )


def _is_resolved(placeholder: str, component: Any) -> bool:
    # `$` alone stands for everything that the task has.
    if placeholder == "$":
        return True
    found = _OF_LAUNCHER.fullmatch(placeholder)
    if found is None or found["part"] not in _PARTS[found["direction"], found["side"]]:
        return False
    definitions = getattr(component, f"{found['direction']}_definitions")
    return found["name"] in getattr(definitions, found["side"])
