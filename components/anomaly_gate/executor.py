"""The executor of AnomalyGate."""

import json
from collections.abc import Mapping
from typing import Any

from components.anomaly_gate.config import GateConfig
from components.anomaly_gate.drift import TABLES, TrainSplit, measure_drift
from components.anomaly_gate.logic import Anomaly, check_anomalies, find_unexpected_values, read_anomalies
from components.anomaly_gate.statistics import TableStatistics, parse_statistics
from components.candidate_indexer.display import check_display
from components.execution import Artifacts, PlainExecutor, get_path, get_split_paths
from components.interaction_ingest.report import refuse_small_train_split
from components.retrieval_evaluator.config import EvaluationConfig, choose_protocol
from schemas.contract import ENTITY_SPLIT, INGEST_REPORT_FILE, STATISTICS_FILE, TRAIN_SPLIT
from schemas.features import FeatureSpec, ItemTable, Tower
from schemas.strict_config import from_json


class AnomalyGateExecutor(PlainExecutor):
    """Writes the report, or raises."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Unpack the artifacts and check every table.

        Args:
            input_dict: `user_anomalies`, `user_statistics`, the same of `item` and, where there are context
                features, of `context`, and `ingest_report`.
            output_dict: `report`.
            exec_properties: `feature_spec`, `items`, `gate_config` and `evaluation_config`, as JSON,
                `minimum_train_rows`, `serving_directory`, and `run_id`, which keeps a comparison with an
                older release from being reused.

        Raises:
            ConfigError: The item table lacks a column that is to be shown, or a cut-off of the evaluation is
                no smaller than the catalogue.
            DataError: An anomaly has severity ERROR, or the train split does not fill a batch.
            ReleaseError: What the current release left to compare with cannot be read.
            StorageError: It is in an object store, which cannot be reached or refuses.
        """
        spec = from_json(FeatureSpec, exec_properties["feature_spec"])
        config = from_json(GateConfig, exec_properties["gate_config"])
        file = get_path(input_dict, "ingest_report") / INGEST_REPORT_FILE
        report = json.loads(file.read_text(encoding="utf-8"))
        check_display(
            from_json(ItemTable, exec_properties["items"]),
            [feature.name for feature in spec.table_features("item")],
            report["item_table_columns"],
        )
        refuse_small_train_split(report["train_rows"], exec_properties["minimum_train_rows"])
        choose_protocol(from_json(EvaluationConfig, exec_properties["evaluation_config"]), report["items"])
        anomalies: dict[str, list[Anomaly]] = {}
        tables: dict[Tower, TableStatistics] = {}
        for tower, table in TABLES.items():
            if not input_dict.get(f"{tower}_anomalies"):
                continue
            for split, folder in get_split_paths(input_dict, f"{tower}_anomalies").items():
                name = table if split == ENTITY_SPLIT else f"{table} ({split})"
                anomalies[name] = read_anomalies(name, folder)
            split = TRAIN_SPLIT if tower == "context" else ENTITY_SPLIT
            file = get_split_paths(input_dict, f"{tower}_statistics")[split] / STATISTICS_FILE
            tables[tower] = parse_statistics(file.read_bytes(), str(file))
            if tower != "context":
                anomalies[table] += find_unexpected_values(spec, tower, tables[tower], anomalies[table])
        drift = measure_drift(
            spec,
            config.sequence_drift,
            TrainSplit(tables, report["sequence_figures"]),
            exec_properties["serving_directory"],
        )
        check_anomalies(anomalies, get_path(output_dict, "report"), drift, config.fatal_drift)
