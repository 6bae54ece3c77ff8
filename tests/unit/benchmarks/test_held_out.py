import importlib

import numpy as np
import pytest

from schemas.ranking import ItemSets
from schemas.ranking.metrics import recall

pytestmark = pytest.mark.unit


@pytest.fixture
def held_out(benchmarks):
    return importlib.import_module("held_out")


def sequences(held_out, train_ends):
    """User 0: 0 1 2 | 3; user 1: 4 0 4 | 0 1, of which 0 is a repeat; user 2: 3 | nothing."""
    return held_out.SplitSequences(
        offsets=np.array([0, 4, 9, 10]),
        items=np.array([0, 1, 2, 3, 4, 0, 4, 0, 1, 3], np.int32),
        times=np.arange(10) * 60,
        train_ends=np.array(train_ends),
        known_ends=np.array([3, 7, 10]),
        eval_ends=np.array([4, 9, 10]),
        item_count=6,
    )


def sets(items: ItemSets) -> list[list[int]]:
    return [part.tolist() for part in np.split(items.items, items.offsets[1:-1])]


def test_the_final_task_asks_for_what_is_held_out_and_new(held_out):
    _, final = held_out.make_tasks(sequences(held_out, [3, 7, 10]), "new", k=3)
    np.testing.assert_array_equal(final.users, [0, 1])
    assert sets(final.queries.targets) == [[3], [1]]
    assert sets(final.queries.masked) == sets(final.queries.seen) == [[0, 1, 2], [0, 4]]
    np.testing.assert_array_equal(final.queries.seen_counts, [1, 1, 1, 1, 2])
    np.testing.assert_array_equal(final.queries.recent_items[:, -4:], [[-1, 0, 1, 2], [-1, 4, 0, 4]])
    np.testing.assert_array_equal(final.queries.times, [180, 420])
    np.testing.assert_array_equal(final.popularity, [2, 1, 1, 1, 2, 0])
    np.testing.assert_array_equal(final.log.offsets, [0, 3, 6, 7])
    np.testing.assert_array_equal(final.log.items, [0, 1, 2, 4, 0, 4, 3])


def test_what_is_bought_again_is_asked_for_where_everything_is_ranked(held_out):
    _, final = held_out.make_tasks(sequences(held_out, [3, 7, 10]), "all", k=3)
    assert sets(final.queries.targets) == [[3], [0, 1]]
    assert sets(final.queries.masked) == [[], []]


def test_validation_is_the_last_known_positive_where_no_split_was_made(held_out):
    validation, final = held_out.make_tasks(sequences(held_out, [3, 7, 10]), "new", k=3)
    # User 1's is a repeat, and user 2 has nothing before the only one.
    np.testing.assert_array_equal(validation.users, [0])
    assert sets(validation.queries.targets) == [[2]]
    np.testing.assert_array_equal(validation.log.items, [0, 1, 4, 0, 3])
    np.testing.assert_array_equal(final.log.train_ends, final.log.offsets[1:])


def test_validation_is_the_split_where_one_was_made(held_out):
    validation, final = held_out.make_tasks(sequences(held_out, [1, 7, 10]), "new", k=3)
    np.testing.assert_array_equal(validation.users, [0])
    assert sets(validation.queries.targets) == [[1, 2]]
    np.testing.assert_array_equal(validation.log.items, [0, 4, 0, 4, 3])
    # By which recent popularity chooses its window.
    np.testing.assert_array_equal(final.log.train_ends, [1, 6, 7])


def test_other_interactions_or_questions_are_another_task(held_out):
    usual = held_out.fingerprint_tasks(sequences(held_out, [3, 7, 10]), "new", k=3)
    assert usual == held_out.fingerprint_tasks(sequences(held_out, [3, 7, 10]), "new", k=3)
    others = {
        held_out.fingerprint_tasks(sequences(held_out, [1, 7, 10]), "new", k=3),
        held_out.fingerprint_tasks(sequences(held_out, [3, 7, 10]), "all", k=3),
        held_out.fingerprint_tasks(sequences(held_out, [3, 7, 10]), "new", k=2),
    }
    assert len(others - {usual}) == 3


def test_places_are_those_among_the_items_that_are_not_masked(held_out):
    _, final = held_out.make_tasks(sequences(held_out, [3, 7, 10]), "new", k=3)
    scores = np.array([[9, 9, 9, 1, 2, 3], [9, 5, 9, 1, 9, 9]], np.float32)
    ranks = final.rank(lambda queries: scores[queries].copy())
    # Of user 0 items 3, 4 and 5 are left, of user 1 items 1, 2, 3 and 5.
    np.testing.assert_array_equal(ranks.better, [2, 2])


def test_places_in_lists(benchmarks):
    ranked_lists = importlib.import_module("ranked_lists")
    targets = ItemSets(np.array([0, 2, 3, 4]), np.array([5, 8, 1, 2], np.int32))
    lists = np.array([[8, 7, 5], [0, 2, 3], [2, -1, -1]], np.int32)
    ranks = ranked_lists.rank_in_lists(lists, targets)
    np.testing.assert_array_equal(ranks.better, [2, 0, 3, 0])
    np.testing.assert_array_equal(recall(ranks, targets, 1), [1, 0, 1])
    np.testing.assert_array_equal(recall(ranks, targets, 3), [1, 0, 1])
