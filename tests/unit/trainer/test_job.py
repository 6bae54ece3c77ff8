"""What a training hands on, and to whom; the real thing is in tests/integration."""

import json
import logging
from types import SimpleNamespace

import pytest

from schemas.contract import PROGRESS_LOGGER
from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer import job as module
from trainer.base_release import BaseChoice
from trainer.config import TrainerConfig
from trainer.data.load import InputFolders
from trainer.data.transform_graphs import TransformGraphs
from trainer.job import TrainingJob
from trainer.warm_start import RowCounts, WarmStartCounts

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
GRAPHS = TransformGraphs("users", "items")
INPUTS = InputFolders("sequences", "catalogue", GRAPHS)


def run(tmp_path, checkpoint_directory="s3://bucket/checkpoints", **training):
    settings = {"model": {"dim": 5}, "training": {"replicas": 2, "epochs": 3} | training}
    (tmp_path / "model").mkdir(exist_ok=True)
    job = TrainingJob(INPUTS, "/releases", checkpoint_directory, str(tmp_path / "model"), "logs")
    return module.train_and_export(job, SPEC, parse(TrainerConfig, settings, "test"), "strategy")


class Calls(list):
    """Which steps of a training were called, with which arguments, in their order."""

    def arguments(self, name):
        [(positional, named)] = [(args, kwargs) for called, args, kwargs in self if called == name]
        return positional, named

    @property
    def names(self):
        return [name for name, _, _ in self]


@pytest.fixture
def calls(monkeypatch):
    """Replaces the steps of a training by ones that note their order and arguments."""
    calls = Calls()
    result = SimpleNamespace(
        towers="towers", optimizer="optimizer", steps=12, epochs_run=2, best_epoch=1,
        recall_by_epoch=(0.5, 0.4),
        refitted=False, resumed_from_step=7, warm_start=None, train_rows=100, global_batch=24,
        rows_left_out_per_epoch=4, final_loss=0.5, examples_per_second=7.0, checkpoints="s3://bucket/checkpoints/key",
    )  # fmt: skip
    answers = {
        "load_training_data": SimpleNamespace(gap_boundaries="boundaries"),
        "count_split_rows": {"train": 100, "validation": 9, "eval": 9},
        "encoded_sizes": "sizes",
        "table_rows": "rows",
        "read_split_times": "times",
        "choose_base": BaseChoice(
            SimpleNamespace(release=4, base_id="m0", in_a_row=3), "the newest", {5: "it has seen too much"}
        ),
        "train": result,
        "write_skew_sample": {"users": 64, "items": 12},
        "export_towers": None,
        "take_state": "state",
        "write_state": None,
    }

    def replace(name, answer):
        def call(*args, **kwargs):
            calls.append((name, args, kwargs))
            return answer

        monkeypatch.setattr(module, name, call)

    for name, answer in answers.items():
        replace(name, answer)
    monkeypatch.setattr(module, "is_chief", lambda strategy: True)
    calls.result = result
    return calls


def test_a_worker_that_is_not_the_chief_exports_nothing(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(module, "is_chief", lambda strategy: False)
    assert run(tmp_path) is None
    assert calls.names[-1] == "train"


def test_trains_on_what_was_loaded(tmp_path, calls):
    assert run(tmp_path) == "s3://bucket/checkpoints/key"
    assert calls.arguments("load_training_data") == (
        (INPUTS, SPEC),
        {"read_validation": False, "fits_validation": False},
    )
    positional, named = calls.arguments("train")
    assert positional[0].gap_boundaries == "boundaries"
    assert positional[3:] == ("sizes", "strategy")
    assert named == {
        "log_directory": "logs",
        "checkpoint_directory": "s3://bucket/checkpoints",
        "warm_start": None,
    }
    assert "choose_base" not in calls.names


def test_no_checkpoint_directory_is_none(tmp_path, calls):
    run(tmp_path, checkpoint_directory="")
    assert calls.arguments("train")[1]["checkpoint_directory"] is None


@pytest.mark.parametrize("refit", [False, True])
def test_early_stopping_reads_the_validation_split(tmp_path, calls, refit):
    run(tmp_path, early_stopping={"refit": refit})
    assert calls.arguments("load_training_data")[1] == {"read_validation": True, "fits_validation": refit}


def test_a_validation_split_that_is_not_read_is_told(tmp_path, calls, caplog, monkeypatch):
    told = "The validation split is not read, since training.early_stopping is null."
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        run(tmp_path)
    assert told in caplog.messages
    caplog.clear()
    monkeypatch.setattr(module, "count_split_rows", lambda folder: {"validation": 0})
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        run(tmp_path)
    assert told not in caplog.messages


def test_a_warm_start_begins_from_the_serving_directory(tmp_path, calls):
    calls.result.warm_start = WarmStartCounts(
        tables={"item": RowCounts(kept=3, new=2, dropped=1)}, dense_kept=("a",), dense_new=(), slots_kept=True
    )
    run(tmp_path, warm_start=True)
    (serving, spec, config, rows, times), _ = calls.arguments("choose_base")
    assert (serving, spec.name, config.model.dim, rows, times) == ("/releases", "shop", 5, "rows", "times")
    assert calls.arguments("train")[1]["warm_start"].base_id == "m0"
    info = json.loads((tmp_path / "model" / "model.json").read_text())
    assert info["start_reason"] == "the newest"
    assert info["releases_passed_over"] == {"5": "it has seen too much"}
    assert info["warm_start"] == {
        "release": 4,
        "model_id": "m0",
        "in_a_row": 3,
        "tables": {"item": {"kept": 3, "new": 2, "dropped": 1}},
        "dense_kept": ["a"],
        "dense_new": [],
        "slots_kept": True,
    }


@pytest.mark.parametrize(("warm_start", "epochs"), [(True, 2), (False, 3)])
def test_a_warm_start_makes_its_own_number_of_passes(tmp_path, calls, warm_start, epochs):
    run(tmp_path, warm_start=warm_start, warm_epochs=2)
    assert calls.arguments("train")[0][2].training.epochs == epochs


def test_a_training_that_finds_no_base_makes_as_many_passes_as_any(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(module, "choose_base", lambda *_: BaseChoice(None, "there is no release"))
    run(tmp_path, warm_start=True, warm_epochs=2)
    assert calls.arguments("train")[0][2].training.epochs == 3


def test_writes_model_json_with_the_id_of_the_towers_and_the_state(tmp_path, calls):
    run(tmp_path)
    (towers, graphs, spec, boundaries, directory, model_id), _ = calls.arguments("export_towers")
    assert (towers, graphs, spec.name, boundaries) == ("towers", GRAPHS, "shop", "boundaries")
    assert directory == str(tmp_path / "model")
    taken, named = calls.arguments("take_state")
    assert taken == ("towers", "optimizer")
    assert (named["model_id"], named["rows"]) == (model_id, "rows")
    assert calls.arguments("write_state")[0] == (tmp_path / "model" / "state", "state")
    assert json.loads((tmp_path / "model" / "model.json").read_text()) == {
        "model_id": model_id,
        "dim": 5,
        "temperature": 0.1,
        "steps": 12,
        "epochs": 3,
        "epochs_run": 2,
        "best_epoch": 1,
        "recall_by_epoch": [0.5, 0.4],
        "refitted": False,
        "resumed_from_step": 7,
        "warm_start": None,
        "start_reason": "training.warm_start is false",
        "releases_passed_over": {},
        "checkpoints": "s3://bucket/checkpoints/key",
        "train_rows": 100,
        "global_batch": 24,
        "rows_left_out_per_epoch": 4,
        "final_loss": 0.5,
        "examples_per_second": 7.0,
        "skew_sample": {"users": 64, "items": 12, "tolerance": 1e-5},
    }


def test_the_sample_is_taken_before_the_export_of_what_was_loaded(tmp_path, calls):
    run(tmp_path)
    (towers, data, inputs, spec, folder), _ = calls.arguments("write_skew_sample")
    assert (towers, data.gap_boundaries, inputs, spec.name) == ("towers", "boundaries", INPUTS, "shop")
    assert folder == tmp_path / "model" / "skew_sample"
    assert calls.names.index("write_skew_sample") < calls.names.index("export_towers")


def test_towers_in_bfloat16_are_told_to_differ_more(tmp_path, calls):
    run(tmp_path, mixed_precision=True)
    sample = json.loads((tmp_path / "model" / "model.json").read_text())["skew_sample"]
    assert sample["tolerance"] == 3e-2


def test_two_trainings_have_different_ids(tmp_path, calls):
    run(tmp_path)
    run(tmp_path)
    ids = [arguments[-1] for name, arguments, _ in calls if name == "export_towers"]
    assert len(set(ids)) == 2
