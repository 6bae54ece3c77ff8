from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pipeline.cron import CronError, load_zone, next_fire_times, parse_cron, translate_zone

pytestmark = pytest.mark.unit

# A Sunday.
NOW = datetime(2026, 11, 22, 17, 0, 30, tzinfo=UTC)


def fire(text: str, after: datetime = NOW, count: int = 3) -> list[str]:
    return [f"{moment:%m-%d %H:%M:%S}" for moment in next_fire_times(parse_cron(text), after, count)]


# The calendar: 2026-11-22 is a Sunday; the 13th of December is one too; 2027-01-01 is a Friday.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 3 * * *", ["11-23 03:00:00", "11-24 03:00:00", "11-25 03:00:00"]),
        ("*/20 * * * *", ["11-22 17:20:00", "11-22 17:40:00", "11-22 18:00:00"]),
        ("15 0 3 * * *", ["11-23 03:00:15", "11-24 03:00:15", "11-25 03:00:15"]),
        ("*/20 * * * * *", ["11-22 17:00:40", "11-22 17:01:00", "11-22 17:01:20"]),
        ("0 3 ? * SUN", ["11-29 03:00:00", "12-06 03:00:00", "12-13 03:00:00"]),
        ("0 3 * * 7", ["11-29 03:00:00", "12-06 03:00:00", "12-13 03:00:00"]),
        ("0 3 * * 6-7", ["11-28 03:00:00", "11-29 03:00:00", "12-05 03:00:00"]),
        ("0 3 * jan mon", ["01-04 03:00:00", "01-11 03:00:00", "01-18 03:00:00"]),
        ("5-5 3 * * *", ["11-23 03:05:00", "11-24 03:05:00", "11-25 03:05:00"]),
        ("50/5 17 * * *", ["11-22 17:50:00", "11-22 17:55:00", "11-23 17:50:00"]),
        ("@daily", ["11-23 00:00:00", "11-24 00:00:00", "11-25 00:00:00"]),
        ("@weekly", ["11-29 00:00:00", "12-06 00:00:00", "12-13 00:00:00"]),
        # Both days restricted: either.
        ("0 3 13 * fri", ["11-27 03:00:00", "12-04 03:00:00", "12-11 03:00:00"]),
        ("0 3 24 * fri", ["11-24 03:00:00", "11-27 03:00:00", "12-04 03:00:00"]),
        # A star with a step restricts, but does not widen: both. Odd days that are Mondays.
        ("0 3 */2 * mon", ["11-23 03:00:00", "12-07 03:00:00", "12-21 03:00:00"]),
        # Every day, without a star: either, so every day.
        ("0 3 1-31 * mon", ["11-23 03:00:00", "11-24 03:00:00", "11-25 03:00:00"]),
    ],
)
def test_fire_times(text: str, expected: list[str]) -> None:
    assert fire(text) == expected


def test_fire_times_in_a_zone_follow_its_summer_time() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2027, 3, 27, 0, 0, tzinfo=berlin)
    moments = next_fire_times(parse_cron("0 5 * * *"), start, 2)
    # Summer time begins on 2027-03-28 at 02:00.
    assert [moment.astimezone(UTC).hour for moment in moments] == [4, 3]


@pytest.mark.parametrize(
    ("text", "six", "five"),
    [
        ("0 3 * * *", "0 0 3 * * *", "0 3 * * *"),
        ("30 0 3 * * *", "30 0 3 * * *", "0 3 * * *"),
        ("0 3 ? * MON-FRI", "0 0 3 * * 1-5", "0 3 * * 1-5"),
        ("*/15 1-5/2 * * 0,7", "0 */15 1-5/2 * * 0", "*/15 1-5/2 * * 0"),
        ("50/5 3 * * *", "0 50,55 3 * * *", "50,55 3 * * *"),
        ("@monthly", "0 0 0 1 * *", "0 0 1 * *"),
    ],
)
def test_what_schedulers_are_told(text: str, six: str, five: str) -> None:
    assert parse_cron(text).six_fields == six
    assert parse_cron(text).five_fields == five


@pytest.mark.parametrize(
    ("text", "named", "received"),
    [
        ("60 3 * * *", "minute: expected 0-59", "'60'"),
        ("-1 3 * * *", "minute", "'-1'"),
        ("0 24 * * *", "hour: expected 0-23", "'24'"),
        ("0 3 0 * *", "day of month: expected 1-31", "'0'"),
        ("0 3 * 13 *", "month: expected 1-12 or jan-dec", "'13'"),
        ("0 3 * * 8", "day of week: expected 0-6 or sun-sat", "'8'"),
        ("0 3 * * monday", "day of week", "'monday'"),
        ("0 3 * * 5-2", "day of week: the range ends before it begins", "'5-2'"),
        ("60 0 3 * * *", "second: expected 0-59", "'60'"),
        ("0 0 24 * * *", "hour", "'24'"),
        ("*/0 3 * * *", "minute: the step must be at least 1", "'*/0'"),
        ("1,* 3 * * *", "minute: a list cannot hold a star", "'1,*'"),
        ("1, 3 * * *", "minute", "'1,'"),
        ("0 3 L * *", "day of month", "'L'"),
        ("0 3 30 2 *", "day of month: .* never fires", "'30'"),
        ("CRON_TZ=UTC 0 3 * * *", "second", "'CRON_TZ=UTC'"),
        ("0 3 *", "expected five fields", "3"),
        ("0 0 3 * * * 2027", "expected five fields", "7"),
        ("@every 1h", "expected five or six fields, or one of @yearly", ""),
        ("", "expected five fields", "0"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str, received: str) -> None:
    with pytest.raises(CronError, match=named) as error:
        parse_cron(text)
    assert received in str(error.value)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        # Tokyo is UTC+9, Kolkata UTC+5:30, both all year.
        ("0 3 * * *", "Asia/Tokyo", "0 0 18 * * *"),
        ("0 3 * * 1", "Asia/Tokyo", "0 0 18 * * 0"),
        ("0 12 1 * *", "Asia/Tokyo", "0 0 3 1 * *"),
        ("0 3 * * *", "Asia/Kolkata", "0 30 21 * * *"),
        ("15 0 3 * * *", "Asia/Tokyo", "15 0 18 * * *"),
        # Whole hours of difference change nothing about every hour, nor summer time.
        ("10 * * * *", "Europe/Berlin", "0 10 * * * *"),
        ("0 3 * * *", "UTC", "0 0 3 * * *"),
        ("*/15 * * * *", "Europe/London", "0 */15 * * * *"),
        ("*/15 * * * *", "Asia/Kolkata", "0 */15 * * * *"),
        ("0-59/20 */1 * * SUN-SAT", "Europe/Berlin", "0 0-59/20 */1 * * 0-6"),
        # Only winter time, or only summer time, at the moments that fire.
        ("0 3 * 1 *", "Europe/London", "0 0 3 * 1 *"),
        ("30 12 * jun,jul *", "Europe/Berlin", "0 30 10 * 6,7 *"),
    ],
)
def test_another_zone(text: str, zone: str, expected: str) -> None:
    translated = translate_zone(parse_cron(text), load_zone(zone), UTC, NOW)
    assert translated is not None
    assert translated.six_fields == expected
    meant = next_fire_times(parse_cron(text), NOW.astimezone(ZoneInfo(zone)), 20)
    sent = next_fire_times(translated, NOW, 20)
    assert [moment.timestamp() for moment in meant] == [moment.timestamp() for moment in sent]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("0 3 * * *", "Europe/Berlin"),
        # The first of a month in Tokyo is the last of some other number in UTC.
        ("0 3 1 * *", "Asia/Tokyo"),
        ("0 3 * 2 *", "Asia/Tokyo"),
        # Both, in March.
        ("0 12 * 3 *", "Europe/London"),
        # Every other hour is another one in summer time.
        ("0 */2 * * *", "Europe/London"),
        # One of the two falls on another day.
        ("0 3,12 * * 1", "Asia/Tokyo"),
        # 03:15 and 03:45 are 21:45 and 22:15: not hours times minutes.
        ("15,45 3 * * *", "Asia/Kolkata"),
    ],
)
def test_what_cannot_be_said_in_another_zone(text: str, zone: str) -> None:
    assert translate_zone(parse_cron(text), load_zone(zone), UTC, NOW) is None


def test_an_unknown_zone() -> None:
    with pytest.raises(CronError, match=r"Did you mean .*Europe/Berlin"):
        load_zone("Europe/Berlim")
    with pytest.raises(CronError, match="not known"):
        load_zone("../etc/passwd")
