"""Holds what a chain's runs read against what they should have read, day by day."""

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WrongDays:
    """Days of the log with which something went wrong."""

    lost: tuple[str, ...]
    """A run should have read the day and did not, or did not read all of it; or no run has ever read it."""
    doubled: tuple[str, ...]
    """A run read the day twice or without its belonging to the window, or on nothing but what the run before
    it had been trained on."""

    @property
    def count(self) -> int:
        """How many there are, one counted again in each run that it went wrong in."""
        return len(self.lost) + len(self.doubled)


def find_wrong_days(
    runs: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, int]], window_days: int
) -> WrongDays:
    """Find the days that were lost or doubled.

    Args:
        runs: The runs that came to their end, the oldest first: `files`, `rows_read` and `fingerprints` as
            their ingest reports have them.
        there: For each run the days whose whole file was there when it began, as ISO 8601, with their rows.
        window_days: How many days a run is to be trained on, the newest that is there included.

    Returns:
        The days.
    """
    lost: list[str] = []
    doubled: list[str] = []
    before: Mapping[str, Any] | None = None
    for run, rows in zip(runs, there, strict=True):
        read = Counter(_find_day(file) for file in run["files"])
        expected = _choose_window(rows, window_days)
        lost += [day for day in expected if day not in read]
        doubled += [day for day, times in read.items() if times > 1 or day not in expected]
        if set(read) == set(expected):
            difference = run["rows_read"] - sum(rows[day] for day in expected)
            (doubled if difference > 0 else lost).extend(expected if difference else ())
        if before is not None and run["fingerprints"] == before["fingerprints"]:
            doubled += expected
        before = run
    ever_read = {_find_day(file) for run in runs for file in run["files"]}
    ever_there = {day for days in there for day in _choose_window(days, window_days)}
    return WrongDays((*lost, *sorted(ever_there - ever_read)), tuple(doubled))


def _choose_window(days: Mapping[str, int], window_days: int) -> list[str]:
    last = datetime.date.fromisoformat(max(days))
    first = (last - datetime.timedelta(days=window_days - 1)).isoformat()
    return sorted(day for day in days if day >= first)


def _find_day(file: str) -> str:
    found = re.search(r"\d{4}-\d{2}-\d{2}", file)
    if found is None:
        raise ValueError(f"expected a file with a date in its name. Received: {file!r}")
    return found[0]
