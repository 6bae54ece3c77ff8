"""Drift between TFDV's statistics of two small sets of weighted tables, one of them kept with a release."""

import dataclasses
import json
import logging
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl

from components.anomaly_gate.config import SequenceDriftConfig
from components.anomaly_gate.drift import TrainSplit, compare_features, measure_drift
from components.anomaly_gate.logic import check_anomalies
from components.anomaly_gate.statistics import parse_statistics
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
  - {name: device, dtype: string, tower: context, encoding: {kind: vocabulary}, drift_threshold: 0.4}
"""
TYPES = {
    "user": pa.binary(), "plan": pa.binary(), "store": pa.int64(), "age": pa.int64(), "income": pa.float32(),
    "about": pa.binary(), "item": pa.binary(), "device": pa.binary(), "train_rows": pa.int64(),
    "validation_rows": pa.int64(),
}  # fmt: skip
# Train rows by plan: free 6 of 8, paid 2, then free 4, paid 2 and trial 2 of 8: the largest change is 1/4,
# of free and of trial. By store: 1 and 2 one half each, then 1 three quarters. By user: a 4/8 to 2/8.
# One user of each side has no train row: its income, plan and store count for nothing.
BEFORE = {
    "user": {
        "user": ["a", "b", "c", "z"],
        "plan": ["free", "free", "paid", "trial"],
        "store": [1, 2, 2, 9],
        "age": [20, 21, 22, 23],
        "income": [1.0, 2.0, 2.0, 1e6],
        "about": ["a b"] * 4,
        "train_rows": [4, 2, 2, 0],
        "validation_rows": [1, 0, 0, 5],
    },
    "item": {"item": ["x", "y"], "train_rows": [4, 4], "validation_rows": [0, 0]},
    "context": {"device": ["tv", "tv", "phone", "phone"]},
}
AFTER = {
    "user": {
        "user": ["a", "b", "c", "d", "z"],
        "plan": ["free", "free", "paid", "trial", "paid"],
        "store": [1, 1, 2, 1, 7],
        "age": [60, 61, 62, 63, 64],
        "income": [10.0, 10.0, 10.0, 10.0, 1.0],
        "about": ["c d"] * 5,
        "train_rows": [2, 2, 2, 2, 0],
        "validation_rows": [0] * 5,
    },
    "item": {"item": ["x", "y"], "train_rows": [4, 4], "validation_rows": [0, 0]},
    "context": {"device": ["tv", "tv", "tv", "phone"]},
}
# Users with 2 to 3 rows: half, then all. Days: 8 rows on 2 days, then on 4.
FIGURES_BEFORE = {
    "train_positives_per_user": {"edges": [1, 2, 4], "counts": [0, 2, 2]},
    "train_positives_per_item": {"edges": [1, 2, 4], "counts": [0, 0, 2]},
    "train_positives_per_day": {"2026-11-01": 4, "2026-11-02": 4},
}
FIGURES_AFTER = {
    "train_positives_per_user": {"edges": [1, 2, 4], "counts": [0, 4, 0]},
    "train_positives_per_item": {"edges": [1, 2, 4], "counts": [0, 0, 2]},
    "train_positives_per_day": {"2026-11-01": 7, "2026-11-04": 1},
}
SEQUENCE_DRIFT = SequenceDriftConfig(positives_per_user=0.3, positives_per_item=0.3, positives_per_day=1.5)
FILES = {"user": "user_statistics.pb", "item": "item_statistics.pb", "context": "context_statistics.pb"}


@pytest.fixture(scope="module")
def spec():
    return parse(FeatureSpec, parse_yaml(SPEC), "test")


def describe(spec, tables):
    """What StatisticsGen writes of each table."""
    found = {}
    for tower, columns in tables.items():
        batch = pa.record_batch(
            {
                name: pa.array([[value] for value in values], pa.list_(TYPES[name]))
                for name, values in columns.items()
            }
        )
        options = tfdv.StatsOptions(
            schema=build_schema(spec, tower), weight_feature=None if tower == "context" else "train_rows"
        )
        found[tower] = stats_impl.generate_statistics_in_memory(batch, options).SerializeToString()
    return found


def to_train_split(contents, figures):
    return TrainSplit({tower: parse_statistics(text, tower) for tower, text in contents.items()}, figures)


@pytest.fixture(scope="module")
def before(spec):
    return describe(spec, BEFORE)


@pytest.fixture(scope="module")
def after(spec):
    return to_train_split(describe(spec, AFTER), FIGURES_AFTER)


def push(serving: Path, contents, figures) -> Path:
    """Leave what a release keeps of its train split, and the manifest that leads there."""
    state = serving / "state" / "1"
    state.mkdir(parents=True)
    for tower, content in contents.items():
        (state / FILES[tower]).write_bytes(content)
    if figures is not None:
        (state / "sequence_figures.json").write_text(json.dumps(figures))
    manifest = {
        "version": 1, "created": "2026-11-22T10:00:00+00:00", "run_id": "run", "model_id": "m", "dim": 4,
        "temperature": 0.1, "items": 7, "schema_sha256": "00", "transform_sha256": "11", "metrics": {},
        "popularity": {}, "parts": {"state": {"path": "state/1", "files": {}}},
    }  # fmt: skip
    (serving / "releases" / "1").mkdir(parents=True)
    (serving / "releases" / "1" / "manifest.json").write_text(json.dumps(manifest))
    return serving


@pytest.fixture
def serving(tmp_path, before):
    return push(tmp_path / "serving", before, FIGURES_BEFORE)


CLEAN = {"users": [], "items": []}


def test_distances_are_those_worked_by_hand(spec, before, after):
    earlier = to_train_split(before, FIGURES_BEFORE).tables
    drifts = {drift.feature: drift for drift in compare_features(spec, after.tables, earlier)}
    # No threshold and no label: age; free text: about.
    assert set(drifts) == {"user", "plan", "store", "income", "item", "device"}
    values = {name: drift.value for name, drift in drifts.items()}
    # Incomes that count of the one and of the other have nothing in common: the divergence is 1, its largest.
    expected = {"user": 0.25, "plan": 0.25, "store": 0.25, "income": 1.0, "item": 0, "device": 0.25}
    assert values == pytest.approx(expected, abs=1e-6)
    assert drifts["plan"].measure == "L-infinity distance"
    assert drifts["income"].measure == "Jensen-Shannon divergence"
    assert {drift.table for drift in drifts.values()} == {"users", "items", "contexts"}
    assert {name for name, drift in drifts.items() if drift.is_too_large} == {"plan", "income"}
    same = compare_features(spec, after.tables, after.tables)
    assert [drift.value for drift in same] == pytest.approx([0.0] * 6, abs=1e-9)


def test_rows_of_weight_0_change_no_distance(spec, before, after):
    stranger = {
        "user": "s", "plan": "paid", "store": 33, "age": 99, "income": -1e9, "about": "", "train_rows": 0,
        "validation_rows": 3,
    }  # fmt: skip
    more = AFTER | {"user": {name: [*AFTER["user"][name], value] for name, value in stranger.items()}}
    earlier = to_train_split(before, FIGURES_BEFORE).tables
    with_stranger = to_train_split(describe(spec, more), FIGURES_AFTER).tables
    assert compare_features(spec, with_stranger, earlier) == compare_features(spec, after.tables, earlier)


def test_label_distances_are_those_of_a_table_with_a_row_for_each_train_row(spec, before, after):
    """TFDV's own comparison of the layout that has every interaction."""

    def expand(columns):
        rows = [row for row, weight in enumerate(columns["train_rows"]) for _ in range(weight)]
        names = ("user", "plan", "store")
        options = tfdv.StatsOptions(schema=build_schema(spec, "user"))
        batch = {
            name: pa.array([[columns[name][row]] for row in rows], pa.list_(TYPES[name])) for name in names
        }
        return stats_impl.generate_statistics_in_memory(pa.record_batch(batch), options)

    schema = build_schema(spec, "user")
    for entry in schema.feature:
        if entry.name in ("user", "plan", "store"):
            entry.drift_comparator.infinity_norm.threshold = 1.0
    found = tfdv.validate_statistics(
        expand(AFTER["user"]), schema, previous_statistics=expand(BEFORE["user"])
    )
    expected = {info.path.step[0]: info.drift_measurements[0].value for info in found.drift_skew_info}
    drifts = compare_features(spec, after.tables, to_train_split(before, FIGURES_BEFORE).tables)
    assert {drift.feature: drift.value for drift in drifts if drift.feature in expected} == pytest.approx(
        expected
    )
    assert set(expected) == {"user", "plan", "store"}


def test_drift_from_the_last_release_is_a_warning_or_stops_the_run(spec, after, serving, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    drift = measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))
    assert (drift.release, drift.note) == (1, "")
    found = check_anomalies(CLEAN, tmp_path / "report", drift)
    assert [(anomaly.table, anomaly.feature, anomaly.severity, anomaly.reason) for anomaly in found] == [
        ("users", "income", "WARNING", "DRIFT"),
        ("users", "plan", "WARNING", "DRIFT"),
        ("sequences", "positives_per_user", "WARNING", "DRIFT"),
        ("sequences", "positives_per_day", "WARNING", "DRIFT"),
    ]
    assert "The L-infinity distance from release 1 is 0.2500, above drift_threshold 0.2." in caplog.text
    # 4 rows a day on two days; 2 on four.
    assert (
        "The ratio of the means from release 1 is 2.0000, above gate.sequence_drift.positives_per_day 1.5."
        in caplog.text
    )
    report = json.loads((tmp_path / "report" / "anomaly_report.json").read_text())
    assert report["drift"]["release"] == 1
    assert [entry["feature"] for entry in report["drift"]["distances"]] == [
        "income", "device", "plan", "store", "user", "item",
        "positives_per_user", "positives_per_item", "positives_per_day",
    ]  # fmt: skip

    with pytest.raises(
        DataError, match=r"drifted too far from the current release \(4 found\)(.|\n)*gate\.fatal_drift"
    ):
        check_anomalies(CLEAN, tmp_path / "fatal", drift, fatal_drift=True)
    assert "DRIFT" in (tmp_path / "fatal" / "anomaly_report.json").read_text()


def test_without_thresholds_everything_is_reported_and_passes(spec, after, serving, tmp_path):
    features = tuple(dataclasses.replace(feature, drift_threshold=None) for feature in spec.features)
    drift = measure_drift(
        dataclasses.replace(spec, features=features), SequenceDriftConfig(), after, str(serving)
    )
    # Without a threshold the number is not compared.
    assert len(drift.distances) == 8
    assert check_anomalies(CLEAN, tmp_path / "report", drift, fatal_drift=True) == []


def test_data_like_those_of_the_last_release_pass(spec, before, serving, tmp_path):
    same = to_train_split(before, FIGURES_BEFORE)
    drift = measure_drift(spec, SEQUENCE_DRIFT, same, str(serving))
    assert check_anomalies(CLEAN, tmp_path / "report", drift, fatal_drift=True) == []


def test_without_a_release_or_its_statistics_nothing_is_compared_and_it_is_said(
    spec, after, serving, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    drift = measure_drift(spec, SEQUENCE_DRIFT, after, str(tmp_path / "empty"))
    assert (drift.release, drift.distances) == (None, ())
    assert check_anomalies(CLEAN, tmp_path / "report", drift, fatal_drift=True) == []
    assert "Drift not measured: no release yet" in caplog.text

    manifest = serving / "releases" / "1" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["parts"]["state"]
    manifest.write_text(json.dumps(content))
    drift = measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))
    assert "release 1 was pushed without the statistics" in drift.note


def test_a_release_of_the_older_layout_is_said_to_be_nothing_to_compare_with(spec, after, tmp_path):
    serving = push(tmp_path / "serving", {}, None)
    (serving / "state" / "1" / "train_statistics.pb").write_bytes(b"of every row")
    drift = measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))
    assert drift.distances == ()
    assert "release 1 keeps no statistics of its users and items" in drift.note


def test_what_the_last_release_did_not_have_is_named(spec, after, tmp_path):
    users = {name: values for name, values in BEFORE["user"].items() if name != "plan"}
    earlier = describe(spec, {"user": users, "item": BEFORE["item"]})
    serving = push(tmp_path / "serving", earlier, FIGURES_BEFORE)
    drift = measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))
    assert not {"plan", "device"} & {found.feature for found in drift.distances}
    assert drift.note == "release 1 has no comparable values of plan, device"


def test_it_is_the_distance_from_the_release_that_was_rolled_back_to(spec, after, serving):
    manifest = json.loads((serving / "releases" / "1" / "manifest.json").read_text())
    (serving / "releases" / "2").mkdir()
    (serving / "releases" / "2" / "manifest.json").write_text(
        json.dumps(manifest | {"version": 2, "parts": {}})
    )
    assert measure_drift(spec, SEQUENCE_DRIFT, after, str(serving)).release is None
    rollback = {"version": 1, "over": 2, "since": "2026-11-28T03:00:00+00:00", "reason": ""}
    (serving / "releases" / "current.json").write_text(json.dumps(rollback))
    assert measure_drift(spec, SEQUENCE_DRIFT, after, str(serving)).release == 1


def test_statistics_that_are_not_those_that_were_pushed_stop(spec, after, serving):
    file = serving / "releases" / "1" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["parts"]["state"]["hashes"] = {"sequence_figures.json": "00"}
    file.write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=r"state/1/sequence_figures\.json has another SHA-256"):
        measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))


@pytest.mark.parametrize("name", ["user_statistics.pb", "sequence_figures.json"])
def test_statistics_that_cannot_be_read_stop(spec, after, serving, name):
    file = serving / "state" / "1" / name
    for break_it in (lambda: file.write_bytes(b"\xff\xff no message"), file.unlink):
        break_it()
        with pytest.raises(ReleaseError, match="statistics of the current release cannot be read"):
            measure_drift(spec, SEQUENCE_DRIFT, after, str(serving))
