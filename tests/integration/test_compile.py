"""The compiled pipeline: what TFX and our repairs together hand to Kubeflow Pipelines."""

import dataclasses
import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.config import PipelineConfig, load_config
from pipeline.kubeflow.lint.spec import check_spec
from schemas.errors import ConfigError
from schemas.features import Feature, FeatureSpec, VocabularyEncoding
from schemas.strict_config import from_json

pytestmark = pytest.mark.integration

SHIPPED = "pipeline/configs/movielens_100k.yaml"
MAX_SECONDS = 30
MAX_BYTES = 200_000

# (producer, its output, consumer, its input); '' where one step only waits for another.
EDGES = {
    *(
        (
            producer.format(table),
            output.format(table.lower()),
            consumer.format(table),
            key.format(table.lower()),
        )
        for table in ("User", "Item")
        for producer, output, consumer, key in (
            ("InteractionIngest", "{}s", "{}StatisticsGen", "examples"),
            ("FeatureSchema", "{}_schema", "{}StatisticsGen", "schema"),
            ("{}StatisticsGen", "statistics", "{}ExampleValidator", "statistics"),
            ("FeatureSchema", "{}_schema", "{}ExampleValidator", "schema"),
            ("{}ExampleValidator", "anomalies", "AnomalyGate", "{}_anomalies"),
            ("{}StatisticsGen", "statistics", "AnomalyGate", "{}_statistics"),
            ("AnomalyGate", "", "{}Transform", ""),
            ("InteractionIngest", "{}s", "{}Transform", "examples"),
            ("FeatureSchema", "{}_schema", "{}Transform", "schema"),
            ("{}Transform", "transform_graph", "Trainer", "{}_transform_graph"),
            ("FeatureSchema", "{}_schema", "TowerPusher", "{}_schema"),
            ("{}Transform", "transform_graph", "TowerPusher", "{}_transform_graph"),
            ("{}StatisticsGen", "statistics", "TowerPusher", "{}_statistics"),
        )
    ),
    ("InteractionIngest", "report", "AnomalyGate", "ingest_report"),
    ("InteractionIngest", "sequences", "Trainer", "sequences"),
    ("InteractionIngest", "catalogue", "Trainer", "catalogue"),
    ("Trainer", "model", "CandidateIndexer", "model"),
    ("InteractionIngest", "catalogue", "CandidateIndexer", "catalogue"),
    ("InteractionIngest", "sequences", "RetrievalEvaluator", "sequences"),
    ("Trainer", "model", "RetrievalEvaluator", "model"),
    ("CandidateIndexer", "index", "RetrievalEvaluator", "index"),
    ("Trainer", "model", "AnnIndexer", "model"),
    ("CandidateIndexer", "index", "AnnIndexer", "index"),
    ("InteractionIngest", "sequences", "AnnIndexer", "sequences"),
    ("AnnIndexer", "ann", "RetrievalEvaluator", "ann"),
    ("AnnIndexer", "ann", "TowerPusher", "ann"),
    ("CandidateIndexer", "retriever", "TowerPusher", "retriever"),
    ("Trainer", "model", "TowerPusher", "model"),
    ("CandidateIndexer", "index", "TowerPusher", "index"),
    ("RetrievalEvaluator", "blessing", "TowerPusher", "blessing"),
    ("RetrievalEvaluator", "report", "TowerPusher", "report"),
    ("InteractionIngest", "report", "TowerPusher", "ingest_report"),
    ("InteractionIngest", "sequences", "TowerPusher", "sequences"),
    ("RetrievalEvaluator", "report", "RunReport", "evaluation_report"),
    ("InteractionIngest", "report", "RunReport", "ingest_report"),
    ("AnomalyGate", "report", "RunReport", "anomaly_report"),
    ("Trainer", "model", "RunReport", "model"),
    ("Trainer", "model_run", "RunReport", "model_run"),
    ("CandidateIndexer", "index", "RunReport", "index"),
}
# Those that there are beside them with context features.
CONTEXT_EDGES = {
    ("InteractionIngest", "contexts", "ContextStatisticsGen", "examples"),
    ("FeatureSchema", "context_schema", "ContextStatisticsGen", "schema"),
    ("ContextStatisticsGen", "statistics", "ContextExampleValidator", "statistics"),
    ("FeatureSchema", "context_schema", "ContextExampleValidator", "schema"),
    ("ContextExampleValidator", "anomalies", "AnomalyGate", "context_anomalies"),
    ("ContextStatisticsGen", "statistics", "AnomalyGate", "context_statistics"),
    ("AnomalyGate", "", "ContextTransform", ""),
    ("InteractionIngest", "contexts", "ContextTransform", "examples"),
    ("FeatureSchema", "context_schema", "ContextTransform", "schema"),
    ("ContextTransform", "transform_graph", "Trainer", "context_transform_graph"),
    ("FeatureSchema", "context_schema", "TowerPusher", "context_schema"),
    ("ContextTransform", "transform_graph", "TowerPusher", "context_transform_graph"),
    ("ContextStatisticsGen", "statistics", "TowerPusher", "context_statistics"),
}

RICH = (
    "run.directory=/host/only/runs",
    "data.directory=s3://bucket/tables",
    "kubeflow.serving_directory=s3://bucket/serving",
    "kubeflow.checkpoint_directory=s3://bucket/checkpoints",
    "training.warm_start=true",
    "ingest.window.last_days=28",
    "training.epochs=7",
    "kubeflow.image=registry.example/dssm:1",
    "kubeflow.pipeline_root=s3://bucket/pipelines",
    "kubeflow.environment={AWS_ENDPOINT_URL_S3: 'http://minio:9000'}",
    "kubeflow.secrets=[{name: store, environment: {AWS_SECRET_ACCESS_KEY: secretkey}}]",
    "kubeflow.retries={count: 3, backoff_seconds: 10, backoff_factor: 3}",
    "kubeflow.timeout_seconds=600",
    "kubeflow.steps.Trainer={image: 'registry.example/dssm:1-gpu', cpu: 7.5, memory_gb: 28, gpu: {count: 2},"
    " tolerations: [{key: nvidia.com/gpu}],"
    " node_selector: {pool: gpu}, volumes: [{claim: c, mount_path: /c}]}",
    "kubeflow.steps.RetrievalEvaluator={cache: false, retries: {count: 0}}",
)

# Runs `dssm` and prints what it wrote to or asked of the network, as Python's audit hooks see it.
WATCHED_DSSM = """
import os, sys

events = []


def watch(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(path, str):
            events.append(path)
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "os.rename", "os.remove"):
        events.append(f"{event} {arguments}")


sys.addaudithook(watch)
from pipeline.cli import main

try:
    main(sys.argv[1:])
finally:
    print("\\n".join(["EVENTS", *events]), file=sys.stderr)
"""


def compile_in_new_process(directory: Path, hash_seed: str) -> tuple[Path, float, list[str]]:
    directory.mkdir()
    output = directory / "pipeline.yaml"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    completed = subprocess.run(
        [sys.executable, "-c", WATCHED_DSSM, "compile", "--config", SHIPPED, "--output", str(output)],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "PYTHONHASHSEED": hash_seed,
            "HOME": str(directory),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    events = completed.stderr.partition("EVENTS\n")[2].splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # What other processes do on the machine is no matter of ours: processor time, not the clock's.
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output, seconds, events


@pytest.fixture(scope="module")
def two_compilations(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, float, list[str]]]:
    directory = tmp_path_factory.mktemp("compile")
    return [compile_in_new_process(directory / name, name) for name in ("1", "2")]


@pytest.fixture(scope="module")
def compiler() -> Any:
    return importlib.import_module("pipeline.kubeflow.compiler")


@pytest.fixture(scope="module")
def rich(compiler: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    config = load_config(SHIPPED, RICH)
    text = compiler.compile_pipeline(config, config.load_features())
    spec, platform = yaml.safe_load_all(text)
    return text, spec, platform


def add_context(features: FeatureSpec) -> FeatureSpec:
    device = Feature(
        name="device", dtype="string", tower="context", encoding=VocabularyEncoding(kind="vocabulary")
    )
    return dataclasses.replace(features, features=(*features.features, device))


def container(spec: dict[str, Any], step: str) -> dict[str, Any]:
    label = spec["components"][step]["executorLabel"]
    return spec["deploymentSpec"]["executors"][label]["container"]


def edges_of_pipeline(pipeline: Any) -> Iterator[tuple[str, str, str, str]]:
    for node in pipeline.components:
        producers = set()
        for key, channel in node.inputs.items():
            producers.add(channel.producer_component_id)
            yield channel.producer_component_id, channel.output_key, node.id, key
        for upstream in node.upstream_nodes:
            if upstream.id not in producers:
                yield upstream.id, "", node.id, ""


def edges_of_spec(spec: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for task, body in spec["root"]["dag"]["tasks"].items():
        producers = set()
        for key, source in body.get("inputs", {}).get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            producers.add(output["producerTask"])
            yield output["producerTask"], output["outputArtifactKey"], task, key
        for upstream in set(body.get("dependentTasks", ())) - producers:
            yield upstream, "", task, ""


def test_the_same_configuration_gives_the_same_bytes(two_compilations) -> None:
    first, second = (output.read_bytes() for output, _, _ in two_compilations)
    assert first == second


def test_it_is_quick_and_small(two_compilations) -> None:
    for output, seconds, _ in two_compilations:
        assert seconds < MAX_SECONDS
        assert output.stat().st_size < MAX_BYTES


def test_a_hundred_features_fit_in_one_argument_of_the_driver(compiler) -> None:
    """KFP's driver is given the whole root component in one argument; Linux takes 131,071 bytes."""
    config = load_config(SHIPPED, ("kubeflow.image=example/dssm:1",))
    features = config.load_features()
    further = tuple(
        dataclasses.replace(features.item_id, name=f"item_attribute_number_{number:03}", role=None)
        for number in range(100)
    )
    wide = dataclasses.replace(features, features=(*features.features, *further))
    spec = next(yaml.safe_load_all(compiler.compile_pipeline(config, wide)))
    assert len(spec["root"]["dag"]["tasks"]) == 15
    assert len(json.dumps(spec["root"], separators=(",", ":"))) < 131_072


def test_data_that_read_like_templates_are_none_in_the_file(compiler) -> None:
    config = load_config(SHIPPED, ("kubeflow.image=example/dssm:1",))
    features = config.load_features()
    prices = dataclasses.replace(
        features.item_id,
        name="price",
        role=None,
        values=("$", "$$", "$(HOME)", "{{$}}", "{{workflow.name}}"),
        default="$(HOME)",
    )
    priced = dataclasses.replace(features, features=(*features.features, prices))
    text = compiler.compile_pipeline(config, priced)
    check_spec(text)
    assert "$$" not in text
    assert "$(" not in text
    spec = next(yaml.safe_load_all(text))
    constants = {
        name: task["inputs"]["parameters"]["feature_spec"]["runtimeValue"]["constant"]
        for name, task in spec["root"]["dag"]["tasks"].items()
        if "feature_spec" in task["inputs"].get("parameters", {})
    }
    # What becomes of the transforms' own is the model's part, too.
    for table in ("Item", "User"):
        parameters = spec["root"]["dag"]["tasks"][f"{table}Transform"]["inputs"]["parameters"]
        custom_config = json.loads(parameters["custom_config"]["runtimeValue"]["constant"])
        constants[f"{table}Transform"] = custom_config["feature_spec"]
    received = {}
    for step, constant in constants.items():
        price = next(f for f in from_json(FeatureSpec, constant).features if f.name == "price")
        received[step] = (price.values, price.default)
    assert received == {
        "InteractionIngest": (None, prices.default),
        "FeatureSchema": (prices.values, None),
        "AnomalyGate": (prices.values, None),
        "UserTransform": (None, prices.default),
        "ItemTransform": (None, prices.default),
        "Trainer": (None, prices.default),
        "AnnIndexer": (None, prices.default),
        "RetrievalEvaluator": (None, prices.default),
    }


def test_only_the_output_is_written_and_the_network_is_not_used(two_compilations) -> None:
    for output, _, events in two_compilations:
        # Importing Keras writes its settings, and matplotlib, which Keras imports, the list of the fonts;
        # Python tries whether the temporary directory can be written.
        settings = (str(output.parent / ".keras"), str(output.parent / ".cache" / "matplotlib"))
        temporary = tempfile.gettempdir()
        ours = [
            event
            for event in events
            if not event.removeprefix("os.remove ('").startswith(settings)
            and event != os.devnull
            and re.sub(r"\w{8}$", "", event) != f"{temporary}/"
            and not event.startswith(f"os.remove ('{temporary}/")
        ]
        assert ours == [str(output)]


def test_nothing_of_this_machine_is_in_the_file(two_compilations) -> None:
    text = two_compilations[0][0].read_text()
    for path in {str(Path.cwd()), str(Path.home()), sys.prefix, str(two_compilations[0][0].parent)} - {"/"}:
        assert path not in text


def test_lint_finds_nothing(two_compilations, rich) -> None:
    lint = importlib.import_module("pipeline.kubeflow.lint.spec")
    assert lint.lint_spec(two_compilations[0][0].read_text()) == []
    assert lint.lint_spec(rich[0]) == []


@pytest.mark.parametrize("has_context", [False, True])
def test_both_targets_have_the_same_nodes_and_edges(compiler, has_context: bool) -> None:
    build = importlib.import_module("pipeline.build")
    parameters = importlib.import_module("pipeline.parameters")
    steps = importlib.import_module("pipeline.kubeflow.config").RUN_STEPS
    config = load_config(SHIPPED, RICH)
    features = add_context(config.load_features()) if has_context else config.load_features()
    edges = EDGES | CONTEXT_EDGES if has_context else EDGES
    local = build.build_pipeline(
        config,
        features,
        parameters.RunParameters.from_config(
            config, run_id="r", input_fingerprint="f", code_fingerprint="c", training_fingerprint="t"
        ),
    )
    remote = build.build_pipeline(config, features, compiler.kubeflow_parameters(config))
    text = compiler.compile_pipeline(config, features)
    check_spec(text)
    assert len(text) < MAX_BYTES
    spec, platform = yaml.safe_load_all(text)
    assert set(edges_of_pipeline(local)) == edges
    assert set(edges_of_pipeline(remote)) == edges
    assert set(edges_of_spec(spec)) == edges
    nodes = [node.id for node in local.components]
    assert set(nodes) == {step for step in steps if has_context or not step.startswith("Context")}
    assert nodes == [node.id for node in remote.components]
    assert sorted(nodes) == sorted(spec["root"]["dag"]["tasks"])
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {spec["components"][node]["executorLabel"] for node in nodes}
    for ours, theirs in zip(local.components, remote.components, strict=True):
        assert ours.outputs.keys() == theirs.outputs.keys()
        assert set(ours.exec_properties) == set(theirs.exec_properties)


def test_the_report_is_of_types_that_kfps_page_shows(rich) -> None:
    outputs = rich[1]["components"]["RunReport"]["outputDefinitions"]["artifacts"]
    titles = {
        name: yaml.safe_load(output["artifactType"]["instanceSchema"])["title"]
        for name, output in outputs.items()
    }
    assert titles == {"page": "system.HTML", "markdown": "system.Markdown", "scalars": "system.Metrics"}


def test_it_is_schema_2_1_and_loads_into_kfps_messages(rich) -> None:
    _, spec, _ = rich
    assert spec["schemaVersion"] == "2.1.0"
    assert spec["pipelineInfo"] == {"name": "movielens-100k"}
    assert spec["defaultPipelineRoot"] == "s3://bucket/pipelines"
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    # An unknown key of a container would only be discarded: deploymentSpec is a free-form struct there.
    json_format.ParseDict(
        json_format.MessageToDict(message.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
    )


def test_run_parameters_have_types_and_defaults(rich) -> None:
    parameters = rich[1]["root"]["inputDefinitions"]["parameters"]
    assert {name: (body["parameterType"], body["defaultValue"]) for name, body in parameters.items()} == {
        "data_directory": ("STRING", "s3://bucket/tables"),
        "window_from": ("STRING", ""),
        "window_to": ("STRING", ""),
        "window_last_days": ("NUMBER_INTEGER", 28),
        "epochs": ("NUMBER_INTEGER", 7),
        "start": ("STRING", ""),
        "serving_directory": ("STRING", "s3://bucket/serving"),
        "checkpoint_directory": ("STRING", "s3://bucket/checkpoints"),
    }


def test_each_run_parameter_is_an_input_of_its_own_and_nowhere_a_constant(rich) -> None:
    text, spec, _ = rich
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    readers = {
        (task, name): source["componentInputParameter"]
        for task, body in spec["root"]["dag"]["tasks"].items()
        for name, source in body.get("inputs", {}).get("parameters", {}).items()
        if "componentInputParameter" in source
    }
    assert readers == {
        ("InteractionIngest", "data_directory"): "data_directory",
        ("CandidateIndexer", "data_directory"): "data_directory",
        ("InteractionIngest", "window_from"): "window_from",
        ("InteractionIngest", "window_to"): "window_to",
        ("InteractionIngest", "window_last_days"): "window_last_days",
        ("Trainer", "epochs"): "epochs",
        ("Trainer", "start"): "start",
        ("Trainer", "checkpoint_directory"): "checkpoint_directory",
        ("Trainer", "serving_directory"): "serving_directory",
        ("AnomalyGate", "serving_directory"): "serving_directory",
        ("RetrievalEvaluator", "serving_directory"): "serving_directory",
        ("TowerPusher", "serving_directory"): "serving_directory",
        # It shows what the run was given.
        **{("RunReport", name): name for name in parameters},
    }
    assert '"epochs"' not in text
    assert '"last_days": 28' not in text
    # The default is the only place with the value.
    assert text.count("s3://bucket/tables") == 1
    assert text.count("s3://bucket/serving") == 1
    assert text.count("s3://bucket/checkpoints") == 1


def test_a_step_gets_its_own_section_only(compiler) -> None:
    def parameters_of(*overrides: str) -> dict[str, Any]:
        config = load_config(SHIPPED, overrides)
        text = compiler.compile_pipeline(config, config.load_features())
        spec = next(yaml.safe_load_all(text))
        return {
            task: body.get("inputs", {}).get("parameters", {})
            for task, body in spec["root"]["dag"]["tasks"].items()
        }

    before = parameters_of()
    after = parameters_of("training.learning_rate=0.5")
    assert {task for task in before if before[task] != after[task]} == {"Trainer", "RunReport"}


def test_ingest_is_never_cached_and_others_as_configured(rich) -> None:
    caching = {task: body["cachingOptions"] for task, body in rich[1]["root"]["dag"]["tasks"].items()}
    uncached = {task for task, options in caching.items() if options == {"enableCache": False}}
    assert uncached == {"InteractionIngest", "RetrievalEvaluator"}
    assert all(options == {"enableCache": True} for task, options in caching.items() if task not in uncached)


def test_retries_outlast_every_attempt(rich) -> None:
    tasks = rich[1]["root"]["dag"]["tasks"]
    policy = tasks["UserTransform"]["retryPolicy"]
    # 4 attempts of 600 s, waits of 10, 30 and 90 s, and a day for pods that wait for a node.
    assert policy == {
        "maxRetryCount": 3,
        "backoffDuration": "10s",
        "backoffFactor": 3.0,
        "backoffMaxDuration": f"{4 * 600 + 130 + 86_400}s",
    }
    assert "retryPolicy" not in tasks["RetrievalEvaluator"]


def test_containers_have_image_command_environment_and_resources(rich) -> None:
    _, spec, _ = rich
    trainer, transform = container(spec, "Trainer"), container(spec, "UserTransform")
    assert trainer["image"] == "registry.example/dssm:1-gpu"
    assert transform["image"] == "registry.example/dssm:1"
    assert trainer["resources"] == {
        "cpuLimit": 7.5,
        "resourceCpuLimit": "7.5",
        "memoryLimit": 28.0,
        "resourceMemoryLimit": "28G",
        "accelerator": {
            "type": "nvidia.com/gpu",
            "count": "2",
            "resourceType": "nvidia.com/gpu",
            "resourceCount": "2",
        },
    }
    assert transform["resources"] == {
        "cpuLimit": 2.0,
        "resourceCpuLimit": "2",
        "memoryLimit": 3.0,
        "resourceMemoryLimit": "3G",
    }
    for step in spec["components"]:
        body = container(spec, step)
        assert body["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]
        # A Trainer that was given GPUs must not fall back to the CPU.
        gpus = [{"name": "DSSM_REQUIRED_GPUS", "value": "2"}] if step == "Trainer" else []
        assert body["env"] == [{"name": "AWS_ENDPOINT_URL_S3", "value": "http://minio:9000"}, *gpus]
        assert "lifecycle" not in body
    assert container(spec, "Trainer")["args"][1] == "components.tower_trainer.executor.TowerTrainerExecutor"


def test_accelerators_of_the_trainer_are_its_replicas(rich) -> None:
    parameters = rich[1]["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    config = json.loads(parameters["trainer_config"]["runtimeValue"]["constant"])
    assert config["training"]["replicas"] == 2
    assert config["training"]["per_replica_batch"] == 512


def test_platform_document_covers_every_executor(rich) -> None:
    _, spec, platform = rich
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    trainer = executors[spec["components"]["Trainer"]["executorLabel"]]
    assert trainer["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert [mount["mountPath"] for mount in trainer["pvcMount"]] == ["/c"]
    for body in executors.values():
        assert body["activeDeadlineSeconds"] == 600
        assert body["secretAsEnv"][0]["keyToEnv"] == [
            {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "secretkey"}
        ]
        assert body["fieldPathAsEnv"][0]["name"] == "DSSM_RUN_ID"


@pytest.mark.parametrize(
    "override",
    [
        "data.directory=s3://AKIA:hunter2@bucket/tables",
        "kubeflow.environment={PROXY: 'http://me:hunter2@proxy:80'}",
        "beam.options=['--endpoint=https://me:hunter2@flink']",
    ],
)
def test_a_credential_in_a_uri_is_refused(compiler, override: str) -> None:
    config = load_config(SHIPPED, (override,))
    with pytest.raises(ConfigError, match=r"A URI with a user name or a password, on '") as error:
        compiler.compile_pipeline(config, config.load_features())
    assert "hunter2" not in str(error.value)


def test_compiling_twice_in_one_process_changes_nothing(compiler, rich) -> None:
    config = load_config(SHIPPED, RICH)
    assert compiler.compile_pipeline(config, config.load_features()) == rich[0]


@pytest.fixture(scope="module")
def retraining(compiler: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    # A task of this name would be refused; that of the run has one of its own.
    name = "run.name=2024-shop"
    more = (name, "training.cold_every=7", "kubeflow.steps.RetrainingEnd.cpu=0.5")
    config = load_config(SHIPPED, (*RICH, *more))
    text = compiler.compile_pipeline(config, config.load_features(), retraining=True)
    check_spec(text)
    assert len(text) < MAX_BYTES
    spec, platform = yaml.safe_load_all(text)
    return spec, platform


def test_a_retraining_is_the_run_where_something_is_new(retraining, rich) -> None:
    spec, run = retraining[0], rich[1]
    components, tasks = spec["components"], spec["root"]["dag"]["tasks"]
    assert set(tasks) == {"exit-handler-1", "retrainingend"}
    end = tasks["retrainingend"]
    assert end["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert end["dependentTasks"] == ["exit-handler-1"]
    planned = components["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(planned) == {"retrainingplan", "condition-2"}
    assert (
        planned["condition-2"]["triggerPolicy"]["condition"]
        == "inputs.parameter_values['pipelinechannel--retrainingplan-is_due'] == 'yes'"
    )
    due = components["comp-condition-2"]["dag"]["tasks"]
    assert set(due) == {"run", "condition-3"}
    assert due["condition-3"]["dependentTasks"] == ["run"]
    assert (
        due["condition-3"]["triggerPolicy"]["condition"]
        == "inputs.parameter_values['pipelinechannel--retrainingplan-compares'] == 'yes'"
    )
    [(name, again)] = components["comp-condition-3"]["dag"]["tasks"].items()
    task = due["run"]
    assert (name, again["componentRef"]) == ("run-2", task["componentRef"])
    second = again["inputs"]["parameters"]
    assert second.pop("start") == {"runtimeValue": {"constant": "cold"}}
    assert {key: source["componentInputParameter"].split("-")[-1] for key, source in second.items()} == {
        key: source["componentInputParameter"].split("-")[-1]
        for key, source in task["inputs"]["parameters"].items()
        if key != "start"
    }
    window = {key: source["componentInputParameter"] for key, source in task["inputs"]["parameters"].items()}
    assert window["window_from"] == "pipelinechannel--retrainingplan-planned_from"
    assert window["epochs"] == "pipelinechannel--epochs"
    assert set(window) == set(run["root"]["inputDefinitions"]["parameters"])
    inner = components["comp-run"]["dag"]["tasks"]
    trainer = run["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    assert inner["Trainer"]["inputs"]["parameters"].keys() == trainer.keys()
    assert set(edges_of_spec({"root": components["comp-run"]})) == EDGES


def test_a_retraining_has_the_parameters_and_settings_of_the_run(retraining, rich) -> None:
    (spec, platform), (_, run, _) = retraining, rich
    parameters, of_run = (one["root"]["inputDefinitions"]["parameters"] for one in (spec, run))
    assert parameters.keys() == of_run.keys()
    for name, body in of_run.items():
        assert body.items() <= parameters[name].items()
    assert spec["defaultPipelineRoot"] == "s3://bucket/pipelines"
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    for step in set(run["components"]) - {"Trainer"}:
        assert container(spec, step) == container(run, step)
    assert container(spec, "Trainer")["resources"] == container(run, "Trainer")["resources"]
    for step in ("comp-retrainingplan", "comp-retrainingend"):
        body = container(spec, step)
        assert body["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]
        assert body["image"] == "registry.example/dssm:1"
        assert body["env"] == [{"name": "AWS_ENDPOINT_URL_S3", "value": "http://minio:9000"}]
    assert container(spec, "comp-retrainingend")["resources"]["cpuLimit"] == 0.5
    tasks = {**spec["root"]["dag"]["tasks"], **spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]}
    for step in ("retrainingplan", "retrainingend"):
        assert tasks[step]["cachingOptions"] == {"enableCache": False}
        assert tasks[step]["retryPolicy"]["maxRetryCount"] == 3
        constants = tasks[step]["inputs"]["parameters"]
        settings = json.loads(constants["settings"]["runtimeValue"]["constant"])
        assert settings["training"] == {"warm_start": True, "cold_every": 7}
        assert "kubeflow" not in settings


def test_vertex_gets_the_same_pipeline_as_json(compiler, rich) -> None:
    vertex = importlib.import_module("pipeline.kubeflow.vertex")
    config: PipelineConfig = load_config(SHIPPED, (*RICH, "kubeflow.pipeline_root=gs://bucket/root"))
    text = vertex.compile_for_vertex(config, config.load_features())
    job = json.loads(text)
    spec = job["pipelineSpec"]
    assert job["runtimeConfig"] == {"gcsOutputDirectory": "gs://bucket/root"}
    assert set(edges_of_spec(spec)) == EDGES
    assert spec["root"]["inputDefinitions"] == rich[1]["root"]["inputDefinitions"]
    assert container(spec, "Trainer")["resources"] == {
        "cpuLimit": 7.5,
        "memoryLimit": 28.0,
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "2"},
    }
    assert spec["root"]["dag"]["tasks"]["UserTransform"]["retryPolicy"]["backoffMaxDuration"] == "3600s"
    for word in ("platforms", "secretkey", "nvidia.com/gpu", "/host/only", str(Path.cwd())):
        assert word not in text


def test_a_missing_image_is_an_early_and_clear_error(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pipeline.cli import main
        try:
            main(sys.argv[1:])
        finally:
            print("tfx" in sys.modules)
        """
    )
    completed = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "compile",
            "--config",
            SHIPPED,
            "--set",
            "kubeflow={}",
            "--output",
            "p",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stderr.startswith("Error: kubeflow.image: expected the image that every step runs in")
    assert completed.stdout.split() == ["False"]
    assert not (tmp_path / "p").exists()
