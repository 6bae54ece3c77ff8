"""One training from files to two towers; it knows no TFX."""

import dataclasses
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from schemas.contract import MODEL_ID, MODEL_INFO_FILE, PROGRESS_LOGGER, STATE, VALIDATION_SPLIT
from schemas.features import FeatureSpec
from schemas.sequences import count_split_rows
from schemas.skew import BFLOAT16_TOLERANCE, SKEW_SAMPLE, TOLERANCE
from trainer.checkpoints import Checkpoints
from trainer.config import TrainerConfig
from trainer.data.load import InputFolders, load_training_data
from trainer.export import export_towers
from trainer.skew_sample import write_skew_sample
from trainer.state import write_state
from trainer.strategy import is_chief
from trainer.training import TrainingResult, train
from trainer.vocabularies import encoded_sizes, table_rows
from trainer.warm_start import WarmStart, load_base, take_state

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
) -> Checkpoints | None:
    """Train both towers and export them, of several workers the chief alone.

    Args:
        job: Where to read and write.
        spec: The features.
        config: The settings.
        strategy: The replicas.

    Returns:
        The checkpoints, to be deleted once the model is safe; None without any, and where this process is not
        the chief.

    Raises:
        ConfigError: A setting does not fit the features, the batch or the release that a warm start begins
            from.
        DataError: The sequences or the catalogue cannot be used.
        ReleaseError: The state of the current release cannot be read.
        StorageError: A checkpoint or a release is in a store that cannot be reached or refuses.
        TrainingError: Training cannot start or cannot go on.
    """
    stopping = config.training.early_stopping
    sizes = encoded_sizes(spec, job.inputs.graphs)
    rows = table_rows(spec, sizes, job.inputs.graphs)
    base = load_base(job.serving_directory, spec, config.model, rows) if config.training.warm_start else None
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
        warm_start=base,
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
            **_describe(result, config, base),
            SKEW_SAMPLE: {**sampled, "tolerance": _tolerance(config)},
        }
        file.write(json.dumps(description, indent=2))
    _PROGRESS.info("Towers written to %s", directory)
    return result.checkpoints


def _tolerance(config: TrainerConfig) -> float:
    return BFLOAT16_TOLERANCE if config.training.mixed_precision else TOLERANCE


def _describe(result: TrainingResult, config: TrainerConfig, base: WarmStart | None) -> dict[str, Any]:
    warm_start = None
    if base is not None and result.warm_start is not None:
        warm_start = {
            "release": base.release,
            MODEL_ID: base.base_id,
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
        "train_rows": result.train_rows,
        "global_batch": result.global_batch,
        "rows_left_out_per_epoch": result.rows_left_out_per_epoch,
        "final_loss": result.final_loss,
        "examples_per_second": result.examples_per_second,
    }
