"""What `training.rows: windows` goes with; it imports no TensorFlow, so that every command can ask."""

from typing import Final

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from trainer.config import HistoryEncoderName, ModelConfig, TrainingConfig

WINDOW_ENCODERS: Final[tuple[HistoryEncoderName, ...]] = ("mean", "position_weighted", "last", "transformer")
"""The encoders that give a vector of each position in one pass."""


def check_windows(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse what cannot be trained on windows, as far as the configuration tells.

    Args:
        model: The towers.
        training: The training.

    Raises:
        ValueError: A history encoder, learned positions or a user tower of one's own gives no vector of
            each position in one pass.
    """
    if training.rows != "windows":
        if training.window_length is not None:
            raise ValueError(
                "training.window_length: expected none where training.rows is interactions. Received: "
                f"{training.window_length}. Set training.rows to windows, or leave it out"
            )
        return
    if model.user_tower is not None:
        raise ValueError(
            "training.rows: expected interactions with a user tower of your own, which is given a history of "
            "each row. Received: windows"
        )
    unfit = [name for name in model.history_encoders if name not in WINDOW_ENCODERS]
    if unfit or not model.history_encoders:
        raise ValueError(
            f"model.history_encoders: expected one or more of {', '.join(WINDOW_ENCODERS)} where "
            f"training.rows is windows. Received: {', '.join(unfit) or 'none'}"
        )
    if "transformer" in model.history_encoders and model.transformer.positions != "rotary":
        raise ValueError(
            "model.transformer.positions: expected rotary where training.rows is windows, since learned "
            "positions are counted from the one newest item of a history. Received: "
            f"{model.transformer.positions}"
        )


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
