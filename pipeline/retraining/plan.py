"""What a retraining is to do: which days, from which model, and whether there is anything to do at all."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import NO_DAY, fingerprint_days
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.window import parse_window
from pipeline.config import PipelineConfig
from pipeline.retraining.record import Record, find_record
from pipeline.runs import Run, describe_status
from schemas.errors import DataError, DssmError
from schemas.features import FeatureSpec
from schemas.release import count_warm_starts, find_current_version, read_manifest
from schemas.start import COLD, WARM, Start

_LOG: Final = "interactions"


class PlanError(DssmError):
    """There is nothing that could be done as it was asked for."""


@dataclass(frozen=True)
class Training:
    """One training of a plan."""

    start: Start
    """Whether it begins from a release, should one be fit to be its base, or from nothing."""
    reason: str
    """Why."""


@dataclass(frozen=True)
class Changes:
    """What is other than at the last training."""

    new_days: tuple[str, ...] = ()
    """Days of the log that it did not have, as ISO 8601."""
    changed_days: tuple[str, ...] = ()
    """Days that it had, whose files have changed since."""
    tables: tuple[str, ...] = ()
    """Tables that are no daily logs and have changed."""

    def __bool__(self) -> bool:
        return bool(self.new_days or self.changed_days or self.tables)


@dataclass(frozen=True)
class Plan:
    """What a retraining is to do."""

    window: WindowConfig | None
    """The days to train on; None: all that there are."""
    days: tuple[str, ...]
    """Those of them that have a file, as ISO 8601; empty where the log is not by day."""
    record: Record | None
    """The last training."""
    changes: Changes
    """What is other than then."""
    catches_up: bool
    """Whether the window reaches back further than usual, so that no day is left out that no release has
    seen."""
    passed_days: tuple[str, ...]
    """Days of the last training's window whose files came only now that the window begins after them, as ISO
    8601: no model is trained on them."""
    resumed: str | None
    """The run that failed and is taken up again; None: a run of its own."""
    trainings: tuple[Training, ...]
    """What is trained, one after the other; nothing where nothing has changed."""


def make_plan(
    config: PipelineConfig,
    features: FeatureSpec,
    runs: Sequence[Run],
    *,
    resume: bool = False,
    start: Start | None = None,
    today: datetime.date | None = None,
) -> Plan:
    """Find out what is to be done; nothing is written.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        runs: What `read_pipeline_runs` gives.
        resume: Whether the last run, which failed, is taken up again with its own days.
        start: What the training begins from; None: what the configuration says.
        today: The day of the run, in UTC; None: that of the clock.

    Returns:
        The plan.

    Raises:
        PlanError: There is no failed run to resume, or a warm start is wanted of a configuration without.
        DataError: Source tables are missing or cannot be read, or too many days are missing; what is missing
            is told of every table.
        DssmError: A release cannot be read.
    """
    if start == WARM and not config.training.warm_start:
        raise PlanError(f"start: expected training.warm_start: true for {WARM}. Received: false.")
    record = find_record(runs, config.serving.directory)
    usual = _resolve_usual(config.ingest.window, features, config.data.directory, today)
    window = _resume_window(runs, config.ingest.window) if resume else _extend(usual, record)
    fingerprints = fingerprint_days(features, config.data.directory, window)
    changes = find_changes(fingerprints, record)
    return Plan(
        window=window,
        days=tuple(day for day in fingerprints[_LOG] if day != NO_DAY),
        record=record,
        changes=changes,
        catches_up=not resume and window != usual,
        passed_days=_find_passed_days(_list_days(features, config.data.directory), window, record),
        resumed=runs[0].run_id if resume else None,
        trainings=_choose_trainings(config, start) if changes or resume else (),
    )


def find_changes(fingerprints: Mapping[str, Mapping[str, str]], record: Record | None) -> Changes:
    """Compare the source tables with those of the last training.

    Args:
        fingerprints: What `fingerprint_days` gives now, for the days of the window.
        record: The last training; None: there was none, and all is new.

    Returns:
        The changes; days that the window has left behind are none.
    """
    before = {} if record is None else record.days
    log, log_before = fingerprints[_LOG], before.get(_LOG, {})
    days = [day for day in log if day != NO_DAY]
    return Changes(
        new_days=tuple(day for day in days if day not in log_before),
        changed_days=tuple(day for day in days if day in log_before and log[day] != log_before[day]),
        tables=tuple(
            table
            for table, of_table in fingerprints.items()
            if not (table == _LOG and days) and of_table != before.get(table)
        ),
    )


def _resolve_usual(
    window: WindowConfig | None, features: FeatureSpec, data_directory: str, today: datetime.date | None
) -> WindowConfig | None:
    """Give the days that end now, where the names of the files tell them."""
    if window is None or window.last_days is None:
        return window
    # A folder that is named after a day to come says nothing about how far the logs reach.
    tomorrow = (today or datetime.datetime.now(datetime.UTC).date()) + datetime.timedelta(days=1)
    past = [day for day in _list_days(features, data_directory) if day <= tomorrow]
    if not past:
        return window
    first = max(past) - datetime.timedelta(days=window.last_days - 1)
    return dataclasses.replace(window, first=first, last=max(past), last_days=None)


def _list_days(features: FeatureSpec, data_directory: str) -> list[datetime.date]:
    try:
        files = find_files(features.tables.interactions, data_directory)
    except DataError:
        # Told with what else is missing where the files of all tables are listed.
        return []
    return sorted({file.day for file in files if file.day is not None})


def _find_passed_days(
    there: Sequence[datetime.date], window: WindowConfig | None, record: Record | None
) -> tuple[str, ...]:
    trained = {} if record is None else record.days.get(_LOG, {})
    known = [day for day in trained if day != NO_DAY]
    if window is None or window.first is None or not known:
        return ()
    first = window.first.isoformat()
    return tuple(day for day in map(str, there) if min(known) < day < first and day not in trained)


def _extend(window: WindowConfig | None, record: Record | None) -> WindowConfig | None:
    """Let the window begin on the day after the newest that a release has seen, should that be earlier."""
    seen = [] if record is None else [day for day in record.released_days.get(_LOG, {}) if day != NO_DAY]
    if window is None or window.first is None or not seen:
        return window
    following = datetime.date.fromisoformat(max(seen)) + datetime.timedelta(days=1)
    return dataclasses.replace(window, first=min(window.first, following))


def _resume_window(runs: Sequence[Run], configured: WindowConfig | None) -> WindowConfig | None:
    # Who plans a run holds the lock of the run directory, so one that seems to go on was killed.
    if not runs or runs[0].status in ("released", "not blessed") or runs[0].window is None:
        last = f"the last run, {runs[0].run_id}, {describe_status(runs[0])}" if runs else "there is no run"
        raise PlanError(
            f"--resume: expected a last run that failed after it had begun to read its data. Received: "
            f"{last}. Leave --resume out."
        )
    return parse_window(*runs[0].window, configured) if any(runs[0].window) else None


def _choose_trainings(config: PipelineConfig, start: Start | None) -> tuple[Training, ...]:
    if start is not None:
        return (Training(start, "it was asked for"),)
    if not config.training.warm_start:
        return (Training(COLD, "training.warm_start is false"),)
    current = find_current_version(config.serving.directory)
    if current is None:
        return (Training(COLD, "there is no release to begin from"),)
    warm_starts = count_warm_starts(read_manifest(config.serving.directory, current))
    warm = Training(WARM, f"release {current} is the current one")
    every = config.training.cold_every
    if every is None or warm_starts + 1 < every:
        return (warm,)
    cold = Training(
        COLD,
        f"training.cold_every is {every}, and release {current} ends a row of {warm_starts} warm starts",
    )
    return (warm, cold) if config.retraining.compare_with_cold else (cold,)
