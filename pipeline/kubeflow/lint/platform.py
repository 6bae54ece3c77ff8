"""Checks the platform document of a compiled pipeline, which holds its settings for Kubernetes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.kubeflow.lint.document import IN_EXECUTOR, IN_PLATFORM, Linter
from pipeline.kubeflow.lint.finding import Finding, join, suggest
from pipeline.kubeflow.lint.mounts import MountLinter
from pipeline.kubeflow.lint.variables import ENVIRONMENT_NAME, VariableLinter

LABEL_VALUE: Final = re.compile(r"([a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?")
FIELD_PATH: Final = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)
LONGEST_DEADLINE: Final = 2**31 - 1
# The messages have these, and no version of the server reads them.
UNREAD_SETTINGS: Final = {"podAffinity": "pod_affinity", "enabledSharedMemory": "enabled_shared_memory"}


@dataclass(frozen=True)
class Platform:
    """What the platform document says."""

    kubernetes: Mapping[str, Any]
    """Its part for Kubernetes, as plain data."""
    settings: Mapping[str, Any]
    """The settings of each executor label, as plain data."""
    configs: Mapping[str, Any]
    """The same, as KubernetesExecutorConfig."""


class PlatformLinter(Linter):
    """One walk through the platform document."""

    def __init__(self, findings: list[Finding], deployment: Any) -> None:
        super().__init__(findings)
        self._deployment = deployment
        self._mounts = MountLinter(findings)
        self._variables = VariableLinter(findings)

    def check(self, platform: dict[str, Any]) -> Platform:
        """Check the document.

        Args:
            platform: The document as plain data.

        Returns:
            What fits KFP's messages.
        """
        from google.protobuf import json_format
        from kfp.kubernetes import kubernetes_executor_config_pb2
        from kfp.pipeline_spec import pipeline_spec_pb2

        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig
        cleaned = self.clean(pipeline_spec_pb2.PlatformSpec.DESCRIPTOR, platform, "", IN_PLATFORM)
        platforms = cleaned.get("platforms", {})
        for name in platforms:
            if name != "kubernetes":
                self.add(
                    join("platforms", name), "KFP knows the platform kubernetes only", "Write kubernetes"
                )
        kubernetes = platforms.get("kubernetes", {})
        executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
        if not executors and not kubernetes.get("pipelineConfig"):
            self.add("platforms.kubernetes", "the platform document sets nothing", "Leave the document out")
        settings: dict[str, Any] = {}
        configs: dict[str, Any] = {}
        for label, written in executors.items():
            path = join("platforms.kubernetes.deploymentSpec.executors", label)
            self._check_label(path, label)
            settings[label] = self.clean(message.DESCRIPTOR, written, path, IN_EXECUTOR)
            configs[label] = json_format.ParseDict(settings[label], message())
            self._check_executor_config(path, configs[label])
        return Platform(kubernetes, settings, configs)

    def _check_label(self, path: str, label: str) -> None:
        if label not in self._deployment.executors:
            self.add(
                path,
                f"there is no executor {label!r}; KFP ignores its settings without a word",
                suggest(label, self._deployment.executors, "deploymentSpec.executors has"),
            )
        elif self._deployment.executors[label].HasField("importer"):
            self.add(path, "an importer takes no settings; KFP ignores them", "Leave them out")

    def _check_executor_config(self, path: str, config: Any) -> None:
        if config.image_pull_policy not in ("", "Always", "Never", "IfNotPresent"):
            self.add(
                f"{path}.imagePullPolicy",
                f"expected Always, Never or IfNotPresent. Received: {config.image_pull_policy!r}; the task"
                " fails when it starts",
                "Correct the policy",
            )
        self._check_deadline(f"{path}.activeDeadlineSeconds", config.active_deadline_seconds)
        for key, field in UNREAD_SETTINGS.items():
            if field in {found.name for found, _ in config.ListFields()}:
                self.add(
                    f"{path}.{key}",
                    f"no version of KFP reads {key}; it ignores it without a word",
                    "Leave it out",
                )
        for key, value in sorted(config.pod_metadata.labels.items()):
            if not LABEL_VALUE.fullmatch(value):
                self.add(
                    join(f"{path}.podMetadata.labels", key),
                    f"not a value of a Kubernetes label: {value!r}; the pod is refused",
                    "Write at most 63 letters, digits, '-', '_' and '.'",
                )
        self._check_sources(path, config)
        self._mounts.check(path, config)
        for index, toleration in enumerate(config.tolerations):
            self._check_toleration(f"{path}.tolerations[{index}]", toleration)

    def _check_deadline(self, path: str, seconds: int) -> None:
        if seconds < 0:
            self.add(path, "below 0; KFP ignores it without a word", "Write seconds above 0")
        elif seconds > LONGEST_DEADLINE:
            self.add(
                path,
                f"expected at most {LONGEST_DEADLINE}. Received: {seconds}; the pod is refused",
                "Write fewer seconds, or leave it out",
            )

    def _check_sources(self, path: str, config: Any) -> None:
        sources = (
            ("secretAsEnv", config.secret_as_env, "secret_name", "secret_key"),
            ("configMapAsEnv", config.config_map_as_env, "config_map_name", "config_map_key"),
        )
        seen: set[str] = set()
        for kind, entries, name_field, key_field in sources:
            for index, entry in enumerate(entries):
                inner = f"{path}.{kind}[{index}]"
                if not getattr(entry, name_field) and not entry.HasField(f"{name_field}_parameter"):
                    self.add(inner, f"no {_camel(name_field)}; the task fails when it starts", "Name it")
                if not entry.key_to_env:
                    self.add(f"{inner}.keyToEnv", "empty, so that no variable is set", "Name the keys")
                for position, pair in enumerate(entry.key_to_env):
                    place = f"{inner}.keyToEnv[{position}]"
                    if not getattr(pair, key_field) or not ENVIRONMENT_NAME.fullmatch(pair.env_var):
                        self.add(
                            place,
                            f"no {_camel(key_field)} or no valid envVar; the pod is refused",
                            "Write both",
                        )
                    self._check_name(place, pair.env_var, seen)
        for index, entry in enumerate(config.field_path_as_env):
            inner = f"{path}.fieldPathAsEnv[{index}]"
            if not ENVIRONMENT_NAME.fullmatch(entry.name) or not FIELD_PATH.fullmatch(entry.field_path):
                self.add(
                    inner,
                    "expected a name and a field of a pod such as metadata.labels['pipeline/runid']."
                    " Received:"
                    f" {entry.name!r} and {entry.field_path!r}; the pod is refused",
                    "Correct them",
                )
            self._check_name(inner, entry.name, seen)
        for index, entry in enumerate(config.image_pull_secret):
            if not entry.secret_name and not entry.HasField("secret_name_parameter"):
                self.add(
                    f"{path}.imagePullSecret[{index}]", "no secretName; the task fails", "Name the secret"
                )

    def _check_name(self, path: str, name: str, seen: set[str]) -> None:
        self._variables.check_own(path, name)
        if name in seen:
            self.add(path, f"{name} has two sources; the last one wins", "Remove one of them")
        seen.add(name)

    def _check_toleration(self, path: str, toleration: Any) -> None:
        if toleration.HasField("toleration_json"):
            return
        problem = ""
        if toleration.operator not in ("", "Equal", "Exists"):
            problem = f"the operator {toleration.operator!r} is neither Equal nor Exists"
        elif toleration.effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            problem = (
                f"the effect {toleration.effect!r} is none of NoSchedule, PreferNoSchedule and NoExecute"
            )
        elif toleration.operator == "Exists" and toleration.value:
            problem = "Exists takes no value"
        elif toleration.operator != "Exists" and not toleration.key:
            problem = "without a key the operator must be Exists"
        elif toleration.HasField("toleration_seconds") and toleration.effect != "NoExecute":
            problem = "tolerationSeconds goes with the effect NoExecute only"
        if problem:
            self.add(path, f"{problem}; the pod is refused", "Correct the toleration")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
