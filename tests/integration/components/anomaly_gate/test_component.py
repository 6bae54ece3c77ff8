import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel_utils, standard_artifacts
from tfx.types.artifact import Artifact

from components import Report
from components.anomaly_gate.component import AnomalyGate
from components.anomaly_gate.config import GateConfig
from components.retrieval_evaluator.config import EvaluationConfig
from schemas.errors import ConfigError, DataError
from schemas.feature_parts import gate_part
from schemas.features import Feature, FeatureSpec, HashedEncoding, ItemTable
from schemas.strict_config import from_json

pytestmark = pytest.mark.integration

HASHED = HashedEncoding(kind="hashed", buckets=9)
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="u", dtype="string", tower="user", role="user_id", encoding=HASHED),
        Feature(name="i", dtype="string", tower="item", role="item_id", encoding=HASHED),
        Feature(name="kind", dtype="string", tower="item", values=("a",), drift_threshold=0.5),
        Feature(name="device", dtype="string", tower="context"),
    ),
)
SPLITS = {"user": ["all"], "item": ["all"], "context": ["train", "eval"]}


def make_inputs(folder: Path, *towers: str) -> dict[str, list[Artifact]]:
    inputs: dict[str, list[Artifact]] = {}
    kinds = {
        "anomalies": (standard_artifacts.ExampleAnomalies, "SchemaDiff.pb"),
        "statistics": (standard_artifacts.ExampleStatistics, "FeatureStats.pb"),
    }
    for tower in towers:
        for name, (artifact_type, file) in kinds.items():
            artifact = artifact_type()
            artifact.uri = str(folder / f"{tower}_{name}")
            artifact.split_names = json.dumps(SPLITS[tower])
            for split in SPLITS[tower]:
                (Path(artifact.uri) / f"Split-{split}").mkdir(parents=True)
                (Path(artifact.uri) / f"Split-{split}" / file).write_bytes(b"")
            inputs[f"{tower}_{name}"] = [artifact]
    report = Report()
    report.uri = str(folder / "ingest")
    (folder / "ingest").mkdir()
    none = {"edges": [1], "counts": [0]}
    figures = {
        "train_positives_per_user": none,
        "train_positives_per_item": none,
        "train_positives_per_day": {},
    }
    (folder / "ingest" / "ingest_report.json").write_text(
        json.dumps(
            {
                "sequence_figures": figures,
                "item_table_columns": ["i", "kind", "label"],
                "items": 40,
                "train_rows": 64,
            }
        )
    )
    return inputs | {"ingest_report": [report]}


def make_gate(
    inputs: dict[str, list[Artifact]],
    display: tuple[str, ...] = (),
    ks: tuple[int, ...] | None = None,
    minimum_train_rows: int = 64,
    **parameters: Any,
) -> AnomalyGate:
    channels = {name: channel_utils.as_channel(artifacts) for name, artifacts in inputs.items()}
    return AnomalyGate(
        **channels,
        feature_spec=SPEC,
        items=ItemTable(display=display),
        config=GateConfig(),
        evaluation_config=EvaluationConfig(ks=ks),
        minimum_train_rows=minimum_train_rows,
        **parameters,
    )


def test_the_node_reads_every_table_and_stops_on_an_error(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, "user", "item", "context")
    node = make_gate(inputs, serving_directory=str(tmp_path / "serving"), run_id="r")
    report = Report()
    report.uri = str(tmp_path / "report")
    execute = node.executor_spec.executor_class().Do

    execute(inputs, {"report": [report]}, node.exec_properties)
    written = json.loads((tmp_path / "report" / "anomaly_report.json").read_text())
    note = "no release yet, so there is nothing to compare with"
    assert written == {
        "tables": ["users", "items", "contexts (train)", "contexts (eval)"],
        "anomalies": [],
        "drift": {"release": None, "distances": [], "note": note},
    }

    found = anomalies_pb2.Anomalies()
    found.anomaly_info["device"].severity = anomalies_pb2.AnomalyInfo.ERROR
    found.anomaly_info["device"].description = "Too old."
    file = tmp_path / "context_anomalies" / "Split-eval" / "SchemaDiff.pb"
    file.write_bytes(found.SerializeToString())
    with pytest.raises(DataError, match=r"contexts \(eval\), device: Too old"):
        execute(inputs, {"report": [report]}, node.exec_properties)


def test_a_wrong_value_of_an_item_without_train_rows_stops(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, "user", "item")
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    feature = statistics.datasets.add(weighted_num_examples=8.0).features.add()
    feature.path.step.append("kind")
    feature.string_stats.rank_histogram.buckets.add(label="z", sample_count=1)
    file = tmp_path / "item_statistics" / "Split-all" / "FeatureStats.pb"
    file.write_bytes(statistics.SerializeToString())
    node = make_gate(inputs, serving_directory=str(tmp_path / "serving"), run_id="r")
    report = Report()
    report.uri = str(tmp_path / "report")
    with pytest.raises(DataError, match=r"items, kind: .*missing from the schema: z"):
        node.executor_spec.executor_class().Do(inputs, {"report": [report]}, node.exec_properties)


def test_a_column_to_show_that_the_item_table_does_not_have_stops(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, "user", "item")
    report = Report()
    report.uri = str(tmp_path / "report")
    for display in (("kind", "label"), ("kind", "lable")):
        node = make_gate(inputs, display, serving_directory=str(tmp_path / "serving"), run_id="r")
        wrong = "tables.items.display: expected .* i, kind, label. Received: 'lable'. Did you mean 'label'?"
        with pytest.raises(ConfigError, match=wrong) if "lable" in display else contextlib.nullcontext():
            node.executor_spec.executor_class().Do(inputs, {"report": [report]}, node.exec_properties)


def test_a_cut_off_that_no_item_can_miss_stops(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, "user", "item")
    report = Report()
    report.uri = str(tmp_path / "report")
    for ks in ((10, 39), (10, 40)):
        node = make_gate(inputs, ks=ks, serving_directory=str(tmp_path / "serving"), run_id="r")
        with pytest.raises(ConfigError, match="Received: 40") if 40 in ks else contextlib.nullcontext():
            node.executor_spec.executor_class().Do(inputs, {"report": [report]}, node.exec_properties)


def test_the_node_declares_what_others_connect_to(tmp_path: Path) -> None:
    parameters = {name: RuntimeParameter(name=name, ptype=str) for name in ("serving_directory", "run_id")}
    inputs = make_inputs(tmp_path, "user", "item")
    node = make_gate(inputs, **parameters)
    assert node.id == "AnomalyGate"
    assert set(node.inputs) == set(inputs)
    assert node.outputs["report"].type is Report
    assert {name: node.exec_properties[name] for name in parameters} == parameters
    assert from_json(FeatureSpec, node.exec_properties["feature_spec"]) == gate_part(SPEC)


def test_a_batch_that_the_train_split_does_not_fill_stops(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, "user", "item")
    node = make_gate(inputs, minimum_train_rows=65, serving_directory=str(tmp_path / "serving"), run_id="r")
    report = Report()
    report.uri = str(tmp_path / "report")
    message = "Received: 65 rows in a batch of all replicas, and no more than 64 train rows"
    with pytest.raises(DataError, match=message):
        node.executor_spec.executor_class().Do(inputs, {"report": [report]}, node.exec_properties)
