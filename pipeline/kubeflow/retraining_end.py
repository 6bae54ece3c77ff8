"""How a retraining on Kubeflow ended, by what its steps have left beside the releases.

The state that KFP gives is that of nested graphs, which can stay at RUNNING whatever became of them
(kubeflow/pipelines issues 11979 and 13321).
"""

import dataclasses
import json
import logging
from pathlib import Path

from pipeline.comparison import compare_evaluations
from pipeline.evaluations import read_evaluation
from pipeline.kubeflow.plan_note import PlanNote, delete_note, read_note, read_troubled, write_note
from pipeline.retraining.config import EventKind
from pipeline.retraining.drift import describe_comparison
from pipeline.retraining.notify import Event
from schemas.contract import EVALUATION_REPORT_FILE, PROGRESS_LOGGER
from schemas.errors import DssmError
from schemas.release import (
    Manifest,
    find_state,
    list_published,
    read_manifest,
    read_refusal,
    read_state_file,
)
from schemas.start import COLD, WARM, Start

_progress = logging.getLogger(PROGRESS_LOGGER)


def describe_end(pipeline: str, serving: str, run_id: str) -> Event | None:
    """Say what people are to be told of a retraining that is over.

    Args:
        pipeline: The name of the pipeline.
        serving: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Returns:
        The event; None where there was nothing to train on.

    Raises:
        DssmError: A manifest, a note or what was refused cannot be read.
    """

    def fail(why: str) -> Event:
        return Event("failure", pipeline, f"Run {run_id} {why}", run_id)

    note = read_note(serving, run_id)
    if note is None:
        return fail("did not begin; the log of its RetrainingPlan says why.")
    if note.problem is not None:
        return fail(f"did not begin: {note.problem}")
    releases = _read_later_releases(serving, note.newest_release)
    own = {version: manifest for version, manifest in releases.items() if manifest.run_id == run_id}
    verdicts = [(_tell_start(manifest), _read_verdict(serving, version)) for version, manifest in own.items()]
    refusal = read_refusal(serving)
    if refusal is not None and refusal.run_id == run_id:
        verdicts += [(model.start, model.reason) for model in refusal.models.values()]
    if not (note.is_due or verdicts):
        _progress.info("Nothing was new, so nothing was trained")
        return None
    told = [f"{start.title()}: {verdict}" if note.compares else verdict for start, verdict in verdicts]
    if len(verdicts) < (2 if note.compares else 1):
        why = "has come to no verdict on a model: a step failed or was ended; its page on KFP says which."
        return fail("\n".join([why, *told]))
    if note.compares and len(own) > 1:
        told.append(_compare(serving, *sorted(own)[-2:]))
    kind: EventKind = "refused"
    if own:
        kind = "recovery" if _is_recovery(serving, note) else "released"
    return Event(kind, pipeline, "\n".join(told), run_id, max(own, default=None))


def _tell_start(manifest: Manifest) -> Start:
    return COLD if manifest.warm_start is None else WARM


def _read_verdict(serving: str, release: int) -> str:
    try:
        report = json.loads(read_state_file(find_state(serving, release), EVALUATION_REPORT_FILE))
        return str(report["gate"]["sentence"])
    except (DssmError, ValueError, KeyError) as error:
        # It is released all the same.
        _progress.warning("The report of release %d cannot be read: %s", release, error)
        return f"Release {release}."


def _is_recovery(serving: str, note: PlanNote) -> bool:
    """Tell whether a run ended in trouble that no release has followed before the one of this note."""
    for troubled in read_troubled(serving).values():
        later = {} if troubled is None else _read_later_releases(serving, troubled.newest_release)
        if all(version > note.newest_release for version in later):
            return True
    return False


def _compare(serving: str, warm: int, cold: int) -> str:
    no_run = Path()
    try:
        evaluations = [read_evaluation(f"release:{release}", no_run, serving) for release in (warm, cold)]
        return describe_comparison(compare_evaluations(*evaluations))
    except DssmError as error:
        # What the two have released stands.
        return f"The warm and the cold model are not compared: {error}"


def settle_notes(serving: str, run_id: str, event: Event | None) -> None:
    """Keep the note of a run in trouble; a release ends all trouble before it.

    Args:
        serving: The folder that releases are pushed to: a path or URI.
        run_id: The run.
        event: What people were told.

    Raises:
        ConfigError: The run's note cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    if event is None:
        delete_note(serving, run_id)
    elif event.kind in ("failure", "refused"):
        published = list_published(serving)
        note = read_note(serving, run_id) or PlanNote(False, published[-1] if published else 0)
        write_note(serving, run_id, dataclasses.replace(note, trouble=event.kind))
    else:
        # Its own last: an attempt that is killed on the way knows by it that there was a plan.
        for other in [*(set(read_troubled(serving)) - {run_id}), run_id]:
            delete_note(serving, other)


def find_trouble(serving: str, run_id: str) -> str | None:
    """Find what people were told of a run that ended in trouble, and that somebody has had tried again.

    Args:
        serving: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Returns:
        The kind of the event; None where the run had none.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    note = read_troubled(serving).get(run_id)
    return None if note is None else note.trouble


def _read_later_releases(serving_directory: str, version: int) -> dict[int, Manifest]:
    """Read what was trained and released after a version: refreshes of an index are left out."""
    # Those of before are not looked at, since reading one of them can fail.
    later = [other for other in list_published(serving_directory) if other > version]
    manifests = {other: read_manifest(serving_directory, other) for other in later}
    return {other: manifest for other, manifest in manifests.items() if manifest.refreshed_from is None}
