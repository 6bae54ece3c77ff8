import json
import logging
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components.anomaly_gate.logic import (
    Anomaly,
    check_anomalies,
    find_unexpected_values,
    read_anomalies,
)
from components.anomaly_gate.statistics import TableStatistics
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, VocabularyEncoding

pytestmark = pytest.mark.unit


def write_anomalies(folder: Path, **content: anomalies_pb2.AnomalyInfo) -> Path:
    anomalies = anomalies_pb2.Anomalies()
    for feature, info in content.items():
        anomalies.anomaly_info[feature].CopyFrom(info)
    folder.mkdir(parents=True)
    (folder / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    return folder


def check(folders: dict[str, Path], report: Path) -> list[Anomaly]:
    return check_anomalies({name: read_anomalies(name, folder) for name, folder in folders.items()}, report)


def anomaly(severity: int, *reasons: tuple[int, str], description: str = "") -> anomalies_pb2.AnomalyInfo:
    return anomalies_pb2.AnomalyInfo(
        severity=severity,
        description=description,
        reason=[anomalies_pb2.AnomalyInfo.Reason(type=kind, description=text) for kind, text in reasons],
    )


ERROR, WARNING = anomalies_pb2.AnomalyInfo.ERROR, anomalies_pb2.AnomalyInfo.WARNING
UNEXPECTED = (
    anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
    "values missing from the schema: X ",
)
TOO_BIG = (anomalies_pb2.AnomalyInfo.INT_TYPE_BIG_INT, "Unexpectedly high value: 200.")


def test_no_anomaly_passes_and_is_reported(tmp_path: Path) -> None:
    tables = {"users": write_anomalies(tmp_path / "a"), "items": write_anomalies(tmp_path / "b")}
    assert check(tables, tmp_path / "out") == []
    report = json.loads((tmp_path / "out" / "anomaly_report.json").read_text())
    assert report == {"tables": ["users", "items"], "anomalies": []}


def test_every_error_of_every_split_is_in_the_message_and_the_report(tmp_path: Path) -> None:
    tables = {
        "users": write_anomalies(
            tmp_path / "a", age=anomaly(ERROR, TOO_BIG), gender=anomaly(ERROR, UNEXPECTED)
        ),
        "items": write_anomalies(
            tmp_path / "b", gender=anomaly(ERROR, UNEXPECTED), zip=anomaly(WARNING, UNEXPECTED)
        ),
    }
    with pytest.raises(DataError) as caught:
        check(tables, tmp_path / "out")
    assert str(caught.value).splitlines()[:-1] == [
        "The data do not fit the schema (3 found):",
        "  - users, age: Unexpectedly high value: 200. [INT_TYPE_BIG_INT]",
        "  - users, gender: values missing from the schema: X [ENUM_TYPE_UNEXPECTED_STRING_VALUES]",
        "  - items, gender: values missing from the schema: X [ENUM_TYPE_UNEXPECTED_STRING_VALUES]",
    ]
    report = json.loads((tmp_path / "out" / "anomaly_report.json").read_text())
    assert report["anomalies"][0] == {
        "table": "users",
        "feature": "age",
        "severity": "ERROR",
        "reason": "INT_TYPE_BIG_INT",
        "description": "Unexpectedly high value: 200.",
    }
    assert [(a["table"], a["feature"], a["severity"]) for a in report["anomalies"]] == [
        ("users", "age", "ERROR"),
        ("users", "gender", "ERROR"),
        ("items", "gender", "ERROR"),
        ("items", "zip", "WARNING"),
    ]


def test_a_warning_passes_and_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dssm.progress")
    tables = {"users": write_anomalies(tmp_path / "a", zip=anomaly(WARNING, UNEXPECTED))}
    assert [found.feature for found in check(tables, tmp_path / "out")] == ["zip"]
    assert "users, zip: values missing from the schema: X" in caplog.text


def test_each_reason_of_a_feature_is_listed_and_one_without_reason_does_not_vanish(tmp_path: Path) -> None:
    tables = {
        "users": write_anomalies(
            tmp_path / "a", a=anomaly(WARNING, TOO_BIG, UNEXPECTED), b=anomaly(WARNING, description="Odd.")
        )
    }
    found = check(tables, tmp_path / "out")
    assert [(a.feature, a.description) for a in found] == [
        ("a", "values missing from the schema: X"), ("a", "Unexpectedly high value: 200."), ("b", "Odd."),
    ]  # fmt: skip


def test_a_table_without_rows_stops(tmp_path: Path) -> None:
    folder = write_anomalies(tmp_path / "a")
    (folder / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies(data_missing=True).SerializeToString())
    with pytest.raises(DataError, match=r"items, \(whole table\): There are no rows"):
        check({"items": folder}, tmp_path / "out")


def test_an_anomaly_of_the_whole_table_stops(tmp_path: Path) -> None:
    folder = write_anomalies(tmp_path / "a")
    low = (anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES, "Too few rows.")
    message = anomalies_pb2.Anomalies(dataset_anomaly_info=anomaly(ERROR, low))
    (folder / "SchemaDiff.pb").write_bytes(message.SerializeToString())
    with pytest.raises(
        DataError, match=r"users, \(whole table\): Too few rows\. \[DATASET_LOW_NUM_EXAMPLES\]"
    ):
        check({"users": folder}, tmp_path / "out")


def test_a_gate_that_sees_nothing_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing was validated"):
        check_anomalies({}, tmp_path / "out")
    with pytest.raises(DataError, match=r"Expected the anomalies of users in .*SchemaDiff\.pb"):
        read_anomalies("users", tmp_path)
    (tmp_path / "SchemaDiff.pb").write_bytes(b"\xff\xff no message")
    with pytest.raises(DataError, match=r"Expected the anomalies of users in .*SchemaDiff\.pb"):
        read_anomalies("users", tmp_path)


def test_unexpected_values_count_in_rows_of_weight_0_too() -> None:
    vocabulary = VocabularyEncoding(kind="vocabulary")
    spec = FeatureSpec(
        name="t",
        features=(
            Feature(name="u", dtype="string", tower="user", role="user_id", encoding=vocabulary),
            Feature(name="i", dtype="string", tower="item", role="item_id", encoding=vocabulary),
            Feature(name="kind", dtype="string", tower="item", values=("a", "b")),
            Feature(name="free", dtype="string", tower="item"),
        ),
    )
    message = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = message.datasets.add(weighted_num_examples=8.0)
    for name in ("kind", "free"):
        strings = dataset.features.add().string_stats
        dataset.features[-1].path.step.append(name)
        for label, rows, weight in (("a", 2, 8.0), ("z", 1, 0.0)):
            strings.rank_histogram.buckets.add(label=label, sample_count=rows)
            strings.weighted_string_stats.rank_histogram.buckets.add(label=label, sample_count=weight)
    statistics = TableStatistics(message)
    [found] = find_unexpected_values(spec, "item", statistics, [])
    assert (found.table, found.feature, found.severity) == ("items", "kind", "ERROR")
    assert found.description.endswith("with values missing from the schema: z.")
    # What TFDV found is not said twice.
    assert find_unexpected_values(spec, "item", statistics, [found]) == []
    assert find_unexpected_values(spec, "user", statistics, []) == []
    assert dict(statistics.count_labels("kind")) == {"a": 8.0}
