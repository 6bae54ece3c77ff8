"""Runs the pipeline on this machine, with ML Metadata in SQLite."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from components.candidate_indexer.display import look_for_display
from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_inputs
from pipeline.build import build_pipeline
from pipeline.code_fingerprint import fingerprint_code
from pipeline.config import PipelineConfig
from pipeline.forks import call_in_fork
from pipeline.local_steps import StepRunner
from pipeline.parameters import RunParameters
from pipeline.preflight import check_strategy
from schemas.contract import EVALUATION_REPORT_FILE, INGEST_REPORT_FILE
from schemas.features import FeatureSpec


@dataclass(frozen=True)
class RunResult:
    """What a finished run left behind."""

    run_id: str
    """What the release's manifest calls the run."""
    ingest_report: Mapping[str, Any]
    """Rows read, kept and dropped by reason."""
    evaluation_report: Mapping[str, Any]
    """Metrics, the popularity baseline's, and the blessing."""
    release: str | None
    """The release's manifest folder, a path or a URI; None where the model was not blessed."""
    output_uris: Mapping[tuple[str, str], str]
    """Where each (step, output) is."""


def run_locally(config: PipelineConfig, features: FeatureSpec, *, enable_cache: bool = True) -> RunResult:
    """Run the pipeline on this machine, from the source tables to a release.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        enable_cache: Whether a step with the same inputs and settings as in an earlier run is reused.

    Returns:
        Reports and the release.

    Raises:
        ConfigError: The configuration asks for several workers, or a column to show is not there.
        DssmError: A step refused its input, or failed (StepError).
    """
    check_strategy(config.training)
    run_id = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    pipeline = build_pipeline(
        config,
        features,
        RunParameters.from_config(
            config,
            run_id=run_id,
            # A client of an object store has threads, which the steps' forks would miss.
            input_fingerprint=call_in_fork(
                _look_at_inputs, features, config.data.directory, config.ingest.window
            ),
            code_fingerprint=fingerprint_code(),
            training_fingerprint=fingerprint_code(config.model.user_tower),
        ),
        enable_cache=enable_cache,
    )
    directory = Path(config.run.directory)
    directory.mkdir(parents=True, exist_ok=True)
    StepRunner(directory, config.run.steps_side_by_side).run(pipeline)
    return _read_result(pipeline, run_id)


def _look_at_inputs(features: FeatureSpec, data_directory: str, window: WindowConfig | None) -> str:
    """Refuse columns to show that are not there, and fingerprint what is."""
    look_for_display(features, data_directory)
    return fingerprint_inputs(features, data_directory, window)


def _read_result(pipeline: Pipeline, run_id: str) -> RunResult:
    with metadata.Metadata(pipeline.metadata_connection_config) as handle:
        store = handle.store
        push = next(
            execution
            for execution in store.get_executions_by_type("components.tower_pusher.component.TowerPusher")
            if execution.properties["run_id"].string_value == run_id
            or execution.custom_properties["run_id"].string_value == run_id
        )
        run_context = next(c for c in store.get_contexts_by_execution(push.id) if c.type == "pipeline_run")
        outputs = _outputs_of_run(store, run_context.id)
    ingest_report = json.loads(
        (Path(outputs["InteractionIngest", "report"].uri) / INGEST_REPORT_FILE).read_text()
    )
    evaluation = Path(outputs["RetrievalEvaluator", "report"].uri) / EVALUATION_REPORT_FILE
    pushed = outputs["TowerPusher", "pushed_release"].custom_properties
    return RunResult(
        run_id=run_id,
        ingest_report=ingest_report,
        evaluation_report=json.loads(evaluation.read_text()),
        release=pushed["release"].string_value if pushed["pushed"].int_value else None,
        output_uris={key: artifact.uri for key, artifact in outputs.items()},
    )


def _outputs_of_run(store: Any, context_id: int) -> dict[tuple[str, str], metadata_store_pb2.Artifact]:
    executions = store.get_executions_by_context(context_id)
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    steps = {execution.id: _node_id(store, execution.id) for execution in executions}
    outputs = {}
    for event in events:
        if event.type == metadata_store_pb2.Event.OUTPUT:
            [artifact] = store.get_artifacts_by_id([event.artifact_id])
            outputs[steps[event.execution_id], event.path.steps[0].key] = artifact
    return outputs


def _node_id(store: Any, execution_id: int) -> str:
    node = next(c for c in store.get_contexts_by_execution(execution_id) if c.type == "node")
    return node.name.rsplit(".", maxsplit=1)[-1]
