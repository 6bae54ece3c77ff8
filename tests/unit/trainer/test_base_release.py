"""Which release a training begins from; releases are real files, their states those of small towers."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError, ReleaseError
from schemas.features import FeatureSpec
from schemas.split_times import SplitTimes
from schemas.strict_config import parse
from trainer.base_release import BaseChoice, choose_base
from trainer.config import TrainerConfig
from trainer.state import SavedTable, TrainingState, write_state

pytestmark = pytest.mark.unit

SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
            | {"encoding": {"kind": "vocabulary"}},
            {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
            | {"encoding": {"kind": "vocabulary"}},
        ],
    },
    "test",
)
ROWS = {"item": [("token", b"tea"), ("oov", b"0/1")]}
# This run: each user's latest row is held out, from second 500 to 900, and the one before it validates.
TIMES = SplitTimes(
    train_until=870, validation_from=400, validation_until=880, held_out_from=500, held_out_until=900
)
LATEST = {"kind": "latest_per_user", "skip_latest": 0, "holds_validation": True}
CLEAN = {"until": 860, "log_until": 880, "splits": [LATEST]}
# The latest row of each user was held out, but its model was fitted to validation in the end.
REFITTED = CLEAN | {"splits": [LATEST | {"holds_validation": False}]}
# Of a log that went on after this run's: its train rows are this run's eval rows.
NEWER_LOG = CLEAN | {"until": 990, "log_until": 1_000}


def make_state(dim: int = 3) -> TrainingState:
    table = SavedTable(np.ones((2, dim), np.float32), {}, ROWS["item"])
    return TrainingState("m1", dim, {"user": ["user"], "item": ["item"]}, {"item": table}, {})


def publish(
    serving: Path,
    version: int,
    trained_on: dict | None,
    state: TrainingState | None = None,
    warm_starts: int = 0,
) -> Path:
    """Write what a reader of the state sees of a release."""
    folder = serving / "state" / str(version)
    folder.mkdir(parents=True)
    (folder / "dssm_part.json").write_text(json.dumps({"model_id": "m1", "part": "state"}))
    if state is not None:
        write_state(folder, state)
    parts = {
        "state": {
            "path": f"state/{version}",
            "files": {file.name: file.stat().st_size for file in folder.iterdir()},
        }
    }
    warm_start = {"release": version - 1, "model_id": "m0", "tables": {}, "in_a_row": warm_starts}
    manifest = {
        "version": version, "created": "2026-01-01T00:00:00+00:00", "run_id": "r", "model_id": "m1", "dim": 3,
        "temperature": 0.1, "items": 3, "schema_sha256": "1", "transform_sha256": "2", "metrics": {},
        "popularity": {}, "parts": parts, "trained_on": trained_on,
        "warm_start": warm_start if warm_starts else None,
    }  # fmt: skip
    file = serving / "releases" / str(version) / "manifest.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(manifest))
    return folder


def choose(serving: object, dim: int = 3, **training: object) -> BaseChoice:
    config = {"model": {"dim": dim}, "training": {"warm_start": True} | training}
    return choose_base(str(serving), SPEC, parse(TrainerConfig, config, "test"), ROWS, TIMES)


def test_the_current_release_is_the_base(tmp_path):
    publish(tmp_path, 1, CLEAN)
    publish(tmp_path, 2, CLEAN, make_state(), warm_starts=4)
    choice = choose(tmp_path)
    assert (choice.base.release, choice.base.base_id, choice.base.in_a_row) == (2, "m1", 5)
    assert choice.passed_over == {}
    np.testing.assert_array_equal(choice.base.state.tables["item"].values, np.ones((2, 3)))


def test_a_release_that_was_rolled_back_to_is_the_base(tmp_path):
    publish(tmp_path, 1, CLEAN, make_state())
    publish(tmp_path, 2, CLEAN, make_state())
    rollback = {"version": 1, "over": 2, "since": "2026-11-28T03:00:00+00:00", "reason": ""}
    (tmp_path / "releases" / "current.json").write_text(json.dumps(rollback))
    assert choose(tmp_path).base.release == 1
    assert choose(tmp_path).passed_over == {}


def test_a_release_that_has_seen_eval_rows_is_replaced_by_the_newest_that_has_not(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    for version, trained_on in ((1, CLEAN), (2, CLEAN), (3, NEWER_LOG), (4, NEWER_LOG)):
        publish(tmp_path, version, trained_on, make_state())
    choice = choose(tmp_path)
    assert choice.base.release == 2
    assert list(choice.passed_over) == [4, 3]
    assert "its log went on until 1000, this run's until 900" in choice.passed_over[4]
    choice.log()
    assert "release 4 is no base for this training: it may have been trained on rows that are" in caplog.text
    assert "Warm start from release 2: it is the newest that can be a base" in caplog.text


def test_without_a_clean_release_the_training_starts_cold(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    publish(tmp_path, 1, NEWER_LOG, make_state())
    choice = choose(tmp_path)
    assert choice.base is None
    assert list(choice.passed_over) == [1]
    choice.log()
    assert "This training starts cold: no release can be its base" in caplog.text


def test_validation_rows_count_where_training_stops_by_them(tmp_path):
    publish(tmp_path, 1, REFITTED, make_state())
    assert choose(tmp_path).base.release == 1
    stopped = choose(tmp_path, early_stopping={"refit": True})
    assert stopped.base is None
    assert "all but the latest 1 of each user's positives" in stopped.passed_over[1]


def test_without_a_release_training_starts_cold(tmp_path):
    choice = choose(tmp_path / "nothing")
    assert choice.base is None
    assert choice.reason.startswith("there is no release in ")


def test_releases_of_earlier_versions_of_this_program_are_passed_over(tmp_path):
    publish(tmp_path, 1, CLEAN, make_state())
    publish(tmp_path, 2, CLEAN)
    publish(tmp_path, 3, None, make_state())
    choice = choose(tmp_path)
    assert choice.base.release == 1
    assert choice.passed_over[2].startswith("it was made by another version of this program")
    assert choice.passed_over[3].endswith("its manifest does not say what it was trained on")


@pytest.mark.parametrize(("warm_starts", "starts_cold"), [(0, False), (1, False), (2, True), (5, True)])
def test_one_of_three_trainings_is_cold(tmp_path, warm_starts, starts_cold):
    publish(tmp_path, 9, CLEAN, make_state(), warm_starts)
    choice = choose(tmp_path, cold_every=3)
    assert (choice.base is None) == starts_cold
    if starts_cold:
        assert choice.reason == (
            f"training.cold_every is 3, and release 9 ends a row of {warm_starts} warm starts"
        )


def test_another_dim_is_an_error_that_says_what_to_do(tmp_path):
    publish(tmp_path, 1, CLEAN, make_state())
    with pytest.raises(ConfigError, match=r"model\.dim: .*release 1 .*, 3\. Received: 4\. Set it back, or"):
        choose(tmp_path, dim=4)


def test_an_incomplete_state_of_the_current_release_is_refused(tmp_path):
    publish(tmp_path, 1, CLEAN, make_state())
    folder = publish(tmp_path, 2, CLEAN, make_state())
    (folder / "weights.npz").unlink()
    with pytest.raises(ReleaseError, match=r"incomplete: .*weights\.npz is missing"):
        choose(tmp_path)


def test_an_incomplete_state_of_an_older_release_is_passed_over(tmp_path):
    publish(tmp_path, 1, CLEAN, make_state())
    folder = publish(tmp_path, 2, CLEAN, make_state())
    publish(tmp_path, 3, NEWER_LOG, make_state())
    (folder / "weights.npz").unlink()
    choice = choose(tmp_path)
    assert choice.base.release == 1
    assert "weights.npz is missing" in choice.passed_over[2]


def test_a_state_of_another_training_is_refused(tmp_path):
    folder = publish(tmp_path, 1, CLEAN, make_state())
    (folder / "dssm_part.json").write_text('{"model_id": "m2", "part": "state"}')
    with pytest.raises(ReleaseError, match="comes from another training"):
        choose(tmp_path)


def test_a_warm_start_needs_a_serving_directory():
    with pytest.raises(ConfigError, match=r"training\.warm_start: expected a serving directory"):
        choose("")
