"""Which releases, runs, checkpoints, logs and work files are to go, and why the others stay."""

import contextlib
import datetime
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pipeline.retraining.config import CountAndAgeConfig
from pipeline.retraining.run_files import RunFiles
from schemas import storage
from schemas.release import find_needed, list_published, prune, read_manifest

Kind = Literal["release", "run", "checkpoint", "log", "work files"]

_TRAINING_KEY: Final = re.compile(r"[0-9a-f]{32}")
_DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Going:
    """Something that is to go."""

    kind: Kind
    """What it is."""
    name: str
    """A version, a run id, a folder or a file."""
    age_days: float
    """Its age, as the configuration counts it for its kind."""
    size_bytes: int
    """What is freed."""
    locations: tuple[str, ...] = ()
    """Folders, or the file of a log, as paths or URIs; none of a release."""
    artifact_ids: tuple[int, ...] = ()
    """Its artifacts in ML Metadata."""


@dataclass(frozen=True)
class Staying:
    """Something that stays."""

    kind: Kind
    """What it is."""
    name: str
    """A version, a run id, a folder or a file."""
    reason: str
    """Why it stays."""


Found = Going | Staying


def judge_releases(
    serving_directory: str, retention: CountAndAgeConfig, now: datetime.datetime
) -> Iterator[Found]:
    """Tell which releases are to go.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        retention: How many stay, and how long.
        now: What ages are counted to, with a time zone.

    Yields:
        Every release.

    Raises:
        ReleaseError: The manifest of a release that stays is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    if retention.keep is None or retention.days is None:
        for version in list_published(serving_directory):
            yield Staying("release", str(version), "releases are kept for ever")
        return
    created_before = now - retention.days * _DAY
    pruned = prune(serving_directory, retention.keep, dry_run=True, created_before=created_before)
    for version in pruned.removed:
        manifest = read_manifest(serving_directory, version)
        created = datetime.datetime.fromisoformat(manifest.created)
        age = now - created.replace(tzinfo=created.tzinfo or datetime.UTC)
        size = sum(sum(part.files.values()) for part in manifest.parts.values())
        yield Going("release", str(version), age / _DAY, size)
    for version, reason in pruned.kept.items():
        yield Staying("release", str(version), reason)


def find_needed_runs(serving_directory: str) -> dict[str, str]:
    """Find the runs that made the releases which no prune removes.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        Why each is needed, by run id.

    Raises:
        ReleaseError: The manifest of one of them is unreadable.
        StorageError: The folder's store cannot be reached or refuses.
    """
    return {
        read_manifest(serving_directory, version).run_id: f"made release {version}, {reason}"
        for version, reason in find_needed(serving_directory).items()
    }


def judge_runs(
    runs: Sequence[RunFiles],
    pipeline: str,
    retention: CountAndAgeConfig,
    needed: Mapping[str, str],
    now: datetime.datetime,
) -> Iterator[Found]:
    """Tell which runs' artifacts are to go; what a run that stays uses, stays.

    Args:
        runs: All runs of the run directory, the newest first.
        pipeline: The pipeline whose runs can go.
        retention: How many stay, and how long.
        needed: Why runs stay whatever their number and age, by run id.
        now: What ages are counted to, with a time zone.

    Yields:
        Every run that stays, and each that has something that goes.
    """
    leaving = []
    used_ids, used_folders = set[int](), set[Path]()
    numbers = itertools.count()
    for run in runs:
        reason: str | None = f"of the pipeline {run.pipeline}"
        if run.pipeline == pipeline:
            reason = _explain_run(run, next(numbers), retention, needed, now)
        if reason is None:
            leaving.append(run)
            continue
        used_ids |= run.artifact_ids
        used_folders |= run.folders
        yield Staying("run", run.run_id, reason)
    # What several of them use is listed with the oldest, which made it.
    for run in reversed(leaving):
        artifact_ids, folders = run.artifact_ids - used_ids, run.folders - used_folders
        used_ids |= artifact_ids
        used_folders |= folders
        if artifact_ids or folders:
            yield Going(
                kind="run",
                name=run.run_id,
                age_days=(now - run.started) / _DAY,
                size_bytes=sum(found[1] for found in map(_measure, folders) if found is not None),
                locations=tuple(sorted(map(str, folders))),
                artifact_ids=tuple(sorted(artifact_ids)),
            )


def judge_unfinished(
    folders: Iterable[Path], directory: Path, days: float | None, now: datetime.datetime
) -> Iterator[Found]:
    """Tell which folders of killed steps are to go.

    Args:
        folders: What such steps were writing, and their temporary folders.
        directory: The run directory, which names are relative to.
        days: Age from which they go; None: never.
        now: What ages are counted to, with a time zone.

    Yields:
        Each.
    """
    for folder in folders:
        found = _measure(folder)
        if found is not None:
            name = str(folder.relative_to(directory))
            yield _judge_age("work files", name, now - found[0], found[1], str(folder), days)


def judge_checkpoints(folder: str, days: float | None, now: datetime.datetime) -> Iterator[Found]:
    """Tell which trainings' checkpoints are to go.

    Args:
        folder: Folder of the checkpoints of all trainings: a path or URI; it need not exist.
        days: Age of the newest file from which they go; None: never.
        now: What ages are counted to, with a time zone.

    Yields:
        Each training that has files; other folders are not looked at.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    trainings: dict[str, list[storage.FileStatus]] = {}
    for path, status in storage.list_files(folder).items():
        key = path.split("/", maxsplit=1)[0]
        if _TRAINING_KEY.fullmatch(key):
            trainings.setdefault(key, []).append(status)
    for key, files in trainings.items():
        age = now - max(status.modified for status in files)
        size = sum(status.size_bytes for status in files)
        yield _judge_age("checkpoint", key, age, size, storage.join(folder, key), days)


def judge_logs(folder: Path, days: float | None, now: datetime.datetime) -> Iterator[Found]:
    """Tell which log files are to go.

    Args:
        folder: The folder of the logs; it need not exist.
        days: Age of the last line from which they go; None: never.
        now: What ages are counted to, with a time zone.

    Yields:
        Each.
    """
    for file in sorted(folder.glob("*.log")):
        found = _measure(file)
        if found is not None:
            yield _judge_age("log", file.name, now - found[0], found[1], str(file), days)


def _explain_run(
    run: RunFiles,
    number: int,
    retention: CountAndAgeConfig,
    needed: Mapping[str, str],
    now: datetime.datetime,
) -> str | None:
    """Say why a run stays that so many newer ones of its pipeline follow; None where it goes."""
    if retention.keep is None or retention.days is None:
        return "runs are kept for ever"
    if run.run_id in needed:
        return needed[run.run_id]
    if number < retention.keep:
        return f"among the newest {retention.keep}"
    if now - run.started < retention.days * _DAY:
        return f"younger than {retention.days:g} days"
    return None


def _measure(path: Path) -> tuple[datetime.datetime, int] | None:
    """Tell when a file or folder last changed, and how many bytes it holds; None where it is gone.

    A run that goes on removes its temporary files meanwhile, and they count as not there.
    """
    below = (Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files))
    changes: list[float] = []
    size = 0
    for file in itertools.chain((path,), below):
        with contextlib.suppress(FileNotFoundError):
            status = file.lstat()
            changes.append(status.st_mtime)
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (datetime.datetime.fromtimestamp(max(changes), datetime.UTC), size) if changes else None


def _judge_age(
    kind: Kind, name: str, age: datetime.timedelta, size_bytes: int, location: str, days: float | None
) -> Found:
    if days is None:
        return Staying(kind, name, "kept for ever")
    if age < days * _DAY:
        return Staying(kind, name, f"younger than {days:g} days")
    return Going(kind, name, age / _DAY, size_bytes, (location,))
