"""Which column says when an interaction was, and in what unit."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.interaction_ingest.columns import to_microseconds
from components.interaction_ingest.sources.times import to_time
from pipeline.first_look.names import TIME_WORDS, split_name
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.time_formats import find_time_formats, read_formatted
from schemas.times import SECONDS_PER_DAY

Unit = Literal["s", "ms", "us", "ns", "yyyymmdd", "text", "format", "type"]
"""What a time is: a number since 1970 in a unit, a date as a number, a text in ISO 8601 or in a format, or a
type of the file."""

# From 1990 to 2100, in seconds.
_FIRST: Final = 631_152_000
_LAST: Final = 4_102_444_800
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class TimeColumn:
    """A column that can be the time of the interactions."""

    name: str
    """Its name in the files."""
    unit: Unit
    """What it holds."""
    seconds: npt.NDArray[np.float64]
    """[rows] seconds since 1970, NaN where there is none."""
    formats: tuple[str, ...] = ()
    """The formats that read texts which are not in ISO 8601; the first is taken."""


def read_times(profile: ColumnProfile) -> TimeColumn | None:
    """Read a column as times.

    Args:
        profile: The column.

    Returns:
        The times; None where it holds none.
    """
    formats = find_time_formats(profile.values) if profile.kind == "text" else ()
    unit = "format" if formats else _unit_of(profile)
    if unit is None:
        return None
    if unit in _PER_SECOND:
        distinct = profile.numbers / _PER_SECOND[unit]
    elif unit == "yyyymmdd":
        distinct = _days_of_numbers(profile.numbers)
    elif unit == "format":
        distinct = _to_seconds(to_microseconds(read_formatted(profile.values, formats[0])))
    elif unit == "text":
        distinct = _to_seconds(to_time(profile.values.cast(pa.string())))
    else:
        values = profile.values
        distinct = _to_seconds(
            to_microseconds(values.cast(pa.timestamp("us")) if profile.kind == "date" else values)
        )
    seconds = np.append(distinct, np.nan)[profile.codes]
    return TimeColumn(profile.name, unit, seconds, formats)


def rate_time(profile: ColumnProfile) -> float:
    """Say how much a column's name and values speak for the time of the interactions.

    Args:
        profile: A column that `read_times` reads.

    Returns:
        Larger is better.
    """
    words = split_name(profile.name)
    named = 2.0 if set(words) & (TIME_WORDS - {"at", "day"}) else 1.0 if set(words) & TIME_WORDS else 0.0
    # A moment tells more than a day, and what differs from row to row more than what does not.
    return named + min(1.0, profile.distinct / max(1, profile.present)) - 2.0 * profile.missing / profile.rows


def _unit_of(profile: ColumnProfile) -> Unit | None:
    if not profile.distinct:
        return None
    if profile.kind == "time":
        return "text" if profile.type is None or not pa.types.is_timestamp(profile.type) else "type"
    if profile.kind == "date":
        return "type"
    if not profile.is_number:
        return None
    numbers = profile.numbers
    low, high = np.quantile(numbers, [0.01, 0.99])
    for unit, per_second in _PER_SECOND.items():
        if _FIRST * per_second <= low and high < _LAST * per_second:
            return unit  # type: ignore[return-value]
    whole = numbers.astype(np.int64)
    months, days = whole // 100 % 100, whole % 100
    is_day = (whole >= 19_900_101) & (whole <= 21_001_231) & (months >= 1) & (months <= 12) & (days >= 1)
    return "yyyymmdd" if (is_day & (days <= 31)).all() else None


def _days_of_numbers(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    whole = numbers.astype(np.int64)
    months = (whole // 10_000 - 1970) * 12 + whole // 100 % 100 - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + whole % 100 - 1
    return days.astype(np.float64) * SECONDS_PER_DAY


def _to_seconds(microseconds: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(microseconds.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)) / 1e6
