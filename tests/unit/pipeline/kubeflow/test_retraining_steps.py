"""The steps around a run on Kubeflow, with daily logs and manifests that are real files."""

import dataclasses
import datetime
import json
import sys

import pytest

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_days
from pipeline.config import PipelineConfig
from pipeline.kubeflow.container_io import RuntimeArtifact
from pipeline.kubeflow.plain_executors import PlainArtifact
from pipeline.kubeflow.retraining_steps import (
    RetrainingEndExecutor,
    RetrainingPlanExecutor,
    retraining_part,
)
from schemas.contract import RUN_ID_VARIABLE
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
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

    def write(self, *days: int) -> None:
        for number in days:
            (self.data / "log" / f"{day(number)}.csv").write_text(f"rows of {number}")

    def release(self, version: int, first: int, last: int, run_id: str = "r0", **more) -> None:
        """Publish what a run made that trained on the files of these days as they are now."""
        window = WindowConfig(
            first=datetime.date(2026, 11, first), last=datetime.date(2026, 11, last), maximum_missing_days=30
        )
        manifest = {
            "version": version, "created": f"2026-11-19T04:00:{version:02}+00:00", "run_id": run_id,
            "model_id": "m1", "dim": 3, "temperature": 0.1, "items": 3, "schema_sha256": "1",
            "transform_sha256": "2", "metrics": {}, "popularity": {}, "parts": {},
            "day_fingerprints": fingerprint_days(self.features, str(self.data), window), **more,
        }  # fmt: skip
        file = self.serving / "releases" / str(version) / "manifest.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(manifest))

    def plan(self, **properties):
        artifact = PlainArtifact(RuntimeArtifact("system.Markdown", "s3://b/plan", self.folder / "plan.md"))
        return RetrainingPlanExecutor().Do({}, {"plan": [artifact]}, self.properties | properties)

    def end(self, state: str, **properties) -> list[dict]:
        """Run the last step, and return what people were told."""
        given = self.properties | {"status": {"state": state, "error": {}}} | properties
        assert RetrainingEndExecutor().Do({}, {}, given) is None
        told = self.folder / "told"
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
        "is_due": "yes", "planned_from": day(17), "planned_to": day(20), "planned_last_days": 0,
    }  # fmt: skip
    assert (shop.folder / "plan.md").read_text().startswith(f"Window: {day(17)} to {day(20)}, 4 days")


def test_nothing_new_is_not_due(shop):
    shop.write(*range(10, 21))
    shop.release(1, 17, 20)
    assert shop.plan()["is_due"] == "no"
    assert "Nothing is new since release 1" in (shop.folder / "plan.md").read_text()
    assert shop.end("COMPLETE") == []


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


def test_as_many_days_may_be_missing_as_the_configuration_says(shop):
    shop.write(17, 20)
    assert shop.plan()["is_due"] == "yes"
    (shop.data / "log" / f"{day(17)}.csv").unlink()
    with pytest.raises(DataError, match="2026-11-17"):
        shop.plan()


def test_a_release_of_this_run_is_told_whatever_the_state(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.plan()
    shop.release(2, 17, 20, run_id="r1")
    [event] = shop.end("RUNNING")
    assert (event["kind"], event["release"], event["run_id"]) == ("released", 2, "r1")
    assert event["title"] == "shop: released"
    assert shop.notes == []


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        ("COMPLETE", "refused", "released nothing: its report says why"),
        ("FAILED", "failure", "is FAILED to KFP; its page there says in which step"),
        # What some servers say of every nested graph.
        ("RUNNING", "failure", "has not said whether a step failed or the model was refused"),
    ],
)
def test_a_run_without_a_release_is_told_as_far_as_it_is_known(shop, state, kind, says):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.plan()
    # Data of after the plan change nothing about how its run ended.
    (shop.data / "items.parquet").unlink()
    [event] = shop.end(state)
    assert event["kind"] == kind
    assert says in event["body"]
    assert event["release"] is None


@pytest.mark.parametrize("state", ["COMPLETE", "RUNNING"])
def test_a_file_that_comes_after_an_empty_plan_is_the_next_nights(shop, state):
    shop.write(*range(10, 20))
    shop.release(1, 16, 19)
    shop.plan()
    shop.write(20)
    assert shop.end(state) == []
    assert shop.plan()["is_due"] == "yes"


def test_data_that_are_not_there_are_the_reason_of_the_failure(shop):
    with pytest.raises(DataError):
        shop.plan()
    [event] = shop.end("FAILED")
    assert event["kind"] == "failure"
    assert "did not begin" in event["body"]
    assert "log/{date}.csv" in event["body"]


def test_a_window_that_is_none_is_the_reason_of_the_failure(shop):
    with pytest.raises(ConfigError):
        shop.plan(window_from=day(11))
    assert "both" in shop.end("FAILED")[0]["body"]


def test_a_plan_that_was_killed_is_told(shop):
    [event] = shop.end("FAILED")
    assert "the log of its RetrainingPlan says why" in event["body"]


def test_what_cannot_be_found_out_is_told(shop):
    shop.write(*range(10, 21))
    shop.plan()
    shop.release(1, 17, 20, run_id="r1")
    (shop.serving / "releases/1/manifest.json").write_text("{")
    [event] = shop.end("COMPLETE")
    assert event["kind"] == "failure"
    assert "cannot be found out how it ended" in event["body"]


def test_a_manifest_of_before_that_cannot_be_read_hinders_nobody(shop):
    shop.write(*range(10, 21))
    shop.release(1, 10, 13)
    shop.release(2, 10, 13)
    (shop.serving / "releases/1/manifest.json").write_text("{")
    shop.plan()
    shop.release(3, 17, 20, run_id="r1")
    assert shop.end("COMPLETE")[0]["release"] == 3


def test_releases_that_are_no_longer_kept_go(shop):
    shop.write(*range(10, 21))
    for version in range(1, 6):
        shop.release(version, 17, 20)
    shop.plan()
    shop.end("COMPLETE")
    assert sorted(path.name for path in (shop.serving / "releases").glob("[0-9]*")) == ["4", "5"]


def test_days_are_not_lost_where_only_refreshes_are_kept(shop):
    shop.write(*range(1, 21))
    shop.release(1, 8, 11)
    for version in (2, 3, 4):
        shop.release(version, 8, 11, refreshed_from=version - 1)
    shop.plan()
    shop.end("COMPLETE")
    assert sorted(path.name for path in (shop.serving / "releases").glob("[0-9]*")) == ["3", "4"]
    assert shop.plan()["planned_from"] == day(12)


def test_the_part_of_the_configuration_does_not_change_with_the_rest(shop):
    other = dataclasses.replace(
        shop.config, training=dataclasses.replace(shop.config.training, learning_rate=0.5, epochs=9)
    )
    assert retraining_part(other) == retraining_part(shop.config)
    every = dataclasses.replace(shop.config.training, cold_every=7)
    assert retraining_part(dataclasses.replace(shop.config, training=every)) != retraining_part(shop.config)
