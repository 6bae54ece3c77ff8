"""The steps of a retraining on Kubeflow: what `dssm retrain` does around a run, each alone in a pod.

What has been trained on is said there by the releases alone: no pod relies on ML Metadata. The Trainer
chooses the base of a warm start, and whether it is time for a cold one, by the releases as well.
"""

import dataclasses
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from components.execution import Artifacts, PlainExecutor, Values, get_path
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.window import parse_window
from pipeline.config import DataConfig, PipelineConfig, RunConfig, ServingConfig
from pipeline.kubeflow.plan_note import PlanNote, delete_note, list_troubled, read_note, write_note
from pipeline.retraining.clean_up import clean_up
from pipeline.retraining.config import EventKind
from pipeline.retraining.notify import Event, notify
from pipeline.retraining.plan import Plan, make_plan
from pipeline.retraining.plan_text import render_plan
from schemas.contract import PROGRESS_LOGGER, RUN_ID_VARIABLE
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.release import list_published, read_manifest, read_refusal
from schemas.strict_config import from_json
from trainer.config import CheckpointConfig, TrainingConfig

DUE: Final = "yes"
"""What `is_due` is where there is something new to train on; otherwise it is `NOT_DUE`."""
NOT_DUE: Final = "no"
PLANNED: Final = {
    "window_from": "planned_from",
    "window_to": "planned_to",
    "window_last_days": "planned_last_days",
}
"""The output of the plan that takes the place of a run parameter."""

_UNKNOWN_RUN: Final = "unknown"

_progress = logging.getLogger(PROGRESS_LOGGER)


def retraining_part(config: PipelineConfig) -> PipelineConfig:
    """Keep what the steps of a retraining read, so that a change elsewhere does not change them.

    Args:
        config: The checked configuration.

    Returns:
        A configuration in which all else has its default. The comparison of a warm and a cold model is left
        out: it takes two runs.
    """
    training = config.training
    return PipelineConfig(
        run=RunConfig(name=config.run.name, directory=""),
        data=DataConfig(schema="", directory=""),
        serving=ServingConfig(directory=""),
        ingest=IngestConfig(window=config.ingest.window),
        training=TrainingConfig(warm_start=training.warm_start, cold_every=training.cold_every),
        retraining=dataclasses.replace(config.retraining, compare_with_cold=False),
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
            `is_due`, and the days under the names of `PLANNED`.

        Raises:
            ConfigError: The window is none.
            DataError: Tables are missing or cannot be read, or too many days are missing.
            ReleaseError: The manifest of a release cannot be read.
            StorageError: A folder's store cannot be reached or refuses.
        """
        serving = exec_properties["serving_directory"]
        published = list_published(serving)
        newest = published[-1] if published else 0
        try:
            plan = _make_plan(exec_properties)
        except DssmError as error:
            write_note(serving, _find_run_id(), PlanNote(False, newest, str(error)))
            raise
        write_note(serving, _find_run_id(), PlanNote(bool(plan.trainings), newest))
        text = render_plan(plan)
        _progress.info(text)
        # Two spaces at its end keep a line one in Markdown.
        get_path(output_dict, "plan").write_text(text.replace("\n", "  \n") + "\n", encoding="utf-8")
        window = plan.window
        return {
            "is_due": DUE if plan.trainings else NOT_DUE,
            "planned_from": window.first.isoformat() if window and window.first else "",
            "planned_to": window.last.isoformat() if window and window.last else "",
            "planned_last_days": (window.last_days if window else None) or 0,
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
    return make_plan(config, from_json(FeatureSpec, exec_properties["tables"]), runs=[])


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
    release = _find_release(serving, run_id, note.newest_release)
    if release is not None:
        kind: EventKind = "recovery" if list_troubled(serving) else "released"
        return Event(kind, pipeline, f"Run {run_id} has released version {release}.", run_id, release)
    if not note.is_due:
        _progress.info("Nothing was new, so nothing was trained")
        return None
    refusal = read_refusal(serving)
    if refusal is not None and refusal.run_id == run_id:
        return Event("refused", pipeline, refusal.reason, run_id)
    return fail("has come to no verdict on a model: a step failed or was ended; its page on KFP says which.")


def _settle_notes(serving: str, run_id: str, event: Event | None) -> None:
    """Keep the note of a run in trouble; a release ends all trouble before it."""
    if event is None:
        delete_note(serving, run_id)
    elif event.release is None:
        note = read_note(serving, run_id) or PlanNote(is_due=False, newest_release=0)
        write_note(serving, run_id, dataclasses.replace(note, trouble=event.kind))
    else:
        for other in {run_id, *list_troubled(serving)}:
            delete_note(serving, other)


def _find_release(serving_directory: str, run_id: str, newest_before: int) -> int | None:
    for version in list_published(serving_directory):
        # Those of before are not this run's, and reading one of them can fail.
        if version > newest_before:
            manifest = read_manifest(serving_directory, version)
            if manifest.run_id == run_id and manifest.refreshed_from is None:
                return version
    return None


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
