"""The figures of a data check: sizes, times, splits, what is dropped, and what popularity reaches."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.doubtful_times import describe_doubtful_times
from components.interaction_ingest.ordering import owners
from components.interaction_ingest.splits import EVAL, TRAIN, VALIDATION
from pipeline.config import PipelineConfig
from pipeline.data_check.expected_cost import ExpectedCost, expect_cost
from pipeline.data_check.leakage import find_leaks
from pipeline.data_check.popularity import measure_popularity
from pipeline.data_check.reading import CheckedLog
from schemas.features import FeatureSpec
from schemas.times import SECONDS_PER_DAY


@dataclass(frozen=True)
class DataFigures:
    """What the data are, before anything is trained."""

    rows: int
    """Interactions of the log, an estimate where not all were read."""
    rows_read: int
    """Interactions that were read."""
    rows_kept: int
    """Those that are positives in a sequence."""
    is_whole: bool
    """Whether all of the log was read."""
    dropped: Mapping[str, int]
    """Interactions dropped, by reason."""
    users: int
    """Users with a positive."""
    items: int
    """Items with a positive."""
    catalogue_items: int
    """Items of the item table; without one, of the log."""
    density: float
    """Share of all pairs of such users and items that there are."""
    first_second: int
    """Seconds since 1970 of the oldest positive."""
    last_second: int
    """Seconds since 1970 of the newest positive."""
    doubtful_times: str
    """What looks wrong about the times, and what to do; '' where nothing does."""
    days_without_rows: int
    """Days (UTC) between the two without a positive."""
    longest_gap_seconds: int
    """Between one positive and the next, of whatever users."""
    duplicate_share: float
    """Share of the positives that repeat another one's user, item and second."""
    repeat_share: float
    """Share of the positives with an item that the user had before."""
    tied_users_share: float
    """Share of the users with two positives in one second, whose order is then that of the files."""
    splits: Mapping[str, int]
    """Positives by split."""
    cold_items_share: float
    """Share of the held-out positives whose item is in no train row."""
    cold_users_share: float
    """Share of the users with held-out positives who have no train row."""
    rows_of_users: npt.NDArray[np.int64]
    """[users] positives of each."""
    rows_of_items: npt.NDArray[np.int64]
    """[items] positives of each."""
    popularity_recall: Mapping[int, float]
    """Recall of the most popular items on the held-out ones, by cut-off."""
    leaks: Mapping[str, str]
    """Features that tell what is held out, and how."""
    users_without_metadata: int
    """Users of the log who are in no user table."""
    items_without_metadata: int
    """Items of the log that are in no item table."""
    cost: ExpectedCost
    """What a run takes."""
    refusal: str
    """Why the run would stop; '' where it would not."""


def measure_data(log: CheckedLog, config: PipelineConfig, spec: FeatureSpec) -> DataFigures:
    """Measure what the ingest would make of the data.

    Args:
        log: The interactions, read.
        config: The settings.
        spec: The features.

    Returns:
        The figures.
    """
    sequences, counts = log.sequences, log.counts
    users, items = owners(sequences.offsets), sequences.items
    seconds = sequences.columns.column(spec.timestamp).to_numpy()
    is_train, is_held_out = sequences.splits == TRAIN, sequences.splits == EVAL
    rows_of_items = np.bincount(items, minlength=len(sequences.item_ids))
    days = np.unique(seconds // SECONDS_PER_DAY)
    in_order = np.sort(seconds)
    pairs = users * len(sequences.item_ids) + items
    share_read = counts.rows["read"] / max(1, log.rows)
    catalogue_items = len(sequences.item_ids if spec.tables.items is None else log.inputs.items.table)
    return DataFigures(
        rows=log.rows,
        rows_read=counts.rows["read"],
        rows_kept=len(items),
        is_whole=log.is_whole,
        dropped={reason: count for reason, count in sorted(counts.dropped.items()) if count},
        users=len(sequences.user_ids),
        items=int((rows_of_items > 0).sum()),
        catalogue_items=catalogue_items,
        density=len(np.unique(pairs)) / max(1, len(sequences.user_ids) * int((rows_of_items > 0).sum())),
        first_second=int(in_order[0]) if len(in_order) else 0,
        last_second=int(in_order[-1]) if len(in_order) else 0,
        doubtful_times=describe_doubtful_times(counts, log.inputs.time_unit),
        days_without_rows=int(days[-1] - days[0] + 1 - len(days)) if len(days) else 0,
        longest_gap_seconds=int(np.diff(in_order).max(initial=0)),
        duplicate_share=_share_of_duplicates(users, items, seconds),
        repeat_share=1 - len(np.unique(pairs)) / max(1, len(pairs)),
        tied_users_share=_share_of_tied_users(users, seconds, len(sequences.user_ids)),
        splits={
            "train": int(is_train.sum()),
            "validation": int((sequences.splits == VALIDATION).sum()),
            "eval": int(is_held_out.sum()),
        },
        cold_items_share=_share_outside(items[is_held_out], items[is_train]),
        cold_users_share=_share_outside(np.unique(users[is_held_out]), users[is_train]),
        rows_of_users=np.diff(sequences.offsets),
        rows_of_items=rows_of_items[rows_of_items > 0],
        popularity_recall=measure_popularity(sequences, catalogue_items, config.evaluation.candidates),
        leaks=find_leaks(log, spec),
        users_without_metadata=counts.rows["unknown_users"],
        items_without_metadata=len(counts.unknown_items),
        cost=expect_cost(int(is_train.sum() / max(share_read, 1e-9)), config, spec),
        refusal=log.refusal,
    )


def _share_of_duplicates(
    users: npt.NDArray[np.int64], items: npt.NDArray[np.integer], seconds: npt.NDArray[np.int64]
) -> float:
    if len(users) < 2:
        return 0.0
    order = np.lexsort((items, seconds, users))
    same = np.ones(len(order) - 1, bool)
    for values in (users, items, seconds):
        same &= np.diff(values[order]) == 0
    return float(same.sum() / len(order))


def _share_of_tied_users(users: npt.NDArray[np.int64], seconds: npt.NDArray[np.int64], count: int) -> float:
    # The rows are in the order of user and time.
    is_tied = (np.diff(users) == 0) & (np.diff(seconds) == 0)
    return len(np.unique(users[1:][is_tied])) / max(1, count)


def _share_outside(values: npt.NDArray[np.integer], known: npt.NDArray[np.integer]) -> float:
    return float((~np.isin(values, known)).mean()) if len(values) else 0.0
