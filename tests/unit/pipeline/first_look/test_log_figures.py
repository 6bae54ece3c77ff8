import numpy as np
import pytest

from pipeline.first_look.log_figures import LogFigures

pytestmark = pytest.mark.unit


def duplicate_share(users, items, seconds):
    return LogFigures(
        len(users), np.array(users, np.int64), np.array(items, np.int64), np.array(seconds, float), 0.0
    ).duplicate_share


def test_rows_that_say_the_same_are_counted_once_each():
    # The third row says what the first does, the last what the one before it does; the fourth is later, and
    # the fifth another user's.
    assert duplicate_share([0, 0, 0, 0, 1, 1], [5, 6, 5, 5, 5, 5], [1, 1, 1, 2, 2, 2]) == pytest.approx(2 / 6)


def test_without_repeats_there_is_no_share():
    assert duplicate_share([0, 0, 1], [5, 6, 6], [1, 1, 1]) == 0.0
    assert duplicate_share([0, 1], [5, 5], [1, 1]) == 0.0
    assert duplicate_share([], [], []) == 0.0
