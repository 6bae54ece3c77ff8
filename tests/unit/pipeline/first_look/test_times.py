import datetime

import numpy as np
import pyarrow as pa
import pytest

from pipeline.first_look.profiles import profile_column
from pipeline.first_look.times import read_times

pytestmark = pytest.mark.unit

# 2020-09-13 12:26:40 UTC is 1,600,000,000 seconds since 1970; its day began at 1,599,955,200.
SECOND = 1_600_000_000
DAY = 1_599_955_200


@pytest.mark.parametrize(
    ("values", "unit", "seconds"),
    [
        ([SECOND], "s", SECOND),
        ([float(SECOND) + 0.5], "s", SECOND + 0.5),
        ([SECOND * 10**3], "ms", SECOND),
        ([SECOND * 10**6], "us", SECOND),
        ([SECOND * 10**9], "ns", SECOND),
        ([20200913], "yyyymmdd", DAY),
        (["2020-09-13T12:26:40Z"], "text", SECOND),
        ([datetime.datetime(2020, 9, 13, 12, 26, 40)], "type", SECOND),
        ([datetime.date(2020, 9, 13)], "type", DAY),
    ],
)
def test_times_are_told_by_their_size_or_type(values, unit, seconds):
    time = read_times(profile_column("t", pa.chunked_array([pa.array(values)])))
    assert time.unit == unit
    assert time.seconds.tolist() == [seconds]


@pytest.mark.parametrize("values", [[1, 2, 3], [0.5], ["word"], [19851301], [True]])
def test_other_values_are_no_times(values):
    assert read_times(profile_column("t", pa.chunked_array([pa.array(values)]))) is None


def test_a_missing_time_is_no_number():
    time = read_times(profile_column("t", pa.chunked_array([pa.array([SECOND, None])])))
    assert time.seconds[0] == SECOND
    assert np.isnan(time.seconds[1])
