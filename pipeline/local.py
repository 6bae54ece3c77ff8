"""Runs the pipeline on this machine: TFX on Beam's in-memory runner, ML Metadata in SQLite."""

import datetime
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from apache_beam.options.pipeline_options import StandardOptions
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.beam import beam_dag_runner
from tfx.orchestration.pipeline import Pipeline

from components.interaction_ingest.sources.files import fingerprint_inputs
from pipeline.build import build_pipeline
from pipeline.code_fingerprint import fingerprint_code
from pipeline.config import PipelineConfig
from pipeline.parameters import RunParameters
from schemas.contract import EVALUATION_REPORT_FILE, INGEST_REPORT_FILE, PROGRESS_LOGGER
from schemas.errors import ConfigError, DssmError
from schemas.features import FeatureSpec

ORCHESTRATION_RUNNER: Final = "FnApiRunner"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class StepFailure:
    """Why a run stopped."""

    step: str
    """The component."""
    error: BaseException
    """What it raised."""


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


class StepError(DssmError):
    """A step failed with an error that is not the user's."""


class _ReportingNode(beam_dag_runner.PipelineNodeAsDoFn):
    """A TFX node that tells when it starts, ends and fails.

    Beam hands an exception on as text only, so the original is kept here, in the process that
    runs the node, for whoever started the run.
    """

    failures: list[StepFailure] = []  # noqa: RUF012 (shared on purpose, see above)

    def _run_node(self) -> None:
        steps = [node.pipeline_node.node_info.id for node in self._pipeline.nodes]
        position = f"[{steps.index(self._node_id) + 1}/{len(steps)}]"
        _progress.info("%s %s", position, self._node_id)
        start = time.monotonic()
        try:
            super()._run_node()
        except BaseException as error:
            self.failures.append(StepFailure(self._node_id, error))
            raise
        _progress.info("%s %s took %.1f s", position, self._node_id, time.monotonic() - start)


class _ReportingRunner(beam_dag_runner.BeamDagRunner):
    _PIPELINE_NODE_DO_FN_CLS = _ReportingNode


def run_locally(config: PipelineConfig, features: FeatureSpec, *, enable_cache: bool = True) -> RunResult:
    """Run the pipeline in this process, from the source tables to a release.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        enable_cache: Whether a step with the same inputs and settings as in an earlier run is reused.

    Returns:
        Reports and the release.

    Raises:
        ConfigError: The configuration asks for several workers.
        DssmError: A step refused its input, or failed (StepError).
    """
    if config.training.strategy == "multi_worker":
        raise ConfigError(
            "training.strategy: expected mirrored, since `dssm run` trains in one process. Received: "
            "multi_worker. docs/multi_worker.md says how the workers of `dssm train` take its place."
        )
    run_id = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    pipeline = build_pipeline(
        config,
        features,
        RunParameters.from_config(
            config,
            run_id=run_id,
            input_fingerprint=fingerprint_inputs(features, config.data.directory, config.ingest.window),
            code_fingerprint=fingerprint_code(),
            training_fingerprint=fingerprint_code(config.model.user_tower),
        ),
        enable_cache=enable_cache,
    )
    Path(config.run.directory).mkdir(parents=True, exist_ok=True)
    _run(pipeline)
    return _read_result(pipeline, run_id)


def _run(pipeline: Pipeline) -> None:
    # TFX gives its own Beam pipeline no options, so the runner can only be named as Beam's default.
    default_runner = StandardOptions.DEFAULT_RUNNER
    StandardOptions.DEFAULT_RUNNER = ORCHESTRATION_RUNNER
    _ReportingNode.failures.clear()
    try:
        _ReportingRunner().run(pipeline)
    except Exception as error:
        if not _ReportingNode.failures:
            raise
        failure = _ReportingNode.failures[0]
        if isinstance(failure.error, DssmError):
            raise type(failure.error)(f"{failure.step}: {failure.error}") from failure.error
        last_line = str(failure.error).strip().splitlines()[-1:] or [""]
        raise StepError(f"{failure.step} failed: {type(failure.error).__name__}: {last_line[0]}") from error
    finally:
        StandardOptions.DEFAULT_RUNNER = default_runner


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
