"""Distances between small distributions, worked by hand."""

import math

import pytest

from components.anomaly_gate.distances import Quantiles, compare_quantiles, jensen_shannon, l_infinity

pytestmark = pytest.mark.unit


def test_l_infinity_is_the_largest_change_of_a_share() -> None:
    # a 3/4 to 1/4, b 1/4 to 1/2, c 0 to 1/4.
    assert l_infinity({"a": 3, "b": 1}, {"a": 1, "b": 2, "c": 1}) == pytest.approx(0.5)
    assert l_infinity({"a": 3, "b": 1}, {"a": 6, "b": 2}) == 0.0


def test_jensen_shannon_is_0_of_equal_shares_and_1_of_nothing_in_common() -> None:
    assert jensen_shannon({1: 1, 2: 3}, {1: 2, 2: 6}) == pytest.approx(0.0)
    assert jensen_shannon({1: 5}, {2: 1, 4: 1}) == pytest.approx(1.0)


def test_jensen_shannon_in_between() -> None:
    # The shares are (1, 0) and (1/2, 1/2), their mean (3/4, 1/4).
    expected = (math.log2(4 / 3) + math.log2(2 / 3) / 2 + 1 / 2) / 2
    assert jensen_shannon({"a": 9}, {"a": 4, "b": 4}) == pytest.approx(expected)
    assert jensen_shannon({"a": 4, "b": 4}, {"a": 9}) == pytest.approx(expected)


def test_numbers_are_compared_between_the_ends_of_all_buckets() -> None:
    # Half of the numbers are 1, half between 1 and 3; of the others all are between 2 and 3. Between the
    # ends 1, 2 and 3 the shares are 1/2 + 1/4, 1/4 and 0, against 0, 1 and 0.
    numbers = Quantiles(lows=[1.0, 1.0], highs=[1.0, 3.0], counts=[2.0, 2.0])
    others = Quantiles(lows=[2.0], highs=[3.0], counts=[7.0])
    expected = jensen_shannon({0: 3, 1: 1}, {1: 1})
    assert compare_quantiles(numbers, others) == pytest.approx(expected)
    assert 0.0 < expected < 1.0


def test_a_number_that_is_where_a_bucket_ends_counts_from_there() -> None:
    point = Quantiles(lows=[3.0], highs=[3.0], counts=[1.0])
    assert compare_quantiles(point, point) == 0.0
    below = Quantiles(lows=[2.0], highs=[3.0], counts=[1.0])
    assert compare_quantiles(point, below) == pytest.approx(1.0)
