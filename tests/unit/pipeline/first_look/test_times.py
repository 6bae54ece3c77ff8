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


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["13.09.2020 12:26:40", None], ("%d.%m.%Y %H:%M:%S",)),
        (["9/13/2020 12:26", "12/1/2020 8:05"], ("%m/%d/%Y %H:%M",)),
        # Nothing tells day and month apart.
        (["01/02/2020", "02/01/2020"], ("%d/%m/%Y", "%m/%d/%Y")),
        (["13 Sep 2020"], ("%d %b %Y",)),
    ],
)
def test_other_texts_are_read_by_their_format(texts, formats):
    time = read_times(profile_column("t", pa.chunked_array([pa.array(texts)])))
    assert (time.unit, time.formats) == ("format", formats)


def test_times_in_a_format_are_seconds():
    time = read_times(profile_column("t", pa.chunked_array([pa.array(["13.09.2020 12:26:40", None])])))
    np.testing.assert_array_equal(time.seconds, [SECOND, np.nan])


def test_one_text_of_another_form_is_no_time():
    texts = ["13.09.2020"] * 300 + [f"{day}.09.2020" for day in range(1, 31)] + ["soon"]
    assert read_times(profile_column("t", pa.chunked_array([pa.array(texts)]))) is None


@pytest.mark.parametrize(
    "values", [["1-2-3"], ["10.0.0.1"], ["a b c"], [1, 2, 3], [0.5], ["word"], [19851301], [True]]
)
def test_other_values_are_no_times(values):
    assert read_times(profile_column("t", pa.chunked_array([pa.array(values)]))) is None


def test_a_missing_time_is_no_number():
    time = read_times(profile_column("t", pa.chunked_array([pa.array([SECOND, None])])))
    assert time.seconds[0] == SECOND
    assert np.isnan(time.seconds[1])
