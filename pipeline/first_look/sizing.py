"""Settings of the model, the training, the split and the evaluation, by the size and shape of the log."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.first_look.log_figures import LogFigures

SMALL_LOG_ROWS: Final = 20_000
"""Rows of a log below which embeddings are narrower."""
EXAMPLES_TRAINED: Final = 20_000_000
"""Rows times epochs that a training passes over at most, some minutes to an hour on two cores."""
EVALUATED_USERS: Final = 20_000
"""Users that are evaluated where there are many more."""
REPEATING_SHARE: Final = 0.25
"""Share of the users whose newest item is one that they had, from which everything is recommended."""
_HISTORY_LENGTHS: Final = (5, 10, 20, 50)
_HELD_OUT_DAYS: Final = (1, 7, 14, 28)
_SPLIT_SPAN_DAYS: Final = 28
_WARM_USERS: Final = 500
_WARM_SHARE: Final = 0.7


@dataclass(frozen=True)
class Setting:
    """One key of the configuration, or of the schema file's history."""

    section: str
    """`ingest`, `model`, `loss`, `training`, `evaluation` or `history`."""
    key: str
    """The key in the section."""
    value: Any
    """What is written."""
    evidence: str
    """Why."""


def choose_settings(log: LogFigures, missing_metadata: str, missing_evidence: str) -> list[Setting]:
    """Choose the settings for a log.

    Args:
        log: What its sample says.
        missing_metadata: `ingest.missing_metadata`.
        missing_evidence: Why.

    Returns:
        The settings, in the order of the configuration.
    """
    split = _choose_split(log)
    return [
        *split,
        Setting("ingest", "missing_metadata", missing_metadata, missing_evidence),
        *_choose_rejections(log),
        *_choose_repeats(log),
        *_choose_user_limit(log),
        *_choose_model(log),
        Setting(
            "loss",
            "logq",
            "refined",
            "a row's own item is never a sampled one; measured, more of the first ten are right",
        ),
        *_choose_training(log, has_validation=any(s.key == "validation" and s.value for s in split)),
        *_choose_evaluation(log),
        *_choose_history(log),
    ]


def _choose_split(log: LogFigures) -> list[Setting]:
    several = int((log.rows_of_users >= 3).sum())
    if log.days >= _SPLIT_SPAN_DAYS:
        for days in _HELD_OUT_DAYS:
            share, warm, warm_share = log.look_back(days)
            if 0.02 <= share <= 0.2 and warm >= _WARM_USERS and warm_share >= _WARM_SHARE:
                why = (
                    f"as a model of today meets tomorrow: {share:.1%} of the rows; {warm:,} users, "
                    f"{warm_share:.0%} of those in them, have rows before"
                )
                return [
                    Setting("ingest", "split", {"kind": "last_days", "days": days}, why),
                    Setting("ingest", "validation", True, "decides when training stops"),
                    Setting("ingest", "validation_days", days, "as long as what is held out"),
                ]
    why = f"each user's newest row: {log.days:,.0f} days of {log.user_count:,} users"
    why += ", of whom too few come back for a split by days"
    return [
        Setting("ingest", "split", {"kind": "latest_per_user"}, why),
        Setting(
            "ingest",
            "validation",
            several >= 50,
            f"the row before it, of {several:,} users with three rows"
            + ("; decides when training stops" if several >= 50 else ": too few"),
        ),
    ]


def _choose_rejections(log: LogFigures) -> list[Setting]:
    if log.unusable_share < 0.005:
        return []
    limit = math.ceil(150 * log.unusable_share) / 100
    return [
        Setting(
            "ingest",
            "maximum_rejected_fraction",
            limit,
            f"{log.unusable_share:.1%} of the rows have no user, no item or no time, and are dropped",
        )
    ]


def _choose_repeats(log: LogFigures) -> list[Setting]:
    if log.duplicate_share < 0.01 or log.newest_is_repeat >= REPEATING_SHARE:
        return []
    return [
        Setting(
            "ingest",
            "repeated",
            "keep_last",
            f"{log.duplicate_share:.1%} of the rows say the same as another: user, item and time",
        )
    ]


def _choose_user_limit(log: LogFigures) -> list[Setting]:
    rows = log.rows_of_users
    if not len(rows) or rows[-1] < 1_000 or rows[-1] < 0.01 * rows.sum():
        return []
    limit = int(max(500, np.ceil(np.quantile(rows, 0.999) / 100) * 100))
    if limit >= rows[-1]:
        return []
    return [
        Setting(
            "ingest",
            "max_positives_per_user",
            limit,
            f"one user alone has {rows[-1]:,} of the rows; a thousandth of the users have more than this",
        )
    ]


def _choose_model(log: LogFigures) -> list[Setting]:
    dim = 32 if log.rows < SMALL_LOG_ROWS else 64
    return [
        Setting("model", "dim", dim, f"{log.rows:,} rows, {log.item_count:,} items"),
        Setting(
            "model",
            "history_encoders",
            ["mean", "position_weighted", "last", "attention"],
            "what a user likes, likes of late, had last, and which of these go with each other",
        ),
    ]


def _choose_training(log: LogFigures, has_validation: bool) -> list[Setting]:
    batch = 2 ** round(math.log2(max(64, min(1_024, log.rows / 400))))
    epochs = max(3, min(40, EXAMPLES_TRAINED // max(1, log.rows)))
    settings = [
        Setting(
            "training", "per_replica_batch", batch, f"{log.rows:,} rows; the others' items are negatives"
        ),
        Setting(
            "training",
            "learning_rate",
            2e-3 if batch < 512 else 3e-3,
            f"for batches of {batch:,}; higher, training may diverge, lower, it takes more epochs",
        ),
        Setting(
            "training",
            "epochs",
            epochs if has_validation else min(10, epochs),
            "at most; training ends before where the validation gains no more"
            if has_validation
            else "there is no validation to tell when to stop",
        ),
    ]
    if has_validation:
        settings.append(
            Setting(
                "training",
                "early_stopping",
                {"patience_epochs": 3, "refit": True},
                "then trained again on train and validation, for as many steps as were best",
            )
        )
    return settings


def _choose_evaluation(log: LogFigures) -> list[Setting]:
    repeats = log.newest_is_repeat
    candidates = "all" if repeats >= REPEATING_SHARE else "new"
    settings = [
        Setting(
            "evaluation",
            "candidates",
            candidates,
            f"{repeats:.0%} of the users' newest rows are with an item that they had an hour or longer before"
            + ("; people come back to items here" if candidates == "all" else ""),
        )
    ]
    if log.user_count > 2.5 * EVALUATED_USERS:
        settings.append(
            Setting("evaluation", "users", EVALUATED_USERS, f"a random sample of {log.user_count:,} users")
        )
    return settings


def _choose_history(log: LogFigures) -> list[Setting]:
    typical = float(np.quantile(log.rows_of_users, 0.75)) if log.user_count else 0.0
    longest = 20 if log.rows > 1_000_000 else _HISTORY_LENGTHS[-1]
    length = next((length for length in _HISTORY_LENGTHS if length >= min(typical, longest)), longest)
    settings = [
        Setting("history", "length", length, f"three quarters of the users have at most {typical:,.0f} rows")
    ]
    moments = len(np.unique(log.seconds))
    if moments > 32:
        settings.append(
            Setting("history", "time_gap_buckets", 16, f"{moments:,} distinct times: how long ago tells")
        )
    return settings
