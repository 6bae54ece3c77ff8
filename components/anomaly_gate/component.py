"""The TFX adapter of AnomalyGate."""

from typing import ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.anomaly_gate.config import GateConfig
from components.anomaly_gate.executor import AnomalyGateExecutor
from components.artifacts import Report
from components.retrieval_evaluator.config import EvaluationConfig
from schemas.feature_parts import gate_part
from schemas.features import FeatureSpec, ItemTable
from schemas.strict_config import to_json, to_short_json


class AnomalyGateSpec(ComponentSpec):
    """Artifacts of AnomalyGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "feature_spec": ExecutionParameter(type=str),
        "items": ExecutionParameter(type=str),
        "gate_config": ExecutionParameter(type=str),
        "evaluation_config": ExecutionParameter(type=str),
        "minimum_train_rows": ExecutionParameter(type=int),
        "serving_directory": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "user_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "user_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "item_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "item_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "context_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies, optional=True),
        "context_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        "ingest_report": ChannelParameter(type=Report),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {"report": ChannelParameter(type=Report)}


class AnomalyGate(base_component.BaseComponent):
    """Stops the run where ExampleValidator found an error, or the data are too far from the current release.

    Before anything is trained it also refuses columns to show that the item table does not have, and a batch
    that the train split does not fill.

    No data flow from it to the steps that it guards: make each of them wait with
    `step.add_upstream_node(gate)`.
    """

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AnomalyGateExecutor)

    def __init__(
        self,
        user_anomalies: BaseChannel,
        user_statistics: BaseChannel,
        item_anomalies: BaseChannel,
        item_statistics: BaseChannel,
        ingest_report: BaseChannel,
        feature_spec: FeatureSpec,
        items: ItemTable,
        config: GateConfig,
        evaluation_config: EvaluationConfig,
        minimum_train_rows: int,
        serving_directory: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
        context_anomalies: BaseChannel | None = None,
        context_statistics: BaseChannel | None = None,
    ) -> None:
        """Build the node.

        Args:
            user_anomalies: The output of the users' ExampleValidator, of type ExampleAnomalies.
            user_statistics: The output of the users' StatisticsGen, weighted by `train_rows`.
            item_anomalies: The same of the items.
            item_statistics: The same of the items.
            ingest_report: InteractionIngest's report.
            feature_spec: The features, with their thresholds.
            items: The item table, of which the columns that are shown must be there.
            config: Whether drift stops the run.
            evaluation_config: The evaluation's cut-offs, which must fit the catalogue.
            minimum_train_rows: Rows of the smallest global batch that there can be.
            serving_directory: The folder that releases are pushed to: a path or URI. Only read.
            run_id: The run, so that no other run's comparison is reused.
            context_anomalies: The same of the contexts, where there are context features.
            context_statistics: The same of the contexts, each row counting once.
        """
        contexts = {"context_anomalies": context_anomalies, "context_statistics": context_statistics}
        super().__init__(
            AnomalyGateSpec(
                user_anomalies=user_anomalies,
                user_statistics=user_statistics,
                item_anomalies=item_anomalies,
                item_statistics=item_statistics,
                ingest_report=ingest_report,
                feature_spec=to_short_json(gate_part(feature_spec)),
                items=to_short_json(items),
                gate_config=to_json(config),
                evaluation_config=to_json(evaluation_config),
                minimum_train_rows=minimum_train_rows,
                serving_directory=serving_directory,
                run_id=run_id,
                report=Channel(type=Report),
                **{name: channel for name, channel in contexts.items() if channel is not None},
            )
        )
