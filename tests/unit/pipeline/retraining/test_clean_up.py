import os
import tempfile
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig, load_config
from pipeline.retraining import clean_up as module
from pipeline.retraining.clean_up import clean_up

pytestmark = pytest.mark.unit

NOBODY = 65534
KEEP_TWO = "retraining.retention.releases={keep: 2, days: 0}"


def configure(run_directory: Path, serving: Path, *overrides: str) -> PipelineConfig:
    return load_config(
        "pipeline/configs/movielens_100k.yaml",
        (f"run.directory={run_directory}", f"serving.directory={serving}", *overrides),
    )


def collect(config: PipelineConfig) -> list[str]:
    said: list[str] = []
    clean_up(config, said.append)
    return said


def test_what_went_is_said(tmp_path, releases):
    for version in (1, 2, 3):
        releases.add(version)
    [text] = collect(configure(tmp_path / "runs", releases.serving, KEEP_TWO))
    assert "Removed: 1" in text
    assert releases.versions() == [2, 3]


def test_nothing_is_said_where_nothing_goes(tmp_path, releases):
    releases.add(1)
    assert collect(configure(tmp_path / "runs", releases.serving)) == []


def test_a_run_directory_that_is_a_file_is_a_warning(tmp_path, releases):
    for version in (1, 2, 3):
        releases.add(version)
    runs = tmp_path / "runs"
    runs.touch()
    checkpoints = f"training.checkpoint.directory={tmp_path}/checkpoints"
    [text] = collect(configure(runs, releases.serving, KEEP_TWO, checkpoints))
    assert text == (
        "Warning: cleaning up came to no end: expected folders that this user may list and delete from. "
        f"Received: [Errno 20] Not a directory: '{runs}/.metadata.lock'. Mend what it names; the next "
        "retraining, or `dssm prune`, tries again."
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
def test_a_folder_that_this_user_may_not_enter_is_a_warning():
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as place:
        logs = Path(place) / "runs" / "logs"
        logs.mkdir(parents=True)
        (logs / "retrain.log").touch()
        # It can be listed, and nothing be learned of the files.
        logs.chmod(0o744)
        Path(place).chmod(0o755)
        config = configure(Path(place) / "runs", Path(place) / "serving")
        os.seteuid(NOBODY)
        try:
            [text] = collect(config)
        finally:
            os.seteuid(0)
    assert f"Received: [Errno 13] Permission denied: '{logs}/retrain.log'. Mend what it names" in text


def test_a_manifest_that_cannot_be_read_is_a_warning(tmp_path, releases):
    for version in (1, 2, 3):
        releases.add(version)
    manifest = releases.serving / "releases" / "3" / "manifest.json"
    manifest.write_text("{")
    [text] = collect(configure(tmp_path / "runs", releases.serving, KEEP_TWO))
    assert text.startswith("Warning: cleaning up came to no end: ")
    assert str(manifest) in text
    assert releases.versions() == [1, 2, 3]


def test_an_error_of_the_program_is_a_warning_and_its_place_is_in_the_log(tmp_path, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise KeyError("days")

    monkeypatch.setattr(module, "plan_retention", fail)
    [text] = collect(configure(tmp_path / "runs", tmp_path / "serving"))
    assert text.startswith("Warning: cleaning up came to no end: KeyError: 'days'. Run `dssm prune`")
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError
