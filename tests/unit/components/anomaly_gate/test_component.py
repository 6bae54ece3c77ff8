import json
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel_utils, standard_artifacts

from components import Report
from components.anomaly_gate.component import AnomalyGate
from components.anomaly_gate.config import GateConfig
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, HashedEncoding

pytestmark = pytest.mark.unit

HASHED = HashedEncoding(kind="hashed", buckets=9)
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="u", dtype="string", tower="user", role="user_id", encoding=HASHED),
        Feature(name="i", dtype="string", tower="item", role="item_id", encoding=HASHED),
    ),
)


def make_gate(anomalies: Any, statistics: Any, **parameters: Any) -> AnomalyGate:
    return AnomalyGate(
        anomalies=channel_utils.as_channel([anomalies]),
        statistics=channel_utils.as_channel([statistics]),
        feature_spec=SPEC,
        config=GateConfig(),
        **parameters,
    )


def test_the_node_reads_every_split_and_stops_on_an_error(tmp_path: Path) -> None:
    anomalies, statistics = standard_artifacts.ExampleAnomalies(), standard_artifacts.ExampleStatistics()
    for artifact, name in ((anomalies, "anomalies"), (statistics, "statistics")):
        artifact.uri = str(tmp_path / name)
        artifact.split_names = '["train", "eval"]'
    report = Report()
    report.uri = str(tmp_path / "report")
    for split in ("train", "eval"):
        for name, file in (("anomalies", "SchemaDiff.pb"), ("statistics", "FeatureStats.pb")):
            (tmp_path / name / f"Split-{split}").mkdir(parents=True)
            (tmp_path / name / f"Split-{split}" / file).write_bytes(b"")
    node = make_gate(anomalies, statistics, serving_directory=str(tmp_path / "serving"), run_id="r")
    inputs = {"anomalies": [anomalies], "statistics": [statistics]}
    execute = node.executor_spec.executor_class().Do

    execute(inputs, {"report": [report]}, node.exec_properties)
    written = json.loads((tmp_path / "report" / "anomaly_report.json").read_text())
    note = "no release yet, so there is nothing to compare with"
    assert written == {
        "splits": ["train", "eval"],
        "anomalies": [],
        "drift": {"release": None, "features": [], "note": note},
    }

    found = anomalies_pb2.Anomalies()
    found.anomaly_info["age"].severity = anomalies_pb2.AnomalyInfo.ERROR
    found.anomaly_info["age"].description = "Too old."
    (tmp_path / "anomalies" / "Split-eval" / "SchemaDiff.pb").write_bytes(found.SerializeToString())
    with pytest.raises(DataError, match="eval, age: Too old"):
        execute(inputs, {"report": [report]}, node.exec_properties)


def test_the_node_declares_what_others_connect_to() -> None:
    parameters = {name: RuntimeParameter(name=name, ptype=str) for name in ("serving_directory", "run_id")}
    node = make_gate(
        standard_artifacts.ExampleAnomalies(), standard_artifacts.ExampleStatistics(), **parameters
    )
    assert node.id == "AnomalyGate"
    assert node.outputs["report"].type is Report
    assert {name: node.exec_properties[name] for name in parameters} == parameters
