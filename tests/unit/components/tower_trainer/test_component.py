import json

import pytest
from tfx.components.trainer.executor import GenericExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names
from tfx.types.channel import Channel

from components.artifacts import Catalogue
from components.tower_trainer.component import TowerTrainer, TowerTrainerExecutor
from schemas.features import load_feature_spec
from trainer.config import CheckpointConfig, TrainerConfig, TrainingConfig

pytestmark = pytest.mark.unit


def make_trainer(epochs: object = 4, checkpoint_directory: object = "/checkpoints") -> TowerTrainer:
    return TowerTrainer(
        examples=Channel(type=standard_artifacts.Examples),
        transform_graph=Channel(type=standard_artifacts.TransformGraph),
        schema=Channel(type=standard_artifacts.Schema),
        catalogue=Channel(type=Catalogue),
        run_fn="trainer.run_fn.run_fn",
        feature_spec=load_feature_spec("schemas/movielens_100k.yaml"),
        trainer_config=TrainerConfig(
            training=TrainingConfig(epochs=99, seed=5, checkpoint=CheckpointConfig(directory="/elsewhere"))
        ),
        epochs=epochs,
        checkpoint_directory=checkpoint_directory,
        serving_directory="/serving",
    )


def run_executor(monkeypatch: pytest.MonkeyPatch, splits: list[str]) -> dict[str, str]:
    """Give the properties that TFX's executor gets, for examples with these splits."""
    seen = {}
    monkeypatch.setattr(
        GenericExecutor, "Do", lambda self, inputs, outputs, properties: seen.update(properties)
    )
    examples = standard_artifacts.Examples()
    examples.uri = "/examples"
    examples.split_names = encode_split_names(splits)
    catalogue = Catalogue()
    catalogue.uri = "/catalogue"
    inputs = {"examples": [examples], "catalogue": [catalogue]}
    TowerTrainerExecutor().Do(inputs, {}, dict(make_trainer().exec_properties))
    return seen


def test_node_keeps_the_name_and_the_outputs_of_tfx() -> None:
    trainer = make_trainer()
    assert trainer.id == "Trainer"
    assert {key: channel.type for key, channel in trainer.outputs.items()} == {
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
    }


def test_run_parameters_are_execution_properties_of_their_own() -> None:
    epochs = RuntimeParameter(name="epochs", ptype=int, default=4)
    checkpoints = RuntimeParameter(name="checkpoint_directory", ptype=str, default="")
    properties = make_trainer(epochs, checkpoints).exec_properties
    assert properties["epochs"] is epochs
    assert properties["checkpoint_directory"] is checkpoints
    assert "epochs" not in json.loads(properties["trainer_config"])["training"]
    assert "99" not in properties["trainer_config"]
    assert "/elsewhere" not in properties["trainer_config"]


def test_tfx_executor_gets_one_custom_config(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run_executor(monkeypatch, ["train", "eval"])
    custom_config = json.loads(seen["custom_config"])
    assert json.loads(custom_config["trainer_config"])["training"]["epochs"] == 4
    assert json.loads(custom_config["trainer_config"])["training"]["seed"] == 5
    assert json.loads(custom_config["feature_spec"])["name"] == "movielens_100k"
    assert {
        key: custom_config[key]
        for key in ("checkpoint_directory", "serving_directory", "catalogue", "validation_files")
    } == {
        "checkpoint_directory": "/checkpoints",
        "serving_directory": "/serving",
        "catalogue": "/catalogue",
        "validation_files": [],
    }
    assert (seen["run_fn"], seen["train_args"]) == ("trainer.run_fn.run_fn", "{}")


def test_the_validation_split_is_handed_over_and_the_eval_split_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = run_executor(monkeypatch, ["train", "eval", "validation"])
    assert json.loads(seen["custom_config"])["validation_files"] == ["/examples/Split-validation/*"]
    # TFX would take the eval split where nothing is said.
    assert json.loads(seen["eval_args"]) == {"splits": ["train"]}
    assert "eval" not in seen["custom_config"]
