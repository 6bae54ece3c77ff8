"""How the served user tower makes histories of what the items' graph gives."""

import numpy as np
import pytest
import tensorflow as tf

from schemas.features import History
from trainer.export import _to_gap_buckets, _to_history

pytestmark = pytest.mark.unit

HISTORY = History(length=2, values_per_item=2)
# Two histories; the first has one item.
IS_ITEM = tf.constant([[False, True], [True, True]])


def test_single_values_are_padded_where_there_is_no_item() -> None:
    rows = _to_history(tf.constant([9, 1, 2, 3], tf.int64), IS_ITEM, HISTORY)
    np.testing.assert_array_equal(rows, [[-1, 1], [2, 3]])
    numbers = _to_history(tf.constant([9.0, 1.5, 2.5, 3.5]), IS_ITEM, HISTORY)
    np.testing.assert_array_equal(numbers, [[0.0, 1.5], [2.5, 3.5]])
    vectors = _to_history(tf.constant([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), IS_ITEM, HISTORY)
    np.testing.assert_array_equal(vectors, [[[0.0, 0.0], [1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])


@pytest.mark.parametrize("width", [1, 2, 3])
def test_lists_have_so_many_places(width) -> None:
    values = np.array([[9, -1, -1], [1, -1, -1], [2, 3, 4], [-1, -1, -1]])[:, :width]
    dense = np.where(values < 0, 0, values + 1)
    sparse = tf.sparse.from_dense(tf.constant(dense, tf.int64))
    lists = _to_history(sparse.with_values(sparse.values - 1), IS_ITEM, HISTORY)
    assert lists.shape == (2, 2, 2)
    second = 3 if width > 1 else -1
    np.testing.assert_array_equal(lists, [[[-1, -1], [1, -1]], [[2, second], [-1, -1]]])


def test_a_gap_is_in_the_bucket_of_the_boundaries_not_above_it() -> None:
    gaps = tf.constant([[-1, 0, 9], [10, 19, 20], [2**40, 21, -1]], tf.int64)
    expected = [[-1, 0, 0], [1, 1, 2], [2, 2, -1]]
    np.testing.assert_array_equal(_to_gap_buckets(gaps, np.array([10, 20])), expected)


def test_a_gap_is_compared_as_the_integer_that_it_is() -> None:
    # As float64, both gaps would be the boundary.
    gaps = tf.constant([[2**53, 2**53 + 1]], tf.int64)
    np.testing.assert_array_equal(_to_gap_buckets(gaps, np.array([2**53 + 1])), [[0, 1]])
