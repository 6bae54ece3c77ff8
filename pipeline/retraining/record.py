"""What has been trained on already, as ML Metadata and what lies in the serving directory say it."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs import METADATA_FILE, Run, read_runs
from schemas.contract import DAY_FINGERPRINTS, INGEST_REPORT_FILE
from schemas.release import list_published, read_manifest, read_refusal


@dataclass(frozen=True)
class Record:
    """The last training that came to its end, whether its model was released or refused."""

    source: str
    """Who says so, such as `release 7`."""
    days: Mapping[str, Mapping[str, str]]
    """What `fingerprint_days` gave for the source tables then."""


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

    Another machine's training has left no run here, and a model that was refused no release, so the newest of
    runs, releases and the last refusal counts.

    Args:
        runs: The pipeline's runs in the run directory, the newest first.
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The record; None where nothing was trained yet, or by earlier versions of this program alone.

    Raises:
        ReleaseError: The manifest of a release, or what says which model was refused, cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    found: list[tuple[datetime.datetime, Record]] = []
    for run in runs:
        days = _read_days(run) if run.status in ("released", "not blessed") else None
        if days is not None:
            found.append((run.started, Record(f"run {run.run_id}", days)))
            break
    refusal = read_refusal(serving_directory)
    if refusal is not None:
        record = Record(f"run {refusal.run_id}, whose model was refused", refusal.day_fingerprints)
        found.append((datetime.datetime.fromisoformat(refusal.refused), record))
    for version in reversed(list_published(serving_directory)):
        manifest = read_manifest(serving_directory, version)
        if not manifest.day_fingerprints:
            continue
        # A refresh of the index has trained on nothing. It says what the release had that it was made from,
        # which need not be kept, or be the newest one that was trained.
        trained = datetime.datetime.fromisoformat(manifest.trained or manifest.created)
        found.append((trained, Record(f"release {version}", manifest.day_fingerprints)))
        if manifest.refreshed_from is None:
            break
    return max(found, key=lambda one: one[0])[1] if found else None


def _read_days(run: Run) -> Mapping[str, Mapping[str, str]] | None:
    if run.ingest_report is None:
        return None
    # Artifacts are deleted to make space, and earlier versions of this program noted no days.
    try:
        report = json.loads((run.ingest_report / INGEST_REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    days: Mapping[str, Mapping[str, str]] | None = report.get(DAY_FINGERPRINTS)
    return days
