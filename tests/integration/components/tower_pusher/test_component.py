import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel_utils, standard_artifacts

from components import AnnIndex, CandidateIndex, Report, Sequences
from components.tower_pusher.component import TowerPusher
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ReleaseError

pytestmark = pytest.mark.integration

TYPES = {
    "model": standard_artifacts.Model,
    "index": CandidateIndex,
    "blessing": standard_artifacts.ModelBlessing,
    "report": Report,
    "ingest_report": Report,
    **{
        f"{table}_{name}": kind
        for table in ("user", "item")
        for name, kind in (
            ("schema", standard_artifacts.Schema),
            ("transform_graph", standard_artifacts.TransformGraph),
            ("statistics", standard_artifacts.ExampleStatistics),
        )
    },
    "ann": AnnIndex,
    "retriever": standard_artifacts.Model,
}
SERVED_TYPES = {"sequences": Sequences}
CONTEXT_TYPES = {
    key.replace("user", "context"): kind for key, kind in TYPES.items() if key.startswith("user")
}


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def make_artifacts(base: Path, verdict: str, types: dict[str, Any] = TYPES) -> dict[str, list[Any]]:
    model = base / "model" / "Format-Serving"
    info = {"model_id": "m", "dim": 2, "temperature": 0.1, "warm_start": None, "checkpoints": None}
    write_json(model / "model.json", info)
    write_json(model / "state" / "training_state.json", {"model_id": "m"})
    for tower in ("user_tower", "item_tower"):
        write_json(model / tower / "assets.extra" / "dssm_part.json", {"model_id": "m", "part": tower})
    write_json(base / "index" / "dssm_part.json", {"model_id": "m", "part": "index", "dim": 2, "items": 3})
    report = {
        "model_id": "m",
        "metrics": {"recall_at_10": 0.5},
        "popularity": {"recall_at_10": 0.25},
        "gate": {"sentence": "Not blessed."},
        "trained_on": {"until": 90, "log_until": 100, "splits": [{"kind": "latest_per_user"}]},
    }
    write_json(base / "report" / "evaluation_report.json", report)
    (base / "report" / "per_user_metrics.parquet").write_bytes(b"users")
    write_json(base / "blessing" / verdict, 1)
    write_json(
        base / "ingest_report" / "ingest_report.json", {"sequence_figures": {}, "day_fingerprints": {}}
    )
    for table, split in (("user", "all"), ("item", "all"), ("context", "train")):
        write_json(base / f"{table}_schema" / "schema.pbtxt", "")
        write_json(base / f"{table}_transform_graph" / "transform_fn" / "saved_model.pb", "")
        write_json(base / f"{table}_statistics" / f"Split-{split}" / "FeatureStats.pb", table)
    write_json(base / "ann" / "dssm_part.json", {"model_id": "m", "part": "ann"})
    write_json(base / "retriever" / "assets.extra" / "dssm_part.json", {"model_id": "m", "part": "retriever"})
    write_json(base / "retriever" / "assets" / "release_version.txt", 0)
    write_json(base / "sequences" / "sequences-00000-of-00001.parquet", "rows")
    artifacts = {}
    for key, artifact_type in types.items():
        artifact = artifact_type()
        artifact.uri = str(base / key)
        artifacts[key] = [artifact]
    return artifacts


@pytest.mark.parametrize(("variable", "expected"), [("pod-9", "pod-9"), ("", "unknown"), (None, "unknown")])
def test_a_run_without_an_id_is_named_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: str
) -> None:
    if variable is None:
        monkeypatch.delenv("DSSM_RUN_ID", raising=False)
    else:
        monkeypatch.setenv("DSSM_RUN_ID", variable)
    inputs = make_artifacts(tmp_path, "BLESSED")
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    properties = {"serving_directory": (tmp_path / "serving").as_uri(), "run_id": ""}

    TowerPusher.EXECUTOR_SPEC.executor_class().Do(inputs, {"pushed_release": [pushed]}, properties)

    manifest = tmp_path / "serving" / "releases" / "1" / "manifest.json"
    assert json.loads(manifest.read_text())["run_id"] == expected
    assert pushed.get_string_custom_property("release") == str(manifest.parent)


def test_run_parameters_may_be_set_by_the_orchestrator(tmp_path: Path) -> None:
    parameters = {name: RuntimeParameter(name=name, ptype=str) for name in ("serving_directory", "run_id")}
    channels = {key: channel_utils.as_channel([made()]) for key, made in TYPES.items()}
    assert TowerPusher(**channels, **parameters).exec_properties == parameters


@pytest.mark.parametrize("verdict", ["BLESSED", "NOT_BLESSED"])
def test_the_node_pushes_a_blessed_model_and_notes_it(tmp_path: Path, verdict: str) -> None:
    inputs = make_artifacts(tmp_path, verdict)
    node = TowerPusher(
        **{key: channel_utils.as_channel(artifacts) for key, artifacts in inputs.items()},
        serving_directory=str(tmp_path / "serving"),
        run_id="run-7",
    )
    assert node.exec_properties == {"serving_directory": str(tmp_path / "serving"), "run_id": "run-7"}
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")

    node.executor_spec.executor_class().Do(inputs, {"pushed_release": [pushed]}, node.exec_properties)

    manifest = tmp_path / "serving" / "releases" / "1" / "manifest.json"
    result = json.loads((tmp_path / "pushed" / "push.json").read_text())
    if verdict == "BLESSED":
        assert json.loads(manifest.read_text())["run_id"] == "run-7"
        assert pushed.get_int_custom_property("pushed") == 1
        assert pushed.get_int_custom_property("version") == 1
        assert pushed.get_string_custom_property("release") == str(manifest.parent)
        assert result == {"pushed": 1, "version": 1, "release": str(manifest.parent)}
    else:
        refused = json.loads((manifest.parents[1] / "refused.json").read_text())
        assert refused["run_id"] == "run-7"
        assert refused["models"] == {"m": {"start": "cold", "reason": "Not blessed."}}
        assert not manifest.exists()
        assert pushed.get_int_custom_property("pushed") == 0
        assert not pushed.has_custom_property("release")
        assert result == {"pushed": 0}


def push(tmp_path: Path, inputs: dict[str, Any]) -> None:
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    properties = {"serving_directory": str(tmp_path / "serving"), "run_id": "r"}
    TowerPusher.EXECUTOR_SPEC.executor_class().Do(inputs, {"pushed_release": [pushed]}, properties)


def note_checkpoints(tmp_path: Path) -> list[Path]:
    """Let the training of the model have checkpoints, and another one, too."""
    folders = [tmp_path / "checkpoints" / (character * 32) for character in "0f"]
    for folder in folders:
        write_json(folder / "fit-000000000001" / "complete.json", {})
    model_info = tmp_path / "model" / "Format-Serving" / "model.json"
    write_json(model_info, json.loads(model_info.read_text()) | {"checkpoints": str(folders[0])})
    return folders


@pytest.mark.parametrize("verdict", ["BLESSED", "NOT_BLESSED"])
def test_the_checkpoints_of_the_training_alone_go(tmp_path: Path, verdict: str) -> None:
    inputs = make_artifacts(tmp_path, verdict)
    own, other = note_checkpoints(tmp_path)
    push(tmp_path, inputs)
    assert not own.exists()
    assert (other / "fit-000000000001" / "complete.json").exists()


def test_checkpoints_stay_for_the_retry_of_a_push_that_failed(tmp_path: Path) -> None:
    inputs = make_artifacts(tmp_path, "BLESSED")
    own, _ = note_checkpoints(tmp_path)
    write_json(tmp_path / "index" / "dssm_part.json", {"model_id": "of another training", "part": "index"})
    with pytest.raises(ReleaseError):
        push(tmp_path, inputs)
    assert (own / "fit-000000000001" / "complete.json").exists()


def test_checkpoints_that_cannot_be_deleted_fail_no_release(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = make_artifacts(tmp_path, "BLESSED")
    [own, _] = note_checkpoints(tmp_path)
    shutil.rmtree(own)
    own.write_text("a file that stands in the way")
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        push(tmp_path, inputs)
    assert f"Cannot delete {own}" in caplog.text
    assert (tmp_path / "serving" / "releases" / "1" / "manifest.json").exists()


@pytest.mark.parametrize("types", [TYPES, TYPES | CONTEXT_TYPES], ids=["without", "with context"])
def test_every_table_is_pushed_from_its_own_inputs(tmp_path: Path, types: dict[str, Any]) -> None:
    inputs = make_artifacts(tmp_path, "BLESSED", types)
    node = TowerPusher(
        **{key: channel_utils.as_channel(artifacts) for key, artifacts in inputs.items()},
        serving_directory=str(tmp_path / "serving"),
        run_id="r",
    )
    assert set(node.inputs) == set(types)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")

    node.executor_spec.executor_class().Do(inputs, {"pushed_release": [pushed]}, node.exec_properties)

    state = tmp_path / "serving" / "state" / "1"
    statistics = {file.name: json.loads(file.read_text()) for file in state.glob("*_statistics.pb")}
    tables = ["user", "item", "context"] if "context_schema" in types else ["user", "item"]
    assert statistics == {f"{table}_statistics.pb": table for table in tables}


def test_what_serves_beside_the_towers_is_pushed(tmp_path: Path) -> None:
    inputs = make_artifacts(tmp_path, "BLESSED", TYPES | SERVED_TYPES)
    serving = tmp_path / "serving"
    node = TowerPusher(
        **{key: channel_utils.as_channel(artifacts) for key, artifacts in inputs.items()},
        serving_directory=str(serving),
        run_id="r",
    )
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")

    node.executor_spec.executor_class().Do(inputs, {"pushed_release": [pushed]}, node.exec_properties)

    manifest = json.loads((serving / "releases" / "1" / "manifest.json").read_text())
    parts = {"state", "users", "index", "ann", "item_tower", "user_tower", "retriever"}
    assert set(manifest["parts"]) == parts
    assert (serving / "retriever" / "1" / "assets" / "release_version.txt").read_text() == "1"


def test_the_model_and_the_report_are_what_the_parts_are_held_against(tmp_path: Path) -> None:
    inputs = make_artifacts(tmp_path, "BLESSED")
    model_info = tmp_path / "model" / "Format-Serving" / "model.json"
    sampled = {"skew_sample": {"users": 1, "items": 1, "tolerance": 1e-5}}
    write_json(model_info, json.loads(model_info.read_text()) | sampled)
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(tmp_path / "pushed")
    properties = {"serving_directory": str(tmp_path / "serving"), "run_id": "r"}

    with pytest.raises(ReleaseError, match=f"the scores of some users in {tmp_path}/report/scores_sample"):
        TowerPusher.EXECUTOR_SPEC.executor_class().Do(inputs, {"pushed_release": [pushed]}, properties)
    assert not (tmp_path / "serving" / "user_tower" / "1").exists()
    assert not list((tmp_path / "serving" / "releases").rglob("manifest.json"))
