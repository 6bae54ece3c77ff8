"""The TFX adapter of AnomalyGate."""

from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.anomaly_gate.logic import check_anomalies
from components.artifacts import Report


class AnomalyGateSpec(ComponentSpec):
    """Artifacts of AnomalyGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)
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
            input_dict: `anomalies`.
            output_dict: `report`.
            exec_properties: Nothing.

        Raises:
            DataError: An anomaly has severity ERROR.
        """
        anomalies = input_dict["anomalies"]
        names = artifact_utils.decode_split_names(artifact_utils.get_single_instance(anomalies).split_names)
        splits = {name: Path(artifact_utils.get_split_uri(anomalies, name)) for name in names}
        check_anomalies(splits, Path(artifact_utils.get_single_uri(output_dict["report"])))


class AnomalyGate(base_component.BaseComponent):
    """Stops the run where ExampleValidator found an anomaly of severity ERROR.

    No data flow from it to the steps that it guards: make each of them wait with
    `step.add_upstream_node(gate)`.
    """

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AnomalyGateExecutor)

    def __init__(self, anomalies: BaseChannel) -> None:
        """Build the node.

        Args:
            anomalies: ExampleValidator's output, of type ExampleAnomalies.
        """
        super().__init__(AnomalyGateSpec(anomalies=anomalies, report=Channel(type=Report)))
