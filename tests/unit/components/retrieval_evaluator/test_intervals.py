import math

import numpy as np
import pytest

from components.retrieval_evaluator import intervals as module
from components.retrieval_evaluator.intervals import Resamples

pytestmark = pytest.mark.unit


def test_interval_of_a_share_is_that_of_the_binomial():
    # The resampled number of ones among 400 is binomial with p = 0.25: 2.5 % and 97.5 % are 83 and 117.
    values = np.repeat([1.0, 0.0], [100, 300])
    found = Resamples(400, resamples=20_000).interval(values)
    assert found.value == 0.25
    assert found.low == pytest.approx(83 / 400, abs=1 / 400)
    assert found.high == pytest.approx(117 / 400, abs=1 / 400)


def test_interval_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(1).normal(2.0, 3.0, 5000)
    found = Resamples(5000).interval(values, level=0.9)
    error = values.std() / math.sqrt(5000)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / (2 * 1.645 * error) == pytest.approx(1.0, abs=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        found = Resamples(200, resamples=400, seed=trial).interval(random.exponential(1.0, 200))
        covered += found.low <= 1.0 <= found.high
    assert 0.91 < covered / 300 < 0.98


def test_a_difference_is_paired():
    random = np.random.default_rng(3)
    first = random.normal(0.0, 10.0, 300)
    resamples = Resamples(300)
    # Users differ much, the two models by exactly 1.
    difference = resamples.interval(first + 1.0 - first)
    assert difference == pytest.approx((1.0, 1.0, 1.0))
    one, other = resamples.interval(first + 1.0), resamples.interval(first)
    # Equal draws: their ends are as far apart.
    assert (one.low - other.low, one.high - other.high) == pytest.approx((1.0, 1.0))


def test_a_slice_is_about_its_own_users():
    values = np.concatenate([np.zeros(90), np.arange(10.0)])
    subset = np.arange(90, 100)
    found = Resamples(100, resamples=4000).interval_of_many({"a": values, "b": values * 2}, subset)
    assert found["a"].value == 4.5
    error = np.arange(10.0).std() / math.sqrt(10)
    assert (found["a"].high - found["a"].low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.15)
    assert found["b"] == pytest.approx(tuple(2 * np.array(found["a"])))


def test_a_slice_of_one_user_has_no_width():
    values = np.arange(50.0)
    assert Resamples(50).interval(values, np.array([7])) == (7.0, 7.0, 7.0)


def test_equal_seeds_and_any_blocks_draw_the_same(monkeypatch):
    values = {"a": np.random.default_rng(0).random(100)}
    subsets = [None, np.arange(30)]
    whole = Resamples(100, seed=5).intervals_of_slices(values, subsets)
    assert Resamples(100, seed=5).intervals_of_slices(values, subsets) == whole
    assert Resamples(100, seed=6).intervals_of_slices(values, subsets) != whole
    # Too many to be kept: they are drawn anew, and are the same.
    monkeypatch.setattr(module, "_KEPT_DRAWS", 0)
    again = Resamples(100, seed=5)
    assert again.intervals_of_slices(values, subsets) == whole
    assert again.intervals_of_slices(values, subsets) == whole
    monkeypatch.setattr(module, "_BLOCK_DRAWS", 3_000)
    [found, _] = Resamples(100, seed=5).intervals_of_slices(values, subsets)
    assert found["a"] == pytest.approx(whole[0]["a"], abs=0.01)


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(ValueError, match="at least one query"):
        Resamples(0)
    resamples = Resamples(3)
    with pytest.raises(ValueError, match=r"Expected 3 finite values\. Received: 2"):
        resamples.interval(np.zeros(2))
    with pytest.raises(ValueError, match="1 in all that are not finite"):
        resamples.interval(np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="at least one query in each slice"):
        resamples.interval(np.zeros(3), np.array([], int))
