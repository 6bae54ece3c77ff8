"""What has been trained on already, as ML Metadata and what lies in the serving directory say it."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs import METADATA_FILE, Run, Status, read_runs
from schemas.contract import DAY_FINGERPRINTS, INGEST_REPORT_FILE
from schemas.release import list_published, read_manifest, read_refusal

DayFingerprints = Mapping[str, Mapping[str, str]]
"""Hashes of the source tables by table and day."""


@dataclass(frozen=True)
class Record:
    """The last training that came to its end, whether its model was released or refused."""

    source: str
    """Who says so, such as `release 7`."""
    days: DayFingerprints
    """What `fingerprint_days` gave for the source tables then, and before for days that it did not have."""
    released_days: DayFingerprints
    """Those of the last model that was released; empty where there is none."""


@dataclass(frozen=True)
class _Training:
    """A training that came to its end."""

    ended: datetime.datetime
    """When its model was released or refused; of a run, when that began."""
    source: str
    """Who says so."""
    days: DayFingerprints
    """What it read."""


def read_pipeline_runs(run_directory: Path, pipeline: str) -> list[Run]:
    """Read the runs of one pipeline.

    Args:
        run_directory: The folder with ML Metadata's file; there need not be one yet.
        pipeline: The pipeline's name.

    Returns:
        The newest first.

    Raises:
        RunError: ML Metadata cannot read the file.
    """
    if not (run_directory / METADATA_FILE).is_file():
        return []
    return [run for run in read_runs(run_directory) if run.pipeline == pipeline]


def find_record(runs: Sequence[Run], serving_directory: str) -> Record | None:
    """Find what was trained on last.

    Another machine's training has left no run here, and a model that was refused no release. So the newest of
    runs and releases counts, and what was refused since counts beside it.

    Args:
        runs: The pipeline's runs in the run directory, the newest first.
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The record; None where nothing was trained yet, or by earlier versions of this program alone.

    Raises:
        ReleaseError: The manifest of a release, or what says which model was refused, cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    released, older = _find_released(serving_directory)
    released += _find_runs(runs, "released")
    refused = _find_runs(runs, "not blessed")
    refusal = read_refusal(serving_directory)
    if refusal is not None:
        source = f"run {refusal.run_id}, whose model was refused"
        refused.append(_Training(refusal.refused, source, refusal.day_fingerprints))
    last = max(released, key=lambda training: training.ended, default=older)
    if last is not None:
        refused = [training for training in refused if training.ended > last.ended]
    trainings = ([] if last is None else [last]) + sorted(refused, key=lambda training: training.ended)
    if not trainings:
        return None
    days: dict[str, dict[str, str]] = {}
    for training in trainings:
        for table, of_table in training.days.items():
            days[table] = {**days.get(table, {}), **of_table}
    return Record(trainings[-1].source, days, {} if last is None else last.days)


def _find_released(serving_directory: str) -> tuple[list[_Training], _Training | None]:
    """Find what was released last, and what refreshes of an earlier version say without saying since when."""
    found: list[_Training] = []
    older: _Training | None = None
    for version in reversed(list_published(serving_directory)):
        manifest = read_manifest(serving_directory, version)
        if not manifest.day_fingerprints:
            continue
        # A refresh of the index has trained on nothing. It says what the release had that it was made from,
        # which need not be kept, or be the newest one that was trained.
        is_refresh = manifest.refreshed_from is not None
        since = datetime.datetime.fromisoformat(manifest.trained or manifest.created)
        training = _Training(since, f"release {version}", manifest.day_fingerprints)
        if is_refresh and manifest.trained is None:
            older = older or training
            continue
        found.append(training)
        if not is_refresh:
            break
    return found, older


def _find_runs(runs: Sequence[Run], status: Status) -> list[_Training]:
    for run in runs:
        days = _read_days(run) if run.status == status else None
        if days is not None:
            return [_Training(run.started, f"run {run.run_id}", days)]
    return []


def _read_days(run: Run) -> DayFingerprints | None:
    if run.ingest_report is None:
        return None
    # Artifacts are deleted to make space, and earlier versions of this program noted no days.
    try:
        report = json.loads((run.ingest_report / INGEST_REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    days: DayFingerprints | None = report.get(DAY_FINGERPRINTS)
    return days
