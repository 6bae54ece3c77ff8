"""How a chain stands; what each part of it says is tested with that part."""

import dataclasses
import datetime
import json
import re
from types import SimpleNamespace

import pytest

from pipeline.config import PipelineConfig
from pipeline.local_schedule import LocalScheduleError
from pipeline.retraining import status as module
from pipeline.retraining.lock import hold_run_lock
from pipeline.retraining.plan import Changes, Plan, Training
from pipeline.retraining.status import read_status
from pipeline.retraining.status_text import render_status, status_to_json, status_to_prometheus
from pipeline.runs import Run
from schemas.errors import DataError, StorageError
from schemas.release import Refusal, RefusedModel, write_refusal
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
RUN = Run(
    run_id="r1", pipeline="shop", started=NOW - datetime.timedelta(hours=9), seconds=60.0,
    status="released", steps=(), release=3, report=None, blessing_metric=None, metrics=None,
)  # fmt: skip
PLAN = Plan(
    window=None, days=("2026-11-18", "2026-11-19"), record=None, changes=Changes(new_days=("2026-11-19",)),
    catches_up=False, passed_days=(), resumed=None,
    trainings=(Training("warm", "release 3 is the current one"),),
)  # fmt: skip


class Chain:
    def __init__(self, folder, monkeypatch):
        self.folder, self.runs, self.plan = folder, [RUN], PLAN
        self.cron: str | None = "0 3 * * *"
        for name in ("runs", "serving"):
            (folder / name).mkdir()
            (folder / name / "file").write_bytes(b"12345")
        monkeypatch.setattr(module, "read_pipeline_runs", lambda *_: self.runs)
        monkeypatch.setattr(module, "make_plan", lambda *_, **__: self.plan)
        monkeypatch.setattr(module, "plan_retention", lambda *_: SimpleNamespace(size_bytes=3 * 2**20))
        monkeypatch.setattr(module, "find_cron", lambda name: self.cron)

    def release(self, age_hours: float) -> None:
        manifest = {
            "version": 3, "created": (NOW - datetime.timedelta(hours=age_hours)).isoformat(), "run_id": "r1",
            "model_id": "m1", "dim": 3, "temperature": 0.1, "items": 3, "schema_sha256": "1",
            "transform_sha256": "2", "metrics": {}, "popularity": {}, "parts": {},
        }  # fmt: skip
        file = self.folder / "serving" / "releases" / "3" / "manifest.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(manifest))

    def status(self, maximum_age_hours: float | None = None):
        config = {
            "run": {"name": "shop", "directory": str(self.folder / "runs")},
            "data": {"schema": "shop", "directory": "data"},
            "serving": {"directory": str(self.folder / "serving")},
        }
        age = None if maximum_age_hours is None else datetime.timedelta(hours=maximum_age_hours)
        return read_status(
            parse(PipelineConfig, config, "test"), SimpleNamespace(), now=NOW, schedule="run", most_runs=5,
            maximum_age=age,
        )  # fmt: skip


@pytest.fixture
def chain(tmp_path, monkeypatch):
    return Chain(tmp_path, monkeypatch)


def test_all_is_well(chain):
    chain.release(age_hours=9)
    status = chain.status(maximum_age_hours=30)
    assert status.is_healthy
    text = render_status(status, NOW)
    for line in (
        "Current release: 3, 9.0 hours old",
        "  Warm training: release 3 is the current one",
        "dssm prune would free 3.0 MiB",
        "All is well",
    ):
        assert line in text.splitlines()
    # Five bytes in each; the manifest is in one of them.
    assert status.disk_bytes[str(chain.folder / "runs")] == 5


@pytest.mark.parametrize("end", ["failed", "interrupted", "not blessed"])
def test_a_last_run_in_trouble_needs_a_person(chain, end):
    chain.release(age_hours=9)
    chain.runs = [dataclasses.replace(RUN, status=end, steps=("Trainer",)), RUN]
    status = chain.status()
    [problem] = status.problems
    assert problem.startswith(f"The last run, r1, {end}")
    assert f"PROBLEM: {problem}" in render_status(status, NOW)


@pytest.mark.parametrize(("run_id", "is_told"), [("on-a-cluster", True), ("r1", False)])
def test_a_model_that_another_machine_refused_needs_a_person(chain, run_id, is_told):
    chain.release(age_hours=9)
    refused = NOW - datetime.timedelta(hours=1)
    models = {"m9": RefusedModel("warm", "Not blessed.")}
    write_refusal(chain.folder / "serving", Refusal(run_id, refused, {}, models))
    problem = f"The last model, of run {run_id}, was refused: Not blessed."
    assert chain.status().problems == ((problem,) if is_told else ())
    # A release since makes it history.
    chain.release(age_hours=0.5)
    assert chain.status().is_healthy


def test_a_release_that_is_too_old_needs_a_person(chain):
    chain.release(age_hours=31)
    assert chain.status().is_healthy
    assert chain.status(maximum_age_hours=30).problems == (
        "Release 3, the current one, is older than 30 hours",
    )


def test_no_release_needs_a_person(chain):
    chain.runs = []
    assert chain.status().problems == (f"There is no release in {chain.folder / 'serving'}",)


def test_what_a_retraining_would_fail_by_is_said_before_it_fails(chain, monkeypatch):
    def fail(*_, **__):
        raise DataError("3 days have no file")

    chain.release(age_hours=9)
    monkeypatch.setattr(module, "make_plan", fail)
    status = chain.status()
    assert status.problems == ("dssm retrain would fail: 3 days have no file",)
    assert "dssm_new_days" not in status_to_prometheus(status)


def test_a_scheduler_that_does_not_answer_is_said(chain, monkeypatch):
    def fail(name):
        raise LocalScheduleError("crontab -l failed")

    chain.release(age_hours=9)
    monkeypatch.setattr(module, "find_cron", fail)
    assert chain.status().problems == ("The schedule run cannot be read: crontab -l failed",)


def test_a_store_that_does_not_answer_is_said_beside_the_rest(chain, monkeypatch):
    def list_files(location):
        if location == str(chain.folder / "serving"):
            raise StorageError("Cannot list s3://shop: no answer")
        return {}

    chain.release(age_hours=9)
    monkeypatch.setattr(module.storage, "list_files", list_files)
    status = chain.status()
    serving = chain.folder / "serving"
    assert status.problems == (f"The size of {serving} is not known: Cannot list s3://shop: no answer",)
    assert status.disk_bytes == {str(chain.folder / "runs"): 0}
    assert "dssm_healthy" in status_to_prometheus(status)


def test_who_is_at_work_is_named(chain):
    chain.release(age_hours=9)
    with hold_run_lock(chain.folder / "runs", chain.folder / "serving"):
        status = chain.status()
    assert set(status.holders) == {str(chain.folder / "runs"), str(chain.folder / "serving")}
    assert re.search(r"At work in .*runs: process \d+ of ", render_status(status, NOW))
    assert chain.status().holders == {}


def test_json_has_everything(chain):
    chain.release(age_hours=9)
    document = json.loads(status_to_json(chain.status()))
    assert document["healthy"] is True
    assert document["released"] == "2026-11-20T03:00:00+00:00"
    assert document["plan"]["changes"]["new_days"] == ["2026-11-19"]
    assert document["runs"][0]["status"] == "released"
    assert document["next_run"].startswith("2026-11-2")


def test_prometheus_reads_it(chain):
    from prometheus_client.parser import text_string_to_metric_families

    chain.release(age_hours=9)
    families = text_string_to_metric_families(status_to_prometheus(chain.status()))
    samples = {
        (one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples
    }
    assert samples["dssm_healthy", ("pipeline", "shop")] == 1
    assert samples["dssm_current_release", ("pipeline", "shop")] == 3
    # `date -ud '2026-11-20 03:00' +%s`
    assert samples["dssm_current_release_timestamp_seconds", ("pipeline", "shop")] == 1_795_143_600
    assert samples["dssm_new_days", ("pipeline", "shop")] == 1
    assert samples["dssm_last_run_status", ("pipeline", "shop"), ("status", "released")] == 1
    assert samples["dssm_disk_bytes", ("directory", str(chain.folder / "runs")), ("pipeline", "shop")] == 5
