"""Deletes what is no longer kept of releases, runs, checkpoints, logs and work files.

A plan is made first and deletes nothing. ML Metadata is told of a run's artifacts before their files go: a
prune that is killed in between leaves files that no step is reused for, and the next prune takes them. While
a run goes on, nothing of runs, checkpoints and work files goes, and while these go no step begins.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.config import PipelineConfig
from pipeline.metadata_lock import keep_steps_from_metadata
from pipeline.parameters import CHECKPOINTS_FOLDER
from pipeline.retraining.lock import is_running
from pipeline.retraining.retention_rules import (
    Found,
    Going,
    Kind,
    Staying,
    find_needed_runs,
    judge_checkpoints,
    judge_logs,
    judge_releases,
    judge_runs,
    judge_unfinished,
)
from pipeline.retraining.run_files import RunDirectoryFiles, mark_deleted, read_run_files
from pipeline.runs import METADATA_FILE, list_run_contexts, open_metadata
from schemas import storage
from schemas.errors import DssmError, StorageError
from schemas.release import prune

_LOGS_FOLDER: Final = "logs"
_RUN_GOES_ON: Final = "a run goes on"
_LOGS: Final[tuple[Kind, ...]] = ("log",)
_USED_BY_RUNS: Final[tuple[Kind, ...]] = ("run", "checkpoint", "work files")
"""What a run that goes on may be using."""


@dataclass(frozen=True)
class RetentionPlan:
    """What is to go, and what stays."""

    going: tuple[Going, ...]
    """What is to go."""
    staying: tuple[Staying, ...]
    """What stays. Runs that have nothing left to go are in neither."""
    run_directory: Path
    """The run directory."""
    newest_run: int | None
    """By what ML Metadata knew the newest run; None: there was none."""
    serving_directory: str
    """The folder that releases are pushed to: a path or URI."""

    @property
    def size_bytes(self) -> int:
        """What is to be freed."""
        return sum(going.size_bytes for going in self.going)


@dataclass(frozen=True)
class RetentionResult:
    """What became of a plan."""

    removed: tuple[Going, ...]
    """What is gone."""
    skipped: tuple[Staying, ...]
    """What stays, since something changed after the plan was made."""
    failed: tuple[Staying, ...]
    """What could not be deleted, or not all of it, and why; the next prune tries again."""

    @property
    def size_bytes(self) -> int:
        """What was freed."""
        return sum(going.size_bytes for going in self.removed)


class _ChangedError(Exception):
    """What the plan was made from is no longer so."""


def plan_retention(config: PipelineConfig, now: datetime.datetime) -> RetentionPlan:
    """Find out what is to go by `retraining.retention`.

    Args:
        config: The checked configuration.
        now: What ages are counted to, with a time zone.

    Returns:
        The plan; nothing is deleted.

    Raises:
        DssmError: The releases, ML Metadata or a folder cannot be read. Nothing is planned then, since it is
            not known what is needed.
    """
    retention = config.retraining.retention
    directory, serving = Path(config.run.directory), config.serving.directory
    files = RunDirectoryFiles(runs=(), newest=None, unfinished=())
    if (directory / METADATA_FILE).is_file():
        with open_metadata(directory) as store:
            files = read_run_files(store, directory)
    runs = list(judge_runs(files.runs, config.run.name, retention.runs, find_needed_runs(serving), now))
    with_runs = {Path(location) for run in runs if isinstance(run, Going) for location in run.locations}
    unfinished = [folder for folder in files.unfinished if with_runs.isdisjoint(folder.parents)]
    checkpoints = config.training.checkpoint.directory or str(directory / CHECKPOINTS_FOLDER)
    found = [
        *judge_releases(serving, retention.releases, now),
        *runs,
        *judge_checkpoints(checkpoints, retention.checkpoint_days, now),
        *judge_logs(directory / _LOGS_FOLDER, retention.log_days, now),
        *judge_unfinished(unfinished, directory, retention.work_file_days, now),
    ]
    if is_running(directory):
        found = [_leave_to_run(one) for one in found]
    return RetentionPlan(
        going=tuple(one for one in found if isinstance(one, Going)),
        staying=tuple(one for one in found if isinstance(one, Staying)),
        run_directory=directory,
        newest_run=files.newest,
        serving_directory=serving,
    )


def apply_retention(plan: RetentionPlan) -> RetentionResult:
    """Delete what a plan says; what cannot be deleted does not keep the rest.

    A process that holds the lock of a run counts as a run that goes on, the caller's own too.

    Args:
        plan: What `plan_retention` returned.

    Returns:
        What is gone, and what is not.
    """
    releases = _remove_releases(plan)
    logs = _remove_each(plan, _LOGS, _remove_log)
    # Meanwhile no step begins, so that none reads what is about to go.
    with keep_steps_from_metadata(plan.run_directory):
        others = _remove_each(plan, _USED_BY_RUNS, _remove_of_run)
    parts = (releases, logs, others)
    return RetentionResult(
        removed=tuple(one for part in parts for one in part.removed),
        skipped=tuple(one for part in parts for one in part.skipped),
        failed=tuple(one for part in parts for one in part.failed),
    )


def _leave_to_run(found: Found) -> Found:
    is_used = isinstance(found, Going) and found.kind in _USED_BY_RUNS
    return _leave(found, _RUN_GOES_ON) if is_used else found


def _leave(found: Found, reason: str) -> Staying:
    return Staying(found.kind, found.name, reason)


def _remove_releases(plan: RetentionPlan) -> RetentionResult:
    going = {int(one.name): one for one in plan.going if one.kind == "release"}
    if not going:
        return RetentionResult((), (), ())
    try:
        # Number and age have been judged; a push, a rollback or a reader may need one by now.
        pruned = prune(plan.serving_directory, keep=1, versions=going)
    except DssmError as error:
        return RetentionResult((), (), tuple(_leave(one, str(error)) for one in going.values()))
    return RetentionResult(
        removed=tuple(one for version, one in going.items() if version in pruned.removed),
        skipped=tuple(
            _leave(going[version], why) for version, why in pruned.kept.items() if version in going
        ),
        failed=tuple(_leave(going[version], why) for version, why in pruned.failed.items()),
    )


def _remove_each(
    plan: RetentionPlan, kinds: tuple[Kind, ...], remove: Callable[[RetentionPlan, Going], None]
) -> RetentionResult:
    removed, skipped, failed = [], [], []
    for going in plan.going:
        if going.kind not in kinds:
            continue
        try:
            remove(plan, going)
        except _ChangedError as change:
            skipped.append(_leave(going, str(change)))
        except DssmError as error:
            failed.append(_leave(going, str(error)))
        else:
            removed.append(going)
    return RetentionResult(tuple(removed), tuple(skipped), tuple(failed))


def _remove_log(plan: RetentionPlan, going: Going) -> None:
    del plan
    for location in going.locations:
        storage.delete_file(location)


def _remove_of_run(plan: RetentionPlan, going: Going) -> None:
    if is_running(plan.run_directory):
        raise _ChangedError(_RUN_GOES_ON)
    if _find_newest_run(plan.run_directory) != plan.newest_run:
        raise _ChangedError("a run began after this was planned")
    if going.artifact_ids:
        with open_metadata(plan.run_directory, writable=True) as store:
            mark_deleted(store, going.artifact_ids)
    problems = []
    for location in going.locations:
        try:
            storage.delete_tree(location)
        except StorageError as error:
            problems.append(str(error))
    if problems:
        raise StorageError(" ".join(problems))


def _find_newest_run(directory: Path) -> int | None:
    if not (directory / METADATA_FILE).is_file():
        return None
    with open_metadata(directory) as store:
        return next((context.id for context in list_run_contexts(store)), None)
