"""Settings of InteractionIngest."""

import datetime
import math
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT

_DAYS_PER_WEEK: Final = 7


@dataclass(frozen=True, config=STRICT)
class Condition:
    """What one column of an interaction must say: a number that is large enough, or one of some texts."""

    column: str
    """A column of the interactions."""
    at_least: float | None = None
    """The smallest number that fulfils it, such as a rating or a dwell time in the column's own unit."""
    one_of: tuple[str, ...] | None = None
    """The texts that fulfil it, such as event types."""

    @model_validator(mode="after")
    def _check(self) -> "Condition":
        _check_condition(self.at_least, self.one_of)
        return self


@dataclass(frozen=True, config=STRICT)
class PositiveRule:
    """Which interactions are positives: a single condition, or a list under `all_of`."""

    column: str | None = None
    """A column of the interactions."""
    at_least: float | None = None
    """The smallest number that is a positive; rows with a smaller one are dropped and counted."""
    one_of: tuple[str, ...] | None = None
    """The texts that are positives, such as event types; rows with another one are dropped and counted."""
    all_of: tuple[Condition, ...] = ()
    """Conditions that must all hold, in the place of `column`."""

    @model_validator(mode="after")
    def _check(self) -> "PositiveRule":
        if (self.column is None) == (not self.all_of):
            raise ValueError(
                "expected column with at_least or one_of, or a list of such conditions under all_of. "
                f"Received: {'neither' if self.column is None else 'both'}"
            )
        if self.column is not None:
            _check_condition(self.at_least, self.one_of)
        elif self.at_least is not None or self.one_of is not None:
            raise ValueError("expected at_least and one_of inside the conditions of all_of, beside a column")
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition that a positive fulfils."""
        if self.column is None:
            return self.all_of
        return (Condition(column=self.column, at_least=self.at_least, one_of=self.one_of),)


def _check_condition(at_least: float | None, one_of: tuple[str, ...] | None) -> None:
    if (at_least is None) == (not one_of):
        raise ValueError(
            "expected at_least, a number, or one_of, a list of texts with at least one. "
            f"Received: {'neither' if at_least is None else 'both'}"
        )


@dataclass(frozen=True, config=STRICT)
class WeightRule:
    """How much an interaction counts in the loss."""

    column: str
    """A column of the interactions: the weight itself or, with `by_value`, what it depends on."""
    by_value: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """The weight of each value of the column, such as {click: 1.0, purchase: 5.0}; null: the column
    holds the weight, a number that is not negative. Rows without a weight are dropped and counted."""

    @model_validator(mode="after")
    def _check(self) -> "WeightRule":
        if self.by_value is not None and not self.by_value:
            raise ValueError("expected by_value with at least one value and its weight. Received: none")
        return self


@dataclass(frozen=True, config=STRICT)
class LatestPerUserSplit:
    """Each user's latest positive is held out; a user with a single one stays in train."""

    needs_newest: ClassVar[bool] = False
    """Whether the split of a row depends on the newest positive of all users."""
    kind: Literal["latest_per_user"]
    """The literal `latest_per_user`."""
    skip_latest: Annotated[int, Field(ge=0)] = 0
    """Latest positives per user that are left out of both splits. 1 evaluates on the interaction
    before the held-out one: settings are chosen with it, so that the held-out one stays unseen."""


@dataclass(frozen=True, config=STRICT)
class CutOffSplit:
    """Positives from a point in time on are held out."""

    needs_newest: ClassVar[bool] = False
    """Whether the split of a row depends on the newest positive of all users."""
    kind: Literal["cut_off"]
    """The literal `cut_off`."""
    time: datetime.datetime
    """The first moment of the eval split, UTC unless it has an offset, such as 2026-11-01T00:00:00Z."""


@dataclass(frozen=True, config=STRICT)
class LastDaysSplit:
    """Positives of the newest days are held out. Days are UTC."""

    needs_newest: ClassVar[bool] = True
    """Whether the split of a row depends on the newest positive of all users."""
    kind: Literal["last_days"]
    """The literal `last_days`."""
    days: Annotated[int, Field(ge=1)]
    """Number of days up to and including that of the newest positive, found when the ingest runs."""


Split = Annotated[LatestPerUserSplit | CutOffSplit | LastDaysSplit, Field(discriminator="kind")]


@dataclass(frozen=True, config=STRICT)
class WindowConfig:
    """Which days' interactions are read; rows of other days are dropped and counted. Days are UTC.

    Either `first` and `last`, or `last_days`. A run can be given another window.
    """

    first: datetime.date | None = None
    """First day, inclusive, such as 2026-11-01; null: from the start."""
    last: datetime.date | None = None
    """Last day, inclusive; null: to the end."""
    last_days: Annotated[int, Field(ge=1)] | None = None
    """Number of days up to and including that of the newest interaction, found when the ingest runs;
    null: all."""
    maximum_missing_days: Annotated[int, Field(ge=0)] | None = None
    """Days of the window that daily logs ({date} in the schema file) may have no file for; they are told,
    and with more of them the run stops. Null: one day of each seven that have begun, as of a shop that is
    closed on one day of the week; 0: none."""

    @model_validator(mode="after")
    def _check(self) -> "WindowConfig":
        if self.last_days is not None and not self.first is self.last is None:
            raise ValueError(
                "expected first and last, or last_days, since together they say two things. Received: both"
            )
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"expected first no later than last. Received: {self.first} and {self.last}")
        return self

    def count_allowed_missing(self, days: int) -> int:
        """Count the days that may have no file.

        Args:
            days: Days from the first to the last that is read.

        Returns:
            The most of them that may.
        """
        if self.maximum_missing_days is not None:
            return self.maximum_missing_days
        return math.ceil(days / _DAYS_PER_WEEK)


@dataclass(frozen=True, config=STRICT)
class IngestConfig:
    """How interactions become sequences of positives."""

    positives: PositiveRule | None = None
    """Which interactions are positives; null: all."""
    weight: WeightRule | None = None
    """How much each row counts in the loss; null: all the same."""
    repeated: Literal["keep_all", "keep_last", "keep_first"] = "keep_all"
    """Which positives of the same user and item are kept within each split, in time order; the others are
    counted."""
    max_positives_per_user: Annotated[int, Field(ge=2)] | None = None
    """Each user's newest positives that are kept, so that one who is a robot neither fills a bucket nor
    outweighs the others; older ones are dropped and counted, after those repeated, and the user's splits are
    made of what is left. Null: all."""
    split: Split = Field(default_factory=lambda: LatestPerUserSplit(kind="latest_per_user"))
    """What is held out for evaluation."""
    validation: bool = False
    """Whether the train split gives up its own last part as a third split, `validation`, for early stopping.
    Of `latest_per_user` it is the positive before the held-out one, of users with three; of `cut_off` and
    `last_days` the days before the cut-off, `validation_days` of them."""
    validation_days: Annotated[int, Field(ge=1)] = 1
    """Days of the validation split, under `cut_off` and `last_days`."""
    window: WindowConfig | None = None
    """Which days' interactions are read; null: all."""
    latest_time: datetime.datetime | None = None
    """The latest time that an interaction can have, UTC unless it has an offset; a later one is malformed,
    and so moves neither the window nor the split. Null: a day after the start of the ingest."""
    maximum_rejected_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of a table's rows that may be malformed, and share of its bytes that may be unreadable. Such rows
    are counted by reason and written to the dead letters; with more of them the run stops."""
    missing_metadata: Literal["refuse", "drop", "default"] = "refuse"
    """What happens to an interaction whose user or item is not in the user or item table. `refuse`: the run
    stops; `drop`: the row is left out; `default`: it is kept with the features' defaults; where the schema
    file has none, one is chosen and told: of texts the empty one, or the first of `values`; of numbers 0, or
    what minimum and maximum allow next to it. Counted in each case."""
    join: Literal["auto", "broadcast", "shuffle"] = "auto"
    """How users' features and item ids meet their interactions. `broadcast`: every worker holds all of them;
    `shuffle`: each bucket is sent what it needs; `auto`: by their size. The sequences are the same."""
    broadcast_limit_mib: Annotated[float, Field(gt=0)] = 256.0
    """Size in memory, in MiB, up to which `auto` broadcasts the user table, or the ids of the item table."""
