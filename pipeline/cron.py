"""Cron expressions: checked field by field, their next fire times, and the same times in another zone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from schemas.errors import DssmError

_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HOURS: Final = 24
_MINUTES: Final = 60
_DAYS_OF_WEEK: Final = 7
# How far ahead two zones are compared: it covers the changes of some years to come.
_COMPARED_DAYS: Final = 3 * 366


class CronError(DssmError):
    """A cron expression or a time zone is wrong, or cannot be said to the scheduler that is asked."""


@dataclass(frozen=True)
class _Bounds:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_BOUNDS: Final = (
    _Bounds("second", 0, 59),
    _Bounds("minute", 0, 59),
    _Bounds("hour", 0, 23),
    _Bounds("day of month", 1, 31),
    _Bounds("month", 1, 12, _MONTH_NAMES),
    _Bounds("day of week", 0, 6, _DAY_NAMES),
)


@dataclass(frozen=True)
class CronField:
    """One field of a cron expression."""

    text: str
    """The field as every cron reads it: Sunday is 0, and `?` is written `*`."""
    values: frozenset[int]
    """The values at which it fires."""
    star: bool
    """Whether it begins with a star, also as `*/2`: such a day field does not widen the other one."""
    full: bool
    """Whether it holds every value."""


@dataclass(frozen=True)
class Cron:
    """A checked cron expression."""

    second: CronField
    """Seconds, 0-59; 0 where the expression has five fields."""
    minute: CronField
    """Minutes, 0-59."""
    hour: CronField
    """Hours, 0-23."""
    day_of_month: CronField
    """Days of the month, 1-31."""
    month: CronField
    """Months, 1-12."""
    day_of_week: CronField
    """Days of the week, 0-6 from Sunday."""

    @property
    def five_fields(self) -> str:
        """The expression without seconds, as crontab takes it."""
        return " ".join(field.text for field in self._fields[1:])

    @property
    def six_fields(self) -> str:
        """The expression with seconds first, the only form that Kubeflow Pipelines reads as it is meant."""
        return " ".join(field.text for field in self._fields)

    @property
    def either_day(self) -> bool:
        """Whether a day fires that matches the day of month or the day of week, instead of both."""
        return not (self.day_of_month.star or self.day_of_week.star)

    @property
    def every_day(self) -> bool:
        """Whether it fires on every day of every month."""
        days = (self.day_of_month.full, self.day_of_week.full)
        return self.month.full and (any(days) if self.either_day else all(days))

    @property
    def moments(self) -> tuple[object, ...]:
        """What says when it fires: equal for two expressions that fire at the same moments."""
        times = (self.second.values, self.minute.values, self.hour.values)
        if self.every_day:
            return times
        days = (self.day_of_month.values, self.month.values, self.day_of_week.values)
        return (*times, *days, self.either_day)

    def fires_on(self, day: date) -> bool:
        """Tell whether it fires on a day.

        Args:
            day: The day, in the expression's time zone.

        Returns:
            Whether it does.
        """
        matches = (
            day.day in self.day_of_month.values,
            day.isoweekday() % _DAYS_OF_WEEK in self.day_of_week.values,
        )
        return day.month in self.month.values and (any(matches) if self.either_day else all(matches))

    @property
    def _fields(self) -> tuple[CronField, ...]:
        return (self.second, self.minute, self.hour, self.day_of_month, self.month, self.day_of_week)


def parse_cron(text: str) -> Cron:
    """Check a cron expression.

    Args:
        text: Five fields (minute, hour, day of month, month, day of week), six with seconds first, or a
            word such as @daily. Fields take numbers, names, lists, ranges and steps; `?` is `*`.

    Returns:
        The expression.

    Raises:
        CronError: It is wrong; the message names the field, or it never fires.
    """
    expanded = _DESCRIPTORS.get(text.strip().lower(), text)
    parts = expanded.split()
    if expanded.strip().startswith("@"):
        raise CronError(f"--cron {text!r}: expected five or six fields, or one of {', '.join(_DESCRIPTORS)}.")
    if len(parts) not in (len(_BOUNDS) - 1, len(_BOUNDS)):
        raise CronError(
            f"--cron {text!r}: expected five fields (minute, hour, day of month, month, day of week), or six"
            f" with seconds first. Received: {len(parts)}."
        )
    if len(parts) < len(_BOUNDS):
        parts = ["0", *parts]
    fields = [_parse_field(part, bounds, text) for part, bounds in zip(parts, _BOUNDS, strict=True)]
    cron = Cron(*fields)
    _check_it_fires(cron, text)
    return cron


def next_fire_times(cron: Cron, after: datetime, count: int) -> list[datetime]:
    """List when an expression fires next.

    Args:
        cron: The expression.
        after: The moment after which; its time zone is the expression's.
        count: How many times.

    Returns:
        The times in that zone, in order.
    """
    from croniter import croniter

    day_fields = (cron.day_of_month, cron.day_of_week)
    any_day = cron.either_day and any(field.full for field in day_fields)
    expression = " ".join(
        "*" if field.full or (any_day and field in day_fields) else _render(field.values)
        for field in cron._fields
    )
    times = croniter(expression, after, ret_type=datetime, second_at_beginning=True, day_or=cron.either_day)
    return [times.get_next() for _ in range(count)]


def load_zone(name: str) -> ZoneInfo:
    """Find a time zone.

    Args:
        name: Its name, such as Europe/Berlin.

    Returns:
        The zone.

    Raises:
        CronError: There is no such zone; the message gives the nearest names.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise CronError(
            f"Time zone {name!r} is not known. Expected a name such as UTC or Europe/Berlin.{hint}"
        ) from None


def translate_zone(cron: Cron, zone: tzinfo, target: tzinfo, now: datetime) -> Cron | None:
    """Write an expression of one time zone in another.

    Args:
        cron: The expression.
        zone: The zone that it is meant in.
        target: The zone that the scheduler computes in.
        now: From when on both must fire at the same moments.

    Returns:
        The expression in the other zone; None where no single expression fires at the same moments,
        such as a daily one where only one of the zones has summer time.
    """
    translations = [_shift(cron, minutes) for minutes in sorted(_find_shifts(cron, zone, target, now))]
    found = {None if translated is None else translated.moments for translated in translations}
    if len(found) != 1 or translations[0] is None:
        return None
    return cron if translations[0].moments == cron.moments else translations[0]


def translate_offset(cron: Cron, zone: tzinfo, target: tzinfo, now: datetime) -> Cron | None:
    """Write an expression of one time zone in another, as they differ at present.

    Args:
        cron: The expression.
        zone: The zone that it is meant in.
        target: The zone that the scheduler computes in.
        now: The present.

    Returns:
        The expression in the other zone, right until either changes to or from summer time; None where no
        single expression fires at the same moments.
    """
    return _shift(cron, _difference_minutes(zone, target, now))


def _parse_field(text: str, bounds: _Bounds, whole: str) -> CronField:
    def refuse(problem: str) -> CronError:
        return CronError(f"--cron {whole!r}: {bounds.name}: {problem} Received: {text!r}.")

    values: set[int] = set()
    elements = text.split(",")
    stars = [element.startswith(("*", "?")) for element in elements]
    if any(stars) and len(elements) > 1:
        raise refuse("a list cannot hold a star.")
    for element in elements:
        values |= _parse_element(element, bounds, refuse)
    # Sunday is 7 in most crons, but not in Kubeflow Pipelines'.
    has_seven = bounds.names == _DAY_NAMES and _DAYS_OF_WEEK in values
    if has_seven:
        values = {value % _DAYS_OF_WEEK for value in values}
    full = len(values) == bounds.high - bounds.low + 1
    # Names in lists and steps without a range are not read alike everywhere.
    written = text.replace("?", "*")
    if has_seven or not re.fullmatch(r"\*(/[0-9]+)?|[0-9]+(-[0-9]+(/[0-9]+)?)?(,[0-9]+(-[0-9]+)?)*", written):
        written = _render(values)
    return CronField(written, frozenset(values), star=stars[0], full=full)


# croniter takes 5-5 for every minute, and L, R and ranges past the end, which no scheduler of ours does.
def _parse_element(element: str, bounds: _Bounds, refuse: Callable[[str], CronError]) -> set[int]:
    match = re.fullmatch(r"(\*|\?|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?", element, re.IGNORECASE)
    if match is None:
        raise refuse("expected *, a value, a range a-b, or either with a step /n.")
    whole, first, last, step_text = match.groups()
    high = _DAYS_OF_WEEK if bounds.names == _DAY_NAMES else bounds.high
    step = int(step_text) if step_text else 1
    if step == 0:
        raise refuse("the step must be at least 1.")
    if whole in ("*", "?"):
        return set(range(bounds.low, bounds.high + 1, step))

    numbers = []
    for word in filter(None, (first, last)):
        if word.lower() in bounds.names:
            numbers.append(bounds.names.index(word.lower()) + bounds.low)
        elif word.isdigit() and bounds.low <= int(word) <= high:
            numbers.append(int(word))
        else:
            names = f" or {bounds.names[0]}-{bounds.names[-1]}" if bounds.names else ""
            raise refuse(f"expected {bounds.low}-{bounds.high}{names}.")
    # A single value with a step means from there to the end.
    end = numbers[-1] if last or not step_text else bounds.high
    if numbers[0] > end:
        raise refuse("the range ends before it begins.")
    return set(range(numbers[0], end + 1, step))


def _check_it_fires(cron: Cron, text: str) -> None:
    from croniter import CroniterBadDateError

    try:
        next_fire_times(cron, datetime.now(UTC), 1)
    except CroniterBadDateError:
        raise CronError(
            f"--cron {text!r}: day of month: no month of the expression has this day, so it never fires."
            f" Received: {cron.day_of_month.text!r}."
        ) from None


def _find_shifts(cron: Cron, zone: tzinfo, target: tzinfo, now: datetime) -> set[int]:
    # Between the first and the last hour of a day no zone changes twice.
    hours = {min(cron.hour.values), max(cron.hour.values)}
    today = now.astimezone(zone).date()
    days = (today + timedelta(days=day) for day in range(_COMPARED_DAYS))
    return {
        _difference_minutes(zone, target, datetime.combine(day, time(hour), zone))
        for day in days
        if cron.fires_on(day)
        for hour in hours
    }


def _difference_minutes(zone: tzinfo, target: tzinfo, moment: datetime) -> int:
    utc = moment.astimezone(UTC)
    here, there = utc.astimezone(zone).utcoffset(), utc.astimezone(target).utcoffset()
    assert here is not None
    assert there is not None
    return int((there - here).total_seconds()) // 60


def _shift(cron: Cron, minutes: int) -> Cron | None:
    if minutes == 0:
        return cron
    moved = [
        divmod(hour * _MINUTES + minute + minutes, _HOURS * _MINUTES)
        for hour in cron.hour.values
        for minute in cron.minute.values
    ]
    days = {day for day, _ in moved}
    times = {divmod(time, _MINUTES) for _, time in moved}
    hours = {hour for hour, _ in times}
    past_hour = {minute for _, minute in times}
    if len(times) != len(hours) * len(past_hour):
        return None
    shifted = replace(
        cron,
        hour=_make_field(hours, 0, _HOURS - 1),
        minute=_make_field(past_hour, 0, _MINUTES - 1),
    )
    if cron.every_day or days == {0}:
        return shifted
    if len(days) > 1 or not cron.day_of_month.full or not cron.month.full:
        return None
    (moved_days,) = days
    weekdays = {(day + moved_days) % _DAYS_OF_WEEK for day in cron.day_of_week.values}
    return replace(shifted, day_of_week=_make_field(weekdays, 0, _DAYS_OF_WEEK - 1))


def _make_field(values: set[int], low: int, high: int) -> CronField:
    full = values == set(range(low, high + 1))
    return CronField("*" if full else _render(values), frozenset(values), star=full, full=full)


def _render(values: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(str(value) for value in run) for run in runs
    )
