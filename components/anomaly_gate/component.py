"""The TFX adapter of AnomalyGate."""

from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.anomaly_gate.config import GateConfig
from components.anomaly_gate.drift import measure_drift, read_statistics
from components.anomaly_gate.logic import check_anomalies
from components.artifacts import Report
from schemas.contract import STATISTICS_FILE, TRAIN_SPLIT
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, to_json, to_short_json


class AnomalyGateSpec(ComponentSpec):
    """Artifacts of AnomalyGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "feature_spec": ExecutionParameter(type=str),
        "gate_config": ExecutionParameter(type=str),
        "serving_directory": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {"report": ChannelParameter(type=Report)}


class AnomalyGateExecutor(base_executor.BaseExecutor):
    """Writes the report, or raises."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpack the artifacts and check every split.

        Args:
            input_dict: `anomalies` and `statistics`.
            output_dict: `report`.
            exec_properties: `feature_spec` and `gate_config`, as JSON, `serving_directory`, and `run_id`,
                which keeps a comparison with an older release from being reused.

        Raises:
            DataError: An anomaly has severity ERROR.
            ReleaseError: What the last release left to compare with cannot be read.
            StorageError: It is in an object store, which cannot be reached or refuses.
        """
        train = Path(artifact_utils.get_split_uri(input_dict["statistics"], TRAIN_SPLIT)) / STATISTICS_FILE
        drift = measure_drift(
            from_json(FeatureSpec, exec_properties["feature_spec"]),
            read_statistics(train.read_bytes(), str(train)),
            exec_properties["serving_directory"],
        )
        config = from_json(GateConfig, exec_properties["gate_config"])
        anomalies = input_dict["anomalies"]
        names = artifact_utils.decode_split_names(artifact_utils.get_single_instance(anomalies).split_names)
        splits = {name: Path(artifact_utils.get_split_uri(anomalies, name)) for name in names}
        report_directory = Path(artifact_utils.get_single_uri(output_dict["report"]))
        check_anomalies(splits, report_directory, drift, config.fatal_drift)


class AnomalyGate(base_component.BaseComponent):
    """Stops the run where ExampleValidator found an error, or the data are too far from the last release.

    No data flow from it to the steps that it guards: make each of them wait with
    `step.add_upstream_node(gate)`.
    """

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AnomalyGateExecutor)

    def __init__(
        self,
        anomalies: BaseChannel,
        statistics: BaseChannel,
        feature_spec: FeatureSpec,
        config: GateConfig,
        serving_directory: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
    ) -> None:
        """Build the node.

        Args:
            anomalies: ExampleValidator's output, of type ExampleAnomalies.
            statistics: StatisticsGen's output, of type ExampleStatistics.
            feature_spec: The features, with their thresholds.
            config: Whether drift stops the run.
            serving_directory: The folder that releases are pushed to: a path or URI. Only read.
            run_id: The run, so that no other run's comparison is reused.
        """
        super().__init__(
            AnomalyGateSpec(
                anomalies=anomalies,
                statistics=statistics,
                feature_spec=to_short_json(feature_spec),
                gate_config=to_json(config),
                serving_directory=serving_directory,
                run_id=run_id,
                report=Channel(type=Report),
            )
        )
