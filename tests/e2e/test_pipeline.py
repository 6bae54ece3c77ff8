"""The whole pipeline through the console script, on synthetic data with two replicas."""

import json
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e

LOAD_TOWERS = """
import json, sys
sys.modules["keras"] = sys.modules["tf_keras"] = None
import numpy as np
import tensorflow as tf
serving, item = sys.argv[1], json.loads(sys.argv[2])
item_tower = tf.saved_model.load(f"{serving}/item_tower/1").signatures["serving_default"]
user_tower = tf.saved_model.load(f"{serving}/user_tower/1").signatures["serving_default"]
item = item_tower(
    item_id=tf.constant([item["item_id"]]), year=tf.constant([item["year"]], tf.int64),
    genres=tf.constant([[*item["genres"], ""]]),
)["embedding"]
user = user_tower(
    user_id=tf.constant(["never seen"]), age=tf.constant([30], tf.int64),
    gender=tf.constant(["F"]), occupation=tf.constant(["artist"]), history=tf.constant([[""] * 20]),
)["embedding"]
modules = [name for name, module in sys.modules.items() if module is not None]
answer = {"item": item.numpy().tolist(), "user": user.numpy().tolist(), "modules": modules}
print(json.dumps(answer))
"""


def test_run_shows_steps_progress_metrics_and_release(finished_run):
    screen = finished_run.screen
    for step in (
        "InteractionIngest", "FeatureSchema", "UserStatisticsGen", "ItemStatisticsGen",
        "UserExampleValidator", "ItemExampleValidator", "AnomalyGate", "UserTransform", "ItemTransform",
        "Trainer", "CandidateIndexer", "AnnIndexer", "RetrievalEvaluator", "TowerPusher", "RunReport",
    ):  # fmt: skip
        assert re.search(rf"\[\d+/15\] {step} took", screen), step
    assert re.search(r"epoch 4/4.*examples/s", screen)
    assert re.search(r"^ +recall@10 +recall@50 +recall@100 ", screen, re.MULTILINE)
    for model in ("this model", "chance", "popularity", r"ALS \(implicit\)"):
        assert re.search(rf"^{model} +0\.\d+ +0\.\d+ ", screen, re.MULTILINE), model
    assert "serving/releases/1" in screen
    assert "Traceback" not in screen
    assert "WARNING" not in screen


def test_noise_is_in_the_log_file(finished_run):
    logs = (finished_run.workspace.directory / "runs" / "logs").glob("*.log")
    [log] = [log for log in logs if log.name in finished_run.screen]
    assert "INFO" in log.read_text()


def test_release_is_complete_and_of_one_training(finished_run):
    serving = finished_run.workspace.serving
    manifest = json.loads((serving / "releases/1/manifest.json").read_text())
    assert manifest["version"] == 1
    assert manifest["dim"] == 16
    embeddings = np.load(serving / "index/1/embeddings.npy")
    catalogue = pq.read_table(serving / "index/1/catalogue.parquet")
    items = pq.read_table(finished_run.workspace.directory / "data/items.parquet")
    assert sorted(catalogue["item_id"].to_pylist()) == sorted(items["item_id"].to_pylist())
    assert embeddings.shape == (items.num_rows, 16)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)
    assert {"title", "year"} <= set(catalogue.column_names)


def test_model_learns_the_planted_structure(finished_run):
    report = json.loads((finished_run.workspace.serving / "releases/1/manifest.json").read_text())
    assert report["metrics"]["recall_at_50"] > report["popularity"]["recall_at_50"]


def test_towers_load_with_tensorflow_alone_and_agree_with_the_index(finished_run, tmp_path):
    serving = finished_run.workspace.serving
    catalogue = pq.read_table(serving / "index/1/catalogue.parquet").to_pylist()
    row = next(number for number, item in enumerate(catalogue) if item["item_id"] == "i1")
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", LOAD_TOWERS, str(serving), json.dumps(catalogue[row])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    answer = json.loads(loaded.stdout.splitlines()[-1])
    for absent in ("tensorflow_transform", "tf_keras", "schemas", "trainer", "components", "tfx"):
        assert absent not in answer["modules"]
    embeddings = np.load(serving / "index/1/embeddings.npy")
    np.testing.assert_allclose(answer["item"][0], embeddings[row], atol=1e-5)
    assert np.isfinite(answer["user"]).all()
    assert np.linalg.norm(answer["user"]) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(answer["item"]) == pytest.approx(1.0, abs=1e-5)


def test_each_tower_carries_only_the_vocabularies_it_reads(finished_run):
    serving = finished_run.workspace.serving
    user_assets = {path.name for path in (serving / "user_tower/1/assets").iterdir()}
    item_assets = {path.name for path in (serving / "item_tower/1/assets").iterdir()}
    assert not [name for name in user_assets if "genres" in name]
    assert [name for name in user_assets if "item_id" in name]
    assert not [name for name in item_assets if "user_id" in name or "occupation" in name]
    assert [name for name in item_assets if "genres" in name]


def test_second_run_reuses_every_step_that_did_not_change(finished_run):
    completed = finished_run.workspace.run("evaluation.blessing_minimum=1.0")
    assert completed.returncode == 3, completed.stdout + completed.stderr
    assert "Nothing was released" in completed.stdout
    # The very same model: no user sees anything else.
    assert re.search(
        r"Rule kept: \S+ is not worse than that of release 1 by more .*: 0\.0000", completed.stdout
    )
    assert "epoch" not in completed.stdout
    assert completed.stdout.count("interactions read") == 1  # The report at the end; the ingest did not run.
    releases = finished_run.workspace.serving / "releases"
    assert [path.parent.name for path in releases.glob("*/manifest.json")] == ["1"]


def test_runs_and_releases_can_be_listed_and_compared(finished_run):
    runs = finished_run.workspace.dssm("runs", *finished_run.set_options)
    assert runs.returncode == 0, runs.stderr
    assert "released" in runs.stdout
    compared = finished_run.workspace.dssm("compare", "release:1", "last", *finished_run.set_options)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert re.search(r"recall@10 +(0\.\d+) +\1 ", compared.stdout)


def test_the_report_page_shows_the_verdict_of_the_run(finished_run):
    shown = finished_run.workspace.dssm("report", *finished_run.set_options)
    assert shown.returncode == 0, shown.stderr
    [page] = re.findall(r"\S+report\.html", shown.stdout)
    assert "recall@10" in (finished_run.workspace.directory / page).read_text().lower()


def test_a_changed_threshold_or_display_neither_transforms_nor_trains(finished_run, repository, tmp_path):
    text = (repository / "schemas/movielens_100k.yaml").read_text()
    changed = text.replace("display: [title, year]", "display: [year]").replace(
        "values: [F, M]", "values: [F, M], drift_threshold: 0.5"
    )
    assert changed.count("drift_threshold: 0.5") == 1
    assert "display: [year]" in changed
    (tmp_path / "changed.yaml").write_text(changed)
    artifacts = finished_run.workspace.directory / "runs" / "artifacts"

    def count_executions() -> dict[str, int]:
        return {step.name: len(list(step.glob("*/*/"))) for step in artifacts.iterdir()}

    before = count_executions()
    completed = finished_run.workspace.run(
        f"data.schema={tmp_path}/changed.yaml", f"serving.directory={tmp_path}/serving"
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    after = count_executions()
    # The gate and the pusher run anew in every run.
    assert {step for step in after if after[step] > before[step]} == {
        "AnomalyGate", "CandidateIndexer", "AnnIndexer", "RetrievalEvaluator", "TowerPusher",
        "RunReport",
    }  # fmt: skip
    catalogue = pq.read_table(tmp_path / "serving/index/1/catalogue.parquet")
    assert "title" not in catalogue.column_names


def test_one_changed_byte_of_the_input_executes_every_step_again(finished_run):
    file = finished_run.workspace.directory / "data/interactions.parquet"
    original = file.read_bytes()
    # Of the name of the program that wrote the file: the rows are the same, their content's hash is not.
    assert original.count(b"parquet-cpp") == 1
    file.write_bytes(original.replace(b"parquet-cpp", b"Parquet-cpp"))
    try:
        completed = finished_run.workspace.run("evaluation.blessing_minimum=1.0")
    finally:
        file.write_bytes(original)
    assert completed.returncode == 3, completed.stdout + completed.stderr
    assert completed.stdout.count("interactions read") == 2
    assert "epoch 4/4" in completed.stdout


def test_recommends_to_a_known_user(finished_run):
    completed = finished_run.workspace.dssm(
        "recommend", *finished_run.set_options, "--user", "u7", "--k", "5"
    )
    assert completed.returncode == 0, completed.stderr
    titles = pq.read_table(finished_run.workspace.directory / "data/items.parquet")["title"].to_pylist()
    assert sum(title in completed.stdout for title in titles) >= 5


def test_recommends_to_a_user_never_seen(finished_run):
    completed = finished_run.workspace.dssm(
        "recommend",
        *finished_run.set_options,
        "--feature",
        "age=30",
        "--history",
        "i3",
        "--history",
        "i5",
        "--k",
        "5",
    )
    assert completed.returncode == 0, completed.stderr
    ranked = re.findall(r"^(\d+) +-?\d\.\d+ +(i\d+) +Film i\d+", completed.stdout, re.MULTILINE)
    assert [rank for rank, _ in ranked] == ["1", "2", "3", "4", "5"]
    assert not {"i3", "i5"} & {item for _, item in ranked}


def test_anomalous_data_stop_at_the_gate_with_a_readable_list(workspace, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("interactions", "items"):
        (data / f"{name}.parquet").symlink_to(workspace.directory / "data" / f"{name}.parquet")
    users = pq.read_table(workspace.directory / "data/users.parquet")
    position = users.column_names.index("gender")
    wrong = ["X", *users["gender"].to_pylist()[1:]]
    pq.write_table(users.set_column(position, "gender", [wrong]), data / "users.parquet")
    completed = workspace.run(
        f"data.directory={data}", f"run.directory={tmp_path}/runs", f"serving.directory={tmp_path}/s"
    )
    assert completed.returncode == 1
    assert "AnomalyGate" in completed.stderr
    assert "gender" in completed.stderr
    assert "Traceback" not in completed.stdout + completed.stderr
    assert not list((tmp_path / "s").rglob("manifest.json"))


def test_a_log_alone_is_enough(workspace, tmp_path):
    (tmp_path / "data").mkdir()
    log = workspace.directory / "data/interactions.parquet"
    (tmp_path / "data/interactions.parquet").symlink_to(log)
    (tmp_path / "log.yaml").write_text(
        "name: log\n"
        "history: {length: 10}\n"
        "features:\n"
        "  - {name: user_id, dtype: string, tower: user, role: user_id}\n"
        "  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}\n"
    )
    places = {"data.schema": "log.yaml", "data.directory": "data", "run.directory": "runs"}
    places |= {"serving.directory": "serving"}
    overrides = [f"{key}={tmp_path / name}" for key, name in places.items()]
    completed = workspace.run(*overrides, "training.epochs=1")
    assert completed.returncode == 0, completed.stdout + completed.stderr

    items = set(pq.read_table(log)["item_id"].to_pylist())
    catalogue = pq.read_table(tmp_path / "serving/index/1/catalogue.parquet")
    assert catalogue.column_names == ["item_id"]
    assert catalogue["item_id"].to_pylist() == sorted(items)
    options = [part for override in overrides for part in ("--set", override)]
    answer = workspace.dssm("recommend", *options, "--user", "u7", "--k", "5")
    assert answer.returncode == 0, answer.stderr
    ranked = re.findall(r"^\d+ +-?\d\.\d+ +(i\d+)$", answer.stdout, re.MULTILINE)
    assert len(set(ranked)) == 5
    assert set(ranked) <= items
    refreshed = workspace.dssm("refresh-index", *options)
    assert refreshed.returncode == 1
    assert "Expected an item table" in refreshed.stderr
