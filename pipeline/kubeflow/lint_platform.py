"""Checks the platform document of a compiled pipeline, which holds its settings for Kubernetes."""

import re
from typing import Any, Final

from pipeline.kubeflow.lint_document import IN_EXECUTOR, IN_PLATFORM, Finding, Linter, join, suggest

QUANTITY: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
ENVIRONMENT_NAME: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
LABEL_VALUE: Final = re.compile(r"([a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?")
FIELD_PATH: Final = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)


class PlatformLinter(Linter):
    """One walk through the platform document."""

    def __init__(self, findings: list[Finding], deployment: Any) -> None:
        super().__init__(findings)
        self._deployment = deployment

    def check(self, platform: dict[str, Any]) -> dict[str, Any]:
        """Check the document.

        Args:
            platform: The document as plain data.

        Returns:
            The KubernetesExecutorConfig of each executor label.
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
        if not kubernetes.get("deploymentSpec", {}).get("executors") and not kubernetes.get("pipelineConfig"):
            self.add("platforms.kubernetes", "the platform document sets nothing", "Leave the document out")
        configs: dict[str, Any] = {}
        executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
        for label, settings in executors.items():
            path = join("platforms.kubernetes.deploymentSpec.executors", label)
            if label not in self._deployment.executors:
                self.add(
                    path,
                    f"there is no executor {label!r}; KFP ignores its settings without a word",
                    suggest(label, self._deployment.executors, "deploymentSpec.executors has"),
                )
            elif self._deployment.executors[label].HasField("importer"):
                self.add(path, "an importer takes no settings; KFP ignores them", "Leave them out")
            config = json_format.ParseDict(
                self.clean(message.DESCRIPTOR, settings, path, IN_EXECUTOR), message()
            )
            configs[label] = config
            self._check_executor_config(path, config)
        return configs

    def _check_executor_config(self, path: str, config: Any) -> None:
        if config.image_pull_policy not in ("", "Always", "Never", "IfNotPresent"):
            self.add(
                f"{path}.imagePullPolicy",
                f"expected Always, Never or IfNotPresent. Received: {config.image_pull_policy!r}; the task"
                " fails when"
                " it starts",
                "Correct the policy",
            )
        if config.active_deadline_seconds < 0:
            self.add(
                f"{path}.activeDeadlineSeconds",
                "below 0; KFP ignores it without a word",
                "Write seconds above 0",
            )
        if config.security_context.HasField("run_as_user") and config.security_context.run_as_user == 0:
            self.add(
                f"{path}.securityContext.runAsUser",
                "root, and KFP runs every pod with runAsNonRoot; the task fails",
                "Name another user",
            )
        for key, value in sorted(config.pod_metadata.labels.items()):
            if not LABEL_VALUE.fullmatch(value):
                self.add(
                    join(f"{path}.podMetadata.labels", key),
                    f"not a value of a Kubernetes label: {value!r}; the pod is refused",
                    "Write at most 63 letters, digits, '-', '_' and '.'",
                )
        self._check_sources(path, config)
        self._check_mounts(path, config)
        for index, toleration in enumerate(config.tolerations):
            self._check_toleration(f"{path}.tolerations[{index}]", toleration)

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
                    self._check_twice(place, pair.env_var, seen)
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
            self._check_twice(inner, entry.name, seen)
        for index, entry in enumerate(config.image_pull_secret):
            if not entry.secret_name and not entry.HasField("secret_name_parameter"):
                self.add(
                    f"{path}.imagePullSecret[{index}]", "no secretName; the task fails", "Name the secret"
                )

    def _check_twice(self, path: str, name: str, seen: set[str]) -> None:
        if name in seen:
            self.add(path, f"{name} has two sources; the last one wins", "Remove one of them")
        seen.add(name)

    def _check_mounts(self, path: str, config: Any) -> None:
        mounts: list[tuple[str, str, bool]] = []
        for kind, entries, name_field in (
            ("secretAsVolume", config.secret_as_volume, "secret_name"),
            ("configMapAsVolume", config.config_map_as_volume, "config_map_name"),
        ):
            for index, entry in enumerate(entries):
                has_name = bool(getattr(entry, name_field)) or entry.HasField(f"{name_field}_parameter")
                mounts.append((f"{path}.{kind}[{index}]", entry.mount_path, has_name))
        for index, entry in enumerate(config.pvc_mount):
            has_name = entry.WhichOneof("pvc_reference") is not None or entry.HasField("pvc_name_parameter")
            mounts.append((f"{path}.pvcMount[{index}]", entry.mount_path, has_name))
        for kind, volumes, size_field in (
            ("emptyDirMounts", config.empty_dir_mounts, "size_limit"),
            ("genericEphemeralVolume", config.generic_ephemeral_volume, "size"),
        ):
            for index, entry in enumerate(volumes):
                mounts.append((f"{path}.{kind}[{index}]", entry.mount_path, bool(entry.volume_name)))
                size = getattr(entry, size_field)
                if (size or size_field == "size") and not QUANTITY.fullmatch(size):
                    self.add(
                        f"{path}.{kind}[{index}].{_camel(size_field)}",
                        f"not an amount that Kubernetes reads: {size!r}; the task fails when it starts",
                        "Write an amount such as 10Gi",
                    )
        seen: set[str] = set()
        for inner, mount_path, has_name in mounts:
            if not has_name:
                self.add(inner, "the volume has no name; the task fails when it starts", "Name it")
            if not mount_path.startswith("/") or ":" in mount_path:
                self.add(
                    f"{inner}.mountPath",
                    f"expected an absolute path without ':'. Received: {mount_path!r}; the pod is refused",
                    "Correct the path",
                )
            elif mount_path in seen:
                self.add(
                    f"{inner}.mountPath", f"{mount_path} is mounted twice; the pod is refused", "Remove one"
                )
            seen.add(mount_path)

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


def list_platform_variables(config: Any) -> set[str]:
    """List the environment variables that an executor's settings define."""
    pairs = [
        pair for entry in (*config.secret_as_env, *config.config_map_as_env) for pair in entry.key_to_env
    ]
    return {pair.env_var for pair in pairs} | {entry.name for entry in config.field_path_as_env}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
