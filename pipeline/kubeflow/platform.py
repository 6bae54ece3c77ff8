"""The platform document: what Kubernetes alone understands, for each executor of the compiled pipeline."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow.config import KubeflowConfig, StepSettings
from schemas.contract import RUN_ID_VARIABLE
from schemas.errors import ConfigError

# Kubeflow Pipelines gives every pod of a run this label.
RUN_ID_FIELD: Final = "metadata.labels['pipeline/runid']"


def build_platform_document(config: KubeflowConfig, executors: Mapping[str, str]) -> dict[str, Any]:
    """Build the second YAML document.

    Args:
        config: The `kubeflow:` section.
        executors: The step of each executor label of the main document.

    Returns:
        The document, with the keys of kfp-kubernetes' message.

    Raises:
        ConfigError: kfp-kubernetes' message has no such field or value.
    """
    document = {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {
                    "executors": {
                        label: _build_executor(config, config.step(step)) for label, step in executors.items()
                    }
                }
            }
        }
    }
    read_platform_document(document)
    return document


def read_platform_document(document: Mapping[str, Any]) -> dict[str, KubernetesExecutorConfig]:
    """Read a platform document into the messages of kfp and kfp-kubernetes.

    Args:
        document: The document.

    Returns:
        The settings of each executor label.

    Raises:
        ConfigError: A key or a value is not in the messages, which the server would drop or refuse late.
    """
    where = "platforms"
    try:
        json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
        configs = {}
        for label, executor in document["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
            where = f"platforms.kubernetes.deploymentSpec.executors.{label}"
            configs[label] = json_format.ParseDict(executor, KubernetesExecutorConfig())
        return configs
    except (json_format.ParseError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{where}: expected what kfp-kubernetes' message knows. Received something else:"
            f" {str(error).splitlines()[0]}"
        ) from error


def _build_executor(config: KubeflowConfig, step: StepSettings) -> dict[str, Any]:
    executor = {
        "imagePullPolicy": config.image_pull_policy,
        "imagePullSecret": [
            {"secretName": name, "secretNameParameter": _constant(name)} for name in config.image_pull_secrets
        ],
        "fieldPathAsEnv": [{"name": RUN_ID_VARIABLE, "fieldPath": RUN_ID_FIELD}],
        # Each name twice: newer servers read the parameter, older ones the field. Nothing that only
        # servers from 2.15 on know: an older one refuses the whole run.
        "secretAsEnv": [
            {
                "secretName": secret.name,
                "secretNameParameter": _constant(secret.name),
                "keyToEnv": [
                    {"secretKey": key, "envVar": variable}
                    for variable, key in sorted(secret.environment.items())
                ],
            }
            for secret in step.secrets
        ],
        "pvcMount": [
            {
                "constant": volume.claim,
                "pvcNameParameter": _constant(volume.claim),
                "mountPath": volume.mount_path,
            }
            for volume in step.volumes
        ],
        "nodeSelector": {"labels": dict(step.node_selector)} if step.node_selector else {},
        "tolerations": [
            _drop_empty(
                {
                    "key": toleration.key,
                    "operator": toleration.operator,
                    "value": toleration.value,
                    "effect": toleration.effect,
                }
            )
            for toleration in step.tolerations
        ],
        "activeDeadlineSeconds": step.timeout_seconds,
    }
    return _drop_empty(executor)


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def _drop_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
