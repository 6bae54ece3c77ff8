"""One training from files to two towers; it knows no TFX."""

import dataclasses
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from schemas.contract import CHECKPOINTS, MODEL_ID, MODEL_INFO_FILE, PROGRESS_LOGGER, STATE, VALIDATION_SPLIT
from schemas.features import FeatureSpec
from schemas.sequences import count_split_rows
from schemas.skew import BFLOAT16_TOLERANCE, SKEW_SAMPLE, TOLERANCE
from schemas.split_times import read_split_times
from trainer.base_release import BaseChoice, choose_base
from trainer.config import TrainerConfig
from trainer.data.load import InputFolders, load_training_data
from trainer.export import export_towers
from trainer.skew_sample import write_skew_sample
from trainer.state import Row, write_state
from trainer.strategy import is_chief
from trainer.training import TrainingResult, train
from trainer.vocabularies import encoded_sizes, table_rows
from trainer.warm_start import take_state

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class TrainingJob:
    """Where a training reads and writes; local paths, but for the two directories."""

    inputs: InputFolders
    """The sequences, the catalogue and the transform graphs."""
    serving_directory: str
    """Where the releases are that a warm start begins from, a path or URI; '' where none is wanted."""
    checkpoint_directory: str
    """Folder of the checkpoints of all trainings, a path or URI; '' for none."""
    model: str
    """Where user_tower/, item_tower/, state/, skew_sample/ and model.json go."""
    logs: str
    """Where TensorBoard's logs go."""


def train_and_export(
    job: TrainingJob, spec: FeatureSpec, config: TrainerConfig, strategy: tf.distribute.Strategy
) -> str | None:
    """Train both towers and export them, of several workers the chief alone.

    Args:
        job: Where to read and write.
        spec: The features.
        config: The settings.
        strategy: The replicas.

    Returns:
        Folder of the training's checkpoints, to be deleted once the model is safe; model.json names it, too.
        None without any, and where this process is not the chief.

    Raises:
        ConfigError: A setting does not fit the features, the batch or the release that a warm start begins
            from.
        DataError: The sequences or the catalogue cannot be used.
        ReleaseError: The state of the release cannot be read.
        StorageError: A checkpoint or a release is in a store that cannot be reached or refuses.
        TrainingError: Training cannot start or cannot go on.
    """
    stopping = config.training.early_stopping
    sizes = encoded_sizes(spec, job.inputs.graphs)
    rows = table_rows(spec, sizes, job.inputs.graphs)
    choice = _choose_base(job, spec, config, rows)
    if choice.base is not None and config.training.warm_epochs is not None:
        settings = dataclasses.replace(config.training, epochs=config.training.warm_epochs)
        config = dataclasses.replace(config, training=settings)
    data = load_training_data(
        job.inputs,
        spec,
        read_validation=stopping is not None,
        fits_validation=stopping is not None and stopping.refit,
    )
    if stopping is None and count_split_rows(Path(job.inputs.sequences))[VALIDATION_SPLIT]:
        _PROGRESS.info("The validation split is not read, since training.early_stopping is null.")
    result = train(
        data,
        spec,
        config,
        sizes,
        strategy,
        log_directory=job.logs,
        checkpoint_directory=job.checkpoint_directory or None,
        warm_start=choice.base,
    )
    if not is_chief(strategy):
        return None

    model_id = uuid.uuid4().hex
    directory = job.model
    # Before the export, so that nothing of it can be in what it is held against.
    sampled = write_skew_sample(result.towers, data, job.inputs, spec, Path(directory) / SKEW_SAMPLE)
    export_towers(result.towers, job.inputs.graphs, spec, data.gap_boundaries, directory, model_id)
    state = take_state(
        result.towers, result.optimizer, model_id=model_id, spec=spec, config=config.model, rows=rows
    )
    write_state(Path(directory) / STATE, state)
    with tf.io.gfile.GFile(f"{directory}/{MODEL_INFO_FILE}", "w") as file:
        description = {
            MODEL_ID: model_id,
            **_describe(result, config, choice),
            SKEW_SAMPLE: {**sampled, "tolerance": _tolerance(config)},
        }
        file.write(json.dumps(description, indent=2))
    _PROGRESS.info("Towers written to %s", directory)
    return result.checkpoints


def _tolerance(config: TrainerConfig) -> float:
    return BFLOAT16_TOLERANCE if config.training.mixed_precision else TOLERANCE


def _choose_base(
    job: TrainingJob, spec: FeatureSpec, config: TrainerConfig, rows: Mapping[str, Sequence[Row]]
) -> BaseChoice:
    if not config.training.warm_start:
        return BaseChoice(None, "training.warm_start is false")
    times = read_split_times(Path(job.inputs.sequences), spec)
    choice = choose_base(job.serving_directory, spec, config, rows, times)
    choice.log()
    return choice


def _describe(result: TrainingResult, config: TrainerConfig, choice: BaseChoice) -> dict[str, Any]:
    warm_start, base = None, choice.base
    if base is not None and result.warm_start is not None:
        warm_start = {
            "release": base.release,
            MODEL_ID: base.base_id,
            "in_a_row": base.in_a_row,
            **dataclasses.asdict(result.warm_start),
        }
    return {
        "dim": config.model.dim,
        "temperature": config.loss.temperature,
        "steps": result.steps,
        "epochs": config.training.epochs,
        "epochs_run": result.epochs_run,
        "best_epoch": result.best_epoch,
        "recall_by_epoch": list(result.recall_by_epoch),
        "refitted": result.refitted,
        "resumed_from_step": result.resumed_from_step,
        "warm_start": warm_start,
        "start_reason": choice.reason,
        "releases_passed_over": {str(version): reason for version, reason in choice.passed_over.items()},
        CHECKPOINTS: result.checkpoints,
        "train_rows": result.train_rows,
        "global_batch": result.global_batch,
        "rows_left_out_per_epoch": result.rows_left_out_per_epoch,
        "final_loss": result.final_loss,
        "examples_per_second": result.examples_per_second,
    }
