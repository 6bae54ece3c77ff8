import datetime
import typing

import numpy as np
import pytest

from components.interaction_ingest.config import (
    CutOffSplit,
    IngestConfig,
    LastDaysSplit,
    LatestPerUserSplit,
    Split,
)
from components.interaction_ingest.splits import EVAL, SKIPPED, TRAIN, VALIDATION, assign_splits, split_ends

T, E, S, V = TRAIN, EVAL, SKIPPED, VALIDATION

pytestmark = pytest.mark.unit


# Users with 4, 1, 2 and 3 rows.
OFFSETS = np.array([0, 4, 5, 7, 10])


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        (0, [T, T, T, E, T, T, E, T, T, E]),
        # The user with 2 loses the newest to the held-out set of skip_latest 0, and keeps the other.
        (1, [T, T, E, S, T, T, S, T, E, S]),
        (2, [T, E, S, S, T, T, S, T, S, S]),
        (9, [T, S, S, S, T, T, S, T, S, S]),
    ],
)
def test_latest_per_user_split(skip, expected):
    config = IngestConfig(split=LatestPerUserSplit(kind="latest_per_user", skip_latest=skip))
    splits = assign_splits(OFFSETS, np.zeros(10, np.int64), config)
    np.testing.assert_array_equal(splits, expected)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.datetime(1970, 1, 1, 0, 1, 40),
        datetime.datetime(1970, 1, 1, 1, 1, 40, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.datetime(1970, 1, 1, 0, 1, 39, 500_000, tzinfo=datetime.UTC),
    ],
)
def test_cut_off_split_holds_out_from_the_moment_on(moment):
    config = IngestConfig(split=CutOffSplit(kind="cut_off", time=moment))
    splits = assign_splits(np.array([0, 3, 4]), np.array([99, 100, 101, 100]), config)
    np.testing.assert_array_equal(splits, [T, E, E, E])


def test_last_days_split_holds_out_whole_days():
    # The newest positive is at 100 seconds of day 4, so the last 2 days are 3 and 4.
    day = 86_400
    config = IngestConfig(split=LastDaysSplit(kind="last_days", days=2))
    times = np.array([0, 3 * day - 1, 3 * day, 4 * day + 100])
    splits = assign_splits(np.array([0, 2, 4]), times, config, 4 * day + 100)
    np.testing.assert_array_equal(splits, [T, T, E, E])
    # A bucket whose own newest row is older knows of the others'.
    splits = assign_splits(np.array([0, 2]), times[:2], config, 4 * day + 100)
    np.testing.assert_array_equal(splits, [T, T])


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        # The users with 1 and 2 rows keep theirs.
        (0, [T, T, V, E, T, T, E, T, V, E]),
        (1, [T, V, E, S, T, T, S, T, E, S]),
        (2, [T, E, S, S, T, T, S, T, S, S]),
    ],
)
def test_validation_is_the_positive_before_the_held_out_one(skip, expected):
    split = LatestPerUserSplit(kind="latest_per_user", skip_latest=skip)
    config = IngestConfig(split=split, validation=True)
    splits = assign_splits(OFFSETS, np.zeros(10, np.int64), config)
    np.testing.assert_array_equal(splits, expected)


@pytest.mark.parametrize(
    ("split", "cut_off"),
    [
        (CutOffSplit(kind="cut_off", time=datetime.datetime(1970, 1, 6, 12)), 475_200),
        # The newest row is of day 6, so the last day starts at 6 * 86,400.
        (LastDaysSplit(kind="last_days", days=1), 518_400),
    ],
)
def test_validation_is_the_days_before_the_cut_off(split, cut_off):
    config = IngestConfig(split=split, validation=True, validation_days=2)
    start = cut_off - 172_800
    times = np.array([start - 1, start, cut_off - 1, cut_off])
    splits = assign_splits(np.array([0, 4]), times, config, 518_500)
    np.testing.assert_array_equal(splits, [T, V, V, E])


def test_ends_count_the_rows_that_are_left():
    # The second user has lost a train row and has neither validation nor eval; the third is skipped but once.
    splits = np.array([T, V, E, S, T, T, E, S], np.int8)
    ends = split_ends(np.array([0, 4, 6, 8]), splits)
    np.testing.assert_array_equal(ends, [[1, 2, 3], [2, 2, 2], [0, 0, 1]])
    assert split_ends(np.array([0]), np.zeros(0, np.int8)).shape == (0, 3)


@pytest.mark.parametrize("kind", typing.get_args(typing.get_args(Split)[0]))
def test_a_split_says_whether_it_needs_the_newest_of_all(kind):
    options = {"cut_off": {"time": datetime.datetime(1970, 1, 3)}, "last_days": {"days": 2}}
    name = typing.get_args(typing.get_type_hints(kind)["kind"])[0]
    config = IngestConfig(split=kind(kind=name, **options.get(name, {})))
    times = np.arange(10) * 43_200
    first, second = (assign_splits(np.array([0, 10]), times, config, newest) for newest in (432_000, 864_000))
    assert kind.needs_newest == (first.tolist() != second.tolist())
