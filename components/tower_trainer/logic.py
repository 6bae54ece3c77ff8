"""The Trainer's settings, divided into what is fixed and what changes from run to run."""

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from schemas.errors import ConfigError
from schemas.start import COLD, WARM, parse_start
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


def restore_run_parameters(trainer_config: str, *, epochs: Any, start: str | None) -> str:
    """Put the parameters of a run into the Trainer's settings.

    Args:
        trainer_config: What `drop_run_parameters` gave.
        epochs: Passes over the train split, as an orchestrator hands them on.
        start: `warm` to begin from a release, whatever `cold_every` says, `cold` to begin from nothing, ''
            or None for what the settings say.

    Returns:
        A `TrainerConfig` as JSON.

    Raises:
        ConfigError: The epochs are no whole number from 1 on, the start is not one of those, or a warm start
            is wanted of settings that have none.
    """
    if epochs != int(epochs) or epochs < 1:
        raise ConfigError(f"epochs: expected a whole number from 1 on. Received: {epochs!r}.")
    begin = parse_start(start)
    settings = json.loads(trainer_config)
    training = settings["training"]
    training["epochs"] = int(epochs)
    if begin == COLD:
        training["warm_start"] = False
    elif begin == WARM:
        if not training.get("warm_start"):
            raise ConfigError(
                f"start: expected training.warm_start: true for {WARM}. Received: false. Set it, or leave "
                "start empty."
            )
        training["cold_every"] = None
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
