"""What a retraining is to do; daily logs and manifests are real files, runs what ML Metadata would say."""

import dataclasses
import datetime
import json

import pytest

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_days
from pipeline.config import PipelineConfig
from pipeline.retraining.plan import Changes, PlanError, find_changes, make_plan
from pipeline.retraining.plan_text import render_plan
from pipeline.retraining.record import Record
from pipeline.runs import Run
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.release import Refusal, RefusedModel, write_refusal
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

SPEC = {
    "name": "shop",
    "tables": {
        "interactions": {"file": "log/{date}.csv"},
        "users": {"file": "users.parquet"},
        "items": {"file": "items.parquet"},
    },
    "features": [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
        | {"encoding": {"kind": "vocabulary"}},
    ],
}
TODAY = datetime.date(2026, 11, 20)
RUN = Run(
    run_id="r1", pipeline="shop", started=datetime.datetime(2026, 11, 19, 3, tzinfo=datetime.UTC),
    seconds=60.0, status="released", steps=(), release=1, report=None, blessing_metric=None, metrics=None,
)  # fmt: skip


class Shop:
    """A data directory with daily logs, and what is known of earlier trainings."""

    def __init__(self, folder, monkeypatch):
        self.data, self.folder = folder / "data", folder
        self.runs: list[Run] = []
        self.features = parse(FeatureSpec, SPEC, "test")
        (self.data / "log").mkdir(parents=True)
        for table in ("users", "items"):
            (self.data / f"{table}.parquet").write_text(table)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def write(self, *days: int, text: str = "rows") -> None:
        for day in days:
            (self.data / "log" / f"2026-11-{day:02}.csv").write_text(f"{text} of {day}")

    def config(self, last_days: int | None = 5, missing: int = 0, **sections: dict) -> PipelineConfig:
        window = {"last_days": last_days, "maximum_missing_days": missing} if last_days else None
        config = {
            "run": {"name": "shop", "directory": str(self.folder / "runs")},
            "data": {"schema": "shop", "directory": str(self.data)},
            "serving": {"directory": str(self.folder / "serving")},
            "ingest": {"window": window},
        }
        return parse(PipelineConfig, config | sections, "test")

    def plan(self, resume: bool = False, **config: object):
        return make_plan(self.config(**config), self.features, self.runs, resume=resume, today=TODAY)

    def finish(self, first: int, last: int, **changed: object) -> None:
        """Note a run that trained on the files of these days as they are now."""
        report = self.folder / f"report-{len(self.runs)}"
        report.mkdir()
        found = self.fingerprint(first, last)
        (report / "ingest_report.json").write_text(json.dumps({"day_fingerprints": found}))
        asked = (f"2026-11-{first:02}", f"2026-11-{last:02}", 0)
        self.runs.insert(0, dataclasses.replace(RUN, ingest_report=report, window=asked, **changed))

    def fingerprint(self, first: int, last: int):
        """Fingerprints of the files of these days as they are now."""
        window = WindowConfig(
            first=datetime.date(2026, 11, first), last=datetime.date(2026, 11, last), maximum_missing_days=30
        )
        return fingerprint_days(self.features, str(self.data), window)

    def refuse(self, first: int, last: int, when: str = "2026-11-19T05:00:00+00:00") -> None:
        """Leave what a pusher leaves of a model of the files of these days as they are now."""
        models = {"m9": RefusedModel("warm", "Refused: too low.")}
        refusal = Refusal("r9", datetime.datetime.fromisoformat(when), self.fingerprint(first, last), models)
        write_refusal(self.folder / "serving", refusal)

    def release(self, version: int, warm_starts: int = 0, **more: object) -> None:
        warm_start = {"release": version - 1, "model_id": "m0", "tables": {}, "in_a_row": warm_starts}
        manifest = {
            "version": version, "created": "2026-11-19T04:00:00+00:00", "run_id": "r", "model_id": "m1",
            "dim": 3, "temperature": 0.1, "items": 3, "schema_sha256": "1", "transform_sha256": "2",
            "metrics": {}, "popularity": {}, "parts": {}, "warm_start": warm_start if warm_starts else None,
            **more,
        }  # fmt: skip
        file = self.folder / "serving" / "releases" / str(version) / "manifest.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(manifest))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    return Shop(tmp_path, monkeypatch)


def days(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"2026-11-{day:02}" for day in range(first, last + 1))


def test_the_first_run_trains_cold_on_the_days_that_end_with_the_newest(shop):
    shop.write(*range(10, 20))
    plan = shop.plan()
    assert (plan.window.first, plan.window.last) == (datetime.date(2026, 11, 15), datetime.date(2026, 11, 19))
    assert plan.days == plan.changes.new_days == days(15, 19)
    assert [training.start for training in plan.trainings] == ["cold"]
    assert not plan.catches_up


def test_nothing_new_is_nothing_to_do(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19)
    plan = shop.plan()
    assert not plan.changes
    assert plan.trainings == ()
    assert "Nothing is new since run r1" in render_plan(plan)


def test_a_refused_model_is_not_trained_again_on_the_same_data(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19, status="not blessed")
    assert shop.plan().trainings == ()


def test_a_failed_run_has_trained_on_nothing(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19, status="failed")
    assert shop.plan().changes.new_days == days(15, 19)


def test_a_new_day_moves_the_window_by_one(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19)
    shop.write(20)
    plan = shop.plan()
    assert plan.days == days(16, 20)
    assert plan.changes == Changes(new_days=days(20, 20))


def test_a_day_that_was_corrected_is_trained_on_again_within_the_window(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19)
    shop.write(14, 17, text="corrected rows")
    plan = shop.plan()
    assert plan.changes == Changes(changed_days=days(17, 17))
    assert plan.trainings
    assert "Came late or were corrected since run r1: 2026-11-17" in render_plan(plan)


def test_a_day_that_was_missing_counts_as_new_once_it_is_there(shop):
    shop.write(15, 16, 18, 19)
    shop.finish(15, 19)
    shop.write(17)
    assert shop.plan().changes == Changes(new_days=days(17, 17))


def test_a_day_that_came_after_the_window_had_left_it_behind_is_told(shop):
    shop.write(10, 12, 13, 14)
    shop.finish(10, 14)
    shop.write(9, 11, 15, 16)
    # The window begins on the 12th; the 9th lies before that of the last training, which had the 10th.
    plan = shop.plan(missing=1)
    assert plan.passed_days == ("2026-11-11",)
    assert plan.days == tuple(f"2026-11-{day}" for day in range(12, 17))
    assert "so no model is trained on them: 2026-11-11." in render_plan(plan)
    assert shop.plan(missing=1, last_days=6).passed_days == ()


def test_everything_that_is_missing_is_told_at_once(shop):
    shop.write(15, 16, 18, 19)
    (shop.data / "users.parquet").unlink()
    (shop.data / "items.parquet").unlink()
    with pytest.raises(DataError) as told:
        shop.plan()
    count, *lines = str(told.value).splitlines()
    assert count == "Files of 3 tables are missing:"
    for line, name in zip(lines, ("have no file: 2026-11-17", "users.parquet", "items.parquet"), strict=True):
        assert name in line
    # Without any log it is not known which days are wanted.
    for file in (shop.data / "log").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"(?s)No file fits \S*log/\{date\}.csv.*users.*items"):
        shop.plan()


def test_more_missing_days_than_allowed_are_refused(shop):
    shop.write(15, 16, 18, 19)
    with pytest.raises(DataError, match=r"1 days of 2026-11-15 to 2026-11-19 have no file: 2026-11-17"):
        shop.plan()
    assert shop.plan(missing=1).days == (*days(15, 16), *days(18, 19))


def test_after_a_long_pause_no_day_is_left_out(shop):
    shop.write(*range(1, 8))
    shop.finish(3, 7)
    shop.write(*range(8, 20))
    plan = shop.plan()
    # The last five days begin on the 15th, but the 8th to the 14th were never trained on.
    assert plan.days == plan.changes.new_days == days(8, 19)
    assert plan.catches_up
    assert "it reaches back to the day after the newest that a release has seen" in render_plan(plan)


def test_days_to_come_are_not_the_newest(shop):
    shop.write(*range(10, 20), 30)
    assert shop.plan().days == days(15, 19)


def test_tables_that_are_no_logs_count_as_a_whole(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19)
    (shop.data / "items.parquet").write_text("more items")
    plan = shop.plan()
    assert plan.changes == Changes(tables=("items",))
    assert plan.trainings


def test_a_log_in_one_file_is_new_as_a_whole():
    now = {"interactions": {"": "2"}, "users": {"": "1"}, "items": {"": "1"}}
    before = Record("release 3", {"interactions": {"": "1"}, "users": {"": "1"}, "items": {"": "1"}}, {})
    assert find_changes(now, before) == Changes(tables=("interactions",))
    assert not find_changes(before.days, before)
    assert find_changes(now, None) == Changes(tables=("interactions", "users", "items"))


def test_what_another_machine_released_counts_where_it_is_newer(shop):
    shop.write(*range(10, 20))
    shop.release(3, day_fingerprints=shop.fingerprint(15, 19))
    plan = shop.plan()
    assert plan.record.source == "release 3"
    assert plan.trainings == ()
    # A run that began after that release was made knows better.
    shop.write(19, text="corrected rows")
    shop.finish(15, 19, started=datetime.datetime(2026, 11, 19, 5, tzinfo=datetime.UTC))
    assert shop.plan().record.source == "run r1"
    assert shop.plan().trainings == ()


def test_what_another_machine_refused_is_not_trained_again(shop):
    shop.write(*range(10, 20))
    shop.release(3, day_fingerprints=shop.fingerprint(10, 14))
    assert shop.plan().days == days(15, 19)
    shop.refuse(15, 19)
    plan = shop.plan()
    assert plan.trainings == ()
    assert "Nothing is new since run r9, whose model was refused" in render_plan(plan)
    shop.write(16, text="corrected rows")
    assert shop.plan().changes == Changes(changed_days=days(16, 16))


def test_the_window_reaches_back_to_what_a_release_has_seen(shop):
    shop.write(*range(10, 21))
    shop.release(3, day_fingerprints=shop.fingerprint(10, 14))
    # No release has the 15th, and the model that had it is no base.
    shop.refuse(15, 19)
    plan = shop.plan()
    assert (plan.days, plan.changes) == (days(15, 20), Changes(new_days=days(20, 20)))


@pytest.mark.parametrize(("first", "last"), [(10, 12), (20, 20)])
def test_a_refused_model_of_other_days_hides_none(shop, first, last):
    shop.write(*range(10, 22))
    shop.release(3, day_fingerprints=shop.fingerprint(14, 18))
    shop.refuse(first, last)
    plan = shop.plan(last_days=1)
    assert plan.days == days(19, 21)
    new = [day for day in days(19, 21) if day not in days(first, last)]
    assert plan.changes == Changes(new_days=tuple(new))


def test_without_a_release_the_window_is_the_usual_one(shop):
    shop.write(*range(10, 15))
    shop.refuse(10, 14)
    shop.write(*range(15, 31))
    assert shop.plan().days == days(17, 21)


def test_a_refusal_before_the_last_release_is_history(shop):
    shop.write(*range(10, 20))
    shop.release(3, day_fingerprints=shop.fingerprint(15, 19))
    shop.write(19, text="corrected rows")
    for when, is_known in (("2026-11-19T03:59:59+00:00", False), ("2026-11-19T04:00:01+00:00", True)):
        shop.refuse(19, 19, when=when)
        assert (shop.plan().trainings == ()) == is_known
        assert (shop.plan().record.source == "run r9, whose model was refused") == is_known


def test_a_damaged_refusal_is_an_error_with_its_name(shop):
    shop.write(*range(10, 20))
    shop.refuse(10, 14)
    (shop.folder / "serving/releases/refused.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"refused\.json.*Delete the file"):
        shop.plan()


REFRESHED = {"refreshed_from": 2, "created": "2026-11-19T06:00:00+00:00"}


def test_a_refresh_of_the_index_trained_on_nothing(shop):
    shop.write(*range(10, 20))
    # Trained at 03:00, after the release of 02:00 that was refreshed at 06:00.
    shop.finish(15, 19, status="not blessed")
    shop.write(20)
    trained = {"trained": "2026-11-19T02:00:00+00:00"}
    shop.release(3, day_fingerprints=shop.fingerprint(14, 18), **REFRESHED, **trained)
    # The refused run counts as the later one, so the 19th is not new.
    assert shop.plan().changes == Changes(new_days=days(20, 20))


def test_a_refresh_says_what_the_release_had_that_is_no_longer_kept(shop):
    shop.write(*range(10, 21))
    # Refused long before the training whose release was refreshed since.
    shop.refuse(10, 14, when="2026-11-19T01:00:00+00:00")
    trained = {"trained": "2026-11-19T02:00:00+00:00"}
    shop.release(3, day_fingerprints=shop.fingerprint(15, 19), **REFRESHED, **trained)
    assert shop.plan().changes == Changes(new_days=days(20, 20))


def test_a_refresh_of_an_earlier_version_says_what_nothing_else_does(shop):
    shop.write(*range(10, 21))
    shop.release(3, day_fingerprints=shop.fingerprint(14, 18), **REFRESHED)
    assert shop.plan().record.source == "release 3"
    # It does not say when its towers were trained.
    shop.release(2, day_fingerprints=shop.fingerprint(15, 19))
    assert shop.plan().record.source == "release 2"


def test_a_refresh_after_a_rollback_does_not_hide_what_was_trained_since(shop):
    shop.write(*range(10, 21))
    shop.release(2, day_fingerprints=shop.fingerprint(15, 19))
    # Version 1 was rolled back to and refreshed.
    trained = {"trained": "2026-11-18T04:00:00+00:00"}
    shop.release(3, day_fingerprints=shop.fingerprint(14, 18), **REFRESHED | {"refreshed_from": 1}, **trained)
    assert shop.plan().record.source == "release 2"


WARM = {"training": {"warm_start": True, "cold_every": 3}}


@pytest.mark.parametrize(
    ("warm_starts", "starts"), [(0, ["warm"]), (1, ["warm"]), (2, ["warm", "cold"]), (7, ["warm", "cold"])]
)
def test_every_third_time_a_warm_and_a_cold_model_are_trained(shop, warm_starts, starts):
    shop.write(*range(10, 20))
    shop.release(4, warm_starts)
    plan = shop.plan(**WARM)
    assert [training.start for training in plan.trainings] == starts
    assert ("Both are then compared, user by user" in render_plan(plan)) == (len(starts) == 2)


def test_the_comparison_can_be_left_out(shop):
    shop.write(*range(10, 20))
    shop.release(4, warm_starts=2)
    plan = shop.plan(**WARM, retraining={"compare_with_cold": False})
    assert [training.start for training in plan.trainings] == ["cold"]
    assert plan.trainings[0].reason == ("training.cold_every is 3, and release 4 ends a row of 2 warm starts")


def test_a_failed_run_is_resumed_with_its_own_days(shop):
    shop.write(*range(10, 20))
    shop.finish(14, 18)
    shop.finish(15, 19, status="failed", run_id="r2")
    shop.write(20)
    plan = shop.plan(resume=True)
    assert plan.days == days(15, 19)
    assert plan.resumed == "r2"
    assert plan.trainings
    assert "Takes up run r2, which failed" in render_plan(plan)


def test_a_run_that_was_killed_is_resumed_though_nothing_else_is_new(shop):
    shop.write(*range(10, 20))
    shop.finish(15, 19)
    shop.finish(15, 19, status="interrupted")
    assert shop.plan(resume=True).trainings


@pytest.mark.parametrize("status", ["released", "not blessed", None])
def test_without_a_failed_run_there_is_nothing_to_resume(shop, status):
    shop.write(*range(10, 20))
    if status is not None:
        shop.finish(15, 19, status=status)
    with pytest.raises(PlanError, match="--resume: expected a last run that failed"):
        shop.plan(resume=True)
