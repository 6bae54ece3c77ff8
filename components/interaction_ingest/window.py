"""Which days' interactions a run reads."""

import dataclasses
import datetime
import math
import time
from collections.abc import Callable
from typing import Final

from components.interaction_ingest.config import WindowConfig
from schemas.errors import DataError
from schemas.strict_config import parse
from schemas.times import SECONDS_PER_DAY

_EPOCH: Final = datetime.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Window:
    """Days in UTC; each end is open where there is no limit."""

    first: datetime.date | None = None
    """First day, inclusive."""
    last: datetime.date | None = None
    """Last day, inclusive."""

    @property
    def is_open(self) -> bool:
        """Whether every day belongs to it."""
        return self.first is None and self.last is None

    @property
    def start_second(self) -> int | None:
        """Seconds since 1970 of the first moment in it."""
        return None if self.first is None else (self.first - _EPOCH).days * SECONDS_PER_DAY

    @property
    def end_second(self) -> int | None:
        """Seconds since 1970 of the first moment after it."""
        return None if self.last is None else ((self.last - _EPOCH).days + 1) * SECONDS_PER_DAY

    @property
    def first_text(self) -> str:
        """The first day as ISO 8601, '' for no limit."""
        return self.first.isoformat() if self.first else ""

    @property
    def last_text(self) -> str:
        """The last day as ISO 8601, '' for no limit."""
        return self.last.isoformat() if self.last else ""


ALL_DAYS: Final = Window()
"""The window that leaves nothing out."""


def find_latest_second(latest_time: datetime.datetime | None) -> int:
    """Find the latest time that an interaction can have.

    Args:
        latest_time: `ingest.latest_time`.

    Returns:
        Seconds since 1970: that time, by default a day from now, for clocks that are set wrong.
    """
    if latest_time is None:
        return int(time.time()) + SECONDS_PER_DAY
    moment = latest_time if latest_time.tzinfo else latest_time.replace(tzinfo=datetime.UTC)
    return math.floor(moment.timestamp())


def parse_window(
    window_from: str, window_to: str, window_last_days: int, configured: WindowConfig | None = None
) -> WindowConfig:
    """Read the window that a run was given.

    Args:
        window_from: First day, such as 2026-11-01; '' for no limit.
        window_to: Last day; '' for no limit.
        window_last_days: Number of days up to that of the newest interaction; 0 for all.
        configured: `ingest.window`, for what is no run parameter.

    Returns:
        The window, checked as one in the configuration is.

    Raises:
        ConfigError: A day is none, the days are in the wrong order, or both forms are given.
    """
    return parse(
        WindowConfig,
        {
            "first": window_from.strip() or None,
            "last": window_to.strip() or None,
            "last_days": window_last_days or None,
            "maximum_missing_days": configured.maximum_missing_days if configured else None,
        },
        source="The run's window (first is window_from, last is window_to, last_days is window_last_days)",
    )


def resolve_window(window: WindowConfig, find_newest_second: Callable[[], int | None]) -> Window:
    """Turn a window into days.

    Args:
        window: What was asked for.
        find_newest_second: Gives seconds since 1970 of the newest interaction, None if no row has a
            time. It is called only for `last_days`.

    Returns:
        The days.

    Raises:
        DataError: `last_days`, and the newest interaction's time is no day of the calendar.
    """
    if window.last_days is None:
        return Window(window.first, window.last)
    newest = find_newest_second()
    if newest is None:
        return ALL_DAYS
    try:
        last = _EPOCH + datetime.timedelta(seconds=newest)
    except OverflowError:
        raise DataError(
            f"The newest interaction's time is {newest:,} seconds since 1970, which is no date. "
            "Expected seconds (not milli- or microseconds): write the column as seconds, or as timestamps."
        ) from None
    days_before = min(window.last_days - 1, (last - datetime.date.min).days)
    return Window(last - datetime.timedelta(days=days_before), last)
