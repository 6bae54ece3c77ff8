import pytest

from pipeline.config import load_config
from pipeline.kubeflow.config import MEMORY_GB, STEPS, KubeflowConfig
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SHIPPED = "pipeline/configs/movielens_100k.yaml"


def load(*overrides: str) -> KubeflowConfig:
    return load_config(SHIPPED, overrides).kubeflow


def test_a_step_replaces_single_values_and_adds_to_lists_and_mappings() -> None:
    config = load(
        "kubeflow.image=all:1",
        "kubeflow.cpu=2",
        "kubeflow.environment={A: a, B: b}",
        "kubeflow.node_selector={pool: cpu, zone: x}",
        "kubeflow.volumes=[{claim: data, mount_path: /data}]",
        "kubeflow.tolerations=[{key: batch}]",
        "kubeflow.secrets=[{name: store, environment: {USER: user}}]",
        "kubeflow.steps.Trainer={image: gpu:1, cpu: 8, environment: {B: c}, node_selector: {pool: gpu},"
        " volumes: [{claim: scratch, mount_path: /scratch}], tolerations: [{key: nvidia.com/gpu}],"
        " secrets: [{name: tracker, environment: {URL: url}}], retries: {count: 0}, cache: false}",
    )
    trainer, transform = config.step("Trainer"), config.step("UserTransform")
    assert (trainer.image, trainer.cpu, trainer.memory_gb) == ("gpu:1", 8.0, MEMORY_GB["Trainer"])
    assert trainer.environment == {"A": "a", "B": "c"}
    assert trainer.node_selector == {"pool": "gpu", "zone": "x"}
    assert [volume.claim for volume in trainer.volumes] == ["data", "scratch"]
    assert [toleration.key for toleration in trainer.tolerations] == ["batch", "nvidia.com/gpu"]
    assert [secret.name for secret in trainer.secrets] == ["store", "tracker"]
    assert (trainer.retries.count, trainer.cache) == (0, False)
    assert (transform.image, transform.cpu, transform.environment) == ("all:1", 2.0, {"A": "a", "B": "b"})
    assert (transform.retries.count, transform.cache, transform.gpu) == (2, True, None)


def test_ingest_is_never_reused() -> None:
    assert load().step("UserStatisticsGen").cache is True
    assert load("kubeflow.cache=false").step("UserStatisticsGen").cache is False
    for step in ("InteractionIngest", "RetrainingPlan", "RetrainingEnd"):
        assert load().step(step).cache is False
        with pytest.raises(ConfigError, match=rf"{step}\.cache: .* is never reused"):
            load(f"kubeflow.steps.{step}.cache=true")


def test_a_kind_of_steps_may_be_named_at_once_and_one_of_them_alone() -> None:
    config = load(
        "kubeflow.steps={Transform: {cpu: 8, environment: {A: a, B: b}, gpu: {count: 1}}, "
        "UserTransform: {cpu: 4, environment: {B: c}}, ExampleValidator: {cache: false}}"
    )
    user, item, context = (config.step(f"{table}Transform") for table in ("User", "Item", "Context"))
    assert (user.cpu, item.cpu, context.cpu) == (4.0, 8.0, 8.0)
    assert (user.environment, item.environment) == ({"A": "a", "B": "c"}, {"A": "a", "B": "b"})
    assert user.gpu == item.gpu
    assert user.gpu is not None
    assert [config.step(step).cache for step in ("UserExampleValidator", "UserStatisticsGen")] == [
        False,
        True,
    ]


def test_memory_is_the_steps_own_unless_the_configuration_says() -> None:
    default = load()
    assert {step: default.step(step).memory_gb for step in STEPS} == MEMORY_GB
    said = load(
        "kubeflow.memory_gb=5", "kubeflow.steps={Trainer: {memory_gb: 28}, Transform: {memory_gb: 7}}"
    )
    assert [said.step(step).memory_gb for step in ("FeatureSchema", "Trainer", "ItemTransform")] == [5, 28, 7]
    one = load("kubeflow.steps={Transform: {memory_gb: 9}, UserTransform: {memory_gb: 3}}")
    assert [one.step(f"{table}Transform").memory_gb for table in ("User", "Item")] == [3, 9]
    assert load("kubeflow.memory_gb=null").step("Trainer").memory_gb is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kubeflow.memory_gb=by_node", r"kubeflow\.memory_gb.*Received: 'by_node'"),
        ("kubeflow.steps={Transfrm: {cpu: 1}}", r"'Transfrm' \(did you mean 'Transform'\?\)"),
        ("kubeflow.steps={Trainr: {cpu: 1}}", r"kubeflow\.steps: .*'Trainr' \(did you mean 'Trainer'\?\)"),
        ("kubeflow.steps.Trainer.gpus=1", r"'kubeflow\.steps\.Trainer\.gpus'; did you mean .*\.gpu'"),
        ("kubeflow.steps.Trainer.gpu.count=0", r"gpu\.count: expected at least 1\. Received: 0"),
        ("kubeflow.image=''", r"kubeflow\.image: expected a name without spaces\. Received: ''"),
        ("kubeflow.pipeline_name=My_name", r"expected lower case, digits and -, .*'My_name'"),
        (
            "kubeflow.secrets=[{name: A_B, environment: {A: b}}]",
            r"kubeflow\.secrets\.0\.name.*Kubernetes name.*'A_B'",
        ),
        ("kubeflow.volumes=[{claim: a, mount_path: data}]", r"mount_path: expected an absolute path.*'data'"),
        ("kubeflow.environment={9A: x}", r"names of environment variables\. Received: '9A'"),
        ("kubeflow.environment={KFP_POD_NAME: x}", r"KFP_POD_NAME is set by Kubeflow Pipelines"),
        ("kubeflow.secrets=[{name: a, environment: {KFP_POD_UID: b}}]", r"KFP_POD_UID is set by"),
        ("kubeflow.secrets=[{name: a, environment: {A: ''}}]", r"environment\.A.*Received: ''"),
        (
            "kubeflow.secrets=[{name: a, environment: {}}]",
            r"environment \(a\): expected at least one variable",
        ),
        (
            "kubeflow={environment: {A: x}, steps: {Trainer: {secrets: [{name: s, environment: {A: k}}]}}}",
            r"expected each environment variable of a step once.*'A' twice for Trainer",
        ),
        (
            "kubeflow={volumes: [{claim: a, mount_path: /d}],"
            " steps: {Transform: {volumes: [{claim: b, mount_path: /d/}]}}}",
            r"expected each mount path of a step once.*'/d' twice for UserTransform",
        ),
        ("kubeflow.volumes=[{claim: a.b, mount_path: /d}]", r"claim: expected lower case.*'a\.b'"),
        ("kubeflow.volumes=[{claim: a, mount_path: /s3}]", r"none of /kfp-launcher, .*Received: '/s3'"),
        ("kubeflow.volumes=[{claim: a, mount_path: /kfp-launcher/}]", r"Received: '/kfp-launcher/'"),
        ("kubeflow.volumes=[{claim: a, mount_path: '/a:b'}]", r"absolute path.*Received: '/a:b'"),
        (
            "kubeflow.steps.Trainer.gpu={count: 1, resource: gpu}",
            r"resource: expected .*nvidia.*'gpu'",
        ),
        ("kubeflow.node_selector={pool: a b}", r"node_selector\.pool: expected the value .*'a b'"),
        ("kubeflow.tolerations=[{key: a, value: b}]", r"expected no value for operator Exists.*'b'"),
        ("kubeflow.tolerations=[{key: '', operator: Equal}]", r"expected a key for operator Equal"),
        ("kubeflow.timeout_seconds=2147483648", r"timeout_seconds: expected at most 2\.14748e\+09"),
        ("kubeflow.retries.backoff_factor=1000000", r"backoff_factor: expected less than 1e\+06"),
        ("kubeflow.memory_gb=0.0001", r"memory_gb: .*Received: 0\.0001"),
        ("kubeflow.steps.Trainer.memory_gb=1000000", r"memory_gb: expected less than 1e\+06"),
        ("kubeflow.environment={DSSM_RUN_ID: x}", r"DSSM_RUN_ID .*leave it out"),
        ("kubeflow.image_pull_policy=Sometimes", r"'Always' or 'IfNotPresent' or 'Never'"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(override)


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "HF_TOKEN", "WANDB_API_KEY"])
def test_credentials_do_not_belong_in_the_environment(name: str, tmp_path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(
        "run: {name: a, directory: b}\ndata: {schema: s, directory: d}\nserving: {directory: s}\n"
        f"kubeflow: {{environment: {{{name}: hunter2}}}}\n"
    )
    with pytest.raises(ConfigError, match=rf"{name} looks like a credential.*kubeflow\.secrets") as error:
        load_config(str(file))
    assert "hunter2" not in str(error.value)


def test_what_kubernetes_takes_is_taken() -> None:
    config = load(
        "kubeflow.volumes=[{claim: a-1, mount_path: /s3/data}, {claim: a-1, mount_path: /gcs2}]",
        "kubeflow.node_selector={pool: '', zone: eu-1.a_B}",
        "kubeflow.tolerations=[{key: ''}, {key: a, operator: Equal, value: b}, {key: a, operator: Equal}]",
        "kubeflow.steps.Trainer.gpu={count: 1, resource: amd.com/gpu}",
    )
    assert len(config.volumes) == 2


def test_the_path_of_a_credentials_file_may_stand_there() -> None:
    config = load("kubeflow.environment={GOOGLE_APPLICATION_CREDENTIALS: /var/run/key.json}")
    assert config.environment["GOOGLE_APPLICATION_CREDENTIALS"] == "/var/run/key.json"
