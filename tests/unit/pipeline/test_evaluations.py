import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluations import EvaluationError, read_evaluation
from pipeline.runs import RunError
from schemas.errors import ReleaseError

pytestmark = pytest.mark.unit

USERS = ["b", "a"]
METRICS = {"recall_at_10": [0.0, 1.0], "mrr_at_10": [0.0, 0.5]}


@pytest.fixture
def write_release(tmp_path):
    def write(version, has_state=True):
        parts = {"state": {"path": f"state/{version}", "files": {}}} if has_state else {}
        manifest = {
            "version": version, "created": "2026-11-22T10:00:00+00:00", "run_id": "run", "model_id": "m",
            "dim": 4, "temperature": 0.1, "items": 7, "schema_sha256": "00", "transform_sha256": "11",
            "metrics": {}, "popularity": {}, "parts": parts,
        }  # fmt: skip
        folder = tmp_path / "serving" / "releases" / str(version)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path / "serving" / "state" / str(version)

    return write


@pytest.fixture
def read(tmp_path):
    return lambda name: read_evaluation(name, tmp_path / "runs", str(tmp_path / "serving"))


@pytest.mark.parametrize("name", ["3", "release:3"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_of_a_release(write_release, write_evaluation, tmp_path, name, scheme):
    write_evaluation(write_release(3), USERS, METRICS)
    evaluation = read_evaluation(name, tmp_path / "runs", f"{scheme}{tmp_path}/serving")
    assert evaluation.name == "release 3"
    assert evaluation.report["run_id"] == "run of 3"
    assert evaluation.users.to_pylist() == USERS
    assert list(evaluation.metrics) == ["recall_at_10", "mrr_at_10"]
    np.testing.assert_array_equal(evaluation.metrics["mrr_at_10"], [0.0, 0.5])


@pytest.mark.parametrize("name", ["last", "20261128", "20261128T12"])
def test_of_a_run(run_directory, write_evaluation, tmp_path, read, name):
    report = write_evaluation(tmp_path / "report", USERS, METRICS)
    run_directory.add("20261128T120000.0Z", 1_000_000_000, ("RetrievalEvaluator", "COMPLETE", 1))
    run_directory.add_output("report", uri=report)
    evaluation = read(name)
    assert evaluation.name == "run 20261128T120000.0Z"
    assert evaluation.report["model_id"] == "report"


def test_a_run_that_failed_before_is_refused(run_directory, read):
    run_directory.add("r", 1_000_000_000, ("Trainer", "FAILED", 1))
    match = r"Run r has no evaluation: its status is 'failed in Trainer'\. .*`dssm runs`"
    with pytest.raises(EvaluationError, match=match):
        read("last")


def test_what_is_not_there_is_said(write_release, run_directory, read):
    write_release(3)
    with pytest.raises(ReleaseError, match=r"No release 4 in .*serving: its releases are 3\."):
        read("4")
    with pytest.raises(RunError, match=r"No run 'x'"):
        read("x")
    with pytest.raises(EvaluationError, match=r"release:three: expected a number after release:.*'three'"):
        read("release:three")


def test_a_release_of_an_earlier_version_is_refused(write_release, write_evaluation, read):
    write_release(1, has_state=False)
    with pytest.raises(
        EvaluationError, match=r"Release 1 has no evaluation: it has no state/\. .*earlier vers"
    ):
        read("1")
    write_release(2).mkdir(parents=True)
    missing = (
        r"Release 2 has no evaluation by user: expected evaluation_report\.json and per_user_metrics\.parquet"
    )
    with pytest.raises(EvaluationError, match=missing):
        read("2")
    folder = write_evaluation(write_release(3), USERS, METRICS)
    (folder / "per_user_metrics.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"Release 3 has no evaluation by user.*earlier versions"):
        read("3")


@pytest.mark.parametrize("name", ["evaluation_report.json", "per_user_metrics.parquet"])
def test_a_broken_file_is_named(write_release, write_evaluation, read, name):
    folder = write_evaluation(write_release(1), USERS, METRICS)
    (folder / name).write_bytes(b"PAR1{")
    with pytest.raises(EvaluationError, match=r"Cannot read the evaluation of release 1 in .*state/1: "):
        read("1")


def test_a_report_that_does_not_know_its_data_is_refused(write_release, write_evaluation, read):
    folder = write_evaluation(write_release(1), USERS, METRICS)
    (folder / "evaluation_report.json").write_text(json.dumps({"model_id": "m"}))
    with pytest.raises(EvaluationError, match="release 1 does not say which data"):
        read("1")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"recall": [0.5]}, r"expected a column 'user'\. Received: \['recall'\]"),
        ({"user": ["a", "a"], "recall": [0.5, 0.5]}, "expected each user once"),
        ({"user": ["a", None], "recall": [0.5, 0.5]}, "expected a value for each user in 'user'"),
        ({"user": ["a", "b"], "recall": [0.5, None]}, "expected a value for each user in 'recall'"),
        ({"user": ["a"], "recall": [float("nan")]}, "expected a value for each user in 'recall'"),
        ({"user": ["a"], "recall": ["high"]}, "expected a value for each user in 'recall'"),
    ],
)
def test_figures_that_cannot_be_joined_are_refused(write_release, write_evaluation, read, columns, match):
    folder = write_evaluation(write_release(1), USERS, METRICS)
    pq.write_table(pa.table(columns), folder / "per_user_metrics.parquet")
    with pytest.raises(EvaluationError, match=match):
        read("1")
