"""Settings of retraining: what is kept of earlier runs, and who is told how one ended."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from pipeline.credentials import find_credential_options
from schemas.strict_config import STRICT

EventKind = Literal["failure", "refused", "recovery", "released"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, config=STRICT)
class CountAndAgeConfig:
    """How many stay, and how long: what goes is both beyond the count and older."""

    keep: Annotated[int, Field(ge=1)] | None = 7
    """How many of the newest stay whatever their age; null: all stay."""
    days: Annotated[float, Field(ge=0)] | None = 7.0
    """Age in days up to which one stays whatever its number; 0: the count alone decides; null: all stay."""


@dataclass(frozen=True, config=STRICT)
class RetentionConfig:
    """What `dssm prune` leaves of releases, runs, checkpoints, logs and work files."""

    releases: CountAndAgeConfig = Field(default_factory=CountAndAgeConfig)
    """Releases in `serving.directory`, by when they were published. The current one, the one before it and
    the bases of warm starts stay."""
    runs: CountAndAgeConfig = Field(default_factory=CountAndAgeConfig)
    """The artifacts of this pipeline's runs in `run.directory`, by when a run started. What a run that stays
    uses stays, and so do the runs that made the current release, the one before it and their bases."""
    checkpoint_days: Annotated[float, Field(ge=0)] | None = 14.0
    """Age in days, by the newest file, from which the checkpoints of a training that never ended go; null:
    never."""
    log_days: Annotated[float, Field(ge=0)] | None = 90.0
    """Age in days, by the last line, from which a file of `logs` in `run.directory` goes; null: never."""
    work_file_days: Annotated[float, Field(ge=0)] | None = 1.0
    """Age in days, by the newest file, from which unfinished outputs and temporary files of killed steps go;
    null: never."""


@dataclass(frozen=True, config=STRICT)
class NotifyConfig:
    """Who is told how a run ended: services of apprise, a command, or both."""

    on: tuple[EventKind, ...] = ("failure", "refused", "recovery")
    """What is told: `failure`; `refused`, a model that was not blessed; `recovery`, the first release after
    one of these; `released`, every release."""
    urls_env: str = "DSSM_NOTIFY_URLS"
    """Name of the environment variable with apprise's URLs, separated by spaces or line breaks. They hold
    secrets, and so stand in no configuration."""
    command: tuple[str, ...] | None = None
    """A program and its arguments, which is given the message as JSON on its standard input and the variables
    DSSM_EVENT, DSSM_TITLE, DSSM_PIPELINE, DSSM_RUN_ID and DSSM_RELEASE; null: none."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 4
    """How often each service, and the command, is tried, with 1, 4, 16 and then 60 seconds between."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How long an attempt may take."""

    @model_validator(mode="after")
    def _check(self) -> "NotifyConfig":
        # What was received is not shown: it can be the secret that should not be here.
        if not _VARIABLE.fullmatch(self.urls_env):
            raise ValueError(
                "expected urls_env to be the name of an environment variable, such as DSSM_NOTIFY_URLS."
                " URLs of apprise hold secrets: put them into that variable, not into the configuration"
            )
        if self.command is not None and not self.command:
            raise ValueError("expected command with at least a program, or null. Received: []")
        command = self.command or ()
        if any("://" in part for part in command) or find_credential_options(command):
            raise ValueError(
                "expected command without URLs and credentials, which would be readable to all who read the"
                " configuration. Let the program read them from its environment or from a file"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class RetrainingConfig:
    """Retraining without an operator; none of it changes what a run computes."""

    retention: RetentionConfig = Field(default_factory=RetentionConfig)
    """What `dssm prune` leaves of releases, runs, checkpoints, logs and work files."""
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    """Who is told how a run ended."""
    compare_with_cold: bool = True
    """Whether a retraining trains a warm model as well where `training.cold_every` asks for a cold one, and
    reports whether the row of warm starts has fallen behind a model that began from nothing."""
