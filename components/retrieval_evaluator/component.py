"""The TFX component that judges a model."""

from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import CandidateIndex, Report, Sequences
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.evaluation import evaluate_model
from components.retrieval_evaluator.gate import write_blessing
from components.retrieval_evaluator.report import write_report
from schemas.contract import USER_TOWER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, to_json, to_short_json


class RetrievalEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of RetrievalEvaluator."""

    PARAMETERS: ClassVar = {
        "feature_spec": ExecutionParameter(type=str),
        "evaluation_config": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "sequences": ChannelParameter(type=Sequences),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
    }
    OUTPUTS: ClassVar = {
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=Report),
    }


class RetrievalEvaluatorExecutor(BaseExecutor):
    """Unpacks the artifacts for `evaluate_model`."""

    def Do(  # noqa: N802 - TFX names it
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the report and the blessing.

        Args:
            input_dict: `sequences`, `model` and `index`.
            output_dict: `blessing` and `report`.
            exec_properties: `feature_spec` and `evaluation_config`, as JSON.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        report = evaluate_model(
            sequences=Path(artifact_utils.get_single_uri(input_dict["sequences"])),
            user_tower=Path(path_utils.serving_model_dir(model.uri)) / USER_TOWER,
            index=Path(artifact_utils.get_single_uri(input_dict["index"])),
            spec=from_json(FeatureSpec, exec_properties["feature_spec"]),
            config=from_json(EvaluationConfig, exec_properties["evaluation_config"]),
        )
        write_report(report, Path(artifact_utils.get_single_uri(output_dict["report"])))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        write_blessing(report["blessed"], Path(blessing.uri))
        blessing.set_int_custom_property("blessed", int(report["blessed"]))


class RetrievalEvaluator(BaseComponent):
    """Ranks the whole catalogue for every held-out user and blesses the model or not."""

    SPEC_CLASS = RetrievalEvaluatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(RetrievalEvaluatorExecutor)

    def __init__(
        self,
        sequences: BaseChannel,
        model: BaseChannel,
        index: BaseChannel,
        feature_spec: FeatureSpec,
        evaluation_config: EvaluationConfig,
    ) -> None:
        """Declare the step.

        Args:
            sequences: InteractionIngest's `sequences`.
            model: The Trainer's `model`.
            index: CandidateIndexer's `index`.
            feature_spec: The features that the user tower reads.
            evaluation_config: The cut-offs, the users and the blessing's rule.
        """
        super().__init__(
            spec=RetrievalEvaluatorSpec(
                sequences=sequences,
                model=model,
                index=index,
                feature_spec=to_short_json(feature_spec),
                evaluation_config=to_json(evaluation_config),
                blessing=Channel(type=standard_artifacts.ModelBlessing),
                report=Channel(type=Report),
            )
        )
