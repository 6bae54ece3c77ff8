"""How many rows make a window; it imports no TensorFlow, so that every command can ask."""

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from trainer.config import TrainingConfig


def choose_window_length(training: TrainingConfig, spec: FeatureSpec) -> int | None:
    """Tell how many rows make a window.

    Args:
        training: The training.
        spec: The features.

    Returns:
        `training.window_length`, or the length of a history where it is null; None where rows are
        interactions.

    Raises:
        ConfigError: There is no history, or one with time gaps or shorter than a window, or the batch is no
            whole number of windows.
    """
    if training.rows != "windows":
        return None
    history = spec.history
    if history is None:
        raise ConfigError(
            "training.rows: expected interactions, since the schema file has no history. Received: windows."
        )
    if history.time_gap_buckets is not None:
        raise ConfigError(
            "training.rows: expected interactions with history.time_gap_buckets, which are the times between "
            "a query and the items before it: a window has many queries. Received: windows."
        )
    length = training.window_length or history.length
    if length > history.length:
        raise ConfigError(
            f"training.window_length: expected at most history.length, {history.length}, since no query sees "
            f"more once the model is served. Received: {length}."
        )
    if training.per_replica_batch % length:
        raise ConfigError(
            f"training.per_replica_batch: expected a whole number of windows of {length} rows. Received: "
            f"{training.per_replica_batch}. Set it to {_round_to(training.per_replica_batch, length)}, or "
            "training.window_length to a divisor of it."
        )
    return length


def _round_to(rows: int, length: int) -> int:
    return max(1, round(rows / length)) * length
