"""The Trainer's run_fn: the only part of this package that knows TFX."""

import dataclasses
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from schemas.contract import MODEL_ID, MODEL_INFO_FILE, PROGRESS_LOGGER, STATE
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
from schemas.strict_config import from_json
from trainer.catalogue import read_catalogue
from trainer.checkpoints import Checkpoints
from trainer.config import TrainerConfig
from trainer.export import export_towers
from trainer.input import read_columns
from trainer.state import write_state
from trainer.strategy import configure_devices, create_strategy, is_chief
from trainer.towers import Towers
from trainer.training import TrainingData, TrainingResult, train
from trainer.validation import build_recall
from trainer.vocabularies import encoded_sizes, item_log_q, table_rows
from trainer.warm_start import WarmStart, load_base, take_state

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)

UNREAD_VALIDATION: Final = "The validation split is not read, since training.early_stopping is null."
"""What is logged where there is such a split, and nothing that uses it."""


def run_fn(fn_args: "FnArgs") -> None:
    """Train both towers and export them; TFX calls it by its dotted path.

    Args:
        fn_args: `train_files`, patterns of gzip TFRecords of transformed tf.Examples;
            `transform_graph_path`; `custom_config` with what TowerTrainer puts there: `feature_spec` and
            `trainer_config` as JSON, `catalogue`, `validation_files`, and as paths or URIs
            `checkpoint_directory` and `serving_directory`, '' for none.
            The model goes into `serving_model_dir`: user_tower/, item_tower/, state/ and model.json.
            TensorBoard's logs go into `model_run_dir`.

    Raises:
        ConfigError: A setting does not fit the features, the batch or the release that a warm start begins
            from.
        DataError: There are no transformed examples, or the catalogue cannot be used.
        ReleaseError: The state of the last release cannot be read.
        StorageError: A checkpoint or a release is in a store that cannot be reached or refuses.
        TrainingError: Training cannot start or cannot go on.
    """
    given = fn_args.custom_config
    spec = from_json(FeatureSpec, given["feature_spec"])
    config = from_json(TrainerConfig, given["trainer_config"])
    if config.training.strategy == "multi_worker":
        raise ConfigError(
            "training.strategy: expected mirrored, since a pipeline's Trainer is one process. Received: "
            "multi_worker. docs/multi_worker.md says how the workers of `dssm train` take its place."
        )
    # First, before anything runs on TensorFlow.
    configure_devices(config.training)
    strategy = create_strategy(config.training.replicas)
    files = TrainingFiles(
        train=fn_args.train_files,
        validation=given["validation_files"],
        transform_graph=fn_args.transform_graph_path,
        catalogue=given["catalogue"],
        serving_directory=given["serving_directory"],
        checkpoint_directory=given["checkpoint_directory"],
        model=fn_args.serving_model_dir,
        logs=fn_args.model_run_dir,
    )
    checkpoints = train_and_export(files, spec, config, strategy)
    if checkpoints is not None:
        checkpoints.delete_all()


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training reads and writes; local paths, but for the two directories."""

    train: Sequence[str]
    """Patterns of gzip TFRecords of transformed tf.Examples."""
    validation: Sequence[str]
    """Such patterns of the validation split; empty without the split."""
    transform_graph: str
    """Transform's `transform_graph`."""
    catalogue: str
    """The ingest's `catalogue`."""
    serving_directory: str
    """Where the releases are that a warm start begins from, a path or URI; '' where none is wanted."""
    checkpoint_directory: str
    """Folder of the checkpoints of all trainings, a path or URI; '' for none."""
    model: str
    """Where user_tower/, item_tower/, state/ and model.json go."""
    logs: str
    """Where TensorBoard's logs go."""


def train_and_export(
    files: TrainingFiles, spec: FeatureSpec, config: TrainerConfig, strategy: tf.distribute.Strategy
) -> Checkpoints | None:
    """Train both towers and export them, of several workers the chief alone.

    Args:
        files: Where to read and write.
        spec: The features.
        config: The settings.
        strategy: The replicas.

    Returns:
        The checkpoints, to be deleted once the model is safe; None without any, and where this process is not
        the chief.

    Raises:
        DssmError: As `run_fn` says.
    """
    transform_output = tft.TFTransformOutput(files.transform_graph)
    sizes = encoded_sizes(spec, transform_output)
    rows = table_rows(spec, sizes, transform_output)
    data = _read_data(files, spec, config, transform_output)
    base = (
        load_base(files.serving_directory, spec, config.model, rows) if config.training.warm_start else None
    )
    result = train(
        data,
        spec,
        config,
        sizes,
        item_log_q(spec, transform_output),
        strategy,
        log_directory=files.logs,
        checkpoint_directory=files.checkpoint_directory or None,
        warm_start=base,
        recall=_recall(data, spec, config),
    )
    if not is_chief(strategy):
        return None

    model_id = uuid.uuid4().hex
    directory = files.model
    export_towers(result.towers, transform_output, spec, directory, model_id)
    state = take_state(
        result.towers, result.optimizer, model_id=model_id, spec=spec, config=config.model, rows=rows
    )
    write_state(Path(directory) / STATE, state)
    with tf.io.gfile.GFile(f"{directory}/{MODEL_INFO_FILE}", "w") as file:
        file.write(json.dumps({MODEL_ID: model_id, **_describe(result, config, base)}, indent=2))
    _PROGRESS.info("Towers written to %s", directory)
    return result.checkpoints


def _read_data(
    files: TrainingFiles,
    spec: FeatureSpec,
    config: TrainerConfig,
    transform_output: Any,
) -> TrainingData:
    parsing = transform_output.transformed_feature_spec()
    validation: Mapping[str, np.ndarray] | None = None
    if config.training.early_stopping is None and files.validation:
        _PROGRESS.info(UNREAD_VALIDATION)
    if config.training.early_stopping is not None:
        if not files.validation:
            raise DataError(
                "training.early_stopping: expected examples with a validation split. Received: none. Set "
                "ingest.validation: true."
            )
        validation = read_columns(files.validation, parsing)
    needs_catalogue = validation is not None or config.loss.uniform_negatives > 0
    return TrainingData(
        train=read_columns(files.train, parsing),
        validation=validation,
        catalogue=read_catalogue(files.catalogue, spec, transform_output) if needs_catalogue else None,
    )


def _recall(data: TrainingData, spec: FeatureSpec, config: TrainerConfig) -> Callable[[Towers], float] | None:
    stopping = config.training.early_stopping
    if stopping is None or data.validation is None or data.catalogue is None:
        return None
    return build_recall(spec, data.validation, data.train, data.catalogue, stopping.k)


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
