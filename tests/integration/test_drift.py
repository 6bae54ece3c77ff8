"""Drift between real TFDV statistics of two small train splits, one of them kept with a release."""

import json
import logging
import math
from pathlib import Path

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.anomaly_gate.drift import compare_statistics, measure_drift
from components.anomaly_gate.logic import check_anomalies
from components.tower_pusher.logic import PushInputs, push_release
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse
from schemas.yaml_files import parse_yaml

pytestmark = pytest.mark.integration

SPEC = """
name: shop
features:
  - {name: user, dtype: string, tower: user, role: user_id}
  - {name: plan, dtype: string, tower: user, encoding: {kind: vocabulary}, drift_threshold: 0.2}
  - {name: store, dtype: int, tower: user, encoding: {kind: hashed, buckets: 50}, drift_threshold: 0.6}
  - {name: age, dtype: int, tower: user, encoding: {kind: bucketize, buckets: 2}}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}, drift_threshold: 0.9}
  - {name: about, dtype: string, tower: user, encoding: {kind: text, buckets: 50}}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}
"""
USERS = [f"u{row}" for row in range(8)]
# Shares of plan: free 6/8, paid 2/8, then free 4/8, paid 2/8, trial 2/8. The largest change is 1/4, of free
# and of trial. Shares of store: 1 one half, 2 one half, then 1 three quarters, 2 one quarter.
BEFORE = {
    "user": USERS,
    "plan": ["free"] * 6 + ["paid"] * 2,
    "store": [1, 2] * 4,
    "age": range(20, 28),
    "income": [1.0] * 4 + [2.0] * 4,
    "about": ["a b"] * 8,
    "item": ["x", "y"] * 4,
}
AFTER = BEFORE | {
    "plan": ["free"] * 4 + ["paid"] * 2 + ["trial"] * 2,
    "store": [1, 1, 1, 2] * 2,
    "age": range(60, 68),
    "income": [10.0] * 8,
    "about": ["c d"] * 8,
}


@pytest.fixture(scope="module")
def spec():
    return parse(FeatureSpec, parse_yaml(SPEC), "test")


def describe(spec, rows):
    options = tfdv.StatsOptions(schema=build_schema(spec))
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame(rows), options, n_jobs=1)


@pytest.fixture(scope="module")
def before(spec):
    return describe(spec, BEFORE)


@pytest.fixture(scope="module")
def after(spec):
    return describe(spec, AFTER)


def push(base: Path, statistics) -> Path:
    """Release a model that was trained on data with these statistics."""
    files = {
        "model/user_tower/assets.extra/dssm_part.json": {"part": "user_tower"},
        "model/item_tower/assets.extra/dssm_part.json": {"part": "item_tower"},
        "model/model.json": {"dim": 2, "temperature": 0.1, "warm_start": None},
        "model/state/training_state.json": {},
        "index/dssm_part.json": {"part": "index", "dim": 2, "items": 3},
        "report/evaluation_report.json": {"metrics": {"recall_at_10": 0.5}, "popularity": {}},
        "schema/schema.json": {},
        "transform/graph.json": {},
    }
    for name, content in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(json.dumps(content | {"model_id": "m"}))
    (base / "statistics" / "Split-train").mkdir(parents=True)
    (base / "statistics" / "Split-train" / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    names = ("model", "index", "report", "schema", "transform", "statistics")
    push_release(PushInputs(*(base / name for name in names)), base / "serving", "run")
    return base / "serving"


@pytest.fixture
def serving(tmp_path, before):
    return push(tmp_path / "pushed", before)


@pytest.fixture
def clean_split(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies().SerializeToString())
    return {"train": tmp_path / "split"}


def test_distances_are_those_worked_by_hand(spec, before, after):
    drifts = {drift.feature: drift for drift in compare_statistics(spec, after, before)}
    # No threshold and no label: age; free text: about.
    assert set(drifts) == {"user", "plan", "store", "income", "item"}
    values = {name: drift.value for name, drift in drifts.items()}
    # Incomes of one data set and of the other have nothing in common: the divergence is 1, its largest.
    assert values == pytest.approx(
        {"user": 0, "plan": 0.25, "store": 0.25, "income": 1.0, "item": 0}, abs=1e-6
    )
    assert drifts["plan"].measure == "L-infinity distance"
    assert drifts["income"].measure == "Jensen-Shannon divergence"
    assert {name for name, drift in drifts.items() if drift.is_too_large} == {"plan", "income"}
    assert all(math.isclose(drift.value, 0, abs_tol=1e-9) for drift in compare_statistics(spec, after, after))


def test_drift_from_the_last_release_is_a_warning_or_stops_the_run(
    spec, after, serving, clean_split, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    drift = measure_drift(spec, after, str(serving))
    assert (drift.release, drift.note) == (1, "")
    found = check_anomalies(clean_split, tmp_path / "report", drift)
    assert [(anomaly.feature, anomaly.severity, anomaly.reason) for anomaly in found] == [
        ("income", "WARNING", "DRIFT"), ("plan", "WARNING", "DRIFT"),
    ]  # fmt: skip
    assert (
        "The L-infinity distance from release 1 is 0.2500, above the feature's drift_threshold 0.2."
        in caplog.text
    )
    report = json.loads((tmp_path / "report" / "anomaly_report.json").read_text())
    assert report["drift"]["release"] == 1
    assert {entry["feature"] for entry in report["drift"]["features"]} == {
        "user",
        "plan",
        "store",
        "income",
        "item",
    }

    with pytest.raises(
        DataError, match=r"drifted too far from the last release \(2 found\)(.|\n)*gate\.fatal_drift"
    ):
        check_anomalies(clean_split, tmp_path / "fatal", drift, fatal_drift=True)
    assert "DRIFT" in (tmp_path / "fatal" / "anomaly_report.json").read_text()


def test_data_like_those_of_the_last_release_pass(spec, before, serving, clean_split, tmp_path):
    drift = measure_drift(spec, before, str(serving))
    assert check_anomalies(clean_split, tmp_path / "report", drift, fatal_drift=True) == []


def test_without_a_release_or_its_statistics_nothing_is_compared_and_it_is_said(
    spec, after, serving, clean_split, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    drift = measure_drift(spec, after, str(tmp_path / "empty"))
    assert (drift.release, drift.features) == (None, ())
    assert check_anomalies(clean_split, tmp_path / "report", drift, fatal_drift=True) == []
    assert "Drift not measured: no release yet" in caplog.text

    manifest = serving / "releases" / "1" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["parts"]["state"]
    manifest.write_text(json.dumps(content))
    assert "release 1 was pushed without the statistics" in measure_drift(spec, after, str(serving)).note


def test_a_feature_that_the_last_release_did_not_have_is_named(spec, after, tmp_path):
    earlier = describe(spec, {name: values for name, values in BEFORE.items() if name != "plan"})
    drift = measure_drift(spec, after, str(push(tmp_path / "old", earlier)))
    assert "plan" not in {found.feature for found in drift.features}
    assert drift.note == "release 1 has no comparable values of plan"


def test_statistics_that_cannot_be_read_stop(spec, after, serving):
    file = serving / "state" / "1" / "train_statistics.pb"
    file.write_bytes(b"\xff\xff no message")
    with pytest.raises(ReleaseError, match="statistics of the last release cannot be read"):
        measure_drift(spec, after, str(serving))
    file.unlink()
    with pytest.raises(ReleaseError, match="statistics of the last release cannot be read"):
        measure_drift(spec, after, str(serving))
