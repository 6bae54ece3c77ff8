import tracemalloc

import numpy as np
import pytest

from trainer.data import sequences as module
from trainer.data.sequences import FlatSequences, Rows, count_items, item_log_q

pytestmark = pytest.mark.unit

# User 0 has positions 0 to 3, user 1 none, user 2 positions 4 and 5; the last of user 0 is no train row.
SEQUENCES = FlatSequences(np.array([0, 4, 4, 6]), np.array([2, 0, 2, 1, 0, 0], np.int32))
TRAIN = Rows.between(np.array([0, 4, 4]), np.array([3, 4, 6]))


def test_rows_are_numbered_user_by_user():
    assert len(TRAIN) == 5
    users, positions = TRAIN.locate(np.arange(5))
    np.testing.assert_array_equal(users, [0, 0, 0, 2, 2])
    np.testing.assert_array_equal(positions, [0, 1, 2, 4, 5])
    np.testing.assert_array_equal(TRAIN.positions(), positions)
    np.testing.assert_array_equal(TRAIN.ends, [3, 4, 6])


def test_counts_are_of_the_rows_alone():
    np.testing.assert_array_equal(count_items(SEQUENCES, TRAIN, 4), [3, 0, 2, 0])
    every = Rows.between(SEQUENCES.offsets[:-1], SEQUENCES.offsets[1:])
    np.testing.assert_array_equal(count_items(SEQUENCES, every, 4), [3, 1, 2, 0])


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_counts_are_those_of_all_blocks_of_users(block, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_PER_BLOCK", block)
    np.testing.assert_array_equal(count_items(SEQUENCES, TRAIN, 4), [3, 0, 2, 0])
    nothing = Rows.between(SEQUENCES.offsets[:-1], SEQUENCES.offsets[:-1])
    np.testing.assert_array_equal(count_items(SEQUENCES, nothing, 2), [0, 0])


def test_counting_costs_the_memory_of_a_block(monkeypatch):
    users = 100_000
    offsets = np.arange(0, 10 * users + 1, 10)
    sequences = FlatSequences(offsets, np.zeros(10 * users, np.int32))
    every = Rows.between(offsets[:-1], offsets[1:])
    but_the_last = Rows.between(offsets[:-1], offsets[1:] - 1)
    monkeypatch.setattr(module, "_ROWS_PER_BLOCK", 10_000)
    for rows, count in ((every, 1_000_000), (but_the_last, 900_000)):
        tracemalloc.start()
        try:
            np.testing.assert_array_equal(count_items(sequences, rows, 1), [count])
            # 10,000 rows are 0.08 MB for each array, all of them 8.
            assert tracemalloc.get_traced_memory()[1] < 4e6
        finally:
            tracemalloc.stop()


def test_log_q_of_an_item_without_a_row_is_that_of_one():
    log_q = item_log_q(np.array([3, 0, 2, 0]))
    np.testing.assert_allclose(log_q, np.log([3 / 5, 1 / 5, 2 / 5, 1 / 5]), rtol=1e-6)
    assert log_q.dtype == np.float32
