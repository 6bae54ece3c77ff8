"""The executor of RetrievalEvaluator."""

from collections.abc import Mapping
from typing import Any

from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.evaluation import evaluate_model
from components.retrieval_evaluator.gate import write_blessing
from components.retrieval_evaluator.report import write_report
from schemas.contract import USER_TOWER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json


class RetrievalEvaluatorExecutor(PlainExecutor):
    """Unpacks the artifacts for `evaluate_model`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Write the report and the blessing.

        Args:
            input_dict: `sequences`, `model` and `index`.
            output_dict: `blessing` and `report`.
            exec_properties: `feature_spec` and `evaluation_config`, as JSON.
        """
        report = evaluate_model(
            sequences=get_path(input_dict, "sequences"),
            user_tower=get_path(input_dict, "model") / MODEL_FOLDER / USER_TOWER,
            index=get_path(input_dict, "index"),
            spec=from_json(FeatureSpec, exec_properties["feature_spec"]),
            config=from_json(EvaluationConfig, exec_properties["evaluation_config"]),
        )
        write_report(report, get_path(output_dict, "report"))
        [blessing] = output_dict["blessing"]
        write_blessing(report["blessed"], get_path(output_dict, "blessing"))
        blessing.set_int_custom_property("blessed", int(report["blessed"]))
