"""The items that most interactions were with within a window before the query.

A query counts what happened within the window before its own time, or before the end of the log where that is
earlier. Queries are put into at most 64 groups by this time, and all queries of a group count until the
earliest of them: nothing after a query's time counts, and the cost is bounded. The window is the one with the
largest NDCG@100 on interactions before the evaluation: those of validation, or else the last known one of
each user, each with what was before it.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog
from components.retrieval_evaluator.baselines.notes import join_notes
from schemas.ranking import Candidates, ItemSets, Ranks, choose_targets, rank_by_common_scores
from schemas.ranking.metrics import ndcg
from schemas.times import SECONDS_PER_DAY

WINDOWS_DAYS: Final = (None, 365, 90, 30, 14, 7, 3, 1)
"""The windows to choose from; None: all that was before. Of equally good ones the longest is chosen."""

TIME_GROUPS: Final = 64
CHOICE_USERS: Final = 5_000
"""Users, randomly drawn, on whom the window is chosen."""
CHOICE_K: Final = 100


class TimedItems(NamedTuple):
    """Interactions in the order of their time."""

    times: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]


class TimedQueries(NamedTuple):
    """What is to be ranked as of a time."""

    times: npt.NDArray[np.int64]
    """[queries]."""
    targets: ItemSets
    masked: ItemSets


def rank_by_recent_popularity(
    log: BaselineLog, queries: BaselineQueries, popularity: npt.NDArray[np.int64]
) -> BaselineResult:
    """Rank by the number of interactions within a window before the query's time.

    Args:
        log: The known interactions.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places, and the window in the note.
    """
    days, reason = choose_window(log, queries.candidates, len(popularity))
    ranks = rank_within_window(
        sort_by_time(log.times, log.items),
        TimedQueries(queries.times, queries.targets, queries.masked),
        days,
        len(popularity),
    )
    return BaselineResult(ranks, join_notes(f"{_describe(days)}, {reason}", log.sample_note))


def sort_by_time(times: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> TimedItems:
    """Put interactions in the order of their time.

    Args:
        times: [interactions] seconds.
        items: [interactions].

    Returns:
        The same, sorted.
    """
    order = np.argsort(times)
    return TimedItems(times[order], items[order])


def rank_within_window(log: TimedItems, queries: TimedQueries, days: int | None, item_count: int) -> Ranks:
    """Rank by the popularity within a window.

    Args:
        log: The interactions.
        queries: The queries.
        days: The window's length; None: all that was before.
        item_count: Number of items.

    Returns:
        The targets' places.
    """
    # Where the log ends earlier, such as in a split by time, the window would else hold nothing.
    log_end = log.times[-1] + 1 if len(log.times) else 0
    starts, groups = group_by_time(np.minimum(queries.times, log_end), TIME_GROUPS)
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(len(starts) + 1))
    targets, masked = queries.targets.take(order), queries.masked.take(order)
    pairs = (
        ItemSets(queries.targets.offsets, np.arange(len(queries.targets.items), dtype=np.int32))
        .take(order)
        .items
    )

    ends = np.searchsorted(log.times, starts)
    begins = (
        np.zeros_like(ends) if days is None else np.searchsorted(log.times, starts - days * SECONDS_PER_DAY)
    )
    counts = np.zeros(item_count, np.int64)
    better, tied = np.empty(len(pairs), np.int64), np.empty(len(pairs), np.int64)
    begin = end = 0
    for group in range(len(starts)):
        counts += np.bincount(log.items[end : ends[group]], minlength=item_count)
        counts -= np.bincount(log.items[begin : begins[group]], minlength=item_count)
        begin, end = begins[group], ends[group]
        members = slice(bounds[group], bounds[group + 1])
        ranks = rank_by_common_scores(counts, targets.of_queries(members), masked.of_queries(members))
        of_group = pairs[targets.offsets[members.start] : targets.offsets[members.stop]]
        better[of_group], tied[of_group] = ranks.better, ranks.tied
    return Ranks(better, tied)


def group_by_time(
    times: npt.NDArray[np.int64], most_groups: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Group queries by time, each time on its own where there are few.

    Args:
        times: [queries] seconds.
        most_groups: Number of groups at most; where there are more times, each gets about as many queries.

    Returns:
        [groups] the earliest time of each, ascending, and [queries] the group of each.
    """
    starts = np.unique(times)
    if len(starts) > most_groups:
        starts = np.unique(np.sort(times)[np.arange(most_groups) * len(times) // most_groups])
    return starts, np.searchsorted(starts, times, side="right") - 1


def choose_window(log: BaselineLog, candidates: Candidates, item_count: int) -> tuple[int | None, str]:
    """Choose the window on interactions before the evaluation.

    Args:
        log: The known interactions.
        candidates: Which items are ranked, as in the evaluation.
        item_count: Number of items.

    Returns:
        Days, None for all that was before; and what they were chosen on.
    """
    has_validation = log.train_ends < log.offsets[1:]
    if has_validation.any():
        users, starts, source = np.flatnonzero(has_validation), log.train_ends, "validation"
        is_counted = np.arange(len(log.items)) < np.repeat(log.train_ends, np.diff(log.offsets))
    else:
        users, starts = np.flatnonzero(np.diff(log.offsets) >= 2), log.offsets[1:] - 1
        source = "the last known interaction"
        is_counted = np.ones(len(log.items), bool)
    if len(users) > CHOICE_USERS:
        users = np.sort(np.random.default_rng(0).choice(users, CHOICE_USERS, replace=False))
    queries = hold_out(log, users, starts, candidates)
    if not len(queries.times):
        return None, "since there is nothing to choose a shorter one on"
    counted = sort_by_time(log.times[is_counted], log.items[is_counted])
    quality = [
        ndcg(rank_within_window(counted, queries, days, item_count), queries.targets, CHOICE_K).mean()
        for days in WINDOWS_DAYS
    ]
    reason = f"chosen by NDCG@{CHOICE_K} on {source} of {len(queries.times):,} users"
    return WINDOWS_DAYS[int(np.argmax(quality))], reason


def hold_out(
    log: BaselineLog,
    users: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    candidates: Candidates,
) -> TimedQueries:
    """Make queries of known interactions.

    Args:
        log: The interactions.
        users: Numbers of the users.
        starts: [all users] the position from which on a user's interactions are held out.
        candidates: Which items are ranked.

    Returns:
        The queries of those users who have a target.
    """
    positions = ItemSets(log.offsets, np.arange(len(log.items), dtype=np.int32)).take(users)
    is_known = positions.items < starts[users][positions.owners]
    known, held_out = (
        ItemSets.from_pairs(positions.owners[chosen], log.items[positions.items[chosen]], len(users))
        for chosen in (is_known, ~is_known)
    )
    kept = choose_targets(held_out, known, candidates)
    return TimedQueries(log.times[starts[users[kept.queries]]], kept.targets, kept.masked)


def _describe(days: int | None) -> str:
    if days is None:
        return "all that was before"
    return "a window of 1 day" if days == 1 else f"a window of {days} days"
