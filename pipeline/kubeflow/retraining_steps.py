"""The steps of a retraining on Kubeflow: what `dssm retrain` does around a run, each alone in a pod.

What has been trained on is said there by what lies beside the releases: no pod relies on ML Metadata. The
Trainer chooses the base of a warm start by them as well.
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
from pipeline.kubeflow.plan_note import PlanNote, write_note
from pipeline.kubeflow.retraining_end import describe_end, find_trouble, settle_notes
from pipeline.retraining.clean_up import clean_up
from pipeline.retraining.notify import Event, notify
from pipeline.retraining.plan import Plan, make_plan
from pipeline.retraining.plan_text import render_plan
from schemas.contract import PROGRESS_LOGGER, RUN_ID_VARIABLE
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.release import list_published
from schemas.start import parse_start
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
            # Where somebody has the same run tried again, its last step does not come a second time.
            trouble=find_trouble(serving, run_id),
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
            event = describe_end(config.run.name, serving, run_id)
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
            settle_notes(serving, run_id, event)
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
