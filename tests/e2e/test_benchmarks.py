"""Every benchmark still runs: --quick, on tiny data."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

QUALITY_RIVALS = ("popularity", "recent_popularity", "item_knn", "markov", "ease", "als")
QUALITY_FIGURES = {
    f"{prefix}{metric}"
    for prefix in ("", *(f"{rival}_" for rival in QUALITY_RIVALS))
    for metric in ("recall_at_10", "recall_at_100", "ndcg_at_10", "ndcg_at_100")
} | {f"ndcg_at_100_vs_{rival}" for rival in QUALITY_RIVALS}


@pytest.fixture
def run_quick(repository, tmp_path) -> Callable[[str], dict[str, Any]]:
    """Run a benchmark on tiny data, and return what it wrote."""

    def run(name: str) -> dict[str, Any]:
        file = tmp_path / "figures.json"
        completed = subprocess.run(
            [sys.executable, repository / "benchmarks" / name, "--quick", "--json", file],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        document = json.loads(file.read_text())
        figures = document["figures"].values()
        # What must not happen at all is nought where all is well.
        assert all(figure["value"] > 0.0 or figure["bar"] == 0.0 for figure in figures)
        return document

    return run


def bars_of(document: dict[str, Any]) -> dict[str, float]:
    return {name: figure["bar"] for name, figure in document["figures"].items() if figure["bar"] is not None}


def test_quality_runs_and_agrees_with_the_report(run_quick):
    document = run_quick("quality.py")
    assert set(document["figures"]) == QUALITY_FIGURES
    raw = document["raw"]
    # What is not measured is named, with the reason.
    assert raw["not_run"] == ["personal_frequency", "tfrs", "sasrec", "gsasrec"]
    assert all(raw["chosen"][name].startswith(("not run: ", "not computed: ")) for name in raw["not_run"])
    assert raw["chosen"]["ease"].startswith("l2 weight ")
    interval = raw["intervals"]["this pipeline"]["recall_at_100"]
    assert interval["low"] < interval["value"] < interval["high"]
    assert {"cpu", "cores", "memory_gib"} <= set(document["machine"])
    assert "tensorflow" in document["versions"]


def test_ingest_runs_and_makes_the_arrow_programs_sequences(run_quick):
    document = run_quick("ingest.py")
    assert bars_of(document) == {
        "ingest_vs_csv_example_gen": 8.0,
        "ingest_vs_arrow": 0.5,
        "bytes_per_interaction_10m": 400.0,
    }
    assert document["figures"]["bytes_per_interaction_10m"]["at_most"]
    assert {"disk_bytes_per_interaction_10m", "latest_per_user_10m"} <= set(document["figures"])
    assert {len(runs) for runs in document["raw"].values()} == {1}


def test_warm_start_runs_and_beats_a_cold_start(run_quick):
    document = run_quick("warm_start.py")
    figures = document["figures"]
    assert set(figures) == {"warm_start_recall_gain", "recall_at_50_warm", "recall_at_50_cold"}
    assert figures["warm_start_recall_gain"]["bar"] == 0.0
    assert figures["warm_start_recall_gain"]["value"] > 0.0
    # The vocabulary of the next day is another one.
    assert document["raw"]["items_new"][0] > 0


def test_training_runs_beside_tensorflow_recommenders(run_quick):
    document = run_quick("training.py")
    assert bars_of(document) == {
        "speed_vs_tfrs_512": 1.3,
        "speed_vs_tfrs_4096": 1.5,
        "memory_vs_tfrs_16384": 0.25,
        "big_table_adagrad": 0.85,
        "big_table_lazy_adam": 0.85,
        "files_vs_memory": 0.95,
    }
    assert document["figures"]["memory_vs_tfrs_16384"]["at_most"]
    assert 0.0 < document["figures"]["share_of_matmul_rate"]["value"] < 1.0
    assert document["versions"]["tensorflow-recommenders"] == "0.7.7"


def test_windows_run_beside_rows(run_quick):
    document = run_quick("windows.py")
    # One epoch each: whether windows reach the recall of rows is left to chance.
    bars = {"windows_step_vs_cheap_rows": 2.0, "windows_seconds_to_recall_vs_rows": 0.5}
    assert {"windows_step_vs_cheap_rows"} <= bars_of(document).keys() <= bars.keys()
    assert all(bars[name] == bar for name, bar in bars_of(document).items())
    assert {name: len(trainings) for name, trainings in document["raw"].items()} == {
        "windows": 1,
        "rows": 1,
        "cheap_rows": 1,
    }


def test_pipeline_runs_and_tells_of_every_step(run_quick):
    document = run_quick("pipeline.py")
    assert bars_of(document) == {
        "rest_vs_ingest_and_epoch_1m": 2.0,
        "rest_vs_ingest_and_epoch_10m": 0.35,
        "trainer_bytes_per_interaction": 40.0,
    }
    assert all(document["figures"][name]["at_most"] for name in bars_of(document))
    run = document["raw"]["1m"]
    assert run["step_seconds"].keys() == run["step_bytes"].keys() >= {"InteractionIngest", "UserTransform"}
    assert len(run["step_seconds"]) == 15
    # Two steps side by side and the process that forked them, each as large as the largest at most; it is
    # sampled, so a short peak can be missed.
    largest = max(run["step_bytes"].values())
    assert 0.8 * largest <= run["peak_bytes"] <= 3 * largest
    assert run["seconds"] > run["ingest_seconds"] + run["epoch_seconds"]


def test_evaluation_runs_beside_a_matrix_product(run_quick):
    document = run_quick("evaluation.py")
    assert bars_of(document) == {
        "evaluation_vs_blas": 0.5,
        "evaluation_memory_above_catalogue_gib": 1.0,
        "report_seconds_ml100k": 20.0,
    }
    assert set(document["raw"]["report"]) == {"RetrievalEvaluator", "RunReport"}
    assert document["figures"]["evaluation_memory_above_catalogue_gib"]["at_most"]
    # Each query is near its held-out item.
    [run] = document["raw"]["pipeline"]
    assert run["metrics"]["recall_at_100"] > 0.5
    assert len(document["raw"]["numpy"]) == 1


def test_ann_runs_beside_exact_search(run_quick):
    document = run_quick("ann.py")
    assert bars_of(document) == {"ann_recall_at_10": 0.95, "ann_speedup": 10.0}
    assert 0.5 < document["figures"]["ann_recall_at_10"]["value"] <= 1.0


def test_serving_runs_and_no_request_fails_while_releases_change(run_quick):
    document = run_quick("serving.py")
    assert bars_of(document) == {"serve_vs_in_process": 0.5, "failed_requests": 0.0, "ready_seconds": 10.0}
    assert document["figures"]["failed_requests"]["at_most"]
    assert document["figures"]["failed_requests"]["value"] == 0.0
    raw = document["raw"]
    assert [load["connections"] for load in raw["loads"]] == [1, 8, 64]
    assert [(change["change"], change["version"]) for change in raw["changes"]] == [
        ("push", 2), ("push", 3), ("rollback", 2),
    ]  # fmt: skip
    # Answers came from each of them.
    assert set(raw["load_during_changes"]["releases"]) == {"1", "2", "3"}
    assert raw["load_during_changes"]["failed"] == 0


def test_the_first_hour_runs_without_an_edit(run_quick):
    document = run_quick("first_hour.py")
    assert bars_of(document) == {"runs_that_ended": 1.0, "init_seconds": 10.0}
    assert document["figures"]["init_seconds"]["at_most"]
    assert {"init_seconds_parquet", "init_seconds_csv"} <= set(document["figures"])
    [shop] = document["raw"]["data_sets"].values()
    assert shop["problem"] == ""
    # The metric that decides, of the model and of what it is held against.
    assert shop["metric"]
    assert "popularity" in shop["baselines"]


def test_a_simulated_month_runs_and_no_day_is_wrong(run_quick):
    document = run_quick("retraining.py")
    assert bars_of(document) == {
        "warm_recall_vs_cold": 0.98,
        "warm_steps_vs_cold": pytest.approx(1 / 3),
        "days_wrong": 0.0,
        "runs_at_once": 0.0,
        "idle_seconds": 10.0,
        "above_frozen": 0.0,
        "above_frozen_lower": 0.0,
        "above_frozen_on_new_items": 0.0,
        "above_frozen_on_new_items_lower": 0.0,
    }
    assert document["figures"]["days_wrong"]["value"] == document["figures"]["runs_at_once"]["value"] == 0.0
    assert document["figures"]["warm_steps_vs_cold"]["value"] <= 1 / 3
    first, missing, last = document["raw"]["days"]
    assert "warm" not in missing
    assert last["warm"]["base"] == first["warm"]["release"] == 1
    # What comes before the training is the chain's; so are the queries.
    assert not {"InteractionIngest", "UserTransform", "ItemTransform"} & set(last["cold"]["executed"])
    assert last["cold"]["queries"] == last["warm"]["queries"]
