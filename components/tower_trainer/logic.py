"""The Trainer's settings, divided into what is fixed and what changes from run to run."""

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from schemas.errors import ConfigError
from schemas.strict_config import dump_json

RunFn = Callable[[Mapping[str, str]], None]
"""Trains from the given folders and settings, and writes the model."""


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


def restore_epochs(trainer_config: str, epochs: Any) -> str:
    """Put the epochs of a run into the Trainer's settings.

    Args:
        trainer_config: What `drop_run_parameters` gave.
        epochs: Passes over the train split, as an orchestrator hands them on.

    Returns:
        A `TrainerConfig` as JSON.

    Raises:
        ConfigError: The epochs are no whole number from 1 on.
    """
    if epochs != int(epochs) or epochs < 1:
        raise ConfigError(f"epochs: expected a whole number from 1 on. Received: {epochs!r}.")
    settings = json.loads(trainer_config)
    settings["training"]["epochs"] = int(epochs)
    return json.dumps(settings, sort_keys=True)


def import_run_fn(dotted_path: str) -> RunFn:
    """Find the function that trains.

    Args:
        dotted_path: Its module and its name.

    Returns:
        The function.
    """
    module, _, name = dotted_path.rpartition(".")
    return getattr(importlib.import_module(module), name)
