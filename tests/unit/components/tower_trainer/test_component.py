import json

import pytest
from tfx.components.trainer.executor import GenericExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.tower_trainer.component import TowerTrainer, TowerTrainerExecutor
from schemas.features import load_feature_spec
from trainer.config import TrainerConfig, TrainingConfig

pytestmark = pytest.mark.unit


def make_trainer(epochs: object) -> TowerTrainer:
    return TowerTrainer(
        examples=Channel(type=standard_artifacts.Examples),
        transform_graph=Channel(type=standard_artifacts.TransformGraph),
        schema=Channel(type=standard_artifacts.Schema),
        run_fn="trainer.run_fn.run_fn",
        feature_spec=load_feature_spec("schemas/movielens_100k.yaml"),
        trainer_config=TrainerConfig(training=TrainingConfig(epochs=99, seed=5)),
        epochs=epochs,
    )


def test_node_keeps_the_name_and_the_outputs_of_tfx() -> None:
    trainer = make_trainer(4)
    assert trainer.id == "Trainer"
    assert {key: channel.type for key, channel in trainer.outputs.items()} == {
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
    }


def test_epochs_are_an_execution_property_of_their_own() -> None:
    parameter = RuntimeParameter(name="epochs", ptype=int, default=4)
    properties = make_trainer(parameter).exec_properties
    assert properties["epochs"] is parameter
    assert "epochs" not in json.loads(properties["trainer_config"])["training"]
    assert "99" not in properties["trainer_config"]


def test_tfx_executor_gets_one_custom_config(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(
        GenericExecutor, "Do", lambda self, inputs, outputs, properties: seen.update(properties)
    )
    properties = dict(make_trainer(4).exec_properties)
    TowerTrainerExecutor().Do({}, {}, properties)
    custom_config = json.loads(seen["custom_config"])
    assert json.loads(custom_config["trainer_config"])["training"]["epochs"] == 4
    assert json.loads(custom_config["trainer_config"])["training"]["seed"] == 5
    assert json.loads(custom_config["feature_spec"])["name"] == "movielens_100k"
    assert (seen["run_fn"], seen["train_args"], seen["eval_args"]) == ("trainer.run_fn.run_fn", "{}", "{}")
