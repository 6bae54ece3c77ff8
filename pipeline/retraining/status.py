"""The health of a chain of retrainings in one look."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dateutil.tz import tzlocal

from pipeline.config import PipelineConfig
from pipeline.cron import next_fire_times, parse_cron
from pipeline.local_schedule import LocalScheduleError, find_cron
from pipeline.retraining.lock import find_holder
from pipeline.retraining.plan import Plan, make_plan
from pipeline.retraining.record import read_pipeline_runs
from pipeline.retraining.retention import plan_retention
from pipeline.runs import Run, describe_status
from schemas import storage
from schemas.contract import RELEASES
from schemas.errors import DssmError, StorageError
from schemas.features import FeatureSpec
from schemas.release import (
    Manifest,
    find_current_version,
    find_newest_version,
    find_standing_refusal,
    read_manifest,
)

_TROUBLED: Final = ("failed", "interrupted", "not blessed")


@dataclass(frozen=True)
class ChainStatus:
    """How things stand."""

    pipeline: str
    """The name of the pipeline."""
    runs: tuple[Run, ...]
    """Its last runs, the newest first."""
    release: int | None
    """The version of the current release."""
    released: datetime.datetime | None
    """When it was published; UTC."""
    plan: Plan | None
    """What `dssm retrain` would do now; None where that cannot be told."""
    next_run: datetime.datetime | None
    """When this machine's scheduler starts the next one; None without a schedule."""
    holders: dict[str, str]
    """Who is at work, by the directory that is held."""
    disk_bytes: dict[str, int]
    """What the run directory and the serving directory take, by directory; one whose store does not answer
    is left out."""
    retention_bytes: int | None
    """What retention would free; None where that cannot be told."""
    problems: tuple[str, ...]
    """What needs a person; nothing where all is well."""

    @property
    def is_healthy(self) -> bool:
        """Whether nobody is needed."""
        return not self.problems


def read_status(
    config: PipelineConfig,
    features: FeatureSpec,
    *,
    now: datetime.datetime,
    schedule: str,
    most_runs: int,
    maximum_age: datetime.timedelta | None,
) -> ChainStatus:
    """Find out how things stand; nothing is written.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        now: What ages are counted to, with a time zone.
        schedule: What the local schedule is called.
        most_runs: How many of the last runs are told.
        maximum_age: From which age on the current release is a problem; None: at no age.

    Returns:
        The status.
    """
    problems: list[str] = []
    directory, serving = Path(config.run.directory), config.serving.directory

    runs: list[Run] = []
    release, released, plan, retention_bytes, next_run = None, None, None, None, None
    try:
        runs = read_pipeline_runs(directory, config.run.name)
    except DssmError as error:
        problems.append(str(error))
    if runs and runs[0].status in _TROUBLED:
        problems.append(f"The last run, {runs[0].run_id}, {describe_status(runs[0])}")
    try:
        refusal = find_standing_refusal(serving, _find_newest(serving))
        if refusal is not None and not (runs and runs[0].run_id == refusal.run_id):
            problems.append(f"The last model, of run {refusal.run_id}, was refused: {refusal.reason}")
        release = find_current_version(serving)
        if release is None:
            problems.append(f"There is no release in {serving}")
        else:
            released = datetime.datetime.fromisoformat(read_manifest(serving, release).created)
            if maximum_age is not None and now - released > maximum_age:
                hours = maximum_age.total_seconds() / 3600
                problems.append(f"Release {release}, the current one, is older than {hours:g} hours")
    except DssmError as error:
        problems.append(str(error))
    try:
        plan = make_plan(config, features, runs, today=now.date())
    except DssmError as error:
        problems.append(f"dssm retrain would fail: {error}")
    try:
        retention_bytes = plan_retention(config, now).size_bytes
    except DssmError as error:
        problems.append(f"dssm prune would fail: {error}")
    try:
        cron = find_cron(schedule)
        next_run = (
            None if cron is None else next_fire_times(parse_cron(cron), now.astimezone(tzlocal()), 1)[0]
        )
    except LocalScheduleError as error:
        problems.append(f"The schedule {schedule} cannot be read: {error}")
    disk_bytes: dict[str, int] = {}
    for location in (str(directory), serving):
        try:
            disk_bytes[location] = _measure(location)
        except StorageError as error:
            problems.append(f"The size of {location} is not known: {error}")
    return ChainStatus(
        pipeline=config.run.name,
        runs=tuple(runs[:most_runs]),
        release=release,
        released=released,
        plan=plan,
        next_run=next_run,
        holders=_find_holders(directory, serving),
        disk_bytes=disk_bytes,
        retention_bytes=retention_bytes,
        problems=tuple(problems),
    )


def _find_newest(serving: str) -> Manifest | None:
    newest = find_newest_version(serving)
    return None if newest is None else read_manifest(serving, newest)


def _find_holders(run_directory: Path, serving: str) -> dict[str, str]:
    folders = {str(run_directory): run_directory}
    if not storage.is_remote(serving):
        folders[serving] = Path(storage.join(serving), RELEASES)
    found = {name: find_holder(folder) for name, folder in folders.items()}
    return {name: holder for name, holder in found.items() if holder is not None}


def _measure(location: str) -> int:
    return sum(status.size_bytes for status in storage.list_files(location).values())
