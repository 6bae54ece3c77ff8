"""The steps of a retraining on Kubeflow: what `dssm retrain` does around a run, each alone in a pod.

What has been trained on is said there by what lies beside the releases: no pod relies on ML Metadata. The
Trainer chooses the base of a warm start by them as well.
"""

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.execution import Artifacts, PlainExecutor, Values, get_path
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.window import parse_window
from pipeline.comparison import compare_evaluations
from pipeline.config import DataConfig, PipelineConfig, RunConfig, ServingConfig
from pipeline.evaluations import read_evaluation
from pipeline.kubeflow.plan_note import PlanNote, delete_note, read_note, read_troubled, write_note
from pipeline.retraining.clean_up import clean_up
from pipeline.retraining.config import EventKind
from pipeline.retraining.drift import describe_comparison
from pipeline.retraining.notify import Event, notify
from pipeline.retraining.plan import Plan, make_plan
from pipeline.retraining.plan_text import render_plan
from schemas.contract import EVALUATION_REPORT_FILE, PROGRESS_LOGGER, RUN_ID_VARIABLE
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.release import (
    Manifest,
    find_state,
    list_published,
    read_manifest,
    read_refusal,
    read_state_file,
)
from schemas.start import COLD, WARM, Start, parse_start
from schemas.strict_config import from_json
from trainer.config import CheckpointConfig, TrainingConfig

YES: Final = "yes"
"""What `is_due` is where there is something new to train on, and `compares` where a cold model is trained
after a warm one; otherwise they are `NO`."""
NO: Final = "no"
PLANNED: Final = {
    "window_from": "planned_from",
    "window_to": "planned_to",
    "window_last_days": "planned_last_days",
    "start": "planned_start",
}
"""The output of the plan that takes the place of a run parameter."""

_UNKNOWN_RUN: Final = "unknown"

_progress = logging.getLogger(PROGRESS_LOGGER)


def retraining_part(config: PipelineConfig) -> PipelineConfig:
    """Keep what the steps of a retraining read, so that a change elsewhere does not change them.

    Args:
        config: The checked configuration.

    Returns:
        A configuration in which all else has its default.
    """
    training = config.training
    return PipelineConfig(
        run=RunConfig(name=config.run.name, directory=""),
        data=DataConfig(schema="", directory=""),
        serving=ServingConfig(directory=""),
        ingest=IngestConfig(window=config.ingest.window),
        training=TrainingConfig(warm_start=training.warm_start, cold_every=training.cold_every),
        retraining=config.retraining,
    )


class RetrainingPlanExecutor(PlainExecutor):
    """Finds out which days are trained on, and whether there is anything new among them."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> Values:
        """Make the plan.

        Args:
            input_dict: Empty.
            output_dict: `plan`, the plan as a person reads it.
            exec_properties: `settings` (a PipelineConfig), `tables` (a FeatureSpec) and run parameters.

        Returns:
            `is_due`, `compares`, and the parameters of the run, or of the first of two, under the names of
            `PLANNED`.

        Raises:
            ConfigError: The window or the start is none.
            PlanError: A warm start is wanted of a configuration without.
            DataError: Tables are missing or cannot be read, or too many days are missing.
            ReleaseError: The manifest of a release cannot be read.
            StorageError: A folder's store cannot be reached or refuses.
        """
        serving, run_id = exec_properties["serving_directory"], _find_run_id()
        published = list_published(serving)
        note = PlanNote(
            is_due=False,
            newest_release=published[-1] if published else 0,
            # Of the same run, which somebody has had tried again: its last step does not come a second time.
            trouble=_find_trouble(serving, run_id),
        )
        try:
            plan = _make_plan(exec_properties)
        except DssmError as error:
            write_note(serving, run_id, dataclasses.replace(note, problem=str(error)))
            raise
        is_due, compares = bool(plan.trainings), len(plan.trainings) > 1
        write_note(serving, run_id, dataclasses.replace(note, is_due=is_due, compares=compares))
        text = render_plan(plan)
        _progress.info(text)
        # Two spaces at its end keep a line one in Markdown.
        get_path(output_dict, "plan").write_text(text.replace("\n", "  \n") + "\n", encoding="utf-8")
        window = plan.window
        return {
            "is_due": YES if is_due else NO,
            "compares": YES if compares else NO,
            "planned_from": window.first.isoformat() if window and window.first else "",
            "planned_to": window.last.isoformat() if window and window.last else "",
            "planned_last_days": (window.last_days if window else None) or 0,
            "planned_start": plan.trainings[0].start if is_due else "",
        }


class RetrainingEndExecutor(PlainExecutor):
    """Tells how a retraining ended, and deletes what is no longer kept."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Tell and clean up.

        Args:
            input_dict: Empty.
            output_dict: Empty.
            exec_properties: `settings` (a PipelineConfig), `serving_directory` and `checkpoint_directory`.
        """
        config = from_json(PipelineConfig, exec_properties["settings"])
        serving, run_id = exec_properties["serving_directory"], _find_run_id()
        # Nothing is raised: a pod that fails is tried again, and would tell it again.
        try:
            event = _describe_end(config.run.name, serving, run_id)
        except Exception as error:
            _progress.exception("It cannot be found out how the retraining ended")
            body = f"Run {run_id}: it cannot be found out how it ended: {error}"
            event = Event("failure", config.run.name, body, run_id)
        if event is not None:
            _progress.info(event.body)
            notify(config.retraining.notify, event)
        _clean_up(config, serving, exec_properties.get("checkpoint_directory") or None)
        # Last, since an attempt that is killed before tells the same once more.
        try:
            _settle_notes(serving, run_id, event)
        except DssmError as error:
            _progress.warning("A later release may be told as another event than it is: %s", error)


def _make_plan(exec_properties: Mapping[str, Any]) -> Plan:
    config = from_json(PipelineConfig, exec_properties["settings"])
    window = parse_window(
        # An orchestrator can leave an empty text out.
        exec_properties.get("window_from") or "",
        exec_properties.get("window_to") or "",
        exec_properties.get("window_last_days") or 0,
        config.ingest.window,
    )
    config = dataclasses.replace(
        config,
        data=DataConfig(schema="", directory=exec_properties["data_directory"]),
        serving=ServingConfig(directory=exec_properties["serving_directory"]),
        ingest=IngestConfig(window=window),
    )
    start = parse_start(exec_properties.get("start"))
    return make_plan(config, from_json(FeatureSpec, exec_properties["tables"]), runs=[], start=start)


def _describe_end(pipeline: str, serving: str, run_id: str) -> Event | None:
    """Say what is to be told; None where there was nothing to train on.

    By what the steps have left beside the releases. The state that KFP gives is that of nested graphs, which
    can stay at RUNNING whatever became of them (kubeflow/pipelines issues 11979 and 13321).
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


def _settle_notes(serving: str, run_id: str, event: Event | None) -> None:
    """Keep the note of a run in trouble; a release ends all trouble before it."""
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


def _find_trouble(serving: str, run_id: str) -> str | None:
    note = read_troubled(serving).get(run_id)
    return None if note is None else note.trouble


def _read_later_releases(serving_directory: str, version: int) -> dict[int, Manifest]:
    """Read what was trained and released after a version: refreshes of an index are left out."""
    # Those of before are not looked at, since reading one of them can fail.
    later = [other for other in list_published(serving_directory) if other > version]
    manifests = {other: read_manifest(serving_directory, other) for other in later}
    return {other: manifest for other, manifest in manifests.items() if manifest.refreshed_from is None}


def _clean_up(config: PipelineConfig, serving: str, checkpoints: str | None) -> None:
    # A pod has no runs, logs and work files: KFP keeps those, and deletes them by its own rules.
    with tempfile.TemporaryDirectory() as empty:
        in_pod = dataclasses.replace(
            config,
            run=dataclasses.replace(config.run, directory=empty),
            serving=ServingConfig(directory=serving),
            training=dataclasses.replace(config.training, checkpoint=CheckpointConfig(directory=checkpoints)),
        )
        clean_up(in_pod, _progress.info)


def _find_run_id() -> str:
    return os.environ.get(RUN_ID_VARIABLE) or _UNKNOWN_RUN
