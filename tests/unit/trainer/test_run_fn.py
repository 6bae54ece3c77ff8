"""What run_fn makes of the properties that the Trainer's component hands on."""

import pytest

from schemas import storage
from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, parse, to_json
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


def make_config(**training: object) -> str:
    return to_json(parse(TrainerConfig, {"training": {"replicas": 2} | training}, "test"))


def given(**changes):
    return {
        "feature_spec": to_json(parse(FeatureSpec, SPEC, "test")),
        "trainer_config": make_config(),
        "sequences": "s",
        "catalogue": "c",
        "user_transform_graph": "u",
        "item_transform_graph": "i",
        "context_transform_graph": "",
        "serving_directory": "/releases",
        "checkpoint_directory": "s3://bucket/checkpoints",
        "model": "m",
        "logs": "l",
    } | changes


@pytest.fixture
def calls(monkeypatch):
    calls = []
    answers = {"configure_devices": None, "create_strategy": "strategy", "train_and_export": "a folder"}
    for name, answer in answers.items():

        def call(*arguments, name=name, answer=answer):
            calls.append((name, *arguments))
            return answer

        monkeypatch.setattr(module, name, call)
    return calls


def test_makes_the_devices_before_anything_else_uses_tensorflow(calls):
    module.run_fn(given())
    settings = from_json(TrainerConfig, make_config()).training
    assert calls[:2] == [("configure_devices", settings), ("create_strategy", 2)]


def test_the_training_is_given_every_folder_and_its_checkpoints_stay(calls, monkeypatch):
    monkeypatch.setattr(storage, "delete_tree", pytest.fail)
    module.run_fn(given(context_transform_graph="x"))
    name, job, spec, config, strategy = calls[2]
    assert (name, spec.name, config.training.replicas, strategy) == (
        "train_and_export",
        "shop",
        2,
        "strategy",
    )
    graphs = job.inputs.graphs
    assert (job.inputs.sequences, job.inputs.catalogue) == ("s", "c")
    assert (graphs.user, graphs.item, graphs.context) == ("u", "i", "x")
    assert (job.serving_directory, job.checkpoint_directory) == ("/releases", "s3://bucket/checkpoints")
    assert (job.model, job.logs) == ("m", "l")
    assert calls[3:] == []


def test_without_context_features_there_is_no_graph_of_them(calls):
    module.run_fn(given())
    assert calls[2][1].inputs.graphs.context is None


def test_a_step_of_a_pipeline_is_no_worker(calls):
    with pytest.raises(ConfigError, match=r"expected mirrored.*docs/multi_worker\.md"):
        module.run_fn(given(trainer_config=make_config(strategy="multi_worker")))
    assert calls == []


def test_refuses_a_configuration_that_it_does_not_know(calls):
    with pytest.raises(ConfigError, match="did you mean 'training'"):
        module.run_fn(given(trainer_config='{"trainig": {}}'))
    assert calls == []
