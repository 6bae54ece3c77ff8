import dataclasses
import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import StorageError
from schemas.features import Feature, FeatureSpec, History, ItemTable, Tables, VocabularyEncoding
from trainer import checkpoints
from trainer.checkpoints import Checkpoints, Progress, training_key
from trainer.config import CheckpointConfig, LossConfig, ModelConfig, TrainerConfig, TrainingConfig
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit


def make_variables(value):
    return [
        tf.Variable(tf.fill([3, 2], float(value))),
        tf.Variable(value, dtype=tf.int64),
        tf.Variable(value / 3, dtype=tf.float64),
    ]


def write_steps(folder, steps, **settings):
    opened = Checkpoints(str(folder), CheckpointConfig(**settings))
    for step in steps:
        opened.write(Progress(step=step), make_variables(step))
    return opened


def read_newest(folder):
    found = Checkpoints(str(folder), CheckpointConfig()).find_newest()
    variables = make_variables(0)
    found.restore(variables)
    values = [variable.numpy() for variable in variables]
    step = found.progress.step
    np.testing.assert_array_equal(values[0], np.full([3, 2], step, np.float32))
    assert values[1:] == [step, step / 3]
    return step


def test_the_newest_checkpoint_comes_back_with_its_progress(tmp_path):
    opened = Checkpoints(str(tmp_path), CheckpointConfig(keep=3))
    assert opened.find_newest() is None
    assert opened.newest is None
    opened.write(Progress(step=1000), make_variables(1000))
    progress = Progress(phase="refit", step=7, recall_by_epoch=(0.1, 0.30000000000000004, 0.2))
    opened.write(progress, make_variables(7))
    assert opened.newest == str(tmp_path / "refit-000000000007")
    found = Checkpoints(str(tmp_path), CheckpointConfig()).find_newest()
    # A refit comes after the training before it, whatever its step.
    assert found.progress == progress
    assert read_newest(tmp_path) == 7


def test_steps_are_ordered_as_numbers_and_the_newest_are_kept(tmp_path):
    write_steps(tmp_path, [9, 10, 100], keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-000000000010", "fit-000000000100"]
    assert read_newest(tmp_path) == 100


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("variables.data-00000-of-00001", lambda content: content[:-1], "changed: variables.data"),
        ("variables.data-00000-of-00001", lambda content: b"x" + content[1:], "changed: variables.data"),
        ("variables.index", lambda content: None, "changed: variables.index"),
        ("complete.json", lambda content: None, "no complete.json"),
        ("complete.json", lambda content: content[: len(content) // 2], "complete.json: "),
        ("complete.json", lambda content: b"{}", "complete.json: 'progress'"),
    ],
)
def test_one_that_is_not_whole_falls_back_to_the_one_before(tmp_path, caplog, file, damage, message):
    write_steps(tmp_path, [1, 2])
    path = tmp_path / "fit-000000000002" / file
    content = damage(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        assert read_newest(tmp_path) == 1
    (record,) = caplog.records
    assert "fit-000000000002" in record.getMessage()
    assert message in record.getMessage()


def test_a_damaged_one_is_not_kept_in_the_place_of_a_whole_one(tmp_path):
    write_steps(tmp_path, [1, 4])
    (tmp_path / "fit-000000000004" / "complete.json").unlink()
    opened = Checkpoints(str(tmp_path), CheckpointConfig(keep=1))
    assert opened.find_newest().progress.step == 1
    opened.write(Progress(step=3), make_variables(3))
    assert [path.name for path in tmp_path.iterdir()] == ["fit-000000000003"]
    # The same step again is whole in the end, with nothing left of the damaged one.
    write_steps(tmp_path, [4])
    (tmp_path / "fit-000000000004" / "complete.json").unlink()
    opened = Checkpoints(str(tmp_path), CheckpointConfig())
    assert opened.find_newest().progress.step == 3
    opened.write(Progress(step=4), make_variables(4))
    assert read_newest(tmp_path) == 4


@pytest.mark.parametrize("shapes", [[[3, 3], [], []], [[3, 2], []], [[3, 2], [], [], [1]]])
def test_one_of_other_variables_says_what_to_do(tmp_path, shapes):
    write_steps(tmp_path, [1])
    dtypes = [tf.float32, tf.int64, tf.float64, tf.float32]
    others = [tf.Variable(tf.zeros(shape, dtype)) for shape, dtype in zip(shapes, dtypes, strict=False)]
    found = Checkpoints(str(tmp_path), CheckpointConfig()).find_newest()
    with pytest.raises(StorageError, match=f"other variables .* Delete the folder {tmp_path} to start anew"):
        found.restore(others)


def test_one_that_could_not_be_written_takes_no_whole_ones_place(tmp_path, monkeypatch):
    opened = write_steps(tmp_path, [1, 2], keep=2)
    with monkeypatch.context() as broken:
        broken.setattr(
            checkpoints.storage, "write_bytes", lambda *_: (_ for _ in ()).throw(StorageError("full"))
        )
        with pytest.raises(StorageError, match="full"):
            opened.write(Progress(step=3), make_variables(3))
    assert opened.newest.endswith("fit-000000000002")
    opened.write(Progress(step=4), make_variables(4))
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "4"]


def test_files_that_cannot_be_written_or_are_gone(tmp_path, monkeypatch):
    write_steps(tmp_path, [1])
    found = Checkpoints(str(tmp_path), CheckpointConfig()).find_newest()
    (tmp_path / "fit-000000000001" / "variables.index").unlink()
    with pytest.raises(StorageError, match=r"Cannot read the checkpoint .*/fit-000000000001"):
        found.restore(make_variables(0))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"Cannot delete .*file/a/fit-000000000001.*Not a directory"):
        write_steps(tmp_path / "file" / "a", [1])
    monkeypatch.setattr(checkpoints.Path, "mkdir", lambda path, **_: (tmp_path / "none" / "x").write_text(""))
    with pytest.raises(StorageError, match=r"Cannot write the checkpoint .*/fit-000000000002"):
        write_steps(tmp_path, [2])


def test_intervals_of_steps_and_of_seconds(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    both = Checkpoints(str(tmp_path), CheckpointConfig(interval_steps=10, interval_seconds=60))
    seconds = Checkpoints(str(tmp_path), CheckpointConfig(interval_seconds=60))
    neither = Checkpoints(str(tmp_path), CheckpointConfig(interval_seconds=None))
    assert [both.next_due(step) for step in (0, 9, 10, 11)] == [10, 10, 20, 20]
    assert [opened.next_due(0) for opened in (seconds, neither)] == [None, None]
    assert [both.is_due(step) for step in (9, 10, 11, 20)] == [False, True, False, True]
    now = 159.0
    assert not seconds.is_due(10)
    now = 160.0
    assert [opened.is_due(11) for opened in (both, seconds, neither)] == [True, True, False]
    seconds.write(Progress(step=11), make_variables(11))
    assert not seconds.is_due(12)
    now = 220.0
    assert seconds.is_due(13)


VOCABULARY = VocabularyEncoding(kind="vocabulary")
RARE = VocabularyEncoding(kind="vocabulary", minimum_count=2)
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ),
)


ROWS = {"user_id": np.arange(6), "item_id": np.arange(6) % 3}


def make_key(**changes):
    arguments = {
        "arrays": ROWS,
        "spec": SPEC,
        "config": TrainerConfig(),
        "sizes": {"item_id": EncodedSize(3, 1)},
        "replicas": 1,
        "base_id": None,
    } | changes
    return training_key(**arguments)


def change_spec(**changes):
    return dataclasses.replace(SPEC, **changes)


def change_training(**changes):
    return TrainerConfig(training=dataclasses.replace(TrainingConfig(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"arrays": ROWS | {"user_id": np.arange(6)[::-1]}},
        {"arrays": {"user_id": ROWS["item_id"], "item_id": ROWS["user_id"]}},
        {"arrays": ROWS | {"item_id": ROWS["item_id"][:, None]}},
        {"arrays": ROWS | {"validation/begins": np.arange(1)}},
        {"spec": change_spec(history=History(length=3))},
        {
            "spec": change_spec(
                features=(SPEC.features[0], dataclasses.replace(SPEC.features[1], encoding=RARE))
            )
        },
        {"config": TrainerConfig(loss=LossConfig(temperature=0.2))},
        {"config": TrainerConfig(candidates="all")},
        {"config": change_training(seed=2)},
        {"config": change_training(epochs=16)},
        {"sizes": {"item_id": EncodedSize(2, 2)}},
        {"replicas": 2},
        {"base_id": "a"},
    ],
)
def test_what_changes_the_result_changes_the_key(changes):
    assert make_key(**changes) != make_key()


def test_another_tower_of_ones_own_has_another_key(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    # What is named hands the builder on: its own file stays as it is.
    package = tmp_path / "keyed_towers"
    package.mkdir()
    (package / "__init__.py").write_text("from keyed_towers.towers import build\n")
    config = TrainerConfig(model=ModelConfig(user_tower="keyed_towers.build"))
    keys = set()
    for body in ("return 1", "return 2"):
        (package / "towers.py").write_text(f"def build(inputs):\n    {body}\n")
        keys.add(make_key(config=config))
    assert len(keys) == 2


def test_what_does_not_change_the_result_does_not_change_the_key():
    silent = change_training(
        log_interval_steps=7,
        intra_op_threads=4,
        inter_op_threads=5,
        checkpoint=CheckpointConfig(directory="elsewhere", interval_steps=3, keep=5),
    )
    assert make_key(config=silent) == make_key()
    shown = change_spec(
        name="u",
        tables=Tables(items=ItemTable(file="goods.csv", display=("title",))),
        features=tuple(dataclasses.replace(feature, drift_threshold=0.5) for feature in SPEC.features),
    )
    assert make_key(spec=shown) == make_key()


def test_the_marker_is_written_after_everything_it_lists(tmp_path, monkeypatch):
    def die(location, content):
        marker = json.loads(content)
        assert sorted(marker["files"]) == ["variables.data-00000-of-00001", "variables.index"]
        assert {path.name for path in (tmp_path / "fit-000000000002").iterdir()} == set(marker["files"])
        raise KeyboardInterrupt

    opened = write_steps(tmp_path, [1])
    monkeypatch.setattr(checkpoints.storage, "write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        opened.write(Progress(step=2), make_variables(2))
    assert read_newest(tmp_path) == 1
