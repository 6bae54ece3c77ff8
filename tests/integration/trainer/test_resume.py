"""A training that is killed and started again ends as one that was not, to the last bit."""

import json
import logging
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 240

# Everything that has a state or draws at random: dropout, both kinds of further negatives, slots, a schedule.
PROGRAM = textwrap.dedent(
    """
    import json, os, signal, sys
    import numpy as np
    import tensorflow as tf
    from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding, ZScoreEncoding
    from trainer.config import (
        CheckpointConfig, EarlyStoppingConfig, LossConfig, ModelConfig, OptimizerConfig, TrainerConfig,
        TrainingConfig,
    )
    from trainer.strategy import configure_devices, create_strategy
    from trainer.data.batches import TrainingData
    from trainer.data.sequences import FlatSequences, Rows
    from trainer.training import train
    from trainer.vocabularies import EncodedSize

    refit, checkpoints, output, killed_write = sys.argv[1:]
    directory = os.path.dirname(output)
    vocabulary = VocabularyEncoding(kind="vocabulary")
    spec = FeatureSpec(name="t", features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=vocabulary),
        Feature(name="age", dtype="float", tower="user", encoding=ZScoreEncoding(kind="z_score")),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=vocabulary),
    ), history=History(length=3, time_gap_buckets=4))
    generator = np.random.default_rng(0)
    train_rows, validation_rows = (
        np.bincount(generator.integers(0, 40, rows), minlength=40) for rows in (530, 200)
    )
    offsets = np.concatenate([[0], np.cumsum(train_rows + validation_rows)])
    owners = np.repeat(np.arange(40), np.diff(offsets))
    items = np.where(generator.random(730) < 0.5, owners % 30, generator.integers(0, 30, 730))
    data = TrainingData(
        sequences=FlatSequences(
            offsets,
            items.astype(np.int32),
            seconds=np.cumsum(generator.integers(1, 100, 730)),
        ),
        users={"user_id": np.arange(40), "age": generator.normal(size=40).astype(np.float32)},
        items={"item_id": np.arange(30)},
        item_count=30,
        train=Rows.between(offsets[:-1], offsets[:-1] + train_rows),
        validation=Rows.between(offsets[:-1] + train_rows, offsets[1:]),
        history_items={"history": np.arange(30)},
        gap_boundaries=np.array([60, 120, 300]),
    )
    config = TrainerConfig(
        model=ModelConfig(dim=16, user_layers=(32,), item_layers=()),
        loss=LossConfig(mask_same_user="sequence", uniform_negatives=5, cross_batch_negatives=96,
            cross_batch_warmup_steps=10,
        ),
        training=TrainingConfig(
            per_replica_batch=32, epochs=12, learning_rate=0.01, log_interval_steps=4,
            # With more the order of a sum can depend on what else the machine has to do, and the last bit of
            # a loss with it. One is the default on two cores only.
            intra_op_threads=1,
            optimizer=OptimizerConfig(warmup_steps=20, decay="cosine"),
            checkpoint=CheckpointConfig(interval_steps=7, interval_seconds=None, keep=2),
            early_stopping=EarlyStoppingConfig(k=5, patience_epochs=2, refit=refit == "refit"),
        ),
    )
    # As run_fn does.
    configure_devices(config.training)

    write, written = tf.train.Checkpoint.write, []
    def write_and_die(self, path):
        # The variables are written, and what says so is not yet.
        result = write(self, path)
        written.append(path)
        name = os.path.basename(os.path.dirname(path))
        if killed_write and name.startswith(killed_write) and len(written) > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    tf.train.Checkpoint.write = write_and_die

    result = train(
        data, spec, config,
        {
            "user_id": EncodedSize(40, 1), "item_id": EncodedSize(30, 1),
            "history_gap_seconds": EncodedSize(4, 0),
        },
        create_strategy(1),
        log_directory=os.path.join(directory, "logs"), checkpoint_directory=checkpoints or None,
    )
    arrays = {f"{i:03}": v.numpy() for i, v in enumerate(result.towers.trainable_variables)}
    slots = {f"slot_{i:03}": v.numpy() for i, v in enumerate(result.optimizer.variables)}
    np.savez(output, **arrays, **slots)
    print(json.dumps({
        "steps": result.steps, "resumed": result.resumed_from_step, "recall": result.recall_by_epoch,
        "best": result.best_epoch, "loss": result.final_loss, "refitted": result.refitted,
    }))
    """
)


class Program:
    """Trains in processes that begin where TensorFlow has been imported."""

    def __init__(self, prepared: Any, directory: Path) -> None:
        self.prepared = prepared
        self.directory = directory
        self.file = directory / "program.py"
        self.file.write_text(PROGRAM)

    def start(self, *arguments: object) -> Any:
        return self.prepared.start(self.file, arguments, stdout=self.log, stderr=self.log)

    def finish(self, mode: str, checkpoints: str, output: Path) -> dict:
        arguments = (mode, checkpoints, output, "")
        done = self.prepared.run(self.file, arguments, self.directory, timeout=TIMEOUT_SECONDS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def expect_killed(self, process: Any) -> None:
        assert process.wait(TIMEOUT_SECONDS) == -signal.SIGKILL, self.log.read_text()

    def wait_for_checkpoint(self, process: Any, folder: Path) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not list(folder.glob("*/*/complete.json")):
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @property
    def log(self) -> Path:
        return self.directory / "killed.txt"


def whole_checkpoints(folder: Path) -> list[Path]:
    return sorted(marker.parent for marker in folder.glob("*/*/complete.json"))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


@pytest.mark.parametrize("mode", ["best", "refit"])
def test_killed_at_several_points(prepared: Any, tmp_path: Path, mode: str) -> None:
    program = Program(prepared, tmp_path)
    folder, output = tmp_path / "checkpoints", tmp_path / "resumed.npz"
    expected = program.finish(mode, "", tmp_path / "whole.npz")
    assert expected["best"] < len(expected["recall"])

    # Wherever it is when its first checkpoint is seen.
    process = program.start(mode, folder, output, "")
    program.wait_for_checkpoint(process, folder)
    process.kill()
    program.expect_killed(process)
    first = whole_checkpoints(folder)
    assert first

    # While a checkpoint is being written, in the second training if there is one.
    program.expect_killed(program.start(mode, folder, output, "refit" if mode == "refit" else "fit"))
    partial = [path for path in folder.glob("*/*") if not (path / "complete.json").exists()]
    assert [path.name.startswith(mode) or mode == "best" for path in partial] == [True]
    second = whole_checkpoints(folder)
    # Equal settings and rows have one key.
    assert len(list(folder.iterdir())) == 1
    assert second[-1] > first[-1]

    # The newest checkpoint loses its end.
    assert len(second) > 1
    data = second[-1] / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-10])
    second.pop()

    result = program.finish(mode, str(folder), output)
    assert result.pop("resumed") == step_of(second[-1])
    expected.pop("resumed")
    assert result == expected
    with np.load(tmp_path / "whole.npz") as whole, np.load(output) as resumed:
        assert set(whole) == set(resumed)
        for name in whole:
            np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)


def test_checkpoints_in_an_object_store(bucket: Any, caplog: pytest.LogCaptureFixture) -> None:
    import tensorflow as tf

    from schemas import storage
    from schemas.contract import PROGRESS_LOGGER
    from trainer.checkpoints import Checkpoints, Progress
    from trainer.config import CheckpointConfig

    folder = f"{bucket.uri}/checkpoints"
    opened = Checkpoints(folder, CheckpointConfig(keep=2))
    assert opened.find_newest() is None
    for step in (1, 2, 3):
        opened.write(Progress(step=step), [tf.Variable([step, step + 1])])
    assert storage.list_names(folder) == ["fit-000000000002", "fit-000000000003"]
    # An upload that broke off: the objects before the last one are there.
    storage.delete_file(f"{folder}/fit-000000000003/complete.json")
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        found = Checkpoints(folder, CheckpointConfig()).find_newest()
    assert "no complete.json" in caplog.text
    assert found is not None
    variable = tf.Variable([0, 0])
    found.restore([variable])
    assert (found.progress.step, variable.numpy().tolist()) == (2, [2, 3])
