"""One worker of a training: from the outputs of earlier steps to the model artifact."""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tensorflow as tf

from schemas import storage
from schemas.checkpoints import delete_checkpoints
from schemas.contract import PROGRESS_LOGGER
from schemas.features import FeatureSpec
from trainer.cluster import read_task
from trainer.config import TrainerConfig, TrainingConfig
from trainer.data.load import InputFolders
from trainer.data.transform_graphs import TransformGraphs
from trainer.job import TrainingJob, train_and_export
from trainer.strategy import (
    configure_devices,
    configure_threads,
    create_multi_worker_strategy,
    create_strategy,
    gather_from_workers,
    is_chief,
    reporting_lost_workers,
    worker_position,
)

# TFX's layout of artifacts: the components after the Trainer look for its model there.
MODEL_FOLDER: Final = "Format-Serving"
_LOGS_FOLDER: Final = "logs"

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class WorkerLocations:
    """Where a worker reads and writes, the same for all workers: paths or URIs."""

    sequences: str
    """The ingest's artifact `sequences`."""
    catalogue: str
    """The ingest's artifact `catalogue`."""
    user_transform_graph: str
    """UserTransform's artifact `transform_graph`."""
    item_transform_graph: str
    """ItemTransform's artifact `transform_graph`."""
    serving_directory: str
    """Where the releases are that a warm start begins from."""
    output: str
    """The model artifact: the model goes into Format-Serving/, TensorBoard's logs into logs/."""
    context_transform_graph: str | None = None
    """ContextTransform's artifact `transform_graph`; None without context features."""
    checkpoint_directory: str | None = None
    """Folder of the checkpoints of all trainings; None for none."""


def train_worker(
    locations: WorkerLocations,
    spec: FeatureSpec,
    config: TrainerConfig,
    *,
    environment: Mapping[str, str] = os.environ,
    start_timeout_seconds: float,
) -> None:
    """Train both towers together with the other workers, or alone under the strategy `mirrored`.

    Every worker reads all sequences and trains on its part of each global batch. The chief alone writes:
    checkpoints, and at the end the model; the others end when it is written.

    Args:
        locations: Where to read and write.
        spec: The features.
        config: The settings.
        environment: Has TF_CONFIG under the strategy `multi_worker`.
        start_timeout_seconds: How long to wait for the other workers to start.

    Raises:
        DssmError: As `trainer.job.train_and_export` says.
        WorkerLostError: Another worker is gone; start all again.
    """
    # First, before anything runs on TensorFlow.
    strategy = _create_strategy(config.training, environment, start_timeout_seconds)
    worker, workers = worker_position(strategy)
    if workers > 1:
        _PROGRESS.info("Worker %d of %d%s", worker + 1, workers, ", the chief" if worker == 0 else "")
    with tempfile.TemporaryDirectory(prefix="dssm-worker-") as scratch, reporting_lost_workers():
        output = Path(scratch, "output")
        context = locations.context_transform_graph
        graphs = TransformGraphs(
            _fetch(locations.user_transform_graph, Path(scratch, "user_transform_graph")),
            _fetch(locations.item_transform_graph, Path(scratch, "item_transform_graph")),
            _fetch(context, Path(scratch, "context_transform_graph")) if context else None,
        )
        job = TrainingJob(
            inputs=InputFolders(
                _fetch(locations.sequences, Path(scratch, "sequences")),
                _fetch(locations.catalogue, Path(scratch, "catalogue")),
                graphs,
            ),
            serving_directory=locations.serving_directory,
            checkpoint_directory=locations.checkpoint_directory or "",
            model=str(output / MODEL_FOLDER),
            logs=str(output / _LOGS_FOLDER),
        )
        checkpoints = train_and_export(job, spec, config, strategy)
        if is_chief(strategy):
            for folder in (MODEL_FOLDER, _LOGS_FOLDER):
                # An earlier start may have been ended in the middle of this.
                storage.delete_tree(storage.join(locations.output, folder))
            storage.copy_tree(output, locations.output)
            if checkpoints is not None:
                delete_checkpoints(checkpoints)
            _PROGRESS.info("Model written to %s", locations.output)
        # A worker that ended before the chief has written could not be started again with it.
        gather_from_workers(strategy, worker)


def _create_strategy(
    training: TrainingConfig, environment: Mapping[str, str], start_timeout_seconds: float
) -> tf.distribute.Strategy:
    if training.strategy == "multi_worker":
        configure_threads(training)
        return create_multi_worker_strategy(
            read_task(environment), training.replicas, start_timeout_seconds=start_timeout_seconds
        )
    configure_devices(training)
    return create_strategy(training.replicas)


def _fetch(location: str, copy: Path) -> str:
    """Give a local folder: the one itself, or a copy of one in an object store."""
    if not storage.is_remote(location):
        return str(location)
    storage.copy_tree(location, copy)
    return str(copy)
