"""The executor of RetrievalEvaluator."""

import json
from collections.abc import Mapping
from typing import Any

from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.evaluation import EvaluationInputs, evaluate_model
from components.retrieval_evaluator.gate import write_blessing
from components.retrieval_evaluator.report import describe_rule, log_report, write_evaluation
from schemas.features import FeatureSpec
from schemas.strict_config import from_json


class RetrievalEvaluatorExecutor(PlainExecutor):
    """Unpacks the artifacts for `evaluate_model`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Write the report and the blessing.

        Args:
            input_dict: `sequences`, `model`, `index` and `ann`.
            output_dict: `blessing` and `report`.
            exec_properties: `feature_spec`, `evaluation_config`, `split` and `display`, as JSON,
                `serving_directory`, and `run_id`, which keeps a comparison with an older release from being
                reused.
        """
        inputs = EvaluationInputs(
            sequences=get_path(input_dict, "sequences"),
            model=get_path(input_dict, "model") / MODEL_FOLDER,
            index=get_path(input_dict, "index"),
            ann=get_path(input_dict, "ann"),
            serving_directory=exec_properties["serving_directory"],
            split=json.loads(exec_properties["split"]),
            display=tuple(json.loads(exec_properties["display"])),
        )
        evaluation = evaluate_model(
            inputs,
            from_json(FeatureSpec, exec_properties["feature_spec"]),
            from_json(EvaluationConfig, exec_properties["evaluation_config"]),
        )
        report = {"run_id": exec_properties["run_id"], **evaluation.report}
        log_report(report)
        write_evaluation(report, evaluation.per_user, evaluation.scores, get_path(output_dict, "report"))
        [blessing] = output_dict["blessing"]
        write_blessing(report["blessed"], get_path(output_dict, "blessing"))
        blessing.set_int_custom_property("blessed", int(report["blessed"]))
        for rule in report["gate"]["rules"]:
            blessing.set_string_custom_property(f"rule_{rule['name'].replace(':', '_')}", describe_rule(rule))
