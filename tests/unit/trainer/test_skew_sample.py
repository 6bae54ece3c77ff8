"""Which rows and items are sampled; what is written of them is in tests/integration."""

import numpy as np
import pytest

from trainer.data.sequences import Rows
from trainer.skew_sample import choose_items, choose_queries

pytestmark = pytest.mark.unit


def make_rows(lengths, gap=0):
    """Users one after the other, with `gap` positions behind the train rows of each."""
    lengths = np.array(lengths, np.int64)
    begins = np.cumsum(lengths + gap) - lengths - gap
    return Rows.between(begins, begins + lengths)


def test_of_each_user_the_newest_row_and_the_first():
    users, positions = choose_queries(make_rows([3, 0, 1, 2], gap=10), seed=0)
    # They begin at 0, 13, 23 and 34. The one row of the third is the newest and the first.
    assert list(zip(users.tolist(), positions.tolist(), strict=True)) == [
        (0, 0), (0, 2), (2, 23), (3, 34), (3, 35)
    ]  # fmt: skip


def test_of_many_users_some_with_the_longest_sequences_and_an_empty_history():
    lengths = np.full(10_000, 5)
    lengths[[7, 400, 9_000, 9_999]] = [70, 80, 90, 100]
    rows = make_rows(lengths)
    users, positions = choose_queries(rows, seed=0)
    assert 60 <= len(users) <= 64
    assert {7, 400, 9_000, 9_999} <= set(users.tolist())
    is_first = positions == rows.begins[users]
    assert is_first.sum() == 4
    np.testing.assert_array_equal(positions[~is_first], rows.ends[users[~is_first]] - 1)
    assert len(set(positions.tolist())) == len(positions)


def test_equal_seeds_choose_the_same():
    rows = make_rows([4] * 1000)
    for again, equal in ((0, True), (1, False)):
        left, right = choose_queries(rows, 0), choose_queries(rows, again)
        assert np.array_equal(left[0], right[0]) is equal
    counts = np.ones(1000, np.int64)
    assert np.array_equal(choose_items(counts, 0), choose_items(counts, 0))
    assert not np.array_equal(choose_items(counts, 0), choose_items(counts, 1))


def test_a_quarter_of_the_items_are_such_as_were_never_trained():
    counts = np.arange(2_000) % 2
    items = choose_items(counts, seed=0)
    assert len(set(items.tolist())) == 256
    assert (items % 2 == 0).sum() == 64


@pytest.mark.parametrize(("counts", "expected"), [([1, 0, 2], [0, 1, 2]), ([0, 0], [0, 1]), ([3], [0])])
def test_few_items_are_all_sampled(counts, expected):
    assert choose_items(np.array(counts), seed=0).tolist() == expected
