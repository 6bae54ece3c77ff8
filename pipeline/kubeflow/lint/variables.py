"""Checks the environment variables of a task, which both documents of a compiled pipeline define."""

import re
from typing import Any, Final

from pipeline.kubeflow.credentials import names_credential
from pipeline.kubeflow.lint.document import Linter

ENVIRONMENT_NAME: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
# KFP sets these for its launcher, and Kubernetes merges its definition with another one of the same name.
OWN_VARIABLES: Final = frozenset({"KFP_POD_NAME", "KFP_POD_UID", "KFP_RETRY_INDEX"})


class VariableLinter(Linter):
    """Checks definitions of variables."""

    def check_own(self, path: str, name: str) -> None:
        """Check that a variable is none of KFP's own."""
        if name in OWN_VARIABLES:
            self.add(
                path,
                f"{name} is set by KFP for its launcher; the pod is refused, or the launcher finds the"
                " wrong value",
                "Give the variable another name",
            )

    def check_container(self, path: str, container: Any, platform_names: set[str]) -> None:
        """Check the variables of a container.

        Args:
            path: Where the container stands.
            container: The PipelineContainerSpec.
            platform_names: The variables that the platform document gives the same pod.
        """
        seen: set[str] = set()
        for index, variable in enumerate(container.env):
            inner = f"{path}.env[{index}]"
            name = variable.name
            if not ENVIRONMENT_NAME.fullmatch(name):
                self.add(
                    f"{inner}.name", f"not a name of a variable: {name!r}; the pod is refused", "Correct it"
                )
            if name in seen:
                self.add(
                    f"{inner}.name", f"{name} stands here twice, and the last one wins", "Remove one of them"
                )
            seen.add(name)
            self.check_own(f"{inner}.name", name)
            if name in platform_names:
                self.add(
                    f"{inner}.name",
                    f"{name} has a value here and another source in the platform document; the pod is"
                    " refused",
                    "Remove one of them",
                )
            if variable.value and names_credential(name):
                self.add(
                    f"{inner}.value",
                    f"{name} looks like a secret, and everyone who can read the pipeline can read its value",
                    "Take it from a Kubernetes secret: secrets in the configuration's kubeflow section",
                )


def list_platform_variables(config: Any) -> set[str]:
    """List the environment variables that an executor's settings define."""
    pairs = [
        pair for entry in (*config.secret_as_env, *config.config_map_as_env) for pair in entry.key_to_env
    ]
    return {pair.env_var for pair in pairs} | {entry.name for entry in config.field_path_as_env}
