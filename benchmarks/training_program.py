"""One training by `trainer.training.train`, for benchmarks/training.py."""

import dataclasses
import tempfile
import time
from pathlib import Path

from training_data import Log, Program, answer, count_values, make_log, use_two_cores

use_two_cores()

import tensorflow as tf  # noqa: E402

from schemas.features import FeatureSpec, load_feature_spec  # noqa: E402
from trainer.config import LossConfig, ModelConfig, OptimizerConfig, TrainerConfig, TrainingConfig  # noqa: E402
from trainer.data.batches import TrainingData  # noqa: E402
from trainer.data.load import InputFolders, load_training_data  # noqa: E402
from trainer.data.sequences import FlatSequences, Rows  # noqa: E402
from trainer.data.transform_graphs import TransformGraphs  # noqa: E402
from trainer.strategy import configure_devices, create_strategy  # noqa: E402
from trainer.training import train  # noqa: E402
from trainer.vocabularies import EncodedSize, encoded_sizes  # noqa: E402

SCHEMA = "schemas/movielens_100k.yaml"


def load(files: str, spec: FeatureSpec) -> tuple[TrainingData, dict[str, EncodedSize]]:
    """Load the data as the Trainer does, from what `training_artifacts.write_artifacts` wrote."""
    graphs = TransformGraphs(user=f"{files}/user_graph", item=f"{files}/item_graph")
    folders = InputFolders(f"{files}/sequences", f"{files}/catalogue", graphs)
    data = load_training_data(folders, spec, read_validation=False, fits_validation=False)
    return data, encoded_sizes(spec, graphs)


def to_training_data(log: Log) -> TrainingData:
    """Give rows in memory the form in which they are trained on."""
    return TrainingData(
        sequences=FlatSequences(log.offsets, log.item_of_row),
        users=log.users,
        items=log.items,
        item_count=len(log.items["item_id"]),
        train=Rows.between(log.offsets[:-1], log.offsets[1:]),
    )


def run(program: Program) -> dict[str, float]:
    """Train with `trainer.training.train`.

    Args:
        program: The settings.

    Returns:
        `examples_per_second` after the first steps, `read_seconds` of the artifacts, if any, and
        `train_seconds` of everything after them.
    """
    spec = load_feature_spec(SCHEMA)
    if program.files is None:
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
    if program.files is not None:
        data, sizes = load(program.files, spec)
    else:
        data = to_training_data(make_log(program))
        sizes = {name: EncodedSize(values, 1) for name, values in count_values(program).items()}
    read_seconds = time.perf_counter() - start
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as logs:
        train(data, spec, config, sizes, create_strategy(1), log_directory=logs)
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
