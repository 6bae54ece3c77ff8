"""The TFX component that reports a run."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import CandidateIndex, Markdown, Metrics, Page, Report
from components.run_report.config import ReportConfig
from components.run_report.executor import RunReportExecutor
from schemas.features import ItemTable
from schemas.strict_config import dump_json, to_short_json


class RunReportSpec(ComponentSpec):
    """Inputs, outputs and parameters of RunReport."""

    PARAMETERS: ClassVar = {
        "report_config": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "item_id": ExecutionParameter(type=str),
        "items": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
        "data_directory": ExecutionParameter(type=str),
        "window_from": ExecutionParameter(type=str),
        "window_to": ExecutionParameter(type=str),
        "window_last_days": ExecutionParameter(type=int),
        "epochs": ExecutionParameter(type=int),
        "start": ExecutionParameter(type=str),
        "serving_directory": ExecutionParameter(type=str),
        "checkpoint_directory": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "evaluation_report": ChannelParameter(type=Report),
        "ingest_report": ChannelParameter(type=Report),
        "anomaly_report": ChannelParameter(type=Report),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "index": ChannelParameter(type=CandidateIndex),
    }
    OUTPUTS: ClassVar = {
        "page": ChannelParameter(type=Page),
        "markdown": ChannelParameter(type=Markdown),
        "scalars": ChannelParameter(type=Metrics),
    }


class RunReport(BaseComponent):
    """Shows what a run did: one HTML page, Markdown for CI systems, and numbers."""

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(RunReportExecutor)

    def __init__(
        self,
        evaluation_report: BaseChannel,
        ingest_report: BaseChannel,
        anomaly_report: BaseChannel,
        model: BaseChannel,
        model_run: BaseChannel,
        index: BaseChannel,
        config: ReportConfig,
        settings: Mapping[str, Any],
        item_id: str,
        items: ItemTable,
        run_id: str | RuntimeParameter,
        data_directory: str | RuntimeParameter,
        window_from: str | RuntimeParameter,
        window_to: str | RuntimeParameter,
        window_last_days: int | RuntimeParameter,
        epochs: int | RuntimeParameter,
        start: str | RuntimeParameter,
        serving_directory: str | RuntimeParameter,
        checkpoint_directory: str | RuntimeParameter,
    ) -> None:
        """Declare the step.

        Args:
            evaluation_report: RetrievalEvaluator's `report`.
            ingest_report: InteractionIngest's `report`.
            anomaly_report: AnomalyGate's `report`.
            model: The Trainer's `model`.
            model_run: The Trainer's `model_run`.
            index: CandidateIndexer's `index`.
            config: What is drawn.
            settings: The configuration as plain data, section by section, without the run parameters.
            item_id: Name of the item id.
            items: The item table, with the columns that are shown.
            run_id: What the release's manifest calls the run; '' for what the environment variable
                DSSM_RUN_ID says where the step runs.
            data_directory: Only shown, as all that follow.
            window_from: First day of the interactions.
            window_to: Last day of the interactions.
            window_last_days: Days of interactions.
            epochs: Passes over the train split.
            start: `warm`, `cold`, or '' for what the settings say.
            serving_directory: Where releases go.
            checkpoint_directory: Where checkpoints are.
        """
        super().__init__(
            spec=RunReportSpec(
                evaluation_report=evaluation_report,
                ingest_report=ingest_report,
                anomaly_report=anomaly_report,
                model=model,
                model_run=model_run,
                index=index,
                report_config=to_short_json(config),
                settings=dump_json(settings),
                item_id=item_id,
                items=to_short_json(items),
                run_id=run_id,
                data_directory=data_directory,
                window_from=window_from,
                window_to=window_to,
                window_last_days=window_last_days,
                epochs=epochs,
                start=start,
                serving_directory=serving_directory,
                checkpoint_directory=checkpoint_directory,
                page=Channel(type=Page),
                markdown=Channel(type=Markdown),
                scalars=Channel(type=Metrics),
            )
        )
