import json
import logging
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.anomaly_gate.logic import check_anomalies
from schemas.errors import DataError

pytestmark = pytest.mark.unit


def write_anomalies(folder: Path, **content: anomalies_pb2.AnomalyInfo) -> Path:
    anomalies = anomalies_pb2.Anomalies()
    for feature, info in content.items():
        anomalies.anomaly_info[feature].CopyFrom(info)
    folder.mkdir(parents=True)
    (folder / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    return folder


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
    splits = {"train": write_anomalies(tmp_path / "a"), "eval": write_anomalies(tmp_path / "b")}
    assert check_anomalies(splits, tmp_path / "out") == []
    report = json.loads((tmp_path / "out" / "anomaly_report.json").read_text())
    assert report == {"splits": ["train", "eval"], "anomalies": []}


def test_every_error_of_every_split_is_in_the_message_and_the_report(tmp_path: Path) -> None:
    splits = {
        "train": write_anomalies(
            tmp_path / "a", age=anomaly(ERROR, TOO_BIG), gender=anomaly(ERROR, UNEXPECTED)
        ),
        "eval": write_anomalies(
            tmp_path / "b", gender=anomaly(ERROR, UNEXPECTED), zip=anomaly(WARNING, UNEXPECTED)
        ),
    }
    with pytest.raises(DataError) as caught:
        check_anomalies(splits, tmp_path / "out")
    assert str(caught.value).splitlines()[:-1] == [
        "The data do not fit the schema (3 found):",
        "  - train, age: Unexpectedly high value: 200. [INT_TYPE_BIG_INT]",
        "  - train, gender: values missing from the schema: X [ENUM_TYPE_UNEXPECTED_STRING_VALUES]",
        "  - eval, gender: values missing from the schema: X [ENUM_TYPE_UNEXPECTED_STRING_VALUES]",
    ]
    report = json.loads((tmp_path / "out" / "anomaly_report.json").read_text())
    assert report["anomalies"][0] == {
        "split": "train",
        "feature": "age",
        "severity": "ERROR",
        "reason": "INT_TYPE_BIG_INT",
        "description": "Unexpectedly high value: 200.",
    }
    assert [(a["split"], a["feature"], a["severity"]) for a in report["anomalies"]] == [
        ("train", "age", "ERROR"),
        ("train", "gender", "ERROR"),
        ("eval", "gender", "ERROR"),
        ("eval", "zip", "WARNING"),
    ]


def test_a_warning_passes_and_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dssm.progress")
    splits = {"train": write_anomalies(tmp_path / "a", zip=anomaly(WARNING, UNEXPECTED))}
    assert [found.feature for found in check_anomalies(splits, tmp_path / "out")] == ["zip"]
    assert "train, zip: values missing from the schema: X" in caplog.text


def test_each_reason_of_a_feature_is_listed_and_one_without_reason_does_not_vanish(tmp_path: Path) -> None:
    splits = {
        "train": write_anomalies(
            tmp_path / "a", a=anomaly(WARNING, TOO_BIG, UNEXPECTED), b=anomaly(WARNING, description="Odd.")
        )
    }
    found = check_anomalies(splits, tmp_path / "out")
    assert [(a.feature, a.description) for a in found] == [
        ("a", "values missing from the schema: X"), ("a", "Unexpectedly high value: 200."), ("b", "Odd."),
    ]  # fmt: skip


def test_a_split_without_rows_stops(tmp_path: Path) -> None:
    folder = write_anomalies(tmp_path / "a")
    (folder / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies(data_missing=True).SerializeToString())
    with pytest.raises(DataError, match=r"eval, \(whole split\): The split has no rows"):
        check_anomalies({"eval": folder}, tmp_path / "out")


def test_an_anomaly_of_the_whole_split_stops(tmp_path: Path) -> None:
    folder = write_anomalies(tmp_path / "a")
    low = (anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES, "Too few rows.")
    message = anomalies_pb2.Anomalies(dataset_anomaly_info=anomaly(ERROR, low))
    (folder / "SchemaDiff.pb").write_bytes(message.SerializeToString())
    with pytest.raises(
        DataError, match=r"train, \(whole split\): Too few rows\. \[DATASET_LOW_NUM_EXAMPLES\]"
    ):
        check_anomalies({"train": folder}, tmp_path / "out")


def test_a_gate_that_sees_nothing_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing was validated"):
        check_anomalies({}, tmp_path / "out")
    with pytest.raises(DataError, match=r"Expected the anomalies of split 'train' in .*SchemaDiff\.pb"):
        check_anomalies({"train": tmp_path}, tmp_path / "out")
    (tmp_path / "SchemaDiff.pb").write_bytes(b"\xff\xff no message")
    with pytest.raises(DataError, match=r"Expected the anomalies of split 'train' in .*SchemaDiff\.pb"):
        check_anomalies({"train": tmp_path}, tmp_path / "out")
