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


def test_a_sample_holds_a_share_of_each_users_rows():
    # 3, 1 and 5 of 9 sampled rows of 36.
    users = np.repeat([0, 1, 2], [3, 1, 5])
    nothing = np.zeros(9)
    log = LogFigures(36, users, nothing.astype(np.int64), nothing, 0.0)
    assert log.typical_rows_of_user == 12


def test_without_repeats_there_is_no_share():
    assert duplicate_share([0, 0, 1], [5, 6, 6], [1, 1, 1]) == 0.0
    assert duplicate_share([0, 1], [5, 5], [1, 1]) == 0.0
    assert duplicate_share([], [], []) == 0.0
