"""Times as files hold them, in one form: microseconds since 1970."""

import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import has_byte, to_microseconds
from components.interaction_ingest.sources.numbers import Decimal, point_fractions
from components.interaction_ingest.sources.parts import FIRST_SECOND, LAST_SECOND
from schemas.errors import DataError
from schemas.features import Feature, TimeUnit
from schemas.times import SECONDS_PER_DAY

PLAUSIBLE_TIME: Final = r"^\s*([+-]?\d+([.,]\d*)?([eE][+-]?\d+)?|\d{4}-\d\d-\d\d.*)\s*$"
"""What a text must look like to be a time where no format is given; another one is not tried."""

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_MICROSECONDS_PER_UNIT: Final = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_MICROSECONDS_PER_DAY: Final = SECONDS_PER_DAY * 10**6
# Beyond any calendar, and within 64 bits as microseconds.
_LARGEST_DAY: Final = 10**8
_LARGEST_MICROSECOND: Final = 9.2e18
_NUMBERS: Final[dict[Decimal, str]] = {
    ".": r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$",
    ",": r"^[+-]?\d+(,\d*)?([eE][+-]?\d+)?$",
}


def to_time(
    values: pa.Array, unit: TimeUnit = "s", time_format: str | None = None, decimal: Decimal = "."
) -> pa.Array:
    """Make times of numbers, dates, timestamps, or texts of any of them.

    Args:
        values: [rows]; UTC where there is no zone.
        unit: What numbers count, also those in texts; not `auto`.
        time_format: How texts are written, in the signs of strptime; None: as ISO 8601 or as numbers.
        decimal: What stands before the fraction of a number in a text.

    Returns:
        [rows] int64 microseconds since 1970, rounded down (fractions of floats to the nearest), nulls kept,
        as are floats that are NaN. What 64 bits cannot hold becomes a time beyond any calendar.

    Raises:
        DataError: They are of another type, or a text does not fit the format.
        pyarrow.ArrowInvalid: A text is no time.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.int64())
    if pa.types.is_string(kind):
        texts = pc.utf8_trim_whitespace(values)
        if time_format is None:
            return _read_texts(texts, unit, decimal)
        return _read_formatted(texts, time_format)
    if pa.types.is_timestamp(kind):
        return to_microseconds(values)
    if pa.types.is_date(kind):
        days = values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        kept = pc.min_element_wise(pc.max_element_wise(days, -_LARGEST_DAY), _LARGEST_DAY)
        return pc.if_else(days.is_valid(), pc.multiply(kept, _MICROSECONDS_PER_DAY), days)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _count_time(values, unit)
    raise DataError("expected numbers, dates, timestamps or texts of them")


def take_part(microseconds: pa.Array, feature: Feature) -> pa.Array:
    """Take the part of times that a feature is.

    Args:
        microseconds: [rows] int64 since 1970.
        feature: One with a `time_part`.

    Returns:
        [rows] int64, in UTC, nulls kept; `seconds` and `days` since 1970 of a feature of floats float64, with
        their fraction.

    Raises:
        DataError: A time is outside the years 1 to 9999.
    """
    first, last = pc.min_max(microseconds).as_py().values()
    if first is not None and (first < FIRST_SECOND * 10**6 or last >= (LAST_SECOND + 1) * 10**6):
        raise DataError("expected a time of the years 1 to 9999")
    part = feature.time_part
    if part == "seconds" or part == "days":
        length = 10**6 if part == "seconds" else _MICROSECONDS_PER_DAY
        numbers = pc.divide(microseconds.cast(pa.float64()), float(length))
        return numbers if feature.dtype == "float" else pc.floor(numbers).cast(pa.int64())
    moments = microseconds.cast(pa.timestamp("us"))
    take = {
        "year": pc.year,
        "month": pc.month,
        "day": pc.day,
        "weekday": pc.day_of_week,
        "hour": pc.hour,
    }
    return take[str(part)](moments)


def take_part_at(seconds: float, feature: Feature) -> int | float:
    """Take the part of one time that a feature is.

    Args:
        seconds: The time since 1970.
        feature: One with a `time_part`.

    Returns:
        What `take_part` gives of it.
    """
    value: int | float = take_part(pa.array([int(seconds * 10**6)]), feature)[0].as_py()
    return value


def list_numbers(values: pa.Array, decimal: Decimal = ".") -> npt.NDArray[np.float64]:
    """List those of a column's times that are numbers.

    Args:
        values: [rows] of any type, texts as strings.
        decimal: What stands before the fraction of a number in a text.

    Returns:
        [numbers] float64, finite.
    """
    kind = values.type
    if pa.types.is_string(kind):
        texts = pc.utf8_trim_whitespace(values.drop_null())
        numbers = texts.filter(pc.match_substring_regex(texts, _NUMBERS[decimal]))
        values = point_fractions(numbers, decimal).cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return np.zeros(0)
    floats = values.drop_null().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(floats[np.isfinite(floats)], np.float64)


def _count_time(values: pa.Array, unit: TimeUnit) -> pa.Array:
    """Read times that are numbers."""
    if pa.types.is_decimal(values.type):
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid:
            values = values.cast(pa.float64())
    if unit == "yyyymmdd":
        return _read_calendar_days(values)
    if pa.types.is_integer(values.type):
        return to_microseconds(values, unit)
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_missing = np.isnan(numbers)
    ticks = np.round(np.where(is_missing, 0.0, numbers) * _MICROSECONDS_PER_UNIT[unit])
    clipped = np.clip(ticks, -_LARGEST_MICROSECOND, _LARGEST_MICROSECOND)
    return pa.array(clipped.astype(np.int64), mask=is_missing)


def _read_calendar_days(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    days = values.cast(pa.int64()).cast(pa.string())
    # Arrow knows how many days a month has only where it reads ISO 8601.
    dates = pc.replace_substring_regex(days, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
    return to_microseconds(dates.cast(pa.timestamp("us")))


def _read_texts(texts: pa.Array, unit: TimeUnit, decimal: Decimal) -> pa.Array:
    # Where all are alike, which is usual, that is many times as fast.
    for kind in (pa.int64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            alike = texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        return to_time(alike, unit)
    nothing = pa.scalar(None, pa.string())
    is_number = pc.match_substring_regex(texts, _NUMBERS[decimal]).fill_null(False)
    times = _read_iso(pc.if_else(is_number, nothing, texts))
    if not pc.any(is_number).as_py():
        return times
    numbers = point_fractions(pc.if_else(is_number, texts, nothing), decimal)
    numbers = pc.replace_substring(numbers, "+", "", max_replacements=1)
    is_whole = pc.match_substring_regex(numbers, r"^-?\d+$").fill_null(False)
    whole = pc.if_else(is_whole, numbers, nothing).cast(pa.int64())
    broken = pc.if_else(is_whole, nothing, numbers).cast(pa.float64())
    return pc.coalesce(times, _count_time(whole, unit), _count_time(broken, unit))


def _read_iso(texts: pa.Array) -> pa.Array:
    nothing = pa.scalar(None, pa.string())
    zoned = pc.match_substring_regex(texts, r":.*(Z|[+-]\d\d(:?\d\d)?)$").fill_null(False)
    if has_byte(texts, b","):
        texts = pc.replace_substring_regex(texts, r"(:\d\d),(\d)", r"\1.\2")
    # Arrow wants minutes in an offset, and at most as many decimals as the unit has.
    times = pc.replace_substring_regex(texts, r"( UTC)$", "Z")
    times = pc.replace_substring_regex(times, r"(:\d\d\.\d{6})\d+", r"\1")
    times = pc.replace_substring_regex(times, r"(:.*[+-]\d\d)$", r"\1:00")
    zoned = pc.or_(zoned, pc.ends_with(times, "Z").fill_null(False))
    plain = pc.if_else(zoned, nothing, times).cast(pa.timestamp("us"))
    with_zone = pc.if_else(zoned, times, nothing).cast(pa.timestamp("us", "UTC"))
    return pc.coalesce(to_microseconds(plain), to_microseconds(with_zone))


def _read_formatted(texts: pa.Array, time_format: str) -> pa.Array:
    # Not Arrow's strptime, for which 30 February is the 2nd of March.
    distinct = texts.dictionary_encode()
    try:
        moments = [datetime.datetime.strptime(text, time_format) for text in distinct.dictionary.to_pylist()]
    except ValueError as error:
        raise DataError(str(error)) from error
    in_utc = [moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC) for moment in moments]
    ticks = pa.array([(moment - _EPOCH) // _MICROSECOND for moment in in_utc], pa.int64())
    return ticks.take(distinct.indices)
