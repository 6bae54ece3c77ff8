"""The steps around a run on Kubeflow, with daily logs and manifests that are real files."""

import dataclasses
import datetime
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_days
from pipeline.config import PipelineConfig
from pipeline.kubeflow import retraining_end
from pipeline.kubeflow.container_io import RuntimeArtifact
from pipeline.kubeflow.plain_executors import PlainArtifact
from pipeline.kubeflow.plan_note import delete_note
from pipeline.kubeflow.retraining_steps import (
    RetrainingEndExecutor,
    RetrainingPlanExecutor,
    retraining_part,
)
from schemas.contract import RUN_ID_VARIABLE
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
from schemas.release import Refusal, RefusedModel, write_refusal
from schemas.strict_config import parse, to_short_json

pytestmark = pytest.mark.unit

SPEC = {
    "name": "shop",
    "tables": {"interactions": {"file": "log/{date}.csv"}, "items": {"file": "items.parquet"}},
    "features": [
        {"name": name, "dtype": "string", "tower": name, "role": f"{name}_id"}
        | {"encoding": {"kind": "vocabulary"}}
        for name in ("user", "item")
    ],
}


KEEP_MESSAGE = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(json.load(sys.stdin)) + '\\n')"


def day(number: int) -> str:
    return f"2026-11-{number:02}"


TROUBLED = {"is_due": True, "newest_release": 0, "trouble": "failure"}
BASE = {"release": 1, "model_id": "m0", "tables": {}}
SAME_DATA = {"data_fingerprint": "d", "protocol": {"resamples": 100, "seed": 1}}


def window(first: int, last: int) -> WindowConfig:
    first_day, last_day = (datetime.date(2026, 11, number) for number in (first, last))
    return WindowConfig(first=first_day, last=last_day, maximum_missing_days=30)


class Shop:
    """A data directory with daily logs, and a serving directory."""

    def __init__(self, folder):
        self.data, self.serving, self.folder = folder / "data", folder / "serving", folder
        (self.data / "log").mkdir(parents=True)
        (self.data / "items.parquet").write_text("items")
        self.features = parse(FeatureSpec, SPEC, "test")
        self.config = parse(
            PipelineConfig,
            {
                "run": {"name": "shop", "directory": "elsewhere"},
                "data": {"schema": "shop", "directory": "elsewhere"},
                "serving": {"directory": "elsewhere"},
                "ingest": {"window": {"last_days": 4, "maximum_missing_days": 2}},
                "training": {"warm_start": True, "epochs": 3},
                "retraining": {
                    "retention": {"releases": {"keep": 2, "days": 0}},
                    "notify": {
                        "on": ["failure", "refused", "released"],
                        "command": [sys.executable, "-c", KEEP_MESSAGE, str(folder / "told")],
                    },
                },
            },
            "test",
        )
        self.properties = {
            "settings": to_short_json(retraining_part(self.config)),
            "tables": to_short_json(self.features),
            "data_directory": str(self.data),
            "serving_directory": str(self.serving),
            "window_last_days": 4,
        }

    def every(self, trainings: int) -> "Shop":
        """Let one of so many trainings be cold."""
        training = dataclasses.replace(self.config.training, cold_every=trainings)
        config = dataclasses.replace(self.config, training=training)
        self.properties["settings"] = to_short_json(retraining_part(config))
        return self

    def write(self, *days: int) -> None:
        for number in days:
            (self.data / "log" / f"{day(number)}.csv").write_text(f"rows of {number}")

    def release(
        self, version: int, first: int, last: int, run_id: str = "r0", found: float = 0, **more
    ) -> None:
        """Publish what a run made that trained on the files of these days as they are now.

        Of the evaluated users it finds the item of the share `found`, each alike.
        """
        days = fingerprint_days(self.features, str(self.data), window(first, last))
        evaluation = {"gate": {"sentence": f"Blessed: {version}.", "metric": "recall_at_10"}} | SAME_DATA
        users = pa.table({"user": [f"u{n}" for n in range(100)], "recall_at_10": [found * 1.0] * 100})
        state = self.serving / "state" / str(version)
        state.mkdir(parents=True)
        (state / "dssm_part.json").write_text(json.dumps({"model_id": "m1", "part": "state"}))
        (state / "evaluation_report.json").write_text(json.dumps(evaluation))
        pq.write_table(users, state / "per_user_metrics.parquet")
        files = {file.name: file.stat().st_size for file in state.iterdir()}
        manifest = {
            "version": version, "created": f"2026-11-19T04:00:{version:02}+00:00", "run_id": run_id,
            "model_id": "m1", "dim": 3, "temperature": 0.1, "items": 3, "schema_sha256": "1",
            "transform_sha256": "2", "metrics": {}, "popularity": {},
            "parts": {"state": {"path": f"state/{version}", "files": files, "sha256": "0"}},
            "day_fingerprints": days, **more,
        }  # fmt: skip
        file = self.serving / "releases" / str(version) / "manifest.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(manifest))

    def plan(self, **properties):
        artifact = PlainArtifact(RuntimeArtifact("system.Markdown", "s3://b/plan", self.folder / "plan.md"))
        return RetrainingPlanExecutor().Do({}, {"plan": [artifact]}, self.properties | properties)

    def refuse(self, first: int, last: int, run_id: str = "r1", start: str = "warm") -> None:
        """Leave what the pusher leaves of a run that trained on the files of these days as they are now."""
        days = fingerprint_days(self.features, str(self.data), window(first, last))
        refused = datetime.datetime(2026, 11, 20, 3, tzinfo=datetime.UTC)
        models = {f"m-{start}": RefusedModel(start, "Refused: below the release.")}
        write_refusal(self.serving, Refusal(run_id, refused, days, models))

    def end(self) -> list[dict]:
        """Run the last step, and return what it has told people."""
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        assert RetrainingEndExecutor().Do({}, {}, self.properties) is None
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    @property
    def notes(self) -> list[str]:
        """What the first step has left and the last one has not taken away."""
        return [path.name for path in (self.serving / "retraining").glob("*")]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(RUN_ID_VARIABLE, "r1")
    return Shop(tmp_path)


def test_the_first_retraining_takes_the_days_that_end_now(shop):
    shop.write(*range(10, 21))
    assert shop.plan() == {
        "is_due": "yes", "compares": "no", "planned_from": day(17), "planned_to": day(20),
        "planned_last_days": 0, "planned_start": "cold",
    }  # fmt: skip
    assert (shop.folder / "plan.md").read_text().startswith(f"Window: {day(17)} to {day(20)}, 4 days")


def test_nothing_new_is_not_due(shop):
    shop.write(*range(10, 21))
    shop.release(1, 17, 20)
    assert shop.plan()["is_due"] == "no"
    assert "Nothing is new since release 1" in (shop.folder / "plan.md").read_text()
    assert shop.end() == []


def test_missed_days_are_made_up_for(shop):
    shop.write(*range(1, 21))
    shop.release(1, 8, 11)
    # The usual window would begin on the 17th and leave out the 12th to the 16th.
    assert (shop.plan()["planned_from"], shop.plan()["planned_to"]) == (day(12), day(20))


def test_a_run_parameter_goes_before_the_configuration(shop):
    shop.write(*range(10, 21))
    assert shop.plan(window_last_days=2)["planned_from"] == day(19)
    planned = shop.plan(window_from=day(11), window_to=day(14), window_last_days=0)
    assert (planned["planned_from"], planned["planned_to"]) == (day(11), day(14))


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_the_start_of_a_run_goes_before_the_configuration(shop, start):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    planned = shop.every(1).plan(start=start)
    assert (planned["planned_start"], planned["compares"]) == (start, "no")


def test_a_start_that_is_none_is_the_reason_of_the_failure(shop):
    shop.write(*range(10, 21))
    with pytest.raises(ConfigError, match="start: expected warm, cold or an empty text"):
        shop.plan(start="hot")
    assert "Received: 'hot'" in shop.end()[0]["body"]


def test_as_many_days_may_be_missing_as_the_configuration_says(shop):
    shop.write(17, 20)
    assert shop.plan()["is_due"] == "yes"
    (shop.data / "log" / f"{day(17)}.csv").unlink()
    with pytest.raises(DataError, match="2026-11-17"):
        shop.plan()


def test_a_release_of_this_run_is_told(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.plan()
    shop.release(2, 17, 20, run_id="r1")
    [event] = shop.end()
    assert (event["kind"], event["release"], event["run_id"]) == ("released", 2, "r1")
    assert event["title"] == "shop: released"
    assert shop.notes == []


def test_a_refused_model_is_told_with_the_verdict(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.plan()
    shop.refuse(17, 20)
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("refused", None)
    assert event["body"] == "Refused: below the release."


def plan_a_comparison(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    planned = shop.every(1).plan()
    assert (planned["is_due"], planned["compares"], planned["planned_start"]) == ("yes", "yes", "warm")


def test_a_warm_and_a_cold_model_are_compared(shop):
    plan_a_comparison(shop)
    shop.release(2, 17, 20, run_id="r1", found=0.25, warm_start=BASE)
    shop.release(3, 17, 20, run_id="r1", found=0.375)
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("released", 3)
    warm, cold, difference = event["body"].splitlines()
    assert (warm, cold) == ("Warm: Blessed: 2.", "Cold: Blessed: 3.")
    assert "recall@10 0.2500 and 0.3750, cold less warm +0.1250 [+0.1250, +0.1250]" in difference.lower()


def test_of_two_models_the_refused_one_is_told_too(shop):
    plan_a_comparison(shop)
    shop.release(2, 17, 20, run_id="r1", warm_start=BASE)
    shop.refuse(17, 20, start="cold")
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("released", 2)
    assert event["body"].splitlines() == ["Warm: Blessed: 2.", "Cold: Refused: below the release."]


def test_two_refused_models_are_told_both(shop):
    plan_a_comparison(shop)
    for start in ("warm", "cold"):
        shop.refuse(17, 20, start=start)
        shop.refuse(17, 20, start=start)
    [event] = shop.end()
    assert event["kind"] == "refused"
    assert event["body"].splitlines() == [
        "Warm: Refused: below the release.", "Cold: Refused: below the release.",
    ]  # fmt: skip


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_cold_training_that_failed_after_a_warm_one_is_a_failure(shop, is_refused):
    plan_a_comparison(shop)
    if is_refused:
        shop.refuse(17, 20)
    else:
        shop.release(2, 17, 20, run_id="r1", warm_start=BASE)
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("failure", None)
    first, warm = event["body"].splitlines()
    assert "has come to no verdict on a model" in first
    assert warm == ("Warm: Refused: below the release." if is_refused else "Warm: Blessed: 2.")
    assert shop.notes == ["r1.json"]


def test_a_release_whose_report_cannot_be_read_is_one(shop):
    shop.write(*range(10, 21))
    shop.plan()
    shop.release(1, 17, 20, run_id="r1")
    (shop.serving / "state/1/evaluation_report.json").write_text("{")
    [event] = shop.end()
    assert (event["kind"], event["release"], event["body"]) == ("released", 1, "Release 1.")


def test_models_that_cannot_be_compared_are_released_all_the_same(shop):
    plan_a_comparison(shop)
    shop.release(2, 17, 20, run_id="r1")
    shop.release(3, 17, 20, run_id="r1")
    (shop.serving / "state/3/per_user_metrics.parquet").unlink()
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("released", 3)
    assert "The warm and the cold model are not compared: " in event["body"]


def test_a_run_without_a_verdict_has_failed(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.refuse(12, 15, run_id="r0")
    shop.plan()
    # Data of after the plan change nothing about how its run ended.
    (shop.data / "items.parquet").unlink()
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("failure", None)
    assert "has come to no verdict on a model" in event["body"]


def test_a_refused_model_is_not_trained_again_on_the_same_data(shop):
    shop.write(*range(1, 21))
    shop.release(1, 8, 11)
    assert shop.plan()["planned_from"] == day(12)
    shop.refuse(12, 20)
    shop.end()
    assert shop.plan()["is_due"] == "no"
    assert "Nothing is new since run r1, whose model was refused" in (shop.folder / "plan.md").read_text()
    shop.write(21)
    # No release has seen the 12th.
    assert (shop.plan()["planned_from"], shop.plan()["planned_to"]) == (day(12), day(21))


def leave_a_failure(shop):
    shop.plan()


def leave_a_refusal(shop):
    shop.plan()
    shop.refuse(10, 13)


def leave_nothing(shop):
    """As of a plan that was killed."""


@pytest.mark.parametrize("leave_trouble", [leave_a_failure, leave_a_refusal, leave_nothing])
def test_the_first_release_after_trouble_is_a_recovery(shop, monkeypatch, leave_trouble):
    shop.write(*range(10, 21))
    for run_id in ("r1", "r2"):
        monkeypatch.setenv(RUN_ID_VARIABLE, run_id)
        leave_trouble(shop)
        assert shop.end()[0]["kind"] in ("failure", "refused")
    for version, (run_id, kind) in enumerate([("r3", "recovery"), ("r4", "released")], 1):
        monkeypatch.setenv(RUN_ID_VARIABLE, run_id)
        shop.write(20 + version)
        assert shop.plan()["is_due"] == "yes"
        shop.release(version, 17, 20 + version, run_id=run_id)
        assert shop.end()[0]["kind"] == kind
    assert shop.notes == []


@pytest.mark.parametrize(
    ("by_hand", "kind"), [({}, "released"), ({"refreshed_from": 1}, "recovery"), (None, "recovery")]
)
def test_a_release_by_hand_ends_trouble_and_a_refresh_does_not(shop, monkeypatch, by_hand, kind):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.plan()
    assert shop.end()[0]["kind"] == "failure"
    if by_hand is not None:
        shop.release(2, 17, 20, run_id="by-hand", **by_hand)
    monkeypatch.setenv(RUN_ID_VARIABLE, "r2")
    shop.write(21)
    shop.plan()
    shop.release(3, 18, 21, run_id="r2")
    assert shop.end()[0]["kind"] == kind
    assert shop.notes == []


def test_a_run_that_is_tried_again_by_hand_keeps_its_trouble(shop):
    shop.write(*range(10, 21))
    (shop.data / "items.parquet").unlink()
    with pytest.raises(DataError):
        shop.plan()
    shop.end()
    (shop.data / "items.parquet").write_text("items")
    shop.plan()
    note = json.loads((shop.serving / "retraining/r1.json").read_text())
    assert (note["is_due"], note["problem"], note["trouble"]) == (True, None, "failure")


def test_a_note_that_cannot_be_read_is_trouble_and_goes(shop):
    shop.write(*range(10, 21))
    shop.plan()
    (shop.serving / "retraining/r0.json").write_text("{")
    shop.release(1, 17, 20, run_id="r1")
    assert shop.end()[0]["kind"] == "recovery"
    assert shop.notes == []


def test_its_own_note_that_cannot_be_read_is_told(shop, caplog):
    shop.write(*range(10, 21))
    shop.plan()
    (shop.serving / "retraining/r1.json").write_text("{")
    [event] = shop.end()
    assert "r1.json: expected a note of a retraining" in event["body"]
    assert "may be told as another event than it is" in caplog.text


def test_a_night_without_data_ends_no_trouble(shop, monkeypatch):
    shop.write(*range(10, 21))
    shop.plan()
    shop.refuse(17, 20)
    shop.end()
    monkeypatch.setenv(RUN_ID_VARIABLE, "r2")
    assert shop.plan()["is_due"] == "no"
    assert shop.end() == []
    assert shop.notes == ["r1.json"]


def test_a_run_that_goes_on_is_no_trouble_to_another(shop, monkeypatch):
    shop.write(*range(10, 21))
    shop.plan()
    monkeypatch.setenv(RUN_ID_VARIABLE, "by-hand")
    shop.plan()
    shop.release(1, 17, 20, run_id="by-hand")
    assert shop.end()[0]["kind"] == "released"
    monkeypatch.setenv(RUN_ID_VARIABLE, "r1")
    shop.release(2, 17, 20, run_id="r1")
    assert shop.end()[0]["kind"] == "released"


@pytest.mark.parametrize("is_released", [False, True])
def test_an_attempt_that_was_killed_before_its_end_tells_the_same(shop, monkeypatch, is_released):
    shop.write(*range(10, 21))
    (shop.serving / "retraining").mkdir(parents=True)
    (shop.serving / "retraining/r0.json").write_text(json.dumps(TROUBLED))
    shop.plan()
    if is_released:
        shop.release(1, 17, 20, run_id="r1")

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(retraining_end, "delete_note" if is_released else "write_note", kill)
        with pytest.raises(KeyboardInterrupt):
            shop.end()
        told = (shop.folder / "told").read_text()
    assert shop.end() == [json.loads(told)]


def test_an_attempt_that_was_killed_at_its_end_takes_no_release_for_a_failure(shop, monkeypatch):
    shop.write(*range(10, 21))
    shop.plan()
    (shop.serving / "retraining/r0.json").write_text(json.dumps(TROUBLED))
    shop.release(1, 17, 20, run_id="r1")
    deleted = []

    def delete_one(serving, run_id):
        if deleted:
            raise KeyboardInterrupt
        deleted.append(run_id)
        delete_note(serving, run_id)

    with monkeypatch.context() as patched:
        patched.setattr(retraining_end, "delete_note", delete_one)
        with pytest.raises(KeyboardInterrupt):
            shop.end()
    [event] = shop.end()
    assert (event["kind"], event["release"]) == ("released", 1)


def test_a_file_that_comes_after_an_empty_plan_is_the_next_nights(shop):
    shop.write(*range(10, 20))
    shop.release(1, 16, 19)
    shop.plan()
    shop.write(20)
    assert shop.end() == []
    assert shop.plan()["is_due"] == "yes"


def test_data_that_are_not_there_are_the_reason_of_the_failure(shop):
    with pytest.raises(DataError):
        shop.plan()
    [event] = shop.end()
    assert event["kind"] == "failure"
    assert "did not begin" in event["body"]
    assert "log/{date}.csv" in event["body"]


def test_a_window_that_is_none_is_the_reason_of_the_failure(shop):
    with pytest.raises(ConfigError):
        shop.plan(window_from=day(11))
    assert "both" in shop.end()[0]["body"]


def test_a_plan_that_was_killed_is_told(shop):
    [event] = shop.end()
    assert "the log of its RetrainingPlan says why" in event["body"]


def test_what_cannot_be_found_out_is_told(shop):
    shop.write(*range(10, 21))
    shop.plan()
    shop.release(1, 17, 20, run_id="r1")
    (shop.serving / "releases/1/manifest.json").write_text("{")
    [event] = shop.end()
    assert event["kind"] == "failure"
    assert "cannot be found out how it ended" in event["body"]


def test_a_manifest_of_before_that_cannot_be_read_hinders_nobody(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.release(2, 10, 13)
    (shop.serving / "releases/1/manifest.json").write_text("{")
    shop.plan()
    shop.release(3, 17, 20, run_id="r1")
    assert shop.end()[0]["release"] == 3


def test_releases_that_are_no_longer_kept_go(shop):
    shop.write(*range(10, 21))
    for version in range(1, 6):
        shop.release(version, 17, 20)
    shop.plan()
    shop.end()
    assert sorted(path.name for path in (shop.serving / "releases").glob("[0-9]*")) == ["4", "5"]


def test_days_are_not_lost_where_only_refreshes_are_kept(shop):
    shop.write(*range(1, 21))
    shop.release(1, 8, 11)
    for version in (2, 3, 4):
        shop.release(version, 8, 11, refreshed_from=version - 1)
    shop.plan()
    shop.end()
    assert sorted(path.name for path in (shop.serving / "releases").glob("[0-9]*")) == ["3", "4"]
    assert shop.plan()["planned_from"] == day(12)


def test_the_part_of_the_configuration_does_not_change_with_the_rest(shop):
    other = dataclasses.replace(
        shop.config, training=dataclasses.replace(shop.config.training, learning_rate=0.5, epochs=9)
    )
    assert retraining_part(other) == retraining_part(shop.config)
    every = dataclasses.replace(shop.config.training, cold_every=7)
    assert retraining_part(dataclasses.replace(shop.config, training=every)) != retraining_part(shop.config)
