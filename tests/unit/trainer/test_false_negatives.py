"""What each user has in train; what is masked follows from it in test_losses.py and test_objective.py."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.data import sequences as sequences_module
from trainer.data.sequences import Rows
from trainer.false_negatives import KnownPositives

pytestmark = pytest.mark.unit


def test_the_positives_of_users_are_listed_in_the_order_that_is_asked_for():
    # User 1 has no row in train; the item 9 is one of user 0's in another split; user 2 has item 3 twice.
    items = np.array([7, 8, 9, 4, 3, 3], np.int32)
    positives = KnownPositives.of_rows(items, Rows.between(np.array([0, 3, 3]), np.array([2, 3, 6])))
    places, items = positives.of_users(tf.constant([2, 1, 0, 2], tf.int64))
    np.testing.assert_array_equal(places, [0, 0, 2, 2, 3, 3])
    np.testing.assert_array_equal(items, [3, 4, 7, 8, 3, 4])
    assert places.dtype == items.dtype == tf.int64


@pytest.mark.parametrize("block", [1, 2, 100])
def test_the_positives_are_those_of_all_blocks_of_users(block, monkeypatch):
    monkeypatch.setattr(sequences_module, "_ROWS_PER_BLOCK", block)
    # The first user and the last one have nothing.
    rows = Rows.between(np.array([0, 0, 2, 5]), np.array([0, 2, 5, 5]))
    positives = KnownPositives.of_rows(np.array([6, 1, 5, 0, 5], np.int32), rows)
    np.testing.assert_array_equal(positives.items, [1, 6, 0, 5])
    np.testing.assert_array_equal(positives.offsets, [0, 0, 2, 4, 4])
    assert positives.items.dtype == tf.int32
    assert positives.offsets.dtype == tf.int64


def peak_mib():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1024


def test_one_long_user_costs_its_own_positives_and_not_as_many_for_each_user():
    longest, users = 1_000_000, 100
    ends = longest + np.arange(users)
    rows = Rows.between(np.concatenate([[0], ends[:-1]]), ends)
    positives = KnownPositives.of_rows(np.arange(longest + users - 1, dtype=np.int32), rows)
    # Linux then counts the peak anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    places, items = positives.of_users(tf.range(users, dtype=tf.int64))
    # A table of users x the longest has 763 MiB; the pairs have 8, for each of the steps between.
    assert peak_mib() - before < 200
    np.testing.assert_array_equal(places[longest - 1 :], np.arange(users))
    np.testing.assert_array_equal(items, np.arange(longest + users - 1))
