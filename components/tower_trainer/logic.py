"""The Trainer's settings, divided into what is fixed and what changes from run to run."""

import json

from schemas.errors import ConfigError


def drop_epochs(trainer_config: str) -> str:
    """Take the epochs out of the Trainer's settings, so that they stand in one place only.

    Args:
        trainer_config: A `TrainerConfig` as JSON.

    Returns:
        The JSON without `training.epochs`.
    """
    settings = json.loads(trainer_config)
    del settings["training"]["epochs"]
    return json.dumps(settings, sort_keys=True)


def compose_custom_config(feature_spec: str, trainer_config: str, epochs: int) -> str:
    """Make what the run_fn is given.

    Args:
        feature_spec: A `FeatureSpec` as JSON.
        trainer_config: What `drop_epochs` gave.
        epochs: Passes over the train split.

    Returns:
        JSON with `feature_spec` and `trainer_config`, both texts of JSON again.

    Raises:
        ConfigError: The epochs are no whole number from 1 on.
    """
    if epochs != int(epochs) or epochs < 1:
        raise ConfigError(f"epochs: expected a whole number from 1 on. Received: {epochs!r}.")
    settings = json.loads(trainer_config)
    settings["training"]["epochs"] = int(epochs)
    return json.dumps(
        {"feature_spec": feature_spec, "trainer_config": json.dumps(settings, sort_keys=True)}, sort_keys=True
    )
