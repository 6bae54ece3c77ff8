"""The steps of a retraining on Kubeflow: what `dssm retrain` does around a run, each alone in a pod.

What has been trained on is said there by the releases alone: no pod relies on ML Metadata. The Trainer
chooses the base of a warm start, and whether it is time for a cold one, by the releases as well.
"""

import dataclasses
import datetime
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from components.execution import Artifacts, PlainExecutor, Values, get_path
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.window import parse_window
from pipeline.config import DataConfig, PipelineConfig, RunConfig, ServingConfig
from pipeline.retraining.notify import Event, notify
from pipeline.retraining.plan import Plan, make_plan
from pipeline.retraining.plan_text import render_plan
from pipeline.retraining.retention import apply_retention, plan_retention
from pipeline.retraining.retention_table import render_failures, render_retention
from schemas.contract import PROGRESS_LOGGER, RUN_ID_VARIABLE
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.release import list_published, read_manifest
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

_FAILED: Final = "FAILED"
# ML Metadata's word, and Vertex AI's.
_SUCCEEDED: Final = ("COMPLETE", "SUCCEEDED")
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
            `is_due`, and the days as `planned_from`, `planned_to` and `planned_last_days`.

        Raises:
            ConfigError: The window is none.
            DataError: Tables are missing or cannot be read, or too many days are missing.
            ReleaseError: The manifest of a release cannot be read.
            StorageError: A folder's store cannot be reached or refuses.
        """
        plan = _plan(_read_config(exec_properties), exec_properties)
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
    """Deletes what is no longer kept, and tells how a retraining ended."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Clean up and tell.

        Args:
            input_dict: Empty.
            output_dict: Empty.
            exec_properties: As RetrainingPlan's, and `status`, KFP's PipelineTaskFinalStatus of all before.

        Raises:
            ReleaseError: The manifest of a release cannot be read.
            StorageError: The serving directory's store cannot be reached or refuses.
        """
        config = _read_config(exec_properties)
        event = _describe_end(config, exec_properties, os.environ.get(RUN_ID_VARIABLE) or _UNKNOWN_RUN)
        _apply_retention(config)
        if event is None:
            _progress.info("Nothing was new, so nothing was trained")
            return
        _progress.info(event.body)
        notify(config.retraining.notify, event)


def find_release_of_run(serving_directory: str, run_id: str) -> int | None:
    """Find what a run has released.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        run_id: The run.

    Returns:
        The version; None where it has released nothing.

    Raises:
        ReleaseError: The manifest of a release cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    for version in reversed(list_published(serving_directory)):
        manifest = read_manifest(serving_directory, version)
        if manifest.run_id == run_id and manifest.refreshed_from is None:
            return version
    return None


def _read_config(exec_properties: Mapping[str, Any]) -> PipelineConfig:
    """Put the run parameters into the settings."""
    config = from_json(PipelineConfig, exec_properties["settings"])
    window = parse_window(
        # An orchestrator can leave an empty text out.
        exec_properties.get("window_from") or "",
        exec_properties.get("window_to") or "",
        exec_properties.get("window_last_days") or 0,
        config.ingest.window,
    )
    checkpoint = CheckpointConfig(directory=exec_properties.get("checkpoint_directory") or None)
    return dataclasses.replace(
        config,
        data=DataConfig(schema="", directory=exec_properties["data_directory"]),
        serving=ServingConfig(directory=exec_properties["serving_directory"]),
        ingest=IngestConfig(window=window),
        training=dataclasses.replace(config.training, checkpoint=checkpoint),
    )


def _plan(config: PipelineConfig, exec_properties: Mapping[str, Any]) -> Plan:
    return make_plan(config, from_json(FeatureSpec, exec_properties["tables"]), runs=[])


def _describe_end(config: PipelineConfig, exec_properties: Mapping[str, Any], run_id: str) -> Event | None:
    """Say what is to be told; None where there was nothing to train on.

    By the releases and the data first: the state that KFP gives is that of a nested graph, which servers
    before 2.17 leave at RUNNING whatever became of it (kubeflow/pipelines issue 11979).
    """
    name = config.run.name
    release = find_release_of_run(config.serving.directory, run_id)
    if release is not None:
        return Event("released", name, f"Run {run_id} has released version {release}.", run_id, release)
    state = exec_properties["status"].get("state")
    try:
        is_due = bool(_plan(config, exec_properties).trainings)
    except DssmError as error:
        return Event("failure", name, f"Run {run_id} could not begin: {error}", run_id)
    if state == _FAILED:
        return Event("failure", name, f"Run {run_id} failed; its page in KFP says in which step.", run_id)
    if not is_due:
        return None
    if state in _SUCCEEDED:
        return Event("refused", name, f"Run {run_id} released nothing: its report says why.", run_id)
    body = (
        f"Run {run_id} released nothing. This server does not tell whether a step failed or the model was "
        "refused; the run's page in KFP does."
    )
    return Event("failure", name, body, run_id)


def _apply_retention(config: PipelineConfig) -> None:
    # A pod has no runs, logs and work files: KFP keeps those, and deletes them by its own rules.
    with tempfile.TemporaryDirectory() as empty:
        run = dataclasses.replace(config.run, directory=empty)
        try:
            plan = plan_retention(dataclasses.replace(config, run=run), datetime.datetime.now(datetime.UTC))
            result = apply_retention(plan)
        except DssmError as error:
            # The release stands; the next retraining tries again.
            _progress.warning("Nothing was cleaned up: %s", error)
            return
    if plan.going:
        _progress.info(render_retention(plan, result))
    if result.failed:
        _progress.warning(render_failures(result))
