"""What each user has in train; what is masked follows from it in test_losses.py and test_objective.py."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.false_negatives import KnownPositives

pytestmark = pytest.mark.unit


def test_the_positives_of_users_are_listed_in_the_order_that_is_asked_for():
    positives = KnownPositives(
        items=tf.constant([7, 8, 9, 3, 4], tf.int32),
        # User 1 has no row in train; the item 9 is one of user 0's in another split.
        begins=tf.constant([0, 3, 3], tf.int64),
        ends=tf.constant([2, 3, 5], tf.int64),
    )
    places, items = positives.of_users(tf.constant([2, 1, 0, 2], tf.int64))
    np.testing.assert_array_equal(places, [0, 0, 2, 2, 3, 3])
    np.testing.assert_array_equal(items, [3, 4, 7, 8, 3, 4])
    assert places.dtype == items.dtype == tf.int64


def peak_mib():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1024


def test_one_long_user_costs_its_own_positives_and_not_as_many_for_each_user():
    longest, users = 1_000_000, 100
    ends = longest + np.arange(users)
    positives = KnownPositives(
        items=tf.range(longest + users - 1, dtype=tf.int32),
        begins=tf.constant(np.concatenate([[0], ends[:-1]])),
        ends=tf.constant(ends),
    )
    # Linux then counts the peak anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    places, items = positives.of_users(tf.range(users, dtype=tf.int64))
    # A table of users x the longest has 763 MiB; the pairs have 8, for each of the steps between.
    assert peak_mib() - before < 200
    np.testing.assert_array_equal(places[longest - 1 :], np.arange(users))
    np.testing.assert_array_equal(items, np.arange(longest + users - 1))
