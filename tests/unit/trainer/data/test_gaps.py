import tracemalloc

import numpy as np
import pytest

from schemas.errors import DataError
from trainer.data import gaps
from trainer.data.gaps import learn_gap_boundaries
from trainer.data.sequences import FlatSequences, Rows

pytestmark = pytest.mark.unit


def make(seconds, offsets):
    items = np.zeros(len(seconds), np.int32)
    return FlatSequences(np.array(offsets), items, seconds=np.array(seconds, np.int64))


def test_boundaries_are_quantiles_of_every_gap_of_the_histories():
    # Two positions of history: user 0 has the gaps 10; 20, 30; 40, 60, user 1 the gap 5.
    sequences = make([0, 10, 30, 70, 100, 105], [0, 4, 6])
    rows = Rows.between(np.array([0, 4]), np.array([4, 6]))
    # Sorted 5, 10, 20, 30, 40, 60: a third of them lies below 20, two thirds below 40.
    np.testing.assert_array_equal(learn_gap_boundaries(sequences, rows, 2, 3), [20, 40])


def test_rows_that_do_not_count_leave_no_gap():
    sequences = make([0, 10, 30, 70, 100, 105], [0, 4, 6])
    rows = Rows.between(np.array([0, 4]), np.array([2, 4]))
    np.testing.assert_array_equal(learn_gap_boundaries(sequences, rows, 2, 2), [10])


def test_a_sample_of_the_rows_tells_nearly_the_same(monkeypatch):
    generator = np.random.default_rng(5)
    seconds = np.cumsum(generator.exponential(100.0, 40_000)).astype(np.int64)
    sequences = make(seconds, [0, len(seconds)])
    rows = Rows.between(np.array([0]), np.array([len(seconds)]))
    everything = learn_gap_boundaries(sequences, rows, 5, 10)
    monkeypatch.setattr(gaps, "_SAMPLED_ROWS", 10_000)
    sampled = learn_gap_boundaries(sequences, rows, 5, 10)
    every_gap = np.sort(np.concatenate([seconds[lag:] - seconds[:-lag] for lag in range(1, 6)]))
    shares = np.searchsorted(every_gap, sampled) / len(every_gap)
    assert (sampled != everything).any()
    np.testing.assert_allclose(shares, np.arange(1, 10) / 10, atol=0.01)


def test_a_sample_costs_no_memory_for_the_rows_that_are_not_in_it(monkeypatch):
    users = 200_000
    sequences = make(np.zeros(10 * users, np.int64), np.arange(0, 10 * users + 1, 10))
    rows = Rows.between(sequences.offsets[:-1], sequences.offsets[1:])
    # Without replacement, numpy numbers all rows for a draw of more than a fiftieth of them.
    monkeypatch.setattr(gaps, "_SAMPLED_ROWS", users // 2)
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(learn_gap_boundaries(sequences, rows, 2, 2), [0])
        # The 2,000,000 rows would be 16 MB, and the 100,000 of the sample are 0.8 MB for each array.
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_without_a_history_there_are_no_quantiles():
    rows = Rows.between(np.array([0, 1]), np.array([1, 2]))
    with pytest.raises(DataError, match="expected rows with a history"):
        learn_gap_boundaries(make([0, 1], [0, 1, 2]), rows, 3, 4)
