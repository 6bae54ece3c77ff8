"""The TFX adapter of AnomalyGate."""

import json
from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.anomaly_gate.config import GateConfig
from components.anomaly_gate.drift import TABLES, TrainSplit, measure_drift
from components.anomaly_gate.logic import Anomaly, check_anomalies, find_unexpected_values, read_anomalies
from components.anomaly_gate.statistics import TableStatistics, parse_statistics
from components.artifacts import Report
from schemas.contract import ENTITY_SPLIT, INGEST_REPORT_FILE, STATISTICS_FILE, TRAIN_SPLIT
from schemas.feature_parts import gate_part
from schemas.features import FeatureSpec, Tower
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
        "user_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "user_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "item_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "item_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "context_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies, optional=True),
        "context_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        "ingest_report": ChannelParameter(type=Report),
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
        """Unpack the artifacts and check every table.

        Args:
            input_dict: `user_anomalies`, `user_statistics`, the same of `item` and, where there are context
                features, of `context`, and `ingest_report`.
            output_dict: `report`.
            exec_properties: `feature_spec` and `gate_config`, as JSON, `serving_directory`, and `run_id`,
                which keeps a comparison with an older release from being reused.

        Raises:
            DataError: An anomaly has severity ERROR.
            ReleaseError: What the last release left to compare with cannot be read.
            StorageError: It is in an object store, which cannot be reached or refuses.
        """
        spec = from_json(FeatureSpec, exec_properties["feature_spec"])
        config = from_json(GateConfig, exec_properties["gate_config"])
        anomalies: dict[str, list[Anomaly]] = {}
        tables: dict[Tower, TableStatistics] = {}
        for tower, table in TABLES.items():
            if not input_dict.get(f"{tower}_anomalies"):
                continue
            for split, folder in _list_splits(input_dict[f"{tower}_anomalies"]).items():
                name = table if split == ENTITY_SPLIT else f"{table} ({split})"
                anomalies[name] = read_anomalies(name, folder)
            split = TRAIN_SPLIT if tower == "context" else ENTITY_SPLIT
            file = _list_splits(input_dict[f"{tower}_statistics"])[split] / STATISTICS_FILE
            tables[tower] = parse_statistics(file.read_bytes(), str(file))
            if tower != "context":
                anomalies[table] += find_unexpected_values(spec, tower, tables[tower], anomalies[table])
        report = Path(artifact_utils.get_single_uri(input_dict["ingest_report"])) / INGEST_REPORT_FILE
        figures = json.loads(report.read_text(encoding="utf-8"))["sequence_figures"]
        drift = measure_drift(
            spec,
            config.sequence_drift,
            TrainSplit(tables, figures),
            exec_properties["serving_directory"],
        )
        report_directory = Path(artifact_utils.get_single_uri(output_dict["report"]))
        check_anomalies(anomalies, report_directory, drift, config.fatal_drift)


def _list_splits(artifacts: list[Artifact]) -> dict[str, Path]:
    names = artifact_utils.decode_split_names(artifact_utils.get_single_instance(artifacts).split_names)
    return {name: Path(artifact_utils.get_split_uri(artifacts, name)) for name in names}


class AnomalyGate(base_component.BaseComponent):
    """Stops the run where ExampleValidator found an error, or the data are too far from the last release.

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
        config: GateConfig,
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
            config: Whether drift stops the run.
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
                gate_config=to_json(config),
                serving_directory=serving_directory,
                run_id=run_id,
                report=Channel(type=Report),
                **{name: channel for name, channel in contexts.items() if channel is not None},
            )
        )
