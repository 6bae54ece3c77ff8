"""One training by `trainer.training.train`, for benchmarks/training.py."""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from training_data import ITEM_FEATURES, USER_FEATURES, VALUES, Program, answer, make_columns, use_two_cores

use_two_cores()

import tensorflow as tf  # noqa: E402

from schemas.features import load_feature_spec  # noqa: E402
from trainer.config import LossConfig, ModelConfig, OptimizerConfig, TrainerConfig, TrainingConfig  # noqa: E402
from trainer.input import read_columns  # noqa: E402
from trainer.strategy import configure_devices, create_strategy  # noqa: E402
from trainer.training import TrainingData, train  # noqa: E402
from trainer.vocabularies import EncodedSize  # noqa: E402

SCHEMA = "schemas/movielens_100k.yaml"
FEATURE_SPEC = {
    **{name: tf.io.FixedLenFeature([], tf.int64) for name in (*USER_FEATURES, *ITEM_FEATURES)},
    "genres": tf.io.VarLenFeature(tf.int64),
    "history": tf.io.FixedLenFeature([20], tf.int64),
}


def run(program: Program) -> dict[str, float]:
    """Train with `trainer.training.train`.

    Args:
        program: The settings.

    Returns:
        `examples_per_second` after the first steps, `read_seconds` of the input files, if any, and
        `train_seconds` of everything after them.
    """
    spec = load_feature_spec(SCHEMA)
    if not program.history:
        spec = dataclasses.replace(spec, history=None)
    config = TrainerConfig(
        model=ModelConfig(
            dim=program.dim,
            user_layers=(program.hidden,),
            item_layers=(program.hidden,),
            dropout=program.dropout,
        ),
        loss=LossConfig(temperature=program.temperature),
        training=TrainingConfig(
            per_replica_batch=program.batch,
            epochs=program.epochs,
            learning_rate=program.learning_rate,
            optimizer=OptimizerConfig(tables=program.tables_optimizer, dense=program.dense_optimizer),
            log_interval_steps=program.warmup_steps,
        ),
    )
    configure_devices(config.training)
    start = time.perf_counter()
    columns = read_columns([program.files], FEATURE_SPEC) if program.files else make_columns(program)
    read_seconds = time.perf_counter() - start
    sizes = {name: EncodedSize(values, 1) for name, values in VALUES.items()}
    sizes["item_id"] = EncodedSize(program.items - 1, 1)
    counts = np.maximum(np.bincount(columns["item_id"], minlength=program.items), 1)
    item_log_q = np.log(counts / counts.sum()).astype(np.float32)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as logs:
        train(
            TrainingData(columns, None, None),
            spec,
            config,
            sizes,
            item_log_q,
            create_strategy(1),
            log_directory=logs,
        )
        train_seconds = time.perf_counter() - start
        points = _read_times(Path(logs))
    (first, begun), (last, ended) = points[0], points[-1]
    return {
        "examples_per_second": (last - first) * program.batch / (ended - begun),
        "read_seconds": read_seconds if program.files else 0.0,
        "train_seconds": train_seconds,
    }


def _read_times(logs: Path) -> list[tuple[int, float]]:
    """Give the step and the time in seconds of each point in TensorBoard."""
    [file] = logs.glob("events*")
    events = tf.compat.v1.train.summary_iterator(str(file))
    by_step = {event.step: event.wall_time for event in events if event.summary.value}
    return sorted(by_step.items())


if __name__ == "__main__":
    answer(run)
