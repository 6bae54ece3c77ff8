"""What run_fn hands on, and to whom; the real thing is in tests/integration."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, parse, to_json
from trainer import run_fn as module
from trainer.config import TrainerConfig
from trainer.warm_start import RowCounts, WarmStartCounts

pytestmark = pytest.mark.unit

SPEC = {
    "name": "shop",
    "features": [
        {
            "name": "user",
            "dtype": "string",
            "tower": "user",
            "role": "user_id",
            "encoding": {"kind": "vocabulary"},
        },
        {
            "name": "item",
            "dtype": "string",
            "tower": "item",
            "role": "item_id",
            "encoding": {"kind": "vocabulary"},
        },
    ],
}


def make_config(loss: dict | None = None, **training: object) -> str:
    settings = {"model": {"dim": 5}, "loss": loss or {}, "training": {"replicas": 2, "epochs": 3} | training}
    return to_json(parse(TrainerConfig, settings, "test"))


@pytest.fixture
def fn_args(tmp_path):
    (tmp_path / "serving").mkdir()
    return SimpleNamespace(
        custom_config={
            "feature_spec": to_json(parse(FeatureSpec, SPEC, "test")),
            "trainer_config": make_config(),
            "catalogue": "catalogue",
            "validation_files": ["validation/*"],
            "checkpoint_directory": "s3://bucket/checkpoints",
            "serving_directory": "/releases",
        },
        train_files=["train/*"],
        transform_graph_path=str(tmp_path / "graph"),
        serving_model_dir=str(tmp_path / "serving"),
        model_run_dir="logs",
    )


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
    checkpoints = SimpleNamespace(delete_all=lambda: calls.append(("delete_all", (), {})))
    result = SimpleNamespace(
        towers="towers", optimizer="optimizer", steps=12, epochs_run=2, best_epoch=1,
        recall_by_epoch=(0.5, 0.4),
        refitted=False, resumed_from_step=7, warm_start=None, train_rows=100, global_batch=24,
        rows_left_out_per_epoch=4, final_loss=0.5, examples_per_second=7.0, checkpoints=checkpoints,
    )  # fmt: skip
    answers = {
        "configure_devices": None,
        "create_strategy": "strategy",
        "read_columns": {"item": np.zeros(100)},
        "read_catalogue": {"item": np.zeros(9)},
        "encoded_sizes": "sizes",
        "table_rows": "rows",
        "item_log_q": "log_q",
        "load_base": SimpleNamespace(release=4, base_id="m0"),
        "build_recall": "recall",
        "train": result,
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
    monkeypatch.setattr(
        module.tft,
        "TFTransformOutput",
        lambda path: SimpleNamespace(path=path, transformed_feature_spec=dict),
    )
    monkeypatch.setattr(module, "is_chief", lambda strategy: True)
    calls.result = result
    return calls


def test_makes_the_devices_before_anything_else_uses_tensorflow(fn_args, calls):
    module.run_fn(fn_args)
    settings = from_json(TrainerConfig, make_config()).training
    assert calls[:2] == [("configure_devices", (settings,), {}), ("create_strategy", (2,), {})]


def test_a_worker_that_is_not_the_chief_exports_nothing(fn_args, calls, monkeypatch):
    monkeypatch.setattr(module, "is_chief", lambda strategy: False)
    module.run_fn(fn_args)
    assert calls.names[-1] == "train"
    assert "delete_all" not in calls.names


def test_a_step_of_a_pipeline_is_no_worker(fn_args, calls):
    fn_args.custom_config["trainer_config"] = make_config(strategy="multi_worker")
    with pytest.raises(ConfigError, match=r"expected mirrored.*docs/multi_worker\.md"):
        module.run_fn(fn_args)
    assert calls == []


def test_trains_on_the_train_files_alone(fn_args, calls):
    module.run_fn(fn_args)
    assert calls.arguments("read_columns")[0][0] == ["train/*"]
    positional, named = calls.arguments("train")
    data = positional[0]
    assert set(data.train) == {"item"}
    assert (data.validation, data.catalogue) == (None, None)
    assert positional[3:] == ("sizes", "log_q", "strategy")
    assert named == {
        "log_directory": "logs",
        "checkpoint_directory": "s3://bucket/checkpoints",
        "warm_start": None,
        "recall": None,
    }
    assert not {"read_catalogue", "load_base", "build_recall"} & set(calls.names)


def test_no_checkpoint_directory_is_none(fn_args, calls):
    fn_args.custom_config["checkpoint_directory"] = ""
    module.run_fn(fn_args)
    assert calls.arguments("train")[1]["checkpoint_directory"] is None


def test_early_stopping_gets_the_validation_split_and_the_catalogue(fn_args, calls):
    fn_args.custom_config["trainer_config"] = make_config(early_stopping={"k": 20})
    module.run_fn(fn_args)
    files = [args[0] for name, args, _ in calls if name == "read_columns"]
    assert sorted(files) == [["train/*"], ["validation/*"]]
    assert calls.arguments("read_catalogue")[0][0] == "catalogue"
    (_, validation, train, catalogue, k), _ = calls.arguments("build_recall")
    data = calls.arguments("train")[0][0]
    assert (validation, train, catalogue) == (data.validation, data.train, data.catalogue)
    assert k == 20
    assert calls.arguments("train")[1]["recall"] == "recall"


def test_a_validation_split_that_is_not_read_is_told(fn_args, calls, caplog):
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        module.run_fn(fn_args)
    assert "The validation split is not read, since training.early_stopping is null." in caplog.messages


def test_early_stopping_without_the_split_says_what_to_set(fn_args, calls):
    fn_args.custom_config["trainer_config"] = make_config(early_stopping={})
    fn_args.custom_config["validation_files"] = []
    with pytest.raises(
        DataError, match=r"expected examples with a validation split.*ingest\.validation: true"
    ):
        module.run_fn(fn_args)


def test_uniform_negatives_get_the_catalogue(fn_args, calls):
    fn_args.custom_config["trainer_config"] = make_config(loss={"uniform_negatives": 8})
    module.run_fn(fn_args)
    assert len(calls.arguments("train")[0][0].catalogue["item"]) == 9
    assert "build_recall" not in calls.names


def test_a_warm_start_begins_from_the_serving_directory(fn_args, calls, tmp_path):
    fn_args.custom_config["trainer_config"] = make_config(warm_start=True)
    calls.result.warm_start = WarmStartCounts(
        tables={"item": RowCounts(kept=3, new=2, dropped=1)}, dense_kept=("a",), dense_new=(), slots_kept=True
    )
    module.run_fn(fn_args)
    (serving, spec, model, rows), _ = calls.arguments("load_base")
    assert (serving, spec.name, model.dim, rows) == ("/releases", "shop", 5, "rows")
    assert calls.arguments("train")[1]["warm_start"].base_id == "m0"
    assert json.loads((tmp_path / "serving" / "model.json").read_text())["warm_start"] == {
        "release": 4,
        "model_id": "m0",
        "tables": {"item": {"kept": 3, "new": 2, "dropped": 1}},
        "dense_kept": ["a"],
        "dense_new": [],
        "slots_kept": True,
    }


def test_writes_model_json_with_the_id_of_the_towers_and_the_state(fn_args, calls, tmp_path):
    module.run_fn(fn_args)
    (towers, output, spec, directory, model_id), _ = calls.arguments("export_towers")
    assert (towers, output.path, spec.name) == ("towers", str(tmp_path / "graph"), "shop")
    assert directory == str(tmp_path / "serving")
    taken, named = calls.arguments("take_state")
    assert taken == ("towers", "optimizer")
    assert (named["model_id"], named["rows"]) == (model_id, "rows")
    assert calls.arguments("write_state")[0] == (tmp_path / "serving" / "state", "state")
    assert json.loads((tmp_path / "serving" / "model.json").read_text()) == {
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
        "train_rows": 100,
        "global_batch": 24,
        "rows_left_out_per_epoch": 4,
        "final_loss": 0.5,
        "examples_per_second": 7.0,
    }


def test_checkpoints_go_once_everything_is_written(fn_args, calls, tmp_path):
    calls.result.checkpoints.delete_all = lambda: calls.append(
        ("delete_all", ((tmp_path / "serving" / "model.json").is_file(),), {})
    )
    module.run_fn(fn_args)
    assert calls[-1] == ("delete_all", (True,), {})
    assert calls.names.index("write_state") > calls.names.index("export_towers")


def test_two_trainings_have_different_ids(fn_args, calls):
    module.run_fn(fn_args)
    module.run_fn(fn_args)
    ids = [arguments[-1] for name, arguments, _ in calls if name == "export_towers"]
    assert len(set(ids)) == 2


def test_refuses_a_configuration_that_it_does_not_know(fn_args, calls):
    fn_args.custom_config["trainer_config"] = '{"trainig": {}}'
    with pytest.raises(ConfigError, match="did you mean 'training'"):
        module.run_fn(fn_args)
    assert calls == []
