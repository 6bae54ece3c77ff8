import pytest

from pipeline.kubeflow.config import (
    KubeflowConfig,
    SecretConfig,
    StepConfig,
    TolerationConfig,
    VolumeConfig,
)
from pipeline.kubeflow.platform import build_platform_document, read_platform_document
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

RUN_ID = [{"name": "DSSM_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]


def constant(value: str) -> dict:
    return {"runtimeValue": {"constant": value}}


def executors(config: KubeflowConfig) -> dict:
    document = build_platform_document(
        config, {"Trainer_executor": "Trainer", "UserTransform_executor": "UserTransform"}
    )
    assert list(document) == ["platforms"]
    assert list(document["platforms"]) == ["kubernetes"]
    assert list(document["platforms"]["kubernetes"]) == ["deploymentSpec"]
    return document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_everything_a_step_can_ask_for() -> None:
    config = KubeflowConfig(
        image_pull_policy="Always",
        image_pull_secrets=("registry",),
        timeout_seconds=60,
        secrets=(SecretConfig(name="store", environment={"B": "b-key", "A": "a-key"}),),
        volumes=(VolumeConfig(claim="data", mount_path="/data"),),
        node_selector={"pool": "cpu"},
        tolerations=(TolerationConfig(key="batch"),),
        steps={
            "Trainer": StepConfig(
                timeout_seconds=90,
                node_selector={"pool": "gpu"},
                tolerations=(
                    TolerationConfig(key="gpu", operator="Equal", value="yes", effect="NoSchedule"),
                ),
            )
        },
    )
    both = {
        "imagePullPolicy": "Always",
        "imagePullSecret": [{"secretName": "registry", "secretNameParameter": constant("registry")}],
        "fieldPathAsEnv": RUN_ID,
        "secretAsEnv": [
            {
                "secretName": "store",
                "secretNameParameter": constant("store"),
                "keyToEnv": [
                    {"secretKey": "a-key", "envVar": "A"},
                    {"secretKey": "b-key", "envVar": "B"},
                ],
            }
        ],
        "pvcMount": [
            {
                "constant": "data",
                "pvcNameParameter": constant("data"),
                "mountPath": "/data",
            }
        ],
    }
    batch = {"key": "batch", "operator": "Exists"}
    gpu = {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    assert executors(config) == {
        "UserTransform_executor": {
            **both,
            "nodeSelector": {"labels": {"pool": "cpu"}},
            "tolerations": [batch],
            "activeDeadlineSeconds": 60,
        },
        "Trainer_executor": {
            **both,
            "nodeSelector": {"labels": {"pool": "gpu"}},
            "tolerations": [batch, gpu],
            "activeDeadlineSeconds": 90,
        },
    }


def test_what_is_not_asked_for_is_left_out() -> None:
    assert executors(KubeflowConfig(timeout_seconds=None))["Trainer_executor"] == {
        "imagePullPolicy": "IfNotPresent",
        "fieldPathAsEnv": RUN_ID,
    }


@pytest.mark.parametrize(
    "executor",
    [{"activeDeadlineSecond": 60}, {"activeDeadlineSeconds": "soon"}, {"secretAsEnv": [{"secret": "a"}]}],
)
def test_what_kfp_kubernetes_does_not_know_is_refused(executor: dict) -> None:
    document = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"X": executor}}}}}
    with pytest.raises(ConfigError, match=r"platforms\.kubernetes\.deploymentSpec\.executors\.X: expected"):
        read_platform_document(document)


def test_an_unknown_key_beside_the_executors_is_refused() -> None:
    document = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}, "deployment": {}}}}
    with pytest.raises(ConfigError, match=r"^platforms: expected"):
        read_platform_document(document)
