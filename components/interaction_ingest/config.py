"""Settings of InteractionIngest."""

import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class PositiveRule:
    """Which interactions are positives."""

    column: str
    """A numeric column of the interactions."""
    at_least: float
    """Rows with a smaller value are dropped and counted."""


@dataclass(frozen=True, config=STRICT)
class LatestPerUserSplit:
    """Each user's latest positive is held out; a user with a single one stays in train."""

    kind: Literal["latest_per_user"]
    """The literal `latest_per_user`."""
    skip_latest: Annotated[int, Field(ge=0)] = 0
    """Latest positives per user that are left out of both splits. 1 evaluates on the interaction
    before the held-out one: settings are chosen with it, so that the held-out one stays unseen."""


@dataclass(frozen=True, config=STRICT)
class CutOffSplit:
    """Positives from a point in time on are held out."""

    kind: Literal["cut_off"]
    """The literal `cut_off`."""
    time: datetime.datetime
    """The first moment of the eval split, UTC unless it has an offset, such as 2026-11-01T00:00:00Z."""


Split = Annotated[LatestPerUserSplit | CutOffSplit, Field(discriminator="kind")]


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

    @model_validator(mode="after")
    def _check(self) -> "WindowConfig":
        if self.last_days is not None and not self.first is self.last is None:
            raise ValueError(
                "expected first and last, or last_days, since together they say two things. Received: both"
            )
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"expected first no later than last. Received: {self.first} and {self.last}")
        return self


@dataclass(frozen=True, config=STRICT)
class IngestConfig:
    """How interactions become examples."""

    positives: PositiveRule | None = None
    """Which interactions are positives; null: all."""
    split: Split = Field(default_factory=lambda: LatestPerUserSplit(kind="latest_per_user"))
    """What is held out for evaluation."""
    window: WindowConfig | None = None
    """Which days' interactions are read; null: all."""
    missing_metadata: Literal["refuse", "drop", "default"] = "refuse"
    """What happens to an interaction whose user or item is in no table: the run stops, or the row is
    dropped, or it is kept with the features' defaults. Counted in each case."""
