import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx.types import channel_utils, standard_artifacts

from components.artifacts import CandidateIndex, Report
from components.run_report.component import RunReport
from components.run_report.config import ReportConfig
from components.run_report.executor import RUN_PARAMETERS, RunReportExecutor
from pipeline.kubeflow.container_io import Invocation, RuntimeArtifact
from pipeline.kubeflow.plain_executors import run_plain_executor
from schemas.features import ItemTable

pytestmark = pytest.mark.integration

SAMPLE = "tests/unit/components/run_report/samples/first_evaluation_report.json"
INPUTS = ("evaluation_report", "ingest_report", "anomaly_report", "model", "model_run", "index")
OUTPUTS = {"page": "system.HTML", "markdown": "system.Markdown", "scalars": "system.Metrics"}
TYPES = {"model": standard_artifacts.Model, "model_run": standard_artifacts.ModelRun, "index": CandidateIndex}


def build_component() -> RunReport:
    return RunReport(
        **{
            key: channel_utils.as_channel([TYPES.get(key, Report)()]) for key in INPUTS
        },
        config=ReportConfig(map_items=500),
        settings={"run": {"name": "films"}, "note": {"price": "$5 {{x}}"}},
        item_id="item_id",
        items=ItemTable(display=("title",)),
        run_id="run-7",
        data_directory="s3://bucket/tables",
        window_from="",
        window_to="2026-11-01",
        window_last_days=0,
        epochs=3,
        start="",
        serving_directory="serving",
        checkpoint_directory="",
    )  # fmt: skip


@pytest.fixture
def small_document() -> dict[str, Any]:
    """Of a model before which there was no release, without what takes most of the time to draw."""
    document = json.loads(Path(SAMPLE).read_text(encoding="utf-8"))
    metrics = {"recall_at_10": document["metrics"]["recall_at_10"]}
    model = document["models"][0]
    models = [{**model, "metrics": {"recall_at_10": model["metrics"]["recall_at_10"]}}]
    return {**document, "metrics": metrics, "models": models, "differences": [], "slices": []}


@pytest.fixture
def folders(tmp_path: Path, small_document: dict[str, Any]) -> dict[str, Path]:
    """The inputs' folders."""
    made = {key: tmp_path / "inputs" / key for key in INPUTS}
    documents = {
        "evaluation_report/evaluation_report.json": small_document,
        "ingest_report/ingest_report.json": {"rows_read": 7},
        "anomaly_report/anomaly_report.json": {"tables": ["users"], "anomalies": []},
        "model/Format-Serving/model.json": {"steps": 3},
        "index/dssm_part.json": {"model_id": "m", "part": "index"},
    }
    for name, content in documents.items():
        file = tmp_path / "inputs" / name
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
    np.save(made["index"] / "embeddings.npy", np.eye(3, dtype=np.float32))
    pq.write_table(
        pa.table({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}), made["index"] / "catalogue.parquet"
    )
    return made


def invoke(folders: dict[str, Path], outputs: Path, parameters: dict[str, Any]) -> Any:
    return run_plain_executor(
        RunReportExecutor,
        Invocation(
            inputs={key: [RuntimeArtifact("", "", folder)] for key, folder in folders.items()},
            outputs={key: [RuntimeArtifact(title, "", outputs / key)] for key, title in OUTPUTS.items()},
            parameters=parameters,
            output_parameters=(),
            output_file=outputs / "output.json",
        ),
        (),
    )


def test_in_a_container_the_page_is_the_file_at_its_own_uri(folders, small_document, tmp_path) -> None:
    parameters = dict(build_component().exec_properties)
    # The launcher leaves empty texts out.
    made = invoke(
        folders, tmp_path / "out", {name: value for name, value in parameters.items() if value != ""}
    )
    page = (tmp_path / "out" / "page").read_text()
    assert page.startswith("<!doctype html>")
    assert f"Run run-7, model {small_document['model_id']}" in page
    assert "$5 {{x}}" in page
    assert "s3://bucket/tables" in page
    assert (tmp_path / "out" / "markdown").read_text().startswith("# Run report: films")
    assert json.loads((tmp_path / "out" / "scalars" / "scalars.json").read_text())["run_id"] == "run-7"
    noted = made.metadata["scalars"][0]
    assert {name: noted[name] for name in ("recall_at_10", "blessed", "users")} == {
        "recall_at_10": small_document["metrics"]["recall_at_10"], "blessed": 1.0, "users": 250.0,
    }  # fmt: skip
    assert made.may_be_empty == set()


def test_with_tfx_the_page_is_a_file_in_its_folder(folders, small_document, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DSSM_RUN_ID", "run-8")
    component = build_component()
    outputs = {key: [channel.type()] for key, channel in component.outputs.items()}
    for key, [artifact] in outputs.items():
        artifact.uri = str(tmp_path / "out" / key)
        Path(artifact.uri).mkdir(parents=True)
    inputs = {key: [channel.type()] for key, channel in component.inputs.items()}
    for key, [artifact] in inputs.items():
        artifact.uri = str(folders[key])
    RunReportExecutor().Do(inputs, outputs, {**component.exec_properties, "run_id": ""})
    assert "Run run-8" in (tmp_path / "out/page/report.html").read_text()
    assert (tmp_path / "out/markdown/report.md").is_file()
    noted = outputs["scalars"][0].get_float_custom_property("recall_at_10")
    assert noted == small_document["metrics"]["recall_at_10"]


def test_every_run_parameter_is_a_property_of_its_own() -> None:
    assert set(RUN_PARAMETERS) <= set(build_component().exec_properties)


def test_the_types_are_those_of_kubeflow() -> None:
    types = {key: channel.type.TYPE_NAME for key, channel in build_component().outputs.items()}
    assert types == OUTPUTS
