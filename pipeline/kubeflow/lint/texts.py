"""Looks through every text of a compiled pipeline for secrets and for what Argo or Kubernetes replaces."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import join
from pipeline.kubeflow.lint.placeholders import find_version, list_unresolved

# The look-behind keeps the search linear in a long text without spaces.
SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|(?<![a-zA-Z0-9+.-])[a-zA-Z0-9+.-]+://[^/\s:@]+:[^/\s@]+@"
)
# Nothing of these enters the workflow.
_OUTSIDE_WORKFLOW: Final = (("pipelineInfo", "description"), ("pipelineInfo", "displayName"))


class TextLinter(Linter):
    """One walk through plain data."""

    def check(self, value: Any, path: str = "", keys: tuple[str, ...] = ()) -> None:
        """Check every text in a value.

        Args:
            value: Plain data.
            path: Where it stands.
            keys: The keys on the way to it.
        """
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.check(item, join(path, key), (*keys, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.check(item, f"{path}[{index}]", keys)
        elif isinstance(value, str):
            self._check_text(value, path, keys)

    def _check_text(self, text: str, path: str, keys: tuple[str, ...]) -> None:
        if SECRET_VALUE.search(text):
            self.add(
                path,
                "a private key, an access key or a password in a URL stands here, for everyone to read",
                "Take it from a Kubernetes secret",
            )
        if keys in _OUTSIDE_WORKFLOW:
            return
        if "$$" in text:
            self.add(
                path,
                "KFP hands this over in a container's arguments, in which Kubernetes makes one $ of $$",
                "Write the text without $$; in JSON, \\u0024 is a $",
            )
        if any(list_unresolved(text, keys)):
            self.add(
                path,
                "KFP does not resolve this {{...}} here, and Argo takes it for a template of its own: the"
                " run is refused, or the text changes",
                "Remove the braces, or make the value a run parameter",
            )
        elif "runtimeValue" in keys and find_version(text):
            self.add(
                path,
                f"only KFP {find_version(text)} and newer resolve this placeholder; an older server leaves it"
                " to Argo, and the run is refused, or the text changes",
                "Make the value a run parameter",
            )
