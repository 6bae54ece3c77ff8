import numpy as np
import pytest

from components.retrieval_evaluator.baselines.recent_popularity import (
    TimedQueries,
    choose_window,
    group_by_time,
    hold_out,
    rank_by_recent_popularity,
    rank_within_window,
    sort_by_time,
)
from schemas.ranking import ItemSets

pytestmark = pytest.mark.unit

DAY = 86_400


def of_one(*items):
    return ItemSets.of_one(np.array(items))


def test_only_the_window_before_the_query_counts():
    # Item 0 three times long ago, item 1 twice shortly before day 10, item 2 ever so often after it.
    log = sort_by_time(
        (np.array([11, 1, 9.5, 2, 2.5, 9.6, *[10] * 5]) * DAY).astype(np.int64),
        np.array([2, 0, 1, 0, 0, 1, *[2] * 5]),
    )

    def places(days, day):
        queries = TimedQueries(np.full(3, day * DAY), of_one(0, 1, 2), ItemSets.empty(3))
        ranks = rank_within_window(log, queries, days, 3)
        return ranks.better.tolist(), ranks.tied.tolist()

    assert places(None, 10) == ([0, 1, 2], [0, 0, 0])
    assert places(7, 10) == ([1, 0, 1], [1, 0, 1])
    # What happened at the very second of the query does not count; a second later it does.
    assert places(1, 10) == ([1, 0, 1], [1, 0, 1])
    queries = TimedQueries(np.array([10 * DAY + 1]), of_one(2), ItemSets.empty(1))
    assert rank_within_window(log, queries, 1, 3).better.tolist() == [0]
    # Long after the end of the log the window is the one before its end: item 2 only.
    assert places(1, 1_000) == ([1, 1, 0], [1, 1, 0])
    # Before the log began there is nothing.
    assert places(None, 0) == ([0, 0, 0], [2, 2, 2])


@pytest.mark.parametrize("days", [None, 3, 1])
@pytest.mark.parametrize("query_count", [40, 300])
def test_is_the_count_of_each_query_on_its_own(days, query_count):
    rng = np.random.default_rng(0)
    times, items = rng.integers(0, 10 * DAY, 400), rng.integers(0, 9, 400).astype(np.int32)
    asked = rng.integers(-DAY, 12 * DAY, query_count)
    kind = rng.choice(3, (query_count, 9), p=[0.5, 0.3, 0.2])
    targets = ItemSets.from_pairs(*np.nonzero(kind == 1), query_count)
    masked = ItemSets.from_pairs(*np.nonzero(kind == 2), query_count)
    ranks = rank_within_window(sort_by_time(times, items), TimedQueries(asked, targets, masked), days, 9)
    # The time up to which a query counts: its own, or that of the earliest of its group.
    own = np.minimum(asked, times.max() + 1)
    starts, groups = group_by_time(own, 64)
    until = starts[groups]
    assert (until <= own).all()
    if query_count <= 64:
        np.testing.assert_array_equal(until, own)
    for pair, (query, item) in enumerate(zip(targets.owners, targets.items, strict=True)):
        begin = -np.inf if days is None else until[query] - days * DAY
        counts = np.bincount(items[(times < until[query]) & (times >= begin)], minlength=9)
        ranked = counts[kind[query] != 2]
        assert ranks.better[pair] == np.count_nonzero(ranked > counts[item])
        assert ranks.tied[pair] == np.count_nonzero(ranked == counts[item]) - 1


def test_groups_are_few_of_about_equal_size_and_begin_with_their_earliest():
    times = np.random.default_rng(0).integers(0, 10**6, 1_000)
    starts, groups = group_by_time(times, 64)
    assert len(starts) == 64
    assert np.bincount(groups).max() <= 17
    assert all(times[groups == group].min() == start for group, start in enumerate(starts))
    few = np.array([5, 3, 5, 9])
    assert [part.tolist() for part in group_by_time(few, 3)] == [[3, 5, 9], [1, 0, 1, 2]]


def test_what_is_held_out_of_the_log(make_log):
    log = make_log([[0, 1, 0, 2], [3], [1, 1]], train_sizes=[2, 1, 1])
    users, starts = np.array([0, 2]), log.train_ends
    new = hold_out(log, users, starts, "new")
    # User 0 has 0 and 1 before, so only 2 is to be found; user 2 has nothing left.
    assert (new.targets.offsets.tolist(), new.targets.items.tolist()) == ([0, 1], [2])
    assert (new.masked.items.tolist(), new.times.tolist()) == ([0, 1], [2])
    everything = hold_out(log, users, starts, "all")
    assert (everything.targets.offsets.tolist(), everything.targets.items.tolist()) == ([0, 2, 3], [0, 2, 1])
    assert (everything.masked.items.tolist(), everything.times.tolist()) == ([], [2, 6])


def make_fashion(make_log):
    """Each day has an item of its own, which two users buy; before that, each bought something else."""
    rows = [[40 + user, user // 2] for user in range(60)]
    times = [[(user // 2 - 40) * DAY, user // 2 * DAY + user % 2 * 3_600] for user in range(60)]
    return make_log(rows, times)


def test_the_window_follows_the_fashion(make_log):
    days, reason = choose_window(make_fashion(make_log), "new", 100)
    assert (days, reason) == (1, "chosen by NDCG@100 on the last known interaction of 60 users")


def test_the_window_is_chosen_on_validation_where_there_is_one(make_log):
    # In train item 0 was bought ten times long ago and item 1 twice lately; validation buys item 1.
    buyers = [[0]] * 10 + [[1, 2], [1, 3]]
    times = [[DAY]] * 10 + [[99 * DAY, 99 * DAY], [99 * DAY, 99 * DAY]]
    validation = [[4, 1], [5, 1]]
    log = make_log(buyers + validation, times + [[98 * DAY, 100 * DAY]] * 2, [1] * 10 + [2, 2] + [1, 1])
    days, reason = choose_window(log, "new", 6)
    assert reason == "chosen by NDCG@100 on validation of 2 users"
    # All windows that leave the old purchases out are equally good: the longest of them.
    assert days == 90


def test_validation_does_not_count_when_the_window_is_chosen(make_log):
    # Item 0 ten times and item 1 five times long ago, item 2 once lately; two users know 4 and 5, and their
    # validation is item 1, one day after the other. With all that was before, item 1 is second. With a short
    # window it ties with what nobody buys, unless the first one's validation counts for the second one.
    rows = [[0]] * 10 + [[1]] * 5 + [[2], [4, 1], [5, 1]]
    times = [[DAY]] * 10 + [[2 * DAY]] * 5 + [[99 * DAY], [98 * DAY, 100 * DAY], [98 * DAY, 101 * DAY]]
    log = make_log(rows, times, [1] * 18)
    assert choose_window(log, "new", 6)[0] is None


def test_without_anything_to_choose_on_everything_before_counts(make_log, make_queries):
    log = make_log([[0], [0], [1]], [[0], [1], [2]])
    result = rank_by_recent_popularity(log, make_queries([[]], [[1]], [10]), np.array([2, 1]))
    assert result.ranks.better.tolist() == [1]
    assert result.note == "all that was before, since there is nothing to choose a shorter one on"


def test_interactions_after_all_queries_change_nothing(make_log, make_queries):
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 8, 5).tolist() for _ in range(20)]
    times = [np.sort(rng.integers(0, 50 * DAY, 5)).tolist() for _ in range(20)]
    queries = make_queries(
        [[]] * 10, [[item % 8] for item in range(10)], rng.integers(40 * DAY, 50 * DAY, 10)
    )
    later = make_log([*rows, [7] * 50], [*times, [51 * DAY] * 50])
    log = make_log(rows, times)
    asked = TimedQueries(np.minimum(queries.times, max(map(max, times)) + 1), queries.targets, queries.masked)
    for days in (None, 7):
        expected = rank_within_window(sort_by_time(log.times, log.items), asked, days, 8)
        ranks = rank_within_window(sort_by_time(later.times, later.items), asked, days, 8)
        np.testing.assert_array_equal(ranks.better, expected.better)
        np.testing.assert_array_equal(ranks.tied, expected.tied)


def test_the_note_says_window_and_reason(make_log, make_queries):
    log = make_fashion(make_log)
    result = rank_by_recent_popularity(
        log, make_queries([[]], [[29]], [29 * DAY + 7_200]), np.bincount(log.items)
    )
    assert result.note == ("a window of 1 day, chosen by NDCG@100 on the last known interaction of 60 users")
    # Two bought item 29 within the day before, and one item 28.
    assert (result.ranks.better.tolist(), result.ranks.tied.tolist()) == ([0], [0])
