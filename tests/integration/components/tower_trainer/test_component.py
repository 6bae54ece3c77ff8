import json
import sys
from types import ModuleType

import pytest
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import path_utils

from components.artifacts import Catalogue, Sequences
from components.tower_trainer.component import TowerTrainer
from components.tower_trainer.executor import TowerTrainerExecutor
from schemas.errors import ConfigError
from schemas.features import load_feature_spec
from trainer.config import CheckpointConfig, TrainerConfig, TrainingConfig
from trainer.worker import MODEL_FOLDER

pytestmark = pytest.mark.integration

GRAPH = standard_artifacts.TransformGraph


def make_trainer(
    epochs: object = 4, checkpoint_directory: object = "/checkpoints", **graphs: Channel
) -> TowerTrainer:
    return TowerTrainer(
        sequences=Channel(type=Sequences),
        catalogue=Channel(type=Catalogue),
        user_transform_graph=Channel(type=GRAPH),
        item_transform_graph=Channel(type=GRAPH),
        run_fn="own_training.run_fn",
        feature_spec=load_feature_spec("schemas/movielens_100k.yaml"),
        trainer_config=TrainerConfig(
            training=TrainingConfig(epochs=99, seed=5, checkpoint=CheckpointConfig(directory="/elsewhere"))
        ),
        epochs=epochs,
        start="",
        checkpoint_directory=checkpoint_directory,
        serving_directory="/serving",
        code_fingerprint="c0de",
        **graphs,
    )


def run_executor(
    monkeypatch: pytest.MonkeyPatch, trainer: TowerTrainer, **properties: object
) -> dict[str, str]:
    """Give what the run_fn is called with."""
    seen = {}
    module = ModuleType("own_training")
    module.run_fn = seen.update
    monkeypatch.setitem(sys.modules, "own_training", module)
    artifacts = {}
    for key, channel in {**trainer.inputs, **trainer.outputs}.items():
        artifacts[key] = channel.type()
        artifacts[key].uri = f"/{key}"
    TowerTrainerExecutor().Do(
        {key: [artifacts[key]] for key in trainer.inputs},
        {key: [artifacts[key]] for key in trainer.outputs},
        {**trainer.exec_properties, **properties},
    )
    return seen


def test_node_keeps_the_name_and_the_outputs_of_tfx() -> None:
    trainer = make_trainer()
    assert trainer.id == "Trainer"
    assert {key: channel.type for key, channel in trainer.outputs.items()} == {
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
    }


def test_the_model_lies_where_components_of_tfx_look_for_it() -> None:
    assert path_utils.serving_model_dir("/model") == f"/model/{MODEL_FOLDER}"


def test_contexts_have_a_graph_only_where_one_is_given() -> None:
    graphs = {"user_transform_graph", "item_transform_graph"}
    assert set(make_trainer().inputs) == {"sequences", "catalogue", *graphs}
    with_contexts = make_trainer(context_transform_graph=Channel(type=GRAPH))
    assert set(with_contexts.inputs) == {"sequences", "catalogue", "context_transform_graph", *graphs}


def test_run_parameters_are_execution_properties_of_their_own() -> None:
    epochs = RuntimeParameter(name="epochs", ptype=int, default=4)
    checkpoints = RuntimeParameter(name="checkpoint_directory", ptype=str, default="")
    properties = make_trainer(epochs, checkpoints).exec_properties
    assert properties["epochs"] is epochs
    assert properties["checkpoint_directory"] is checkpoints
    assert properties["code_fingerprint"] == "c0de"
    assert "epochs" not in json.loads(properties["trainer_config"])["training"]
    assert "99" not in properties["trainer_config"]
    assert "/elsewhere" not in properties["trainer_config"]


def test_run_fn_gets_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run_executor(monkeypatch, make_trainer())
    training = json.loads(seen.pop("trainer_config"))["training"]
    assert (training["epochs"], training["seed"]) == (4, 5)
    assert json.loads(seen.pop("feature_spec"))["name"] == "movielens_100k"
    assert seen == {
        "sequences": "/sequences",
        "catalogue": "/catalogue",
        "user_transform_graph": "/user_transform_graph",
        "item_transform_graph": "/item_transform_graph",
        "context_transform_graph": "",
        "checkpoint_directory": "/checkpoints",
        "serving_directory": "/serving",
        "model": "/model/Format-Serving",
        "logs": "/model_run",
    }


def test_run_fn_gets_the_graph_of_the_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run_executor(monkeypatch, make_trainer(context_transform_graph=Channel(type=GRAPH)))
    assert seen["context_transform_graph"] == "/context_transform_graph"


def test_an_empty_text_may_arrive_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run_executor(monkeypatch, make_trainer(), checkpoint_directory=None, serving_directory=None)
    assert (seen["checkpoint_directory"], seen["serving_directory"]) == ("", "")


@pytest.mark.parametrize("epochs", [0, 2.5, -1])
def test_epochs_are_a_whole_number_from_one_on(monkeypatch: pytest.MonkeyPatch, epochs: float) -> None:
    with pytest.raises(ConfigError, match=rf"epochs: expected a whole number from 1 on\. Received: {epochs}"):
        run_executor(monkeypatch, make_trainer(), epochs=epochs)
