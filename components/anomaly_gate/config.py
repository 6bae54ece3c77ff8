"""Settings of AnomalyGate."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class SequenceDriftConfig:
    """How far the train split's sequences may be from those of the current release. Null: never too far."""

    positives_per_user: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The largest Jensen-Shannon divergence of the users by their number of positives in the train split, in
    classes of 1, 2 to 3, 4 to 7 and so on."""
    positives_per_item: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The same of the items."""
    positives_per_day: Annotated[float, Field(gt=1.0)] | None = None
    """How many times as large the mean number of positives of a day in the train split may be as the current
    release's, or the current release's as it. The mean is over the newest 400 days that have any."""


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """What stops the run before anything is trained, besides anomalies."""

    fatal_drift: bool = False
    """Whether the run stops where the train split is further from that of the current release than a
    feature's `drift_threshold` in the schema file or a key of `gate.sequence_drift` allows. False: it is
    reported, and the run goes on."""
    sequence_drift: SequenceDriftConfig = Field(default_factory=SequenceDriftConfig)
    """What is allowed of the numbers of positives."""
