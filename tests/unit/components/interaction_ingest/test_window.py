import datetime

import pytest

from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.window import ALL_DAYS, Window, parse_window, resolve_window
from schemas.errors import ConfigError, DataError
from schemas.strict_config import from_json, parse, to_json

pytestmark = pytest.mark.unit

# 2026-11-22T00:00:00Z, by `date -ud 2026-11-22 +%s`.
NOVEMBER_22 = 1_795_305_600


def not_asked():
    raise AssertionError("the tables need not be read")


def test_both_ends_are_inclusive_days_in_utc():
    window = Window(datetime.date(2026, 11, 22), datetime.date(2026, 11, 23))
    assert (window.start_second, window.end_second) == (NOVEMBER_22, NOVEMBER_22 + 2 * 86_400)
    assert (window.first_text, window.last_text, window.is_open) == ("2026-11-22", "2026-11-23", False)
    assert (ALL_DAYS.start_second, ALL_DAYS.end_second, ALL_DAYS.is_open) == (None, None, True)
    assert (ALL_DAYS.first_text, ALL_DAYS.last_text) == ("", "")
    before_1970 = Window(datetime.date(1969, 12, 31), datetime.date.max)
    assert (before_1970.start_second, before_1970.end_second) == (-86_400, 253_402_300_800)


@pytest.mark.parametrize(
    ("days", "newest", "first"),
    [
        (1, NOVEMBER_22, "2026-11-22"),
        (1, NOVEMBER_22 + 86_399, "2026-11-22"),
        (30, NOVEMBER_22, "2026-10-24"),
        (10**9, NOVEMBER_22, "0001-01-01"),
    ],
)
def test_last_days_end_with_the_newest_interactions_day(days, newest, first):
    window = resolve_window(parse_window("", "", days), lambda: newest)
    assert (window.first_text, window.last_text) == (first, "2026-11-22")


def test_fixed_days_need_no_look_at_the_tables():
    window = resolve_window(parse_window("2026-11-01", " 2026-11-22 ", 0), not_asked)
    assert window == Window(datetime.date(2026, 11, 1), datetime.date(2026, 11, 22))
    assert resolve_window(parse_window("", "", 0), not_asked) == ALL_DAYS
    assert resolve_window(parse_window("", "", 3), lambda: None) == ALL_DAYS


def test_milliseconds_are_no_day():
    with pytest.raises(DataError, match=r"1,795,305,600,000 seconds since 1970, which is no date.*milli"):
        resolve_window(parse_window("", "", 3), lambda: NOVEMBER_22 * 1000)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (("22.11.2026", "", 0), r"first is window_from.*first: .*Received: '22\.11\.2026'"),
        (("2026-11-23", "2026-11-22", 0), "first no later than last. Received: 2026-11-23 and 2026-11-22"),
        (("2026-11-23", "", 7), "first and last, or last_days, .*Received: both"),
        (("", "2026-11-23", 7), "first and last, or last_days, .*Received: both"),
        (("", "", -7), "last_days"),
    ],
)
def test_an_impossible_window_is_refused(values, match):
    with pytest.raises(ConfigError, match=match):
        parse_window(*values)


def test_a_window_in_the_configuration():
    config = parse(IngestConfig, {"window": {"first": "2026-11-01"}}, source="test")
    assert config.window == WindowConfig(first=datetime.date(2026, 11, 1))
    assert from_json(IngestConfig, to_json(config)) == config
    with pytest.raises(ConfigError, match="last_days"):
        parse(IngestConfig, {"window": {"last_day": 7}}, source="test")
