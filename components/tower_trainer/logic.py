"""The Trainer's settings, divided into what is fixed and what changes from run to run."""

import json
from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.strict_config import dump_json


def drop_run_parameters(trainer_config: str) -> str:
    """Take the run parameters out of the Trainer's settings, so that each stands in one place only.

    Args:
        trainer_config: A `TrainerConfig` as JSON.

    Returns:
        The JSON without `training.epochs` and `training.checkpoint.directory`.
    """
    settings = json.loads(trainer_config)
    del settings["training"]["epochs"]
    del settings["training"]["checkpoint"]["directory"]
    return dump_json(settings)


def compose_custom_config(
    feature_spec: str,
    trainer_config: str,
    *,
    epochs: int,
    checkpoint_directory: str,
    serving_directory: str,
    catalogue: str,
    validation_files: Sequence[str],
) -> str:
    """Make what the run_fn is given.

    Args:
        feature_spec: A `FeatureSpec` as JSON.
        trainer_config: What `drop_run_parameters` gave.
        epochs: Passes over the train split.
        checkpoint_directory: Folder of the checkpoints of all trainings: a path or URI; '' for none.
        serving_directory: Where the releases are that a warm start begins from: a path or URI.
        catalogue: Folder of the catalogue.
        validation_files: Patterns of the validation split's files; empty without the split.

    Returns:
        JSON with these keys; `feature_spec` and `trainer_config`, which has the epochs again, are texts of
        JSON.

    Raises:
        ConfigError: The epochs are no whole number from 1 on.
    """
    if epochs != int(epochs) or epochs < 1:
        raise ConfigError(f"epochs: expected a whole number from 1 on. Received: {epochs!r}.")
    settings = json.loads(trainer_config)
    settings["training"]["epochs"] = int(epochs)
    return json.dumps(
        {
            "feature_spec": feature_spec,
            "trainer_config": json.dumps(settings, sort_keys=True),
            "checkpoint_directory": checkpoint_directory,
            "serving_directory": serving_directory,
            "catalogue": catalogue,
            "validation_files": list(validation_files),
        },
        sort_keys=True,
    )
