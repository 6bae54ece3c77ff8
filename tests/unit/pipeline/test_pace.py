import pytest

from pipeline.pace import Pace

pytestmark = pytest.mark.unit


def test_rate_and_rest_of_two_counts():
    pace = Pace(100.0, 0)
    assert pace.per_second(100.0) is None
    assert pace.seconds_left(100.0, 1_000) is None
    pace.add(108.0, 400)
    # 400 in 8 s: 50 a second, and 12 s for the other 600.
    assert pace.per_second(108.0) == pytest.approx(50.0)
    assert pace.seconds_left(108.0, 1_000) == pytest.approx(12.0)


def test_the_rate_is_of_the_last_fifteen_seconds():
    pace = Pace(0.0, 0)
    for second in range(1, 21):
        pace.add(second, 10 * second)
    for second in range(21, 41):
        pace.add(second, 200 + 1_000 * (second - 20))
    assert pace.per_second(40.0) == pytest.approx(1_000.0)


def test_counts_that_are_further_apart_have_a_rate_all_the_same():
    pace = Pace(0.0, 0)
    pace.add(60.0, 60)
    pace.add(120.0, 300)
    assert pace.per_second(120.0) == pytest.approx(4.0)
    # The next one is not late yet.
    assert pace.per_second(180.0) == pytest.approx(4.0)


def test_the_rate_falls_where_counts_have_stopped_to_come():
    pace = Pace(0.0, 0)
    pace.add(1.0, 100)
    pace.add(2.0, 200)
    assert pace.per_second(10.0) == pytest.approx(100.0)
    assert pace.per_second(100.0) == pytest.approx(2.0)


def test_no_rate_where_nothing_moves_and_no_rest_at_the_end():
    pace = Pace(0.0, 7)
    pace.add(5.0, 7)
    assert pace.per_second(5.0) is None
    pace.add(10.0, 10)
    assert pace.seconds_left(10.0, 10) is None
