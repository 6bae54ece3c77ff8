"""The compiled pipeline, each task alone in a directory tree as KFP's launcher leaves it, to a release.

Tables, releases and checkpoints are on an S3 server, as docs/kubeflow.md has them.
"""

import contextlib
import io
import json

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e

SMALL = (
    "kubeflow.image=example/dssm:test",
    "kubeflow.pipeline_root=s3://bucket/pipelines",
    "kubeflow.secrets=[{name: s3, environment: {AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret}}]",
    # Where so little training beats popularity by far.
    "evaluation.blessing_metric=ndcg_at_10",
    "evaluation.blessing_minimum=0.0",
    "training.per_replica_batch=128",
    "training.epochs=9",
    "training.log_interval_steps=20",
    "training.warm_start=true",
    "training.checkpoint.interval_steps=60",
    "model.dim=16",
    "model.user_layers=[16]",
    "model.item_layers=[16]",
)
# Users and items have one of each kind; the tables have no context.
TASKS = {
    "InteractionIngest", "FeatureSchema", "UserStatisticsGen", "ItemStatisticsGen", "UserExampleValidator",
    "ItemExampleValidator", "AnomalyGate", "UserTransform", "ItemTransform", "Trainer", "CandidateIndexer",
    "AnnIndexer", "RetrievalEvaluator", "TowerPusher", "RunReport",
}  # fmt: skip
# Tasks that the second run's parameters reach; what the others made is taken over.
AFFECTED = ("Trainer", "CandidateIndexer", "AnnIndexer", "RetrievalEvaluator", "TowerPusher", "RunReport")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The file to which the last step of a retraining writes what people are told."""
    return tmp_path_factory.mktemp("told") / "events"


@pytest.fixture(scope="module")
def compile_small(workspace, tmp_path_factory, endpoint, told):
    server = f"kubeflow.environment={{AWS_ENDPOINT_URL_S3: {endpoint!r}, AWS_EC2_METADATA_DISABLED: 'true'}}"
    notify = f"retraining.notify={{on: [failure, refused, released], command: [tee, -a, {str(told)!r}]}}"

    def compile_with(*flags):
        file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
        options = [part for override in (*SMALL, server, notify) for part in ("--set", override)]
        completed = workspace.dssm("compile", *options, *flags, "--output", str(file))
        assert completed.returncode == 0, completed.stderr
        return file.read_text()

    return compile_with


@pytest.fixture(scope="module")
def compiled(compile_small):
    return compile_small()


@pytest.fixture(scope="module")
def retraining(compile_small):
    return compile_small("--retraining")


@pytest.fixture(scope="module")
def comparing(compile_small):
    """A retraining that trains a warm and a cold model each time, and blesses both."""
    every, *margins = (
        "training.cold_every=1", "evaluation.blessing_margin=1.0", "evaluation.blessing_slice_margin=1.0",
    )  # fmt: skip
    return compile_small(
        "--retraining", "--set", every, *(part for one in margins for part in ("--set", one))
    )


@pytest.fixture(scope="module")
def strict(compile_small):
    """A retraining whose gate refuses every model."""
    return compile_small("--retraining", "--set", "evaluation.blessing_minimum=1.0")


@pytest.fixture(scope="module")
def finished(kfp, compiled, workspace, module_bucket):
    for table in (workspace.directory / "data").iterdir():
        module_bucket.write(f"tables/{table.name}", table.read_bytes())
    parameters = {
        "data_directory": f"{module_bucket.uri}/tables", "serving_directory": f"{module_bucket.uri}/releases",
        "epochs": 4, "window_last_days": 18, "checkpoint_directory": f"{module_bucket.uri}/checkpoints",
    }  # fmt: skip
    return kfp.run(
        compiled,
        "run-1",
        parameters,
        tasks_in_2_14_form=("FeatureSchema", "AnomalyGate", "CandidateIndexer", "TowerPusher"),
        killed_in_first_attempt=("InteractionIngest",),
    )


def read_manifest(bucket, version):
    return json.loads(bucket.read(f"releases/releases/{version}/manifest.json"))


def read_model(run, kfp):
    uri = run.artifacts["Trainer", "model"]["uri"]
    return json.loads((kfp.store.locate(uri) / "Format-Serving/model.json").read_text())


def take_events(told):
    """Read what people were told since the last time."""
    text = told.read_text() if told.exists() else ""
    told.unlink(missing_ok=True)
    decoder, events = json.JSONDecoder(), []
    while text:
        event, end = decoder.raw_decode(text)
        events.append(event)
        text = text[end:]
    return events


@contextlib.contextmanager
def other_items(bucket):
    """Let the item table be another one for a while, as another upload is."""
    items = bucket.read("tables/items.parquet")
    written = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(items)), written, compression="none")
    bucket.write("tables/items.parquet", written.getvalue())
    try:
        yield
    finally:
        bucket.write("tables/items.parquet", items)


def test_every_task_runs_alone_to_a_pushed_release(finished, kfp, module_bucket):
    assert set(finished.records) == TASKS
    manifest = read_manifest(module_bucket, 1)
    assert (manifest["run_id"], manifest["version"]) == ("run-1", 1)
    assert manifest["model_id"] == read_model(finished, kfp)["model_id"]
    pushed = finished.artifacts["TowerPusher", "pushed_release"]["metadata"]
    assert (pushed["pushed"], pushed["version"]) == (1, 1)


def test_run_parameters_reach_the_tasks(finished, kfp):
    assert read_model(finished, kfp)["epochs"] == 4
    assert "epoch 4/4" in finished.records["Trainer"].log
    # 20 days from 2024-01-01 on, of which the last 18.
    assert finished.artifacts["InteractionIngest", "sequences"]["metadata"]["window_from"] == "2024-01-03"


def test_checkpoints_are_written_where_the_run_says_and_go_with_the_training(finished, module_bucket):
    assert any(key.endswith("/complete.json") for key in module_bucket.keys_ever("checkpoints/"))
    assert module_bucket.keys("checkpoints/") == []


def test_task_killed_in_its_first_attempt_is_retried(finished):
    assert finished.records["InteractionIngest"].attempts == 2
    assert {record.attempts for name, record in finished.records.items() if name != "InteractionIngest"} == {
        1
    }


def test_logs_show_progress_and_no_traceback(finished):
    assert "Pushed release 1" in finished.records["TowerPusher"].log
    for name, record in finished.records.items():
        assert "Traceback" not in record.log, name


def test_a_retraining_without_anything_new_trains_nothing(finished, kfp, retraining, told):
    run = kfp.run(retraining, "run-4", finished.parameters)
    assert set(run.records) == {"retrainingplan", "retrainingend"}
    assert run.outputs["retrainingplan", "is_due"] == "no"
    uri = run.artifacts["retrainingplan", "plan"]["uri"]
    assert "Nothing is new since release" in kfp.store.locate(uri).read_text()
    assert take_events(told) == []


def test_a_warm_model_is_trained_and_a_cold_one_after_it(finished, kfp, comparing, told, module_bucket):
    first = read_manifest(module_bucket, 1)
    taken_over = {key: value for key, value in finished.artifacts.items() if key[0] not in AFFECTED}
    parameters = {**finished.parameters, "epochs": 2, "checkpoint_directory": ""}
    with other_items(module_bucket):
        run = kfp.run(comparing, "run-2", parameters, artifacts=taken_over)
    again = {f"run-2/{task}" for task in AFFECTED}
    assert set(run.records) == {"retrainingplan", *AFFECTED, *again, "retrainingend"}
    [event] = take_events(told)
    assert (event["kind"], event["release"], event["run_id"]) == ("released", 3, "run-2")
    assert event["body"].count("Blessed: ndcg@10") == 2
    assert "Warm against cold on the same data: ndcg@10 " in event["body"]
    warm, cold = (read_manifest(module_bucket, version) for version in (2, 3))
    assert warm["run_id"] == cold["run_id"] == "run-2"
    assert len({first["model_id"], warm["model_id"], cold["model_id"]}) == 3
    assert read_model(run, kfp)["epochs"] == 2
    # In a pod of its own, from the state of the release that the first run pushed.
    assert (warm["warm_start"]["release"], warm["warm_start"]["model_id"]) == (1, first["model_id"])
    items = warm["warm_start"]["tables"]["item_id"]
    assert (items["new"], items["dropped"]) == (0, 0)
    assert items["kept"] > 100
    assert first["warm_start"] is cold["warm_start"] is None


def test_data_that_do_not_exist_fail_with_one_line(kfp, compiled, tmp_path):
    with pytest.raises(Exception, match="Error: InteractionIngestExecutor: ") as failure:
        kfp.run(compiled, "run-3", {"data_directory": str(tmp_path / "nothing")})
    assert "Traceback" not in str(failure.value)


def test_a_refused_model_is_told_and_not_trained_again(finished, kfp, strict, told, module_bucket):
    # Its training was seen in the first run.
    again = ("InteractionIngest", "FeatureSchema", "RetrievalEvaluator", "TowerPusher")
    made = {key: value for key, value in finished.artifacts.items() if key[0] not in again}
    with other_items(module_bucket):
        run = kfp.run(strict, "run-5", finished.parameters, artifacts=made)
        [event] = take_events(told)
        assert (event["kind"], event["run_id"]) == ("refused", "run-5")
        assert "ndcg@10" in event["body"].lower()
        idle = kfp.run(strict, "run-6", finished.parameters)
    assert set(run.records) == {"retrainingplan", *again, "retrainingend"}
    planned = {key: run.outputs["retrainingplan", key] for key in ("is_due", "planned_last_days")}
    assert planned == {"is_due": "yes", "planned_last_days": 18.0}
    assert run.artifacts["InteractionIngest", "sequences"]["metadata"]["window_from"] == "2024-01-03"
    assert set(idle.records) == {"retrainingplan", "retrainingend"}
    assert take_events(told) == []
    # What makes the next release a recovery.
    assert module_bucket.keys("releases/retraining/") == ["releases/retraining/run-5.json"]


def test_a_retraining_that_comes_to_no_verdict_has_failed(finished, kfp, retraining, told, module_bucket):
    # As where its steps were ended from outside.
    kfp.run(retraining, "run-7", finished.parameters, artifacts=dict(finished.artifacts))
    [event] = take_events(told)
    assert (event["kind"], event["run_id"]) == ("failure", "run-7")


def test_a_retraining_that_fails_tells_it(finished, kfp, retraining, told, tmp_path):
    parameters = {**finished.parameters, "data_directory": str(tmp_path / "nothing")}
    with pytest.raises(Exception, match="Error: RetrainingPlanExecutor: "):
        kfp.run(retraining, "run-8", parameters)
    [event] = take_events(told)
    assert event["kind"] == "failure"
    assert "did not begin: " in event["body"]
