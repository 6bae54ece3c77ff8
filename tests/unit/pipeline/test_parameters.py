from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.parameters import RunParameters, list_settings

pytestmark = pytest.mark.unit

SHIPPED = "pipeline/configs/movielens_100k.yaml"


def make_parameters(*overrides: str) -> RunParameters:
    return RunParameters.from_config(
        load_config(SHIPPED, overrides),
        run_id="r",
        input_fingerprint="f",
        code_fingerprint="c",
        training_fingerprint="t",
    )


def test_local_run_takes_the_values_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(SHIPPED, ("training.epochs=3", "data.directory=tables", "serving.directory=/srv/x"))
    monkeypatch.chdir(tmp_path)
    assert RunParameters.from_config(
        config, run_id="r", input_fingerprint="f", code_fingerprint="c", training_fingerprint="t"
    ) == RunParameters(
        data_directory=str(tmp_path / "tables"),
        window_from="",
        window_to="",
        window_last_days=0,
        epochs=3,
        start="",
        serving_directory="/srv/x",
        checkpoint_directory=str(tmp_path / "runs/movielens_100k/checkpoints"),
        run_id="r",
        input_fingerprint="f",
        code_fingerprint="c",
        training_fingerprint="t",
    )


def test_uris_stay_as_they_are() -> None:
    parameters = make_parameters("data.directory=s3://bucket/tables", "serving.directory=gs://bucket/serving")
    assert parameters.data_directory == "s3://bucket/tables"
    assert parameters.serving_directory == "gs://bucket/serving"


def test_checkpoints_go_where_the_configuration_says() -> None:
    parameters = make_parameters("training.checkpoint.directory=s3://bucket/checkpoints")
    assert parameters.checkpoint_directory == "s3://bucket/checkpoints"
    assert make_parameters("training.checkpoint.directory=/srv/c").checkpoint_directory == "/srv/c"


def test_window_comes_from_the_ingest_section() -> None:
    days = make_parameters("ingest.window={first: 2026-11-01, last: 2026-11-30}")
    assert (days.window_from, days.window_to, days.window_last_days) == ("2026-11-01", "2026-11-30", 0)
    last = make_parameters("ingest.window={last_days: 28}")
    assert (last.window_from, last.window_to, last.window_last_days) == ("", "", 28)


def test_settings_are_all_but_what_changes_from_run_to_run() -> None:
    settings = list_settings(
        load_config(SHIPPED, ("ingest.window={last_days: 28, maximum_missing_days: 2}", "training.epochs=7"))
    )
    assert settings["run"] == {"name": "movielens_100k", "steps_side_by_side": 2}
    assert settings["data"] == {"schema": "schemas/movielens_100k.yaml"}
    assert settings["ingest"]["window"] == {"maximum_missing_days": 2}
    assert "epochs" not in settings["training"]
    assert settings["training"]["learning_rate"] == 0.001
    assert settings["model"]["dim"] == 64
    # A default, and a section that the file does not name.
    assert settings["report"] == {"map_feature": None, "map_items": 2000}
    assert settings["serving"] == {"users": "snapshot"}
    # Secrets and nodes of a cluster are not for whoever reads a report.
    assert "kubeflow" not in settings


def test_retraining_is_in_no_report_and_makes_no_step_run_again() -> None:
    changes = (
        "retraining.notify={urls_env: CHAT_URLS, command: [notify-send, retrained], attempts: 2}",
        "retraining.retention.runs.keep=1",
    )
    settings = list_settings(load_config(SHIPPED, changes))
    assert "retraining" not in settings
    assert settings == list_settings(load_config(SHIPPED))
