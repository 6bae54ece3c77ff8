"""What run_fn hands on, and to whom; the real thing is in tests/integration."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import parse, to_json
from trainer import run_fn as module
from trainer.config import TrainerConfig

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


@pytest.fixture
def fn_args(tmp_path):
    (tmp_path / "serving").mkdir()
    return SimpleNamespace(
        custom_config={
            "feature_spec": to_json(parse(FeatureSpec, SPEC, "test")),
            "trainer_config": to_json(
                parse(TrainerConfig, {"model": {"dim": 5}, "training": {"replicas": 2, "epochs": 3}}, "test")
            ),
        },
        train_files=["train/*"],
        transform_graph_path=str(tmp_path / "graph"),
        serving_model_dir=str(tmp_path / "serving"),
        model_run_dir="logs",
    )


@pytest.fixture
def calls(monkeypatch):
    """Replaces the steps of a training by ones that note their order and arguments."""
    calls = []
    result = SimpleNamespace(
        towers="towers", steps=12, train_rows=100, global_batch=24, rows_left_out_per_epoch=4, final_loss=0.5,
        examples_per_second=7.0,
    )  # fmt: skip
    answers = {
        "configure_logical_devices": None,
        "create_strategy": "strategy",
        "read_columns": {"item": np.zeros(100)},
        "encoded_sizes": "sizes",
        "item_log_q": "log_q",
        "train": result,
        "export_towers": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(module, name, lambda *args, n=name, a=answer: calls.append((n, args)) or a)
    monkeypatch.setattr(
        module.tft,
        "TFTransformOutput",
        lambda path: SimpleNamespace(path=path, transformed_feature_spec=dict),
    )
    return calls


def test_makes_the_devices_before_anything_else_uses_tensorflow(fn_args, calls):
    module.run_fn(fn_args)
    assert calls[:2] == [("configure_logical_devices", (2,)), ("create_strategy", (2,))]


def test_trains_on_the_train_files_and_logs_into_the_model_run(fn_args, calls):
    module.run_fn(fn_args)
    arguments = dict(calls)
    assert arguments["read_columns"][0] == ["train/*"]
    assert arguments["train"][3:] == ("sizes", "log_q", "strategy", "logs")


def test_writes_model_json_with_the_id_of_the_towers(fn_args, calls, tmp_path):
    module.run_fn(fn_args)
    towers, output, spec, directory, model_id = dict(calls)["export_towers"]
    assert (towers, output.path, spec.name) == ("towers", str(tmp_path / "graph"), "shop")
    assert directory == str(tmp_path / "serving")
    assert json.loads((tmp_path / "serving" / "model.json").read_text()) == {
        "model_id": model_id,
        "dim": 5,
        "temperature": 0.1,
        "steps": 12,
        "epochs": 3,
        "train_rows": 100,
        "global_batch": 24,
        "rows_left_out_per_epoch": 4,
        "final_loss": 0.5,
        "examples_per_second": 7.0,
    }


def test_two_trainings_have_different_ids(fn_args, calls):
    module.run_fn(fn_args)
    module.run_fn(fn_args)
    ids = [arguments[-1] for name, arguments in calls if name == "export_towers"]
    assert len(set(ids)) == 2


def test_refuses_a_configuration_that_it_does_not_know(fn_args, calls):
    fn_args.custom_config["trainer_config"] = '{"trainig": {}}'
    with pytest.raises(ConfigError, match="did you mean 'training'"):
        module.run_fn(fn_args)
    assert calls == []
