"""Which positives are trained on, which decide when training stops, and which are held out."""

import datetime
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.config import IngestConfig, Split
from components.interaction_ingest.ordering import owners, rows_after
from schemas.contract import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.times import SECONDS_PER_DAY

TRAIN: Final = 0
"""Split code of a row to train on."""
VALIDATION: Final = 1
"""Split code of a row that decides when training stops."""
EVAL: Final = 2
"""Split code of a held-out row."""
SKIPPED: Final = 3
"""Split code of a row that is newer than the held-out one and in no split."""

SPLIT_CODES: Final = {TRAIN_SPLIT: TRAIN, VALIDATION_SPLIT: VALIDATION, EVAL_SPLIT: EVAL}
"""Code of each split by its name."""


def cut_off_second(split: Split, newest_second: int | None) -> int | None:
    """Find the first second of the eval split, where it is the same for all users.

    Args:
        split: The rule.
        newest_second: Seconds since 1970 of the newest positive.

    Returns:
        Seconds since 1970: rows before it are train, the others eval. None if the split is made per
        user, or if there are no positives.
    """
    if split.kind == "cut_off":
        moment = split.time if split.time.tzinfo else split.time.replace(tzinfo=datetime.UTC)
        return math.ceil(moment.timestamp())
    if split.kind == "last_days" and newest_second is not None:
        return (newest_second // SECONDS_PER_DAY - split.days + 1) * SECONDS_PER_DAY
    return None


def assign_splits(
    offsets: npt.NDArray[np.int64],
    timestamps: npt.NDArray[np.int64],
    config: IngestConfig,
    newest_second: int | None = None,
) -> npt.NDArray[np.int8]:
    """Say which rows are trained on, which decide when training stops, and which are held out.

    Under `latest_per_user`, holding out the latest row of every user with at least two is done
    skip_latest + 1 times: what the last time holds out is eval, what was held out before is skipped.
    So each user keeps at least one train row. With validation, it is done once more, and what that holds
    out is validation. Under the other splits validation is the days before the first second of eval.

    Args:
        offsets: [users + 1] int64: the rows of user u are offsets[u] to offsets[u + 1] - 1, in time order,
            at least one.
        timestamps: [rows] int64 seconds since 1970.
        config: The split, and whether there is validation.
        newest_second: Seconds since 1970 of the newest positive of all users, for `last_days`.

    Returns:
        [rows] int8 TRAIN, VALIDATION, EVAL or SKIPPED, which within a user never becomes smaller.
    """
    splits = np.full(len(timestamps), TRAIN, np.int8)
    if config.split.kind != "latest_per_user":
        cut_off = cut_off_second(config.split, newest_second)
        if cut_off is not None:
            if config.validation:
                splits[timestamps >= cut_off - config.validation_days * SECONDS_PER_DAY] = VALIDATION
            splits[timestamps >= cut_off] = EVAL
        return splits
    firsts, sizes = offsets[:-1], np.diff(offsets)
    skipped = np.minimum(config.split.skip_latest, sizes - 1)
    left = sizes - skipped
    splits[rows_after(offsets) < np.repeat(skipped, sizes)] = SKIPPED
    splits[(firsts + left - 1)[left >= 2]] = EVAL
    if config.validation:
        splits[(firsts + left - 2)[left >= 3]] = VALIDATION
    return splits


def split_ends(offsets: npt.NDArray[np.int64], splits: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Find where the splits of each user end.

    Args:
        offsets: [users + 1] int64.
        splits: [rows] as `assign_splits` gives them, of which any rows may have been left out.

    Returns:
        [users, 3] int64: before which of the user's own rows train, validation and eval end.
    """
    counts = np.bincount(owners(offsets) * 4 + splits, minlength=4 * (len(offsets) - 1)).reshape(-1, 4)
    return counts[:, :SKIPPED].cumsum(axis=1)
