"""Every benchmark still runs: --quick, on tiny data."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

QUALITY_FIGURES = {
    f"{prefix}{metric}"
    for prefix in ("", "popularity_", "itemknn_", "ease_", "als_", "bpr_")
    for metric in ("recall_at_10", "recall_at_100", "ndcg_at_100")
}


def test_quality_runs_and_agrees_with_the_report(repository, tmp_path):
    completed = subprocess.run(
        [
            sys.executable,
            repository / "benchmarks/quality.py",
            "--quick",
            "--json",
            tmp_path / "quality.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    document = json.loads((tmp_path / "quality.json").read_text())
    assert set(document["figures"]) == QUALITY_FIGURES
    assert all(0.0 < figure["value"] <= 1.0 for figure in document["figures"].values())
    assert {"cpu", "cores", "memory_gib"} <= set(document["machine"])
    assert "tensorflow" in document["versions"]


def test_ingest_runs_and_makes_the_arrow_programs_examples(repository, tmp_path):
    completed = subprocess.run(
        [sys.executable, repository / "benchmarks/ingest.py", "--quick", "--json", tmp_path / "ingest.json"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    document = json.loads((tmp_path / "ingest.json").read_text())
    bars = {name: figure["bar"] for name, figure in document["figures"].items() if figure["bar"] is not None}
    assert bars == {
        "ingest_vs_csv_example_gen": 8.0,
        "ingest_vs_arrow": 0.5,
        "ingest_history_vs_arrow": 0.5,
        "bytes_per_interaction_10m": 400.0,
    }
    assert document["figures"]["bytes_per_interaction_10m"]["at_most"]
    assert {"bytes_per_interaction_1m", "latest_per_user_with_history_10m"} <= set(document["figures"])
    assert all(figure["value"] > 0.0 for figure in document["figures"].values())
    assert {len(runs) for runs in document["raw"].values()} == {1}
