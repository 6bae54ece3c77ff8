"""Settings of InteractionIngest."""

import datetime
from typing import Annotated, Literal

from pydantic import Field
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
class IngestConfig:
    """How interactions become examples."""

    positives: PositiveRule | None = None
    """Which interactions are positives; null: all."""
    split: Split = Field(default_factory=lambda: LatestPerUserSplit(kind="latest_per_user"))
    """What is held out for evaluation."""
    missing_metadata: Literal["refuse", "drop", "default"] = "refuse"
    """What happens to an interaction whose user or item is in no table: the run stops, or the row is
    dropped, or it is kept with the features' defaults. Counted in each case."""
