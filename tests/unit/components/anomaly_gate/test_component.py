import json
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import channel_utils, standard_artifacts

from components import Report
from components.anomaly_gate.component import AnomalyGate
from schemas.errors import DataError

pytestmark = pytest.mark.unit


def test_the_node_reads_every_split_and_stops_on_an_error(tmp_path: Path) -> None:
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(tmp_path / "anomalies")
    anomalies.split_names = '["train", "eval"]'
    report = Report()
    report.uri = str(tmp_path / "report")
    for split in ("train", "eval"):
        (tmp_path / "anomalies" / f"Split-{split}").mkdir(parents=True)
        (tmp_path / "anomalies" / f"Split-{split}" / "SchemaDiff.pb").write_bytes(b"")
    node = AnomalyGate(anomalies=channel_utils.as_channel([anomalies]))
    execute = node.executor_spec.executor_class().Do

    execute({"anomalies": [anomalies]}, {"report": [report]}, node.exec_properties)
    written = json.loads((tmp_path / "report" / "anomaly_report.json").read_text())
    assert written == {"splits": ["train", "eval"], "anomalies": []}

    found = anomalies_pb2.Anomalies()
    found.anomaly_info["age"].severity = anomalies_pb2.AnomalyInfo.ERROR
    found.anomaly_info["age"].description = "Too old."
    (tmp_path / "anomalies" / "Split-eval" / "SchemaDiff.pb").write_bytes(found.SerializeToString())
    with pytest.raises(DataError, match="eval, age: Too old"):
        execute({"anomalies": [anomalies]}, {"report": [report]}, node.exec_properties)


def test_the_node_declares_what_others_connect_to() -> None:
    anomalies = standard_artifacts.ExampleAnomalies()
    node = AnomalyGate(anomalies=channel_utils.as_channel([anomalies]))
    assert node.id == "AnomalyGate"
    assert node.outputs["report"].type is Report
