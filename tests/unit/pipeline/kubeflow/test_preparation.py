import pytest

from pipeline.config import PipelineConfig, load_config
from pipeline.kubeflow.preparation import left_out_for_vertex, prepare_config, relative_locations
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SHIPPED = "pipeline/configs/movielens_100k.yaml"


def load(*overrides: str) -> PipelineConfig:
    return load_config(SHIPPED, overrides)


def test_an_image_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"kubeflow\.image: expected the image .*--set kubeflow\.image="):
        prepare_config(load("kubeflow={}"))


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("run.name=movielens_100k", "movielens-100k"),
        ("run.name=My Shop  (EU)", "my-shop-eu"),
        ("kubeflow.pipeline_name=nightly", "nightly"),
    ],
)
def test_the_name_is_one_that_kubeflow_takes(override: str, name: str) -> None:
    assert prepare_config(load(override)).run.name == name


def test_a_name_without_letters_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.name: expected letters or digits.*'___'"):
        prepare_config(load("run.name=___"))


@pytest.mark.parametrize("count", [1, 4])
def test_the_trainers_accelerators_are_its_replicas(count: int) -> None:
    assert prepare_config(load(f"kubeflow.steps.Trainer.gpu.count={count}")).training.replicas == count
    assert prepare_config(load("kubeflow.steps.Transform.gpu.count=2")).training.replicas is None


def test_replicas_that_contradict_the_accelerators_are_refused() -> None:
    same = load("kubeflow.steps.Trainer.gpu.count=2", "training.replicas=2")
    assert prepare_config(same).training.replicas == 2
    with pytest.raises(ConfigError, match=r"training\.replicas: .*gpu\.count 2\. Received: 4\. Leave"):
        prepare_config(load("kubeflow.steps.Trainer.gpu.count=2", "training.replicas=4"))


@pytest.mark.parametrize("where", ["kubeflow.environment", "kubeflow.steps.RetrainingEnd.environment"])
def test_urls_of_notifications_are_refused_outside_of_secrets(where: str) -> None:
    with pytest.raises(
        ConfigError, match=r"PAGER holds URLs .*kubeflow\.steps\.RetrainingEnd\.secrets"
    ) as error:
        prepare_config(load("retraining.notify.urls_env=PAGER", f"{where}={{PAGER: 'slack://hunter2/b/c'}}"))
    assert str(error.value).startswith(f"{where}: ")
    assert "hunter2" not in str(error.value)


def test_locations_for_kubeflow_take_the_place_of_the_local_ones() -> None:
    config = prepare_config(
        load(
            "kubeflow.data_directory=s3://b/tables",
            "kubeflow.serving_directory=/mnt/serving",
            "kubeflow.checkpoint_directory=/mnt/checkpoints",
            "training.checkpoint.directory=checkpoints",
        )
    )
    assert (config.data.directory, config.serving.directory) == ("s3://b/tables", "/mnt/serving")
    assert config.training.checkpoint.directory == "/mnt/checkpoints"
    assert relative_locations(config) == []


def test_locations_that_no_pod_can_find_are_listed() -> None:
    lines = relative_locations(prepare_config(load()))
    assert [line.split()[0] for line in lines] == ["data.directory", "serving.directory"]
    assert "kubeflow.data_directory" in lines[0]
    [*_, line] = relative_locations(prepare_config(load("training.checkpoint.directory=checkpoints")))
    assert line.startswith("training.checkpoint.directory 'checkpoints' is relative")
    assert "set kubeflow.checkpoint_directory" in line


def test_vertex_needs_a_bucket() -> None:
    assert prepare_config(load("kubeflow.pipeline_root=gs://b/root"), "vertex").run.name == "movielens-100k"
    with pytest.raises(ConfigError, match=r"expected gs://BUCKET/FOLDER\. Received: 's3://b'"):
        prepare_config(load("kubeflow.pipeline_root=s3://b"), "vertex")


def test_what_vertex_does_not_know_is_listed() -> None:
    config = load(
        "kubeflow.secrets=[{name: store, environment: {A: b}}]",
        "kubeflow.steps.Trainer.tolerations=[{key: gpu}]",
        "kubeflow.steps.Transform.volumes=[{claim: c, mount_path: /c}]",
        "kubeflow.image_pull_secrets=[registry]",
    )
    assert left_out_for_vertex(config) == [
        "kubeflow.secrets",
        "kubeflow.steps.Trainer.tolerations",
        "kubeflow.steps.Transform.volumes",
        "kubeflow.image_pull_secrets",
    ]
