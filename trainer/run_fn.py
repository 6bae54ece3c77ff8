"""The Trainer's run_fn: the only part of this package that knows TFX."""

import json
import logging
import uuid
from typing import TYPE_CHECKING

import tensorflow as tf
import tensorflow_transform as tft

from schemas.contract import MODEL_ID, MODEL_INFO_FILE, PROGRESS_LOGGER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json
from trainer.config import TrainerConfig
from trainer.export import export_towers
from trainer.input import read_columns
from trainer.strategy import configure_logical_devices, create_strategy
from trainer.training import train
from trainer.vocabularies import encoded_sizes, item_log_q

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


def run_fn(fn_args: "FnArgs") -> None:
    """Train both towers and export them; TFX calls it by its dotted path.

    Args:
        fn_args: `train_files`, patterns of gzip TFRecords of transformed tf.Examples;
            `transform_graph_path`; `custom_config` with `feature_spec` and `trainer_config` as JSON.
            The model goes into `serving_model_dir`: user_tower/, item_tower/ and model.json.
            TensorBoard's logs go into `model_run_dir`.

    Raises:
        ConfigError: A setting does not fit the features or the batch.
        DataError: There are no transformed examples.
        TrainingError: Training cannot start or cannot go on.
    """
    spec = from_json(FeatureSpec, fn_args.custom_config["feature_spec"])
    config = from_json(TrainerConfig, fn_args.custom_config["trainer_config"])
    # First, before anything runs on TensorFlow.
    configure_logical_devices(config.training.replicas)
    strategy = create_strategy(config.training.replicas)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    sizes = encoded_sizes(spec, transform_output)
    columns = read_columns(fn_args.train_files, transform_output.transformed_feature_spec())
    result = train(
        columns, spec, config, sizes, item_log_q(spec, transform_output), strategy, fn_args.model_run_dir
    )

    model_id = uuid.uuid4().hex
    directory = fn_args.serving_model_dir
    export_towers(result.towers, transform_output, spec, directory, model_id)
    info = {
        MODEL_ID: model_id,
        "dim": config.model.dim,
        "temperature": config.loss.temperature,
        "steps": result.steps,
        "epochs": config.training.epochs,
        "train_rows": result.train_rows,
        "global_batch": result.global_batch,
        "rows_left_out_per_epoch": result.rows_left_out_per_epoch,
        "final_loss": result.final_loss,
        "examples_per_second": result.examples_per_second,
    }
    with tf.io.gfile.GFile(f"{directory}/{MODEL_INFO_FILE}", "w") as file:
        file.write(json.dumps(info, indent=2))
    logging.getLogger(PROGRESS_LOGGER).info("Towers written to %s", directory)
