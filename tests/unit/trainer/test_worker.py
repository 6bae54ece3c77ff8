"""What a worker fetches, hands on and leaves behind; the real thing is in tests/integration/trainer."""

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf

from schemas.errors import ConfigError, TrainingError
from schemas.features import Feature, FeatureSpec, VocabularyEncoding
from trainer import training, worker
from trainer.checkpoints import Progress
from trainer.cluster import WorkerLostError
from trainer.config import TrainerConfig, TrainingConfig
from trainer.worker import WorkerLocations, train_worker

pytestmark = pytest.mark.unit

CHECKPOINTS = "s3://bucket/checkpoints/0123456789abcdef0123456789abcdef"
VOCABULARY = VocabularyEncoding(kind="vocabulary")
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ),
)


@pytest.fixture
def locations(tmp_path):
    return WorkerLocations(
        sequences=str(tmp_path / "sequences"),
        user_transform_graph=str(tmp_path / "users"),
        item_transform_graph=str(tmp_path / "items"),
        serving_directory="s3://bucket/releases",
        output=str(tmp_path / "model"),
        catalogue=str(tmp_path / "catalogue"),
        checkpoint_directory="s3://bucket/checkpoints",
    )


class Training:
    """Stands for the training: notes what it is given, and writes what the chief writes."""

    def __init__(self, output):
        self.output = Path(output)
        self.calls = []
        self.is_chief = True
        self.error = None

    def __call__(self, files, spec, config, strategy):
        self.calls.append("train")
        self.files, self.spec, self.config, self.strategy = files, spec, config, strategy
        if self.error is not None:
            raise self.error
        (Path(files.logs) / "events").mkdir(parents=True)
        (Path(files.logs) / "events" / "1").write_text("log")
        if not self.is_chief:
            return None
        Path(files.model, "user_tower").mkdir(parents=True)
        Path(files.model, "user_tower", "saved_model.pb").write_text("new")
        return CHECKPOINTS

    def delete(self, folder):
        assert folder == CHECKPOINTS
        assert (self.output / "Format-Serving/user_tower/saved_model.pb").read_text() == "new"
        self.calls.append("delete checkpoints")

    def gather(self, strategy, value):
        self.calls.append("meet the others")
        return [value]


@pytest.fixture
def stand_in(monkeypatch, locations):
    stand_in = Training(locations.output)
    monkeypatch.setattr(worker, "train_and_export", stand_in)
    monkeypatch.setattr(worker, "delete_checkpoints", stand_in.delete)
    monkeypatch.setattr(worker, "gather_from_workers", stand_in.gather)
    monkeypatch.setattr(worker, "is_chief", lambda strategy: stand_in.is_chief)
    return stand_in


def run(locations, config=None, environment=None):
    train_worker(
        locations, SPEC, config or TrainerConfig(), environment=environment or {}, start_timeout_seconds=5.0
    )


def test_the_training_is_given_the_outputs_of_the_steps_before(stand_in, locations, tmp_path):
    run(locations)
    files = stand_in.files
    assert files.inputs.sequences == str(tmp_path / "sequences")
    assert files.inputs.catalogue == str(tmp_path / "catalogue")
    graphs = files.inputs.graphs
    assert (graphs.user, graphs.item, graphs.context) == (
        str(tmp_path / "users"),
        str(tmp_path / "items"),
        None,
    )
    assert (files.serving_directory, files.checkpoint_directory) == (
        "s3://bucket/releases",
        "s3://bucket/checkpoints",
    )
    assert stand_in.spec is SPEC
    assert stand_in.strategy.num_replicas_in_sync == 1
    run(dataclasses.replace(locations, checkpoint_directory=None, context_transform_graph="x"))
    assert (stand_in.files.inputs.graphs.context, stand_in.files.checkpoint_directory) == ("x", "")


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_threads_and_devices_come_before_the_strategy(strategy, stand_in, locations, monkeypatch):
    calls = []

    def note(name):
        def call(*args, **kwargs):
            calls.append(name)
            return tf.distribute.get_strategy()

        monkeypatch.setattr(worker, name, call)

    configuring = ("configure_devices", "configure_threads")
    creating = ("create_strategy", "create_multi_worker_strategy", "read_task")
    for name in configuring + creating:
        note(name)
    monkeypatch.setattr(worker, "worker_position", lambda strategy: (0, 1))
    run(locations, TrainerConfig(training=TrainingConfig(strategy=strategy)))
    assert (
        calls
        == {
            "mirrored": ["configure_devices", "create_strategy"],
            "multi_worker": ["configure_threads", "read_task", "create_multi_worker_strategy"],
        }[strategy]
    )


def test_the_model_lies_where_the_components_look_for_it(stand_in, locations):
    run(locations)
    served = Path(locations.output, "Format-Serving")
    assert (served / "user_tower/saved_model.pb").read_text() == "new"


def test_what_an_earlier_start_left_does_not_stay(stand_in, locations):
    old = Path(locations.output, "Format-Serving/item_tower")
    old.mkdir(parents=True)
    (old / "saved_model.pb").write_text("old")
    Path(locations.output, "of_somebody_else").write_text("kept")
    run(locations)
    found = {
        str(path.relative_to(locations.output))
        for path in Path(locations.output).rglob("*")
        if path.is_file()
    }
    assert found == {"Format-Serving/user_tower/saved_model.pb", "logs/events/1", "of_somebody_else"}


def test_checkpoints_go_when_the_model_is_safe_and_then_the_workers_end_together(stand_in, locations):
    run(locations)
    assert stand_in.calls == ["train", "delete checkpoints", "meet the others"]
    assert not Path(stand_in.files.model).exists()


def test_a_worker_that_is_not_the_chief_leaves_nothing(stand_in, locations):
    stand_in.is_chief = False
    run(locations)
    assert stand_in.calls == ["train", "meet the others"]
    assert not Path(locations.output).exists()
    assert not Path(stand_in.files.logs).parent.exists()


def test_remote_inputs_are_copied(stand_in, locations, monkeypatch):
    copied = {}

    def copy_tree(source, target):
        copied[str(source)] = str(target)

    monkeypatch.setattr(worker.storage, "copy_tree", copy_tree)
    remote = dataclasses.replace(
        locations,
        sequences="s3://bucket/sequences",
        item_transform_graph="s3://bucket/items",
        catalogue="gs://bucket/catalogue",
    )
    stand_in.is_chief = False
    run(remote)
    inputs = stand_in.files.inputs
    assert copied == {
        "s3://bucket/sequences": inputs.sequences,
        "s3://bucket/items": inputs.graphs.item,
        "gs://bucket/catalogue": inputs.catalogue,
    }


def test_several_workers_need_tf_config(stand_in, locations):
    with pytest.raises(ConfigError, match="TF_CONFIG, which is not set"):
        run(locations, TrainerConfig(training=TrainingConfig(strategy="multi_worker")))
    assert stand_in.calls == []


def test_the_loss_of_a_worker_is_reported(stand_in, locations):
    stand_in.error = tf.errors.UnavailableError(None, None, "connection reset")
    with pytest.raises(WorkerLostError, match="connection reset"):
        run(locations)
    assert not Path(locations.output).exists()


def test_workers_that_found_different_checkpoints_do_not_start(monkeypatch):
    def gather_other(step):
        monkeypatch.setattr(training, "gather_from_workers", lambda strategy, own: [own, step])

    gather_other(120.0)
    training._check_same_start(None, Progress(step=120), "folder")
    with pytest.raises(TrainingError, match=r"in folder they find those of the steps \[80, 120\]"):
        training._check_same_start(None, Progress(step=80), "folder")
    # The same number in the other phase is another checkpoint.
    with pytest.raises(TrainingError, match=r"steps \[120, 120\]"):
        training._check_same_start(None, Progress(phase="refit", step=120), "folder")
