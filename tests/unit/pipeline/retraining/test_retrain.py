"""One retraining from plan to message; the pipeline itself is replaced by what a run would have left."""

import dataclasses
import datetime
import json
import sys
from types import SimpleNamespace

import pytest

from components.interaction_ingest.config import WindowConfig
from pipeline.config import PipelineConfig
from pipeline.evaluations import EvaluationError
from pipeline.retraining import retrain as module
from pipeline.retraining.lock import is_running
from pipeline.retraining.plan import Changes, Plan, Training
from pipeline.retraining.retrain import apply_training, retrain
from schemas.errors import DataError
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

NOTE = "import os, sys; open(os.environ['TOLD'], 'a').write(sys.stdin.read() + '\\n')"
WARM, COLD = Training("warm", "release 3 is the current one"), Training("cold", "every seventh")
FEATURES = SimpleNamespace()


class Chain:
    """A pipeline whose runs end as they are told to."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.told, self.said, self.ran = folder, folder / "told", [], []
        self.trainings: tuple[Training, ...] = (WARM,)
        self.releases: list[str | None] = ["/serving/releases/4"]
        self.earlier: list[str] = []
        self.retained: list[bool] = []
        monkeypatch.setenv("TOLD", str(self.told))
        monkeypatch.setattr(module, "read_pipeline_runs", lambda *_: [
            SimpleNamespace(status=status) for status in self.earlier
        ])  # fmt: skip
        monkeypatch.setattr(module, "make_plan", lambda *_, **__: self.plan())
        monkeypatch.setattr(module, "read_evaluation", lambda run_id, *_: run_id)
        monkeypatch.setattr(module, "compare_evaluations", lambda *of: compare(*of))
        monkeypatch.setattr(module, "clean_up", self.clean_up)

    def plan(self) -> Plan:
        changes = Changes(new_days=("2026-11-19",)) if self.trainings else Changes()
        return Plan(
            window=None, days=("2026-11-19",), record=None, changes=changes, catches_up=False, passed_days=(),
            resumed=None, trainings=self.trainings,
        )  # fmt: skip

    def clean_up(self, *_: object) -> None:
        self.retained.append(is_running(self.folder / "runs"))

    def config(self) -> PipelineConfig:
        config = {
            "run": {"name": "shop", "directory": str(self.folder / "runs")},
            "data": {"schema": "shop", "directory": "data"},
            "serving": {"directory": str(self.folder / "serving")},
            "training": {"warm_start": True, "cold_every": 7},
            "retraining": {
                "notify": {
                    "command": [sys.executable, "-c", NOTE],
                    "on": ["failure", "refused", "recovery", "released"],
                    "attempts": 1,
                }
            },
        }
        return parse(PipelineConfig, config, "test")

    def run(self, config: PipelineConfig) -> SimpleNamespace:
        assert is_running(self.folder / "runs")
        self.ran.append(config.training)
        release = self.releases[len(self.ran) - 1]
        return SimpleNamespace(
            run_id=f"r{len(self.ran)}", release=release,
            evaluation_report={"gate": {"sentence": "Blessed." if release else "Refused."}},
        )  # fmt: skip

    def retrain(self) -> str:
        return retrain(self.config(), FEATURES, resume=False, run=self.run, say=self.said.append)

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.told.read_text().splitlines()]


def compare(first: str, second: str) -> SimpleNamespace:
    change = SimpleNamespace(value=0.01, low=0.001, high=0.02)
    difference = SimpleNamespace(
        metric="recall_at_10", first=0.2, second=0.21, change=change, verdict="better"
    )
    report = {"gate": {"metric": "recall_at_10"}}
    return SimpleNamespace(
        first=SimpleNamespace(name=first),
        second=SimpleNamespace(name=second, report=report),
        differences=(difference,),
    )


@pytest.fixture
def chain(tmp_path, monkeypatch):
    return Chain(tmp_path, monkeypatch)


def test_a_release_is_told_after_the_lock_is_given_back(chain):
    assert chain.retrain() == "released"
    assert [training.warm_start for training in chain.ran] == [True]
    # Retention takes a holder of the lock for a run that goes on.
    assert chain.retained == [False]
    [event] = chain.events
    assert (event["kind"], event["run_id"], event["release"]) == ("released", "r1", 4)
    assert event["title"] == "shop: released"
    assert event["body"] == "Blessed."


def test_nothing_new_does_nothing_and_tells_nobody(chain):
    chain.trainings = ()
    assert chain.retrain() == "nothing new"
    assert chain.ran == []
    assert not chain.told.exists()
    assert "Nothing to do" in chain.said[0]


def test_a_refused_model_is_told(chain):
    chain.releases = [None]
    assert chain.retrain() == "refused"
    [event] = chain.events
    assert (event["kind"], event["body"], event["release"]) == ("refused", "Refused.", None)


@pytest.mark.parametrize("status", ["failed", "interrupted", "not blessed", "running"])
def test_the_first_release_after_trouble_is_a_recovery(chain, status):
    # Under the lock none goes on: a run that seems to was killed.
    chain.earlier = [status, "released"]
    chain.retrain()
    assert [event["kind"] for event in chain.events] == ["recovery"]


def test_a_failure_is_told_and_raised(chain, monkeypatch):
    def fail(config):
        raise DataError("log/2026-11-19.csv: all of it is unreadable")

    monkeypatch.setattr(chain, "run", fail)
    with pytest.raises(DataError, match="unreadable"):
        chain.retrain()
    [event] = chain.events
    assert (event["kind"], event["title"]) == ("failure", "shop: the retraining failed")
    assert "log/2026-11-19.csv" in event["body"]
    assert not is_running(chain.folder / "runs")


def test_a_plan_that_cannot_be_made_is_a_failure_too(chain, monkeypatch):
    def fail(*_, **__):
        raise DataError("3 days have no file")

    monkeypatch.setattr(module, "make_plan", fail)
    with pytest.raises(DataError, match="3 days"):
        chain.retrain()
    assert [event["kind"] for event in chain.events] == ["failure"]


def test_warm_and_cold_are_compared_and_the_better_one_is_what_is_told(chain):
    chain.trainings, chain.releases = (WARM, COLD), ["/serving/releases/4", "/serving/releases/5"]
    assert chain.retrain() == "released"
    assert [training.warm_start for training in chain.ran] == [True, False]
    # Counted by the plan, not again by the Trainer.
    assert [training.cold_every for training in chain.ran] == [None, None]
    [event] = chain.events
    assert event["release"] == 5
    assert (
        "cold less warm +0.0100 [+0.0010, +0.0200]: the row of warm starts has fallen behind" in event["body"]
    )


def test_models_that_cannot_be_compared_are_released_all_the_same(chain, monkeypatch):
    def fail(*_):
        raise EvaluationError("they were made on different data")

    chain.trainings, chain.releases = (WARM, COLD), ["/serving/releases/4", "/serving/releases/5"]
    monkeypatch.setattr(module, "compare_evaluations", fail)
    assert chain.retrain() == "released"
    assert [event["kind"] for event in chain.events] == ["released"]
    assert "are not compared: they were made on different data" in chain.said[-1]


def test_a_refused_warm_model_beside_a_released_cold_one_is_a_release(chain):
    chain.trainings, chain.releases = (WARM, COLD), [None, "/serving/releases/4"]
    assert chain.retrain() == "released"
    assert [(event["kind"], event["run_id"]) for event in chain.events] == [("released", "r2")]


def test_a_training_gets_the_window_of_the_plan(chain):
    window = WindowConfig(first=datetime.date(2026, 11, 15), last=datetime.date(2026, 11, 19))
    config = apply_training(chain.config(), dataclasses.replace(chain.plan(), window=window), COLD)
    assert config.ingest.window == window
    assert (config.training.warm_start, config.training.cold_every) == (False, None)
